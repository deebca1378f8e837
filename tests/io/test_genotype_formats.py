"""One cohort in four formats: the same integers, whatever is selected; imputed dosages on one public grid."""

from __future__ import annotations

import subprocess
import sys
from shutil import which

import numpy as np
import pytest
from genotype_files import hard_copies, imputed, write_bgen, write_pfile, write_vcf
from hypothesis import given
from hypothesis import strategies as st

from securegen.errors import InputError, MissingExtraError, UsageError
from securegen.io.arrays import from_arrays
from securegen.io.bgen import read_bgen
from securegen.io.dosages import MISSING, RESOLUTION, to_units
from securegen.io.pgen import read_pgen
from securegen.io.plink1 import read_plink
from securegen.io.vcf import read_vcf
from securegen.model import iterate_blocks
from securegen.study.genotypes import open_genotypes
from securegen.study.inputs import Inputs

FORMATS = ("pfile", "vcf", "bcf", "bgen")


@pytest.fixture(scope="module")
def copies(small, tmp_path_factory):
    return hard_copies(small.bfile, tmp_path_factory.mktemp("formats"))


@pytest.fixture(scope="module")
def readers(copies):
    path = {name: words[1] for name, words in copies.options.items()}
    return {
        "bfile": read_plink(path["bfile"]), "pfile": read_pgen(path["pfile"]), "vcf": read_vcf(path["vcf"]),
        "bcf": read_vcf(path["bcf"]), "bgen": read_bgen(path["bgen"], sample=copies.options["bgen"][3]),
    }  # fmt: skip


def same(block, expected) -> None:
    assert block.start == expected.start and block.dosage.dtype == expected.dosage.dtype
    np.testing.assert_array_equal(block.dosage, expected.dosage)
    assert (block.missing is None) == (expected.missing is None)
    if block.missing is not None:
        np.testing.assert_array_equal(block.missing, expected.missing)


@pytest.mark.parametrize("name", FORMATS)
def test_the_same_integers_and_variants(readers, name):
    reader, oracle = readers[name].on_grid(None), readers["bfile"]
    assert reader.dosage_grid == 1 and reader.variants.digest() == oracle.variants.digest()
    if name in ("pfile", "bgen"):
        assert (reader.samples.fid == oracle.samples.fid).all() and (reader.samples.iid == oracle.samples.iid).all()
    for size in (700, 97):
        for block, expected in zip(iterate_blocks(reader, size), iterate_blocks(oracle, size), strict=True):
            same(block, expected)


@pytest.mark.parametrize("name", FORMATS)
def test_a_selection_in_any_order(readers, name):
    rng = np.random.default_rng(5)
    for people, sites in (
        (np.sort(rng.choice(90, 31, replace=False)), np.sort(rng.choice(1300, 200, replace=False))),
        (rng.permutation(90)[:17], rng.permutation(1300)[:50]),
        (np.array([3]), np.array([1299, 0, 0])),
    ):
        chosen, oracle = readers[name].select(people, sites), readers["bfile"].select(people, sites)
        again = chosen.select(variants=np.array([1, 0]))
        same(chosen.read(1, 3), oracle.read(1, 3))
        same(chosen.read(0, len(sites)), oracle.read(0, len(sites)))  # backwards: a file read forward starts again
        same(again.read(0, 2), oracle.select(variants=np.array([1, 0])).read(0, 2))


@pytest.fixture(scope="module")
def fractions(readers, tmp_path_factory):
    """Dosages in steps of 1/256, and their readers."""
    folder = tmp_path_factory.mktemp("fractions")
    oracle = readers["bfile"].select(variants=np.arange(40))
    dosage = imputed(np.random.default_rng(8), 40, 90)
    parts = (dosage, oracle.samples, oracle.variants)
    write_pfile(folder / "d", *parts)
    write_vcf(folder / "d.vcf.gz", *parts, fields="GT:DS")
    write_vcf(folder / "ds.vcf", *parts, fields="DS")
    write_bgen(folder / "d.bgen", *parts, bits=16)
    write_bgen(folder / "p.bgen", *parts, bits=16, phased=True, compression="zstd")
    return dosage, {
        "pfile": read_pgen(folder / "d"), "GT:DS": read_vcf(folder / "d.vcf.gz"), "DS": read_vcf(folder / "ds.vcf"),
        "bgen": read_bgen(folder / "d.bgen", sample=folder / "d.sample"),
        "phased": read_bgen(folder / "p.bgen", sample=folder / "p.sample"),
    }  # fmt: skip


