"""Records with several ALT: a row for each against all other alleles, with the record's id, position and REF."""

from __future__ import annotations

from pathlib import Path

import bgen
import numpy as np
import pgenlib
import pytest
from genotype_files import write_sample
from support import text_array

from securegen.errors import InputError, UsageError
from securegen.io.bgen import read_bgen
from securegen.io.genotypes import GenotypeFiles
from securegen.io.pgen import read_pgen
from securegen.io.vcf import read_vcf
from securegen.model import Samples
from securegen.study.genotypes import open_genotypes
from securegen.study.inputs import Inputs

LONG = "ATTTTGCCA"
# Calls of five people, by hand. REF A, ALT C, LONG, *
CALLS = ["0/1", "1/2", "2/2", "./.", "0/3"]
COPIES = {"C": [1, 1, 0, -1, 0], LONG: [0, 1, 2, -1, 0], "*": [0, 0, 0, -1, 1]}
HEAD = '##fileformat=VCFv4.2\n##contig=<ID=1>\n##FORMAT=<ID=GT,Number=1,Type=String,Description="g">\n'
DS = '##FORMAT=<ID=DS,Number=A,Type=Float,Description="d">\n'
PEOPLE = Samples(text_array("abcde"), text_array("abcde"), np.ones(5, bool))


def vcf(path: Path, *lines: str, head: str = HEAD) -> Path:
    columns = "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\ta\tb\tc\td\te\n"
    path.write_text(head + columns + "".join(f"{line}\n" for line in lines))
    return path


def line(position: int, name: str, alt: str, calls: list[str], form: str = "GT") -> str:
    return "\t".join(["1", str(position), name, "A", alt, ".", ".", ".", form, *calls])


def dosages(reader) -> list[list[int]]:
    block = reader.on_grid(None).read(0, len(reader.variants))
    missing = np.zeros(block.dosage.shape, bool) if block.missing is None else block.missing
    return np.where(missing, -1, block.dosage).tolist()


def test_calls_of_a_vcf(tmp_path):
    ordinary = ["0/0", "0/1", "1/1", "0/0", "."]
    path = vcf(
        tmp_path / "x.vcf",
        line(5, "rs0", "G", ordinary),
        line(9, "rs1", f"C,{LONG},*", CALLS),
        line(9, "rs2", "G", ordinary),
    )
    reader = read_vcf(path)
    v = reader.variants
    assert v.id.tolist() == ["rs0", "rs1", "rs1", "rs1", "rs2"] and v.position.tolist() == [5, 9, 9, 9, 9]
    assert v.effect_allele.tolist() == ["G", "C", LONG, "*", "G"] and set(v.other_allele) == {"A"}
    assert dosages(reader) == [[0, 1, 2, 0, -1], *COPIES.values(), [0, 1, 2, 0, -1]]
    turned = reader.select(np.array([2, 0]), np.array([3, 2, 0, 1]))  # back in the file, and twice one record
    assert dosages(turned) == [[0, 0], [2, 0], [2, 0], [0, 1]]
    for start in range(5):  # a block may end inside a record
        assert reader.read(start, start + 1).dosage.shape == (1, 5)
    kept = read_vcf(path, multiallelic="skip").variants
    assert kept.effect_allele.tolist() == ["G", f"C,{LONG},*", "G"]  # left out where variants are chosen, with a count


