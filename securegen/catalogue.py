"""Every association test, one record each: what engines, tables, options and reports ask about a test.

A test on the same sums costs a design (`design/`), its statistics (`stats/`) and a record here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from securegen import vocabulary as voc
from securegen.design import contingency, interaction, linear, logistic
from securegen.design.columns import Analysis, Design
from securegen.design.data import DesignData
from securegen.design.fixedpoint import SumOverSites
from securegen.design.qc import QcModel
from securegen.errors import UsageError
from securegen.stats import contingency as counts
from securegen.stats import interaction as interactions
from securegen.stats import linear as regression
from securegen.stats import score_test
from securegen.stats.corrected import Correction, NullFit, Variant
from securegen.stats.firth import firth
from securegen.stats.qc import quality
from securegen.stats.saddlepoint import saddlepoint
from securegen.vocabulary import ADDITIVE

Table = dict[str, np.ndarray]
NONE, SPA, FIRTH = "none", "spa", "firth"
# --correction -> what replaces the statistics of one variant, where the score test's P is small.
CORRECTIONS: dict[str, Callable[[NullFit, Variant], Correction | None]] = {SPA: saddlepoint, FIRTH: firth}


@dataclass(frozen=True)
class Reads:
    """Which numbers of a variant a test reads, by places among the columns of its analysis; the first says who is analysed.

    people: columns of which calls and alleles are counted; squared: those of them with Σg²; filled: the first of the columns
    x whose Σgx has missing calls at the mean, None where calls are counted; weight: a column x with Σg²x, whose total is
    the model's `weight_total`; quadratic: other columns x with Σg²x; minor: cases whose minor alleles are counted; counted:
    columns of which called people and alleles are counted apart.
    """

    people: tuple[int, ...] = (0,)
    squared: tuple[int, ...] = ()
    filled: int | None = None
    weight: int | None = None
    quadratic: tuple[int, ...] = ()
    minor: int | None = None
    counted: tuple[int, ...] = ()


@dataclass(frozen=True)
class Promise:
    """How far a printed statistic may be from exact reals.

    name: of its numbers in run.json; promised: the bound that is promised; scaled: (columns, model) -> (V,), the certain
    bound of each variant in units of the promise; expected: of a model; planned: in words, before a variant is seen.
    """

    name: str
    promised: float
    scaled: Callable[[Table, Any], np.ndarray]
    expected: Callable[[Any], float]
    planned: Callable[[Any], str]


def one_row(model: Any) -> tuple[str, ...]:
    """A row per variant, named after the genetic model."""
    return (voc.CODINGS[getattr(model, "coding", voc.ADDITIVE)],)


@dataclass(frozen=True)
class Test:
    """One test. Models are frozen dataclasses with phenotype, covariates, samples and bits; an owner keeps them as JSON.

    name: of `--model` and of an analysis; title: in a report; design: columns and model of a group of phenotypes;
    statistics: (sums, model, grid=) -> the columns of the table, and bounds that are not printed; model: its class; columns:
    of the table; suffix: of its file; binary: needs cases and controls; covariates: uses them; together: phenotypes in the
    same people share their columns; missing: what `--missing` may be, none where missing calls are left out anyway;
    called: in a sentence; copies: statistics also take `copies` and `single`, who has one copy, and so it is done on X, Y
    and MT; predictions: its design takes those of a whole-genome model; codings: and dosages that a genetic model recodes;
    interacts: it is linear regression with a product of the dosage and a covariate; rows: TEST of each row of a variant, of a
    model; main: the row that is ranked and drawn; corrections: of `CORRECTIONS`, those that it can have.
    """

    __test__: ClassVar[bool] = False  # not a class of pytest

    name: str
    title: str
    design: Callable[[DesignData, SumOverSites], Design]
    statistics: Callable[..., Table]
    model: type[Any]
    columns: tuple[str, ...]
    suffix: str
    reads: Reads
    binary: bool = False
    covariates: bool = True
    together: bool = False
    missing: frozenset[str] = frozenset()
    promise: Promise | None = None
    called: str = ""
    copies: bool = False
    predictions: bool = False
    codings: bool = False
    interacts: bool = False
    rows: Callable[[Any], tuple[str, ...]] = one_row
    main: int = 0
    corrections: frozenset[str] = frozenset()

    @property
    def effects(self) -> bool:
        """Whether its table has one effect size a variant, which tables of other programs are made of."""
        return {"BETA", "SE"} <= set(self.columns) and not self.interacts

    def read_model(self, kind: str, fields: Mapping[str, Any]) -> Any:
        """The model that `dataclasses.asdict` and JSON wrote. Raises ValueError for one of another class or other fields."""
        if kind != self.model.__name__:
            raise ValueError(f"a model of {self.name} is a {self.model.__name__}, not {kind}")
        try:
            return self.model(**{name: _tuples(value) for name, value in fields.items()})
        except TypeError as error:
            raise ValueError(f"the fields of a {kind} are others: {error}") from None


def _tuples(value: Any) -> Any:
    return tuple(_tuples(v) for v in value) if isinstance(value, list) else value


def _dt(columns: Table, model: linear.LinearModel) -> np.ndarray:
    df = np.maximum(columns["OBS_CT"] - len(model.gram) - 1, 1)
    out: np.ndarray = columns["DT_BOUND"] / (1 + columns["T_STAT"] ** 2 / df)
    return out


def _dchisq(columns: Table, _: logistic.ScoreModel) -> np.ndarray:
    out: np.ndarray = columns["DCHISQ_BOUND"] / np.maximum(columns["CHISQ"], 1)
    return out


DT = Promise(
    "dt",
    1e-3,
    _dt,
    regression.expected_t_error,
    lambda m: (
        f"precision of T for {m.phenotype}: certain {regression.planned_t_error(m):.1e}·(1 + T²/df) as planned, "
        f"expected within {regression.expected_t_error(m):.1e}"
    ),
)
DCHISQ = Promise(
    "dchisq",
    score_test.PROMISED,
    _dchisq,
    score_test.expected_chisq_error,
    lambda m: f"precision of χ² for {m.phenotype}: expected within {score_test.expected_chisq_error(m):.1e}·max(1, χ²)",
)

DT_OF_ROWS = Promise(
    "dt",
    1e-3,
    lambda columns, _: columns["DT_SCALED"],
    interactions.expected_error,
    lambda m: (
        f"precision of T for {m.phenotype} with {m.covariate}: certain {interactions.planned_error_of(m):.1e}·(1 + T²/df) as "
        f"planned, expected within {interactions.expected_error(m):.1e}"
    ),
)

LINEAR = Test(
    "linear", "Linear regression, additive in copies of A1", linear.linear, regression.linear, linear.LinearModel,
    voc.LINEAR_COLUMNS, "glm.linear", Reads(squared=(0,), filled=1), together=True,
    missing=frozenset({"mean", "complete"}), promise=DT, called="linear regression",
    copies=True, predictions=True, codings=True,
)  # fmt: skip
LOGISTIC = Test(
    "logistic", "Score test of a logistic model, additive in copies of A1", logistic.logistic, score_test.score_test,
    logistic.ScoreModel, voc.SCORE_TEST_COLUMNS, "glm.logistic.score", Reads(filled=2, weight=3, minor=1), binary=True,
    missing=frozenset({"mean"}), promise=DCHISQ, called="the score test", copies=True,
    predictions=True, codings=True, corrections=frozenset(CORRECTIONS),
)  # fmt: skip
TREND = Test(
    "trend", "Cochran–Armitage trend test", contingency.trend, counts.trend, contingency.CountModel, voc.TREND_COLUMNS,
    "trend", Reads(squared=(0,), counted=(1,)), binary=True, covariates=False,
)  # fmt: skip
ALLELIC = Test(
    "allelic", "Test of the 2 × 2 table of allele counts", contingency.allelic, counts.allelic, contingency.CountModel,
    voc.ALLELIC_COLUMNS, "allelic", Reads(counted=(1,)), binary=True, covariates=False,
)  # fmt: skip
INTERACTION = Test(
    "interaction", "Linear regression with the product of copies of A1 and a covariate", interaction.interaction,
    interactions.interaction, interaction.InteractionModel, voc.INTERACTION_COLUMNS, "glm.linear.interaction",
    Reads(squared=(0,), filled=1, quadratic=(1, 2)), together=True, missing=frozenset({"mean"}), promise=DT_OF_ROWS,
    called="a linear model with an interaction", copies=True, interacts=True, rows=interactions.tests_of, main=1,
)  # fmt: skip

TESTS: dict[str, Test] = {t.name: t for t in (LINEAR, LOGISTIC, TREND, ALLELIC, INTERACTION)}


def models() -> tuple[str, ...]:
    """What `--model` takes, in this order; `--interaction` chooses among the others."""
    return tuple(name for name, test in TESTS.items() if not test.interacts)


def _nobody(_: DesignData, __: SumOverSites) -> Design:
    raise ValueError("quality control is of people, not of phenotypes: design.qc")


# Not a choice of `--model`: its sums are read by filters and files of its own.
QUALITY = Test(
    "qc",
    "Quality control",
    _nobody,
    quality,
    QcModel,
    (),
    "",
    Reads(people=(0, 1, 2), squared=(2,)),
    covariates=False,
    copies=True,
)


def record_of(analysis: Analysis) -> Test:
    """The record of an analysis, quality control included."""
    return named(analysis.test)


def named(test: str) -> Test:
    """The record of that name. Raises KeyError where there is none."""
    return QUALITY if test == QUALITY.name else TESTS[test]


def reads_of(analysis: Analysis) -> Reads:
    """What an analysis reads: as its test, and quality control all its sets of people, of which X has more.

    Where a genetic model recodes dosages, Σ of the alleles over everybody analysed is read in the place of Σg².
    """
    if analysis.association:
        reads = record_of(analysis).reads
        return reads if analysis.coding == ADDITIVE else replace(reads, squared=(0,))
    people = tuple(range(len(analysis.columns)))
    return Reads(people=people, squared=people[-len(analysis.squares) :])


def usual(*, binary: bool) -> Test:
    """The test of a phenotype where no model is given."""
    return LOGISTIC if binary else LINEAR


def chosen(model: str | None, *, binary: bool, interaction: str | None = None) -> Test:
    """The test of a phenotype by the options. Raises UsageError for an interaction beside a model that has none."""
    test = TESTS[model] if model else usual(binary=binary)
    if interaction is None:
        return test
    if test is not LINEAR:
        which = f"`model` {model}" if model else "a case/control phenotype, whose model is logistic,"
        raise UsageError(
            f"`interaction` {interaction} is for linear regression, and {which} has none: name quantitative phenotypes "
            "(`pheno_name`), or `model` linear"
        )
    return INTERACTION


def uses_missing(model: str | None) -> bool:
    """Whether `--missing` changes anything under this model; None: the test is chosen by the phenotype."""
    return model is None or bool(TESTS[model].missing)


def has_copies(model: str | None) -> bool:
    """Whether X, Y and MT are analysed under this model; None: the test is chosen by the phenotype."""
    return model is None or TESTS[model].copies
