"""Precision, planned noise, parameters and cost of a run, from its record."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from securegen.plot import canvas
from securegen.plot.run import cost_bars, costs, human_bytes, human_seconds, noise_margin
from securegen.report.association import NARROW, WIDE
from securegen.report.html import NOTHING, Content, Markup, bullets, element, join, pairs, picture

_BOUNDS = {
    "dt": ("T", "(1 + T²/df)"),
    "dchisq": ("χ²", "max(1, χ²)"),
}


def _small(value: Any) -> str:
    return f"{float(value):.1e}".replace("e-0", "e-").replace("e+0", "e")


def promise_lines(promise: Mapping[str, Any], name: str = "") -> list[str]:
    """The printed bounds in words, by phenotype or score where there are several."""
    of = f"{name}: " if name else ""
    out = []
    for key, (what, factor) in _BOUNDS.items():
        if promise.get(f"{key}_certain"):  # 0 where no row was opened
            certain, expected = (_small(promise[f"{key}_{k}"]) for k in ("certain", "expected"))
            out.append(
                f"{of}{what} differs from exact arithmetic by at most {certain} · {factor} for certain, and by about "
                f"{expected} as expected; promised was {_small(promise[f'{key}_promised'])}."
            )
    if "sum_error" in promise:
        out.append(f"{of}a sum differs from that of unrounded weights by at most {_small(promise['sum_error'])}.")
    if "deviation_units" in promise:
        out.append(
            f"{of}a score may differ from the plain engine's integer by at most {promise['deviation_units']} units."
        )
    for key, value in promise.items():
        if isinstance(value, Mapping):
            out += promise_lines(value, str(key))
    return out


def precision_section(record: Mapping[str, Any]) -> Markup:
    """Printed bounds, and the planned margin of the noise where there was encryption."""
    said = promise_lines(record.get("promise") or {})
    same = "Every engine sums the same integers, so engines do not differ at all."
    if record.get("reveal") in ("hits", "chi2"):
        same = ("The sums are the same integers in every engine; statistics were computed in fixed point on shares, and may "
                "differ from the plain engine's in their last digits.")  # fmt: skip
    parts: list[Content] = [
        element("p", f"{same} What rounding costs against exact arithmetic on the files' numbers is bounded:"), bullets(said),
    ] if said else [element("p", "This step's record states no bound.")]  # fmt: skip
    margin = record.get("planned_noise_margin_bits")
    if margin is not None:
        wide, narrow = (canvas.encode(f, "svg") for w in (WIDE, NARROW) if (f := noise_margin(record, width=w)))
        parts.append(
            picture(
                wide, narrow, f"Planned noise margin: {float(margin):.1f} bits",
                f"The parameters keep the noise {float(margin):.1f} bits below ½, where rounding could go wrong. This is the "
                "plan; the noise that was met is secret and stands in no file.",
            )
        )  # fmt: skip
    return join(parts)


def cost_section(record: Mapping[str, Any]) -> Markup:
    """Seconds and bytes."""
    c = costs(record)
    facts: list[tuple[Content, Content]] = [("wall time", human_seconds(c.total))]
    if record.get("peak_rss_bytes"):
        facts.append(("peak memory", human_bytes(record["peak_rss_bytes"])))
    if c.rounds is not None:
        facts.append(("rounds of messages", str(c.rounds)))
    parts: list[Content] = [pairs(facts)]
    if len(c.seconds) > 1 or c.size:  # one bar says no more than the line above
        wide, narrow = (canvas.encode(cost_bars(record, width=w), "svg") for w in (WIDE, NARROW))
        text = "Wall time of each stage; bytes of the files that travel."
        if c.sent:
            text = "Wall time of each stage (pale: parts of another one); bytes sent by each party."
        parts.append(picture(wide, narrow, "Seconds and bytes of each stage", text))
    return join(parts)


def _flat(value: Any, name: str = "") -> list[tuple[Content, Content]]:
    if isinstance(value, Mapping):
        return [row for k, v in value.items() for row in _flat(v, f"{name} {k}".strip())]
    return [(name.replace("_", " "), json.dumps(value) if isinstance(value, list | bool) else str(value))]


def parameter_section(record: Mapping[str, Any]) -> Markup:
    """Parameters, versions, input digests: what one needs to run it again."""
    machine = record.get("machine") or {}
    rows: list[tuple[Content, Content]] = [
        ("command", element("code", f"securegen {record.get('command', '')}")),
        ("version", f"securegen {record.get('version', '')}, Python {machine.get('python', '?')}, {machine.get('system', '?')}"),
    ]  # fmt: skip
    for key in ("encryptor", "split", "reveal", "sites", "missing", "samples_stored"):
        if record.get(key) is not None:
            rows.append((key.replace("_", " "), str(record[key])))
    names = record.get("covariate_names") or []
    if record.get("covariates") is not None:
        said = f": {', '.join(map(str, names))}" if names else ""
        rows.append(("covariates", f"{record['covariates']}{said}"))
    rows += _flat(record.get("parameters") or {})
    digests = [(k, element("code", str(v))) for k, v in (record.get("inputs") or {}).items()]
    parts: list[Content] = [pairs(rows)]
    if digests:
        parts.append(element("h3", "Input files (SHA-256)") + pairs(digests))
    return join(parts) if rows else NOTHING
