"""The impact assessment says what this run recorded, and of what it did not have that it did not have it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess

import pytest
from support import securegen

import securegen as sg
from securegen.errors import ArtefactError, InputError, StorageError
from securegen.governance.signing import fingerprint, generate
from securegen.report.build import report
from securegen.report.decisions import TITLE, decision_section
from securegen.report.gather import open_run
from securegen.report.html import NOTHING
from securegen.report.pia import TITLES

BASE, ANNA = "examples/cohort", generate()
EVIL = '"><script>alert(1)</script>'


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pia")
    study = sg.open_study(
        BASE,
        pheno=f"{BASE}.pheno.tsv",
        pheno_name="QT",
        covar=f"{BASE}.covar.tsv",
        covar_name="AGE",
        chr="1",
        to_bp=300_000,
    )
    sg.run(study, out=folder / "a")
    return folder


@pytest.fixture
def run(done, tmp_path):
    shutil.copytree(done, tmp_path / "run")
    return tmp_path / "run" / "a"


def words(run, **change) -> str:
    """The page's words. change: of the record."""
    path = run.parent / "a.run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    sg.pia(run)
    text = (run.parent / "a.pia.html").read_text()
    assert not re.search(r"https?:|url\(|@import|<script|<link|<iframe| on\w+=|<form| src=", text)
    return " ".join(re.sub(r"<style>.*?</style>|<[^>]*>", " ", text, flags=re.S).split())


def test_it_says_what_the_run_recorded_and_what_it_lacked(run):
    said = words(run)
    record = json.loads((run.parent / "a.run.json").read_text())
    for text in (
        *TITLES.values(), f"{record['samples']:,} of {record['samples_stored']:,} people", "genotypes, phenotypes, covariates",
        "AGE", "a.QT.glm.linear", "No purpose is recorded", "No policy governed this run", "No audit log is in the record",
        "The receipt of this run is not signed", "No encryption was used", "Not estimated for this run",
        "For the controller to say",
    ):  # fmt: skip
        assert text in said, text


def test_measures_that_were_taken_are_said_instead(run):
    reason = {"rule": "policy.purpose", "allowed": True, "text": "HMB is among the purposes", "line": 4}
    policy = {"name": "Biobank", "version": 3}
    decided = [{"allowed": True, "reasons": [reason]}]
    governance = {"who": "anna", "role": "analyst", "purpose": "HMB", "policy": policy, "decisions": decided}
    sg.risk(run, independent=50, out=run)
    words(run, governance=governance, audit=[{"size": 41, "root": "ab"}])
    sg.receipt.sign(run, ANNA)
    said = words(run)
    for text in (
        "Purpose: HMB", "Asked by anna, as analyst", "the policy Biobank, version 3", "had 41 entries",
        "policy.purpose", "HMB is among the purposes", fingerprint(ANNA.verify_key), "Whose the key is, is not checked here",
        "The share of members of the study",
    ):  # fmt: skip
        assert text in said, text
    for text in ("No purpose", "No policy", "No audit log", "not signed", "Not estimated"):
        assert text not in said, text


def test_a_site_says_whose_people_were_analysed_and_with_which_noise(run):
    said = words(
        run, samples=900, samples_stored=300, audit=[{"size": 41}, {"size": 7}], label_noise={"epsilon": 2.0, "delta": None}
    )  # fmt: skip
    for text in (
        "900 people of all sites were analysed; 300 are in the files", "In 2 audit logs, which had 41 and 7 entries", "ε = 2;",
    ):  # fmt: skip
        assert text in said, text
    assert "900 of 300" not in said


