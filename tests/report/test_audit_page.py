"""The page of an audit log is self-contained, runs nothing, and says what the log says, in a browser too."""

from __future__ import annotations

import os
import re
import shutil
import subprocess

import pytest

from securegen.errors import StorageError
from securegen.governance import audit_steps as audit
from securegen.governance.audit_alerts import Alert
from securegen.governance.audit_entry import KINDS
from securegen.governance.signing import generate
from securegen.report.audit_page import MOST_ROWS, audit_page, write_audit_page

WHO = "-".join(["12ab"] * 8)
EVIL = '"><script>alert(1)</script>'


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    made = audit.make_log(tmp_path_factory.mktemp("page") / "audit", generate())
    digest = "ab" * 32
    made.append_all(
        [("policy", {"action": "signed", "policy": digest}),
         ("run", {"command": "gwas", "phase": "start", "who": WHO, "role": "analyst"}),
         ("refusal", {"rules": ["policy.purpose"], "who": WHO, "role": "analyst", "what": "table", "purpose": "POA"}),
         ("release", {"what": "table", "who": WHO, "role": "analyst", "purpose": "HMB", "rows": 5000, "samples": 491,
                      "rules": ["policy.purpose", "budget.columns"], "spent": 24, "budget": 25, "outputs": digest})]
    )  # fmt: skip
    return made


def check(text: str) -> str:
    """Fail unless the page loads and runs nothing; returns its words. (The whole list of elements: test_report.)"""
    assert not re.search(r"https?:|url\(|@import|<script|<link|<iframe| on\w+=|<form| src=", text)
    assert "Content-Security-Policy\" content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'" in text
    return " ".join(re.sub(r"<style>.*?</style>|<[^>]*>", " ", text, flags=re.S).split())


def test_the_page_says_what_the_log_says(log):
    state = audit.verify(log.folder)
    said = check(audit_page(state, audit.alerts(state)))
    for words in ("Consistent, no witness: 4 entries are as signed", state.checkpoint.root.hex(), state.key.fingerprint,
                  "5,000 rows", "491 samples", "Rules that refused: policy.purpose 1", WHO, "audit.budget", "24 of 25 is spent",
                  "outputs " + "ab" * 32, "1 releases", "1 refusals"):  # fmt: skip
        assert words in said, words
    seen = check(audit_page(audit.verify(log.folder, seen=[state.checkpoint]), []))
    assert "Consistent with 1 witness" in seen and "No rule spoke" in seen


def test_text_is_escaped(log):
    """No fact holds text; were a rule's words markup, they would stay words."""
    state = audit.verify(log.folder)
    check(audit_page(state, [Alert(EVIL, 1, state.entries[0].at, EVIL, True)]))


def test_every_kind_of_entry_has_a_row(tmp_path):
    digest = "cd" * 32
    facts = {
        "run": {"command": "gwas", "phase": "start"}, "release": {"what": "table"}, "refusal": {"rules": ["policy.purpose"]},
        "key": {"action": "made", "key": digest}, "policy": {"action": "signed", "policy": digest},
        "consent": {"action": "imported", "register": digest}, "export": {"what": "log"},
        "ledger": {"which": digest, "changes": 7, "whole": digest},
    }  # fmt: skip
    assert set(facts) == set(KINDS)
    made = audit.make_log(tmp_path / "audit", generate())
    made.append_all(facts.items())
    said = check(audit_page(audit.verify(made.folder), []))
    assert "without an identity" in said and "0 samples" not in said
    assert "ledger changes 7" in said and said.count(digest) == 5


def test_an_empty_log_has_a_page(tmp_path):
    state = audit.verify(audit.make_log(tmp_path / "audit", generate()).folder)
    assert "No entry yet" in check(audit_page(state, []))


def test_a_long_log_has_a_page_that_says_what_it_leaves_out(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda _: None)
    made = audit.make_log(tmp_path / "audit", generate())
    made.append_all([("key", {"action": "unlocked", "key": "00" * 32})] * (MOST_ROWS + 5))
    said = check(audit_page(audit.verify(made.folder), []))
    assert "The last 1,000 of 1,005 entries" in said


def test_only_a_page_of_the_same_log_is_replaced(log, tmp_path):
    state, path = audit.verify(log.folder), tmp_path / "page.html"
    for _ in range(2):
        write_audit_page(path, state, [])
    other = audit.verify(audit.make_log(tmp_path / "audit", generate()).folder)
    with pytest.raises(StorageError, match="not a page of this log"):
        write_audit_page(path, other, [])
    write_audit_page(path, other, [], overwrite=True)
    assert state.key.name not in path.read_text()


BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.mark.skipif(BROWSER is None, reason="no headless Chromium on this machine")
def test_a_browser_lays_it_out_without_scrolling_sideways(log, tmp_path):
    """Frames of two widths around the page say how wide its content is; the page itself runs no script."""
    state = audit.verify(log.folder)
    text = audit_page(state, audit.alerts(state))
    held = text.replace("&", "&amp;").replace("<", "&lt;")
    broken = held.replace("&lt;section", "&lt;p style='width:5000px;max-width:none'>x&lt;/p>&lt;section", 1)
    frames = "".join(f"<iframe width={w} height=3000></iframe>" for w in (420, 1200, 420))
    script = """<script>
        const frames = [...document.querySelectorAll("iframe")], found = [];
        frames.forEach((f, i) => {
          f.onload = () => {
            const page = f.contentDocument;
            found[i] = [page.documentElement.scrollWidth, page.querySelectorAll("section").length].join(" ");
            document.title = Array.from(found, x => x ?? "none").join(", ");
          };
          f.srcdoc = document.getElementById(i < 2 ? "good" : "broken").textContent;
        });
        </script>"""
    holder = tmp_path / "holder.html"
    areas = f"<textarea id=good>{held}</textarea><textarea id=broken>{broken}</textarea>"
    holder.write_text(f"<meta charset=utf-8><title>none</title>{areas}{frames}{script}")
    done = subprocess.run(
        [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'u'}", "--dump-dom",
         "--virtual-time-budget=60000", holder.as_uri()],
        capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    found = re.search(r"<title>(\d+) (\d+), (\d+) (\d+), (\d+) (\d+)</title>", done.stdout)
    assert found, done.stderr[-2000:]
    narrow, sections, wide, _, too_wide, _ = map(int, found.groups())
    assert narrow <= 420 and wide <= 1200 and sections == len(re.findall("<section", text))
    assert too_wide > 4000, "the test sees a page that scrolls sideways"
