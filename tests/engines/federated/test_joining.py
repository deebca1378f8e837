"""Before a site takes part: whose keys, what will be opened, until when; and what is said to who comes too early or late."""

from __future__ import annotations

import os
import re

import click
import pytest
from click.testing import CliRunner

from securegen.cli.main import main
from securegen.engines.federated import hub, study_toml, studyfile
from securegen.engines.federated.site import run_site
from securegen.engines.federated.studyfile import Site
from securegen.engines.federated.variants import write_variants
from securegen.errors import KeyFileError, PolicyError, SecuregenError, StorageError, UsageError
from securegen.governance import signing
from securegen.study.inputs import Inputs

from .conftest import make_study, variant_list

SITES = ("anna", "bert", "cora")


def run(*words: object):
    result = CliRunner().invoke(main, [str(w) for w in words])
    if isinstance(result.exception, SecuregenError):
        raise result.exception
    return result


@pytest.fixture
def study(tmp_path):
    """A folder with a study of three sites, and anna's private folder."""
    keys = {name: signing.generate() for name in SITES}
    coordinator = signing.generate()
    notes = (("aim", "height"), ("expires", "2099-12-31"))
    made = make_study(keys, coordinator, notes=notes, covariates=("AGE",), smallest_cohort=40)
    made = study_toml.write_study(tmp_path / "shared", made, coordinator)
    write_variants(tmp_path / "shared" / studyfile.VARIANTS, variant_list(1))
    signing.write_identity(tmp_path / "anna" / "site.secret", keys["anna"])
    return made


def marks(study) -> dict[str, str]:
    return {s.name: signing.fingerprint(s.verify_key) for s in study.sites}


def join(tmp_path, *more):
    return run("study", "join", "--dir", tmp_path / "shared", "--state", tmp_path / "anna", *more)


def all_of(study) -> list[str]:
    known = marks(study)
    return ["--coordinator", signing.fingerprint(study.coordinator), "--site", f"bert={known['bert']}",
            "--site", f"cora={known['cora'].replace('-', ' ').upper()}"]  # fmt: skip


def test_one_form_of_fingerprints_everywhere(study, tmp_path):
    made = run("site", "keygen", "--state", tmp_path / "s", "--out", tmp_path / "s.public").output
    (mark,) = re.findall(r"fingerprint ((?:[0-9a-f]{4}-){7}[0-9a-f]{4})", made)
    assert mark == signing.fingerprint(signing.read_verify_key(tmp_path / "s.public"))
    assert (tmp_path / "s").stat().st_mode & 0o777 == 0o700
    wanted = {*marks(study).values(), signing.fingerprint(study.coordinator)}
    shown = {
        "inspect": run("inspect", tmp_path / "shared" / "study.toml").output,
        "status": run("study", "status", "--dir", tmp_path / "shared").output,
        "join": join(tmp_path, "--trust-study-file").output,
        "study.toml": (tmp_path / "shared" / "study.toml").read_text(),
    }
    for where, text in shown.items():
        assert all(mark in text.replace("\n", "") for mark in wanted), where
    assert "never" in shown["status"] and "nan" not in shown["status"]


def test_a_signing_key_may_have_a_passphrase(study, tmp_path, monkeypatch):
    word = tmp_path / "word"
    word.write_text("correct horse battery staple\n")
    word.chmod(0o600)
    monkeypatch.setattr("securegen.io.envelope.COST", {"n": 1 << 10, "r": 8, "p": 1})
    run("site", "keygen", "--state", tmp_path / "p", "--out", tmp_path / "p.public", "--passphrase-file", word)
    with pytest.raises(KeyFileError, match="is protected"):
        signing.read_identity(tmp_path / "p" / "site.secret")
    said = run("inspect", tmp_path / "p" / "site.secret").output
    assert signing.fingerprint(signing.read_verify_key(tmp_path / "p.public")) in said.replace("\n", "")
    with pytest.raises(PolicyError, match="not in the study"):  # it was read, and is a stranger's
        run("study", "join", "--dir", tmp_path / "shared", "--state", tmp_path / "p", "--passphrase-file", word)
    word.write_text("another horse battery staple\n")
    with pytest.raises(KeyFileError, match="wrong passphrase"):
        run("study", "join", "--dir", tmp_path / "shared", "--state", tmp_path / "p", "--passphrase-file", word)


def test_a_message_can_be_inspected(study, tmp_path):
    join(tmp_path, "--trust-study-file")
    path = tmp_path / "shared" / "anna" / "accept.msg"
    said = run("inspect", path).output
    assert "message of a federated study" in said and study.digest in said.replace("\n", "")
    path.write_bytes(b"{" * 5)
    with pytest.raises(SecuregenError, match="not JSON"):
        run("inspect", path)


def test_a_folder_under_the_name_of_the_stop_is_one_line(study, tmp_path):
    join(tmp_path, "--trust-study-file")
    (tmp_path / "shared" / "anna" / "stopped.msg").mkdir()
    key = signing.read_identity(tmp_path / "anna" / "site.secret")
    with pytest.raises(StorageError, match="cannot remove .*stopped.msg"):
        run_site(tmp_path / "shared", tmp_path / "anna", key, Inputs("none"), "out")


