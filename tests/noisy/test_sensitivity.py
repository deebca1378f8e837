"""One person, whatever they bring, moves a summary by no more than its sensitivity: all that noise is for."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from genotype_files import hard_copies
from support import securegen, text_array

import securegen as sg
from securegen.errors import InputError, UsageError
from securegen.governance.people_noise import PeopleNoise
from securegen.io.tables import read_table
from securegen.model import GenotypeBlock, Samples, Variants
from securegen.noisy import cohort as cohorts
from securegen.noisy import counts as of_counts
from securegen.noisy import frequencies as of_frequencies
from securegen.noisy import histogram as of_histogram
from securegen.noisy import hits as of_hits
from securegen.noisy import people
from securegen.noisy.cohort import CountedCohort, open_cohort
from securegen.study.people import interpret_phenotype

EPSILON = PeopleNoise(1.0)
N = 30
CHROMOSOMES = ["1", "1", "2", "X", "X", "Y", "MT", "PAR1"]


@dataclass(frozen=True)
class Held:
    """Any dosages, as files of others may hold them: beyond two copies, below none."""

    dosage: np.ndarray
    missing: np.ndarray
    samples: Samples
    chromosomes: tuple[str, ...] = tuple(CHROMOSOMES)
    dosage_grid: int = 1

    @property
    def dosage_max(self) -> int:
        return 2 * self.dosage_grid

    @property
    def variants(self) -> Variants:
        m = len(self.dosage)
        return Variants(
            text_array(self.chromosomes),
            np.arange(1, m + 1),
            text_array(["rs1"] * m),
            text_array(["A"] * m),
            text_array(["G"] * m),
        )

    def read(self, start: int, stop: int) -> GenotypeBlock:
        return GenotypeBlock(start, self.dosage[start:stop], self.missing[start:stop])


def held(grid: int = 1, chromosomes=CHROMOSOMES) -> Held:
    """30 people: males with two copies on X, unknown sexes, missing calls, and three whose dosages are no dosages."""
    rng = np.random.default_rng(4)
    m = len(chromosomes)
    dosage = rng.integers(0, 2 * grid + 1, (m, N)).astype(np.int16)
    dosage[:, 0], dosage[:, 1], dosage[:, 2] = 9 * grid, -7 * grid, 2 * grid
    names = text_array([f"I{i}" for i in range(N)])
    sex = (np.arange(N) % 3).astype(np.int8)
    return Held(
        dosage, rng.random((m, N)) < 0.1, Samples(names, names, np.ones(N, bool), sex), tuple(chromosomes), grid
    )


def without(reader: Held, i: int) -> CountedCohort:
    """The cohort of files in which this person is not."""
    kept = np.delete(np.arange(N), i)
    fewer = replace(
        reader, dosage=reader.dosage[:, kept], missing=reader.missing[:, kept], samples=reader.samples.take(kept)
    )
    return whole(fewer)


def whole(reader: Held) -> CountedCohort:
    return CountedCohort(reader, np.ones(len(reader.samples), bool), reader.samples.sex)


class Exact:
    """Stands for the mechanisms: keeps what would get noise, and for how much."""

    def __init__(self, monkeypatch):
        self.sums, self.moved, self.scores = [], [], []
        for module in (of_counts, of_frequencies, of_histogram, of_hits):
            monkeypatch.setattr(module, "noisy_sums", self.noisy_sums)
        monkeypatch.setattr(of_hits, "largest", self.largest)

    def noisy_sums(self, values, noise, moved):
        self.sums.append(np.array(values, np.int64))
        self.moved.append(moved)
        return list(values) if len(self.forced) == 0 else list(self.forced)

    forced: tuple[int, ...] = ()

    def largest(self, scores, k, noise, moved):
        self.scores.append((np.array(scores, np.int64), moved))
        return list(range(k))


def moves(exact: Exact, first: int, second: int) -> tuple[int, int]:
    difference = exact.sums[first] - exact.sums[second]
    return int(np.abs(difference).sum()), int((difference**2).sum())


def test_frequencies_move_by_two_copies_a_variant_whoever_it_is(monkeypatch):
    """X males, missing calls, unknown sexes, dosages of 9 and of −7: the bound holds, and somebody reaches it. Without the clip
    it does not hold."""
    exact = Exact(monkeypatch)
    for reader in (held(), held(grid=4), held(chromosomes=["1", "2", "3"])):
        summary = of_frequencies.frequencies(whole(reader))
        summary.draw(EPSILON)
        reached = 0
        start = len(exact.sums) - 1
        for i in range(N):
            of_frequencies.frequencies(without(reader, i)).draw(EPSILON)
            l1, l2 = moves(exact, start, -1)
            assert l1 <= exact.moved[start].l1 and l2 <= exact.moved[start].l2_squared
            reached = max(reached, l1)
        if reader.chromosomes == ("1", "2", "3"):
            assert reached == exact.moved[start].l1 == 2 * 3  # V = 3, no call missing
    reader = held()
    monkeypatch.setattr(cohorts.np, "clip", lambda values, *_: values)
    of_frequencies.frequencies(whole(reader)).draw(EPSILON)
    of_frequencies.frequencies(without(reader, 0)).draw(EPSILON)
    assert moves(exact, -1, -2)[0] > exact.moved[-1].l1  # the attack


def test_copies_are_counted_as_each_person_has_them(monkeypatch):
    """A male has one copy of X, a female two, whose sex is unknown none; MT is one copy; Y is of males."""
    exact = Exact(monkeypatch)
    names = text_array(["M", "F", "U"])
    dosage = np.full((5, 3), 2, np.int16)
    reader = Held(dosage, np.zeros((5, 3), bool), Samples(names, names, np.ones(3, bool), np.array([1, 2, 0], np.int8)),
                  ("1", "X", "Y", "MT", "PAR1"))  # fmt: skip
    of_frequencies.frequencies(whole(reader)).draw(EPSILON)
    np.testing.assert_array_equal(exact.sums[-1].reshape(-1, 2)[:, 0] / 2, [6, 3, 1, 3, 6])
    assert (exact.sums[-1].reshape(-1, 2)[:, 1] == 0).all()


def tables(folder: Path, values: dict[str, str]) -> sg.Inputs:
    lines = ["#FID\tIID\tCC\tQT", *(f"{i}\t{i}\t{cc}\t{cc}" for i, cc in values.items())]
    (folder / "p.tsv").write_text("\n".join(lines) + "\n")
    return sg.Inputs(bfile="none", pheno=str(folder / "p.tsv"), pheno_name="CC")


EXTREME = ["inf", "nan", "1e308", "-1e308", "abc", "3", "-9", "0", "1", "2", "NA", "1e400", "2.0000001"]


@pytest.mark.parametrize("cell", EXTREME)
def test_an_extreme_value_moves_one_count_of_a_group(cell, tmp_path, monkeypatch):
    exact, reader = Exact(monkeypatch), held()
    for who in (whole(reader), without(reader, 5)):
        values = {f"I{i}": str(1 + i % 2) for i in range(N)} | {"I5": cell}
        inputs = tables(tmp_path, values)
        of_counts.counts(inputs, who, sexes=True, called=True).draw(EPSILON)
        of_histogram.histogram(inputs, who, edges="0.5,1.5,2").draw(EPSILON)
    for place in range(3):
        l1, l2 = moves(exact, place, place + 3)
        assert 0 < l1 <= exact.moved[place].l1 and l2 <= exact.moved[place].l2_squared
    assert exact.moved[0].l1 == 3 and exact.moved[1].l1 == len(CHROMOSOMES) and exact.moved[2].l1 == 1


def test_what_other_commands_ask_of_the_whole_cohort_would_show_one_person():
    """The coding of a phenotype, for one: with one 3 nobody is a case any more."""
    values = np.array([1.0, 2.0] * 10)
    assert interpret_phenotype("CC", values).binary and not interpret_phenotype("CC", np.append(values, 3.0)).binary
    case, control = people.coded(np.append(values, 3.0), zero_one=False)
    assert case.sum() == control.sum() == 10


@pytest.mark.parametrize("ends", [None, (0.0, 10.0)])
def test_no_score_of_a_hit_moves_by_more_than_is_said(ends, tmp_path, monkeypatch):
    exact, reader = Exact(monkeypatch), held(chromosomes=["1"] * 12)
    values = {f"I{i}": str(1 + i % 2) for i in range(N)} | {"I2": "2", "I0": "1e300" if ends else "2"}
    inputs = tables(tmp_path, values)
    for mean in ((0, 7), (5, 5), (9, 1), (0, 0), (-4, -9)):  # whatever noise the mean had
        exact.forced, exact.scores = mean, []
        of_hits.hits(inputs, whole(reader), k=2, bounds=ends).draw(EPSILON)
        largest = 0
        for i in range(N):
            of_hits.hits(inputs, without(reader, i), k=2, bounds=ends).draw(EPSILON)
            largest = max(largest, int(np.abs(exact.scores[-1][0] - exact.scores[0][0]).max()))
        assert exact.scores[0][1] / 2 < largest <= exact.scores[0][1]
    l1, l2 = moves(exact, 0, 1)
    assert l1 <= of_hits.MOVED.l1 and l2 <= of_hits.MOVED.l2_squared


def test_with_the_true_mean_one_person_would_move_a_score_by_twice_their_share(tmp_path, monkeypatch):
    """The attack on the design: one case without a copy among controls with two moves the mean, and so everybody's share."""
    exact, reader = Exact(monkeypatch), held(chromosomes=["1"] * 12)
    dosage = np.full_like(reader.dosage, 2)
    dosage[:, 0] = 0
    reader = replace(reader, dosage=dosage, missing=np.zeros_like(reader.missing))
    inputs = tables(tmp_path, {f"I{i}": "2" if i == 0 else "1" for i in range(N)})

    def moved(with_them: tuple[int, int], without_them: tuple[int, int]) -> float:
        for mean, who in ((with_them, whole(reader)), (without_them, without(reader, 0))):
            exact.forced = mean
            of_hits.hits(inputs, who, k=1).draw(EPSILON)
        (first, share), (second, _) = exact.scores[-2:]
        return abs(int(first[0]) - int(second[0])) / share

    assert moved((1, N - 1), (0, N - 1)) > 1.9  # the true means of each
    assert moved((1, N - 1), (1, N - 1)) <= 1


