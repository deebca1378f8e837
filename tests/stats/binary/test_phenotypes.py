"""How phenotypes and covariates are read: case coding, ranks, categories, several traits, and what is said aloud."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

import securegen as sg
from securegen.engines.plain.engine import write_plain
from securegen.errors import DesignError, UsageError
from securegen.study.opening import open_study
from securegen.study.people import interpret_phenotype
from securegen.study.traits import rank_inverse_normal

NAN = np.nan


@pytest.mark.parametrize(
    ("values", "forced", "binary", "expected"),
    [
        ([1, 2, 2, 1], False, True, [0, 1, 1, 0]),
        ([1, 2, 0, NAN], False, True, [0, 1, NAN, NAN]),
        ([0, 1, NAN, 1], False, True, [0, 1, NAN, 1]),
        ([0, 1, 1], True, True, [0, 1, 1]),
        ([1, 1, NAN], True, True, [1, 1, NAN]),
        ([0, 0], True, True, [0, 0]),
        ([1, 2, 3], False, False, [1, 2, 3]),
        ([0, 1, 2, 3], False, False, [0, 1, 2, 3]),
        ([1.5, 2, 1], False, False, [1.5, 2, 1]),
        ([1, 2, 1], True, True, [0, 1, 0]),
        ([-1.5, 2.5], False, False, [-1.5, 2.5]),
    ],
)
def test_case_coding(values, forced, binary, expected):
    phenotype = interpret_phenotype("Y", np.array(values, float), force_01=forced)
    assert phenotype.binary is binary
    np.testing.assert_array_equal(phenotype.values, np.array(expected, float))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1, 1, NAN], r"only the value\(s\) 1:"), ([2, 2], r"only the value\(s\) 2:"), ([0, 2, 2], r"value\(s\) 0, 2:"),
        ([0, 0], r"value\(s\) 0:"), ([5, 5, 5], r"value\(s\) 5:"), ([NAN, NAN], "is missing for every genotyped sample"),
    ],
)  # fmt: skip
def test_codings_that_are_refused(values, message):
    """A value is said where ten people or more have it: fewer could be told by it."""
    with pytest.raises(DesignError, match=f"phenotype Y .*{message}" if "value" in message else message):
        interpret_phenotype("Y", np.repeat(np.array(values, float), 10))
    if "value" in message:
        with pytest.raises(DesignError, match="of fewer than 10 people"):
            interpret_phenotype("Y", np.array(values, float))


@pytest.mark.parametrize("ties", [False, True])
def test_ranks_to_normal_quantiles(ties):
    """Blom's transform from its definition, with scipy's ranks and quantiles."""
    rng = np.random.default_rng(2)
    values = rng.exponential(size=301)
    if ties:
        values = np.round(values, 1)
    ours = rank_inverse_normal(values)
    np.testing.assert_allclose(ours, stats.norm.ppf((stats.rankdata(values) - 3 / 8) / (301 + 1 / 4)), rtol=1e-13)
    assert stats.spearmanr(ours, values)[0] == pytest.approx(1) and abs(ours.mean()) < (0.02 if ties else 1e-12)
    np.testing.assert_allclose(ours, rank_inverse_normal(np.exp(values)), rtol=1e-13)


@pytest.fixture
def cohort(tmp_path):
    """(columns of a table of 80 people, options) -> study and its log, on 12 simulated variants."""
    rng = np.random.default_rng(4)
    n, m = 80, 12
    dosage = rng.binomial(2, 0.4, (m, n))

    def make(columns: dict[str, list[str]], *, chromosomes=("1",) * m, alleles=("C",) * m, **options):
        path = tmp_path / "table.tsv"
        lines = ["#IID\t" + "\t".join(columns)]
        lines += [f"P{i}\t" + "\t".join(c[i] for c in columns.values()) for i in range(n)]
        path.write_text("\n".join(lines) + "\n")
        variants = {"chromosome": chromosomes, "position": range(m), "id": [f"v{j}" for j in range(m)],
                    "effect_allele": ["A"] * m, "other_allele": alleles}  # fmt: skip
        reader = sg.from_arrays(dosage, [f"P{i}" for i in range(n)], variants=variants)
        log: list[str] = []
        named = {k: str(path) if v == "table" else v for k, v in options.items()}
        return open_study(reader, log=log.append, pheno=str(path), **named), "\n".join(log)

    return make


def numbers(seed: int, missing=()) -> list[str]:
    out = [f"{v:.4f}" for v in np.random.default_rng(seed).normal(size=80)]
    return ["NA" if i in missing else v for i, v in enumerate(out)]


def cases(seed: int, missing=()) -> list[str]:
    out = [str(v) for v in np.random.default_rng(seed).integers(1, 3, 80)]
    return ["NA" if i in missing else v for i, v in enumerate(out)]


def test_traits_with_equal_samples_share_columns(cohort, same_as_plain):
    """Three sets of samples: A and B complete, C and D without the first ten, E without one."""
    columns = {"A": numbers(1), "B": numbers(2), "C": numbers(3, range(10)), "D": numbers(4, range(10)),
               "E": cases(5, [40]), "AGE": numbers(6), "SEX": cases(7)}  # fmt: skip
    names = ("A", "B", "C", "D", "E")
    study, log = cohort(columns, pheno_name=names, covar="table", covar_name=("AGE", "SEX"))
    alone = {n: cohort(columns, pheno_name=(n,), covar="table", covar_name=("AGE", "SEX"))[0] for n in names}
    width = {n: len(s.design.columns.names) for n, s in alone.items()}
    # intercept, two covariates and the trait; the score test: indicator, case, r, w and two of w·c
    assert width == {"A": 4, "B": 4, "C": 4, "D": 4, "E": 6}
    assert len(study.design.columns.names) == 4 + 1 + 4 + 1 + 6
    assert study.design.sample_sets == 3
    assert [a.phenotype for a in study.design.analyses] == list(names)
    same_as_plain(study)
    assert "phenotype C (quantitative): 70 of 80 people are analysed; left out: 10 without C" in log
    assert "phenotype E (35 cases, 44 controls): 79 of 80 people are analysed" in log


def test_tables_do_not_depend_on_the_other_traits(cohort, tmp_path):
    columns = {"A": numbers(1), "C": numbers(3, range(10)), "E": cases(5, [40]), "AGE": numbers(6)}
    study, _ = cohort(columns, pheno_name=("A", "C", "E"), covar="table", covar_name=("AGE",), bits=16)
    together = {t.analysis.phenotype: Path(t.path).read_text() for t in write_plain(study, str(tmp_path / "t"))}
    for name in together:
        alone, _ = cohort(columns, pheno_name=(name,), covar="table", covar_name=("AGE",), bits=16)
        (table,) = write_plain(alone, str(tmp_path / "alone"))
        assert Path(table.path).read_text() == together[name]


def test_binary_traits_with_equal_samples_share_their_indicator(cohort):
    columns = {"E": cases(5), "F": cases(8), "G": cases(9, [3])}
    trend = cohort(columns, model="trend")[0].design
    assert trend.columns.names == ("INTERCEPT", "E:case", "F:case", "INTERCEPT", "G:case")
    assert trend.columns.squared == (True, False, False, True, False) and trend.sample_sets == 2
    assert [a.squares for a in trend.analyses] == [(0,), (0,), (1,)]
    quality = cohort(columns, model="allelic", qc=True)[0].design
    assert len(quality.columns.names) == 5, "everybody is a founder: quality control adds no column"
    assert quality.columns.squared == (True, False, False, False, False)


def test_rint_in_the_design(cohort):
    """--apply-rint is the analysis of the transformed column, over the analysed samples; traits of cases are left alone."""
    columns = {"A": numbers(1, [5, 6]), "E": cases(5)}
    study, log = cohort(columns, apply_rint=True)
    values = np.array([float(v) if v != "NA" else NAN for v in columns["A"]])
    known = ~np.isnan(values)
    ranked = np.where(known, 0.0, NAN)
    ranked[known] = rank_inverse_normal(values[known])
    by_hand, _ = cohort({"A": ["NA" if np.isnan(v) else f"{v:.17g}" for v in ranked], "E": columns["E"]})
    np.testing.assert_array_equal(study.design.columns.values, by_hand.design.columns.values)
    assert "phenotype A: rank-based inverse normal transform (Blom)" in log and "phenotype E: rank" not in log


def test_categories_become_indicators(cohort):
    sites = [["North", "South", "East"][i % 3] if i != 7 else "NA" for i in range(80)]
    columns = {"A": numbers(1), "SITE": sites, "AGE": numbers(2)}
    study, log = cohort(
        columns, pheno_name=("A",), covar="table", covar_name=("SITE", "AGE"), covar_categorical=("SITE",)
    )
    assert study.design.columns.names == ("INTERCEPT", "SITE=North", "SITE=South", "AGE", "A")
    assert "covariate SITE: categories, 2 indicator columns (SITE=North, SITE=South)" in log
    assert study.design.analyses[0].model.samples == 79, "a missing category is a missing covariate"
    values = study.design.columns.values[:, 1]
    assert len(set(values[np.array(sites) == "North"])) == 1 and values[7] == 0


def test_categories_beside_named_covariates_are_covariates_as_in_regenie(cohort):
    columns = {"A": numbers(1), "AGE": numbers(2), "OTHER": numbers(3), "SEX": ["M", "F"] * 40}
    study, _ = cohort(columns, pheno_name=("A",), covar="table", covar_name=("AGE",), covar_categorical=("SEX",))
    assert study.design.columns.names == ("INTERCEPT", "AGE", "SEX=M", "A")


def test_categories_unasked_for_are_an_error(cohort):
    columns = {"A": numbers(1), "SITE": ["North", "South"] * 40}
    with pytest.raises(
        Exception, match="line 2: column SITE holds 'North', expected a number or NA.*`covar_categorical`"
    ):
        cohort(columns, pheno_name=("A",), covar="table", covar_name=("SITE",))
    with pytest.raises(UsageError, match=r"has no column PC\{1:2\}; .*; write PC1-PC2"):
        cohort(columns, pheno_name=("A",), covar="table", covar_name=("SITE", "PC{1:2}"))
    with pytest.raises(UsageError, match="`covar_categorical`: .* has no column PLACE; it has A, SITE"):
        cohort(columns, pheno_name=("A",), covar="table", covar_name=("SITE",), covar_categorical=("PLACE",))
    with pytest.raises(UsageError, match="need `covar`"):
        cohort(columns, pheno_name=("A",), covar_categorical=("SITE",))


@pytest.mark.parametrize("model", ["trend", "allelic"])
@pytest.mark.parametrize("option", [{"covar": "table", "covar_name": ("AGE",)}, {"missing": "complete"}])
def test_contingency_tests_say_once_what_they_do_not_use(model, option, cohort, tmp_path):
    columns = {"E": cases(5), "AGE": numbers(2, range(30))}
    plain, quiet = cohort(columns, pheno_name=("E",), model=model)
    study, log = cohort(columns, pheno_name=("E",), model=model, **option)
    assert log.count("WARNING") == 1 and "WARNING" not in quiet
    assert (
        f"WARNING: --model {model} uses called genotypes of everybody with E; --covar and --missing are not used" in log
    )
    texts = [Path(write_plain(s, str(tmp_path / n))[0].path).read_text() for n, s in (("a", plain), ("b", study))]
    assert texts[0] == texts[1]


def test_tests_that_do_not_fit_the_trait(cohort):
    columns = {"A": numbers(1), "E": cases(5)}
    for model in ("logistic", "trend", "allelic"):
        with pytest.raises(DesignError, match=f"`model` {model} needs cases and controls; phenotype A is quantitative"):
            cohort(columns, pheno_name=("A",), model=model)
    with pytest.raises(UsageError, match="the score test needs `missing` mean"):
        cohort(columns, pheno_name=("E",), missing="complete")


def test_linear_regression_of_cases_on_request(cohort):
    """--model linear takes a case/control trait as 0 and 1."""
    study, _ = cohort({"E": cases(5)}, model="linear")
    assert study.design.analyses[0].test == "linear"


def test_chromosomes_of_one_copy_and_many_alleles_are_said_aloud(cohort):
    chromosomes = ("1", "X", "chrX", "Y", "MT", "chrM", "23", "26", "2", "2", "22", "XY")
    alleles = ("C",) * 8 + ("C,T", "C", "C", "C")
    study, log = cohort({"A": numbers(1)}, chromosomes=chromosomes, alleles=alleles)
    assert len(study.reader.variants) == 11
    assert {s.name: s.variants for s in study.strata} == {"autosomes": 4, "X": 3, "Y": 1, "MT": 3}
    assert "WARNING: X: phenotype A is not analysed there, its rows are NA: nobody of known sex" in log
    assert "WARNING: 1 variant with more than two alleles is left out" in log
    with pytest.raises(UsageError, match="designs of their own, in `strata` of the study: autosomes, X, Y, MT$"):
        study.design  # noqa: B018


def test_only_x_and_no_sex_is_an_error(cohort):
    with pytest.raises(
        DesignError, match="nobody of known sex .`sex_name` names its column in a table. has A and every covariate"
    ):
        cohort({"A": numbers(1)}, chromosomes=("X",) * 12)


def test_regions(cohort):
    columns = {"A": numbers(1)}
    chromosomes = ("chr1",) * 6 + ("2",) * 6
    study, log = cohort(columns, chromosomes=chromosomes, chr=("1",), from_bp=2, to_bp=4)
    assert list(study.reader.variants.position) == [2, 3, 4] and "3 variants remain" in log
    with pytest.raises(UsageError, match="`from_bp` and `to_bp` need `chr` with one chromosome"):
        cohort(columns, chromosomes=chromosomes, chr=("1", "2"), from_bp=2)


def test_complete_cases_do_not_see_the_other_traits(open_cohort, frame, gold, tmp_path):
    """Complete-case linear regression stays what it was, whatever shares its pass."""
    name = "sim_500x5k"
    study = open_cohort(name, pheno_name=("QT", "CC"), model="linear", missing="complete", bits=20, qc=True)
    tables = {t.analysis.phenotype: frame(t.path) for t in write_plain(study, str(tmp_path / "t"))}
    reference = gold(name, "np_qt_linear_cov.tsv")
    ours = tables["QT"].T_STAT
    known = ours.notna()
    limit = 1e-3 * (1 + reference["T"] ** 2 / (reference.N - 14))
    assert known.mean() > 0.99 and (np.abs(ours - reference["T"]) <= limit)[known].all()
    alone = open_cohort(name, pheno_name=("QT",), missing="complete", bits=20)
    (table,) = write_plain(alone, str(tmp_path / "alone"))
    assert Path(table.path).read_text() == Path(str(tmp_path / "t.QT.glm.linear")).read_text()
