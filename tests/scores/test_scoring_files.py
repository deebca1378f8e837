"""Reading scoring files: what is understood, and what a bad file is told."""

from __future__ import annotations

import gzip

import pytest

from securegen.errors import InputError, UsageError
from securegen.scores.files import read_scoring, read_scorings

HEADER = "ID\teffect_allele\tother_allele\teffect_weight\n"
HARMONISED = (
    "#pgs_id=PGS9\n#genome_build=hg19\n#HmPOS_build=GRCh38\n"
    "rsID\tchr_name\tchr_position\teffect_allele\tother_allele\teffect_weight\thm_rsID\thm_chr\thm_pos"
    "\thm_inferOtherAllele\n"
    "rs1\t1\t100\tA\t\t0.5\trs1\t1\t1100\tG\n"
    "\t2\t200\tC\tT\t-1e-3\trs2\t2\t1200\t\n"
    "rs3\t2\t300\tC\tT\t.25\trs3\t\t\t\n"
)


def test_plain_table(score_file):
    file = read_scoring(score_file(HEADER + "rs1\ta\tG\t-0.10\nrs2\tC\tT\t2e-3\n"))
    assert file.names == ("SCORE1",)
    assert file.weight[:, 0].tolist() == ["-0.10", "2e-3"], "weights stay as written"
    assert file.effect_allele.tolist() == ["A", "C"]
    assert file.line.tolist() == [2, 3]
    assert file.rows == 2 and file.genome_build is None


@pytest.mark.parametrize(
    "header",
    ["ID A1 WEIGHT", "#ID A1 BETA", "snp ea score", "rsID effect_allele effect_weight", "MarkerName Allele1 Weight"],
)
def test_header_names_ignore_case(score_file, header):
    file = read_scoring(score_file(f"{header}\nrs1 A 1\n"))
    assert (file.id[0], file.effect_allele[0], file.weight[0, 0]) == ("rs1", "A", "1")


def test_version_1_header(score_file):
    text = "### PGS CATALOG SCORING FILE\n# PGS ID = PGS000042\n# Original Genome Build = hg18\n"
    file = read_scoring(score_file(text + "chr_name\tchr_position\teffect_allele\teffect_weight\n1\t5\tA\t1\n"))
    assert file.header["pgs_id"] == "PGS000042"
    assert file.genome_build == "NCBI36"


def test_harmonised_positions_and_labels_come_first(score_file):
    file = read_scoring(score_file(HARMONISED))
    assert file.genome_build == "GRCh38"
    assert file.position.tolist() == [1100, 1200, -1]
    assert file.id.tolist() == ["rs1", "rs2", "rs3"]
    assert file.other_allele.tolist() == ["G", "T", "T"]


def test_the_build_asked_for_is_the_build_read(score_file):
    path = score_file(HARMONISED)
    assert read_scoring(path, genome_build="hg38").position[0] == 1100
    assert read_scoring(path, genome_build="GRCh37").position[0] == 100
    with pytest.raises(InputError, match="its positions are on GRCh38, the cohort is on NCBI36"):
        read_scoring(path, genome_build="hg18")


def test_compressed(tmp_path):
    path = tmp_path / "score.txt.gz"
    path.write_bytes(gzip.compress((HEADER + "rs1\tA\tG\t1\n").encode()))
    assert len(read_scoring(path)) == 1


def test_several_weight_columns_are_several_scores(score_file):
    path = score_file("ID\tA1\theight\tbmi\tP\nrs1\tA\t1\t2\t0.01\nrs2\tC\t3\t4\t0.5\n")
    file = read_scoring(path)
    assert file.names == ("height", "bmi")
    assert file.weight.tolist() == [["1", "2"], ["3", "4"]]
    assert read_scoring(path, (1, 2, 4)).weight.tolist() == [["2"], ["4"]]
    assert read_scoring(path, (1, 2, 4, 3)).names == ("bmi", "height")
    assert read_scoring(path, names=("a", "b")).names == ("a", "b")


def test_column_numbers_without_a_header(score_file):
    file = read_scoring(score_file("0.5 rs1 A\n0.25 rs2 C\n"), (2, 3, 1))
    assert file.id.tolist() == ["rs1", "rs2"] and file.line[0] == 1
    assert read_scoring(score_file("w id a\n0.25 rs2 C\n"), (2, 3, 1)).id.tolist() == ["rs2"]


def test_positions_and_alleles_inside_ids(score_file):
    file = read_scoring(score_file("ID\tA1\tWEIGHT\nchr2:77:G:A\tA\t1\n22:5:C:T\tC\t1\nrs5\tC\t1\n"))
    assert file.chromosome.tolist() == ["2", "22", ""]
    assert file.position.tolist() == [77, 5, -1]
    assert file.other_allele.tolist() == ["G", "T", ""]


