"""What a run gives away, as PREFIX.risk.json says it: of the tables as they are now, or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from securegen.errors import InputError
from securegen.io.digests import sha256
from securegen.io.schema import boolean, either, has, integer, list_of, map_of, number, optional, text
from securegen.io.strict_json import read_json
from securegen.report.html import NOTHING, Content, Markup, bullets, element, join, table

_SHARE = number(0, 1)
_COUNT = integer(0, 1 << 62)
_SCHEMA = has(
    "note", "fpr", "power", "tests", "columns", "rows", "scores", "tables",
    note=text(200), fpr=list_of(_SHARE, 1, 100), power=_SHARE,
    tests=list_of(has("table", "what", "variants", "independent", "power", table=text(4096), what=text(200),
                      variants=_COUNT, independent=number(0, 1e18), power=list_of(_SHARE, 1, 100)), 0, 1 << 16),
    columns=list_of(has("who", "columns", "samples", "ratio", who=text(200), columns=_COUNT, samples=_COUNT,
                        ratio=number(0, 1e18)), 0, 1 << 10),
    rows=list_of(has("table", "rows", "chosen", table=text(4096), rows=_COUNT, chosen=_COUNT), 0, 1 << 14),
    scores=list_of(has("score", "variants", "values", score=text(255), variants=_COUNT, values=number(0, 1e300),
                       exact=boolean, read_from_value=optional(either(_SHARE))), 0, 1 << 14),
    tables=map_of(text(64), 1 << 14, name=text(4096)),
)  # fmt: skip


def risk_section(prefix: str) -> Markup:
    """Powers of membership tests, columns per sample, scores; nothing where no estimate was made.

    Raises InputError where PREFIX.risk.json is damaged.
    """
    try:
        found: dict[str, Any] = read_json(f"{prefix}.risk.json", "an estimate of risk", _SCHEMA, error=InputError)
    except FileNotFoundError:
        return NOTHING
    folder = Path(prefix).parent
    changed = [n for n, digest in found["tables"].items() if _digest(folder / Path(n).name) != digest]
    if changed:
        return element(
            "p", f"The estimate was made from another {changed[0]} than there is now: run securegen risk again."
        )
    head = ["table", "what is tested", *(f"at {f:g}" for f in found["fpr"]), "independent variants"]
    tests = [
        [t["table"], t["what"], *(f"{p:.3f}" for p in t["power"]), f"{t['independent']:,.0f} of {t['variants']:,}"]
        for t in found["tests"]
    ]
    parts: list[Content] = [
        element("p", "The share of members of the study that a test of membership finds, by false-positive rate; "
                f"{found['note']}.", class_="plain"),
    ]  # fmt: skip
    if tests:
        parts.append(table(head, tests, numbers=range(2, len(head))))
    said = [
        f"{c['who'][:1].upper()}{c['who'][1:]}: {c['columns']:,} sums per variant over {c['samples']:,} people, ratio "
        f"{c['ratio']:.4f}. Published experiments identified people above 0.16 and recovered genotypes above 0.85."
        for c in found["columns"]
    ]
    said += [
        f"{r['table']}: {r['chosen']:,} of {r['rows']:,} rows, released alone, stay at a power of {found['power']:g}."
        for r in found["rows"]
    ]
    said += [
        f"Score {s['score']}: {s['variants']:,} variants, {'' if s.get('exact') else 'at most '}{s['values']:.4g} printed values"
        + (
            f"; {s['read_from_value']:.1%} of all combinations of genotypes are read from theirs."
            if s.get("exact")
            else "."
        )
        for s in found["scores"]
    ]
    return join([*parts, bullets(said)])


def _digest(path: Path) -> str | None:
    return sha256(path) if path.is_file() else None