def test_the_report_says_what_was_decided_and_why(run):
    path = run.parent / "a.run.json"
    record = json.loads(path.read_text())
    reasons = [{"rule": "policy.purpose", "allowed": True, "text": f"HMB is among {EVIL}", "line": 4}]
    governed = {
        "who": None, "role": "analyst", "purpose": "HMB", "policy": {"name": "Biobank", "version": 3},
        "decisions": [{"allowed": True, "reasons": reasons}] * 2,
    }  # fmt: skip
    assert decision_section(record, "a") == NOTHING
    path.write_text(json.dumps(record | {"governance": governed, "label_noise": {"epsilon": 2.0, "delta": 1e-6}}))
    text = report(open_run(str(run)))
    assert text.count('<td data-label="rule">policy.purpose</td>') == 1 and "<script" not in text
    for words_of in (
        TITLE,
        "Biobank, version 3",
        "somebody without an identity, as analyst",
        "Purpose: HMB",
        "δ = 1e-06",
    ):
        assert words_of in text, words_of
    with pytest.raises(InputError, match="a.run.json is damaged"):
        decision_section({"governance": {"decisions": [{}]}}, "a")


def test_engines_that_hide_say_their_own_parties(run):
    receipt = {
        "scenario": "outsourced, CKKS",
        "parties": [{"name": "server", "holds": "ciphertexts", "learns": "sizes"}],
    }
    said = words(run, engine="ckks", receipt=receipt)
    assert "ciphertexts" in said and "No encryption was used" not in said and "receipt names none" in said


def test_text_of_others_stays_text(run):
    receipt = {"scenario": EVIL, "parties": [{"name": EVIL, "holds": EVIL, "learns": EVIL}], "warnings": [EVIL]}
    words(run, receipt=receipt, phenotypes=[EVIL])


@pytest.mark.parametrize(
    "change",
    [
        {"governance": 7}, {"governance": {"decisions": [{}]}}, {"governance": {"policy": {}}}, {"audit": [{"size": "x"}]},
        {"audit": {"size": 1}}, {"governance": {"who": ["a"]}},
    ],
)  # fmt: skip
def test_crafted_records_are_refused(run, change):
    with pytest.raises(InputError, match=r"a.run.json"):
        words(run, **change)


def test_files_that_are_not_as_signed_and_pages_of_others(run):
    sg.receipt.sign(run, ANNA)
    (run.parent / "a.QT.glm.linear").write_text("edited\n")
    with pytest.raises(ArtefactError, match="changed"):
        sg.pia(run)
    (run.parent / "a.receipt.json").unlink()
    (other := run.parent / "mine.html").write_text("my page")
    with pytest.raises(StorageError, match="not an assessment of this run"):
        sg.pia(run, other)
    with pytest.raises(InputError):
        sg.pia(run.parent / "none")


def test_by_command(run):
    assert securegen("pia", run, "--dry-run").code == 0 and not list(run.parent.glob("*.html"))
    for _ in range(2):
        done = securegen("pia", run, "--json")
        assert done.code == 0, done.err
    found = json.loads(done.out)
    assert (
        found["measures"]["policy"] is None and found["open"]["necessity"] and found["outputs"] == [f"{run}.pia.html"]
    )
    page = set(re.findall(r"\w+", (run.parent / "a.pia.html").read_text()))
    with open(f"{BASE}.fam") as stream:
        assert not page & {word for line in stream for word in line.split()[:2]}


BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.mark.skipif(BROWSER is None, reason="no headless Chromium on this machine")
def test_a_browser_lays_it_out_without_scrolling_sideways(run, tmp_path):
    words(run)
    held = (run.parent / "a.pia.html").read_text().replace("&", "&amp;").replace("<", "&lt;")
    script = """<script>const found = []; document.querySelectorAll("iframe").forEach((f, i) => { f.onload = () => {
        found[i] = f.contentDocument.documentElement.scrollWidth; document.title = found.join(" "); };
        f.srcdoc = document.getElementById("page").textContent; });</script>"""
    frames = "".join(f"<iframe width={w} height=2000></iframe>" for w in (420, 1200))
    holder = tmp_path / "holder.html"
    holder.write_text(f"<meta charset=utf-8><title>none</title><textarea id=page>{held}</textarea>{frames}{script}")
    done = subprocess.run(
        [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'u'}", "--dump-dom",
         "--virtual-time-budget=60000", holder.as_uri()],
        capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    found = re.search(r"<title>(\d+) (\d+)</title>", done.stdout)
    assert found and int(found[1]) <= 420 and int(found[2]) <= 1200, done.stderr[-500:]
