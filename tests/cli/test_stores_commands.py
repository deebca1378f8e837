"""Object stores on the command line: a study end to end, a kill, what is refused, and what is said of it nowhere."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from object_stores import KEYS
from support import left, securegen, simulate

import securegen as sg
from securegen.cli import rerun, runlog
from securegen.cli.config import digest_of, store_options
from securegen.engines.ckks import artefact, keys
from securegen.engines.ckks import cohort as cohorts
from securegen.engines.ckks.owner import secret_key
from securegen.governance import signing
from securegen.io.folders import folder_of
from securegen.io.stores import CLAIM, StoreFolder
from securegen.record import receipt_steps as receipt

PASSPHRASE = "correct horse battery staple"


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return simulate(tmp_path_factory.mktemp("cohort"), samples=40, variants=700)


@pytest.fixture
def study(cohort, tmp_path, monkeypatch):
    """The working folder of an owner with a key, and the flags of its study."""
    monkeypatch.chdir(tmp_path)
    study = sg.open_study(cohort.bfile, pheno=cohort.pheno, pheno_name=("QT",), covar=cohort.covar)
    key = sg.ckks.generate_key(sg.ckks.plan(study))
    secret_key.write_secret("k.secret", key, passphrase=PASSPHRASE.encode())
    Path("pass").write_text(PASSPHRASE + "\n")
    Path("pass").chmod(0o600)
    return ["--key", "k.secret", "--passphrase-file", "pass"], cohort.options()


def test_a_study_through_a_bucket(study, s3, tmp_path):
    key, flags = study
    place = f"{s3}/biobank/study"
    made = securegen("encrypt", *key, *flags, "--out", place)
    assert made.code == 0, made.err
    assert (
        f"--cohort {place}.cohort --design {place}.design" in made.err and "study.owner stays with the key" in made.err
    )
    served = securegen("gwas", "--cohort", f"{place}.cohort", "--design", f"{place}.design", "--out", f"{s3}/lab/run")
    assert served.code == 0 and f"--results {s3}/lab/run.results" in served.err, served.err
    opened = securegen(
        "decrypt", *key, "--owner", "study.owner", "--results", f"{s3}/lab/run.results", "--out", "table"
    )
    assert opened.code == 0, opened.err
    assert securegen("gwas", *flags, "--out", "plain").code == 0
    assert Path("table.QT.glm.linear").read_bytes() == Path("plain.QT.glm.linear").read_bytes()
    record = json.loads(Path("run.run.json").read_text())
    assert record["outputs"] == [f"{s3}/lab/run.results"] and record["bytes"]["results"] > 0
    assert set(record["call"]["digests"]) == {f"{place}.cohort", f"{place}.design"}
    said = (
        made.err
        + served.err
        + opened.err
        + "".join(p.read_text() for p in tmp_path.glob("*.*") if p.suffix in (".log", ".json"))
    )
    assert not [word for word in KEYS.values() if word in said and word != "us-east-1"]
    assert not list(tmp_path.glob("s3*"))  # no folder of that name was made here
    again = securegen("rerun", "run.run.json", "--dry-run")
    assert again.code == 0, again.err
    folder_of(f"{place}.design").write(
        "manifest.json", [folder_of(f"{place}.cohort").read("manifest.json", "", 1 << 30)]
    )
    again = securegen("rerun", "run.run.json", "--dry-run")
    assert again.code == 3 and f"{place}.design" in again.err


def test_parts_of_the_server_are_merged_in_a_bucket(study, s3):
    key, flags = study
    place = f"{s3}/study"
    assert securegen("encrypt", *key, *flags, "--out", place).code == 0
    served = ["gwas", "--cohort", f"{place}.cohort", "--design", f"{place}.design", "--out", f"{s3}/run"]
    for part in ("2/2", "1/2"):
        done = securegen(*served, "--blocks", part)
        assert done.code == 0, done.err
    merged = securegen("merge", f"{s3}/run")
    assert merged.code == 0, merged.err
    assert securegen(*served[:-1], f"{s3}/one").code == 0
    one, two = folder_of(f"{s3}/one.results"), folder_of(f"{s3}/run.results")
    assert {n: one.digest(n) for n in one.sizes()} == {n: two.digest(n) for n in two.sizes()}
    done = securegen(*served[:-1], f"{s3}/many", "--executor", "processes", "--workers", 2)
    assert done.code == 0, done.err
    many = folder_of(f"{s3}/many.results")
    assert {n: one.digest(n) for n in one.sizes()} == {n: many.digest(n) for n in many.sizes()}
    absent = securegen("merge", f"{s3}/nothing")
    assert absent.code == 2 and "no part of" in absent.err


@pytest.mark.parametrize(
    "words",
    [
        ["encrypt", "--key", "s3://b/k.secret", "--bfile", "x", "--out", "s"],
        ["encrypt", "--key", "k.secret", "--passphrase-file", "s3://b/pass", "--bfile", "x", "--out", "s"],
        ["encrypt", "--key", "k.secret", "--owner", "s3://b/s.owner", "--pheno", "p", "--out", "s"],
        ["encrypt", "--key", "k.secret", "--bfile", "s3://b/x", "--out", "s"],
        ["encrypt", "--key", "k.secret", "--bfile", "x", "--pheno", "gs://b/p", "--out", "s"],
        ["decrypt", "--key", "k.secret", "--owner", "s3://b/o", "--results", "r", "--out", "t"],
        ["decrypt", "--key", "k.secret", "--owner", "o", "--results", "r", "--out", "s3://b/t"],
        ["keygen", "--plan", "p", "--out", "s3://b/k"],
        ["gwas", "--bfile", "x", "--pheno", "p", "--out", "s3://b/t"],
        ["gwas", "--cohort", "c", "--design", "d", "--public", "s3://b/k.public", "--out", "r"],
        ["certs", "init-ca", "--dir", "s3://b/ca"],
        ["key", "backup", "k", "--out", "s3://b/k"],
        ["inspect", "s3://b/s.cohort"],
        ["check", "s3://b/t", "t"],
        ["audit", "show", "s3://b/log"],
        ["party", "--name", "a", "--state", "s3://b/state"],
    ],
)
def test_what_stays_here_is_refused_by_name(words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = securegen(*words)
    assert done.code == 2 and re.search("local disk|No such option|Missing option", done.err), done.err
    assert left(tmp_path) == []


@pytest.mark.parametrize(
    "url, why",
    [
        ("https://user:hush@host/c.cohort", "https:// is refused"),
        ("s3://user:hush@bucket/c.cohort", "credentials come from the environment"),
        ("s3://bucket/c.cohort?sig=hush", "query"),
        ("simplecache::s3://bucket/c.cohort", "chained"),
        ("s3://bucket/../c.cohort", "not a place"),
    ],
)
def test_urls_that_are_refused_are_shown_without_secrets(url, why, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for words in (
        ["gwas", "--cohort", url, "--design", "d", "--out", "r"], ["gwas", "--cohort", "c", "--design", "d", "--out", url],
        ["decrypt", "--key", "k", "--owner", "o", "--results", url, "--out", "t"],
    ):  # fmt: skip
        done = securegen(*words)
        assert done.code == 2 and why in done.err and "hush" not in done.err + done.out, done.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["encrypt", "gwas", "decrypt", "merge"])
def test_what_would_be_gone_with_the_command_is_refused(command, study, tmp_path, monkeypatch):
    """An encryption into memory:// took its time, said that all is well, and kept nothing."""
    (key, flags), place = study, "memory://lab/study"
    words = {
        "encrypt": [*key, *flags, "--out", place],
        "gwas": ["--cohort", f"{place}.cohort", "--design", f"{place}.design", "--out", "r"],
        "decrypt": [*key, "--owner", "o", "--results", f"{place}.results", "--out", "t"],
        "merge": [place],
    }[command]
    before = left(tmp_path)
    done = securegen(command, *words)
    assert done.code == 2 and "memory:// is gone when this command ends" in done.err, done.err
    assert left(tmp_path) == before
    monkeypatch.setattr("securegen.cli.stores.checked_url", lambda _: ("s3", place))
    if command == "encrypt":  # with the refusal off
        done = securegen(command, *words)
        assert done.code == 0 and "are where the server may read them" in done.err
        gone = "import sys; from securegen.io.folders import folder_of; sys.exit(len(folder_of(sys.argv[1]).sizes()))"
        assert subprocess.run([sys.executable, "-c", gone, f"{place}.cohort"]).returncode == 0


