"""VCF and BCF: what odd genotypes mean, DS beside GT, one pass forward, and errors with their place."""

from __future__ import annotations

import gzip

import numpy as np
import pytest
from genotype_files import VCF_HEAD, write_vcf
from support import text_array

from securegen.errors import InputError
from securegen.io.vcf import read_vcf
from securegen.model import Samples, Variants
from securegen.study.genotypes import open_genotypes
from securegen.study.inputs import Inputs

pytest.importorskip("cyvcf2", reason="needs securegen[vcf]")
COLUMNS = "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT"
NAN = float("nan")


def make(path, *records: str, people: str = "a b c d", head: str = VCF_HEAD):
    """A VCF of records "POS ALT FORMAT values…" on chromosome 1 with REF G."""
    rows = []
    for record in records:
        position, alt, form, *values = record.split()
        rows.append("\t".join(["1", position, f"v{position}", "G", alt, ".", ".", ".", form, *values]))
    names = "\t".join(people.split())
    path.write_text(f"{head}##contig=<ID=1>\n{COLUMNS}\t{names}\n" + "\n".join(rows) + "\n")
    return path


def dosages(reader, grid: int | None = None) -> list[list[float]]:
    reader = reader.on_grid(grid)
    block = reader.read(0, len(reader.variants))
    values = block.dosage / reader.dosage_grid
    return np.where(block.missing, NAN, values).tolist() if block.missing is not None else values.tolist()


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ("1 A GT 0/0 0/1 1/0 1/1", [0, 1, 1, 2]),
        ("1 A GT 0|0 0|1 1|0 1|1", [0, 1, 1, 2]),  # phase is ignored
        ("1 A GT ./. ./1 0/. .", [NAN] * 4),  # a half-call is missing
        ("1 A GT 0 1 . 0/1", [0, 2, NAN, 1]),  # a haploid call counts twice, as in plink2
        ("1 . GT 0/0 ./. 0/0 0|0", [0, NAN, 0, 0]),
        ("1 A GT:DP 0/1:3 1/1:4 ./.:. 0/0:9", [1, 2, NAN, 0]),
        ("1 A DS 0.25 . 2 1.5", [0.25, NAN, 2, 1.5]),
        ("1 A GT:DS 0/0:0.25 ./.:. 1/1:1.75 0/1:.", [0.25, NAN, 1.75, 1]),  # GT where a sample has no DS
        ("1 A GT:DS 0:0.25 1:1 .:0.5 0/1:1", [0.5, 2, 0.5, 1]),
        ("1 <DEL> GT 0/1 0/1 0/0 1/1", [1, 1, 0, 2]),
    ],
)
def test_what_a_genotype_means(tmp_path, record, expected):
    (got,) = dosages(read_vcf(make(tmp_path / "x.vcf", record)))
    np.testing.assert_array_equal(got, expected)


def test_records_without_ds_are_read_from_gt_and_gt_can_be_chosen(tmp_path):
    path = make(tmp_path / "x.vcf", "1 A GT 0/0 0/1 1/1 ./.", "2 A GT:DS 0/0:0.5 0/1:1 1/1:2 ./.:1.25")
    np.testing.assert_array_equal(dosages(read_vcf(path)), [[0, 1, 2, NAN], [0.5, 1, 2, 1.25]])
    np.testing.assert_array_equal(dosages(read_vcf(path, field="GT")), [[0, 1, 2, NAN], [0, 1, 2, NAN]])
    assert read_vcf(path, field="GT").on_grid(None).dosage_grid == 1
    assert read_vcf(path).select(variants=np.array([0])).on_grid(None).dosage_grid == 1


def test_ids_without_a_name_and_several_alleles(tmp_path):
    path = make(tmp_path / "x.vcf", "1 A GT 0/0 0/1 1/1 ./.", "2 A,C GT 0/2 1/2 0/0 0/1", "3 . GT 0/0 0/0 0/0 0/0")
    path.write_text(path.read_text().replace("v1\t", ".\t"))
    lines: list[str] = []
    reader = open_genotypes(Inputs(vcf=str(path), multiallelic="skip"), lines.append)
    assert reader.variants.id.tolist() == [".", "v3"] and reader.variants.effect_allele.tolist() == ["A", "0"]
    assert any("1 variant with more than two alleles is left out" in line for line in lines)
    assert reader.samples.fid.tolist() == ["0"] * 4


@pytest.mark.parametrize("ending", [".vcf", ".vcf.gz", ".bcf"])
def test_reading_is_forward_and_starts_again_on_the_way_back(tmp_path, ending):
    rng = np.random.default_rng(1)
    dosage = rng.integers(0, 3, (50, 6)).astype(float)
    people = Samples(text_array("fffffg"), text_array("abcdea"), np.ones(6, bool))
    number = np.arange(50)
    sites = Variants(
        text_array(["2"] * 50), number + 7, text_array([f"r{j}" for j in number]), text_array(["A"] * 50), text_array(["T"] * 50)
    )  # fmt: skip
    write_vcf(tmp_path / f"x{ending}", dosage, people, sites)
    reader = read_vcf(tmp_path / f"x{ending}")
    assert reader.samples.iid.tolist() == ["f_a", "f_b", "f_c", "f_d", "f_e", "g_a"]
    assert reader.variants.digest() == sites.digest()
    opened = []
    begin = reader.source.records.begin
    reader.source.records.begin = lambda: opened.append(1) or begin()
    for start, stop in ((0, 10), (10, 30), (35, 50), (20, 25), (25, 30), (3, 4)):
        np.testing.assert_array_equal(reader.read(start, stop).dosage, dosage[start:stop])
    assert len(opened) == 3  # at the start and at the two steps back


