"""Tables in plink2's, regenie's and GWAS-SSF's columns: written, read back, the same numbers."""

from __future__ import annotations

import datetime
import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support import securegen, write_tsv

import securegen as sg
from securegen.errors import InputError, UsageError
from securegen.inspection import inspect
from securegen.model import Variants
from securegen.results.forms import FORMATS, TableForm
from securegen.results.gwas_ssf import MANDATORY, floored, metadata_text, write_gwas_ssf
from securegen.results.layout import TableFormat, TableLayout
from securegen.results.read import read_results
from securegen.results.regenie import COLUMNS, write_regenie
from securegen.results.rows import read_sumstats, table_text, write_table
from securegen.version import VERSION
from securegen.vocabulary import FEW_CARRIERS, LINEAR_COLUMNS, OK

pytestmark = pytest.mark.usefixtures("forked_roles")

LOG10_P = np.array([0.25, 412.7, np.nan, 3.5, 1.0, 2.0])


@pytest.fixture
def table(tmp_path):
    """Six variants, not in order: a p-value below the smallest float64, no statistics, an indel, a symbolic allele."""
    text = lambda *v: np.array(v, dtype=object)  # noqa: E731
    variants = Variants(
        text("2", "chr1", "1", "X", "10", "1"), np.array([50, 900, 20, 7, 8, 100]),
        text("rs1", "1:900:T:A", "rs3", "rs4", "rs5", "rs6"), text("A", "A", "C", "TG", "<DEL>", "g"),
        text("G", "T", "A", "T", "C", "c"),
    )  # fmt: skip
    rng = np.random.default_rng(1)
    columns: dict[str, np.ndarray] = {n: rng.normal(size=6) for n in ("BETA", "SE", "L95", "U95", "T_STAT")}
    for values in columns.values():
        values[2] = np.nan
    columns |= {
        "A1_FREQ": np.array([0.001, 0.4, 0, 0.9995, 0.2, 1 / 3]), "OBS_CT": np.full(6, 77), "TEST": text(*["ADD"] * 6),
        "P": 10.0 ** -np.where(LOG10_P > 300, np.inf, LOG10_P), "LOG10_P": LOG10_P,
        "ERRCODE": text(OK, OK, "CONST_OMITTED_ALLELE", "VIF_TOO_HIGH", OK, OK),
    }  # fmt: skip
    path = tmp_path / "t.Y.glm.linear"
    write_table(path, LINEAR_COLUMNS, [table_text(variants, columns, LINEAR_COLUMNS)])
    return path


def test_plink2_columns_come_back(table):
    frame = read_sumstats(table)
    assert frame.attrs["format"] == "plink2" and set(LINEAR_COLUMNS) <= set(frame)
    np.testing.assert_array_equal(frame["LOG10_P"], LOG10_P)
    assert frame["POS"].dtype == np.int64 and frame["OBS_CT"].tolist() == [77] * 6
    assert "e-413\t412.69" in table.read_text()  # the p-value itself is never 0


@pytest.mark.parametrize("name", sorted(name for name, form in FORMATS.items() if form.write is not None))
def test_withheld_rows_in_every_format(name, table, tmp_path):
    """A withheld row has no number at all, OBS_CT included: other formats take the table, and count the people of other rows."""
    header, *rows = (line.split("\t") for line in table.read_text().splitlines())
    variant = set(header[:7])
    hidden = rows[0] = [cell if n in variant else "NA" for n, cell in zip(header, rows[0], strict=True)]
    hidden[header.index("TEST")], hidden[header.index("ERRCODE")] = "ADD", FEW_CARRIERS
    table.write_text("".join("\t".join(row) + "\n" for row in [header, *rows]))
    path = tmp_path / "other"
    write = FORMATS[name].write
    assert write is not None
    left_out = write(str(path), str(table), TableLayout(17, trait="Y", genome_build="GRCh37"))
    frame = read_sumstats(path).set_index("ID")
    if left_out:
        assert "rs1" not in frame.index and left_out["no statistics"] == 2
        assert "sample_size: 77\n" in Path(f"{path}-meta.yaml").read_text()
    else:
        assert np.isnan(frame.loc["rs1", "OBS_CT"]) and frame.loc["rs1", "ERRCODE"] == FEW_CARRIERS
    assert frame.loc["1:900:T:A", "OBS_CT"] == 77


