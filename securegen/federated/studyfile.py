"""study.toml: what a federated study computes, who takes part, and what is opened. Signed once, accepted by every site.

Every message of a study carries the SHA-256 of this file, so nothing in it can change afterwards: a changed study is
another study, with other keys. Who learns what: it is public to everybody who can read the shared folder.
"""

from __future__ import annotations

import json
import secrets
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from securegen.ckks.threshold import ThresholdParameters
from securegen.errors import ArtefactError, DesignError, PolicyError, StorageError, UsageError
from securegen.federated.identity import Identity, check_name, sha256, verifies
from securegen.io.dosages import check_grid
from securegen.io.output import FOR_OTHERS, write_json, write_text

STUDY, SIGNATURE, VARIANTS, LOADINGS = "study.toml", "study.sig", "variants.tsv", "loadings.tsv"
FORMAT = 1
QUANTITATIVE, CASE_CONTROL_12, CASE_CONTROL_01 = KINDS = ("quantitative", "case-control-12", "case-control-01")
MODELS = ("linear", "logistic", "trend", "allelic")


@dataclass(frozen=True)
class Site:
    """A member of the study. verify_key: 32 bytes, Ed25519."""

    name: str
    verify_key: bytes


@dataclass(frozen=True)
class TraitColumn:
    """A phenotype column and how its values are read (one of KINDS): a site alone cannot tell from its own people."""

    name: str
    kind: str


@dataclass(frozen=True)
class Study:
    """The contents of study.toml. digest: SHA-256 of the file, which names the study; see `write_study` for the rest.

    Raises PolicyError for fewer than three sites (two need two_sites_learn_each_other), UsageError for anything that
    does not fit together, DesignError for a model that does not fit a phenotype, PlanError when the parameters hold no sums.
    """

    digest: str
    name: str
    study_id: str
    sites: tuple[Site, ...]
    coordinator: bytes
    phenotypes: tuple[TraitColumn, ...]
    covariates: tuple[str, ...]
    model: str | None
    missing: str
    bits: int | None
    site_indicators: bool
    components: int
    qc: bool
    minimum_cohort: int
    two_sites_learn_each_other: bool
    variants: int
    variants_digest: str
    loadings_digest: str
    ciphertexts: int
    dosage_grid: int = 1

    def __post_init__(self) -> None:
        names = [check_name(s.name) for s in self.sites]
        if len(set(names)) < len(names) or len({s.verify_key for s in self.sites}) < len(names):
            raise UsageError("two sites of the study have the same name or the same key")
        if len(names) < 2:
            raise PolicyError(f"a federated study has three sites or more, not {len(names)}")
        if len(names) == 2 and not self.two_sites_learn_each_other:
            raise PolicyError(
                "with two sites each subtracts its own sums from the totals and has the other's exactly, however they are "
                "added: use three sites, or say --two-sites-learn-each-other"
            )
        if self.missing not in ("mean", "complete") or self.model not in (None, *MODELS):
            raise UsageError(f"model {self.model!r} or missing {self.missing!r} is not known")
        if not self.phenotypes or any(p.kind not in KINDS for p in self.phenotypes):
            raise UsageError(f"a study needs phenotypes, each of a kind among {', '.join(KINDS)}")
        quantitative = [p.name for p in self.phenotypes if p.kind == QUANTITATIVE]
        if quantitative and self.model not in (None, "linear"):
            raise DesignError(
                f"--model {self.model} needs cases and controls; phenotype {quantitative[0]} is quantitative"
            )
        if "logistic" in map(self.test_of, self.phenotypes) and self.missing == "complete":
            raise UsageError("the score test needs --missing mean: its null model would differ for each variant")
        if self.minimum_cohort < 1 or self.variants < 1:
            raise UsageError("the minimum cohort and the number of variants must be positive")
        check_grid(self.dosage_grid)
        if self.components and not self.loadings_digest:
            raise UsageError("principal components need a file of loadings")
        assert self.parameters.sites == len(names)

    @property
    def parameters(self) -> ThresholdParameters:
        return ThresholdParameters.standard(len(self.sites), self.ciphertexts)

    def test_of(self, trait: TraitColumn) -> str:
        """The test of a phenotype: the study's model, or by its kind."""
        return self.model or ("linear" if trait.kind == QUANTITATIVE else "logistic")

    def site(self, name: str) -> Site:
        """Raises UsageError when the study has no such site."""
        for s in self.sites:
            if s.name == name:
                return s
        raise UsageError(f"site {name} is not in the study (its sites: {', '.join(s.name for s in self.sites)})")

    def site_of(self, verify_key: bytes) -> Site:
        """The site that signs with this key. Raises PolicyError when there is none."""
        for s in self.sites:
            if s.verify_key == verify_key:
                return s
        raise PolicyError("the signing key of this site is not in the study: ask the coordinator to name it there")


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "[" + ", ".join(_toml(v) for v in value) + "]"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else str(value)


def _lines(values: dict[str, Any]) -> list[str]:
    return [f"{key} = {_toml(value)}" for key, value in values.items()]


