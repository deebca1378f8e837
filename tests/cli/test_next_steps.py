"""What a command says to do next, and what it warns of: names that exist, signatures, limits, matches."""

from __future__ import annotations

import datetime
import shlex
import shutil
from pathlib import Path

import pandas as pd
import pytest
from cryptography import x509
from support import left, securegen

from securegen.engines.mpc.state_file import StateFile
from securegen.errors import PolicyError


def test_the_match_log_is_there_when_too_little_matches(small, tmp_path):
    """Ids of another source and one that fits: the refusal names the share, the log says what became of each row."""
    bim = pd.read_csv(f"{small.bfile}.bim", sep="\t", header=None).iloc[10:14]
    ids = [bim[1].iloc[0], "other1", "other2", "other3"]
    weights = pd.DataFrame({"ID": ids, "effect_allele": bim[4], "other_allele": bim[5], "effect_weight": 0.25})
    for name in ("w.tsv", "v.tsv"):
        weights.to_csv(tmp_path / name, sep="\t", index=False)
    files = ["--score", tmp_path / "w.tsv", "--score", tmp_path / "v.tsv"]
    for words in (["prs"], ["run-local", "prs", "--engine", "ckks"]):
        done = securegen(*words, "--bfile", small.bfile, *files, "--out", tmp_path / "s", "--quiet")
        assert done.code == 3 and "1 of 4 rows scored" in done.err
        assert left(tmp_path) == ["s.match.tsv", "v.tsv", "w.tsv"]
        rows = pd.read_csv(tmp_path / "s.match.tsv", sep="\t")
        assert rows["STATUS"].tolist() == ["matched", *["not_found"] * 3] * 2
        (tmp_path / "s.match.tsv").unlink()
    done = securegen("prs", "--bfile", small.bfile, *files, "--out", tmp_path / "s", "--dry-run")
    assert done.code == 3 and left(tmp_path) == ["v.tsv", "w.tsv"]


def test_a_model_that_is_too_small_has_its_match_log_too(small, tmp_path):
    bim = pd.read_csv(f"{small.bfile}.bim", sep="\t", header=None).iloc[10:12]
    weights = pd.DataFrame({"ID": bim[1], "effect_allele": bim[4], "other_allele": bim[5], "effect_weight": 0.25})
    weights.to_csv(tmp_path / "w.tsv", sep="\t", index=False)
    done = securegen("prs", "--bfile", small.bfile, "--score", tmp_path / "w.tsv", "--out", tmp_path / "s", "--quiet")
    assert done.code == 12 and left(tmp_path) == ["s.match.tsv", "w.tsv"]


def test_a_server_without_the_owners_public_key_is_warned(steps, tmp_path):
    call = ["gwas", "--cohort", steps.server / "study.cohort", "--design", steps.server / "study.design"]
    bare = securegen(*call, "--out", tmp_path / "a")
    assert bare.code == 0 and sum(line.startswith("WARNING: without --public") for line in bare.err.splitlines()) == 1
    told = securegen(*call, "--public", steps.owner / "key.public", "--out", tmp_path / "b b")
    assert told.code == 0 and "WARNING" not in told.err
    hint = next(line for line in told.err.splitlines() if "next, there: " in line).partition("next, there: ")[2]
    assert "--results 'b b.results'" in hint and shlex.split(hint)[:2] == ["securegen", "decrypt"]


def test_a_later_design_names_the_cohort_that_there_is(steps, small, tmp_path):
    """It is called after the owner's folder, not after the design."""
    shutil.copytree(steps.owner / "study.owner", tmp_path / "study.owner")
    later = ["--owner", tmp_path / "study.owner", "--out", tmp_path / "second"]
    done = securegen("encrypt", *steps.key, *small.options("QT"), *later)
    assert done.code == 0, done.err
    assert "securegen gwas --cohort study.cohort --design second.design" in done.err


def test_the_limit_to_give_is_named(tmp_path):
    state = StateFile(tmp_path / "s.json")
    with pytest.raises(PolicyError, match=r"answered 0 of at most 5; 13 more are refused, .*--column-limit 13,"):
        state.spend("columns of cohort", 13, limit=5)
    state.spend("columns of cohort", 4, limit=5)
    with pytest.raises(PolicyError, match=r"--column-limit 17,"):
        state.spend("columns of cohort", 13, limit=5)


def test_the_filters_of_the_owner_say_what_they_need():
    text = " ".join(securegen("decrypt", "--help").out.split())
    assert text.count("(needs encrypt --qc)") == 4
    assert "needs encrypt" not in securegen("gwas", "--help").out


def test_certificates_last_as_long_as_asked_and_are_renewed_with_the_same_pin(tmp_path):
    ca, keys = tmp_path / "ca", tmp_path / "keys"
    assert securegen("certs", "init-ca", "--dir", ca, "--days", "900").code == 0
    assert securegen("certs", "request", "--dir", keys, "--name", "hospital").code == 0
    issue = ["certs", "issue", "--ca", ca, "--csr", keys / "hospital.csr", "--name", "hospital", "--rank", "0"]
    pins = []
    for name, days in (("hospital.pem", 30), ("next.pem", 800)):
        assert securegen(*issue, "--days", days, "--out", keys / name).code == 0
        pins.append(securegen("certs", "pin", keys / name).out.strip())
        made = x509.load_pem_x509_certificate((keys / name).read_bytes())
        left_days = (made.not_valid_after_utc - datetime.datetime.now(datetime.UTC)).days
        assert left_days in (days - 1, days)
    assert pins[0] == pins[1]
    assert securegen(*issue, "--days", "0").code == 2
    authority = x509.load_pem_x509_certificate(Path(ca / "ca.pem").read_bytes())
    assert (authority.not_valid_after_utc - authority.not_valid_before_utc).days == 900
