"""An impact assessment of a finished run: the parts of Article 35(7) GDPR, from what the run recorded.

It says what was done, what was decided and what is known to remain, and of each measure whether this run had it. What no
record can know, above all whether the processing is needed, is left to who answers for it, by name.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from securegen.errors import InputError, StorageError
from securegen.io.genotypes import FORMATS
from securegen.io.output import write_text
from securegen.io.schema import Refused, has, integer, list_of
from securegen.record import receipt_steps
from securegen.report.decisions import TITLE, decision_table, governance_of, noise_of
from securegen.report.html import NOTHING, Content, Markup, bullets, element, join, page, pairs, section, table
from securegen.report.privacy import plainer, security
from securegen.report.risk import risk_section
from securegen.version import VERSION

TITLES = {
    "description": "Systematic description of the processing",
    "necessity": "Necessity and proportionality",
    "risks": "Risks to the rights and freedoms of people",
    "measures": "Measures to address the risks",
}
OPEN = {
    "necessity": (
        "Whether this processing is needed for its purpose, and whether less would do.",
        "On which legal basis the data are processed.",
    ),
    "risks": ("How likely and how grave these risks are for the people concerned.",),
    "measures": ("Storage, access and deletion of the inputs, outside of this program.",),
}
_AUDIT = list_of(has("size", size=integer(0, 1 << 62)), 0, 64)
_KINDS = {
    "genotypes": ("bed", "pgen", "vcf", "bgen", *FORMATS), "phenotypes": ("pheno",), "covariates": ("covar",),
    "weights of scores": ("score",), "predictions": ("pred",),
}  # fmt: skip


def assessment(prefix: str | os.PathLike[str]) -> dict[str, Any]:
    """What is known of a run under the four headings, as JSON. Raises InputError where there is no run, ArtefactError where
    its files are not as its receipt says."""
    where = os.fspath(prefix).removesuffix(".run.json")
    record = receipt_steps.records_as_signed(where)[0]
    try:
        audit = _AUDIT(record.get("audit") or [], "audit")
    except Refused as problem:
        raise InputError(f"{where}.run.json is damaged: {problem}") from None
    governance = governance_of(record, where)
    options = (record.get("call") or {}).get("options") or {}
    learned = record.get("receipt") or {}
    read = {name.partition(".")[2] or name for name in record.get("inputs") or {}}
    read |= {*(record.get("inputs") or {}), *(name for name, value in options.items() if value)}
    signers: list[str] | None = None
    if os.path.lexists(where + receipt_steps.ENDING):
        receipt_steps.check_files(where)
        signers = list(receipt_steps.show(where).signers)
    short, long = security(record)
    return {
        "run": Path(where).name,
        "description": {
            "command": record["command"], "version": record.get("version"), "engine": record.get("engine"),
            "scenario": learned.get("scenario"), "people": record.get("samples"), "variants": record.get("variants"),
            "data": [kind for kind, roles in _KINDS.items() if read & set(roles)],
            "phenotypes": record.get("phenotypes") or [], "covariates": record.get("covariate_names") or [],
            "parties": learned.get("parties") or [], "released": [_name(w) for w in learned.get("released") or []],
        },
        "necessity": {
            "purpose": governance.get("purpose") or options.get("purpose") or None,
            "consent": "consent" in options, "people_stored": record.get("samples_stored"),
            "people_analysed": record.get("samples"),
            "role": governance.get("role"), "who": governance.get("who"),
        },
        "risks": {"warnings": learned.get("warnings") or [], "estimated": Path(f"{where}.risk.json").is_file()},
        "measures": {
            "security": short, "security_says": long, "assumptions": learned.get("assumptions") or [],
            "policy": governance.get("policy"), "decisions": governance.get("decisions") or [],
            "noise": noise_of(record, where),
            "audit": [entry["size"] for entry in audit], "signed_by": signers,
        },
        "open": {name: list(texts) for name, texts in OPEN.items()},
    }  # fmt: skip


def pia_page(prefix: str | os.PathLike[str]) -> str:
    """The text of the HTML file. Raises as `assessment`."""
    where = os.fspath(prefix).removesuffix(".run.json")
    said = assessment(where)
    parts = [("description", _description(said)), ("necessity", _necessity(said))]
    parts += [("risks", _risks(said, where)), ("measures", _measures(said))]
    title = f"Impact assessment: {said['run']}"
    links = join(element("a", TITLES[name], href=f"#{name}") for name, _ in parts)
    under = f"The parts of Article 35(7) GDPR, from the record of the run. securegen {VERSION}."
    return page(
        title, _mark(where), element("header", element("h1", title), element("p", under), element("nav", links)),
        *(section(name, TITLES[name], content, _left_open(name)) for name, content in parts),
        element(
            "footer", f"Written by securegen {VERSION} from the files of the run. This page loads nothing from anywhere and can "
            "be kept or sent as it is."
        ),
    )  # fmt: skip


def pia(
    prefix: str | os.PathLike[str], out: str | os.PathLike[str] | None = None, *, overwrite: bool = False
) -> dict[str, Any]:
    """Write the page (PREFIX.pia.html where `out` is None) and return what it says, as JSON.

    Raises as `assessment`, and StorageError where something else than a page of this run is there, unless `overwrite`.
    """
    path = planned(prefix, out)
    content, said = pia_page(prefix), assessment(prefix)
    if not overwrite:
        check_path(path, prefix)
    write_text(path, content)
    return said


def planned(prefix: str | os.PathLike[str], out: str | os.PathLike[str] | None) -> str:
    """The file that `pia` writes."""
    return os.fspath(out) if out is not None else os.fspath(prefix).removesuffix(".run.json") + ".pia.html"


def check_path(path: str, prefix: str | os.PathLike[str]) -> None:
    """Raise StorageError where a file is there that is not an earlier page of this run."""
    try:
        with open(path, "rb") as stream:
            head = stream.read(4096)
    except FileNotFoundError:
        return
    except OSError as problem:
        raise StorageError(f"cannot write {path}: {problem.strerror or problem}") from None
    if _mark(os.fspath(prefix).removesuffix(".run.json")).encode() not in head:
        raise StorageError(f"{path} exists and is not an assessment of this run: choose another name, or overwrite it")


def _mark(where: str) -> str:
    return f"pia {Path(where).name}"


def _name(released: str) -> str:
    """A path without its folders; other words as they are."""
    return released.rpartition("/")[2] if "/" in released and " " not in released else released


def _said(value: Any) -> str:
    """A value for people; what is not recorded is said so."""
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none recorded"
    return f"{value:,}" if isinstance(value, int) else str(value or "not recorded")


def _description(said: dict[str, Any]) -> Markup:
    found = said["description"]
    rows: list[tuple[Content, Content]] = [
        ("what ran", f"securegen {found['version']} {found['command']}"), ("engine", _said(found["engine"])),
        ("scenario", _said(found["scenario"])), ("kinds of data", _said(found["data"])),
        ("people analysed", _said(found["people"])), ("variants", _said(found["variants"])),
        ("phenotypes", _said(found["phenotypes"])), ("covariates", _said(found["covariates"])),
        ("released", bullets(found["released"]) if found["released"] else _said(found["released"])),
    ]  # fmt: skip
    parties = [[str(p.get(k, "")) for k in ("name", "holds", "learns")] for p in found["parties"]]
    return (
        pairs(rows)
        + element("h3", "Who held what, who learned what")
        + (
            table(["party", "held", "learned"], parties, class_="words")
            if parties
            else element("p", "The run does not say.")
        )
    )


def _necessity(said: dict[str, Any]) -> Markup:
    found = said["necessity"]
    asked = found["who"] or "somebody without an identity"
    stored, used = found["people_stored"], found["people_analysed"]
    lines = [f"Purpose: {found['purpose']} (Data Use Ontology)." if found["purpose"] else "No purpose is recorded."]
    lines += [f"Asked by {asked}, as {found['role']}."] if found["role"] else []
    if found["consent"]:
        lines.append("People were chosen by a register of consent.")
    else:
        lines.append("No register of consent is named in the record.")
    if isinstance(stored, int) and isinstance(used, int):
        if used <= stored:
            lines.append(f"{used:,} of {stored:,} people in the files were analysed.")
        else:
            lines.append(f"{used:,} people of all sites were analysed; {stored:,} are in the files of this one.")
    return bullets(lines)


def _risks(said: dict[str, Any], where: str) -> Markup:
    found = said["risks"]
    people, variants = (int(said["description"][k] or 0) for k in ("people", "variants"))
    warned = bullets(plainer(w, people, variants) for w in found["warnings"])
    known: Markup = (
        element("div", warned, class_="plain warn")
        if found["warnings"]
        else element("p", "The run's receipt names none.")
    )
    parts = element("h3", "What can still be worked out") + known + element("h3", "Membership and reconstruction")
    if not found["estimated"]:
        return parts + element("p", "Not estimated for this run: ", element("code", "securegen risk PREFIX"), " does.")
    return parts + risk_section(where)


def _measures(said: dict[str, Any]) -> Markup:
    found = said["measures"]
    policy, signed = found["policy"], found["signed_by"]
    lines: list[Content] = [f"Security: {found['security']}. {found['security_says']}"]
    lines += [f"Assumed: {a}." for a in found["assumptions"]]
    if policy:
        lines.append(f"Governed by the policy {policy.get('name')}, version {policy.get('version')}.")
    else:
        lines.append("No policy governed this run.")
    if found["noise"]:
        lines.append(found["noise"])
    if len(found["audit"]) == 1:
        lines.append(f"In an audit log, which had {found['audit'][0]:,} entries when the run ended.")
    elif found["audit"]:
        sizes = " and ".join(f"{size:,}" for size in found["audit"])
        lines.append(f"In {len(found['audit'])} audit logs, which had {sizes} entries when the run ended.")
    if not found["audit"]:
        lines.append("No audit log is in the record.")
    if signed is None:
        lines.append("The receipt of this run is not signed.")
    elif signed:
        lines.append(
            f"The receipt is signed, and the files are as it says. Whose the key is, is not checked here: {', '.join(signed)}."
        )
    else:
        lines.append("There is a receipt, and no signature of a key that it names.")
    decided = decision_table(found)
    return bullets(lines) + (element("h3", TITLE) + decided if decided != NOTHING else NOTHING)


def _left_open(name: str) -> Markup:
    texts = OPEN.get(name)
    if texts is None:
        return Markup("")
    return element("h3", "For the controller to say") + bullets(texts)
