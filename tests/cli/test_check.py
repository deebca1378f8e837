"""securegen check: equal, turned and different tables; ids and positions; text; what it prints and returns."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support import securegen

from securegen.errors import InputError
from securegen.results.concordance import compare, first_difference
from securegen.results.read import read_results

ROWS = 60


@pytest.fixture
def frame() -> pd.DataFrame:
    """A table of linear regressions, as text with 17 digits."""
    rng = np.random.default_rng(12)
    beta, se = rng.normal(size=ROWS), rng.uniform(0.1, 0.5, ROWS)
    out = pd.DataFrame(
        {
            "#CHROM": ["1"] * 30 + ["2"] * 30, "POS": np.arange(ROWS) * 100 + 1, "ID": [f"rs{i}" for i in range(ROWS)],
            "REF": "G", "ALT": "A", "A1": "A", "A1_FREQ": rng.uniform(0.1, 0.9, ROWS), "TEST": "ADD", "OBS_CT": 100,
            "BETA": beta, "SE": se, "T_STAT": beta / se, "LOG10_P": np.abs(beta / se) * 2, "ERRCODE": ".",
        }
    )  # fmt: skip
    out["P"] = 10 ** -out["LOG10_P"]
    out.loc[5, ["BETA", "SE", "T_STAT", "LOG10_P", "P"]] = np.nan
    return out


@pytest.fixture
def write(tmp_path):
    """Write a table; returns its path."""

    def put(frame: pd.DataFrame, name: str) -> str:
        frame.to_csv(tmp_path / name, sep="\t", index=False, na_rep="NA", float_format="%.17g")
        return str(tmp_path / name)

    return put


def turned(frame: pd.DataFrame) -> pd.DataFrame:
    """The same results for the other allele, in reverse order, with chr in the names of chromosomes."""
    out = frame.copy()
    out["A1"], out["#CHROM"] = out["REF"], "chr" + out["#CHROM"]
    out["A1_FREQ"] = 1 - out["A1_FREQ"]
    out[["BETA", "T_STAT"]] *= -1
    return out.iloc[::-1]


def test_a_table_equals_itself(frame, write):
    a = write(frame, "a")
    done = securegen("check", a, a)
    assert done.code == 0 and "60 variants matched (0 with the other tested allele)" in done.out
    assert "top 20 hits: 20 in both; Spearman correlation of LOG10_P 1.000000" in done.out
    assert securegen("check", a, a, "--exact").out == "identical\n"


def test_turned_alleles_are_the_same_effects(frame, write):
    done = securegen("check", write(frame, "a"), write(turned(frame), "b"), "--tolerance", "1e-12")
    assert done.code == 0 and "60 variants matched (60 with the other tested allele)" in done.out, done.out + done.err
    wrong = turned(frame)
    wrong["BETA"] *= -1  # turned allele, effect not turned
    done = securegen("check", write(frame, "a"), write(wrong, "c"))
    assert done.code == 1 and "differ beyond 0.001: BETA by" in done.err


def test_a_difference_is_measured_and_named(frame, write):
    other = frame.copy()
    other.loc[7, "BETA"] += 0.25 * other.loc[7, "SE"]
    other.loc[8, "LOG10_P"] += 0.5
    a, b = write(frame, "a"), write(other, "b")
    done = securegen("check", a, b, "--json")
    result = json.loads(done.out)
    assert done.code == 1 and not result["agree"] and result["matched"] == ROWS
    beta, log10p = result["differences"]["BETA"], result["differences"]["LOG10_P"]
    largest = max(frame.loc[7, "SE"], abs(frame.loc[7, "BETA"]), abs(other.loc[7, "BETA"]))
    assert (
        beta["scaled_max"] == pytest.approx(0.25 * frame.loc[7, "SE"] / largest)
        and beta["worst"] == ["rs7"]
        and beta["median"] == 0
    )
    assert beta["max"] == pytest.approx(0.25 * frame.loc[7, "SE"]) and beta["rows"] == ROWS - 1
    assert log10p["max"] == pytest.approx(0.5) and log10p["worst"] == ["rs8"]
    assert log10p["scaled_max"] == pytest.approx(0.5 / max(1, other.loc[8, "LOG10_P"]))
    done = securegen("check", a, b, "--tolerance", "0.6")
    assert (
        done.code == 0
        and f"largest differences of BETA: rs7 ({frame.loc[7, 'BETA']:.6g}, {other.loc[7, 'BETA']:.6g})" in done.out
    )


def test_statistics_in_one_table_only_are_a_difference(frame, write):
    other = frame.copy()
    other.loc[9, "BETA"] = np.nan
    done = securegen("check", write(frame, "a"), write(other, "b"))
    assert done.code == 1 and "BETA is NA in one table only for 1 variants" in done.err
    assert done.err.count("NA in one table") == 1


def test_rows_without_a_partner(frame, write):
    a, part = write(frame, "a"), write(frame.iloc[10:], "part")
    done = securegen("check", a, part)
    assert done.code == 1 and "10 variants are in the first table only, 0 in the second" in done.err
    assert securegen("check", a, part, "--common").code == 0
    other = frame.copy()
    other["POS"] += 1_000_000
    other["ID"] = "x" + other["ID"]
    done = securegen("check", a, write(other, "build"))
    assert done.code == 3 and "no variant is in both tables, by position or by id" in done.err
    other["ID"] = frame["ID"]
    assert securegen("check", a, write(other, "c")).code == 0, "found by id"
    assert securegen("check", a, write(other, "c"), "--match-by", "position").code == 3


def test_repeated_variants_are_paired_in_order(frame, write):
    """A variant with two rows: first with first, second with second; a row too many has no partner."""
    second = frame.iloc[:2].assign(BETA=9.0)
    twice = pd.concat([frame, second], ignore_index=True)
    assert securegen("check", write(twice, "a"), write(twice, "b"), "--tolerance", "0").code == 0
    result = compare(twice, frame)
    assert (len(result.names), result.only_a, result.only_b) == (ROWS, 2, 0) and not result.reasons(0, common=True)


def test_other_alleles_at_a_position_do_not_match(frame):
    other = frame.copy()
    other.loc[3, ["REF", "ALT", "A1"]] = ["G", "T", "T"]
    result = compare(frame, other)
    assert len(result.names) == ROWS - 1 and result.only_a == result.only_b == 1


def test_the_ends_of_x_have_several_names(frame):
    """PAR1, XY and 25 lie by their positions on X, which is 23 in regenie's columns."""
    ours, theirs = frame.assign(**{"#CHROM": "PAR1"}), frame.assign(**{"#CHROM": "23"})
    theirs.loc[:20, "#CHROM"] = "XY"
    result = compare(ours, theirs)
    assert (len(result.names), result.only_a) == (ROWS, 0) and not result.reasons(0)


