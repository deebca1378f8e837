"""Everybody in the files of a study with `keep`, whom a policy looks at: in the memory of one table of variants."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from genotype_files import hard_copies
from reference_data import GOLD

import securegen as sg
from securegen.io import bgen, vcf
from securegen.model import boundaries_of, iterate_blocks
from securegen.study.opening import everybody_of

FORMATS = ("bfile", "pfile", "vcf", "bcf", "bgen")
ABOUT = {"chr": "1", "to_bp": 900_000, "purpose": "HMB"}


def same_cohort(mine, oracle) -> None:
    assert mine.variants.digest() == oracle.variants.digest() and list(mine.samples.iid) == list(oracle.samples.iid)
    assert mine.dosage_grid == oracle.dosage_grid and boundaries_of(mine) == boundaries_of(oracle)
    for block, expected in zip(iterate_blocks(mine, 37), iterate_blocks(oracle, 37), strict=True):
        np.testing.assert_array_equal(block.dosage, expected.dosage)
        assert (block.missing is None) == (expected.missing is None)
        if block.missing is not None:
            np.testing.assert_array_equal(block.missing, expected.missing)


def half_of(ruled) -> Path:
    path = ruled.folder / "keep.txt"
    people = Path(f"{ruled.cohort.bfile}.fam").read_text().splitlines()
    path.write_text("".join("\t".join(line.split()[:2]) + "\n" for line in people[::2]))
    return path


@pytest.mark.parametrize(
    "options",
    [{}, {"dominant": True}, {"blocks": "2/3"}, {"split_par": "b38", "chr": None, "to_bp": None}, {"qc": True}],
    ids=lambda options: "-".join(options) or "as it is",
)
def test_the_files_without_the_list_at_the_same_variants(ruled, options):
    ruled.write()
    keep, more = half_of(ruled), ABOUT | options
    found = everybody_of(ruled.study(keep=keep, **more))
    assert len(found.samples) > len(ruled.study(keep=keep, **more).reader.samples)
    same_cohort(found, ruled.study(**more).reader)


def test_without_variants_that_predictions_have_no_line_for(reference, tmp_path, ruled):
    """Also files by chromosome, in a chain, under their own table of variants."""
    ruled.write()
    cohort = reference("sim_500x5k")
    keep = tmp_path / "keep.txt"
    keep.write_text("".join(f"{line.split()[0]}\t{line.split()[1]}\n" for line in
                            Path(f"{cohort.bfile}.fam").read_text().splitlines()[:400]))  # fmt: skip
    asked = {"pheno": cohort.pheno, "pheno_name": "QT", "chr": ("1", "2"), "policy": ruled.policy, "purpose": "HMB",
             "pred": GOLD / "sim_500x5k" / "gold_regenie" / "qt1_pred.list"}  # fmt: skip
    same_cohort(
        everybody_of(sg.open_study(cohort.bfile, keep=keep, **asked)), sg.open_study(cohort.bfile, **asked).reader
    )


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_that_is_read_forwards_is_read_once_for_each(ruled, name, tmp_path, monkeypatch):
    """People who are analysed and everybody are read in turn, block by block."""
    ruled.write()
    copies = hard_copies(ruled.cohort.bfile, tmp_path)
    begun = []
    for module in (vcf, bgen):
        monkeypatch.setattr(module, "_records", lambda path, real=module._records: begun.append(path) or real(path))
    keep = tmp_path / "keep.txt"
    about = {"pheno": ruled.cohort.pheno, "pheno_name": "QT", "policy": ruled.policy, "purpose": "HMB"}
    about |= {k.removeprefix("--"): v for k, v in zip(*[iter(copies.options[name])] * 2, strict=True)}
    whole = sg.open_study(**about).reader
    keep.write_text("".join(f"{f}\t{i}\n" for f, i in zip(whole.samples.fid[::2], whole.samples.iid[::2], strict=True)))
    study = sg.open_study(keep=keep, **about)
    found = everybody_of(study)
    same_cohort(found, whole)
    del begun[:]
    for start in range(0, len(whole.variants), 500):
        study.reader.read(start, start + 500)
        found.read(start, start + 500)
    assert len(begun) == 2 * (name in ("vcf", "bcf", "bgen"))


def test_as_many_variants_as_there_are_take_no_more_memory(ruled):
    """A second table of 30,000 variants, or a row number for each, would be seen."""
    ruled.write()
    people, variants = 12, 30_000
    base = ruled.folder / "many"
    rows = [f"{1 + i * 22 // variants}\trs{i}\t0\t{i + 1}\tA\tG\n" for i in range(variants)]
    base.with_suffix(".bim").write_text("".join(rows))
    base.with_suffix(".fam").write_text("".join(f"f{i} p{i} 0 0 1 -9\n" for i in range(people)))
    base.with_suffix(".bed").write_bytes(b"\x6c\x1b\x01" + bytes(variants * people // 4))
    base.with_suffix(".keep").write_text("".join(f"f{i}\tp{i}\n" for i in range(10)))
    study = sg.open_qc(base, keep=base.with_suffix(".keep"), policy=ruled.policy, purpose="HMB")
    tracemalloc.start()
    try:
        found = everybody_of(study)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(found.samples) == people and found.variants is study.reader.variants
    assert peak < 100_000 < 8 * variants
