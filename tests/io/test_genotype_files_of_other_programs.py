"""Genotype files as other programs write them: people, alleles, chromosomes and dosages are what they were, or an error."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from genotype_files import write_bgen, write_pfile
from support import genotypes, write_plink

from securegen.errors import InputError, SecuregenError, UsageError
from securegen.io import plink1
from securegen.io.bgen import read_bgen
from securegen.io.fileset_tables import read_psam, read_pvar
from securegen.io.pgen import read_pgen
from securegen.io.plink1 import read_plink
from securegen.io.vcf import read_vcf
from securegen.study.genotypes import open_genotypes
from securegen.study.inputs import Inputs

N, M = 7, 6
DOSAGE = np.random.default_rng(8).integers(0, 3, (M, N)).astype(np.int8)


@pytest.fixture
def plink(tmp_path):
    """Write a fileset, change lines of its fam or bim; returns its prefix."""

    def make(fam=None, bim=None) -> str:
        write_plink(tmp_path / "c", DOSAGE)
        for suffix, change in (("fam", fam), ("bim", bim)):
            path = tmp_path / f"c.{suffix}"
            if change:
                path.write_text("".join(f"{line}\n" for line in change(path.read_text().splitlines())))
        return str(tmp_path / "c")

    return make


FAM_HEADERS = [
    "FID IID PAT MAT SEX PHENO", "#FID IID PAT MAT SEX PHENOTYPE", "fid iid father mother sex pheno",
    "V1 V2 V3 V4 V5 V6", "0 1 2 3 4 5", "X1 X2 X3 X4 X5 X6", '"FID" "IID" "PAT" "MAT" "SEX" "PHENO"',
]  # fmt: skip


@pytest.mark.parametrize("header", FAM_HEADERS)
def test_a_header_of_a_fam_is_no_person(header, plink):
    """7 and 8 people take the same bytes a variant: the size of the bed does not tell."""
    with pytest.raises(InputError, match=r"c.fam, line 1: a header .*remove the header line"):
        read_plink(plink(fam=lambda lines: [header, *lines]))


def test_names_that_nobody_knows_are_no_person(plink):
    with pytest.raises(InputError, match=r"c.fam, line 1: the last field is 'p', on every other line a number"):
        read_plink(plink(fam=lambda lines: ["id1 id2 f m s p", *lines]))


@pytest.mark.parametrize("lost", [0, 3, N - 1])
def test_a_fam_that_lost_a_line_is_refused(lost, tmp_path, monkeypatch):
    """8 and 7 people take the same bytes a variant: everybody behind the lost line would get another's genotypes."""
    pytest.importorskip("pgenlib", reason="needs securegen[pgen]")
    dosage = genotypes(np.random.default_rng(4), 9, 8, missing=0)
    write_plink(tmp_path / "c", dosage)
    lines = (tmp_path / "c.fam").read_text().splitlines(keepends=True)
    (tmp_path / "c.fam").write_text("".join(lines[:lost] + lines[lost + 1 :]))
    with pytest.raises(InputError, match="holds genotypes of more than the 7 people that its fam names"):
        read_plink(tmp_path / "c")
    shutil.copy(tmp_path / "c.bed", tmp_path / "c.pgen")
    shutil.copy(tmp_path / "c.bim", tmp_path / "c.pvar")
    shutil.copy(tmp_path / "c.fam", tmp_path / "c.psam")
    with pytest.raises(InputError, match="holds genotypes of more than the 7 people"):
        read_pgen(tmp_path / "c")
    monkeypatch.setattr(plink1, "refuse_padding", lambda *_: None)
    read = read_plink(tmp_path / "c").read(0, 9).dosage
    np.testing.assert_array_equal(read[:, lost:], dosage[:, lost:7])  # of the person before


def test_quoted_and_separated_files_say_so(plink):
    quoted = lambda lines: [" ".join(f'"{c}"' if i in (1, 4, 5) else c for i, c in enumerate(x.split())) for x in lines]  # noqa: E731
    with pytest.raises(InputError, match="c.bim, line 1: fields are quoted .*quote=FALSE"):
        read_plink(plink(bim=quoted))
    with pytest.raises(InputError, match="c.fam, line 1: fields are quoted"):
        read_plink(plink(fam=quoted))
    for suffix in ("fam", "bim"):
        with pytest.raises(InputError, match=f"c.{suffix}, line 1: fields are separated by commas"):
            read_plink(plink(**{suffix: lambda lines: [",".join(x.split()) for x in lines]}))


