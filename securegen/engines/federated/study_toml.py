"""study.toml and its signature: written by the coordinator once, read and checked by whoever has the folder.

Who learns what: a study file is public to everybody who can read the shared folder.
"""

from __future__ import annotations

import json
import os
import secrets
import tomllib
from pathlib import Path
from typing import Any

from securegen.catalogue import CORRECTIONS, NONE, models
from securegen.engines.federated import study_sets
from securegen.engines.federated.studyfile import (
    LOADINGS,
    MOST_IN_BLOCK,
    NOTES,
    PC_VARIANTS,
    SIGNATURE,
    STUDY,
    VARIANTS,
    Leaver,
    Site,
    StudyFile,
    TraitColumn,
)
from securegen.engines.federated.terms import opened_by
from securegen.errors import ArtefactError, StorageError
from securegen.governance.openings import FEW_MISSING, FEWEST, LEVELS
from securegen.governance.pin import Pin
from securegen.governance.signing import SigningIdentity, fingerprint, sha256, verifies
from securegen.io.output import FOR_OTHERS, write_json, write_text
from securegen.io.schema import Refused, boolean, hex_bytes, hex_text, integer, list_of, number, one_of, record, text
from securegen.io.strict_json import read_json, read_regular
from securegen.study.inputs import BUILDS, P_THRESH, PLINK2, STATISTICS, XCHR_MODELS
from securegen.vocabulary import ADDITIVE, CODINGS

FORMAT = 2
BY_PHENOTYPE = "by phenotype"
MOST_SITES = 64
MOST_STUDY = 1 << 20  # bytes of study.toml


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "[" + ", ".join(_toml(v) for v in value) + "]"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else str(value)


def _lines(values: dict[str, Any]) -> list[str]:
    return [f"{key} = {_toml(value)}" for key, value in values.items()]


def _key(raw: bytes) -> dict[str, str]:
    return {"verify_key": raw.hex(), "fingerprint": fingerprint(raw)}


def _bound(site: Site) -> dict[str, str]:
    return {} if site.policy is None else {"policy": site.policy}


def _chosen(study: StudyFile) -> dict[str, Any]:
    """Lines that only some studies have."""
    values = {
        "statistic": None if study.statistic == PLINK2 else study.statistic, "strata": list(study.strata) or None,
        "xchr_model": study.xchr_model, "split_par": study.split_par, "predictions": study.predictions or None,
        "step1": study.step1 or None, "write_score": study.write_score or None,
        "interaction": study.interaction, "pcs": study.pcs or None, "ld_prune_on": study.ld_prune_on,
        "genetic_model": None if study.genetic_model == ADDITIVE else study.genetic_model,
        "correction": None if study.correction == NONE else study.correction,
        "p_thresh": None if study.correction == NONE else study.p_thresh,
    }  # fmt: skip
    return {name: value for name, value in values.items() if value is not None}


def render(study: StudyFile, opened: list[str]) -> str:
    """The text of study.toml; `opened` says in words what the sites open together."""
    top = {
        "format": FORMAT, "name": study.name, "study_id": study.study_id, "model": study.model or BY_PHENOTYPE,
        "missing": study.missing, "bits": study.bits or 0, "covariates": list(study.covariates),
        "site_indicators": study.site_indicators, "loadings_pcs": study.loadings_pcs, "qc": study.qc,
        "smallest_cohort": study.smallest_cohort, "two_sites_learn_each_other": study.two_sites_learn_each_other,
        "dosage_grid": study.dosage_grid, "commit": study.commit, "openings": study.openings,
        "common_samples": study.common_samples, "fewest_people": study.fewest_people, "few_missing": study.few_missing,
        "consent_openings": study.consent_openings,
        **_chosen(study), "opened": opened, **dict(study.notes),
    }  # fmt: skip
    out = [
        "# A federated study of securegen: see docs/howto/federated.md. Changing a byte makes it another study.",
        *_lines(top),
    ]
    out += ["", "[coordinator]", *_lines(_key(study.coordinator))]
    variants = {"file": VARIANTS, "count": study.variants, "sha256": study.variants_digest}
    out += ["", "[variants]", *_lines(variants)]
    if study.loadings_digest:
        out += ["", "[loadings]", *_lines({"file": LOADINGS, "sha256": study.loadings_digest})]
    if study.pc_variants_digest:
        out += ["", "[pc_variants]", *_lines({"file": PC_VARIANTS, "sha256": study.pc_variants_digest})]
    if study.sets is not None:
        out += ["", "[masks]", *_lines(study.sets.to_toml())]
    if study.continues:
        out += ["", "[continues]", *_lines({"study": study.continues})]
    for gone in study.without:
        signed = {"left": gone.left} if gone.left else {}
        out += ["", "[[continues.without]]", *_lines({"name": gone.name, **_key(gone.verify_key), **signed})]
    for site in study.sites:
        out += ["", "[[site]]", *_lines({"name": site.name, **_key(site.verify_key), **_bound(site)})]
    for trait in study.phenotypes:
        out += ["", "[[phenotype]]", *_lines({"name": trait.name, "kind": trait.kind})]
    return "\n".join(out) + "\n"


