"""PLINK1 filesets: what is read is what was written, and anything unreadable is an error with its file."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from support import genotypes, write_plink

from securegen.errors import InputError, UsageError
from securegen.io.plink1 import read_plink
from securegen.model import iterate_blocks
from securegen.study.genotypes import open_genotypes
from securegen.study.inputs import Inputs


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Dosages (M, N), −127 missing, and the prefix of their files; 37 samples do not fill a byte."""
    dosage = genotypes(np.random.default_rng(3), 41, 37, missing=0.1)
    prefix = tmp_path_factory.mktemp("plink") / "c"
    write_plink(prefix, dosage)
    return dosage, prefix


@pytest.fixture
def copy(written, tmp_path):
    """A copy that a test may damage."""
    for suffix in (".bed", ".bim", ".fam"):
        shutil.copy(written[1].with_suffix(suffix), tmp_path)
    return tmp_path / "c"


@pytest.mark.parametrize("size", [1, 7, 41, 100])
def test_blocks_hold_what_was_written(written, size):
    dosage, prefix = written
    reader = read_plink(prefix)
    at = 0
    for block in iterate_blocks(reader, size):
        assert block.start == at and block.dosage.dtype == np.int8
        expected = dosage[at : at + len(block)]
        np.testing.assert_array_equal(block.dosage, np.where(expected < 0, 0, expected))
        missing = expected < 0
        assert (block.missing is None) == (not missing.any())
        if block.missing is not None:
            np.testing.assert_array_equal(block.missing, missing)
        at += len(block)
    assert at == 41


def test_tables_of_samples_and_variants(written):
    reader = read_plink(written[1])
    assert reader.samples.fid[3] == "F3" and reader.samples.iid[36] == "I36" and reader.samples.founder.all()
    v = reader.variants
    assert (v.id[40], v.chromosome[40], v.position[40]) == ("rs40", "2", 1400)
    assert (v.effect_allele[0], v.other_allele[0]) == ("A", "G")  # columns 5 and 6 of the bim


def test_the_prefix_may_end_in_bed(written):
    assert len(read_plink(f"{written[1]}.bed").variants) == 41


def test_founders_have_no_parent(copy):
    fam = copy.with_suffix(".fam")
    lines = fam.read_text().splitlines()
    lines[2] = "F2 I2 F0 0 0 -9"
    fam.write_text("\n".join(lines) + "\n")
    assert read_plink(copy).samples.founder.tolist() == [i != 2 for i in range(37)]


def test_selected_samples_and_variants(written):
    dosage, prefix = written
    people, variants = np.array([30, 2, 5]), np.array([9, 40, 3])
    block = read_plink(prefix).select(people, variants).read(0, 3)
    expected = dosage[np.ix_(variants, people)]
    np.testing.assert_array_equal(block.dosage, np.where(expected < 0, 0, expected))
    again = read_plink(prefix).select(samples=people).select(np.array([1]), variants[1:])
    assert again.samples.iid.tolist() == ["I2"] and again.variants.id.tolist() == ["rs40", "rs3"]
    np.testing.assert_array_equal(again.read(0, 2).dosage[:, 0], np.maximum(dosage[[40, 3], 2], 0))


def damage(copy, suffix: str, change) -> None:
    path = copy.with_suffix(suffix)
    path.write_bytes(change(path.read_bytes()))


@pytest.mark.parametrize(
    ("suffix", "change", "message"),
    [
        (".bed", lambda b: b[:-1], r"c.bed has 412 bytes, 413 expected for 37 samples × 41 variants"),
        (".bed", lambda b: b + b"\0", r"c.bed has 414 bytes, 413 expected"),
        (".bed", lambda b: b"\x6c\x1b\x00" + b[3:], "c.bed is sample-major .its third byte is 00.*plink --make-bed"),
        (".bed", lambda b: b"PK\3\4" + b[4:], "not a variant-major PLINK1 bed file"),
        (".bed", lambda b: b"", "not a variant-major PLINK1 bed file"),
        (".bim", lambda b: b[: b.rindex(b"\t")], r"c.bim, line 41: 5 fields, a bim file has 6"),
        (".bim", lambda b: b.replace(b"\t1010\t", b"\tx\t"), "c.bim, line 2: 'x' is not a base-pair position"),
        (".bim", lambda b: b"", "c.bim is empty"),
        (".bim", lambda b: b"\xff" + b, "c.bim, line 1: byte 0xff is not UTF-8 text"),
        (".fam", lambda b: b.replace(b"I36", b"I3 6"), r"c.fam, line 37: 7 fields, a fam file has 6"),
        (".fam", lambda b: b.replace(b"F36", b"F0").replace(b"I36", b"I0"), "persons 1 and 37 have the same id"),
        (".fam", lambda b: b.split(b"\n", 5)[5], r"c.bed has 413 bytes, 331 expected for 32 samples × 41 variants"),
    ],
)
def test_damaged_files_are_named(copy, suffix, change, message):
    damage(copy, suffix, change)
    with pytest.raises(InputError, match=message):
        read_plink(copy)