def test_regenie_round_trip(table, tmp_path):
    path = tmp_path / "t_Y.regenie"
    assert write_regenie(str(path), str(table), TableLayout(17)) == {}
    lines = path.read_text().splitlines()
    assert len(lines) == 7
    assert lines[0] == " ".join(COLUMNS) and all(len(line.split(" ")) == len(COLUMNS) for line in lines)
    assert [line.split()[0] for line in lines[1:]] == ["2", "1", "1", "23", "10", "1"]
    ours, theirs = read_sumstats(table), read_sumstats(path)
    assert theirs.attrs["format"] == "regenie"
    same = ["POS", "ID", "REF", "A1", "A1_FREQ", "OBS_CT", "TEST", "BETA", "SE", "LOG10_P", "ERRCODE"]
    pd.testing.assert_frame_equal(theirs[same], ours[same], check_exact=True)
    np.testing.assert_array_equal(theirs["CHISQ"], ours["T_STAT"] ** 2)


def test_gwas_ssf_round_trip(table, tmp_path):
    path = tmp_path / "t.Y.gwas-ssf.tsv"
    written = write_gwas_ssf(str(path), str(table), TableLayout(17, None, "Y", ("AGE", "PC 1"), "GRCh38"))
    assert written == {"no statistics": 1, "alleles other than ACGT": 1}
    header, *lines = path.read_text().splitlines()
    assert tuple(header.split("\t")[:8]) == MANDATORY and len(lines) == 4
    cells = [dict(zip(header.split("\t"), line.split("\t"), strict=True)) for line in lines]
    assert [(c["chromosome"], c["base_pair_location"]) for c in cells] == [
        ("1", "100"),
        ("1", "900"),
        ("2", "50"),
        ("23", "7"),
    ]
    assert [c["variant_id"] for c in cells] == ["1_100_C_G", "1_900_T_A", "2_50_G_A", "23_7_T_TG"]
    assert [c["rsid"] for c in cells] == ["rs6", "#NA", "rs1", "rs4"]
    assert all(re.fullmatch("[ACGT]+", c["effect_allele"] + c["other_allele"]) for c in cells)
    assert re.fullmatch(r"1\.99\d*e-413", cells[1]["p_value"]) and cells[3]["errcode"] == "VIF_TOO_HIGH"
    ours, theirs = read_sumstats(table).set_index("ID"), read_sumstats(path).set_index("ID")
    assert theirs.attrs["format"] == "gwas-ssf"
    same = ["A1_FREQ", "OBS_CT", "BETA", "SE", "L95", "U95", "P", "LOG10_P", "ERRCODE"]
    pd.testing.assert_frame_equal(theirs[same], ours.loc[theirs.index, same], check_exact=True)


def test_gwas_ssf_metadata(table, tmp_path):
    path = tmp_path / "t.tsv"
    day = datetime.date.today()
    write_gwas_ssf(str(path), str(table), TableLayout(17, None, "Y: odd", ("AGE", "PC 1"), "GRCh37", 0.01))
    lines = (tmp_path / "t.tsv-meta.yaml").read_text().splitlines()
    days = {
        f"date_metadata_last_modified: {d.isoformat()}" for d in (day, datetime.date.today())
    }  # midnight may be between
    assert days & set(lines)
    for line in (
        '  - "Y: odd"', 'genome_assembly: "GRCh37"',
        "coordinate_system: 1-based", "    sample_size: 77", "    case_control_study: false", 'data_file_name: "t.tsv"',
        "file_type: GWAS-SSF v1.0", f"data_file_md5sum: {hashlib.md5(path.read_bytes()).hexdigest()}",
        f'analysis_software: "securegen {VERSION}"', '  - "PC 1"', "minor_allele_freq_lower_limit: 0.01",
        "is_harmonised: false", "is_sorted: true",
    ):  # fmt: skip
        assert line in lines, line
    frequency = read_sumstats(path)["A1_FREQ"].tolist()
    assert frequency == [1 / 3, 0.4, 0.01, 0.99]  # the floor holds at both ends
    assert "minor_allele" not in metadata_text("a", "b", 5, {}, TableLayout(17, None, "Y", (), "GRCh38"))
    assert floored("0.01", 0.01) == "0.01"


def test_a_p_value_without_log10_keeps_its_rank(tmp_path):
    path = tmp_path / "x"
    path.write_text(
        "##comment\n#CHROM\tPOS\tID\tA1\tTEST\tP\n1\t2\ta\tG\tADD\t3e-400\n1\t2\ta\tG\tAGE\t0.5\n1\t3\tb\tG\tADD\tNA\n"
    )
    frame = read_sumstats(path)
    np.testing.assert_allclose(frame["LOG10_P"][0], 400 - np.log10(3), rtol=1e-15)
    assert len(frame) == 2 and np.isnan(frame["LOG10_P"][1])


