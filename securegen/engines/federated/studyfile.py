"""study.toml: what a federated study computes, who takes part, and what is opened. Signed once, accepted by every site.

Every message of a study carries the SHA-256 of this file, so nothing in it can change afterwards: a changed study is
another study, with other keys. Who learns what: it is public to everybody who can read the shared folder.
"""

from __future__ import annotations

import json
import re
import secrets
import tomllib
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from securegen.engines.federated.identity import SigningIdentity, check_name, fingerprint, sha256, verifies
from securegen.errors import ArtefactError, DesignError, PolicyError, StorageError, UsageError
from securegen.governance.openings import ALL, FEW_MISSING, FEWEST, LEVELS, STRICT, WITHHOLD, what_can_be_read
from securegen.io.dosages import check_grid
from securegen.io.output import FOR_OTHERS, write_json, write_text
from securegen.io.schema import Refused, boolean, hex_bytes, hex_text, integer, list_of, one_of, record, text
from securegen.io.strict_json import read_json, read_regular
from securegen.study import checks

STUDY, SIGNATURE, VARIANTS, LOADINGS = "study.toml", "study.sig", "variants.tsv", "loadings.tsv"
FORMAT = 2
BY_PHENOTYPE = "by phenotype"
MOST_SITES = 64
MOST_STUDY = 1 << 20  # bytes of study.toml
NOTES = ("purpose", "controller", "contact", "expires")
DATE = re.compile(r"[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])")
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
class StudyFile:
    """The contents of study.toml. digest: SHA-256 of the file, which names the study; see `write_study` for the rest.

    Raises PolicyError for fewer than three sites (two need two_sites_learn_each_other), UsageError for anything that
    does not fit together, DesignError for a model that does not fit a phenotype.

    commit: sites commit to each message of a sum before any shows one; openings: what may be opened, strict, consortium or
    all (governance.openings); common_samples: everybody analysed has every phenotype; fewest_people: k of the rules;
    few_missing: variants whose call few people of a site lack are withheld, or filled with rounded numbers;
    consent_openings: to more leverage and columns a person, and to sets of sites that differ by one; notes: signed text of NOTES.
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
    dosage_grid: int = 1
    commit: bool = False
    openings: str = STRICT
    common_samples: bool = True
    fewest_people: int = FEWEST
    few_missing: str = WITHHOLD
    consent_openings: bool = False
    notes: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        names = [check_name(s.name) for s in self.sites]
        if len(set(names)) < len(names) or len({s.verify_key for s in self.sites}) < len(names):
            raise UsageError("two sites of the study have the same name or the same key")
        for trait in self.phenotypes:
            checks.file_name(trait.name, "the study")
        if len(names) < 2:
            raise PolicyError(f"a federated study has three sites or more, not {len(names)}")
        if len(names) == 2 and not self.two_sites_learn_each_other:
            raise PolicyError(
                "with two sites each subtracts its own sums from the totals and has the other's exactly, however they are "
                "added: use three sites, or say --two-sites-learn-each-other"
            )
        if self.missing not in ("mean", "complete") or self.model not in (None, *MODELS):
            raise UsageError(f"model {self.model!r} or missing {self.missing!r} is not known")
        if not self.phenotypes:
            raise UsageError("a study needs a phenotype")
        for trait in self.phenotypes:
            if trait.kind not in KINDS:
                raise UsageError(f"phenotype {trait.name}: kind {trait.kind!r} is not one of {', '.join(KINDS)}")
        quantitative = [p.name for p in self.phenotypes if p.kind == QUANTITATIVE]
        if quantitative and self.model not in (None, "linear"):
            raise DesignError(
                f"--model {self.model} needs cases and controls; phenotype {quantitative[0]} is quantitative"
            )
        if "logistic" in map(self.test_of, self.phenotypes) and self.missing == "complete":
            raise UsageError("the score test needs --missing mean: its null model would differ for each variant")
        if self.minimum_cohort < 1 or self.variants < 1:
            raise UsageError("the minimum cohort and the number of variants must be positive")
        if self.openings not in LEVELS:
            raise UsageError(f"--openings {self.openings}: one of {', '.join(LEVELS)}")
        if self.few_missing not in FEW_MISSING:
            raise UsageError(f"--few-missing {self.few_missing}: one of {', '.join(FEW_MISSING)}")
        if self.fewest_people < FEWEST:
            raise UsageError(f"a study's rules speak of at least {FEWEST} people, not {self.fewest_people}")
        check_grid(self.dosage_grid)
        if self.components and not self.loadings_digest:
            raise UsageError("principal components need a file of loadings")
        unknown = [name for name, _ in self.notes if name not in NOTES]
        if unknown:
            raise UsageError(f"a study file has no field {unknown[0]}; free ones are {', '.join(NOTES)}")
        if self.expires is not None and not DATE.fullmatch(self.expires):
            raise UsageError(f"expires is {self.expires!r}: write a day as 2027-12-31")

    @property
    def expires(self) -> str | None:
        """The last day on which a site takes part, None for no end."""
        return dict(self.notes).get("expires")

    def refuse_expired(self) -> None:
        """Raise PolicyError after the study's last day (UTC)."""
        today = datetime.now(UTC).date().isoformat()
        if self.expires is not None and today > self.expires:
            raise PolicyError(f"the study ended on {self.expires} (expires in {STUDY}); today is {today}")

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