@pytest.mark.parametrize("what", ["fifo", "absent", "huge position", "bytes"])
def test_a_variant_list_that_is_none_is_one_line(study, tmp_path, what):
    path = tmp_path / "shared" / "variants.tsv"
    text = path.read_text()
    path.unlink()
    if what == "fifo":
        os.mkfifo(path)
    elif what == "huge position":
        path.write_text(text.replace("\t1\trs0", "\t" + "9" * 40 + "\trs0"))
    elif what == "bytes":
        path.write_bytes(bytes(range(256)))
    with pytest.raises(SecuregenError) as caught:
        join(tmp_path, "--trust-study-file")
    assert len(str(caught.value).splitlines()) == 1


def test_a_site_reads_what_will_be_opened_and_gives_every_fingerprint(study, tmp_path):
    said = join(tmp_path, *all_of(study)).output
    for words in ("site anna accepts", "aim: height", "QT (linear)", "covariates: AGE", "no site below 40 people",
                  "opened to every site: for every variant", "site cora"):  # fmt: skip
        assert words in said
    assert hub.progress(tmp_path / "shared", study)[0].accepted


@pytest.mark.parametrize("left_out", [0, 2, 4])
def test_a_fingerprint_that_was_not_given_is_asked_for(study, tmp_path, left_out):
    words = all_of(study)
    with pytest.raises(UsageError, match="were not given: ask there by telephone"):
        join(tmp_path, *words[:left_out], *words[left_out + 2 :])
    assert not hub.progress(tmp_path / "shared", study)[0].accepted


def test_a_study_file_with_other_keys_under_the_sites_names_is_not_joined(study, tmp_path):
    """The hub signs a study of anna's true key and two keys of its own: all but one site see anna's sums."""
    hub_key = signing.generate()
    sites = (study.sites[0], *(Site(n, signing.generate().verify_key) for n in ("bert", "cora")))
    folder = tmp_path / "shared"
    for name in (studyfile.STUDY, studyfile.SIGNATURE):
        (folder / name).unlink()
    false = make_study({}, hub_key, sites=sites)
    study_toml.write_study(folder, false, hub_key)
    assert "site anna accepts" in join(tmp_path, "--trust-study-file").output, "the protection off"
    (folder / "anna" / "accept.msg").unlink()
    heard = all_of(study)
    with pytest.raises(PolicyError, match="for (bert|the coordinator), not .*: do not join, ask there"):
        join(tmp_path, *heard)
    with pytest.raises(PolicyError, match="for bert, not .*: do not join"):
        join(tmp_path, "--coordinator", signing.fingerprint(hub_key.verify_key), *heard[2:])
    assert not (folder / "anna" / "accept.msg").exists()


@pytest.mark.parametrize(("more", "match"), [(["--site", "dora=" + "00" * 16], "no such site"),
                                            (["--coordinator", "29dda0221e59adc8"], "not a fingerprint: 32 hexadecimal"),
                                            (["--site", "bert"], "write NAME=VALUE")])  # fmt: skip
def test_fingerprints_that_are_none_are_refused(study, tmp_path, more, match):
    with pytest.raises(UsageError, match=match):
        join(tmp_path, *more)


def test_a_person_at_a_terminal_is_asked(study, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "securegen.cli.study.sys", type("S", (), {"stdin": type("T", (), {"isatty": lambda self: True})()})
    )
    asked = []
    monkeypatch.setattr(click, "confirm", lambda text, **_: asked.append(text))
    assert "site anna accepts" in join(tmp_path).output
    assert asked == ["Were the fingerprints of the coordinator, bert, cora compared with what each of them says?"]


def test_a_site_that_has_not_joined_is_told_at_once(study, tmp_path):
    key = signing.read_identity(tmp_path / "anna" / "site.secret")
    with pytest.raises(PolicyError, match="site anna has not accepted the study: securegen study join"):
        run_site(tmp_path / "shared", tmp_path / "anna", key, Inputs("none"), "out", wait=1000)


def test_after_the_last_day_nobody_takes_part(study, tmp_path, monkeypatch):
    from datetime import UTC, datetime

    join(tmp_path, "--trust-study-file")
    key = signing.read_identity(tmp_path / "anna" / "site.secret")

    class Later(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime(2100, 1, 1, tzinfo=UTC)

    monkeypatch.setattr(studyfile, "datetime", Later)
    with pytest.raises(PolicyError, match="the study ended on 2099-12-31"):
        run_site(tmp_path / "shared", tmp_path / "anna", key, Inputs("none"), "out")
    with pytest.raises(PolicyError, match="the study ended on 2099-12-31"):
        join(tmp_path, "--trust-study-file")


@pytest.mark.parametrize("text", ["x = 1\n", "[" * 5000, "format = 2\nname = 3\n", "format = 9\n", "\x00"])
def test_what_is_not_a_study_file_is_one_line(tmp_path, text, study):
    (tmp_path / "shared" / "study.toml").write_text(text)
    with pytest.raises(SecuregenError) as caught:
        study_toml.read_study(tmp_path / "shared" / "study.toml")
    assert len(str(caught.value).splitlines()) == 1


def test_every_damaged_byte_of_a_study_file_is_refused(study, tmp_path):
    path = tmp_path / "shared" / "study.toml"
    raw = path.read_bytes()
    for at in range(0, len(raw), 7):
        for damaged in (raw[:at] + bytes([raw[at] ^ 0x21]) + raw[at + 1 :], raw[:at]):
            path.write_bytes(damaged)
            with pytest.raises(SecuregenError):
                study_toml.read_study(path)