@pytest.mark.parametrize("column", ["OMITTED", "AX", "ALT1", "FIRTH?", "PROVISIONAL_REF?"])
def test_plink2_columns_of_text_are_text(column, tmp_path):
    path = tmp_path / "x"
    path.write_text(f"#CHROM\tPOS\tID\tREF\tALT\tA1\t{column}\tTEST\tP\n1\t2\ta\tA\tG\tG\tA\tADD\t0.5\n")
    assert read_sumstats(path)[column].tolist() == ["A"] and read_results(path)[column].tolist() == ["A"]


@pytest.mark.parametrize("reader", [read_sumstats, read_results])
def test_every_word_for_missing_is_missing(reader, tmp_path):
    path = tmp_path / "x"
    rows = "".join(
        f"1\t{i}\ta\tA\tG\tG\tADD\t{word}\t{word}\n" for i, word in enumerate(["NA", "nan", "-nan", ".", ""], 1)
    )
    path.write_text(f"#CHROM\tPOS\tID\tREF\tALT\tA1\tTEST\tBETA\tP\n{rows}")
    assert reader(path)[["BETA", "LOG10_P"]].isna().all(axis=None)


@pytest.mark.parametrize("reader", [read_sumstats, read_results])
def test_a_table_of_other_tests_is_no_table_of_the_additive_one(reader, tmp_path):
    path = tmp_path / "x"
    path.write_text(
        "#CHROM\tPOS\tID\tREF\tALT\tA1\tTEST\tP\n1\t2\ta\tA\tG\tG\tAGE\t0.5\n1\t2\ta\tA\tG\tG\tHOM\t0.5\n1\t2\ta\tA\tG\tG\tHET\t0.5\n"
    )
    with pytest.raises(InputError, match="has no row of the additive test"):
        reader(path)


@pytest.mark.parametrize("reader", [read_sumstats, read_results])
def test_a_table_of_another_genetic_model_is_read_without_its_covariates(reader, tmp_path):
    path = tmp_path / "x"
    rows = "".join(f"1\t2\ta\tA\tG\tG\t{test}\t0.5\n" for test in ("REC", "AGE"))
    path.write_text(f"#CHROM\tPOS\tID\tREF\tALT\tA1\tTEST\tP\n{rows}")
    assert reader(path)["TEST"].tolist() == ["REC"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a\tb\n1\t2\n", "not a table of results: its header is neither plink2's"),
        ("#CHROM\tPOS\tID\tA1\tP\n", "has no rows"),
        ("#CHROM\tPOS\tID\tA1\tP\n1\t2\tx\tA\n", "line 2: 4 fields, the header has 5"),
        ("#CHROM\tPOS\tID\tA1\tP\n1\t2\tx\tA\tsmall\n", "column P holds 'small'"),
        ("#CHROM\tID\tA1\tP\n1\tx\tA\t0.5\n", "has no column for POS"),
    ],
)
def test_what_is_no_table_is_an_error_with_its_place(tmp_path, text, message):
    (tmp_path / "x").write_text(text)
    with pytest.raises(InputError, match=message):
        read_sumstats(tmp_path / "x")


@pytest.fixture(scope="module")
def formats(small, tmp_path_factory):
    """`gwas` in each format: frames by format and phenotype."""
    folder = tmp_path_factory.mktemp("formats")
    study = ["--bfile", small.bfile, "--pheno", small.pheno, "--pheno-name", "QT,CC", "--covar", small.covar]
    for form, more in (
        ("plink2", []),
        ("regenie", ["--statistic", "plink2"]),
        ("gwas-ssf", ["--genome-build", "hg19"]),
    ):
        done = securegen("gwas", *study, "--format", form, *more, "--out", folder / form)
        assert done.code == 0, done.err
    return folder


def test_the_command_writes_one_format(formats):
    kept = {p.name for p in formats.iterdir() if p.suffix not in (".log", ".json")}
    assert kept == {
        "plink2.QT.glm.linear", "plink2.CC.glm.logistic.score", "regenie_QT.regenie", "regenie_CC.regenie",
        *(f"gwas-ssf.{p}.gwas-ssf.tsv{end}" for p in ("QT", "CC") for end in ("", "-meta.yaml")),
    }  # fmt: skip
    assert "variants left out: no statistics" in (formats / "gwas-ssf.log").read_text()
    meta = (formats / "gwas-ssf.CC.gwas-ssf.tsv-meta.yaml").read_text()
    assert "case_control_study: true" in meta and 'genome_assembly: "GRCh37"' in meta and '- "AGE"' in meta


