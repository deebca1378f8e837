"""`securegen meta`: which variants of the tables are the same, whose allele is counted, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from reference_data import GOLD
from support import left, securegen

import securegen as sg
from securegen.errors import InputError, UsageError

TABLES = [str(GOLD / "meta" / f"{name}.tsv") for name in "abc"]
HEADER = ("#CHROM", "POS", "ID", "REF", "ALT", "A1", "A1_FREQ", "OBS_CT", "BETA", "SE", "P")


def table(path: Path, *rows: tuple, header: tuple[str, ...] = HEADER) -> str:
    path.write_text("\n".join("\t".join(map(str, row)) for row in (header, *rows)) + "\n")
    return str(path)


def row(variant: str, ref: str, alt: str, a1: str, beta: float, *, place: int = 100, chromosome: str = "1") -> tuple:
    return (chromosome, place, variant, ref, alt, a1, 0.3, 500, beta, 0.1, 0.5)


def combined(tmp_path: Path, *tables: str, **options) -> pd.DataFrame:
    return sg.meta(tables, tmp_path / "out", **options).frame.set_index("ID")


@pytest.mark.parametrize(("other", "beta", "studies"), [
    (row("rs1", "A", "G", "G", 0.4), 0.3, 2), (row("rs1", "A", "G", "A", 0.4), -0.1, 2),
    (row("rs1", "G", "A", "A", 0.4), -0.1, 2), (row("rs1", "T", "C", "C", 0.4), 0.3, 2),
    (row(".", "A", "G", "G", 0.4), 0.3, 2), (row("rs9", "T", "C", "T", 0.4), -0.1, 2),
    (row("rs1", "A", "C", "C", 0.4), 0.2, 1), (row("rs1", "A", "G", "G", 0.4, place=7), 0.3, 2),
])  # fmt: skip
def test_alleles_are_turned_to_those_of_the_first_table(tmp_path, other, beta, studies):
    a = table(tmp_path / "a", row("rs1", "A", "G", "G", 0.2), row("rs2", "C", "T", "T", 0.1, place=200))
    b = table(tmp_path / "b", other, row("rs2", "C", "T", "T", 0.1, place=200))
    frame = combined(tmp_path, a, b)
    assert frame["BETA"]["rs1"] == pytest.approx(beta) and frame["STUDY_CT"]["rs1"] == studies
    assert frame["A1"]["rs1"] == "G"
    assert frame["A1_FREQ"]["rs1"] == pytest.approx(0.5 if beta < 0 else 0.3)


def test_ref_and_alt_are_those_of_the_first_table_whichever_is_counted(tmp_path):
    """Also of plink2's rows of a record with several ALT: one row an A1, against REF."""
    several = [row("rs2", "A", "C,G", a1, beta, place=200) for a1, beta in (("C", 0.3), ("G", 0.4))]
    a = table(tmp_path / "a", row("rs1", "A", "G", "A", 0.2), *several)
    b = table(tmp_path / "b", row("rs1", "G", "A", "G", -0.4), row("rs2", "A", "G", "G", 0.2, place=200))
    frame = sg.meta([a, b], tmp_path / "out").frame
    assert frame[["REF", "ALT", "A1"]].to_numpy().tolist() == [["A", "G", "A"], ["A", "C,G", "C"], ["A", "C,G", "G"]]
    np.testing.assert_allclose(frame["BETA"], [0.3, 0.3, 0.3])
    assert frame["STUDY_CT"].tolist() == [2, 1, 2]


def test_a_t_by_position_alone_is_left_out_unless_asked_for(tmp_path):
    a = table(tmp_path / "a", row("rs1", "A", "T", "T", 0.2), row("rs2", "C", "T", "T", 0.1, place=200))
    b = table(tmp_path / "b", row("x", "A", "T", "T", 0.4), row("rs2", "C", "T", "T", 0.1, place=200))
    found = sg.meta([a, b], tmp_path / "m")
    assert found.frame["STUDY_CT"].tolist() == [1, 2] and found.studies[1].left_out == {"ambiguous": 1}
    assert combined(tmp_path, a, b, keep_ambiguous=True)["STUDY_CT"].tolist() == [2, 2]


def test_variants_of_one_table_alone_have_rows_of_their_own_also_on_x(tmp_path):
    a = table(tmp_path / "a", row("rs1", "A", "G", "G", 0.2))
    b = table(tmp_path / "b", row("rs1", "A", "G", "G", 0.2), row("rx", "C", "G", "G", 0.3, chromosome="X"),
              row("rs3", "C", "T", "C", -0.3, place=300))  # fmt: skip
    frame = combined(tmp_path, a, b)
    assert frame.index.tolist() == ["rs1", "rx", "rs3"] and frame["DIRECTION"].tolist() == ["++", "?+", "?-"]
    assert frame[["Q", "I2", "P_Q", "TAU2"]].loc["rx"].isna().all()
    assert frame["BETA_RANDOM"]["rx"] == pytest.approx(0.3) and frame["SE_RANDOM"]["rx"] == pytest.approx(0.1)


