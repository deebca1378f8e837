"""PLINK2 filesets: their tables in every form, variants with several ALT alleles, and errors with their file."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path

import numpy as np
import pytest
import zstandard
from genotype_files import write_pfile
from support import text_array

from securegen.errors import InputError
from securegen.io.fileset_tables import read_psam, read_pvar
from securegen.io.pgen import read_header, read_pgen
from securegen.io.plink1 import read_plink
from securegen.model import Samples, Variants
from securegen.study.genotypes import open_genotypes
from securegen.study.inputs import Inputs

pgenlib = pytest.importorskip("pgenlib", reason="needs securegen[pgen]")
PEOPLE = Samples(text_array(["f1", "f2", "f3"]), text_array(["a", "b", "c"]), np.ones(3, bool))
SITES = Variants(
    text_array(["1", "1"]), np.array([5, 9]), text_array(["x", "y"]), text_array(["A", "C"]), text_array(["G", "T"])
)
DOSAGE = np.array([[0, 1, 2], [2, np.nan, 0.0]])


@pytest.fixture
def prefix(tmp_path):
    write_pfile(tmp_path / "p", DOSAGE, PEOPLE, SITES)
    return tmp_path / "p"


def test_packed_variant_tables(prefix, small, tmp_path):
    """pvar.zst as plink2 writes it with vzs, in several frames too; bim and fam as .gz or .zst."""
    text = prefix.with_suffix(".pvar").read_bytes()
    prefix.with_suffix(".pvar").unlink()
    half = zstandard.ZstdCompressor().compress(text[:20]) + zstandard.ZstdCompressor().compress(text[20:])
    prefix.with_name("p.pvar.zst").write_bytes(half)
    assert read_pgen(prefix).variants.digest() == SITES.digest()
    assert set(Inputs(pfile=str(prefix)).files()) == {"pgen", "pvar", "psam"}
    assert len(Inputs(pfile=f"{prefix}.pgen").digests()["pvar"]) == 64
    shutil.copy(f"{small.bfile}.bed", tmp_path / "b.bed")
    (tmp_path / "b.bim.gz").write_bytes(gzip.compress(Path(f"{small.bfile}.bim").read_bytes()))
    (tmp_path / "b.fam.zst").write_bytes(zstandard.ZstdCompressor().compress(Path(f"{small.bfile}.fam").read_bytes()))
    assert read_plink(tmp_path / "b").variants.digest() == read_plink(small.bfile).variants.digest()


def test_tables_in_their_other_forms(tmp_path):
    """A psam without FID or header, parents; a pvar with INFO, or with a bim's columns; `.` as ALT is 0."""
    psam, pvar = tmp_path / "psam", tmp_path / "pvar"
    psam.write_text("##comment\n#IID\tSID\tPAT\tMAT\tSEX\na\t0\t0\t0\t1\nb\t0\ta\t0\t2\n")
    got = read_psam(psam)
    assert got.fid.tolist() == ["0", "0"] and got.iid.tolist() == ["a", "b"] and got.founder.tolist() == [True, False]
    psam.write_text("f a 0 0 1 -9\nf b 0 a 2 -9\n")
    got = read_psam(psam)
    assert got.fid.tolist() == ["f", "f"] and got.founder.tolist() == [True, False]
    pvar.write_text("##x\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tCM\n1\t7\trs1\tG\t.\t.\tPASS\tPR\t0\n")
    one = read_pvar(pvar)
    assert (one.position[0], one.effect_allele[0], one.other_allele[0]) == (7, "0", "G")
    pvar.write_text("1 rs1 0.5 7 A G\n2 rs2 0 8 <DEL> C\n")
    two = read_pvar(pvar)
    assert two.position.tolist() == [7, 8] and two.effect_allele.tolist() == ["A", "<DEL>"]
    assert two.other_allele.tolist() == ["G", "C"] and two.id.tolist() == ["rs1", "rs2"]


