"""BGEN: every layout of probabilities, ids in the file or beside it, which allele is counted, errors with their place."""

from __future__ import annotations

import numpy as np
import pytest
from genotype_files import imputed, write_bgen, write_sample
from support import text_array

from securegen.errors import InputError
from securegen.io.bgen import read_bgen
from securegen.io.bgen_people import read_sample
from securegen.model import Samples, Variants
from securegen.study.genotypes import open_genotypes
from securegen.study.inputs import Inputs

bgen = pytest.importorskip("bgen", reason="needs securegen[bgen]")
PEOPLE = Samples(text_array(["f1", "f2", "f3", "f4"]), text_array(["a", "b", "c", "d"]), np.ones(4, bool))
SITES = Variants(
    text_array(["1", "2"]), np.array([5, 9]), text_array(["x", "y"]), text_array(["A", "C"]), text_array(["G", "T"])
)
DOSAGE = np.array([[0, 1, 2, np.nan], [2, 0, 1, 1.0]])


def values(reader) -> np.ndarray:
    reader = reader.on_grid(None)
    block = reader.read(0, len(reader.variants))
    out = block.dosage / reader.dosage_grid
    return out if block.missing is None else np.where(block.missing, np.nan, out)


@pytest.mark.parametrize("bits", [1, 2, 7, 8, 10, 16, 24, 32])
@pytest.mark.parametrize("compression", [None, "zlib", "zstd"])
@pytest.mark.parametrize("phased", [False, True])
def test_hard_calls_at_every_width(tmp_path, bits, compression, phased):
    path = tmp_path / "x.bgen"
    write_bgen(path, DOSAGE, PEOPLE, SITES, bits=bits, compression=compression, phased=phased)
    reader = read_bgen(path, sample=path.with_suffix(".sample"))
    assert reader.on_grid(None).dosage_grid == 1 and reader.variants.digest() == SITES.digest()
    np.testing.assert_array_equal(values(reader), DOSAGE)