def test_the_cohort_that_was_checked_is_the_one_that_is_used(study, s3, monkeypatch):
    """--public: the store gives the owner's manifest to whoever looks first, and then that of another key."""
    key, flags = study
    assert securegen("encrypt", *key, *flags, "--out", f"{s3}/study").code == 0
    assert securegen("keygen", "--plan", *_planned(flags), "--out", "other", "--passphrase-file", "pass").code == 0
    others = ["--key", "other.secret", "--passphrase-file", "pass", *flags, "--out", f"{s3}/others"]
    assert securegen("encrypt", *others).code == 0
    keys.write_public("k.public", secret_key.read_secret("k.secret", passphrase=PASSPHRASE.encode()).public)
    cohort, other = folder_of(f"{s3}/study.cohort"), folder_of(f"{s3}/others.cohort")
    honest = cohort.read("manifest.json", "a manifest", 1 << 20)
    for name in other.sizes():
        cohort.write(name, [other.read(name, "a file", 1 << 30)])
    looks, real = [], StoreFolder.read

    def read(folder, name, what, most):
        if str(folder) == str(cohort) and name == "manifest.json":
            looks.append(name)
            if len(looks) == 1:
                return honest
        return real(folder, name, what, most)

    monkeypatch.setattr(StoreFolder, "read", read)
    words = ["--cohort", str(cohort), "--design", f"{s3}/others.design", "--public", "k.public", "--out", "run"]
    done = securegen("gwas", *words)
    assert done.code == 7 and "belongs to key" in done.err and len(looks) == 1, done.err
    opens = cohorts.open_cohort

    def once(folder, owner=None):
        artefact.read_manifest(folder, "cohort", owner)
        return opens(folder)

    monkeypatch.setattr(cohorts, "open_cohort", once)  # as it was: the key is asked for at the first look
    looks.clear()
    done = securegen("gwas", *words)
    assert done.code == 7 and "manifest.json changed while this ran" in done.err, done.err
    monkeypatch.setattr(artefact.looks, "was_read", lambda *_: None)
    looks.clear()
    assert securegen("gwas", *words).code == 0