def _policy(value: Any, where: str) -> str:
    """A pin in one line."""
    try:
        return Pin.from_text(text(200)(value, where)).to_text()
    except ValueError as error:
        raise Refused(f"{where} is not a policy's version, digest and steward: {error}") from None


_WORD = text(1000, least=1)
_COORDINATOR = record(verify_key=hex_bytes(32), fingerprint=_WORD)
_SITE = record(name=text(64), verify_key=hex_bytes(32), fingerprint=_WORD, may_have={"policy": _policy})
_LEAVER = record(name=text(64), verify_key=hex_bytes(32), fingerprint=_WORD, may_have={"left": text(2000)})
_CONTINUES = record(study=hex_text(32), without=list_of(_LEAVER, 1, MOST_SITES))


def _model(value: Any, where: str) -> Any:
    """A test of the catalogue as it is when the file is read."""
    return one_of(BY_PHENOTYPE, *models())(value, where)


_FILE = record(
    format=one_of(FORMAT), name=text(1000), study_id=hex_text(16), model=_model, missing=_WORD,
    bits=integer(0, 64), covariates=list_of(_WORD, 0, 10_000), site_indicators=boolean, loadings_pcs=integer(0, 1000),
    qc=boolean, smallest_cohort=integer(0, 1 << 32), two_sites_learn_each_other=boolean, dosage_grid=integer(0, 1 << 32),
    commit=boolean, openings=one_of(*LEVELS), common_samples=boolean, fewest_people=integer(FEWEST, 1 << 20),
    few_missing=one_of(*FEW_MISSING),
    consent_openings=boolean, opened=list_of(text(1000), 0, 1000), coordinator=_COORDINATOR,
    variants=record(file=one_of(VARIANTS), count=integer(0, 1 << 40), sha256=hex_text(32)),
    site=list_of(_SITE, 1, MOST_SITES),
    phenotype=list_of(record(name=_WORD, kind=_WORD), 0, 10_000),
    may_have={
        "statistic": one_of(*STATISTICS), "strata": list_of(one_of("X", "Y", "MT"), 1, 3),
        "xchr_model": one_of(*XCHR_MODELS), "split_par": one_of(*BUILDS), "predictions": boolean,
        "step1": integer(1, MOST_IN_BLOCK),
        "write_score": boolean, "interaction": _WORD,
        "correction": one_of(*CORRECTIONS), "p_thresh": number(0, 1),
        "genetic_model": one_of(*CODINGS), "pcs": integer(1, 100), "ld_prune_on": text(64, least=1),
        "pc_variants": record(file=one_of(PC_VARIANTS), sha256=hex_text(32)),
        "loadings": record(file=one_of(LOADINGS), sha256=hex_text(32)), "continues": _CONTINUES, "masks": study_sets.IN_FILE,
        **dict.fromkeys(NOTES, text(1000)),
    },
)  # fmt: skip