def test_ranks_of_the_top_hits(frame):
    other = frame.copy()
    other["LOG10_P"] = frame["LOG10_P"].max() - frame["LOG10_P"]
    result = compare(frame, other, top=10)
    assert result.top == 10 and result.shared == 0 and result.spearman == pytest.approx(-1)


def test_text_of_p_keeps_small_values(frame, write, tmp_path):
    """plink2's own columns: no LOG10_P, and P below the smallest float64."""
    own = frame.drop(columns=["LOG10_P", "A1_FREQ"])
    own["P"] = ["3.2e-400"] + [f"{p:.6g}" if p == p else "NA" for p in frame["P"][1:]]
    extra = own.iloc[:3].assign(TEST="AGE")
    path = write(pd.concat([own, extra]), "plink2.glm.linear")
    table = read_results(path)
    assert len(table) == ROWS and table["LOG10_P"][0] == pytest.approx(400 - np.log10(3.2))
    packed = tmp_path / "p.gz"
    packed.write_bytes(gzip.compress(Path(path).read_bytes()))
    pd.testing.assert_frame_equal(read_results(packed), table)


@pytest.mark.parametrize(
    ("column", "cell", "said"),
    [
        ("BETA", "x1", "line 4: column BETA holds 'x1'"),
        ("POS", "NA", "line 4: POS is missing"),
        ("P", "0", "P is written as '0'"),
    ],
)
def test_bad_cells_are_named(frame, write, column, cell, said):
    text = frame.drop(columns="LOG10_P").astype(object).astype(str).replace("nan", "NA")
    text.loc[2, column] = cell
    with pytest.raises(InputError, match=said):
        read_results(write(text, "bad"))


