"""What the gold cohort of X, Y and MT does not hold: odd sexes, odd calls, odd covariates, other tests and engines."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support import securegen

import securegen as sg
from securegen.design.strata import Stratum, alone, blocks_of, runs_where, with_strata
from securegen.errors import DesignError, InputError, UsageError
from securegen.model import Samples, Sums, Variants, iterate_blocks
from securegen.scores import copies
from securegen.scores.study import ScoreInputs, open_scores
from securegen.scores.sums import plain_scores
from securegen.stats.qc import Filters
from securegen.study import ploidy
from securegen.study.inputs import Inputs

pytestmark = pytest.mark.usefixtures("forked_roles")

N = 120
CHROMOSOMES = ("1", "X", "X", "Y", "Y", "MT", "2", "X")
CALLS = ["#CHROM", "ID", "A1_FREQ", "OBS_CT", "BETA", "SE", "T_STAT", "P", "ERRCODE"]


class Cohort:
    """Genotypes (M, N) with −1 for no call, sexes and a phenotype of a seed; `open` a study with changes."""

    def __init__(self, folder: Path, chromosomes=CHROMOSOMES, seed: int = 5) -> None:
        rng = np.random.default_rng(seed)
        self.folder, self.chromosomes = folder, chromosomes
        self.sex = np.array([1, 2] * (N // 2), np.int8)
        self.dosage = rng.binomial(2, 0.3, (len(chromosomes), N)).astype(np.int8)
        for j, name in enumerate(chromosomes):
            if name in ("X", "Y", "23", "chrX", "24"):
                self.dosage[j, self.sex == 1] = 2 * rng.binomial(1, 0.3, N // 2)
            if name in ("MT", "26"):
                self.dosage[j] = 2 * rng.binomial(1, 0.3, N)
        self.dosage[rng.random(self.dosage.shape) < 0.03] = -1
        self.traits = {"QT": rng.normal(size=N)}
        self.covariates = {"AGE": rng.normal(50, 9, N).round(1)}

    def table(self, name: str, columns: dict) -> str:
        path = self.folder / name
        rows = ["\t".join(("#IID", *columns))]
        rows += ["\t".join((f"p{i}", *(str(c[i]) for c in columns.values()))) for i in range(N)]
        path.write_text("\n".join(rows).replace("nan", "NA") + "\n")
        return str(path)

    def open(self, **options) -> tuple[sg.Study, str]:
        count = len(self.dosage)
        variants = Variants(
            np.array(self.chromosomes, object), np.arange(1, count + 1) * 1000,
            np.array([f"v{j}" for j in range(count)], object), np.full(count, "A", object), np.full(count, "G", object),
        )  # fmt: skip
        names = np.array([f"p{i}" for i in range(N)], object)
        samples = Samples(names, names, np.ones(N, bool), self.sex)
        dosage = np.where(self.dosage < 0, np.nan, self.dosage.astype(float))
        log: list[str] = []
        told = {"pheno": self.table("p", self.traits), "bits": 24}
        if self.covariates:
            told["covar"] = self.table("c", self.covariates)
        study = sg.open_study(sg.from_arrays(dosage, samples, variants=variants), **told | options, log=log.append)
        return study, "\n".join(log)


@pytest.fixture
def cohort(tmp_path) -> Cohort:
    return Cohort(tmp_path)


def frame(study: sg.Study):
    return sg.run(study).frame.set_index("ID")


def regression(y, g, covariates, people) -> tuple[float, float, int]:
    """β, T and N of least squares, missing g at the mean of those called."""
    g = np.where(np.isnan(g), np.nanmean(g[people]), g)
    x = np.column_stack([g, np.ones(N), *covariates])[people]
    beta, *_ = np.linalg.lstsq(x, y[people], rcond=None)
    left = y[people] - x @ beta
    sigma = left @ left / (people.sum() - x.shape[1])
    return beta[0], beta[0] / np.sqrt(sigma * np.linalg.inv(x.T @ x)[0, 0]), int(people.sum())


def expected(cohort: Cohort, j: int, model: int = 2, *, sex_covariate: bool = True):
    """As the rules say, in float64."""
    kind = {"X": "X", "Y": "Y", "MT": "MT"}.get(cohort.chromosomes[j])
    g = np.where(cohort.dosage[j] < 0, np.nan, cohort.dosage[j].astype(float))
    male, people, covariates = cohort.sex == 1, np.ones(N, bool), list(cohort.covariates.values())
    if kind == "X":
        people = cohort.sex > 0
        g = np.where(male & (model == 1), g / 2, g)
        covariates += [male.astype(float)] if sex_covariate else []
    if kind == "Y":
        people, g = male, g / 2
    if kind == "MT":
        g = g / 2
    y = cohort.traits["QT"]
    return regression(y, g, covariates, people & ~np.isnan(y))


def check(cohort: Cohort, rows, model: int = 2, **options) -> None:
    for j in range(len(cohort.chromosomes)):
        row, (beta, t, n) = rows.loc[f"v{j}"], expected(cohort, j, model, **options)
        assert row["OBS_CT"] == n, j
        assert abs(row["BETA"] - beta) < 1e-5 * abs(row["SE"]) and abs(row["T_STAT"] - t) < 1e-5, j


@pytest.mark.parametrize("model", (1, 2))
def test_mean_imputation_by_the_rules(model, cohort):
    """With heterozygous males, females called on Y, heterozygous calls of MT, and people of unknown sex."""
    cohort.sex[:7] = 0
    cohort.dosage[1, 8:30] = 1
    cohort.dosage[3, 8:20] = 1
    cohort.dosage[5, 8:20] = 1
    study, log = cohort.open(xchr_model=model)
    check(cohort, frame(study), model)
    assert "X, phenotype QT: 7 of 120 people are left out there, their sex is not known" in log
    assert "X, phenotype QT: sex is a covariate there, SEX 1 for males" in log
    assert [s.name for s in study.strata] == ["autosomes", "X", "Y", "MT"]
    assert study.strata[1].runs == ((1, 3), (7, 8)) and frame(study).index.tolist() == [f"v{j}" for j in range(8)]


def test_frequencies_count_the_copies_of_each(cohort):
    g, male = cohort.dosage, cohort.sex == 1
    known, single = g >= 0, 1.0 * male
    one, two = (frame(cohort.open(xchr_model=m)[0])["A1_FREQ"] for m in (1, 2))
    for j, name in enumerate(cohort.chromosomes):
        called = g[j][known[j] & (male | (name != "Y"))]
        assert two[f"v{j}"] == pytest.approx(called.mean() / 2)
        if name == "X":
            copies = (2 - single)[known[j]]
            dosage = np.where(male, g[j] / 2, g[j])[known[j]]
            assert one[f"v{j}"] == pytest.approx(dosage.sum() / copies.sum())


def test_calls_of_females_on_y_do_not_matter(cohort):
    before = frame(cohort.open()[0])
    cohort.dosage[3, cohort.sex == 2] = 2
    cohort.dosage[4, cohort.sex == 2] = -1
    assert frame(cohort.open()[0]).equals(before)


@pytest.mark.parametrize("coding", ((1.0, 2.0), (5.0, -3.0)))
def test_a_sex_among_the_covariates_is_not_doubled_on_x_and_dropped_on_y(coding, cohort):
    without = frame(cohort.open()[0])
    cohort.covariates["GENDER"] = np.where(cohort.sex == 1, *coding)
    study, log = cohort.open()
    rows = frame(study)
    assert "X, phenotype QT: the covariates say the sex already: it is not added" in log
    assert "Y, phenotype QT: GENDER is the same for everybody there: no covariate" in log
    for name in ("v1", "v3"):
        assert rows["T_STAT"][name] == pytest.approx(without["T_STAT"][name], abs=1e-5)
        assert rows["OBS_CT"][name] == without["OBS_CT"][name]
    assert rows["T_STAT"]["v0"] != pytest.approx(without["T_STAT"]["v0"], abs=1e-5)


def test_a_covariate_called_sex_that_says_something_else_stays(cohort):
    cohort.covariates["SEX"] = np.arange(N) % 7
    study, log = cohort.open()
    assert "SEX:male 1 for males" in log
    check(cohort, frame(study))


def test_model_0_leaves_x_out_aloud(cohort):
    study, log = cohort.open(xchr_model=0)
    assert "WARNING: 3 variants on X are left out: --xchr-model 0" in log
    assert frame(study)["#CHROM"].astype(str).tolist() == ["1", "Y", "Y", "MT", "2"]


def test_without_males_y_is_na_and_the_run_goes_on(cohort):
    cohort.sex[:] = 2
    study, log = cohort.open()
    rows = frame(study)
    assert "WARNING: Y: phenotype QT is not analysed there, its rows are NA: no male has QT and every covariate" in log
    assert rows["ERRCODE"].tolist() == [".", ".", ".", *["SAMPLE_CT<=PREDICTOR_CT"] * 2, ".", ".", "."]
    assert rows.loc["v3", ["A1_FREQ", "BETA", "P"]].isna().all() and rows["OBS_CT"]["v3"] == 0
    check_x = {j: expected(cohort, j, sex_covariate=False) for j in (1, 2, 7)}  # a sex of one value is no covariate
    for j, (_, t, n) in check_x.items():
        assert rows["OBS_CT"][f"v{j}"] == n and rows["T_STAT"][f"v{j}"] == pytest.approx(t, abs=1e-5)
    complete = frame(cohort.open(missing="complete")[0])
    assert complete["ERRCODE"].tolist() == rows["ERRCODE"].tolist()


@pytest.mark.parametrize("xchr_model", [1, 2])
def test_without_anybodys_sex_x_and_y_are_na_and_the_run_goes_on(xchr_model, cohort):
    cohort.sex[:] = 0
    rows = frame(cohort.open(xchr_model=xchr_model)[0])
    places = rows["#CHROM"].astype(str)
    assert (rows["ERRCODE"] != ".").tolist() == places.isin(["X", "Y"]).tolist() and places.isin(["X", "Y"]).any()


def test_a_phenotype_without_males_has_no_rows_on_y_but_another_has(cohort):
    cohort.traits["W"] = np.where(cohort.sex == 1, np.nan, cohort.traits["QT"])
    cohort.traits["FEW"] = np.where((cohort.sex == 1) & (np.arange(N) > 4), np.nan, cohort.traits["QT"])
    study, log = cohort.open()
    results = sg.run(study)
    codes = {name: results[name].set_index("ID")["ERRCODE"]["v3"] for name in ("QT", "W", "FEW")}
    assert codes == {"QT": ".", "W": "SAMPLE_CT<=PREDICTOR_CT", "FEW": "SAMPLE_CT<=PREDICTOR_CT"}
    assert results["FEW"].set_index("ID")["OBS_CT"]["v3"] == 3 and log.count("is not analysed there") == 2
    assert {s["name"]: list(s["refused"]) for s in results.record["strata"]}["Y"] == ["W", "FEW"]


@pytest.mark.parametrize(
    "word, kind", [("23", "X"), ("chrX", "X"), ("24", "Y"), ("chrY", "Y"), ("26", "MT"), ("M", "MT")]
)
def test_every_spelling_of_a_chromosome(word, kind, tmp_path):
    study, _ = Cohort(tmp_path, ("1", word, word)).open()
    assert {s.name: s.variants for s in study.strata} == {"autosomes": 1, kind: 2}
    assert frame(study)["#CHROM"].astype(str).tolist() == ["1", word, word]
    chosen, _ = Cohort(tmp_path, ("1", word, word)).open(chr=kind)
    assert [s.name for s in chosen.strata] == [kind] and len(frame(chosen)) == 2


@pytest.mark.parametrize("word", ("25", "XY", "PAR1", "chrPAR2"))
def test_the_ends_of_x_are_autosomal(word, tmp_path):
    study, _ = Cohort(tmp_path, ("1", word)).open()
    assert study.strata == alone(study.design, 2) and frame(study)["OBS_CT"].tolist() == [N, N]


def test_splitting_the_ends_of_x_by_position(cohort):
    """Positions are 1,000 to 8,000, all in PAR1; the names change, and --chr knows the new ones."""
    study, log = cohort.open(split_par="b37")
    assert "--split-par b37: 3 variants of X on PAR1 and PAR2, as autosomal" in log
    assert frame(study)["#CHROM"].astype(str).tolist() == ["1", "PAR1", "PAR1", "Y", "Y", "MT", "2", "PAR1"]
    assert len(cohort.open(split_par="b38", chr="PAR1")[0].reader.variants) == 3


def test_cases_and_controls_on_x_and_y(cohort):
    """The score test of a haploid chromosome is that of 0/1 genotypes, whoever codes them."""
    cases = (np.arange(N) * 7 % 11 < 5) + 1
    cohort.traits, cohort.covariates = {"CC": cases}, {}
    rows, male = frame(cohort.open(xchr_model=1)[0]), cohort.sex == 1
    for name, j, people in (("v3", 3, male), ("v5", 5, np.ones(N, bool))):
        g, y = cohort.dosage[j] / 2.0, cases - 1.0
        called = people & (cohort.dosage[j] >= 0)
        full = np.where(called, g, g[called].mean())[people]
        r = y[people] - y[people].mean()
        u, v = full @ r, y[people].mean() * (1 - y[people].mean()) * ((full - full.mean()) ** 2).sum()
        assert rows["CHISQ"][name] == pytest.approx(u * u / v, abs=1e-4) and rows["BETA"][name] == pytest.approx(
            u / v, abs=1e-4
        )
        assert rows["CASE_CT"][name] == y[people].sum() and rows["A1_FREQ"][name] == pytest.approx(g[called].mean())
        minor = g if g[called].mean() <= 0.5 else 1 - g
        assert rows["MAC_CASE"][name] == minor[called & (y == 1)].sum()
    g, called = np.where(male, 1.0, 2.0) * (cohort.dosage[1] / 2.0), cohort.dosage[1] >= 0
    assert g[called].sum() / np.where(male, 1, 2)[called].sum() <= 0.5
    assert rows["MAC_CASE"]["v1"] == g[called & (cases == 2)].sum()


def test_why_cases_and_controls_on_y_have_no_statistics(cohort):
    """All males are cases: there is nothing to compare. One covariate is another among males: nothing tells them apart."""
    male, half = cohort.sex == 1, np.arange(N) // 2 % 2 + 1
    cohort.traits, cohort.covariates = {"CC": np.where(male, 2, half)}, {}
    told = ["OBS_CT", "CASE_CT", "ERRCODE"]
    assert frame(cohort.open()[0]).loc["v3", told].tolist() == [60, 60, "SAMPLE_CT<=PREDICTOR_CT"]
    one, other = np.random.default_rng(8).normal(50, 9, (2, N)).round(1)
    cohort.traits, cohort.covariates = {"CC": half}, {"ONE": one, "OTHER": np.where(male, one, other)}
    cases = int((half[male] == 2).sum())
    assert frame(cohort.open()[0]).loc["v3", told].tolist() == [60, cases, "CORR_TOO_HIGH"]


def test_contingency_tests_have_no_rows_there_and_say_so(cohort):
    cohort.traits, cohort.covariates = {"CC": np.arange(N) % 2 + 1}, {}
    study, log = cohort.open(model="trend")
    assert "WARNING: 6 variants on X, Y or MT are left out" in log and frame(study).index.tolist() == ["v0", "v6"]
    with pytest.raises(UsageError, match="no variant is left: 3 on X, Y or MT"):
        cohort.open(model="allelic", chr="X")


def test_sexes_from_a_table(cohort):
    told = frame(cohort.open()[0])
    true, cohort.sex = cohort.sex, np.zeros(N, np.int8)
    cohort.covariates["S"] = np.where(true == 1, "m", "F")
    study, log = cohort.open(sex_name="S")
    assert "--sex-name S: 60 males, 60 females, 0 unknown" in log and "gives the sex: it is a covariate only if" in log
    assert frame(study)[CALLS[2:]].equals(told[CALLS[2:]])
    cohort.sex = 3 - true
    assert "120 people have another sex in the genotype file: the table counts" in cohort.open(sex_name="S")[1]
    cohort.covariates["S"] = np.where(true == 1, "m", "3")
    with pytest.raises(InputError, match="c, line 3: sex '3' in column S: 1 or M is male"):
        cohort.open(sex_name="S")
    cohort.covariates["S"] = np.where(true == 1, "1", "0")  # 0 female, 1 male, as many tables have it
    assert "/c holds 0 and no female: 0 is read as unknown" in cohort.open(sex_name="S")[1]
    with pytest.raises(UsageError, match="`sex_name` T: no table has this column"):
        cohort.open(sex_name="T")


def test_filters_by_the_alleles_that_people_have(cohort):
    """A frequency of Y is over males; F_MISS too; Hardy–Weinberg on X is of both sexes, on Y and MT of nobody."""
    cohort.dosage[3, cohort.sex == 2] = 2
    cohort.dosage[3, cohort.sex == 1] = 0
    cohort.dosage[4, cohort.sex == 2] = -1
    cohort.dosage[2, cohort.sex == 2] = 2
    cohort.dosage[2, cohort.sex == 1] = 0
    study, _ = cohort.open(qc=True)
    kept = lambda **f: set(sg.run(study, filters=Filters(**f)).frame["ID"])  # noqa: E731
    assert kept(maf=0.01) == {f"v{j}" for j in range(8)} - {"v3"}
    assert "v4" in kept(geno=0.1)
    assert kept(hwe=1e-6) == {f"v{j}" for j in range(8)} - {"v2"}


def test_only_y_and_no_male_ends_the_run(cohort):
    cohort.sex[:] = 0
    with pytest.raises(DesignError, match="no male has QT and every covariate"):
        cohort.open(chr="Y")


def test_blocks_stay_within_runs_and_files():
    made = alone(None, 4)[0]
    a = Stratum("a", runs_where(np.array([1, 1, 1, 0, 0, 1], bool)), made.design)
    b = Stratum("b", ((3, 5),), made.design)
    found = [(s.name, first, last) for s, first, last in blocks_of((a, b), 2, (0, 1, 6))]
    assert found == [("a", 0, 1), ("a", 1, 3), ("b", 3, 5), ("a", 5, 6)]
    nothing = np.zeros((2, 0), np.int64)
    with pytest.raises(ValueError, match="lies in several strata"):
        list(with_strata([Sums(2, nothing, nothing, nothing)], (a, b)))
    with pytest.raises(ValueError, match="no stratum has variant 6"):
        list(with_strata([Sums(6, nothing, nothing, nothing)], (a, b)))


def write_fileset(cohort: Cohort, base: Path) -> str:
    """The cohort as a PLINK1 fileset, where roles of engines find it."""
    code = np.array([3, 2, 0, 1], np.uint8)[np.where(cohort.dosage < 0, 3, cohort.dosage)]  # A1 0, 1, 2 copies, missing
    packed = np.zeros((len(code), (N + 3) // 4), np.uint8)
    for i in range(N):
        packed[:, i // 4] |= code[:, i] << 2 * (i % 4)
    base.with_suffix(".bed").write_bytes(b"\x6c\x1b\x01" + packed.tobytes())
    base.with_suffix(".bim").write_text(
        "".join(f"{c} v{j} 0 {j + 1}000 A G\n" for j, c in enumerate(cohort.chromosomes))
    )
    base.with_suffix(".fam").write_text("".join(f"p{i} p{i} 0 0 {s} -9\n" for i, s in enumerate(cohort.sex)))
    return str(base)


def test_without_chr_every_chromosome_has_rows(cohort, tmp_path):
    base = write_fileset(cohort, tmp_path / "c")
    tables = ("--pheno", cohort.table("p", cohort.traits), "--covar", cohort.table("c", cohort.covariates))
    for engine in ("plain", "ckks"):
        run = ("run-local", "gwas", "--engine", engine, "--bfile", base, *tables, "--split-par", "b37", "--quiet")
        assert securegen(*run, "--out", tmp_path / engine).code == 0
    assert "designs, by chromosome, of up to" in (tmp_path / "ckks.log").read_text()
    ours, encrypted = ((tmp_path / f"{n}.QT.glm.linear").read_text() for n in ("plain", "ckks"))
    assert ours == encrypted and ours.count("\n") == 9


def test_quality_control_of_a_fileset(cohort, tmp_path):
    base = write_fileset(cohort, tmp_path / "c")
    assert securegen("qc", "--bfile", base, "--out", tmp_path / "q", "--quiet").code == 0
    assert (tmp_path / "q.hardy.x").read_text().count("\n") == 4 and (tmp_path / "q.vmiss").read_text().count("\n") == 9


@pytest.mark.parametrize("protected", [True, False])
def test_half_copies_on_the_finest_grid_do_not_wrap(monkeypatch, tmp_path, protected):
    """4·8192 is one more than 16 bits hold: a woman with two copies on X would have −2, people with all of MT −1."""
    if not protected:
        monkeypatch.setattr(ploidy, "refuse_wide", lambda *_: None)
        monkeypatch.setattr(copies, "refuse_wide", lambda *_: None)
    rng = np.random.default_rng(4)
    dosage = np.round(rng.uniform(0, 2, (3, N)) * 8) / 8
    dosage[:, ::5] = 2
    names, chromosomes = np.array([f"p{i}" for i in range(N)], object), ("X", "MT", "1")
    variants = {"chromosome": chromosomes, "position": [1, 2, 3], "id": ["x", "m", "a"],
                "effect_allele": ["A"] * 3, "other_allele": ["G"] * 3}  # fmt: skip
    sex = np.array([1, 2] * (N // 2), np.int8)
    cohort = sg.from_arrays(dosage, Samples(names, names, np.ones(N, bool), sex), variants=variants, grid=8192)
    (tmp_path / "p").write_text("#IID\tQT\n" + "".join(f"p{i}\t{rng.normal():.4f}\n" for i in range(N)))
    (tmp_path / "s").write_text("ID\tA1\tW\nx\tA\t1\nm\tA\t1\na\tA\t1\n")
    association = lambda: sg.run(sg.open_study(cohort, pheno=tmp_path / "p", xchr_model=1)).frame  # noqa: E731
    scores = lambda: open_scores(
        Inputs(), ScoreInputs((str(tmp_path / "s"),), allow_small_score=("SCORE1",)), opened=cohort
    )  # noqa: E731
    if protected:
        for run in (association, scores):
            with pytest.raises(UsageError, match="`dosage_grid` 8192 is too fine for X, Y and MT.*: 4096 or less"):
                run()
        cohort = sg.from_arrays(dosage, cohort.samples, variants=variants, grid=4096)
    study = scores()
    got = plain_scores(study.reader, study.plan).score[:, 0] / 2.0 ** study.plan.exponent[0] / study.reader.dosage_grid
    right = np.allclose(got, dosage[0] + dosage[1] / 2 + dosage[2])
    frequency = np.where(sex == 1, dosage[0] / 2, dosage[0]).sum() / (1.5 * N)
    assert right == protected and (abs(association()["A1_FREQ"][0] - frequency) < 1e-12) == protected


def test_heterozygous_males_are_said_once(cohort):
    """As those of PAR, of a wrong sex, or of a file that writes a man's allele as 0/1."""
    said: list[str] = []
    calm = replace(cohort.open()[0].reader, log=said.append)
    list(iterate_blocks(calm, 3))
    assert not said
    cohort.dosage[2, [0, 2, 4]] = cohort.dosage[4, 0] = 1  # males
    cohort.dosage[[1, 3], 1] = cohort.dosage[5, 0] = 1  # a female, and MT
    reader = replace(cohort.open()[0].reader, log=said.append)
    list(iterate_blocks(reader, 3)) + list(iterate_blocks(reader, 2))
    assert said == [
        "WARNING: X: males have 3 heterozygous calls among the first 3 variants (first v2), which count half way, as in plink2: "
        "are the ends of X among them (--split-par), or is a sex wrong?",
        "WARNING: Y: males have 1 heterozygous call among the first 6 variants (first v4), which count half way, as in plink2: "
        "is a sex wrong?",
    ]