def test_stored_probabilities_are_rounded_exactly(tmp_path):
    """Dosages k/255 and k/65535 go to the nearest 1/16384 and then to the grid, without the error of float32."""
    for bits in (8, 16):
        top = (1 << bits) - 1
        k = np.random.default_rng(bits).integers(0, top + 1, (30, 4))
        names = [f"r{j}" for j in range(30)]
        sites = Variants(text_array(["1"] * 30), np.arange(30) + 1, text_array(names), *[text_array(["A"] * 30)] * 2)
        write_bgen(tmp_path / "k.bgen", k / top, PEOPLE, sites, bits=bits, ids=True)
        block = read_bgen(tmp_path / "k.bgen").on_grid(None).read(0, 30)
        fine = (2 * k * 16384 + top) // (2 * top)
        np.testing.assert_array_equal(block.dosage, (fine + 32) // 64)


def test_which_allele_is_counted(tmp_path):
    """The second is ALT and counted; with ref_last the first."""
    write_bgen(tmp_path / "x.bgen", DOSAGE, PEOPLE, SITES, ids=True, ref_last=True)
    first, last = read_bgen(tmp_path / "x.bgen"), read_bgen(tmp_path / "x.bgen", ref_last=True)
    assert last.variants.digest() == SITES.digest()
    np.testing.assert_array_equal(values(last), DOSAGE)
    assert first.variants.effect_allele.tolist() == ["G", "T"]
    np.testing.assert_array_equal(values(first), 2 - DOSAGE)


def test_probabilities_above_one_are_refused(tmp_path):
    """The package warns and clamps them."""
    path = tmp_path / "x.bgen"
    write_bgen(path, DOSAGE, PEOPLE, SITES, ids=True, compression=None)
    raw = bytearray(path.read_bytes())
    raw[-2:] = b"\xff\xff"  # both probabilities of the last person
    path.write_bytes(raw)
    with pytest.raises(InputError, match="x.bgen, variant .*: probabilities that sum to more than 1"):
        values(read_bgen(path))


def test_ids_inside_or_beside(tmp_path):
    path = tmp_path / "x.bgen"
    write_bgen(path, DOSAGE, PEOPLE, SITES)
    assert read_bgen(path).samples.fid.tolist() == PEOPLE.fid.tolist()  # of x.sample, beside it
    path.with_suffix(".sample").unlink()
    with pytest.raises(InputError, match="no sample ids, and no x.sample lies beside it: give its .sample file"):
        read_bgen(path)
    inside = tmp_path / "y.bgen"
    write_bgen(inside, DOSAGE, PEOPLE, SITES, ids=True)
    assert read_bgen(inside).samples.iid.tolist() == ["f1_a", "f2_b", "f3_c", "f4_d"]
    beside = read_bgen(inside, sample=inside.with_suffix(".sample")).samples
    assert beside.fid.tolist() == PEOPLE.fid.tolist() and beside.iid.tolist() == PEOPLE.iid.tolist()
    sample = tmp_path / "one.sample"
    sample.write_text("ID missing sex\n0 0 D\na 0 1\nb 0 2\nc 0 1\nd 0 1\n")
    assert read_sample(sample).iid.tolist() == ["a", "b", "c", "d"] and set(read_sample(sample).fid) == {"0"}
    for text, message in (
        ("ID_1 ID_2 missing\n0 0 0\nf a 0\n", "has 1 people, .* has 4"),
        ("#FID IID\nf a\nf b\n", "is not a .sample file"),
        ("ID_1 ID_2 missing\n0 0 0\nf a 0\nf b\n", "row 4: 2 fields"),
        ("ID_1 ID_2 missing\n0 0 0\nf a 0\nf a 0\n", "same id, which appears more than once"),
    ):
        sample.write_text(text)
        with pytest.raises(InputError, match=message):
            read_bgen(path, sample=sample)
    with pytest.raises(InputError, match="no such file"):
        read_bgen(path, sample=tmp_path / "absent")


def test_odd_variants(tmp_path):
    """Haploid calls count twice; chromosome 01 is 1; three alleles and chromosome X are left out aloud."""
    path = tmp_path / "x.bgen"
    with bgen.BgenWriter(str(path), n_samples=2, samples=["a", "b"]) as w:
        w.add_variant(
            "snp", "", "01", 4, ["G", "A"], np.array([[0, 1.0, np.nan], [1.0, 0, 0]]), ploidy=np.array([1, 2])
        )
        w.add_variant("", "three", "01", 5, ["G", "A", "T"], np.eye(6)[[1, 4]])
        w.add_variant("", "sex", "X", 6, ["G", "A"], np.eye(3)[[1, 2]])
    lines: list[str] = []
    reader = open_genotypes(Inputs(bgen=str(path), multiallelic="skip"), lines.append)
    assert (reader.variants.chromosome.tolist(), reader.variants.id.tolist()) == (["1"], ["snp"])
    assert values(reader).tolist() == [[2, 0]]
    assert any("more than two alleles is left out" in line for line in lines)
    assert any("on X, Y or MT is left out" in line for line in lines)
    assert any("REF is the first allele of the BGEN" in line for line in lines)


def test_damaged_files_are_errors_with_their_place(tmp_path):
    dosage = imputed(np.random.default_rng(2), 2, 4)
    path = tmp_path / "x.bgen"
    write_bgen(path, dosage, PEOPLE, SITES, ids=True)
    whole = path.read_bytes()
    with pytest.raises(InputError, match="no such file"):
        read_bgen(tmp_path / "absent.bgen")
    for cut in (0, 10, 30, len(whole) - 5):
        path.write_bytes(whole[:cut])
        with pytest.raises(InputError, match="x.bgen"):
            values(read_bgen(path))
    seen = 0
    for at in range(24, len(whole)):  # a changed byte is read, or is an error that names the file: nothing else
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x5A]) + whole[at + 1 :])
        try:
            values(read_bgen(path))
        except InputError as error:
            seen += "x.bgen" in str(error)
    assert seen > 20


def test_a_sample_file_of_another_cohort_is_refused(tmp_path):
    path = tmp_path / "x.bgen"
    write_bgen(path, DOSAGE, PEOPLE, SITES, ids=True)
    write_sample(tmp_path / "other.sample", PEOPLE.take(np.arange(3)))
    with pytest.raises(InputError, match="has 3 people"):
        read_bgen(path, sample=tmp_path / "other.sample")


@pytest.mark.parametrize("protected", [True, False])
def test_a_flipped_bit_of_packed_genotypes(tmp_path, monkeypatch, protected):
    """zlib's check sum tells, which the package does not look at: without it about one flip in fifteen gives other genotypes."""
    if not protected:
        monkeypatch.setattr("securegen.io.bgen._check_packed", lambda *_: None)
    rng, path = np.random.default_rng(3), tmp_path / "x.bgen"
    names = text_array([f"p{i}" for i in range(60)])
    v = Variants(text_array(["7"]), np.array([9]), text_array(["x"]), text_array(["A"]), text_array(["G"]))
    dosage = rng.integers(0, 3, (1, 60)).astype(float)
    write_bgen(path, dosage, Samples(names, names, np.ones(60, bool)), v)
    whole, other = path.read_bytes(), 0
    for at in range(len(whole) - 40, len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << int(rng.integers(8))]) + whole[at + 1 :])
        try:
            got = read_bgen(path).on_grid(256).read(0, 1)
        except InputError:
            continue
        other += not np.array_equal(got.dosage, 256 * dosage)
    assert (other == 0) == protected