def test_broken_files_are_errors_with_their_place(tmp_path):
    path = tmp_path / "x.vcf"
    rows = ["1 A GT 0/0 0/1 1/1 ./.", "2 A GT 0/0 0/1 1/1 ./."]

    def refused(message: str, *records: str, **options) -> None:
        make(path, *records, **options)
        with pytest.raises(InputError, match=message):
            reader = read_vcf(path).on_grid(None)
            reader.read(0, len(reader.variants))

    refused("x.vcf, after 1:1 .record 1.: a line that is not a record", rows[0], "2 A GT 0/0 0/1")
    refused("1:2: the record has neither GT nor DS", rows[0], "2 A DP 1 2 3 4")
    refused("1:2: sample 4 has a DS of .*, outside", rows[0], "2 A DS 0 1 2 2.5")
    refused("1:2: sample 4 has a DS of .*, outside", rows[0], "2 A DS 0 1 2 -0.1")
    refused("1:2: a genotype of more than two alleles", rows[0], "2 A GT 0/0/1 0/1 0/0 1/1")
    refused("1:2: a genotype names allele 3", rows[0], "2 A GT 0/0 0/1 0/3 1/1")
    refused("x.vcf, at the first record: an empty or broken line", *[])
    for content, message in (
        ("hello\n", "x.vcf is not a VCF: its first line is not ##fileformat"),
        ("\ufeff" + VCF_HEAD, "begins with a byte-order mark"),
        (f"{VCF_HEAD}{COLUMNS}\n1\t1\tv\tG\tA\t.\t.\t.\tGT\n", "x.vcf"),
    ):
        path.write_text(content)
        with pytest.raises(InputError, match=message):
            read_vcf(path)
    with pytest.raises(InputError, match="absent.vcf cannot be read: No such file"):
        read_vcf(tmp_path / "absent.vcf")
    with pytest.raises(InputError, match="neither its header nor a record has the FORMAT field DS"):
        read_vcf(make(path, rows[0], head=VCF_HEAD.split("##FORMAT=<ID=DS")[0]), field="DS")


def test_truncated_files_are_refused(tmp_path):
    rows = [f"{j} A GT 0/0 0/1 1/1 ./." for j in range(1, 4000)]
    text = make(tmp_path / "x.vcf", *rows).read_bytes()
    packed = tmp_path / "p.vcf.gz"
    packed.write_bytes(gzip.compress(text)[:-3000])
    with pytest.raises(InputError, match="p.vcf.gz, after 1:"):
        read_vcf(packed)
    people = Samples(text_array("ff"), text_array("ab"), np.ones(2, bool))
    sites = Variants(*(text_array(["1"]) if n != 1 else np.array([4]) for n in range(5)))
    write_vcf(tmp_path / "b.vcf.gz", np.array([[0.0, 1.0]]), people, sites)
    whole = (tmp_path / "b.vcf.gz").read_bytes()
    (tmp_path / "b.vcf.gz").write_bytes(whole[:-28])
    with pytest.raises(InputError, match="b.vcf.gz is truncated"):
        read_vcf(tmp_path / "b.vcf.gz")


def test_a_file_that_shrinks_after_it_was_opened(tmp_path):
    path = make(tmp_path / "x.vcf", *[f"{j} A GT 0/0 0/1 1/1 ./." for j in range(1, 9)])
    reader = read_vcf(path).on_grid(None)
    make(path, "1 A GT 0/0 0/1 1/1 ./.")
    with pytest.raises(InputError, match="ends after 1 variants, 8 were there when it was opened"):
        reader.read(0, 8)


@pytest.mark.parametrize("ending", [".vcf", ".vcf.gz"])
def test_a_header_that_lost_a_name_is_refused(tmp_path, ending):
    """htslib takes the first genotypes and everybody would have those of another person."""
    path = make(tmp_path / "x.vcf", "5 A GT 0/0 0/1 1/1 0/0", people="b c d")
    if ending == ".vcf.gz":
        path = tmp_path / "x.vcf.gz"
        path.write_bytes(gzip.compress((tmp_path / "x.vcf").read_bytes()))
    with pytest.raises(
        InputError, match="its first record has 4 genotypes, the header names 3 people: does it miss one"
    ):
        read_vcf(path)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ("5 A,T GT:DS 0/1:1.5,1.5 0/0:0,0 0/0:0,0 0/0:0,0", "DS of 2 ALT that sum to 3, above 2"),
        ("5 . GT 0/1 0/0 0/0 0/0", "a genotype names allele 1, the record has 0 ALT"),
    ],
)
def test_copies_that_nobody_has(tmp_path, record, message):
    with pytest.raises(InputError, match=f"1:5: {message}"):
        dosages(read_vcf(make(tmp_path / "x.vcf", record)))
    rounded = make(tmp_path / "y.vcf", "5 A,T GT:DS 0/1:1.001,1 0/0:0,0 0/0:.,. 1/1:2,0")
    assert dosages(read_vcf(rounded)) == [[1, 0, 0, 2], [1, 0, 0, 0]]