@pytest.mark.parametrize("name", ["pfile", "GT:DS", "DS", "bgen", "phased"])
@pytest.mark.parametrize("grid", [None, 256, 64, 8192])
def test_fractional_dosages_are_the_same_integers(fractions, name, grid):
    dosage, opened = fractions
    reader = opened[name].on_grid(grid)
    used = grid or 256
    assert reader.dosage_grid == used
    block = reader.read(0, 40)
    assert block.dosage.dtype == np.int16 and block.missing is not None
    np.testing.assert_array_equal(block.missing, np.isnan(dosage))
    np.testing.assert_array_equal(block.dosage, np.floor(np.nan_to_num(dosage) * used + 0.5))


def test_the_grid_is_one_where_the_chosen_dosages_are_integers(fractions):
    """Variant 0 has hard calls although its file has fractions; a grid of 1 for the rest is refused by name."""
    for reader in fractions[1].values():
        assert reader.select(variants=np.array([0])).on_grid(None).dosage_grid == 1
        assert reader.select(variants=np.array([1])).on_grid(None).dosage_grid == 256
        with pytest.raises(InputError, match="fractional dosages, a dosage grid of 1 is for hard calls"):
            reader.on_grid(1)
        with pytest.raises(InputError, match="choose a grid first"):
            reader.read(1, 2)
        for wrong in (3, 0, 1 << 14):
            with pytest.raises(InputError, match="a power of two from 1 to 8192|hard calls"):
                reader.on_grid(wrong)


def test_hard_calls_can_be_put_on_a_grid_with_others(readers, fractions):
    for name, reader in readers.items():
        block, hard = reader.on_grid(64).read(0, 9), reader.on_grid(None).read(0, 9)
        assert block.dosage.dtype == np.int16, name
        np.testing.assert_array_equal(block.dosage, 64 * hard.dosage.astype(int))
    cohort = from_arrays(fractions[0], readers["bfile"].samples, variants=readers["bfile"].variants.take(slice(0, 40)))
    fine = cohort.on_grid(1024)
    np.testing.assert_array_equal(fine.read(0, 40).dosage, 4 * cohort.read(0, 40).dosage)
    np.testing.assert_array_equal(fine.read(0, 40).missing, cohort.read(0, 40).missing)
    assert cohort.on_grid(None) is cohort
    with pytest.raises(InputError, match="rounded to 1/256 already"):
        cohort.on_grid(64)


@given(st.lists(st.integers(0, 2 * RESOLUTION), min_size=1))
def test_units_are_exact_for_what_plink2_stores(units):
    np.testing.assert_array_equal(to_units(np.array(units) / RESOLUTION), units)
    assert (to_units(np.full(3, np.nan)) == MISSING).all()


@pytest.mark.parametrize("name", FORMATS)
def test_files_of_people_and_variants_choose_in_every_format(small, copies, tmp_path, name):
    """--keep and --remove name FID and IID; a VCF has only FID_IID, or is named by IID alone."""
    (tmp_path / "keep").write_text("#FID\tIID\n" + "".join(f"F{i}\tI{i}\n" for i in range(60)))
    (tmp_path / "remove").write_text("".join(f"F{i} I{i}\n" for i in range(10)))
    (tmp_path / "extract").write_text("".join(f"rs{j}\n" for j in range(5, 300)))
    (tmp_path / "exclude").write_text("rs7\nrs8\n")
    files = {n: str(tmp_path / n) for n in ("keep", "remove", "extract", "exclude")}
    words = copies.options[name]
    named = dict(zip([w.removeprefix("--") for w in words[::2]], words[1::2], strict=True))
    got = open_genotypes(Inputs(**named, **files, chr=("1",), to_bp=3000))
    oracle = open_genotypes(Inputs(small.bfile, **files, chr=("1",), to_bp=3000))
    assert len(got.samples) == 50 and got.variants.digest() == oracle.variants.digest()
    same(got.read(0, len(got.variants)), oracle.read(0, len(oracle.variants)))