def test_exact_names_line_and_column(frame, write, tmp_path):
    a = write(frame, "a")
    lines = Path(a).read_text().splitlines()
    changed = lines[3].split("\t")
    changed[9] = "0.5"
    (tmp_path / "b").write_text("\n".join([*lines[:3], "\t".join(changed), *lines[4:]]) + "\n")
    done = securegen("check", a, tmp_path / "b", "--exact")
    assert done.code == 1 and "differ: line 4, BETA: " in done.err and "'0.5'" in done.err
    assert first_difference("a\n", "a\nb\n") == "1 lines and 2" and first_difference("a\n", "a") == "line endings"
    assert first_difference("a\tb\n1\n", "a\tb\n1\t2\n") == "line 2, b: '1' and '1\\t2'"
    done = securegen("check", a, tmp_path / "b", "--exact", "--json")
    record = json.loads(done.out)
    assert done.code == 1 and not record["agree"] and record["first_difference"].startswith("line 4, BETA: ")
    assert securegen("check", a, a, "--exact", "--plot", tmp_path / "c.png").code == 2


def test_engines_agree_and_are_drawn(small, tmp_path):
    """Plain with missing genotypes at their mean and left out: the same hits, other numbers; a plot of both."""
    run = ["run-local", "gwas", "--engine", "plain", *small.options("QT"), "--chr", "2", "--quiet"]
    for way in ("mean", "complete"):
        assert securegen(*run, "--missing", way, "--out", tmp_path / way).code == 0
    a, b = (f"{tmp_path / way}.QT.glm.linear" for way in ("mean", "complete"))
    pytest.importorskip("matplotlib", reason="needs securegen[plot]")
    done = securegen("check", a, b, "--plot", tmp_path / "c.svg", "--tolerance", "9")
    assert done.code == 0 and (tmp_path / "c.svg").read_bytes().startswith(b"<?xml")
    assert securegen("check", a, b, "--tolerance", "0").code == 1
    assert securegen("check", a, tmp_path / "absent").code == 3


# Tables of other programs: never an agreement of what was not compared.


def text_table(path: Path, header: str, *rows: str) -> str:
    path.write_text(header.replace(" ", "\t") + "\n" + "".join(row.replace(" ", "\t") + "\n" for row in rows))
    return str(path)


HEADER = "#CHROM POS ID REF ALT A1 TEST OBS_CT BETA SE P"
ROWS_A = [f"1 {i}00 rs{i} G A A ADD 100 0.{i} 0.1 0.0{i}" for i in range(1, 8)]


@pytest.fixture
def pair(tmp_path):
    """Compare two tables of text; returns how the command ended."""

    def run(rows_b, *options, header_b=HEADER, rows_a=ROWS_A, header_a=HEADER):
        return securegen(
            "check",
            text_table(tmp_path / "a", header_a, *rows_a),
            text_table(tmp_path / "b", header_b, *rows_b),
            *options,
        )

    return run


@pytest.mark.parametrize("change", [str, str.lower, lambda r: r.replace("1 ", "chr01 ", 1)])
def test_one_allele_and_one_chromosome_in_two_spellings(change, pair):
    done = pair([change(r).replace("add", "ADD") for r in ROWS_A])
    assert done.code == 0 and "7 variants matched (0 with the other tested allele)" in done.out
    assert done.out.splitlines()[-1] == "agree within 0.001"


def test_a_lower_case_allele_with_the_other_sign_is_a_difference(pair):
    done = pair([r.replace("A A", "A a").replace(" 0.", " -0.", 1) for r in ROWS_A])
    assert done.code == 1 and "BETA by 2" in done.err and "differ beyond 0.001" in done.out


def test_letters_that_are_no_bases_are_compared_as_written(pair):
    rows = [r.replace("G A A", "D d d") for r in ROWS_A]
    assert pair(rows, rows_a=rows).code == 0
    turned = pair([r.replace("D d d", "D d D").replace(" 0.", " -0.", 1) for r in rows], rows_a=rows)
    assert turned.code == 0 and "7 with the other tested allele" in turned.out


def test_ids_that_name_nothing_pair_nothing(pair):
    dots = [r.replace(f"rs{i}", ".") for i, r in enumerate(ROWS_A, 1)]
    elsewhere = [r.replace("00 ", "55 ", 1) for r in dots]
    done = pair(elsewhere, rows_a=dots)
    assert done.code == 3 and "no variant is in both tables" in done.err
    assert pair(elsewhere, "--match-by", "id", rows_a=dots).code == 3


