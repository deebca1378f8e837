"""securegen check: equal, turned and different tables; ids and positions; text; what it prints and returns."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support import securegen

from securegen.concordance import compare, first_difference
from securegen.errors import InputError
from securegen.io.results import read_results

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
    assert securegen("check", a, write(other, "c"), "--match", "position").code == 3


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
