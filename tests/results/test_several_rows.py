"""Tables with several rows per variant: written, filtered, chosen, packed, read, compared, drawn."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support import securegen

import securegen as sg
from securegen.errors import InputError
from securegen.results.concordance import compare
from securegen.results.read import read_frame, read_results
from securegen.results.rows import read_sumstats
from securegen.stats.qc import Filters

pytestmark = pytest.mark.usefixtures("forked_roles")

TESTS = ["ADD", "ADDxAGE", "USER_2DF"]
CHOSEN = {
    "pheno": "examples/cohort.pheno.tsv", "pheno_name": "QT", "covar": "examples/cohort.covar.tsv", "chr": "1",
    "to_bp": 400_000,
}  # fmt: skip


@pytest.fixture(scope="module")
def study():
    return sg.open_study("examples/cohort", **CHOSEN, interaction="AGE", qc=True)


@pytest.fixture(scope="module")
def table(study, tmp_path_factory) -> Path:
    return Path(sg.run(study, out=tmp_path_factory.mktemp("t") / "t").paths["QT"])


def test_every_variant_has_its_rows_in_order(study, table):
    frame = read_frame(table)
    assert len(frame) == 3 * len(study.reader.variants)
    assert frame["TEST"].tolist() == TESTS * len(study.reader.variants)
    assert frame["ID"].tolist() == np.repeat(study.reader.variants.id, 3).tolist()
    joint = frame[frame["TEST"] == "USER_2DF"]
    assert joint[["BETA", "SE", "L95", "U95"]].isna().all().all() and (joint["T_OR_F_STAT"].dropna() >= 0).all()
    ok = frame["ERRCODE"] == "."
    assert frame[ok & (frame["TEST"] != "USER_2DF")]["BETA"].notna().all()


def test_filters_leave_whole_variants_out(study, table, tmp_path):
    run = sg.run(study, out=tmp_path / "f", filters=Filters(maf=0.2))
    kept, whole = read_frame(run.paths["QT"]), read_frame(table)
    assert 0 < len(kept) < len(whole) and len(kept) % 3 == 0
    pd.testing.assert_frame_equal(kept, whole[whole["ID"].isin(kept["ID"])].reset_index(drop=True))


def test_one_row_is_ranked_and_read(table):
    frame, whole = read_results(table), read_results(table, every=True)
    assert set(frame["TEST"]) == {"ADDxAGE"} and list(dict.fromkeys(whole["TEST"])) == TESTS
    assert set(read_sumstats(table)["TEST"]) == {"ADDxAGE"}


def test_each_test_is_compared_with_its_own(table):
    frame = read_results(table, every=True)
    same = compare(frame, frame.sample(frac=1, random_state=1).reset_index(drop=True))
    assert len(same.names) == len(frame) and not same.reasons(0)
    moved = frame.copy()
    at = int(moved.index[moved["TEST"] == "USER_2DF"][5])
    moved.loc[at, "T_OR_F_STAT"] += 1
    found = compare(frame, moved)
    assert [d.name for d in found.differences if d.largest > 0] == ["STATISTIC"]
    assert found.names[found.differences[-2].worst[0]] == f"{frame['ID'][at]} USER_2DF"
    # the other allele: effects and t turn round, F does not
    turned = frame.copy()
    turned["A1"] = np.where(frame["A1"] == frame["REF"], frame["ALT"], frame["REF"])
    turned["A1_FREQ"] = 1 - frame["A1_FREQ"]
    sign = np.where(frame["TEST"] == "USER_2DF", 1, -1)
    turned["BETA"], turned["T_OR_F_STAT"] = -frame["BETA"], sign * frame["T_OR_F_STAT"]
    assert compare(frame, turned).flipped == len(frame) and not compare(frame, turned).reasons(1e-12)


def test_plink2_s_rows_of_covariates_are_left_out(table, tmp_path):
    """As plink2 writes: a row for each covariate too, no joint one without --tests."""
    frame = read_frame(table).assign(P=lambda f: f["P"].map(repr))
    rows = frame[frame["TEST"] != "USER_2DF"]
    extra = rows[rows["TEST"] == "ADD"].assign(TEST="AGE", T_OR_F_STAT=50.0)
    theirs = pd.concat([rows, extra]).sort_index(kind="stable").drop(columns="LOG10_P")
    path = tmp_path / "theirs.glm.linear"
    theirs.fillna("NA").to_csv(path, sep="\t", index=False)
    assert set(read_results(path)["TEST"]) == {"ADDxAGE"}
    found = sg.compare(table, path)
    assert found.agree and len(found.concordance.names) == len(rows)


def test_tables_of_two_interactions(table):
    frame = read_results(table, every=True)
    other = frame.assign(TEST=frame["TEST"].str.replace("AGE", "SEX"))
    with pytest.raises(InputError, match="two interactions, TEST ADDxAGE and ADDxSEX"):
        compare(frame, other)
    joint, product = (frame[frame["TEST"] == test] for test in ("USER_2DF", "ADDxAGE"))
    with pytest.raises(InputError, match="no test in common: TEST is ADD, ADDxAGE, and USER_2DF"):
        compare(pd.concat([product.assign(TEST="ADD"), product]), joint)


def test_command_line(tmp_path, table):
    words = ["run-local", "gwas", "--engine", "plain", "--bfile", "examples/cohort", "--pheno", CHOSEN["pheno"], "--covar",
             CHOSEN["covar"], "--pheno-name", "QT", "--chr", "1", "--to-bp", "400000", "--interaction", "AGE"]  # fmt: skip
    done = securegen(*words, "--gzip", "--cols", "+a1freq,-ci", "--out", tmp_path / "t")
    assert done.code == 0, done.err
    assert re.search(r"λ_GC [0-9.]+ of ADDxAGE", done.err) and "top hits of QT of ADDxAGE:" in done.err
    path = tmp_path / "t.QT.glm.linear.interaction.gz"
    got, whole = read_frame(path), read_frame(table)
    pd.testing.assert_frame_equal(got, whole.drop(columns=["L95", "U95"]))
    done = securegen("check", path, table)
    assert done.code == 0, done.err
    done = securegen(*words, "--format", "regenie", "--out", tmp_path / "r")
    assert done.code == 2 and "without regenie's --statistic and --format" in done.err and not list(tmp_path.glob("r*"))
    done = securegen("inspect", table)
    assert "interaction association" in done.out


def test_pictures_and_report_say_which_row(table, tmp_path):
    pytest.importorskip("matplotlib")
    from securegen.report.gather import open_run

    prefix = str(table).removesuffix(".QT.glm.linear.interaction")
    (result,) = open_run(prefix).results
    assert result.row == "ADDxAGE" and result.tests.title.startswith("QT, ADDxAGE: n = 491")
    done = securegen("report", prefix, "--out", tmp_path / "page.html")
    assert done.code == 0, done.err
    page = (tmp_path / "page.html").read_text()
    assert "ADDxAGE; the table has the others of each variant" in page
    assert "Linear regression with the product of copies of A1 and a covariate" in page