def test_matching_is_each_persons_own(tmp_path):
    """A person with a family id, where nobody else has one, changes nobody else's row; a list that names nobody is no error."""
    alone = Samples(text_array(["0"] * 3), text_array(["a", "F_b", "c"]), np.ones(3, bool))
    beside = Samples(text_array(["0"] * 3 + ["G"]), text_array(["a", "F_b", "c", "a"]), np.ones(4, bool))
    (tmp_path / "t.tsv").write_text("#FID\tIID\tQT\n0\ta\t1\nF\tb\t2\nG\ta\t3\nH\tc\t4\n")
    table = read_table(tmp_path / "t.tsv")
    assert people.cells(alone, table, "QT") == ["1", "2", None] == people.cells(beside, table, "QT")[:3]
    assert people.cells(beside, table, "QT")[3] == "3"
    ids = [("F", "b"), ("c",)]
    assert people.named(alone, ids).tolist() == [False, True, True] == people.named(beside, ids)[:3].tolist()
    assert not people.named(alone, [("nobody",)]).any() and not people.named(alone, []).any()
    (tmp_path / "t.tsv").write_text("#FID\tIID\tQT\n0\ta\t1\na\ta\t2\n")
    with pytest.raises(InputError, match="line 3: without a family id"):
        people.cells(alone, read_table(tmp_path / "t.tsv"), "QT")