def test_a_bim_may_begin_with_par1(plink):
    """PAR1 are the first four bytes of a Parquet file, too."""
    got, log = chromosomes(plink, ["PAR1", "1", "1", "1", "1", "1"])
    assert got == ["PAR1", "1", "1", "1", "1", "1"] and "left out" not in log


def test_a_header_between_two_fams_is_no_person(plink):
    with pytest.raises(InputError, match=r"c.fam, line 4: a header"):
        read_plink(plink(fam=lambda lines: [*lines[:3], "FID IID PAT MAT SEX PHENO", *lines[3:]]))


@pytest.mark.parametrize("sex", ["0", "1", "2", "-9", "NA", "M", "F", "male", "Female", "U", "unknown", "3"])
def test_people_of_any_sex_are_people(sex, plink):
    out = read_plink(plink(fam=lambda lines: [" ".join([*x.split()[:4], sex, "-9"]) for x in lines]))
    assert len(out.samples) == N


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1 rs1 0 1e+05 A G", r"line 2: '1e\+05' is not a base-pair position.*scipen=999"),
        ("CHR SNP CM BP A1 A2", "line 2: 'BP' is not a base-pair position"),
        ("1 rs1 0 100.0 A G", "line 2: '100.0' is not a base-pair position"),
        ("1 rs1 0 1_000 A G", "line 2: '1_000' is not a base-pair position, a whole number is expected$"),
        ("1 rs1 0 0x3e8 A G", "line 2: '0x3e8' is not a base-pair position, a whole number is expected$"),
        ("1 rs1 0 1,000 A G", "line 2: '1,000' is not a base-pair position"),
        ("1 rs1 0 99999999999999999999 A G", "line 2: '99999999999999999999' is no"),
        ("1 rs1 100 A G", "line 2: 5 fields, a bim file has 6"),
    ],
)
def test_positions_of_a_bim(line, message, plink):
    with pytest.raises(InputError, match=f"c.bim, {message}"):
        read_plink(plink(bim=lambda lines: [lines[0], line, *lines[2:]]))


def test_a_header_of_a_bim_and_a_bim_without_centimorgans(plink):
    with pytest.raises(InputError, match=r"c.bim, line 1: 'BP' .*remove the header line"):
        read_plink(plink(bim=lambda lines: ["CHR SNP CM BP A1 A2", *lines]))
    with_cm = read_plink(plink()).variants
    without = read_plink(plink(bim=lambda lines: [" ".join((a := x.split())[:2] + a[3:]) for x in lines])).variants
    assert with_cm.digest() == without.digest()


def chromosomes(plink, names, **options):
    """(names that are analysed, log) of a bim with these chromosomes."""
    log: list[str] = []
    prefix = plink(bim=lambda lines: ["\t".join([c, *x.split()[1:]]) for c, x in zip(names, lines, strict=True)])
    return open_genotypes(Inputs(prefix, **options), log.append).variants.chromosome.tolist(), "\n".join(log)


@pytest.mark.parametrize(
    "word",
    [
        "X",
        "x",
        "chrX",
        "0X",
        "chr0X",
        "23",
        "Y",
        "0Y",
        "24",
        "MT",
        "M",
        "0M",
        "chrM",
        "26",
    ],
)
def test_every_spelling_of_x_y_and_mt_is_left_out_aloud(word, plink):
    got, log = chromosomes(plink, ["1", word, word, "22", "chr2", "02"])
    assert got == ["1", "22", "chr2", "02"] and "WARNING: 2 variants on X, Y or MT are left out" in log


@pytest.mark.parametrize("word", ["XY", "25", "PAR1", "chrPAR2", "par1"])
def test_the_ends_of_x_by_name_are_autosomal(word, plink):
    got, log = chromosomes(plink, ["1", word, word, "22", "chr2", "02"])
    assert got == ["1", word, word, "22", "chr2", "02"] and "left out" not in log