def render(study: Study, opened: list[str]) -> str:
    """The text of study.toml; `opened` says in words what the sites decrypt together."""
    top = {
        "format": FORMAT, "name": study.name, "study_id": study.study_id, "model": study.model or "by phenotype",
        "missing": study.missing, "bits": study.bits or 0, "covariates": list(study.covariates),
        "site_indicators": study.site_indicators, "components": study.components, "qc": study.qc,
        "minimum_cohort": study.minimum_cohort, "two_sites_learn_each_other": study.two_sites_learn_each_other,
        "dosage_grid": study.dosage_grid, "ciphertexts": study.ciphertexts, "opened": opened,
    }  # fmt: skip
    out = [
        "# A federated study of securegen: see docs/federated.md. Changing a byte makes it another study.",
        *_lines(top),
    ]
    out += ["", "[coordinator]", *_lines({"verify_key": study.coordinator.hex()})]
    variants = {"file": VARIANTS, "count": study.variants, "sha256": study.variants_digest}
    out += ["", "[variants]", *_lines(variants)]
    if study.loadings_digest:
        out += ["", "[loadings]", *_lines({"file": LOADINGS, "sha256": study.loadings_digest})]
    for site in study.sites:
        out += ["", "[[site]]", *_lines({"name": site.name, "verify_key": site.verify_key.hex()})]
    for trait in study.phenotypes:
        out += ["", "[[phenotype]]", *_lines({"name": trait.name, "kind": trait.kind})]
    return "\n".join(out) + "\n"


def parse(text: str, where: str) -> Study:
    """Raises ArtefactError saying what is wrong with the file, and what `Study` raises."""
    try:
        value = tomllib.loads(text)
        if value["format"] != FORMAT:
            raise ArtefactError(f"{where} was written by another version of securegen (format {value['format']})")
        return Study(
            digest=sha256(b"securegen study", text.encode()),
            name=str(value["name"]),
            study_id=str(value["study_id"]),
            sites=tuple(Site(str(s["name"]), bytes.fromhex(s["verify_key"])) for s in value["site"]),
            coordinator=bytes.fromhex(value["coordinator"]["verify_key"]),
            phenotypes=tuple(TraitColumn(str(p["name"]), str(p["kind"])) for p in value["phenotype"]),
            covariates=tuple(map(str, value["covariates"])),
            model=None if value["model"] == "by phenotype" else str(value["model"]),
            missing=str(value["missing"]),
            bits=int(value["bits"]) or None,
            site_indicators=bool(value["site_indicators"]),
            components=int(value["components"]),
            qc=bool(value["qc"]),
            minimum_cohort=int(value["minimum_cohort"]),
            two_sites_learn_each_other=bool(value["two_sites_learn_each_other"]),
            variants=int(value["variants"]["count"]),
            variants_digest=str(value["variants"]["sha256"]),
            loadings_digest=str(value.get("loadings", {}).get("sha256", "")),
            ciphertexts=int(value["ciphertexts"]),
            dosage_grid=int(value.get("dosage_grid", 1)),
        )
    except (tomllib.TOMLDecodeError, KeyError, TypeError, ValueError) as error:
        raise ArtefactError(f"{where} is not a study file: {error}") from None


def opened_by(study: Study) -> list[str]:
    """What every site, and whoever can read the shared folder, learns of the pooled cohort."""
    tests = {study.test_of(p) for p in study.phenotypes}
    out = ["counts of analysed samples"]
    if tests & {"linear", "logistic"}:
        out += ["Σx and Σx² of every phenotype and covariate, and their products summed over everybody"]
    if "logistic" in tests:
        out += ["gradient and Hessian of each Newton step of the null model"]
    out += ["for every variant Σg, Σg², Σ g × each column, missing calls"]
    out += ["where calls are missing, the sums of each column over the people who miss the call"]
    if study.qc:
        out += ["for every variant, counts over founders for frequencies, missingness and Hardy–Weinberg tests"]
    if study.missing == "complete":
        out += ["where calls are missing, the products of columns over the people who miss the call"]
    return out


def plan_ciphertexts(variants: int, columns: int, *, complete: bool) -> int:
    """A generous number of ciphertexts a study of this size may open: a power of two."""
    fields = 2 * columns + 3 + (columns * (columns + 1) // 2 if complete else 0)
    need = 4 * (variants * fields // 8192 + 64 * (columns + 1))
    return 1 << max(need, 512).bit_length()


def new_study_id() -> str:
    return secrets.token_hex(16)


def write_study(folder: Path, study: Study, coordinator: Identity) -> Study:
    """Write study.toml and study.sig; returns the study with its digest. Raises StorageError when one is there."""
    text = render(study, opened_by(study))
    finished = parse(text, STUDY)
    signature = coordinator.sign(b"securegen study " + finished.digest.encode())
    write_text(folder / STUDY, text, mode=FOR_OTHERS, overwrite=False)
    write_json(
        folder / SIGNATURE, {"study": finished.digest, "signature": signature.hex()}, mode=FOR_OTHERS, overwrite=False
    )
    return finished


def read_study(path: Path) -> Study:
    """study.toml after checking the coordinator's signature beside it.

    Raises StorageError when it cannot be read, ArtefactError when the signature does not hold.
    """
    try:
        text = path.read_text()
        signed = json.loads((path.parent / SIGNATURE).read_text())
        study = parse(text, str(path))
        signature = bytes.fromhex(signed["signature"])
    except OSError as error:
        raise StorageError(f"cannot read {error.filename}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise ArtefactError(f"{path.parent / SIGNATURE} is not a signature: {error}") from None
    if not verifies(study.coordinator, b"securegen study " + study.digest.encode(), signature):
        raise ArtefactError(f"{path} is not signed by the coordinator it names: it was altered")
    return study


def fingerprint(verify_key: bytes) -> str:
    """What people compare by telephone."""
    return sha256(b"fingerprint", verify_key)[:16]
