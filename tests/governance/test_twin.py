"""A twin has the shape that was asked for, comes from the seed alone, and every command reads it."""

from __future__ import annotations

import inspect
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from support import securegen

import securegen as sg
from securegen.errors import InputError, MissingExtraError, UsageError
from securegen.governance import twin as simulation
from securegen.governance.twin import TwinShape

FILES = ("bed", "bim", "fam", "pheno.tsv", "covar.tsv", "twin.json")


@pytest.fixture
def msprime():
    return pytest.importorskip("msprime", reason="needs securegen[twin]")


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> str:
    pytest.importorskip("msprime", reason="needs securegen[twin]")
    prefix = f"{tmp_path_factory.mktemp('twin')}/t"
    sg.twin(
        prefix,
        samples=60,
        variants=40,
        chromosomes=3,
        covariates=2,
        binary=True,
        case_share=0.25,
        missing_rate=0.1,
        seed=5,
    )
    return prefix


def test_without_msprime_the_extra_is_named_and_nothing_else_simulates(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "msprime", None)
    with pytest.raises(MissingExtraError, match=r"securegen\[twin\]"):
        sg.twin(tmp_path / "t", samples=50, variants=10)
    assert (
        securegen("twin", "--samples", 50, "--variants", 10, "--out", tmp_path / "t").code
        == MissingExtraError.exit_code
    )
    assert not list(tmp_path.iterdir())


def test_the_shape_is_what_was_asked_for(made):
    reader = sg.read_plink(made)
    assert len(reader.samples) == 60 and len(reader.variants) == 40
    assert set(reader.variants.chromosome.tolist()) == {"1", "2", "3"} and len(set(reader.variants.id.tolist())) == 40
    block = reader.read(0, 40)
    assert block.missing is not None and abs(block.missing.mean() - 0.1) < 4 * (0.09 / 2400) ** 0.5
    called = ~block.missing
    frequency = block.dosage.sum(axis=1) / (2 * called.sum(axis=1))
    assert (np.minimum(frequency, 1 - frequency) > 0).all() and frequency.std() > 0.1
    rows = [line.split("\t") for line in Path(f"{made}.pheno.tsv").read_text().splitlines()]
    values = [row[2] for row in rows[1:]]
    assert rows[0] == ["#FID", "IID", "Y"] and set(values) <= {"1", "2", "NA"} and 10 <= values.count("2") <= 15
    assert Path(f"{made}.covar.tsv").read_text().splitlines()[0] == "#FID\tIID\tC1\tC2"
    assert json.loads(Path(f"{made}.twin.json").read_text())["note"] == "simulated: no line describes a person"


def test_the_same_seed_gives_the_same_bytes_and_another_others(made, tmp_path):
    options = {
        "samples": 60,
        "variants": 40,
        "chromosomes": 3,
        "covariates": 2,
        "binary": True,
        "case_share": 0.25,
        "missing_rate": 0.1,
    }
    sg.twin(tmp_path / "t", **options, seed=5)
    sg.twin(tmp_path / "u", **options, seed=6)
    for ending in FILES:
        assert Path(f"{made}.{ending}").read_bytes() == (tmp_path / f"t.{ending}").read_bytes(), ending
    assert (tmp_path / "u.bed").read_bytes() != (tmp_path / "t.bed").read_bytes()


def test_a_command_rehearses_on_it_and_a_run_gives_its_shape(made, tmp_path):
    files = ["--bfile", made, "--pheno", f"{made}.pheno.tsv", "--covar", f"{made}.covar.tsv"]
    assert securegen("gwas", *files, "--out", tmp_path / "g").code == 0
    sg.twin(tmp_path / "again", like=tmp_path / "g", missing_rate=0.0)
    shape = json.loads((tmp_path / "again.twin.json").read_text())["shape"]
    assert (shape["samples"], shape["variants"], shape["covariates"], shape["binary"]) == (60, 40, 2, True)


def test_released_frequencies_are_taken_when_they_are_named(made, tmp_path, msprime):
    assert securegen("qc", "--bfile", made, "--out", tmp_path / "q").code == 0
    lines: list[str] = []
    sg.twin(tmp_path / "t", samples=150, frequencies=tmp_path / "q.afreq", missing_rate=0.0, seed=2, log=lines.append)
    mine, theirs = sg.read_plink(tmp_path / "t"), sg.read_plink(made)
    assert mine.variants.id.tolist() == theirs.variants.id.tolist()
    assert mine.variants.effect_allele.tolist() == theirs.variants.effect_allele.tolist()
    wanted = [float(line.split("\t")[4]) for line in (tmp_path / "q.afreq").read_text().splitlines()[1:]]
    found = mine.read(0, 40).dosage.mean(axis=1) / 2
    assert (
        np.abs(found - wanted).max() < 0.1 and np.median(np.abs(found - wanted)) < 0.02 and "in the median" in lines[-1]
    )
    with pytest.raises(UsageError, match="leave `variants` out"):
        sg.twin(tmp_path / "x", samples=150, variants=3, frequencies=tmp_path / "q.afreq")
    with pytest.raises(InputError, match="not a table of results"):
        sg.twin(tmp_path / "x", samples=150, frequencies=tmp_path / "q.vmiss")


def test_no_genotype_can_be_handed_in():
    """Neither the function nor the command has an option that names genotypes."""
    from securegen.io.genotypes import FIELDS

    assert not set(inspect.signature(sg.twin).parameters) & (set(FIELDS) - {"sample"})
    assert "read_plink" not in inspect.getsource(simulation) and "GenotypeBlock" not in inspect.getsource(simulation)


@pytest.mark.parametrize("wrong", [
    {"samples": 3}, {"variants": 0}, {"chromosomes": 23}, {"covariates": -1}, {"case_share": 0.0}, {"missing_rate": 1.0},
    {"samples": True}, {"binary": True, "case_share": 0.001},
])  # fmt: skip
def test_shapes_that_cannot_be_are_refused(wrong):
    with pytest.raises(UsageError):
        TwinShape(**({"samples": 50, "variants": 10} | wrong))