def test_digests_are_of_what_was_read_and_written(study, s3, tmp_path, monkeypatch):
    """Records and signed receipts: a store shows other bytes to whoever looks again, which are whole manifests too."""
    key, flags = study
    place = f"{s3}/lab/study"
    assert securegen("encrypt", *key, *flags, "--out", place).code == 0
    signing.write_identity("anna.secret", signing.generate())
    looks, shown, real = Counter(), {}, StoreFolder.read

    def read(folder, name, what, most):
        raw, where = real(folder, name, what, most), folder.at(name)
        if name != "manifest.json":
            return raw
        looks[where] += 1
        if looks[where] > 1:
            raw = json.dumps(json.loads(raw)).encode()
        shown.setdefault(where, hashlib.sha256(raw).hexdigest())
        return raw

    monkeypatch.setattr(StoreFolder, "read", read)
    served = ["--cohort", f"{place}.cohort", "--design", f"{place}.design", "--out", f"{s3}/lab/run"]
    results = f"{s3}/lab/run.results"
    opened = ["--owner", "study.owner", "--results", results, "--out", "table"]
    for command, words, inputs in (
        ("gwas", [*served, "--sign", "anna.secret"], [f"{place}.cohort", f"{place}.design"]),
        ("decrypt", [*key, *opened], [results]),
    ):
        looks.clear(), shown.clear()
        done = securegen(command, *words)
        assert done.code == 0, done.err
        record = json.loads(Path("table.run.json" if command == "decrypt" else "run.run.json").read_bytes())
        for place_of_input in inputs:
            assert record["call"]["digests"][place_of_input] == shown[f"{place_of_input}/manifest.json"]
        assert max(looks.values()) == 1
        if command == "gwas":
            written = real(folder_of(results), "manifest.json", "a manifest", 1 << 20)
            assert record["stored"] == {results: hashlib.sha256(written).hexdigest()}
            assert receipt.show("run").statement.predicate["stored"] == record["stored"]
    monkeypatch.setattr(runlog, "digests_of", lambda ctx, *_: {p: digest_of(p) for _, p in store_options(ctx)})
    looks.clear(), shown.clear()
    assert securegen("decrypt", *key, *opened).code == 0
    record = json.loads(Path("table.run.json").read_bytes())
    assert record["call"]["digests"][results] != shown[f"{results}/manifest.json"] and max(looks.values()) == 2


def test_what_runs_again_reads_what_was_compared(study, s3, monkeypatch):
    """rerun: the store shows the manifest of the record to whoever compares, and another one to the command."""
    key, flags = study
    place = f"{s3}/lab/study"
    assert securegen("encrypt", *key, *flags, "--out", place).code == 0
    assert securegen("gwas", "--cohort", f"{place}.cohort", "--design", f"{place}.design", "--out", "first").code == 0
    assert securegen("rerun", "first.run.json", "--out", "same").code == 0
    looks, real = Counter(), StoreFolder.read

    def read(folder, name, what, most):
        raw = real(folder, name, what, most)
        looks[folder.at(name)] += 1
        return raw if looks[folder.at(name)] < 2 else json.dumps(json.loads(raw)).encode()

    monkeypatch.setattr(StoreFolder, "read", read)
    refused = securegen("rerun", "first.run.json", "--out", "second")
    assert refused.code == 7 and "manifest.json changed while this ran" in refused.err, refused.err
    looks.clear()
    monkeypatch.setattr(rerun, "noting", lambda: contextlib.nullcontext({}))
    assert securegen("rerun", "first.run.json", "--out", "second").code == 0