def test_an_id_with_other_alleles_is_another_variant(pair):
    moved = [r.replace("00 ", "55 ", 1) for r in ROWS_A]
    assert pair(moved).code == 0, "by id"
    done = pair([r.replace("G A A", "G T T") for r in moved])
    assert done.code == 3 and "no variant is in both tables" in done.err


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("1.5", "b, line 4: P is 1.5, a probability lies between 0 and 1"),
        ("-0.3", "b, line 4: P is -0.3"),
        ("1e10", "b, line 4: P is 1e10"),
        ("inf", "b, line 4: P is inf"),
        ("0", "b, line 4: P is written as '0'; write −log10 p instead"),
        ("x", "b, line 4: column P holds 'x'"),
        ("0.5 1", "b, line 4: 12 fields, the header has 11"),
    ],
)
@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_a_p_that_is_none_is_refused(cell, message, pair):
    done = pair([*ROWS_A[:2], ROWS_A[2].replace("0.03", cell), *ROWS_A[3:]])
    assert done.code == 3 and message in done.err
    assert done.err.count("\n") == 1


def test_a_short_row_is_refused(pair):
    done = pair([*ROWS_A[:2], ROWS_A[2].rpartition(" ")[0], *ROWS_A[3:]])
    assert done.code == 3 and "b, line 4: 10 fields, the header has 11" in done.err


def test_a_negative_logarithm_is_refused(pair):
    rows = [r.rpartition(" ")[0] + " -2" for r in ROWS_A]
    done = pair(rows, header_b=HEADER.removesuffix("P") + "LOG10_P")
    assert done.code == 3 and "b, line 2: LOG10_P is -2" in done.err


def test_two_tables_without_a_number_do_not_agree(pair):
    empty = [" ".join([*r.split(" ")[:8], "NA", "NA", "NA"]) for r in ROWS_A]
    done = pair(empty, rows_a=empty)
    assert (
        done.code == 1
        and "cannot be compared: not one number was compared" in done.err
        and "agree within" not in done.out
    )


def test_two_tables_without_a_number_are_not_drawn(pair, tmp_path):
    pytest.importorskip("matplotlib", reason="needs securegen[plot]")
    empty = [" ".join([*r.split(" ")[:8], "NA", "NA", "NA"]) for r in ROWS_A]
    done = pair(empty, "--plot", tmp_path / "c.png", rows_a=empty)
    assert done.code == 3 and "no row of a and b has β or P in both" in done.err
    assert not (tmp_path / "c.png").exists()


HYBRID = "#CHROM POS ID REF ALT PROVISIONAL_REF? A1 OMITTED A1_FREQ FIRTH? TEST OBS_CT OR LOG(OR)_SE Z_STAT P ERRCODE"


def test_the_default_table_of_plink2_is_read_and_the_cause_said(pair):
    hybrid = [f"1 {i}00 rs{i} G A N A G 0.2 {'NY'[i % 2]} ADD 98 1.{i} 0.1 {i}.5 0.0{i} ." for i in range(1, 8)]
    own = [f"1 {i}00 rs{i} G A A ADD 100 2.{i} 4 0.{i} 0.1 {i}.9 0.0{i}" for i in range(1, 8)]
    score = "#CHROM POS ID REF ALT A1 TEST OBS_CT U V BETA SE Z_STAT P"
    done = pair(hybrid, header_b=HYBRID, rows_a=own, header_a=score)
    assert done.code == 1, done.err
    assert "A is a score test, B a Wald or Firth test" in done.out
    assert "OBS_CT differs for 7 of 7 variants (100 and 98 at rs1)" in done.out
    assert "B may leave out missing calls (plink2, --missing complete)" in done.out


def test_alleles_that_nobody_knows_are_the_same_variant(pair):
    rows = [r.replace("G A A", "0 0 0") for r in ROWS_A]
    assert pair(rows, rows_a=rows).code == 0
    rows = [r.replace("G A A", "a A A") for r in ROWS_A]
    assert pair(rows, rows_a=rows).code == 0
    turned = [r.replace("a A A", "a A a").replace(" 0.", " -0.", 1) for r in rows]
    done = pair(turned, rows_a=rows)
    assert done.code == 0 and "7 with the other tested allele" in done.out