@pytest.mark.parametrize(
    "word", ["NC_000023.11", "chrUn_KI270742v1", "GL000192.1", "chr1_KI270706v1_random", "27", "1.0", "A"]
)
def test_unknown_chromosomes_are_left_out_aloud_and_named(word, plink):
    got, log = chromosomes(plink, ["1", word, word, word, "chr2", "02"])
    assert got == ["1", "chr2", "02"] and f"WARNING: 3 variants on chromosomes that are not known ({word})" in log


def test_unplaced_variants_are_analysed_and_named(plink):
    got, log = chromosomes(plink, ["0", "00", "1", "1", "1", "1"])
    assert len(got) == 6 and "WARNING: 2 variants on chromosome 0" in log


@pytest.mark.parametrize(
    ("chosen", "kept"),
    [
        ("1", 2), ("01", 2), ("chr1", 2), ("1-2", 4), ("chr1-chr3", 5), ("1-22", 6), (("1", "3-22"), 4), ("2-2", 2),
        ("0-3", 5),
    ],
)  # fmt: skip
def test_choosing_chromosomes(chosen, kept, plink):
    got, _ = chromosomes(plink, ["1", "chr01", "02", "2", "3", "22"], chr=chosen)
    assert len(got) == kept


def test_chromosomes_that_are_not_there(plink):
    _, log = chromosomes(plink, ["1", "1", "1", "2", "2", "2"], chr=("1", "7"))
    assert "WARNING: --chr: no variant is on chromosome 7" in log
    for chosen in ("7", "5-9", "foo"):
        with pytest.raises(UsageError, match="the genotype file has 1, 2 only"):
            chromosomes(plink, ["1", "1", "1", "2", "2", "2"], chr=chosen)
    with pytest.raises(UsageError, match="`chr` 9-2: a range goes from a smaller"):
        chromosomes(plink, ["1", "1", "1", "2", "2", "2"], chr="9-2")


def test_negative_positions_are_left_out_aloud(plink):
    log: list[str] = []
    prefix = plink(bim=lambda lines: [lines[0].replace("\t1000\t", "\t-5\t"), *lines[1:]])
    assert len(open_genotypes(Inputs(prefix), log.append).variants) == M - 1
    assert any("WARNING: 1 variant with a negative position" in line for line in log)


PSAM = {
    "#FID\t#IID\tSEX\nF\tI\t1\n": "line 1: only the first name of the header takes a #",
    "#FID\tSEX\nF\t1\n": "line 1: the header names IID",
    "#IID\tSEX\tSEX\nI\t1\t1\n": "line 1: the header names IID, and every column once",
    "#IID\nI1\n#IID\nI2\n": "line 3: a second header line",
    "FID\tIID\tPAT\tMAT\tSEX\tPHENO\nF\tI\t0\t0\t1\t-9\n": "line 1: a header",
    "#IID\n": "names nobody",
    "I1\nI2\n": "line 1: 1 field, expected a header line",
}


@pytest.mark.parametrize("content", PSAM)
def test_people_of_a_psam(content, tmp_path):
    (tmp_path / "c.psam").write_text(content)
    with pytest.raises(InputError, match=PSAM[content]):
        read_psam(tmp_path / "c.psam")


def test_columns_of_a_psam_are_found_by_name(tmp_path):
    (tmp_path / "c.psam").write_text("#IID\tSEX\tFID\nI1\t1\tF1\nI2\t2\tF2\n")
    assert read_psam(tmp_path / "c.psam").fid.tolist() == ["F1", "F2"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("CHROM POS ID REF ALT\n1 5 rs1 A G\n", "line 1: not a variant .*its header starts with #"),
        ("#CHROM POS ID REF ALT\n1 1e5 rs1 A G\n", "line 2: not a variant .*a whole number.*1 1e5 rs1 A G"),
        ("#CHROM POS ID REF\n1 5 rs1 A\n", "line 1: the header must name"),
        ("#CHROM POS ID REF ALT\n1 5 rs1\n", "line 2: 3 fields, 5 expected"),
        ("#CHROM POS ID REF ALT\n1 5 my id A G\n", "line 2: 6 fields, 5 expected"),
        ("#CHROM\tPOS\tID\tREF\tALT\n1\t5\t\tA\tG\n", "line 2: not a variant"),
        ("#CHROM POS ID REF ALT\n1 1_000 rs1 A G\n", "line 2: not a variant"),
        ('#CHROM POS ID REF ALT\n1 5 "rs1" A G\n', "line 2: fields are quoted"),
        ("#CHROM,POS,ID,REF,ALT\n1,5,rs1,A,G\n", "line 1: fields are separated by commas"),
        ("#CHROM POS ID REF ALT\n1 5 a A G\n#CHROM POS ID REF ALT\n", "line 3: a header line below"),
    ],
)
def test_variants_of_a_pvar(content, message, tmp_path):
    (tmp_path / "c.pvar").write_text(content)
    with pytest.raises(InputError, match=f"c.pvar, {message}"):
        read_pvar(tmp_path / "c.pvar")