def render(study: StudyFile, opened: list[str]) -> str:
    """The text of study.toml; `opened` says in words what the sites open together."""
    top = {
        "format": FORMAT, "name": study.name, "study_id": study.study_id, "model": study.model or BY_PHENOTYPE,
        "missing": study.missing, "bits": study.bits or 0, "covariates": list(study.covariates),
        "site_indicators": study.site_indicators, "components": study.components, "qc": study.qc,
        "minimum_cohort": study.minimum_cohort, "two_sites_learn_each_other": study.two_sites_learn_each_other,
        "dosage_grid": study.dosage_grid, "commit": study.commit, "openings": study.openings,
        "common_samples": study.common_samples, "fewest_people": study.fewest_people, "few_missing": study.few_missing,
        "consent_openings": study.consent_openings, "opened": opened, **dict(study.notes),
    }  # fmt: skip
    out = [
        "# A federated study of securegen: see docs/federated.md. Changing a byte makes it another study.",
        *_lines(top),
    ]
    key = lambda raw: {"verify_key": raw.hex(), "fingerprint": fingerprint(raw)}  # noqa: E731
    out += ["", "[coordinator]", *_lines(key(study.coordinator))]
    variants = {"file": VARIANTS, "count": study.variants, "sha256": study.variants_digest}
    out += ["", "[variants]", *_lines(variants)]
    if study.loadings_digest:
        out += ["", "[loadings]", *_lines({"file": LOADINGS, "sha256": study.loadings_digest})]
    for site in study.sites:
        out += ["", "[[site]]", *_lines({"name": site.name, **key(site.verify_key)})]
    for trait in study.phenotypes:
        out += ["", "[[phenotype]]", *_lines({"name": trait.name, "kind": trait.kind})]
    return "\n".join(out) + "\n"


_WORD = text(1000, least=1)
_COORDINATOR = record(verify_key=hex_bytes(32), fingerprint=_WORD)
_SITE = record(name=text(64), verify_key=hex_bytes(32), fingerprint=_WORD)
_FILE = record(
    format=one_of(FORMAT), name=text(1000), study_id=hex_text(16), model=one_of(BY_PHENOTYPE, *MODELS), missing=_WORD,
    bits=integer(0, 64), covariates=list_of(_WORD, 0, 10_000), site_indicators=boolean, components=integer(0, 1000),
    qc=boolean, minimum_cohort=integer(0, 1 << 32), two_sites_learn_each_other=boolean, dosage_grid=integer(0, 1 << 32),
    commit=boolean, openings=one_of(*LEVELS), common_samples=boolean, fewest_people=integer(FEWEST, 1 << 20),
    few_missing=one_of(*FEW_MISSING),
    consent_openings=boolean, opened=list_of(text(1000), 0, 1000), coordinator=_COORDINATOR,
    variants=record(file=one_of(VARIANTS), count=integer(0, 1 << 40), sha256=hex_text(32)),
    site=list_of(_SITE, 1, MOST_SITES),
    phenotype=list_of(record(name=_WORD, kind=_WORD), 0, 10_000),
    may_have={"loadings": record(file=one_of(LOADINGS), sha256=hex_text(32)), **dict.fromkeys(NOTES, text(1000))},
)  # fmt: skip