@pytest.mark.parametrize("model", [1, 2])
def test_interactions_on_every_chromosome(cohort, model):
    """Against least squares: copies as they are counted there, sex as a covariate on X, males on Y."""
    study, log = cohort.open(interaction="AGE", xchr_model=model)
    rows = frame(study)
    assert rows["TEST"].tolist() == ["ADD", "ADDxAGE", "USER_2DF"] * len(cohort.dosage)
    age, y, male = cohort.covariates["AGE"], cohort.traits["QT"], cohort.sex == 1
    for j, name in enumerate(cohort.chromosomes):
        g = np.where(cohort.dosage[j] < 0, np.nan, cohort.dosage[j].astype(float))
        people = male if name == "Y" else np.ones(N, bool)
        if name in ("Y", "MT") or name == "X" and model == 1:
            g = np.where(male | (name != "X"), g / 2, g)
        g = np.where(np.isnan(g), np.nanmean(g[people]), g)
        x = np.column_stack([g, g * age, np.ones(N), age, *([male] if name == "X" else [])])[people].astype(float)
        beta, *_ = np.linalg.lstsq(x, y[people], rcond=None)
        left = y[people] - x @ beta
        se = np.sqrt(left @ left / (len(x) - x.shape[1]) * np.diag(np.linalg.inv(x.T @ x)))
        found = rows.loc[f"v{j}"]
        assert (found["OBS_CT"] == people.sum()).all() and (found["ERRCODE"] == ".").all(), name
        np.testing.assert_allclose(found["T_OR_F_STAT"][:2], (beta / se)[:2], rtol=1e-3, atol=1e-4, err_msg=name)
        np.testing.assert_allclose(found["SE"][:2], se[:2], rtol=1e-3, err_msg=name)


def test_an_interaction_with_sex_has_no_rows_on_y(cohort):
    cohort.covariates["MALE"] = (cohort.sex == 1).astype(float)
    study, log = cohort.open(interaction="MALE")
    rows = frame(study)
    on_y = rows["#CHROM"] == "Y"
    assert "WARNING: Y: phenotype QT is not analysed there, its rows are NA: `interaction` MALE" in log
    assert rows[on_y]["TEST"].tolist() == ["ADD", "ADDxMALE", "USER_2DF"] * 2
    assert rows[on_y]["T_OR_F_STAT"].isna().all() and (rows[on_y]["ERRCODE"] == "CORR_TOO_HIGH").all()
    assert rows[~on_y]["T_OR_F_STAT"].notna().all()