def test_blanks_in_the_cells_of_a_pvar_with_tabs(tmp_path):
    (tmp_path / "c.pvar").write_text("#CHROM\tPOS\tID\tREF\tALT\tINFO\n1\t5\trs1\tA\tG\ta b c\n1\t6\trs2\tC\tT\t\n")
    assert read_pvar(tmp_path / "c.pvar").id.tolist() == ["rs1", "rs2"]


def cohort(plink):
    reader = read_plink(plink())
    return DOSAGE.astype(float), reader.samples, reader.variants


@pytest.mark.parametrize("ids", [True, False])
def test_a_sample_file_in_the_order_of_the_bgen(ids, plink, tmp_path):
    write_bgen(tmp_path / "c.bgen", *cohort(plink), ids=ids)
    reader = read_bgen(tmp_path / "c.bgen", sample=tmp_path / "c.sample").on_grid(None)
    assert reader.samples.iid.tolist() == [f"I{i}" for i in range(N)]
    np.testing.assert_array_equal(reader.read(0, M).dosage, DOSAGE)


def test_a_sample_file_in_another_order_than_the_bgen_is_refused(plink, tmp_path):
    write_bgen(tmp_path / "c.bgen", *cohort(plink), ids=True)
    lines = (tmp_path / "c.sample").read_text().splitlines()
    (tmp_path / "turned.sample").write_text("\n".join([*lines[:2], *lines[2:][::-1]]) + "\n")
    message = r"turned.sample, person 1 is not the one whom .*c.bgen has in that place"
    with pytest.raises(InputError, match=message):
        read_bgen(tmp_path / "c.bgen", sample=tmp_path / "turned.sample")
    (tmp_path / "other.sample").write_text("\n".join([*lines[:2], *(f"A{i} B{i} 0" for i in range(N))]) + "\n")
    assert read_bgen(tmp_path / "c.bgen", sample=tmp_path / "other.sample").samples.iid[0] == "B0"  # renamed people


def test_a_sample_file_with_its_ids_exchanged_is_refused(plink, tmp_path):
    write_bgen(tmp_path / "c.bgen", *cohort(plink))
    text = (tmp_path / "c.sample").read_text()
    (tmp_path / "c.sample").write_text(text.replace("ID_1 ID_2", "ID_2 ID_1"))
    with pytest.raises(InputError, match="the header starts with ID_1 ID_2, not with ID_2 ID_1"):
        read_bgen(tmp_path / "c.bgen", sample=tmp_path / "c.sample")


def vcf(path, declared: str, cells: list[str], form: str = "DS", alt: str = "G"):
    """A VCF of four people and one variant, to be read."""
    pytest.importorskip("cyvcf2", reason="needs securegen[vcf]")
    head = '##fileformat=VCFv4.2\n##contig=<ID=1>\n##FORMAT=<ID=GT,Number=1,Type=String,Description="x">\n'
    columns = "\t".join(("#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO", "FORMAT", "a", "b", "c", "d"))
    row = "\t".join(("1", "5", "rs1", "A", alt, ".", ".", ".", form, *cells))
    path.write_text(f"{head}{declared}{columns}\n{row}\n")
    return path


DECLARATIONS = {
    "usual": '##FORMAT=<ID=DS,Number=A,Type=Float,Description="Dosage">\n',
    "ID last": '##FORMAT=<Number=A,Type=Float,Description="Dosage",ID=DS>\n',
    "ID second": '##FORMAT=<Number=1,ID=DS,Type=Float,Description="x">\n',
    "any number": '##FORMAT=<ID=DS,Number=.,Type=Float,Description="x">\n',
    "as text": '##FORMAT=<ID=DS,Number=1,Type=String,Description="x">\n',
    "not at all": "",
}