@pytest.mark.parametrize(("name", "suffix"), [("QT", "glm.linear"), ("CC", "glm.logistic.score")])
def test_real_tables_round_trip(formats, name, suffix):
    ours = read_sumstats(formats / f"plink2.{name}.{suffix}")
    regenie = read_sumstats(formats / f"regenie_{name}.regenie")
    same = ["#CHROM", "POS", "ID", "REF", "ALT", "A1", "A1_FREQ", "OBS_CT", "BETA", "SE", "LOG10_P", "ERRCODE"]
    pd.testing.assert_frame_equal(regenie[same], ours[same], check_exact=True)
    ssf = read_sumstats(formats / f"gwas-ssf.{name}.gwas-ssf.tsv")
    whole = ours[ours["SE"].notna()].reset_index(drop=True)
    pd.testing.assert_frame_equal(ssf[[*same, "P"]], whole[[*same, "P"]], check_exact=True)


@pytest.mark.parametrize(("name", "suffix"), [("QT", "glm.linear"), ("CC", "glm.logistic.score")])
def test_formats_of_one_run_do_not_differ(formats, name, suffix):
    """`check` sees in regenie's and GWAS-SSF's columns what plink2's hold; GWAS-SSF has no rows without statistics."""
    ours = formats / f"plink2.{name}.{suffix}"
    for other in (f"regenie_{name}.regenie", f"gwas-ssf.{name}.gwas-ssf.tsv"):
        done = securegen("check", ours, formats / other, "--tolerance", "1e-14", "--common", "--json")
        found = json.loads(done.out)
        assert done.code == 0 and found["agree"] and found["only_b"] == 0 and found["flipped"] == 0, done.err
        rows = read_results(ours)
        left_out = 0 if "regenie" in other else int(rows["SE"].isna().sum())
        assert found["only_a"] == left_out and found["differences"]["LOG10_P"]["max"] == 0
        assert {"BETA", "SE", "A1_FREQ", "STATISTIC"} <= set(found["differences"])


def test_a_quote_in_an_id_is_no_quote(tmp_path):
    path = tmp_path / "x.regenie"
    rows = [f"1 {10 + j} {name} A G 0.2 9 ADD 1 1 1 0.5 NA" for j, name in enumerate(('"a', 'b"', "c"))]
    path.write_text("\n".join([" ".join(COLUMNS), *rows]) + "\n")
    for read in (read_sumstats, read_results):
        assert read(path)["ID"].tolist() == ['"a', 'b"', "c"]


def test_what_a_format_cannot_say_is_refused_before_the_run(small, tmp_path):
    study = ["--bfile", small.bfile, "--pheno", small.pheno, "--pheno-name", "CC", "--out", tmp_path / "x"]
    local = ["run-local", "gwas", "--engine", "mpc", "--split", "vertical"]
    for words, message in (
        (["gwas", *study, "--format", "regenie", "--model", "trend"], "no columns for --model trend"),
        (["gwas", *study, "--format", "gwas-ssf"], "needs --genome-build"),
        (["gwas", *study, "--genome-build", "GRCh38"], "--genome-build is for --format gwas-ssf, not for plink2"),
        ([*local, *study, "--format", "regenie"], "no columns for --reveal hits, chi2 or uv"),
    ):
        done = securegen(*words)
        assert done.code == 2 and message in done.err, done.err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "plink"}, "^`format` is 'plink': choose one of plink2, regenie, gwas-ssf$"),
        ({"digits": 0}, "^`digits` is 0"),
        ({"format": "gwas-ssf"}, "^`format` gwas-ssf needs `genome_build`"),
        (
            {"format": "regenie", "frequency_floor": 0.1},
            "^`frequency_floor` is for `format` gwas-ssf, not for regenie$",
        ),
        ({"format": "gwas-ssf", "genome_build": "hg19", "frequency_floor": 2.0}, "^`frequency_floor` is 2.0"),
        ({"gzip": "yes"}, "^`gzip` is True or False"),
        ({"cols": "chrom,what"}, "^`cols`: 'what' is not a column"),
        ({"cols": 3}, "^`cols` takes names as text"),
        ({"cols": "p", "format": "regenie"}, "^`cols` is for `format` plink2, not for regenie$"),
    ],
)
def test_a_form_refuses_by_the_name_of_the_argument(options, message):
    with pytest.raises(UsageError, match=message):
        TableForm(**options)
    assert TableForm(format="gwas-ssf", genome_build="hg19").genome_build == "GRCh37"