def parse(content: str, where: str) -> StudyFile:
    """Raises ArtefactError saying what is wrong with the file, and what `StudyFile` raises."""
    try:
        value = tomllib.loads(content)
        if value.get("format") not in (None, FORMAT):
            raise ArtefactError(f"{where} was written by another version of securegen: write the study again")
        value = _FILE(value, "")
    except (ValueError, RecursionError) as error:  # of TOML, of a number of too many digits, or Refused
        raise ArtefactError(f"{where} is not a study file: {error}") from None
    continues = value.get("continues", {"study": "", "without": []})
    for who in (value["coordinator"], *value["site"], *continues["without"]):
        if who["fingerprint"] != fingerprint(who["verify_key"]):
            raise ArtefactError(f"{where} is not a study file: a fingerprint in it is not that of its key")
    same = ("name", "study_id", "missing", "site_indicators", "loadings_pcs", "qc", "smallest_cohort",
            "two_sites_learn_each_other", "dosage_grid", "commit", "openings", "common_samples", "fewest_people",
            "few_missing", "consent_openings")  # fmt: skip
    return StudyFile(
        digest=sha256(b"securegen study", content.encode()),
        sites=tuple(Site(s["name"], s["verify_key"], s.get("policy")) for s in value["site"]),
        coordinator=value["coordinator"]["verify_key"],
        phenotypes=tuple(TraitColumn(p["name"], p["kind"]) for p in value["phenotype"]),
        covariates=tuple(value["covariates"]),
        model=None if value["model"] == BY_PHENOTYPE else value["model"],
        bits=value["bits"] or None,
        variants=value["variants"]["count"],
        variants_digest=value["variants"]["sha256"],
        loadings_digest=value["loadings"]["sha256"] if "loadings" in value else "",
        statistic=value.get("statistic", PLINK2),
        strata=tuple(value.get("strata", ())),
        xchr_model=value.get("xchr_model"),
        split_par=value.get("split_par"),
        predictions=value.get("predictions", False),
        step1=value.get("step1", 0),
        write_score=value.get("write_score", False),
        interaction=value.get("interaction"),
        genetic_model=value.get("genetic_model", ADDITIVE),
        correction=value.get("correction", NONE),
        p_thresh=float(value.get("p_thresh", P_THRESH)),
        pcs=value.get("pcs", 0),
        ld_prune_on=value.get("ld_prune_on"),
        pc_variants_digest=value["pc_variants"]["sha256"] if "pc_variants" in value else "",
        sets=study_sets.from_toml(value["masks"]) if "masks" in value else None,
        continues=continues["study"],
        without=tuple(Leaver(s["name"], s["verify_key"], s.get("left", "")) for s in continues["without"]),
        notes=tuple((name, value[name]) for name in NOTES if name in value),
        **{name: value[name] for name in same},
    )


def new_study_id() -> str:
    """A fresh id: 16 random bytes in hex."""
    return secrets.token_hex(16)


_SIGNATURE = record(study=hex_text(32), signature=hex_bytes(64))


def write_study(folder: Path, study: StudyFile, coordinator: SigningIdentity) -> StudyFile:
    """Write study.toml and study.sig; returns the study with its digest. Raises StorageError when one is there."""
    content = render(study, opened_by(study))
    finished = parse(content, STUDY)
    signature = coordinator.sign(b"securegen study " + finished.digest.encode())
    if not os.path.lexists(folder / STUDY):  # else the signature is of that one, which stays
        write_json(folder / SIGNATURE, {"study": finished.digest, "signature": signature.hex()}, mode=FOR_OTHERS)
    write_text(folder / STUDY, content, mode=FOR_OTHERS, overwrite=False)
    return finished


def read_study(path: Path) -> StudyFile:
    """study.toml after checking the coordinator's signature beside it.

    Raises StorageError when it cannot be read, ArtefactError when the signature does not hold.
    """
    try:
        content = read_regular(path, "a study file", most=MOST_STUDY).decode()
        seal = path.parent / SIGNATURE
        signature = read_json(seal, "the signature of a study", _SIGNATURE, most=1 << 16)["signature"]
    except FileNotFoundError as error:
        raise StorageError(f"there is no {error.filename}: is this the folder that the sites share?") from None
    except UnicodeDecodeError:
        raise ArtefactError(f"{path} is not a study file: it is not text") from None
    study = parse(content, str(path))
    if not verifies(study.coordinator, b"securegen study " + study.digest.encode(), signature):
        raise ArtefactError(f"{path} is not signed by the coordinator it names: it was altered")
    return study
