"""Tables as R, pandas, Excel, SAS and plink write them: the right number, or an error that says what and where."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from support import genotypes, write_plink

import securegen as sg
from securegen.errors import DesignError, InputError, SecuregenError, UsageError

N = 46
RNG = np.random.default_rng(5)
QT = (100 + 15 * RNG.normal(size=N)).round(3)
AGE = (50 + 9 * RNG.normal(size=N)).round(1)
PC = RNG.normal(size=(N, 3)).round(5)
CASE = 1 + (np.arange(N) % 3 == 0)
PEOPLE = [(f"F{i}", f"I{i}") for i in range(N)]


@pytest.fixture(scope="module")
def bfile(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("c") / "c"
    write_plink(path, genotypes(np.random.default_rng(4), 12, N, missing=0))
    return str(path)


def text(columns: dict, header: str = "#FID\tIID", ids=PEOPLE, sep: str = "\t") -> str:
    rows = [
        sep.join([*person, *map(str, row)])
        for person, row in zip(ids, zip(*columns.values(), strict=True), strict=True)
    ]
    return "\n".join([header.replace("\t", sep) + "".join(sep + c for c in columns), *rows]) + "\n"


@pytest.fixture
def run(bfile, tmp_path):
    """Analyse tables given as text or bytes; returns the frame of statistics and the log."""

    def analyse(pheno, covar=None, **options):
        files = {}
        for name, content in (("pheno", pheno), ("covar", covar)):
            if content is not None:
                files[name] = tmp_path / f"{name}.txt"
                files[name].write_bytes(content if isinstance(content, bytes) else content.encode())
        log: list[str] = []
        study = sg.open_study(bfile, log=log.append, **files, **options)
        return sg.run(study).frame, "\n".join(log)

    return analyse


def least_squares(bfile: str, y: np.ndarray, *covariates: np.ndarray) -> np.ndarray:
    """T of every variant in float64; NaN leaves a person out."""
    from securegen.io.plink1 import read_plink

    reader = read_plink(bfile)
    g = reader.read(0, len(reader.variants)).dosage.astype(float)
    here = ~np.isnan(y)
    out = []
    for row in g:
        x = np.column_stack([np.ones(here.sum()), *(c[here] / np.std(c) for c in covariates), row[here]])
        target = y[here] / np.std(y[here])
        beta, *_ = np.linalg.lstsq(x, target, rcond=None)
        residual = target - x @ beta
        variance = residual @ residual / (here.sum() - x.shape[1])
        out.append(beta[-1] / np.sqrt(variance * np.linalg.inv(x.T @ x)[-1, -1]))
    return np.array(out)


def same(frame, expected) -> None:
    """T within the promise."""
    got = frame["T_STAT"].to_numpy()
    assert np.nanmax(np.abs(got - expected) / (1 + expected**2 / N)) < 1e-3, (got, expected)


PLAIN = text({"QT": QT, "AGE": AGE})
SAME_TABLE = {
    "tabs": PLAIN,
    "blanks": PLAIN.replace("\t", " "),
    "blanks to align": PLAIN.replace("\t", "   "),
    "a few lines with blanks": "\n".join(
        line.replace("\t", " ") if i % 5 == 2 else line for i, line in enumerate(PLAIN.splitlines())
    ),
    "blanks between ids only": PLAIN.replace("\tI", " I").replace("#FID\tIID", "#FID IID"),
    "Windows": PLAIN.replace("\n", "\r\n"),
    "old Mac": PLAIN.replace("\n", "\r"),
    "byte-order mark": "\ufeff" + PLAIN,
    "gzip": gzip.compress(PLAIN.encode(), mtime=0),
    "trailing tabs": "".join(line + "\t\n" for line in PLAIN.splitlines()),
    "trailing blanks": "".join(line + "  \n" for line in PLAIN.splitlines()),
    "blanks around cells": PLAIN.replace("\t", "\t "),
    "no last line end": PLAIN.rstrip("\n"),
    "empty lines": PLAIN.replace("\n", "\n\n"),
    "comment above": "## made by hand\n" + PLAIN,
    "IID FID": text({"QT": QT, "AGE": AGE}, "IID\tFID", [p[::-1] for p in PEOPLE]),
    "fid in lower case": text({"QT": QT, "AGE": AGE}, "#fid\tiid"),
    "FID last": text({"QT": QT, "AGE": AGE, "FID": [p[0] for p in PEOPLE]}, "#IID", [p[1:] for p in PEOPLE]),
    "exponents": text({"QT": [f"{v:.8e}" for v in QT], "AGE": [f"{v:+.3E}" for v in AGE]}),
    "three-digit exponents": text({"QT": [f"{v / 100:.6f}e+002" for v in QT], "AGE": AGE}),
    "strangers": PLAIN + "F99\tI99\t1\t2\n",
    "a category beside": text({"QT": QT, "AGE": AGE, "WHERE": ["north east", ""] * (N // 2)}),
}


@pytest.mark.parametrize("form", SAME_TABLE)
def test_one_table_in_every_form_gives_the_same_statistics(form, run, bfile):
    frame, _ = run(SAME_TABLE[form], SAME_TABLE[form], pheno_name="QT", covar_name="AGE")
    same(frame, least_squares(bfile, QT, AGE))
    assert (frame["OBS_CT"] == N).all()


@pytest.mark.parametrize(
    "word", ["NA", "na", "nan", "NaN", "-nan", ".", "", "-9", "-9.0", "-9.000", "-9e0", "-09", "-0.9e1"]
)
def test_missing_values_of_a_phenotype(word, run, bfile):
    values = [word if i in (3, 17) else str(v) for i, v in enumerate(QT)]
    frame, log = run(text({"QT": values, "AGE": AGE}), pheno_name="QT")
    expected = QT.copy()
    expected[[3, 17]] = np.nan
    assert (frame["OBS_CT"] == N - 2).all()
    same(frame, least_squares(bfile, expected))
    assert ("2 cells with -9 read as missing" in log) == word.startswith(("-9", "-0"))


def test_minus_nine_can_be_a_number(run, bfile):
    values = QT - QT[3] - 9
    frame, log = run(text({"QT": values.round(3)}), no_input_missing_phenotype=True)
    same(frame, least_squares(bfile, values))
    assert "cells with -9" not in log and (frame["OBS_CT"] == N).all()


@pytest.mark.parametrize("code", ["{}", "{}.0", " {}", "0{}", "{}e0", "+{}"])
def test_case_control_codes_of_every_program(code, run):
    values = [code.format(c) if i != 5 else "-9.0" for i, c in enumerate(CASE)]
    frame, _ = run(text({"CC": values}), model="trend")
    assert (frame["CASE_CT"] == (CASE[np.arange(N) != 5] == 2).sum()).all()


def test_zero_of_a_case_control_trait_is_said_to_be_missing(run):
    values = [0 if i < 4 else c for i, c in enumerate(CASE)]
    _, log = run(text({"CC": values}), model="trend")
    assert "phenotype CC is read as 1 control, 2 case: 4 cells with 0 read as missing" in log


REFUSED = {
    "comma separated": (PLAIN.replace("\t", ","), "line 1: fields are separated by commas .found '#FID,IID,QT,AGE'"),
    "semicolons": (PLAIN.replace("\t", ";"), "fields are separated by semicolons"),
    "quoted names": ('"FID"\t"IID"\t"QT"\nF1\tI1\t1\n', "line 1: names are quoted .*quote=FALSE"),
    "quoted ids": ('FID\tIID\tQT\n"F1"\t"I1"\t1\n', "line 2: the id is empty, quoted or holds a blank"),
    "R's row names": ("FID IID QT\n1 F1 I1 2.5\n", "line 2: 4 fields, the header has 3: R writes row names"),
    "pandas' index": ("\tFID\tIID\tQT\n0\tF1\tI1\t1\n", r"line 1: column 1 has no name .pandas: to_csv\(index=False\)"),
    "pandas' index, written again": ("Unnamed: 0\tFID\tIID\tQT\n0\tF1\tI1\t1\n", "column 1 is pandas' index"),
    "a title above": ("My phenotypes\n" + PLAIN, "line 1: the header must start with .*found 'My phenotypes'"),
    "a title above, with tabs": ("My phenotypes\t\t\n" + PLAIN, "line 1: the header must start with"),
    "a dash": (PLAIN.replace(str(QT[4]), "-"), "column QT holds '-'.*a missing value is written NA, nan"),
    "missing": (PLAIN.replace(str(QT[4]), "Missing"), "a missing value is written NA, nan"),
    "C's not a number": (PLAIN.replace(str(QT[4]), "-1.#IND"), "a missing value is written NA, nan"),
    "a very long cell": (PLAIN.replace(str(QT[4]), "9" * 5000), "column QT holds '9{40}…', expected a number$"),
    "UTF-16": (PLAIN.encode("utf-16"), "is UTF-16 text .*save it as UTF-8"),
    "UTF-16 without mark": (PLAIN.encode("utf-16-le"), "holds NUL bytes"),
    "Latin-1": (PLAIN.replace("F3\t", "Fé\t").encode("latin-1"), "line 5: byte 0xe9 is not UTF-8 text"),
    "spreadsheet": (b"PK\x03\x04" + b"\0" * 20, "is a spreadsheet or a zip archive: export"),
    "old spreadsheet": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "is an Excel workbook"),
    "header only": ("#FID\tIID\tQT\n", "has a header but no rows"),
    "a ragged row": (PLAIN.replace("F2\tI2\t", "F2\tI2\tx\t"), "line 4: 5 fields, the header has 4"),
    "a cell with a blank and one lost": (PLAIN.replace(f"F2\tI2\t{QT[2]}\t{AGE[2]}", "F2\tI2\t5 mg"), "line 4: 3 fields"),
    "a blank in a name": (text({"Body mass": QT, "AGE": AGE}), "the name 'Body mass' holds a blank: write 'Body_mass'"),
    "a name twice": (text({"QT": QT}, "#FID\tIID\tQT"), "(column QT appears more than once|fields)"),
    "two FID": (text({"FID": QT}), "FID or IID appears more than once"),
    "# twice": (text({"QT": QT}, "#FID\t#IID"), "only the first name of the header takes a #"),
    "no ids": ("QT\tAGE\n1\t2\n", "the header must start with .*found 'QT AGE'"),
    "an empty id": (PLAIN.replace("I3\t", "\t"), "line 5: the id is empty"),
    "decimal comma": (PLAIN.replace(str(QT[4]), str(QT[4]).replace(".", ",")), "decimals are written with a point"),
    "thousands": (PLAIN.replace(str(QT[4]), "1,234.5"), "thousands without a mark"),
    "thousands by a blank": (PLAIN.replace(str(QT[4]), "1 234.5"), "line 6: column QT holds '1 234.5'"),
    "thousands by a hard blank": (PLAIN.replace(str(QT[4]), "1\u00a0234"), "line 6: column QT holds"),
    "a long minus": (PLAIN.replace(str(QT[4]), "\u22125"), "the minus sign is written -"),
    "Excel's error": (PLAIN.replace(str(QT[4]), "#DIV/0!"), "a missing value is written NA, nan, ., -9 or nothing"),
    "N/A": (PLAIN.replace(str(QT[4]), "N/A"), "a missing value is written NA, nan, ., -9 or nothing"),
    "infinity": (PLAIN.replace(str(QT[4]), "Inf"), "column QT holds 'Inf', expected a number"),
    "words for cases": (text({"QT": ["case", "control"] * (N // 2)}), "cases and controls are written 2 and 1"),
    "Fortran": (PLAIN.replace(str(QT[4]), "1.5D+02"), "column QT holds '1.5D.02'"),
}  # fmt: skip


@pytest.mark.parametrize("form", REFUSED)
def test_what_cannot_be_read_names_place_and_remedy(form, run):
    content, message = REFUSED[form]
    with pytest.raises(InputError, match=message) as caught:
        run(content, pheno_name="QT")
    assert "pheno.txt" in str(caught.value) and "\n" not in str(caught.value)


def test_an_empty_cell_does_not_move_the_next_one(run, bfile):
    doses = ["5 mg" if i == 3 else "1" for i in range(N)]
    frame, _ = run(text({"QT": ["" if i == 3 else v for i, v in enumerate(QT)], "DOSE": doses}), pheno_name="QT")
    expected = QT.copy()
    expected[3] = np.nan
    same(frame, least_squares(bfile, expected))


@pytest.mark.parametrize("separator", ["\u2028", "\x85", "\x0b", "\x1e"])
def test_only_line_ends_end_a_line(separator, run):
    with pytest.raises(InputError, match=r"line 6: column QT holds"):
        run(PLAIN.replace(str(QT[4]), f"1{separator}2"), pheno_name="QT")


def test_people_whose_family_begins_with_two_hashes(tmp_path):
    from securegen.io.tables import read_table

    (tmp_path / "t").write_text("## comment\n#FID\tIID\tQT\n##1\tI1\t5\nF2\tI2\t6\n")
    assert read_table(tmp_path / "t").fid.tolist() == ["##1", "F2"]


def test_ids_are_text(tmp_path):
    """1, 01 and 001 are three people."""
    path = tmp_path / "c"
    write_plink(path, genotypes(np.random.default_rng(4), 12, 30, missing=0))
    names = ["1", "01", "001", "1.0", "1e0", *(f"{i}" for i in range(2, 27))]
    (tmp_path / "c.fam").write_text("".join(f"0 {n} 0 0 0 -9\n" for n in names))
    y = np.arange(30.0) ** 2
    (tmp_path / "p").write_text(
        "#IID\tQT\n" + "".join(f"{n}\t{v}\n" for n, v in zip(names[::-1], y[::-1], strict=True))
    )
    frame = sg.run(sg.open_study(path, pheno=tmp_path / "p")).frame
    same(frame, least_squares(str(path), y))


SCALES = [1e-20, 1e-18, 1e-15, 1e-12, 1e-9, 1e-8, 1e-6, 1, 1e6]


@pytest.mark.parametrize("scale", SCALES)
def test_the_unit_of_a_phenotype_changes_beta_alone(scale, run, bfile):
    values = (QT - 100) * scale if scale < 1 else QT * scale
    same(run(text({"QT": [repr(float(v)) for v in values]}))[0], least_squares(bfile, values / scale))


@pytest.mark.parametrize("scale", SCALES[1:])
def test_the_unit_of_a_covariate_changes_nothing(scale, run, bfile):
    hormone = (AGE + QT / 10) * scale
    table = text({"QT": QT, "HORM": [repr(float(v)) for v in hormone]})
    same(run(table, table, pheno_name="QT", covar_name="HORM")[0], least_squares(bfile, QT, hormone / scale))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([7.0] * N, "constant over the analysed samples"),
        ([0.0] * N, "constant over the analysed samples"),
        ([0.1 + 0.2, 0.3] * (N // 2), "constant|varies by less than"),
        ([1e6 + 1e-9 * i for i in range(N)], "(too large to be read|varies by less than|constant)"),
        ([1e-30 * i for i in range(N)], "(varies by less than .*multiply the column by a power of ten|constant)"),
    ],
)
def test_columns_that_float64_cannot_tell_apart_are_refused(values, message, run):
    table = text({"QT": QT, "C": [repr(float(v)) for v in values]})
    with pytest.raises(DesignError, match=message):
        run(table, table, pheno_name="QT", covar_name="C")


@pytest.mark.parametrize("missing", ["NONE", "none", "None", "NA", "", "-9", "-9.0", "."])
def test_missing_categories(missing, run):
    site = [missing if i % 9 == 0 else ("b", "a", "c")[i % 3] for i in range(N)]
    frame, log = run(text({"QT": QT}), text({"SITE": site, "AGE": AGE}), covar_categorical="SITE")
    assert (frame["OBS_CT"] == N - len(range(0, N, 9))).all() and "2 indicator columns (SITE=b, SITE=c)" in log


@pytest.mark.parametrize("word", ["N/A", "#N/A", "null", "<NA>", '"north"'])
def test_words_that_another_program_writes_for_a_missing_category_are_refused(word, run):
    site = [word if i == 6 else "ab"[i % 2] for i in range(N)]
    with pytest.raises(InputError, match="covar.txt, line 8: category SITE holds"):
        run(text({"QT": QT}), text({"SITE": site}), covar_categorical="SITE")


def test_one_category_written_in_two_ways_is_refused(run):
    site = ["1" if i < 20 else "1.0" if i < 30 else "2" for i in range(N)]
    with pytest.raises(InputError, match="category SITE writes one number in two ways, 1 and 1.0"):
        run(text({"QT": QT}), text({"SITE": site}), covar_categorical="SITE")


def test_ranges_of_columns(run, bfile):
    table = text({"QT": QT, "AGE": AGE, "PC1": PC[:, 0], "PC2": PC[:, 1], "PC3": PC[:, 2], "A-B": AGE**2})
    frame, _ = run(table, table, pheno_name="QT", covar_name=("AGE-PC2",))
    same(frame, least_squares(bfile, QT, AGE, PC[:, 0], PC[:, 1]))
    frame, _ = run(table, table, pheno_name="QT", covar_name=("A-B", "PC3"))
    same(frame, least_squares(bfile, QT, AGE**2, PC[:, 2]))
    with pytest.raises(UsageError, match="PC3 stands after PC1: write PC1-PC3"):
        run(table, table, pheno_name="QT", covar_name=("PC3-PC1",))
    with pytest.raises(UsageError, match="has no column PC1-PC9; it has QT"):
        run(table, table, pheno_name="QT", covar_name=("PC1-PC9",))


@pytest.mark.parametrize("name", ["BMI/kg", "/../../escaped", "..\\x", "a\x01b", "Q" * 260, "é" * 100])
def test_a_phenotype_that_cannot_be_part_of_a_file_name_is_refused(name, run):
    with pytest.raises(DesignError, match="becomes a part of a file's name"):
        run(text({name: QT}))


def test_a_name_with_a_comma_says_how_it_is_chosen(run):
    with pytest.raises(UsageError, match="names are separated by commas: rename 'LDL,direct' to choose it"):
        run(text({"LDL,direct": QT, "B": AGE}), pheno_name=("LDL", "direct"))


KEEP = {
    "FID IID": "F1 I1\nF2 I2\n", "header": "#FID\tIID\nF1\tI1\nF2\tI2\n", "IID FID": "IID FID\nI1 F1\nI2 F2\n",
    "more columns": "FID IID AGE\nF1 I1 3\nF2 I2 4\n", "IID": "#IID\nI1\nI2\n", "no header": "I1\nI2\n",
    "Windows": "F1 I1\r\nF2 I2\r\n", "mark": "\ufeffF1 I1\nF2 I2\n", "tabs": "F1\tI1\t\nF2\tI2\t\n",
}  # fmt: skip


@pytest.mark.parametrize("form", KEEP)
def test_lists_of_people(form, bfile, tmp_path):
    (tmp_path / "k").write_bytes(KEEP[form].encode())
    from securegen.study.genotypes import open_genotypes
    from securegen.study.inputs import Inputs

    assert open_genotypes(Inputs(bfile, keep=tmp_path / "k")).samples.iid.tolist() == ["I1", "I2"]
    assert len(open_genotypes(Inputs(bfile, remove=tmp_path / "k")).samples) == N - 2


@pytest.mark.parametrize(
    ("option", "content", "message"),
    [
        ("keep", "Q1 Q1\n", "k .--keep. names nobody .*compare the ids of its first line"),
        ("keep", "F1,I1\nF2,I2\n", "compare the ids.*stand between commas: use blanks or tabs"),
        ("remove", "F1,I1\nF2,I2\n", "stand between commas"),
        ("keep", '"F1" "I1"\n', "stand between quotes"),
        ("keep", "", "names nobody"),
        ("keep", "F1 I1\nI2\n", "line 2: one field, the lines before have FID and IID"),
        ("remove", "I1\nF2 I2\n", "line 2: 2 fields, the lines before have an IID alone"),
        ("extract", "rs99\n", "k .--extract. names no variant .*begins with 'rs99', the genotype file with 'rs0'"),
    ],
)
def test_a_list_that_finds_nothing_shows_both_sides(option, content, message, bfile, tmp_path):
    from securegen.study.genotypes import open_genotypes
    from securegen.study.inputs import Inputs

    (tmp_path / "k").write_text(content)
    with pytest.raises(SecuregenError, match=message):
        open_genotypes(Inputs(bfile, **{option: str(tmp_path / "k")}))


@pytest.mark.parametrize(("option", "word"), [("remove", "nobody"), ("exclude", "no variant")])
def test_a_list_that_leaves_everything_is_a_warning(option, word, bfile, tmp_path):
    from securegen.study.genotypes import open_genotypes
    from securegen.study.inputs import Inputs

    (tmp_path / "k").write_text("nothing here\n")
    log: list[str] = []
    open_genotypes(Inputs(bfile, **{option: Path(tmp_path / "k")}), log.append)
    assert any(line.startswith("WARNING") and word in line for line in log)


@pytest.mark.parametrize(
    ("column", "values", "warning"),
    [
        (
            "QT",
            [999 if i in (2, 9) else v for i, v in enumerate(QT)],
            "column QT holds 999, far from all other values, 2 times",
        ),
        (
            "QT",
            [-99 if i == 2 else v for i, v in enumerate(QT)],
            "column QT holds -99, far from all other values, 1 time:",
        ),
        ("QT", [(1, 2, 99)[i % 3] for i in range(N)], "takes only the values 1, 2, 99 and is read as quantitative"),
        ("SEX", [i % 3 for i in range(N)], "column SEX holds 0, plink's code of an unknown sex, 16 times"),
    ],
)
def test_numbers_that_may_stand_for_a_missing_value_are_named(column, values, warning, run):
    covar = text({column: values}) if column == "SEX" else None
    _, log = run(text({"QT": QT if column == "SEX" else values}), covar)
    assert any(line.startswith("WARNING") and warning in line for line in log.splitlines()), log


def test_ordinary_columns_raise_no_doubt(run):
    table = text({"QT": QT, "AGE": AGE, "SEX": 1 + np.arange(N) % 2, "PC1": PC[:, 0], "BATCH": np.arange(N) % 3 - 1})
    assert "WARNING" not in run(table, table, pheno_name="QT", covar_name="AGE-BATCH")[1]