def test_several_alternative_alleles_are_counted_and_left_out(tmp_path):
    """A variant with two ALTs between two others: its neighbours are read right, itself is left out aloud; so is X."""
    with pgenlib.PgenWriter(
        str(tmp_path / "m.pgen").encode(), 3, variant_ct=4, nonref_flags=False, allele_ct_limit=3
    ) as w:
        for alleles, count in (
            ([0, 0, 0, 1, 1, 1], 2),
            ([0, 2, 1, 2, 0, 0], 3),
            ([1, 1, -9, -9, 0, 1], 2),
            ([0] * 6, 2),
        ):
            w.append_alleles(np.array(alleles, np.int32), allele_ct=count)
    (tmp_path / "m.psam").write_text("#IID\na\nb\nc\n")
    rows = ["1\t1\tu\tG\tA", "1\t2\tv\tG\tA,T", "1\t3\tw\tG\tA", "X\t4\tx\tG\tA"]
    (tmp_path / "m.pvar").write_text("#CHROM\tPOS\tID\tREF\tALT\n" + "\n".join(rows) + "\n")
    lines: list[str] = []
    reader = open_genotypes(Inputs(pfile=str(tmp_path / "m"), multiallelic="skip"), lines.append)
    assert reader.variants.id.tolist() == ["u", "w"]
    assert any("1 variant with more than two alleles is left out" in line for line in lines)
    assert any("1 variant on X, Y or MT is left out" in line for line in lines)
    block = reader.read(0, 2)
    assert block.dosage.tolist() == [[0, 1, 2], [2, 0, 1]] and block.missing.tolist()[1] == [False, True, False]


def test_the_header_tells_where_fractions_cannot_be(prefix, tmp_path):
    assert not read_header(prefix.with_suffix(".pgen")).fractional
    write_pfile(tmp_path / "q", DOSAGE / 2, PEOPLE, SITES)
    assert read_header(tmp_path / "q.pgen").fractional


def test_damaged_and_absent_files_are_errors_with_their_name(prefix, small):
    whole = {s: prefix.with_suffix(f".{s}").read_bytes() for s in ("pgen", "psam", "pvar")}

    def refused(suffix: str, content: bytes, message: str) -> None:
        for name, original in whole.items():
            prefix.with_suffix(f".{name}").write_bytes(content if name == suffix else original)
        with pytest.raises(InputError, match=message):
            reader = read_pgen(prefix)
            reader.read(0, len(reader.variants))

    refused("pgen", whole["pgen"][:-1], "p.pgen cannot be read, it is truncated or damaged")
    refused("pgen", b"", "p.pgen is not a pgen file")
    refused("pgen", Path(f"{small.bfile}.bim").read_bytes(), "not a pgen file")
    refused("psam", whole["psam"] + b"f4\td\tNA\n", "p.pgen has 3 samples, the table beside it has 4")
    refused("psam", whole["psam"] + b"f3\tc\tNA\n", "same id, which appears more than once")
    refused("psam", whole["psam"] + b"f4\td\n", "line 5: 2 fields, expected 3")
    refused("psam", b"#FID\tIID\n", "names nobody")
    refused("psam", b"a\nb\nc\n", "line 1: 1 field, expected a header line")
    refused("pvar", whole["pvar"] + b"1\t12\tz\tA\tC\n", "p.pgen has 2 variants, the table beside it has 3")
    refused("pvar", whole["pvar"] + b"1\tz\tA\tC\n", "line 5: 4 fields, 5 expected")
    refused("pvar", b"#CHROM\tPOS\tID\tREF\n1\t1\ta\tG\n", "the header must name")
    refused("pvar", b"", "has no variants")
    for suffix in ("pgen", "psam", "pvar"):
        path = prefix.with_suffix(f".{suffix}")
        path.unlink()
        with pytest.raises(InputError, match=f"p.{suffix}"):
            read_pgen(prefix)
        path.write_bytes(whole[suffix])