def test_a_format_is_a_record_in_the_list(small, tmp_path, monkeypatch):
    """One more format: its writer and a line of the registry; commands and Python take it, and a report finds its tables."""

    def write(path, source, layout):
        Path(path).write_text("".join(line.split("\t")[2] + "\n" for line in Path(source).read_text().splitlines()))
        return {"a reason": 1}

    monkeypatch.setitem(
        FORMATS, "ids", TableFormat("ids", "{out}.{phenotype}.ids", write, takes=lambda t: t.name == "linear")
    )
    study = sg.open_study(small.bfile, pheno=small.pheno, pheno_name=("QT", "CC"))
    results = sg.run(study, out=tmp_path / "x", format="ids")
    assert results.paths == {"QT": f"{tmp_path}/x.QT.ids", "CC": f"{tmp_path}/x.CC.glm.logistic.score"}
    assert Path(results.paths["QT"]).read_text().split()[0] == "ID"


def test_the_comparison_with_the_plain_engine_is_of_the_format(small, formats, tmp_path):
    (tmp_path / "few").write_text("".join(f"rs{j}\n" for j in range(40)))
    study = ["--bfile", small.bfile, "--pheno", small.pheno, "--pheno-name", "QT", "--covar", small.covar]
    study += ["--extract", str(tmp_path / "few"), "--format", "regenie", "--statistic", "plink2", "--compare-plain"]
    done = securegen("run-local", "gwas", "--engine", "ckks", *study, "--out", tmp_path / "r")
    assert done.code == 0 and "identical to the plain engine: yes" in done.err, done.err
    got = (tmp_path / "r_QT.regenie").read_text().splitlines()
    assert got == (formats / "regenie_QT.regenie").read_text().splitlines()[:41]
    assert not list(tmp_path.glob("*.glm.linear"))


@pytest.mark.parametrize(
    "name, columns", [("regenie_QT.regenie", "regenie's"), ("gwas-ssf.QT.gwas-ssf.tsv", "GWAS-SSF's")]
)
def test_inspect_knows_them(name, columns, formats):
    found = inspect(formats / name)
    assert found.kind == f"result table: association, in {columns} columns"
    assert found.facts["rows"] == len((formats / name).read_text().splitlines()) - 1


def test_25_is_mt_in_gwas_ssf(tmp_path):
    """And XY in plink's numbers: rows of MT would be compared with those of X at their positions."""
    header = ("chromosome", "base_pair_location", "effect_allele", "other_allele", "beta", "standard_error", "p_value")
    path = write_tsv(tmp_path / "t", header, [(c, 70_000, "A", "G", 1, 1, 0.3) for c in (7, 23, 24, 25)])
    assert read_sumstats(path)["#CHROM"].tolist() == ["7", "X", "Y", "MT"]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [("p_value", "0", "P is written as '0'"), ("neg_log_10_p_value", "inf", "LOG10_P is inf"),
     ("neg_log_10_p_value", "-1", "LOG10_P is -1")],
)  # fmt: skip
def test_a_p_of_zero_is_refused_by_line(tmp_path, name, text, message):
    """Read as infinite, the strongest variant was in no clump and no picture."""
    header = ("chromosome", "base_pair_location", "effect_allele", "other_allele", "beta", "standard_error", name)
    path = write_tsv(tmp_path / "t", header, [(7, 5, "A", "G", 1, 1, 0.3), (7, 6, "A", "G", 1, 1, text)])
    for read in (read_sumstats, read_results):
        with pytest.raises(InputError, match=f"t, line 3: {message}"):
            read(path)


@pytest.mark.parametrize("text", ["1_000", "x", "1,5"])
def test_what_is_no_number_is_none(tmp_path, text):
    header = ("chromosome", "base_pair_location", "effect_allele", "other_allele", "beta", "standard_error", "p_value")
    path = write_tsv(tmp_path / "t", header, [(7, 5, "A", "G", text, 1, 0.3)])
    with pytest.raises(InputError, match=f"column BETA holds '{text}', expected a number or NA"):
        read_sumstats(path)
