"""study.toml: what a federated study computes, who takes part, and what is opened. Signed once, accepted by every site.

Every message of a study carries the SHA-256 of this file, so nothing in it can change afterwards: a changed study is
another study, with other keys. Who learns what: it is public to everybody who can read the shared folder.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from securegen.catalogue import NONE, TESTS, Test, chosen, models
from securegen.engines.federated.study_sets import StudySets
from securegen.engines.federated.tilts import check_correction
from securegen.errors import DesignError, PolicyError, UsageError
from securegen.governance.openings import FEW_MISSING, FEWEST, LEVELS, ROUND, STRICT, WITHHOLD
from securegen.io.dosages import check_grid
from securegen.study import checks
from securegen.study.build import refuse_missing
from securegen.study.inputs import BUILDS, P_THRESH, PLINK2, REGENIE, STATISTICS, XCHR_MODELS, refuse_interaction
from securegen.vocabulary import ADDITIVE, CODINGS

STUDY, SIGNATURE, VARIANTS, LOADINGS = "study.toml", "study.sig", "variants.tsv", "loadings.tsv"
PC_VARIANTS = "pc-variants.txt"
MOST_IN_BLOCK = 2000  # variants of a whole-genome model
NOTES = ("aim", "controller", "contact", "expires")
DATE = re.compile(r"[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])")
QUANTITATIVE, CASE_CONTROL_12, CASE_CONTROL_01 = KINDS = ("quantitative", "case-control-12", "case-control-01")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}")


def check_name(name: str) -> str:
    """Raises UsageError unless the name can stand in a file name and a table."""
    if not NAME.fullmatch(name):
        raise UsageError(f"{name!r} is not a site name: letters, digits, _ and -, 32 at most")
    return name


@dataclass(frozen=True)
class Site:
    """A member of the study. verify_key: 32 bytes, Ed25519; policy: the one that its owner bound it to (`pin.Pin.to_text`)."""

    name: str
    verify_key: bytes
    policy: str | None = None


@dataclass(frozen=True)
class Leaver:
    """A site of the study that is continued, and not of this one. verify_key: 32 bytes; left: the line that it signed when
    it left (`leaving`), empty where it signed none."""

    name: str
    verify_key: bytes
    left: str = ""


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
    statistic: plink2, or regenie: linear models have the variance of their null model; interaction: the covariate whose
    product with the dosage is tested;
    pcs: components that the sites compute together, on the variants of PC_VARIANTS where its digest is given,
    without those that are in linkage disequilibrium at the site ld_prune_on;
    consent_openings: to more leverage and columns per person, and of every site to be read alone beside another study's totals;
    continues, without: digest of the study that goes on as this one, and the sites that are no longer in it; strata: kinds of
    chromosomes beside autosomes that the variants lie on (of X, Y, MT); xchr_model, split_par: as of study.inputs;
    predictions: of a whole-genome model, which every site has, or which the sites make together: step1 is then the variants of
    a block, write_score whether its effects are written as a polygenic score;
    genetic_model: what every site recodes its genotypes by; sets: whose masks, or tests, are in place of variants;
    correction, p_thresh: as of study.inputs;
    notes: signed text of NOTES.
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
    loadings_pcs: int
    qc: bool
    smallest_cohort: int
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
    statistic: str = PLINK2
    strata: tuple[str, ...] = ()
    xchr_model: int | None = None
    split_par: str | None = None
    predictions: bool = False
    step1: int = 0
    write_score: bool = False
    interaction: str | None = None
    genetic_model: str = ADDITIVE
    pcs: int = 0
    pc_variants_digest: str = ""
    ld_prune_on: str | None = None
    sets: StudySets | None = None
    correction: str = NONE
    p_thresh: float = P_THRESH
    continues: str = ""
    without: tuple[Leaver, ...] = ()
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
                "added: use three sites, or say `two_sites_learn_each_other`"
            )
        gone = {s.name for s in self.without} | {s.verify_key for s in self.without}
        if bool(self.continues) != bool(self.without) or gone & {*names, *(s.verify_key for s in self.sites)}:
            raise UsageError("a study that continues another names the sites that are no longer in it")
        if self.missing not in ("mean", "complete") or self.model not in (None, *models()):
            raise UsageError(f"model {self.model!r} or missing {self.missing!r} is not known")
        if not self.phenotypes:
            raise UsageError("a study needs a phenotype")
        for trait in self.phenotypes:
            if trait.kind not in KINDS:
                raise UsageError(f"phenotype {trait.name}: kind {trait.kind!r} is not one of {', '.join(KINDS)}")
        quantitative = [p.name for p in self.phenotypes if p.kind == QUANTITATIVE]
        if quantitative and self.model and TESTS[self.model].binary:
            raise DesignError(
                f"`model` {self.model} needs cases and controls; phenotype {quantitative[0]} is quantitative"
            )
        self._check_interaction()
        self._check_genetic_model()
        tests = [] if self.sets is not None and self.sets.tests else [self.test_of(t) for t in self.phenotypes]
        check_correction(self.correction, self.p_thresh, tests)
        if self.sets is not None:
            self.sets.check(
                openings=self.openings, statistic=self.statistic, qc=self.qc, interaction=self.interaction,
                genetic_model=self.genetic_model, several=not self.common_samples and len(self.phenotypes) > 1,
            )  # fmt: skip
        for trait in self.phenotypes:
            refuse_missing(self.test_of(trait), self.missing)
        if self.smallest_cohort < 1 or self.variants < 1:
            raise UsageError("the smallest cohort and the number of variants must be positive")
        checks.choice("openings", self.openings, LEVELS)
        checks.choice("few_missing", self.few_missing, FEW_MISSING)
        if self.fewest_people < FEWEST:
            raise UsageError(f"a study's rules speak of at least {FEWEST} people, not {self.fewest_people}")
        checks.choice("statistic", self.statistic, STATISTICS)
        if self.statistic == REGENIE and self.missing != "mean":
            raise UsageError(
                f"`missing` {self.missing} has another null model for each variant: `statistic` regenie needs mean"
            )
        if self.step1 and not self.predictions:
            raise UsageError("a whole-genome model (`step1`) makes `predictions`: the study file lacks them")
        if self.predictions and self.statistic != REGENIE:
            raise UsageError("predictions of a whole-genome model need the `statistic` regenie")
        for trait in self.phenotypes:
            if self.predictions and not self.test_of(trait).predictions:
                raise UsageError(f"predictions are for a `model` with a null model, not for {self.test_of(trait).name}")
        if self.step1 and not (self.common_samples or len(self.phenotypes) == 1):
            raise UsageError(
                "a whole-genome model of all sites (`step1`) takes people who have every phenotype: `common_samples`"
            )
        if self.write_score and not self.step1:
            raise UsageError("`write_score` is for a whole-genome model of all sites: give `step1`")
        checks.whole("step1", self.step1, 0, MOST_IN_BLOCK)
        checks.choice("xchr_model", self.xchr_model, (None, *XCHR_MODELS))
        checks.choice("split_par", self.split_par, (None, *BUILDS))
        if not set(self.strata) <= {"X", "Y", "MT"} or len(set(self.strata)) < len(self.strata):
            raise UsageError(f"strata of a study are X, Y and MT, not {', '.join(self.strata)}")
        check_grid(self.dosage_grid)
        if self.loadings_pcs and not self.loadings_digest:
            raise UsageError("principal components need a file of loadings")
        if self.loadings_digest and not self.loadings_pcs:
            raise UsageError("`loadings` are of components that become covariates: say how many, by `pcs`")
        if self.pcs and (self.loadings_pcs or self.loadings_digest):
            raise UsageError(
                "components are computed by the sites (`pcs`), or projected on public `loadings`: not both"
            )
        if (self.pc_variants_digest or self.ld_prune_on) and not self.pcs:
            raise UsageError("`pc_variants` and `ld_prune_on` choose the variants of components: give `pcs`")
        if self.ld_prune_on is not None:
            self.site(self.ld_prune_on)
        checks.whole("pcs", self.pcs, 0, 100)
        if self.pcs and self.dosage_grid != 1:
            raise UsageError("components of all sites (`pcs`) need hard calls, which tell relatives: `dosage_grid` 1")
        taken = [name for k in range(self.loadings_pcs or self.pcs) if (name := f"PC{k + 1}") in self.covariates]
        if taken:
            raise UsageError(f"a covariate of the tables and a component are both called {taken[0]}: leave one out")
        unknown = [name for name, _ in self.notes if name not in NOTES]
        if unknown:
            raise UsageError(f"a study file has no field {unknown[0]}; free ones are {', '.join(NOTES)}")
        if self.expires is not None and not DATE.fullmatch(self.expires):
            raise UsageError(f"expires is {self.expires!r}: write a day as 2027-12-31")

    def _check_interaction(self) -> None:
        if self.interaction is None:
            return
        refuse_interaction(self.interaction, self.model, self.missing)
        known = [*self.covariates, *(f"PC{k + 1}" for k in range(self.loadings_pcs or self.pcs))]
        known += [f"SITE={s.name}" for s in self.sites[1:]] if self.site_indicators else []
        if self.interaction not in known:
            raise UsageError(
                f"`interaction` {self.interaction}: the study has no such covariate; it has {', '.join(known) or 'none'}"
            )
        if self.statistic == REGENIE:
            raise UsageError(
                f"`interaction` {self.interaction} has Student's t: `statistic` regenie does not go with it"
            )
        if self.few_missing == ROUND:
            raise UsageError(
                f"`interaction` {self.interaction} fills no call in rounded: leave `few_missing` {ROUND} out"
            )

    def _check_genetic_model(self) -> None:
        checks.choice("genetic_model", self.genetic_model, tuple(CODINGS))
        if self.genetic_model == ADDITIVE:
            return
        for trait in self.phenotypes:
            if not self.test_of(trait).codings:
                raise UsageError(f"`{self.genetic_model}` is not for `model` {self.test_of(trait).name}")
        if self.dosage_grid > 1:
            raise UsageError(f"`{self.genetic_model}` needs hard calls: leave `dosage_grid` {self.dosage_grid} out")
        left = [name for name in self.strata if name != "X" or not self.x_as_stored]
        if left:
            raise UsageError(
                f"`{self.genetic_model}` needs people with two copies: variants on {', '.join(left)} go out"
            )

    @property
    def expires(self) -> str | None:
        """The last day on which a site takes part, None for no end."""
        return dict(self.notes).get("expires")

    def refuse_expired(self) -> None:
        """Raise PolicyError after the study's last day (UTC)."""
        today = datetime.now(UTC).date().isoformat()
        if self.expires is not None and today > self.expires:
            raise PolicyError(f"the study ended on {self.expires} (expires in {STUDY}); today is {today}")

    @property
    def x_as_stored(self) -> bool:
        """Whether X is analysed as the files have it: males 0 and 2, no covariate added, sex unknown or not."""
        return self.statistic == REGENIE and self.xchr_model is None

    @property
    def by_sex(self) -> bool:
        """Whether X is summed over people of known sex alone."""
        return "X" in self.strata and (not self.x_as_stored or self.qc)

    def test_of(self, trait: TraitColumn) -> Test:
        """The test of a phenotype: the study's model, or by its kind."""
        return chosen(self.model, binary=trait.kind != QUANTITATIVE, interaction=self.interaction)

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
