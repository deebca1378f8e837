"""Scores, components, kinship, predictions and sessions of parties leave again only when enough people have left since."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from support import Cohort, register_of, securegen, withdraw, write_tsv

import securegen as sg
from securegen.engines.mpc.owner_gate import pass_owner
from securegen.engines.mpc.state_file import StateFile
from securegen.errors import PolicyError, StorageError
from securegen.governance import releases
from securegen.governance.gate import Asking, gate_of
from securegen.structure.run import write_components, write_kinship
from securegen.structure.step1 import write_step1
from securegen.study.genotypes import open_genotypes

PEOPLE = 90


@pytest.fixture
def register(tmp_path) -> Path:
    return register_of(tmp_path, dict.fromkeys(range(PEOPLE), "HMB"))


def asked(small: Cohort, register: Path, **more) -> sg.Inputs:
    return sg.Inputs(bfile=small.bfile, purpose="HMB", consent=str(register), **more)


def scoring(small: Cohort, register: Path, name: str = "weight") -> Path:
    bim = [line.split() for line in Path(f"{small.bfile}.bim").read_text().splitlines()[3:60]]
    return write_tsv(register.parent / f"{name}.tsv", ("ID", "A1", name), [(b[1], b[4], 0.1) for b in bim])


def scores(small: Cohort, register: Path, out: Path, **more) -> None:
    sg.scores.run(
        sg.scores.open(score=scoring(small, register), bfile=small.bfile, purpose="HMB", consent=register, **more)
    ).write(out)


def kinship(small: Cohort, register: Path, out: Path, **more) -> None:
    write_kinship(asked(small, register, **more), str(out))


def components(small: Cohort, register: Path, out: Path, **more) -> None:
    write_components(asked(small, register, **more), str(out), pcs=1, rounds=2)


def predictions(small: Cohort, register: Path, out: Path, **more) -> None:
    write_step1(asked(small, register, pheno=small.pheno, pheno_name=("QT",), **more), str(out), block=40)


def party(small: Cohort, register: Path, out: Path, **more) -> None:
    """The genotype owner's own door in a step-by-step session."""
    inputs = asked(small, register, **more)
    reader = open_genotypes(inputs, lambda line: None)
    sets = np.ones((len(reader.samples), 1), bool)
    session = SimpleNamespace(id=b"one")
    gate, state = gate_of("mpc", inputs.asking, inputs.files().values()), StateFile(out.with_suffix(".state"))
    pass_owner(gate, reader, [(("autosomes",), sets)], 2, "hits", state=state, session=session)
    out.with_suffix(".sent").write_text("")


WAYS = [scores, kinship, components, predictions, party]


@pytest.mark.parametrize("way", WAYS, ids=lambda f: f.__name__)
def test_it_leaves_again_when_enough_have_left(way: Callable, small, register, tmp_path):
    """The same people again, one fewer, and ten fewer; beside it one more person left out by hand."""
    way(small, register, tmp_path / "a")
    way(small, register, tmp_path / "b")
    withdraw(register, 20)
    with pytest.raises(PolicyError, match=r"consent.release"):
        way(small, register, tmp_path / "not")
    out = write_tsv(tmp_path / "out.txt", ("#FID", "IID"), [("F30", "I30")])
    with pytest.raises(PolicyError, match=r"consent.release"):
        way(small, register, tmp_path / "not", remove=str(out))
    assert not list(tmp_path.glob("not*"))
    withdraw(register, *range(40, 55))
    way(small, register, tmp_path / "enough")
    assert list(tmp_path.glob("enough*"))


def test_another_name_of_a_score_does_not_help(small, register, tmp_path):
    scores(small, register, tmp_path / "a")
    withdraw(register, 20)
    renamed = sg.scores.open(
        score=scoring(small, register, "other"), bfile=small.bfile, purpose="HMB", consent=register
    )
    with pytest.raises(PolicyError, match="consent.release"):
        sg.scores.run(renamed)


def test_components_and_tables_are_one_family_and_rows_of_kinship_are_not(small, register, tmp_path):
    """Loadings say the frequencies of everybody, as a table does; a row of kinship is subtracted from no sum."""
    kinship(small, register, tmp_path / "k")
    withdraw(register, 20)
    sg.run(sg.open_study(small.bfile, pheno=small.pheno, pheno_name="QT", purpose="HMB", consent=register, chr="1"))
    withdraw(register, 21)
    with pytest.raises(PolicyError, match="consent.release"):
        components(small, register, tmp_path / "not")


def test_by_command(small, register, tmp_path):
    def run(command: str, out: str, *more: object):
        options = ("--bfile", small.bfile, "--purpose", "HMB", "--consent", register, "--out", tmp_path / out)
        return securegen(command, *options, *more)

    score = scoring(small, register)
    assert run("kinship", "k").code == run("prs", "p", "--score", score).code == 0
    withdraw(register, 20)
    for command, more in (("kinship", ()), ("prs", ("--score", score))):
        done = run(command, "again", *more)
        assert done.code == 12 and "consent.release" in done.err, done.err
        assert "I20" not in done.err
    assert not list(tmp_path.glob("again.kin0")) and not list(tmp_path.glob("again.sscore*"))


def test_by_editing_files(small, register, tmp_path):
    """The ledger that remembers is bound to the register: taken away or edited, nothing runs."""
    ledger = Path(f"{register}.ledger")
    kinship(small, register, tmp_path / "k")
    withdraw(register, 20)
    kept = ledger.read_bytes()
    edited = kept.replace(b"rows of kinship", b"rows of scores x")
    assert edited != kept
    for content, why in ((edited, "was altered"), (None, "is gone")):
        if content is None:
            ledger.unlink()
        else:
            ledger.write_bytes(content)
        with pytest.raises(StorageError, match=why):
            kinship(small, register, tmp_path / "again")
    ledger.touch(mode=0o600)
    ledger.write_bytes(kept)
    with pytest.raises(PolicyError, match="consent.release"):
        kinship(small, register, tmp_path / "again")


def test_without_a_register_nothing_is_claimed(small):
    gate = gate_of("plain", Asking(), [small.bfile])
    gate.claim(open_genotypes(sg.Inputs(bfile=small.bfile), lambda line: None).samples, [("a", np.ones(90, bool))], "x")


def test_no_phenotype_takes_another_family():
    """A phenotype has no blank, and a test's name is the catalogue's: what a table is called is in the family of sums."""
    from securegen.catalogue import TESTS

    assert all(
        releases.family_of(releases.analysis_of(releases.ASSOCIATION, f"rows {test}", "X")) == releases.SUMS
        for test in TESTS
    )
    assert {releases.family_of(releases.analysis_of(kind, "n", "p")) for kind in releases.ANALYSES} == {
        releases.SUMS, releases.KINSHIP, releases.SCORES,
    }  # fmt: skip