def test_dominant_recessive_and_dosage_weights(score_file):
    head = "rsID\teffect_allele\teffect_weight\tis_dominant\tis_recessive"
    weights = "\tdosage_0_weight\tdosage_1_weight\tdosage_2_weight\n"
    rows = "rs1\tA\t1\tTrue\tFalse\t\t\t\nrs2\tA\t1\tFALSE\tTRUE\t\t\t\nrs3\tA\t1\t\t\t\t\t\nrs4\tA\t\t\t\t0.1\t-2\t3\n"
    file = read_scoring(score_file(head + weights + rows))
    assert file.effect_type.tolist() == ["dominant", "recessive", "additive", "dosage"]
    assert file.dosage_weight[3].tolist() == ["0.1", "-2", "3"]


@pytest.mark.parametrize(
    ("column", "cell", "effect", "word"),
    [
        ("is_haplotype", "TRUE", "A", "haplotype"),
        ("is_diplotype", "True", "A", "diplotype"),
        ("is_interaction", "1", "A", "interaction"),
        ("is_haplotype", "True", "HLA-B*57:01", "HLA"),
        ("variant_type", "HLA_AA", "P", "HLA"),
        ("variant_type", "APOE_allele", "e4", "APOE"),
    ],
)
def test_rows_that_are_not_one_variant(score_file, column, cell, effect, word):
    text = f"rsID\teffect_allele\teffect_weight\t{column}\nrs1\tA\t1\t\nrs2\t{effect}\t1\t{cell}\n"
    file = read_scoring(score_file(text))
    assert file.refused == ((3, "rs2", word),)
    assert (len(file), file.rows) == (1, 2)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "no rows"),
        ("#pgs_id=X\n", "no rows"),
        (HEADER, "no variant below the header on line 1"),
        ("1\trs1\t1000\tA\tG\t0.5\n1\trs2\t2000\tA\tG\t0.1\n", "its first line, '1 rs1 1000 A G 0.5', is not a header"),
        ("ID,A1,WEIGHT\nrs1,A,1\n", "line 1: fields are separated by commas"),
        ('"ID"\t"A1"\t"WEIGHT"\n"rs1"\t"A"\t1\n', "line 1: fields are quoted"),
        (HEADER + f"rs1\tA\tG\t{'9' * 500}\n", "column effect_weight holds '9{40}…'"),
        ("ID\tother_allele\teffect_weight\nrs1\tA\t1\n", r"header: no column for effect_allele \(or A1\)"),
        ("ID\teffect_allele\tlocus\nrs1\tA\tX\n", "no column for effect_weight"),
        ("effect_allele\teffect_weight\nA\t1\n", "no column for a variant id"),
        ("chr_name\teffect_allele\teffect_weight\n1\tA\t1\n", "no column for a variant id"),
        (HEADER + "rs1\tA\tG\tnan\n", "line 2: column effect_weight holds 'nan', expected a finite weight"),
        (HEADER + "rs1\tA\tG\t1\nrs2\tA\tG\tinf\n", "line 3: column effect_weight holds 'inf'"),
        (HEADER + "rs1\tA\tG\t\n", "line 2: column effect_weight holds ''"),
        (HEADER + "rs1\tA\tG\t1_0\n", "line 2: column effect_weight holds '1_0'"),
        (HEADER + "rs1\tA\tG\t1e999\n", "line 2: column effect_weight holds '1e999'"),
        (HEADER + "rs1\tA\tG\n", "line 2: 3 fields, line 1 has 4"),
        (
            HEADER + "rs1\tA\tG\t1\nrs2\tA\tG\t1\nrs1\tA\tG\t2\n",
            "rs1 with effect allele A is on line 2 and again on line 4",
        ),
        ("ID\tID\tA1\tWEIGHT\nrs1\trs1\tA\t1\n", "column id appears more than once"),
        ("chr_name\tchr_position\tA1\tWEIGHT\n1\t1.5\tA\t1\n", "line 2: position '1.5' is not a whole number"),
        ("ID\tA1\tWEIGHT\tis_dominant\tis_recessive\nrs1\tA\t1\tTRUE\tTRUE\n", "both is_dominant and is_recessive"),
        ("ID\tA1\tWEIGHT\tis_haplotype\nh\tA\t1\tTRUE\n", "none of its 1 rows is about one variant"),
    ],
)
def test_bad_files_are_told_where_and_what(score_file, text, complaint):
    path = score_file(text)
    with pytest.raises(InputError, match=complaint) as caught:
        read_scoring(path)
    assert str(path) in str(caught.value)