def test_people_twice_are_refused_and_ids_twice_in_a_list_count_once(small, tmp_path):
    """Of genotypes, of phenotypes; of variants a list is a set, and rows of one id are rows."""
    for end in ("bed", "bim", "fam"):
        (tmp_path / f"c.{end}").write_bytes(Path(f"{small.bfile}.{end}").read_bytes())
    fam = (tmp_path / "c.fam").read_text().splitlines()
    (tmp_path / "c.fam").write_text("\n".join([fam[0], fam[0], *fam[2:]]) + "\n")
    words = ["dp", "counts", "--bfile", tmp_path / "c", "--dp-epsilon", "1", "--out", tmp_path / "o", "--quiet"]
    done = securegen(*words)
    assert done.code == InputError.exit_code and "same id" in done.err
    (tmp_path / "c.fam").write_text("\n".join(fam) + "\n")
    rows = [line.split()[1] for line in (tmp_path / "c.bim").read_text().splitlines()]
    (tmp_path / "v.txt").write_text("\n".join([rows[0]] * 5 + [rows[1]]) + "\n")
    opened = open_cohort(sg.Inputs(bfile=str(tmp_path / "c"), extract=str(tmp_path / "v.txt")), print)
    assert len(opened.variants) == 2


def test_dosages_are_on_a_grid_that_people_do_not_choose():
    """Whether every dosage is whole is found in the file by other commands: here the format says it."""
    assert cohorts.grid_of(sg.Inputs(bfile="a")) == 1 and cohorts.grid_of(sg.Inputs(vcf="a.vcf")) == 256
    with pytest.raises(UsageError, match="dosage_grid"):
        cohorts.grid_of(sg.Inputs(pfile="a", dosage_grid=1))


def test_consent_is_asked_of_each_person_apart(tmp_path):
    """A register leaves out two people of one id, because of each other."""
    sg.consent.import_table(tmp_path / "r.tsv", _consents(tmp_path))
    inputs = sg.Inputs(bfile="a", purpose="HMB", consent=str(tmp_path / "r.tsv"))
    one = Samples(text_array(["0", "0"]), text_array(["a", "b"]), np.ones(2, bool))
    two = Samples(text_array(["0", "0", "F"]), text_array(["a", "b", "a"]), np.ones(3, bool))
    assert people.consenting(inputs, one).tolist() == people.consenting(inputs, two)[:2].tolist() == [True, False]


def _consents(folder: Path) -> Path:
    path = folder / "consents.tsv"
    path.write_text("FID\tIID\tDUO\tDATE\n0\ta\tGRU\t2025-01-01\n")
    return path


@pytest.mark.parametrize("form", ["pfile", "vcf", "bgen"])
def test_every_format_is_counted_alike(form, small, tmp_path, monkeypatch):
    """On a grid that the format says, in copies."""
    exact, wrote = Exact(monkeypatch), hard_copies(small.bfile, tmp_path)
    found = []
    for words in (["--bfile", small.bfile], wrote.options[form]):
        named = {
            flag.removeprefix("--").replace("-", "_"): value
            for flag, value in itertools.pairwise(words)
            if flag[:2] == "--"
        }
        opened = open_cohort(sg.Inputs(**named), lambda _: None)
        of_frequencies.frequencies(opened).draw(EPSILON)
        found.append(exact.sums[-1] / opened.reader.dosage_grid)
    np.testing.assert_array_equal(*found)
    assert found[0].sum() > 0
