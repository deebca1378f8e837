"""What X, Y, MT and predictions would tell of single people or sites: with each protection off, and with it on."""

from __future__ import annotations

import numpy as np
import pytest

from securegen.design import fixedpoint as fp
from securegen.design.side_by_side import side_by_side
from securegen.engines.federated import closed
from securegen.engines.federated.closed import Closed
from securegen.engines.federated.variant_sums import SiteSums, hidden_weights
from securegen.errors import PolicyError
from securegen.governance.guard import REFUSAL, SiteGuard, guarded
from securegen.governance.ledger import Entries
from securegen.governance.rows import RowRule
from securegen.io.arrays import ArrayReader
from securegen.model import Samples, Variants
from securegen.study import people as align
from securegen.study.ploidy import FEMALE, MALE, X, Y
from securegen.study.traits import Traits

from . import strata_sites
from .strata_sites import SITES, StrataRun, strata_study

N = 600
SCALE = 10**6  # of the decimals in which covariates are read


class Cohort:
    """Genotypes in memory, (M, N) copies, whose X, Y and MT males or everybody have without odd calls."""

    def __init__(self, chromosomes, *, seed: int = 7, people: int = N, binary: bool = False) -> None:
        rng = np.random.default_rng(seed)
        self.chromosomes, count = chromosomes, len(chromosomes)
        self.sex = np.where(np.arange(people) // SITES % 2, MALE, FEMALE).astype(np.int8)
        self.dosage = rng.binomial(2, rng.uniform(0.25, 0.5, (count, 1)), (count, people)).astype(np.int8)
        half = 2 * rng.binomial(1, 0.4, self.dosage.shape).astype(np.int8)
        apart = np.isin(chromosomes, ("X", "Y"))[:, None] & (self.sex == MALE)
        self.dosage = np.where(apart | np.isin(chromosomes, ("Y", "MT"))[:, None], half, self.dosage)
        self.age = rng.uniform(30, 70, people).round(3)
        values = rng.integers(0, 2, people).astype(float) if binary else rng.uniform(-1, 1, people)
        self.traits = Traits((align.Phenotype("T", values, binary),), self.age[:, None], ("AGE",), (0, 0))

    def reader(self) -> ArrayReader:
        text = lambda v: np.array(list(v), object)  # noqa: E731
        count, names = len(self.dosage), text(f"P{i}" for i in range(len(self.sex)))
        variants = Variants(
            text(self.chromosomes), np.arange(1, count + 1) * 1000, text(f"v{j}" for j in range(count)),
            text("A" * count), text("G" * count),
        )  # fmt: skip
        return ArrayReader(self.dosage, Samples(names, names, np.ones(len(names), bool), self.sex), variants)

    def run(self, folder, *, dealt=None, offsets=None, alter=None, **changes) -> StrataRun:
        reader = self.reader()
        if offsets is not None:
            changes = {"predictions": True, "statistic": "regenie"} | changes
        return StrataRun(
            reader,
            self.traits,
            strata_study(self.traits, reader.variants, **changes),
            folder,
            dealt=dealt,
            offsets=offsets,
            alter=alter,
        )


def design_totals(run: StrataRun) -> list[int]:
    return [int(v) for name, found in sorted(run.opened.items()) if name.startswith("design-") for v in found.ravel()]


def after(totals: list[int], count: int) -> set[int]:
    """What follows a number of people: N, Σx and Σx² of a column stand side by side."""
    return {totals[i + 1] for i, v in enumerate(totals[:-1]) if v == count}


def counts(run: StrataRun, row: int) -> np.ndarray:
    """What was opened of a row's calls: of each set missing calls and Σg, then Σg²."""
    for name in (n for n in run.opened if n.endswith("-counts")):
        segment = next(b for b, n in zip(run.blocks[0], names_of(run), strict=True) if f"{n}-counts" == name)
        rows = segment.start + np.flatnonzero(~segment.withheld)
        if row in rows:
            return run.opened[name][int(np.flatnonzero(rows == row)[0])]
    raise LookupError(f"row {row} was not opened")


def names_of(run: StrataRun) -> list[str]:
    return [f"variants-{i:05d}" for i in range(len(run.blocks[0]))]


def nothing_closed(monkeypatch) -> None:
    """Nor are columns looked at, which are opened after the scales and products of all of them."""
    monkeypatch.setattr(strata_sites, "closed_strata", lambda *_: Closed({}, []))
    monkeypatch.setattr(SiteGuard, "on", False)


@pytest.fixture
def sexes() -> Cohort:
    return Cohort(["1"] * 20 + ["X"] * 12 + ["Y"] * 8 + ["MT"] * 4)


def codes(run: StrataRun, folder, name: str = ".T.glm.linear") -> dict[str, set[str]]:
    """ERRCODE of the rows of each chromosome."""
    lines = [line.split("\t") for line in run.tables(folder)[name].decode().splitlines()]
    out: dict[str, set[str]] = {}
    for fields in lines[1:]:
        out.setdefault(fields[0], set()).add(fields[lines[0].index("ERRCODE")])
    return out


def test_one_person_of_unknown_sex(sexes, tmp_path, monkeypatch):
    """Σx over everybody less Σx over those of known sex is that person's covariate and phenotype."""
    sexes.sex[30] = 0
    read = {round(SCALE * float(sexes.age[30]))}
    with monkeypatch.context() as off:
        nothing_closed(off)
        totals = design_totals(sexes.run(tmp_path / "off", common_samples=False))
    assert {a - b for a in after(totals, N) for b in after(totals, N - 1)} & read
    run = sexes.run(tmp_path / "on", common_samples=False)
    assert (X, "T") in run.closed[0].reasons
    assert [c.reasons for c in run.closed] == [run.closed[0].reasons] * 3
    assert not after(design_totals(run), N - 1)
    (tmp_path / "t").mkdir()
    assert codes(run, tmp_path / "t")["X"] == {"FEW_CARRIERS"}, "the rest goes on"
    assert "FEW_CARRIERS" not in codes(run, tmp_path / "t")["1"]
    assert any("599 people" in line or "fewer than 10 people are only" in line for line in run.logs[0]) and not any(
        "keeps it closed" in line for log in run.logs[1:] for line in log
    ), "who said no is in its own log alone"


def test_common_samples_have_a_sex(sexes, tmp_path):
    """By default everybody is analysed on autosomes and on X, so that nobody stands between them."""
    sexes.sex[30] = 0
    run = sexes.run(tmp_path, common_samples=True)
    assert not run.closed[0].reasons
    samples = {s.name: s.design.analyses[0].model.samples for s in run.strata[0]}
    assert samples == {"autosomes": N - 1, "X": N - 1, "Y": N // 2, "MT": N - 1}
    assert any("1 people of unknown sex are left out everywhere" in line for line in run.logs[30 % SITES])


def test_one_male_of_a_site(sexes, tmp_path, monkeypatch):
    """The other two sites subtract their own males from Y's sums: what is left is his age."""
    site, him = 0, 33
    mine = np.arange(N) % SITES == site
    sexes.sex[mine] = FEMALE
    sexes.sex[him] = MALE
    males = sexes.sex == MALE
    theirs = round(SCALE * float(sexes.age[males & ~mine].sum()))
    with monkeypatch.context() as off:
        nothing_closed(off)
        totals = design_totals(sexes.run(tmp_path / "off", common_samples=False))
    assert round(SCALE * float(sexes.age[him])) in {v - theirs for v in after(totals, int(males.sum()))}
    run = sexes.run(tmp_path / "on")
    assert {(X, "T"), (Y, "T")} <= run.closed[0].reasons.keys()
    assert not after(design_totals(run), int(males.sum()))


def test_few_females_stand_between_autosomes_and_y(sexes, tmp_path):
    mine = np.arange(N) % SITES == 0
    sexes.sex[mine] = MALE
    sexes.sex[np.flatnonzero(mine)[:3]] = FEMALE
    run = sexes.run(tmp_path)
    assert {(X, "T"), (Y, "T")} == run.closed[0].reasons.keys()


def test_two_sites_with_males_read_each_other(sexes, tmp_path, monkeypatch):
    """Three sites in the study, two in the sums of Y: each has the other's by subtraction."""
    sexes.sex[np.arange(N) % SITES == 2] = FEMALE
    bert = (np.arange(N) % SITES == 1) & (sexes.sex == MALE)
    anna = (np.arange(N) % SITES == 0) & (sexes.sex == MALE)
    row = sexes.chromosomes.index("Y")
    with monkeypatch.context() as off:
        nothing_closed(off)
        run = sexes.run(tmp_path / "off", common_samples=False)
    assert counts(run, row)[1] - sexes.dosage[row, anna].sum() == sexes.dosage[row, bert].sum()
    run = sexes.run(tmp_path / "on")
    assert "fewer than 3 sites have males, or females, there" in run.closed[0].reasons[Y, "T"]
    with pytest.raises(LookupError):
        counts(run, row)
    sexes.sex[:] = FEMALE
    run = sexes.run(tmp_path / "nobody", consent_openings=True)
    assert (Y, "T") not in run.closed[0].reasons, "of nobody there is nothing to read"
    (tmp_path / "t").mkdir()
    assert codes(run, tmp_path / "t")["Y"] == {"SAMPLE_CT<=PREDICTOR_CT"}


def test_a_site_that_answers_for_others(sexes, tmp_path, monkeypatch):
    """One site has males. Another, which sets the total, says that all three have: the sums of Y are the first one's alone."""
    anna = np.arange(N) % SITES == 0
    sexes.sex[~anna] = FEMALE
    row = sexes.chromosomes.index("Y")

    def claims(name: str, own: np.ndarray) -> np.ndarray:
        if name != "design-0001":
            return own
        answers = own[2:].reshape(-1, SITES).copy()  # after how many say no, of X and of Y
        answers[[0, 2], 1:] = 1  # males on X, and on Y
        return np.concatenate([own[:2], answers.ravel()])

    with monkeypatch.context() as off:
        off.setattr(closed, "_sites_with", lambda opened, own, mine: opened.reshape(own.shape).sum(axis=1).tolist())
        run = sexes.run(tmp_path / "off", alter={2: claims})
    assert counts(run, row)[1] == sexes.dosage[row, anna & (sexes.sex == MALE)].sum()
    with pytest.raises(PolicyError, match="not what the people of these sites can give"):
        sexes.run(tmp_path / "on", alter={2: claims})
    run = sexes.run(tmp_path / "honest")
    assert "fewer than 3 sites have males" in run.closed[0].reasons[Y, "T"]


def test_quality_control_of_x_beside_one_unknown_sex(sexes, tmp_path, monkeypatch):
    """Founders less males less females is that person: the alleles of X are opened of each."""
    sexes.sex[30] = 0
    with monkeypatch.context() as off:
        nothing_closed(off)
        off.setattr(RowRule, "scan", lambda self, block, kept, among=None: np.zeros(len(block), bool))
        run = sexes.run(tmp_path / "off", common_samples=False, qc=True)
    for row in (j for j, c in enumerate(sexes.chromosomes) if c == "X"):
        found = counts(run, row)
        founders, _, males, females, _ = found[3:12:2]  # after missing calls and Σg of the phenotype's people
        assert founders - males - females == sexes.dosage[row, 30]
    run = sexes.run(tmp_path / "on", common_samples=False, qc=True)
    assert {(X, "T"), (X, "qc")} <= run.closed[0].reasons.keys()
    (tmp_path / "t").mkdir()
    lines = [line.split("\t") for line in run.tables(tmp_path / "t")[".afreq"].decode().splitlines()]
    assert {f[lines[0].index("ALT_FREQS")] for f in lines if f[0] == "X"} == {"NA"}


def predictions(cohort: Cohort, seed: int = 3) -> dict[str, np.ndarray]:
    return {"T": np.random.default_rng(seed).uniform(-0.5, 0.5, (23, len(cohort.sex)))}


def test_rows_of_two_chromosomes_that_one_person_tells_apart(tmp_path, monkeypatch):
    """With predictions every chromosome has its own design, but the same people and covariates: the difference of two rows
    is one person's, also where they lie in two strata."""
    cohort = Cohort(["1"] * 10 + ["2"] * 10)
    cohort.dosage[10] = cohort.dosage[9]
    cohort.dosage[10, 42] = (cohort.dosage[9, 42] + 1) % 3
    scan = RowRule.scan
    with monkeypatch.context() as off:
        off.setattr(RowRule, "scan", lambda self, block, kept, among=None: scan(self, block, [], among))
        run = cohort.run(tmp_path / "off", offsets=predictions(cohort))
    first, second = (run.opened[f"variants-0000{i}-columns"][j] for i, j in ((0, 9), (1, 0)))
    moved = int(cohort.dosage[10, 42]) - int(cohort.dosage[9, 42])
    site = 42 % SITES
    column = run.strata[site][0].design.columns
    assert (second[0] - first[0]) / N == moved * column.values[42 // SITES, 1], "the scaled age of that person"
    run = cohort.run(tmp_path / "on", offsets=predictions(cohort))
    assert run.blocks[0][1].withheld.tolist() == [True] + [False] * 9 and not run.blocks[0][0].withheld.any()


def test_sets_of_other_strata_do_not_hold_rows_back(sexes, tmp_path):
    """What females have on Y is nobody's sum: rows of Y are compared over males."""
    y = sexes.chromosomes.index("Y")
    sexes.dosage[y, sexes.sex == FEMALE] = 0
    sexes.dosage[y, np.flatnonzero(sexes.sex == FEMALE)[:4]] = 1
    run = sexes.run(tmp_path)
    block = next(b for b in run.blocks[0] if b.start == y)
    assert not block.withheld[0]


def test_a_prediction_in_which_one_person_stands_alone(tmp_path, monkeypatch):
    """A column of predictions that is one person reads that person's chromosome."""
    cohort = Cohort(["1"] * 12 + ["2"] * 12)
    offsets = predictions(cohort)
    offsets["T"][0] = 0.0
    offsets["T"][0, 42] = 1e4
    with monkeypatch.context() as off:
        off.setattr(SiteGuard, "on", False)
        run = cohort.run(tmp_path / "off", offsets=offsets)
    block = run.blocks[0][0]
    part = block.parts["linear", "T"][0]
    model = run.strata[0][0].design.analyses[0].model
    centred = part.cross[:, -1].astype(float) - part.dosage.astype(float) * model.cty[0]  # n Σ (g − ḡ)(e − ē)
    largest = run.strata[42 % SITES][0].design.columns.values[42 // SITES, 2]
    read = centred / (N * largest) + part.dosage / N
    assert np.abs(read - cohort.dosage[:12, 42]).max() < 0.1
    with pytest.raises(PolicyError, match=REFUSAL[:40]):
        cohort.run(tmp_path / "on", offsets=offsets)


def test_one_person_without_a_prediction(tmp_path, monkeypatch):
    """A study with predictions after one without: Σg differs by the person who has none."""
    cohort = Cohort(["1"] * 12)
    offsets = predictions(cohort)
    offsets["T"][:, 42] = np.nan
    for rules in (False, True):
        folder = tmp_path / str(rules)
        with monkeypatch.context() as off:
            if not rules:
                off.setattr(Entries, "set_fault", lambda *_, **__: None)
                off.setattr(Entries, "charge", lambda *_, **__: None)
            first = cohort.run(folder)
            if rules:
                with pytest.raises(PolicyError):
                    cohort.run(folder, offsets=offsets)
                break
            second = cohort.run(folder, offsets=offsets)
            found = first.opened["variants-00000-counts"][:, 1] - second.opened["variants-00000-counts"][:, 1]
            assert (found == cohort.dosage[:, 42]).all()


def test_columns_of_all_chromosomes_are_one_budget(tmp_path):
    """Each chromosome has a column of its own of one phenotype: 22 of them beside two are too many for sites of 100."""
    cohort = Cohort([str(c) for c in range(1, 23) for _ in range(2)], people=300)
    with pytest.raises(PolicyError):
        cohort.run(tmp_path / "on", offsets=predictions(cohort))
    run = cohort.run(tmp_path / "named", offsets=predictions(cohort), consent_openings=True)
    assert len(run.strata[0]) == 22
    for site in range(SITES):
        columns = {c.tobytes() for s in run.strata[site] for c in s.design.columns.values.T}
        assert len(columns) == 2 + 22, "people and age are the same everywhere"


def test_a_weight_of_one_homozygous_female_on_x():
    """Males count 0 and 1, females 0, 1 and 2: near a mean of ½ the sum tells the weights of those with two."""
    copies = np.array([[0, 2] * 40 + [4]], float)  # in halves
    w = np.arange(1000, 1081)
    mean, halves = np.array([[1.0]]), lambda weights: float((weights * (copies - 1.0) ** 2).sum())
    read = lambda total: (total - w.sum()) / 8  # noqa: E731
    assert read(halves(w[None, :])) == w[-1]
    weights, averaged = hidden_weights(copies, mean, w, 10)
    assert averaged.all() and abs(read(halves(weights)) - w[-1]) > 40
    assert hidden_weights(np.array([[0, 1] * 40 + [4]], float), np.array([[0.5]]), w, 10)[1].all(), (
        "a heterozygous male"
    )


def test_each_has_the_covariates_of_its_own_null_model():
    """With one guard for all, the covariates of another design stand beside a Newton step, which is then not checked."""
    guard, seen = SiteGuard(lambda line: None), []

    def design(total):
        own = fp.guard_of(total)
        own._covariates = ([[1]], [[2]])
        total([1])
        seen.append(own)

    side_by_side(guarded(lambda values: list(values), guard), [design, design])
    assert seen[0] is not seen[1] is not guard and guard._covariates is None
    assert seen[0]._columns is guard._columns is seen[1]._columns


@pytest.mark.parametrize("told", [{"qc": True}, {"xchr_model": 1}])
def test_the_sex_of_the_one_person_without_a_call(sexes, tmp_path, monkeypatch, told):
    """Missing calls of males, or of males and of females, say the sex of the one person who lacks a call on X."""
    row, him = sexes.chromosomes.index("X"), 3
    assert sexes.sex[him] == MALE
    sexes.dosage[row, him] = -1
    place = 6 if told.get("qc") else -1  # after everybody's: of founders who are male; of males at the end
    with monkeypatch.context() as off:
        off.setattr(SiteSums, "by_sex", [])
        assert counts(sexes.run(tmp_path / "off", **told), row)[place] == 1
    run = sexes.run(tmp_path / "on", **told)
    assert counts(run, row)[place] == 0
    for flags in (run.opened[n] for n in run.opened if n.endswith("-flags") and run.opened[n].shape[1] > 2):
        few = flags[flags[:, 1] == 1]
        assert (few[:, 1:] == few[:, 1:2]).all(), "nor do the flags"
    (tmp_path / "t").mkdir()
    tables = run.tables(tmp_path / "t")
    lines = [line.split("\t") for line in tables[".afreq" if told.get("qc") else ".T.glm.linear"].decode().splitlines()]
    column = lines[0].index("ALT_FREQS" if told.get("qc") else "A1_FREQ")
    assert [f[column] == "NA" for f in lines if f[0] == "X"] == [True] + [False] * 11