def test_exactly_one_file_of_genotypes_and_options_that_go_with_it():
    for options, message in (
        ({}, "give genotypes: --bfile, --pfile, --vcf or --bgen"),
        ({"bfile": "a", "vcf": "b"}, "--bfile and --vcf: give one"),
        ({"vcf": "b", "sample": "c"}, "--sample goes with --bgen"),
        ({"pfile": "b", "ref_last": True}, "--ref-last goes with --bgen"),
        ({"bgen": "b", "vcf_field": "GT"}, "--vcf-field goes with --vcf"),
    ):
        with pytest.raises(UsageError, match=message):
            open_genotypes(Inputs(**options))


@pytest.mark.parametrize(
    ("package", "extra", "open_"),
    [("pgenlib", "pgen", read_pgen), ("cyvcf2", "vcf", read_vcf), ("bgen", "bgen", read_bgen)],
)
def test_an_absent_package_names_its_extra(copies, monkeypatch, package, extra, open_):
    monkeypatch.setitem(sys.modules, package, None)
    path = copies.options["pfile" if extra == "pgen" else extra][1]
    with pytest.raises(MissingExtraError, match=rf"pip install 'securegen\[{extra}\]'"):
        open_(path)


@pytest.mark.skipif(which("plink2") is None, reason="compares with plink2's own conversions, where plink2 is installed")
def test_conversions_of_plink2_are_read_as_the_original(small, readers, tmp_path):
    """plink2 writes A1 of the bim as ALT; a BGEN has REF first with its `ref-first` and last without."""

    def plink2(*words: object) -> None:
        subprocess.run(["plink2", "--silent", *map(str, words)], check=True, capture_output=True)

    out = tmp_path / "p"
    plink2("--bfile", small.bfile, "--make-pgen", "vzs", "--out", out)
    plink2("--bfile", small.bfile, "--export", "vcf", "bgz", "--out", out)
    plink2("--bfile", small.bfile, "--export", "bgen-1.2", "bits=8", "ref-first", "--out", out)
    plink2("--bfile", small.bfile, "--export", "bgen-1.3", "--out", f"{out}3")
    plink2("--bfile", small.bfile, "--export", "bgen-1.1", "ref-first", "--out", f"{out}1")
    oracle = readers["bfile"]
    for reader in (
        read_pgen(out), read_vcf(f"{out}.vcf.gz"), read_bgen(f"{out}.bgen", sample=f"{out}.sample"), read_bgen(f"{out}.bgen"),
        read_bgen(f"{out}3.bgen", ref_last=True), read_bgen(f"{out}1.bgen", sample=f"{out}1.sample"),
    ):  # fmt: skip
        reader = reader.on_grid(None)
        assert reader.variants.digest() == oracle.variants.digest()
        same(reader.read(0, 1300), oracle.read(0, 1300))


@pytest.mark.skipif(which("plink2") is None, reason="compares with plink2's own conversions, where plink2 is installed")
@pytest.mark.parametrize("bits", [8, 16])
def test_imputed_dosages_converted_by_plink2_give_the_same_integers(readers, tmp_path, bits):
    oracle = readers["bfile"].select(variants=np.arange(60))
    dosage = np.random.default_rng(bits).uniform(0, 2, (60, 90))
    write_bgen(tmp_path / "b.bgen", dosage, oracle.samples, oracle.variants, bits=bits, ids=True)
    out = str(tmp_path / "p")
    for words in (
        ["--bgen", str(tmp_path / "b.bgen"), "ref-first", "--make-pgen", "--out", out],
        ["--pfile", out, "--export", "vcf", "vcf-dosage=DS-force", "--out", out],
    ):
        subprocess.run(["plink2", "--silent", *words], check=True, capture_output=True)
    direct, converted = read_bgen(tmp_path / "b.bgen").on_grid(None), read_pgen(out).on_grid(None)
    assert direct.dosage_grid == 256
    same(converted.read(0, 60), direct.read(0, 60))
    text = read_vcf(f"{out}.vcf").on_grid(None).read(0, 60)  # DS has four digits or so
    assert np.abs(text.dosage.astype(int) - direct.read(0, 60).dosage).max() <= 1