def test_dosages_of_a_vcf_have_one_number_an_alt(tmp_path):
    cells = ["0/1:0.75,0.25", "0/2:0.5,1", "0/0:0,0", "./.:.,.", "1/2:1,1"]
    path = vcf(tmp_path / "x.vcf", line(9, "rs1", "C,G", cells, "GT:DS"), head=HEAD + DS)
    assert dosages(read_vcf(path)) == [[192, 128, 0, -1, 256], [64, 256, 0, -1, 256]]
    one = ["0/1:0.75", "0/2:0.5", "0/0:0", "./.:.", "1/2:1"]
    path = vcf(tmp_path / "y.vcf", line(9, "rs1", "C,G", one, "GT:DS"), head=HEAD + DS)
    assert dosages(read_vcf(path)) == [[1, 0, 0, -1, 1], [0, 1, 0, -1, 1]]  # of which ALT is not said: GT is read
    path = vcf(tmp_path / "z.vcf", line(9, "rs1", "C,G", [c.split(":")[1] for c in one], "DS"), head=HEAD + DS)
    with pytest.raises(InputError, match="a DS of 1 numbers for 2 ALT: one number per ALT is expected"):
        read_vcf(path).on_grid(256).read(0, 2)


def test_a_pgen(tmp_path):
    with pgenlib.PgenWriter(
        str(tmp_path / "x.pgen").encode(), 5, variant_ct=2, nonref_flags=False, allele_ct_limit=4
    ) as w:
        w.append_biallelic(np.array([0, 1, 2, 0, -9], np.int8))
        codes = [(0, 1), (1, 2), (2, 2), (-9, -9), (0, 3)]
        w.append_alleles(np.array(codes, np.int32).reshape(-1), False)
    (tmp_path / "x.psam").write_text("#IID\na\nb\nc\nd\ne\n")
    (tmp_path / "x.pvar").write_text(f"#CHROM\tPOS\tID\tREF\tALT\n1\t5\trs0\tA\tG\n1\t9\trs1\tA\tC,{LONG},*\n")
    reader = read_pgen(tmp_path / "x")
    assert reader.variants.effect_allele.tolist() == ["G", "C", LONG, "*"]
    assert dosages(reader) == [[0, 1, 2, 0, -1], *COPIES.values()]
    assert dosages(reader.select(variants=np.array([2, 0]))) == [COPIES[LONG], [0, 1, 2, 0, -1]]


@pytest.mark.parametrize("ref_last", [False, True])
def test_a_bgen(tmp_path, ref_last):
    """Genotype probabilities of alleles A, C, G in the order AA AC CC AG CG GG."""
    p = np.array(
        [[0, 1, 0, 0, 0, 0], [0, 0, 0, 0, 1, 0], [0, 0, 0, 0, 0, 1], [0.5, 0.5, 0, 0, 0, 0], [0, 0, 0.25, 0.75, 0, 0]]
    )
    with bgen.BgenWriter(str(tmp_path / "x.bgen"), 5, samples=[]) as w:
        w.add_variant("", "rs1", "1", 9, ["A", "C", "G"], p, bit_depth=16)
    write_sample(tmp_path / "x.sample", PEOPLE)
    reader = read_bgen(tmp_path / "x.bgen", ref_last=ref_last)
    a, c, g = [256, 0, 0, 384, 192], [256, 256, 0, 128, 128], [0, 256, 512, 0, 192]
    alts = {"A": a, "C": c} if ref_last else {"C": c, "G": g}
    assert reader.variants.effect_allele.tolist() == list(alts) and set(reader.variants.other_allele) == {
        "G" if ref_last else "A"
    }
    assert dosages(reader) == list(alts.values())


def test_the_option_goes_with_formats_that_have_such_records():
    with pytest.raises(UsageError, match="--multiallelic goes with --pfile or --vcf or --bgen"):
        GenotypeFiles(bfile="c", multiallelic="skip").open()


def test_an_id_chooses_every_row_that_has_it(tmp_path):
    path, names, said = vcf(tmp_path / "x.vcf", line(9, "rs1", "C,G", CALLS[:3] + ["./.", "0/0"])), tmp_path / "ids", []
    names.write_text("rs1\n")
    reader = open_genotypes(Inputs(vcf=str(path), extract=str(names)), said.append)
    assert reader.variants.effect_allele.tolist() == ["C", "G"] and "--extract: 2 variants remain" in said