def test_bad_column_numbers(score_file):
    path = score_file(HEADER + "rs1\tA\tG\t1\n")
    with pytest.raises(InputError, match="has 4 columns; columns 1 2 5 were asked for"):
        read_scoring(path, (1, 2, 5))
    with pytest.raises(UsageError, match="`score_col_nums` needs three numbers"):
        read_scoring(path, (1, 2))
    with pytest.raises(InputError, match="line 2: column other_allele holds 'G'"):
        read_scoring(path, (1, 2, 3))


def test_missing_file(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_scoring(tmp_path / "absent.txt")


def test_several_files_have_names_of_their_own(score_file):
    a = score_file("#pgs_id=PGS1\n" + HEADER + "rs1\tA\tG\t1\n", "a")
    b = score_file("#pgs_id=PGS1\n" + HEADER + "rs1\tA\tG\t1\n", "b")
    c = score_file(HEADER + "rs1\tA\tG\t1\n", "c")
    assert [f.names for f in read_scorings([a, b, c])] == [("PGS1_1",), ("PGS1_2",), ("SCORE3",)]
    assert read_scorings([a])[0].names == ("PGS1",) and read_scorings([c])[0].names == ("SCORE1",)
    with pytest.raises(UsageError, match="no scoring file"):
        read_scorings([])


@pytest.mark.parametrize(
    "text",
    [
        "1.329e-001",
        "1.329E-0001",
        "0.1329",
        ".1329",
        "+0.1329",
        "13.29e-2",
        "1329e-4",
        "0.13290000000000000000",
        "1.329e-01",
    ],
)
def test_one_weight_in_every_notation(text, score_file):
    from securegen.scores.integers import exact

    file = read_scoring(score_file(HEADER + f"rs1\tA\tG\t{text}\nrs2\tA\tG\t1\n"))
    assert exact(file.weight[0, 0]) == exact("0.1329")


@pytest.mark.parametrize(
    "text", ["1e400", "1.5D-02", "0,1329", "0x1", "1e", "e5", "--1", "1" * 500, "\u22121", "1 000"]
)
def test_weights_that_are_none(text, score_file):
    with pytest.raises(InputError, match="line 3: column effect_weight holds .*expected a finite weight"):
        read_scoring(score_file(HEADER + f"rs0\tA\tG\t1\nrs1\tA\tG\t{text}\n"))


ANNOTATED = {
    "LDpred2": ("rsid a1 a0 beta_auto n_eff imp_r2", "rs1 A G 0.1 5000 0.98"),
    "lassosum": ("SNP A1 A2 weight p se n", "rs1 A G 0.1 0.05 0.2 100"),
    "PRS-CS": ("chrom rsid pos A1 A2 beta", "1 rs1 5 A G 0.1"),
    "SBayesR": ("ID A1 effect_size PIP MAF", "rs1 A 0.1 0.9 0.2"),
    "summary": ("MarkerName Allele1 Allele2 Freq Effect StdErr P-value N", "rs1 a g 0.2 0.1 0.01 0.05 999"),
}


@pytest.mark.parametrize("program", ANNOTATED)
def test_sample_sizes_and_qualities_are_no_weights(program, score_file):
    header, row = ANNOTATED[program]
    file = read_scoring(score_file(f"{header}\n{row}\n"))
    assert file.names == ("SCORE1",) and file.weight.tolist() == [["0.1"]] and file.effect_allele[0] == "A"


def test_numbers_that_may_or_may_not_be_weights_are_asked_for(score_file):
    path = score_file("ID\tA1\tbeta_inf\tbeta_auto\tbatch\nrs1\tA\t1\t2\t3\n")
    with pytest.raises(
        InputError, match="which columns are weights.*beta_inf, beta_auto, batch.*`score_col_nums` i,j,3,4"
    ):
        read_scoring(path)
    assert read_scoring(path, (1, 2, 3, 4)).names == ("beta_inf", "beta_auto")


def test_letters_that_are_no_bases_keep_their_case(score_file):
    file = read_scoring(score_file(HEADER + "rs1\ta\tg\t1\nrs2\tD\td\t1\nrs3\tac\t<INS>\t1\n"))
    assert file.effect_allele.tolist() == ["A", "D", "AC"] and file.other_allele.tolist() == ["G", "d", "<INS>"]


def test_a_build_that_nobody_knows_is_refused(score_file):
    path = score_file(HEADER + "rs1\tA\tG\t1\n")
    with pytest.raises(UsageError, match="genome build 'hg99' is not known: GRCh37, GRCh38, NCBI36 are"):
        read_scoring(path, genome_build="hg99")
    assert len(read_scoring(path, genome_build="hg19")) == 1