def test_tables_of_other_programs_and_odds_ratios(tmp_path):
    ours = table(tmp_path / "a", row("rs1", "A", "G", "G", 0.2))
    regenie = tmp_path / "r"
    regenie.write_text("CHROM GENPOS ID ALLELE0 ALLELE1 A1FREQ N TEST BETA SE CHISQ LOG10P EXTRA\n"
                       "1 100 rs1 A G 0.3 500 ADD 0.4 0.1 16 4.2 NA\n")  # fmt: skip
    odds = table(tmp_path / "o", ("1", 100, "rs1", "A", "G", "A", 500, np.exp(-0.3), 0.1, 0.003),
                 header=("#CHROM", "POS", "ID", "REF", "ALT", "A1", "OBS_CT", "OR", "LOG(OR)_SE", "P"))  # fmt: skip
    frame = combined(tmp_path, ours, str(regenie), odds)
    assert frame["BETA"]["rs1"] == pytest.approx(0.3) and frame["STUDY_CT"]["rs1"] == 3


def test_the_order_of_tables_changes_no_number(tmp_path):
    one, other = combined(tmp_path, *TABLES), combined(tmp_path, *TABLES[::-1])
    turned = np.where(one["A1"] == other["A1"].loc[one.index], 1, -1)
    np.testing.assert_allclose(one["BETA"], turned * other["BETA"].loc[one.index], rtol=1e-12)
    for name in ("SE", "LOG10_P", "LOG10_P_RANDOM", "LOG10_P_STOUFFER", "I2"):
        np.testing.assert_allclose(one[name], other[name].loc[one.index], rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize(("text", "words"), [
    (lambda p: table(p, row("rs7", "A", "G", "G", 0.1, place=7)), "no variant in common"),
    (lambda p: table(p, ("1", 100, "rs1", "A", "G", "G", 3.0, 0.1), header=(*HEADER[:6], "CHISQ", "P")),
     "no column BETA, SE, OBS_CT"),
])  # fmt: skip
def test_tables_that_cannot_be_added_are_refused(tmp_path, text, words):
    a = table(tmp_path / "a", row("rs1", "A", "G", "G", 0.2))
    with pytest.raises(InputError, match=words):
        sg.meta([a, text(tmp_path / "b")], tmp_path / "out")
    assert not list(tmp_path.glob("out*"))


@pytest.mark.parametrize(("column", "value"), [
    ("A1_FREQ", "5"), ("A1_FREQ", "-1"), ("A1_FREQ", "inf"), ("OBS_CT", "-5"), ("OBS_CT", "1e300"), ("OBS_CT", "inf"),
    ("SE", "-1"), ("SE", "1e-320"), ("SE", "1e200"), ("BETA", "1e308"), ("BETA", "-1e308"),
])  # fmt: skip
def test_numbers_that_none_of_their_kind_can_be_are_refused(tmp_path, column, value):
    """A frequency of 5 was averaged into one of 2.65, and an effect of 1e308 ended in an OverflowError."""
    good = row("rs1", "A", "G", "G", 0.2)
    bad = [value if name == column else cell for name, cell in zip(HEADER, good, strict=True)]
    a, b = table(tmp_path / "a", good), table(tmp_path / "b", bad)
    with pytest.raises(InputError, match=f"b: {column} of variant rs1 is"):
        sg.meta([a, b], tmp_path / "out", genomic_control=True)
    assert not (tmp_path / "out.meta").exists()


def test_one_table_and_one_twice_are_refused(tmp_path):
    (tmp_path / "link").symlink_to(TABLES[0])
    for tables in ([TABLES[0]], [], [TABLES[0], tmp_path / "link"]):
        with pytest.raises(UsageError):
            sg.meta(tables, tmp_path / "out")


def test_from_the_command_line(tmp_path):
    done = securegen("meta", *TABLES, "--genomic-control", "--gzip", "--out", tmp_path / "m")
    assert done.code == 0, done.err
    assert left(tmp_path) == ["m.meta.gz", "m.run.json"]
    record = json.loads((tmp_path / "m.run.json").read_text())
    assert record["genomic_control"] is True and len(record["studies"]) == 3 and len(record["inputs"]) == 3
    assert max(study["inflation"] for study in record["studies"]) > 1
    plain = combined(tmp_path, *TABLES)
    wide = sg.meta(TABLES, tmp_path / "n", genomic_control=True).frame.set_index("ID")
    assert (wide["SE"] >= plain["SE"]).all() and (wide["SE"] > plain["SE"]).any()
    rehearsed = securegen("meta", *TABLES, "--dry-run", "--out", tmp_path / "dry")
    assert "would write" in rehearsed.out and not list(tmp_path.glob("dry*"))


def test_a_report_and_pictures_of_a_meta_analysis_show_its_table(tmp_path):
    pytest.importorskip("matplotlib")
    assert securegen("meta", *TABLES, "--out", tmp_path / "m").code == 0
    assert "m.meta" in Path(sg.write_report(tmp_path / "m")).read_text()
    drawn = [sg.draw(tmp_path / name, only="qq") for name in ("m", "m.meta")]
    assert [[Path(path).name for path in paths] for paths in drawn] == [["m.meta.qq.png"]] * 2
