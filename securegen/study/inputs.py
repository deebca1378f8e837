"""What names a study: files, columns, people, variants and how they are tested. Every value is checked here, for the command
line and Python alike, before anything is read."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from securegen.catalogue import CORRECTIONS, LINEAR, NONE, TESTS, models, uses_missing
from securegen.design import column_bits
from securegen.errors import UsageError
from securegen.governance.consent_steps import purpose_of
from securegen.governance.gate import Asking
from securegen.governance.generalise import parse_rules
from securegen.governance.label_noise import LabelNoise, bounds_text, noise_of
from securegen.governance.signing import digest_of
from securegen.io.digests import sha256
from securegen.io.genotypes import FIELDS, FORMATS, LISTS, OPTIONS, GenotypeFiles
from securegen.io.loco import read_prediction_list
from securegen.study import checks
from securegen.study.mask_options import FILES as MASK_FILES
from securegen.study.noise_place import asked_digests, told_digests
from securegen.study.parts import part_of
from securegen.study.set_fields import SetFields
from securegen.vocabulary import ADDITIVE, CODINGS

Log = Callable[[str], None]
MISSING = ("mean", "complete")
XCHR_MODELS = (0, 1, 2)
PLINK2, REGENIE = STATISTICS = ("plink2", "regenie")
BUILDS = ("b37", "b38")
_SEVERAL = (
    "pheno_name",
    "covar_name",
    "chr",
    "covar_categorical",
    "condition",
    "generalise",
    "visa",
    "second_signature",
)
TABLES = ("pheno", "covar", "keep", "remove", "extract", "exclude", "condition_list", "pred", "consent", "mondo",
           *MASK_FILES, "aaf_file")  # fmt: skip
P_THRESH = 0.05  # regenie's
GENETIC_MODELS = tuple(name for name in CODINGS if name != ADDITIVE)
NOISE = ("dp_epsilon", "dp_delta", "dp_bounds")
ASKING = ("policy", "purpose", "identity", "visa", "second_signature")  # fields of who asks
_FLAGS = ("force_01", "apply_rint", "qc", "hwe_controls", "no_input_missing_phenotype", "fast", *GENETIC_MODELS)


def refuse_interaction(name: str, model: str | None, missing: str) -> None:
    """Raise UsageError for options that do not go with an interaction."""
    if model not in (None, LINEAR.name):
        raise UsageError(f"`interaction` {name} is for linear regression: leave `model` {model} out")
    if missing != "mean":
        raise UsageError(f"`interaction` {name} has missing calls at their mean: leave `missing` {missing} out")


def silent(_: str) -> None:
    """Log nothing."""


@dataclass(frozen=True)
class Inputs(SetFields):
    """What names a study: genotypes as in `io.genotypes.GenotypeFiles`, sets as in `study.set_fields.SetFields`,
    phenotypes, and how they are analysed. Paths are text; pheno_name and covar_name None mean every column of the file.

    model: linear, logistic, trend, allelic, or None to choose by the phenotype; missing: mean or complete; bits: of a design
    column, None for the planned precision; force_01: read 0/1 as control/case even if one is absent; covar_categorical:
    covariates that are categories; apply_rint: rank-based inverse normal transform of quantitative traits; chr, from_bp, to_bp:
    where variants lie; qc: also sum what quality control needs; hwe_controls: Hardy–Weinberg over controls of the first binary
    phenotype only; no_input_missing_phenotype: −9 is a number; common_samples: analyse every phenotype in the people who have
    all of them, None where the engine decides; condition, condition_list: ids of variants, and a file of them, whose dosages
    become covariates; xchr_model: males on X count 0 and 2 (2), 0 and 1 (1), or X is left out (0), None for 2 or for what
    regenie does; split_par: b37 or b38, the build by which the ends of X are PAR1 and PAR2; sex_name: a column of the phenotype
    or covariate table that has the sex; pred: list of the predictions of a whole-genome model, as regenie's step 1 writes it;
    statistic: plink2, or regenie: a linear model has the variance of its null model, and X is as the file has it; None for
    regenie with pred; dominant, recessive, hetonly: one of them, the genetic model: a genotype counts 1 with one copy of A1 or
    two, with two, or with one, else 0; interaction: the covariate whose product with the dosage is tested, of a linear model;
    correction: spa, firth or none, what replaces the score test's P where it is below p_thresh; fast: as regenie approximates
    it; purpose: what the data are used for, as DS:MONDO:0005148,IRB: only people whose consent
    covers it are analysed; consent: the register that has them; mondo: a table of diseases in place of the shipped one;
    generalise: COLUMN:k, bins of width k of a phenotype or covariate, or the first k characters of one of categories; policy:
    the file that governs the data, None for the one beside them; identity: signing key of who asks; visa: files of GA4GH visas
    of who asks; second_signature: files of second signatures; dp_epsilon: ε of noise on every phenotype; dp_delta: δ, of
    quantitative ones; dp_bounds: LO,HI, the public bounds of quantitative ones, as text or two numbers; blocks: i/n, the i-th
    of n parts of the variants, in file order.

    One name may be given as text. Raises UsageError for a value that a field does not take.
    """

    pheno: str | None = None
    pheno_name: tuple[str, ...] | None = None
    covar: str | None = None
    covar_name: tuple[str, ...] | None = None
    model: str | None = None
    missing: str = "mean"
    keep: str | None = None
    remove: str | None = None
    extract: str | None = None
    exclude: str | None = None
    chr: tuple[str, ...] | None = None
    from_bp: int | None = None
    to_bp: int | None = None
    bits: int | None = None
    force_01: bool = False
    covar_categorical: tuple[str, ...] | None = None
    apply_rint: bool = False
    qc: bool = False
    hwe_controls: bool = False
    no_input_missing_phenotype: bool = False
    common_samples: bool | None = None
    xchr_model: int | None = None
    split_par: str | None = None
    sex_name: str | None = None
    condition: tuple[str, ...] | None = None
    condition_list: str | None = None
    pred: str | None = None
    statistic: str | None = None
    dominant: bool = False
    recessive: bool = False
    hetonly: bool = False
    interaction: str | None = None
    correction: str = NONE
    p_thresh: float = P_THRESH
    fast: bool = False
    purpose: str | None = None
    consent: str | None = None
    mondo: str | None = None
    generalise: tuple[str, ...] | None = None
    policy: str | None = None
    identity: str | None = None
    visa: tuple[str, ...] | None = None
    second_signature: tuple[str, ...] | None = None
    dp_epsilon: float | None = None
    dp_delta: float | None = None
    dp_bounds: str | None = None
    blocks: str | None = None

    def __post_init__(self) -> None:
        for name in _SEVERAL:
            object.__setattr__(self, name, checks.names(name, getattr(self, name)))
        for name in FORMATS:
            object.__setattr__(self, name, checks.paths(name, getattr(self, name)))
        for name in (*LISTS, *(o.name for o in OPTIONS.values() if o.metavar)):
            object.__setattr__(self, name, checks.path(name, getattr(self, name)) or "")
        for name in (*TABLES, "policy", "identity"):
            object.__setattr__(self, name, checks.path(name, getattr(self, name)))
        for option in OPTIONS.values():
            if option.choices:
                checks.choice(option.name, getattr(self, option.name), (None, *option.choices))
        for name in (*_FLAGS, *(o.name for o in OPTIONS.values() if o.off)):
            checks.flag(name, getattr(self, name))
        checks.choice("common_samples", self.common_samples, (None, True, False))
        checks.choice("model", self.model, (None, *models()))
        checks.choice("missing", self.missing, MISSING)
        checks.choice("xchr_model", self.xchr_model, (None, *XCHR_MODELS))
        checks.choice("statistic", self.statistic, (None, *STATISTICS))
        checks.choice("split_par", self.split_par, (None, *BUILDS))
        checks.name("sex_name", self.sex_name)
        if self.sex_name and not (self.pheno or self.covar):
            raise UsageError("`sex_name` is a column of the phenotype or covariate table: give `pheno` or `covar`")
        self._check_purpose()
        parse_rules(self.generalise)
        object.__setattr__(self, "dp_bounds", bounds_text(self.dp_bounds))
        noise_of(self.dp_epsilon, self.dp_delta, self.dp_bounds)
        self._check_statistic()
        self._check_coding()
        self._check_interaction()
        self._check_correction()
        self.check_sets(self)
        _ = self.blocks is None or part_of(self.blocks)
        checks.whole("bits", self.bits, column_bits.MINIMUM_BITS, column_bits.MAXIMUM_BITS)
        checks.whole("from_bp", self.from_bp, 0, None)
        checks.whole("to_bp", self.to_bp, 0, None)
        checks.whole("dosage_grid", self.dosage_grid, 1, None)
        if self.from_bp is not None and self.to_bp is not None and self.from_bp > self.to_bp:
            raise UsageError(f"`from_bp` {self.from_bp} lies behind `to_bp` {self.to_bp}")

    def _check_purpose(self) -> None:
        checks.name("purpose", self.purpose)
        if self.purpose is not None:
            object.__setattr__(self, "purpose", str(purpose_of(self.purpose)))
        if self.consent and not self.purpose:
            raise UsageError(f"`consent` {self.consent} is for a `purpose`: name what the data are used for")
        if self.mondo and not self.purpose:
            raise UsageError("`mondo` is for a `purpose`")

    def _check_statistic(self) -> None:
        if self.pred and self.statistic == PLINK2:
            raise UsageError("`pred` needs the `statistic` regenie: leave it out")
        if self.pred and self.model is not None and not TESTS[self.model].predictions:
            able = ", ".join(name for name, test in TESTS.items() if test.predictions)
            raise UsageError(f"`pred` is for `model` {able}, not for {self.model}, which has no null model")
        if self.as_regenie and self.missing != "mean" and uses_missing(self.model):
            raise UsageError(
                f"`missing` {self.missing} has another null model for each variant: `statistic` regenie needs mean"
            )

    def _check_interaction(self) -> None:
        checks.name("interaction", self.interaction)
        if self.interaction is None:
            return
        refuse_interaction(self.interaction, self.model, self.missing)
        if self.as_regenie:
            raise UsageError(
                f"`interaction` {self.interaction} has Student's t: it goes without `pred` and without regenie's `statistic` "
                "and `format`"
            )
        if self.coding != ADDITIVE:
            raise UsageError(f"`interaction` {self.interaction} counts copies of A1: leave `{self.coding}` out")

    def _check_coding(self) -> None:
        named = [name for name in GENETIC_MODELS if getattr(self, name)]
        if len(named) > 1:
            raise UsageError(f"`{named[0]}` and `{named[1]}`: a run has one genetic model")
        if named and self.model is not None and not TESTS[self.model].codings:
            able = ", ".join(name for name, test in TESTS.items() if test.codings)
            raise UsageError(f"`{named[0]}` is for `model` {able}, not for {self.model}")

    def _check_correction(self) -> None:
        checks.choice("correction", self.correction, (NONE, *CORRECTIONS))
        checks.number("p_thresh", self.p_thresh, 0, 1)
        if not self.corrects and (self.fast or self.p_thresh != P_THRESH):
            raise UsageError(f"`{'fast' if self.fast else 'p_thresh'}` needs a `correction`: {', '.join(CORRECTIONS)}")
        if self.corrects and self.model is not None and self.correction not in TESTS[self.model].corrections:
            raise UsageError(f"`correction` {self.correction} is for `model` logistic, not for {self.model}")

    @property
    def corrects(self) -> bool:
        """Whether score tests are corrected."""
        return self.correction != NONE

    @property
    def coding(self) -> str:
        """The genetic model, of `vocabulary.CODINGS`."""
        return next((name for name in GENETIC_MODELS if getattr(self, name)), ADDITIVE)

    @property
    def asking(self) -> Asking:
        """Who asks, and under what."""
        return Asking(
            self.policy,
            self.identity,
            self.purpose,
            self.second_signature or (),
            self.consent,
            self.mondo,
            self.visa or (),
        )

    @property
    def label_noise(self) -> LabelNoise | None:
        """Noise on phenotypes, None where they stay exact."""
        return noise_of(self.dp_epsilon, self.dp_delta, self.dp_bounds)

    @property
    def as_regenie(self) -> bool:
        """Whether linear models have the variance of their null model, and X is as regenie has it."""
        return self.statistic == REGENIE or bool(self.pred)

    @property
    def x_as_stored(self) -> bool:
        """Whether X is analysed as the file has it: males 0 and 2, no covariate added, sex unknown or not."""
        return self.as_regenie and self.xchr_model is None

    @property
    def x_model(self) -> int:
        """How males on X count."""
        return 2 if self.xchr_model is None else self.xchr_model

    @property
    def genotypes(self) -> GenotypeFiles:
        return GenotypeFiles(**{name: getattr(self, name) for name in FIELDS})

    def files(self) -> dict[str, Path]:
        """Every input file by the name it has in run.json."""
        out = self.genotypes.files()
        for name in TABLES:
            if getattr(self, name):
                out[name] = Path(getattr(self, name))
        if self.pred:
            out |= {f"pred.{name}": path for name, path in read_prediction_list(self.pred).items()}
        return out

    def digests(self) -> dict[str, str]:
        """SHA-256 of every input file."""
        return {name: sha256(path) for name, path in self.files().items()}

    def told_digests(self) -> dict[str, str]:
        """SHA-256 of the files that records may name: with noise on phenotypes of no table of people."""
        return told_digests(self)

    def asked_for(self, but: Collection[str] = ()) -> dict[str, str]:
        """What a policy is asked for: digests of files, `but` some, and one of every option that names no file."""
        named = {*FORMATS, *LISTS, *TABLES, *ASKING, *(o.name for o in OPTIONS.values() if o.metavar)}
        return asked_digests(self, but) | {
            "options": digest_of({k: v for k, v in vars(self).items() if k not in named})
        }