@pytest.mark.parametrize("suffix", [".bed", ".bim", ".fam"])
def test_missing_files_are_named(copy, suffix):
    copy.with_suffix(suffix).unlink()
    with pytest.raises(InputError, match=rf"c\{suffix}(: no such file| cannot be read: No such file)"):
        read_plink(copy)
    copy.with_suffix(suffix).mkdir()
    with pytest.raises(InputError, match=rf"c\{suffix}"):
        read_plink(copy)


def test_a_packed_bed_is_named(copy):
    copy.with_suffix(".bed").rename(copy.with_suffix(".bed.gz"))
    with pytest.raises(InputError, match=r"c\.bed cannot be read: .*; .*c\.bed\.gz is there: unpack it"):
        read_plink(copy)


def test_a_bed_that_shrinks_while_it_is_read(copy):
    reader = read_plink(copy)
    damage(copy, ".bed", lambda b: b[:50])
    with pytest.raises(InputError, match="c.bed cannot be read"):
        reader.read(0, 41)
    copy.with_suffix(".bed").unlink()
    with pytest.raises(InputError, match="c.bed cannot be read"):
        reader.read(0, 41)


def test_filters_of_samples_and_variants(copy, tmp_path):
    lists = {
        "keep": "F1 I1\nF2 I2\nF3 I3\n",
        "remove": "#IID\nI2\n",
        "extract": "rs0\nrs5\nrs6\nrs30\n",
        "exclude": "rs5\n",
    }
    for name, text in lists.items():
        (tmp_path / name).write_text(text)
    files = {name: str(tmp_path / name) for name in lists}
    lines: list[str] = []
    reader = open_genotypes(Inputs(str(copy), **files), lines.append)
    assert reader.samples.iid.tolist() == ["I1", "I3"] and reader.variants.id.tolist() == ["rs0", "rs6", "rs30"]
    assert lines[1:] == ["--keep: 3 samples remain", "--remove: 2 samples remain", "--extract: 4 variants remain",
                         "--exclude: 3 variants remain"]  # fmt: skip
    chosen = open_genotypes(Inputs(str(copy), chr=("chr2",), from_bp=1300, to_bp=1350))
    assert chosen.variants.position.tolist() == [1300, 1310, 1320, 1330, 1340, 1350]
    with pytest.raises(UsageError, match="`chr` 22: the genotype file has 1, 2 only"):
        open_genotypes(Inputs(str(copy), chr=("22",)))
    with pytest.raises(UsageError, match="`from_bp` and `to_bp` need `chr`"):
        open_genotypes(Inputs(str(copy), from_bp=3))


def test_variants_that_are_not_supported_are_counted_aloud(copy):
    damage(copy, ".bim", lambda b: b.replace(b"1\trs0\t", b"X\trs0\t").replace(b"1\trs1\t", b"chrY\trs1\t"))
    lines = copy.with_suffix(".bim").read_text().splitlines()
    lines[5] = lines[5].replace("\tA\t", "\tA,T\t")
    copy.with_suffix(".bim").write_text("\n".join(lines) + "\n")
    log: list[str] = []
    assert len(open_genotypes(Inputs(str(copy)), log.append).variants) == 38
    assert any(line.startswith("WARNING: 2 variants on X, Y or MT are left out") for line in log)
    assert any(line.startswith("WARNING: 1 variant with more than two alleles is left out") for line in log)