@pytest.mark.parametrize("declared", DECLARATIONS)
@pytest.mark.parametrize("form", ["DS", "GT:DS"])
def test_dosages_by_whatever_declaration(declared, form, tmp_path):
    cells = ["0.25", "1", ".", "2"]
    cells = cells if form == "DS" else [f"0/1:{c}" for c in cells[:2]] + ["./.:.", "1/1:2"]
    reader = read_vcf(vcf(tmp_path / "c.vcf", DECLARATIONS[declared], cells, form)).on_grid(None)
    block = reader.read(0, 1)
    assert block.missing is not None and block.missing.tolist() == [[False, False, True, False]]
    assert (block.dosage[0] / reader.dosage_grid).tolist() == [0.25, 1, 0, 2]


def test_dosages_declared_as_whole_numbers(tmp_path):
    declared = '##FORMAT=<ID=DS,Number=1,Type=Integer,Description="x">\n'
    block = read_vcf(vcf(tmp_path / "c.vcf", declared, ["0", "1", ".", "2"])).on_grid(None).read(0, 1)
    assert block.dosage.tolist() == [[0, 1, 0, 2]] and block.missing.tolist() == [[False, False, True, False]]


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (["0", "1", "2.0003", "2"], r"1:5: sample 3 has a DS of 2.0003, outside \[0, 2\]"),
        (["0", "-0.1", "2", "2"], "sample 2 has a DS of -0.1, outside"),
        (["0", "0.1,0.2", "2", "2"], "a DS of several numbers, with one ALT"),
    ],
)
def test_dosages_that_are_none(cells, message, tmp_path):
    reader = read_vcf(vcf(tmp_path / "c.vcf", DECLARATIONS["any number"], cells))
    with pytest.raises(InputError, match=message):
        reader.on_grid(None)
    with pytest.raises(InputError, match="a DS of 'x', a number is expected"):
        read_vcf(vcf(tmp_path / "d.vcf", DECLARATIONS["as text"], ["x", "1", "1", "1"])).on_grid(None)


CALLS = {
    "half-calls": (["0/1", "./1", "1/.", "1|1"], [1, -1, -1, 2]),
    "haploid": (["0", "1", ".", "1/1"], [0, 2, -1, 2]),
    "phased": (["0|1", "1|0", ".|.", "0|0"], [1, 1, -1, 0]),
}


@pytest.mark.parametrize("alt", ["G", "<DEL>", "*", "ACGTACGT"])
@pytest.mark.parametrize("kind", CALLS)
def test_calls_of_every_kind(kind, alt, tmp_path):
    cells, expected = CALLS[kind]
    block = read_vcf(vcf(tmp_path / "c.vcf", "", cells, "GT", alt)).on_grid(None).read(0, 1)
    missing = np.zeros((1, 4), bool) if block.missing is None else block.missing
    assert np.where(missing, -1, block.dosage).tolist() == [expected]


@pytest.mark.parametrize(
    ("cells", "form", "alt"), [(["0/0/1", "0", "0", "0"], "GT", "G"), (["0/2", "0/0", "0/0", "0/0"], "GT", "G"),
                               (["12"] * 4, "DP", "G")],
)  # fmt: skip
def test_calls_that_are_none(cells, form, alt, tmp_path):
    with pytest.raises(SecuregenError, match="c.vcf, 1:5"):
        reader = read_vcf(vcf(tmp_path / "c.vcf", "", cells, form, alt)).on_grid(None)
        reader.read(0, 1)


def test_pfile_in_the_layout_of_plink1_with_a_header_in_its_fam(plink, tmp_path):
    """A pgen in PLINK1's layout has no counts, so the table of people alone says how many there are."""
    write_pfile(tmp_path / "q", *cohort(plink))
    (tmp_path / "q.psam").write_text("FID IID PAT MAT SEX PHENO\n" + (tmp_path / "c.fam").read_text())
    with pytest.raises(InputError, match="q.psam, line 1: a header"):
        read_pgen(tmp_path / "q")