def test_a_server_of_scores_can_insist_on_its_owner(study, s3):
    """--public: whoever may write in the bucket puts a whole cohort and model of a key of their own there."""
    score = Path("w.tsv")
    flags = study[1][:2]
    bim = [line.split() for line in Path(f"{flags[1]}.bim").read_text().splitlines()][:20]
    score.write_text("ID\tA1\tWEIGHT\n" + "".join(f"{b[1]}\t{b[4]}\t0.5\n" for b in bim))
    for who in ("mine", "theirs"):
        made = securegen("prs-step", "encrypt", *flags, "--score", score, "--passphrase-file", "pass", "--out", who)
        assert made.code == 0, made.err
    for part in ("cohort", "model"):
        for path in Path(f"theirs.{part}").iterdir():
            folder_of(f"{s3}/lab/s.{part}").write(path.name, [path.read_bytes()])
    words = ["--cohort", f"{s3}/lab/s.cohort", "--model", f"{s3}/lab/s.model", "--out", "r"]
    bare = securegen("prs", *words)
    assert bare.code == 0 and bare.err.count("WARNING: without --public KEY.public") == 1
    for more in ([], ["--dry-run"]):
        refused = securegen("prs", *words, "--public", "mine.public", *more)
        assert refused.code == 7 and "belongs to key" in refused.err, refused.err
    done = securegen("prs", *words, "--public", "theirs.public")
    assert done.code == 0 and "WARNING" not in done.err, done.err


def _planned(flags):
    assert securegen("plan", *flags, "--out", "other").code == 0
    return ["other.plan.json"]


def test_what_is_not_there_is_named(s3, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = securegen("gwas", "--cohort", f"{s3}/c.cohort", "--design", f"{s3}/d.design", "--out", "r")
    assert done.code == 7 and f"there is no cohort {s3}/c.cohort" in done.err


def test_wrong_credentials_are_named(s3, tmp_path, monkeypatch):
    import s3fs

    monkeypatch.chdir(tmp_path)
    real = s3fs.S3FileSystem._call_s3

    async def denied(self, method, *arguments, **options):
        if method in ("get_object", "head_object", "list_objects_v2"):
            raise PermissionError("Access Denied")
        return await real(self, method, *arguments, **options)

    monkeypatch.setattr(s3fs.S3FileSystem, "_call_s3", denied)
    done = securegen("gwas", "--cohort", f"{s3}/c.cohort", "--design", f"{s3}/d.design", "--out", "r")
    assert done.code == 9 and "Access Denied" in done.err and "check the credentials" in done.err


def test_an_encryption_that_is_killed_goes_on(study, s3):
    """kill -9 while blocks are uploaded: no manifest, the claim is found again, blocks that were done are not done again."""
    key, flags = study
    cohort = folder_of(f"{s3}/study.cohort")
    words = [sys.executable, "-P", "-m", "securegen", "encrypt", *key, *flags, "--threads", "1", "--out", f"{s3}/study"]
    process = subprocess.Popen(words, env={**os.environ, "NUMBA_NUM_THREADS": "1"}, stderr=subprocess.PIPE)
    end = time.monotonic() + 600
    ended = None
    while not any(Path("study.owner").glob("block-*.box")):  # the first block is done
        assert ended is None and time.monotonic() < end, process.stderr.read()
        ended = process.poll()
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stderr.close()
    killed = cohort.size("manifest.json") is None
    before = {n: cohort.digest(n) for n in cohort.sizes() if n.startswith("g-000000")}
    assert before and (not killed or cohort.size(CLAIM))
    done = securegen("encrypt", *key, *flags, "--out", f"{s3}/study", *([] if killed else ["--overwrite"]))
    assert done.code == 0, done.err
    assert not killed or before == {n: cohort.digest(n) for n in before}
    assert cohort.size(CLAIM) is None
    assert (
        securegen("gwas", "--cohort", f"{s3}/study.cohort", "--design", f"{s3}/study.design", "--out", "run").code == 0
    )
    opened = securegen("decrypt", *key, "--owner", "study.owner", "--results", "run.results", "--out", "table")
    assert opened.code == 0, opened.err
