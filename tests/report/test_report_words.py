"""Which report is written where, and what it says in words: released, travelled, opened, the Catalog's header."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support import securegen
from test_report import check_page

from securegen.errors import SecuregenError
from securegen.plot.association import Associations
from securegen.record.run_log import read_records
from securegen.report.gather import Run, open_run
from securegen.report.privacy import privacy_section

pytestmark = pytest.mark.usefixtures("forked_roles")

pytest.importorskip("matplotlib", reason="needs securegen[plot]")


@pytest.fixture(scope="module")
def plain(small, tmp_path_factory):
    """Prefix of a run of two phenotypes in the clear, with its report."""
    out = tmp_path_factory.mktemp("words") / "both"
    assert securegen("gwas", *small.options("QT,CC"), "--out", out, "--quiet").code == 0
    assert securegen("report", out).code == 0
    return out


def test_the_report_of_one_table_has_the_record_and_its_own_name(plain):
    whole = Path(f"{plain}.report.html").read_bytes()
    done = securegen("report", f"{plain}.QT.glm.linear")
    assert done.code == 0 and done.out.strip() == f"{plain}.QT.report.html", done.err
    assert Path(f"{plain}.report.html").read_bytes() == whole
    said = check_page(Path(f"{plain}.QT.report.html").read_text()).text
    assert "Association: QT" in said and "CC" not in said.partition("Who learned what")[0].partition("Results")[2]
    assert "3: AGE, SEX, PC1" in said and "AGE, SEX, PC1" in said.partition("Who held what")[0]
    assert "What was released" in said and "What left" not in said and "Nothing: one party held everything." in said


def test_a_table_that_the_record_does_not_name_has_no_record(plain, tmp_path):
    for name in ("both.run.json", "both.QT.glm.linear"):
        shutil.copy(plain.with_name(name), tmp_path)
    shutil.copy(f"{plain}.QT.glm.linear", tmp_path / "both.BMI.glm.linear")
    assert open_run(str(tmp_path / "both.QT.glm.linear")).record["command"] == "gwas"
    assert open_run(str(tmp_path / "both.BMI.glm.linear")).record == {}
    earlier = json.loads((tmp_path / "both.run.json").read_text())
    (tmp_path / "both.run.json").write_text(json.dumps({"command": "plan", "version": "1", "earlier": [earlier]}))
    assert open_run(str(tmp_path / "both.QT.glm.linear")).record["command"] == "gwas"


def test_a_report_of_another_run_is_not_replaced(plain, small, tmp_path):
    out = tmp_path / "r"
    assert securegen("gwas", *small.options(), "--out", out, "--quiet").code == 0
    page = Path(f"{out}.report.html")
    assert securegen("report", out).code == 0
    assert securegen("report", out).code == 0, "the same run again"
    first = page.read_bytes()
    for more in ([], ["--dry-run"]):
        done = securegen("report", plain, "--out", page, *more)
        assert done.code == 9 and "is the report of another run" in done.err and page.read_bytes() == first
    (tmp_path / "thesis.html").write_text("<p>years of work")
    done = securegen("report", plain, "--out", tmp_path / "thesis.html")
    assert done.code == 9 and "is not a report of this run" in done.err
    assert (tmp_path / "thesis.html").read_text() == "<p>years of work"
    assert securegen("report", plain, "--out", page, "--overwrite").code == 0 and page.read_bytes() != first
    assert securegen("gwas", *small.options(), "--digits", "5", "--out", out, "--quiet").code == 0
    assert securegen("report", out).code == 9, "the same prefix, another run"


RECEIPT = {"scenario": "s", "parties": [], "assumptions": [], "released": ["a/r.QT.glm.linear"], "warnings": []}


def test_what_travelled_has_folders_and_bytes():
    sizes = {"cohort": 94_400_000, "design": 2_000_000, "results": 11_300_000, "public_key": 468}
    said = privacy_section({"engine": "ckks", "receipt": RECEIPT, "bytes": sizes}).html
    released, _, travelled = said.partition("What travelled")
    assert "r.QT.glm.linear" in released.partition("What was released")[2] and "94.4 MB" not in released
    for words in ("encrypted cohort (a folder), from its owner to the server: 94.4 MB", "public key (a file)", "468 B",
                  "encrypted results (a folder), from the server to the owner: 11.3 MB"):  # fmt: skip
        assert words in travelled
    sent = {"sent": {"ada": 5_000_000}, "dealer": 7_000_000, "rounds": 3}
    said = privacy_section({"engine": "mpc", "receipt": RECEIPT, "bytes": sent}).html
    assert "ada: 5 MB of messages" in said and "dealer: 7 MB of messages" in said


def test_hits_say_of_how_many(tmp_path):
    header = "#CHROM\tPOS\tID\tREF\tALT\tA1\tOBS_CT\tBETA\tSE\tCHISQ\tP\tLOG10_P\tERRCODE\n"
    rows = "".join(f"1\t{p}\trs{p}\tA\tG\tG\t491\t1.5\t0.2\t56\t1e-13\t13\t.\n" for p in (5, 9_000_000))
    (tmp_path / "h.QT.hits").write_text(header + rows)
    record = {
        "command": "party",
        "version": "1",
        "variants": 4000,
        "engine": "mpc",
        "phenotypes": ["QT"],
        "reveal": "hits",
    }
    (tmp_path / "h.run.json").write_text(json.dumps(record))
    assert securegen("report", tmp_path / "h").code == 0
    said = check_page((tmp_path / "h.report.html").read_text()).text
    assert "variants 2 of 4,000 opened" in said and "2 of 4,000 variants opened" in said
    assert "not available: the p-values of the others were not opened" in said


def test_a_run_without_hits_says_how_many_people_it_analysed(tmp_path):
    (tmp_path / "h.QT.hits").write_text("#CHROM\tPOS\tID\tREF\tALT\tA1\tOBS_CT\tBETA\tSE\tCHISQ\tP\tLOG10_P\tERRCODE\n")
    record = {"engine": "mpc", "samples": 491, "variants": 4000, "phenotypes": ["QT"], "reveal": "hits"}
    (tmp_path / "h.run.json").write_text(json.dumps(record))
    assert securegen("report", tmp_path / "h").code == 0
    said = check_page((tmp_path / "h.report.html").read_text()).text
    assert "people analysed 491" in said
    assert "No variant is below the threshold." in said and "Error codes" not in said


def test_the_catalogs_header_is_shown_as_text(small, tmp_path):
    bim = pd.read_csv(f"{small.bfile}.bim", sep="\t", header=None).iloc[10:60]
    weights = pd.DataFrame({"rsID": bim[1], "effect_allele": bim[4], "other_allele": bim[5], "effect_weight": 0.25})
    header = "#pgs_id=PGS000001\n#trait_reported=<b>Height</b>\n#genome_build=GRCh37\n#HmPOS_build=GRCh38\n#citation=A et al.\n"
    path = tmp_path / "PGS000001_hmPOS_GRCh38.txt"
    path.write_text(header + weights.to_csv(sep="\t", index=False))
    done = securegen("prs", "--bfile", small.bfile, "--score", path, "--out", tmp_path / "s", "--quiet")
    assert done.code == 0, done.err
    record = json.loads((tmp_path / "s.run.json").read_text())
    assert record["catalog"][str(path)]["trait_reported"] == "<b>Height</b>"
    assert securegen("report", tmp_path / "s").code == 0
    text = (tmp_path / "s.report.html").read_text()
    said = check_page(text).text
    for words in (
        "score PGS000001",
        "trait <b>Height</b>",
        "genome build GRCh37",
        "harmonised to GRCh38",
        "citation A et al.",
    ):
        assert words in said, words
    assert 'class="long"' in text and "&lt;b&gt;Height" in text


def test_the_title_of_a_picture_has_people_and_variants():
    text = np.array(["1"], object)
    tests = Associations("QT", text, np.array([5]), text, np.array([3.0]), 1979)
    assert (
        tests.title == "QT: n = 1,979, 1 variants"
        and Associations("QT", text, np.array([5]), text, np.array([3.0])).title
    )


def test_no_label_is_struck_through_by_a_line():
    """The strongest point lies just below 5e-8: its name goes beside the line, or is left out."""
    from securegen.plot.association import manhattan
    from securegen.plot.genome import GENOME_WIDE, SUGGESTIVE

    rng = np.random.default_rng(5)
    p = rng.random(400)
    p[[50, 150, 300]] = 7e-8, 4e-8, 2e-5
    chromosome = np.array(["1"] * 400, object)
    ids = np.array([f"rs{j}_7907200" for j in range(400)], object)
    for width in (350, 1000):
        tests = Associations("QT", chromosome, np.arange(400) * 600_000, ids, -np.log10(p))
        figure = manhattan(tests, width=width)
        axes = figure.axes[0]
        figure.draw_without_rendering()
        names = [t for t in axes.texts if "_79" in t.get_text()]
        assert names
        for level in (GENOME_WIDE, SUGGESTIVE):
            at = axes.transData.transform((0, -np.log10(level)))[1]
            for text in names:
                box = text.get_window_extent(figure.canvas.get_renderer())
                assert not box.y0 + 3 < at < box.y1 - 3, text.get_text()


def test_runs_are_told_apart_by_what_they_are():
    one = Run("a", {"call": {"options": {"x": 1}}}, name="a")
    assert one.identity == Run("a", {"call": {"options": {"x": 1}}, "seconds": {"total": 9}}, name="a").identity
    assert one.identity != Run("a", {"call": {"options": {"x": 2}}}, name="a").identity
    assert one.identity != Run("a", {"call": {"options": {"x": 1}}}, name="b").identity


def test_exponents_of_private_scores_in_a_record_of_version_0_1(tmp_path):
    record = {"command": "prs", "engine": "ckks", "promise": {"deviation_units": 0, "exponent": [34, 36]}}
    path = tmp_path / "s.run.json"
    path.write_text(json.dumps(record))
    assert read_records(path)[-1]["promise"]["exponent"] == [34, 36]
    path.write_text(json.dumps(record | {"promise": {"exponent": ["x"]}}))
    with pytest.raises(SecuregenError, match="promise"):
        read_records(path)