def parse(content: str, where: str) -> StudyFile:
    """Raises ArtefactError saying what is wrong with the file, and what `StudyFile` raises."""
    try:
        value = tomllib.loads(content)
        if value.get("format") not in (None, FORMAT):
            raise ArtefactError(f"{where} was written by another version of securegen: write the study again")
        value = _FILE(value, "")
    except (tomllib.TOMLDecodeError, RecursionError, Refused) as error:
        raise ArtefactError(f"{where} is not a study file: {error}") from None
    for who in (value["coordinator"], *value["site"]):
        if who["fingerprint"] != fingerprint(who["verify_key"]):
            raise ArtefactError(f"{where} is not a study file: a fingerprint in it is not that of its key")
    same = ("name", "study_id", "missing", "site_indicators", "components", "qc", "minimum_cohort",
            "two_sites_learn_each_other", "dosage_grid", "commit", "openings", "common_samples", "fewest_people",
            "few_missing", "consent_openings")  # fmt: skip
    return StudyFile(
        digest=sha256(b"securegen study", content.encode()),
        sites=tuple(Site(s["name"], s["verify_key"]) for s in value["site"]),
        coordinator=value["coordinator"]["verify_key"],
        phenotypes=tuple(TraitColumn(p["name"], p["kind"]) for p in value["phenotype"]),
        covariates=tuple(value["covariates"]),
        model=None if value["model"] == BY_PHENOTYPE else value["model"],
        bits=value["bits"] or None,
        variants=value["variants"]["count"],
        variants_digest=value["variants"]["sha256"],
        loadings_digest=value["loadings"]["sha256"] if "loadings" in value else "",
        notes=tuple((name, value[name]) for name in NOTES if name in value),
        **{name: value[name] for name in same},
    )


def opened_by(study: StudyFile) -> list[str]:
    """What every site learns of the pooled cohort."""
    tests = {study.test_of(p) for p in study.phenotypes}
    out = ["counts of analysed samples"]
    if tests & {"linear", "logistic"}:
        out += ["Σx and Σx² of every phenotype and covariate, and their products summed over everybody"]
    if "logistic" in tests:
        out += ["gradient and Hessian of each Newton step of the null model"]
    out += [
        "for every variant Σg, Σg², the number of missing calls, and Σ g × each column with missing calls at the mean"
    ]
    if study.qc:
        out += ["for every variant, counts over founders for frequencies, missingness and Hardy–Weinberg tests"]
    if study.missing == "complete":
        out += [f"where {study.fewest_people} or more people of a site lack a call, or nobody, the products of columns "
                "over those who do"]  # fmt: skip
    if study.openings != ALL:
        out += [
            f"at how many sites fewer than {study.fewest_people} people would stand out in a variant: nothing else of it"
        ]
    return [*out, *what_can_be_read(study.openings, study.few_missing)]


def new_study_id() -> str:
    return secrets.token_hex(16)


_SIGNATURE = record(study=hex_text(32), signature=hex_bytes(64))


def write_study(folder: Path, study: StudyFile, coordinator: SigningIdentity) -> StudyFile:
    """Write study.toml and study.sig; returns the study with its digest. Raises StorageError when one is there."""
    content = render(study, opened_by(study))
    finished = parse(content, STUDY)
    signature = coordinator.sign(b"securegen study " + finished.digest.encode())
    write_text(folder / STUDY, content, mode=FOR_OTHERS, overwrite=False)
    write_json(
        folder / SIGNATURE, {"study": finished.digest, "signature": signature.hex()}, mode=FOR_OTHERS, overwrite=False
    )
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
