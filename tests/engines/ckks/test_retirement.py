"""A key is retired whatever the name of its file: by links, copies, from Python, for tables, scores and encryption."""

from __future__ import annotations

import os
import shutil
import stat
from dataclasses import replace
from pathlib import Path

import pytest
from ckks_tools import Victim, add, folded, sum_at
from support import securegen

import securegen as sg
from securegen.engines.ckks import steps
from securegen.engines.ckks.owner import retirement, secret_key
from securegen.engines.ckks.scores import owner as owner_side
from securegen.engines.ckks.scores import public
from securegen.errors import KeyFileError, StorageError, VerificationError


@pytest.fixture
def crafted(dishonest, small_key, small_encrypted, small_results):
    victim = Victim(small_key, small_encrypted.owner, small_results)
    p = victim.parameters
    message = folded(p, sum_at(p, 3), p.result_scale)
    return dishonest(lambda i, array: add(p, victim.parts(i, array)["g", "sums"][:, 0, 0], message))


@pytest.fixture
def owner(small_encrypted, tmp_path):
    return shutil.copytree(small_encrypted.owner, tmp_path / "owner")


def call(owner, results, key_file, key, out) -> list:
    options = [*key_file.options]
    options[1] = str(key)
    return ["decrypt", *options, "--owner", owner, "--results", results, "--out", out, "--quiet"]


@pytest.mark.parametrize("other", ["link", "hard link", "copy", "copy of a copy under another passphrase"])
def test_a_key_by_another_name_is_retired_too(other, crafted, owner, small_results, key_file, tmp_path, monkeypatch):
    second = tmp_path / "elsewhere" / "other.secret"
    second.parent.mkdir()
    if other == "link":
        second.symlink_to(key_file.file)
    elif other == "hard link":
        second.hardlink_to(key_file.file)
    elif other == "copy":
        shutil.copy(key_file.file, second)
    else:
        (tmp_path / "new").touch(0o600)
        (tmp_path / "new").write_text((key_file.file.parent / "passphrase").read_text())
        backup = securegen(
            "key", "backup", *key_file.options[1:], "--new-passphrase-file", tmp_path / "new", "--out", second
        )
        assert backup.code == 0, backup.err
    with monkeypatch.context() as as_it_was:  # marks beside the name of the file that was given, and nowhere else
        as_it_was.setattr(
            retirement, "marks", lambda key, _: [key.file.with_name(f"{second.name}.mark")] if key.file else []
        )
        as_it_was.setattr(secret_key.os.path, "realpath", lambda path, **_: os.path.abspath(path))
        as_it_was.setattr(retirement, "_here", frozenset())
        as_it_was.setattr(retirement, "_retire", lambda key, _, why: retirement.marks(key, _)[0].write_text(why))
        assert securegen(*call(owner, crafted, key_file, second, tmp_path / "t")).code == 8
        assert securegen(*call(owner, small_results, key_file, key_file.file, tmp_path / "t")).code == 0
    assert securegen(*call(owner, crafted, key_file, second, tmp_path / "u")).code == 8
    for name in (key_file.file, second):
        refused = securegen(*call(owner, small_results, key_file, name, tmp_path / "u"))
        assert refused.code == 6 and "is retired: a result failed verification" in refused.err, refused.err
    assert [p.name for p in tmp_path.glob("u.*")] == ["u.log"]
    if other == "link":
        assert secret_key.retired_marker(key_file.file).exists() and not list(second.parent.glob("*.retired"))


def test_python_retires_as_the_command_does(crafted, owner, small_results, small_key, small_study, tmp_path):
    with pytest.raises(VerificationError):
        sg.ckks.decrypt(crafted, small_key, owner)
    (mark,) = owner.glob("retired-*")
    assert stat.S_IMODE(mark.stat().st_mode) == 0o600 and f"{crafted} failed verification" in mark.read_text()
    for work in (
        lambda: sg.ckks.decrypt(small_results, small_key, owner),
        lambda: sg.ckks.decrypt_tables(small_results, small_key, owner, str(tmp_path / "t")),
        lambda: steps.encrypt_design(small_study, small_key, owner, tmp_path / "later.design"),
        lambda: sg.ckks.encrypt(small_study, small_key, tmp_path / "owner", overwrite=True),
    ):
        if work.__code__.co_names[-1] == "encrypt":
            shutil.copytree(owner, tmp_path / "owner.owner")
        with pytest.raises(KeyFileError, match="is retired"):
            work()
    assert not (tmp_path / "later.design").exists() and not (tmp_path / "owner.cohort").exists()
    assert sg.ckks.decrypt(small_results, small_key, owner, key_still_trusted=True).equals(sg.run(small_study).frame)
    with pytest.raises(VerificationError):
        sg.ckks.decrypt(crafted, small_key, owner, key_still_trusted=True)
    assert len(mark.read_text().splitlines()) == 2


def test_a_retired_key_is_retired_for_its_other_cohorts(
    crafted, owner, small_study, small_results, small_encrypted, small_key, key_file, tmp_path, monkeypatch
):
    """Another owner's folder of the same key, which has no mark: in this process, by the key's file, by its backup, by the
    user's own mark."""
    second = shutil.copytree(small_encrypted.owner, tmp_path / "second")
    with pytest.raises(VerificationError):
        sg.ckks.decrypt(crafted, small_key, owner)
    with pytest.raises(KeyFileError, match="is retired"):
        sg.ckks.decrypt(small_results, small_key, second)
    monkeypatch.setattr(retirement, "_here", set())  # another process, a key that was in no file
    with pytest.raises(KeyFileError, match="is retired"):
        sg.ckks.decrypt(small_results, small_key, second)
    with pytest.raises(KeyFileError, match="is retired"):
        steps.encrypt_cohort(small_study.reader, small_key, tmp_path / "new")
    monkeypatch.setattr(retirement, "user_mark", lambda key: None)
    sg.ckks.decrypt(small_results, small_key, second)
    assert securegen(*call(second, crafted, key_file, key_file.file, tmp_path / "t")).code == 8
    third = shutil.copytree(small_encrypted.owner, tmp_path / "third")
    monkeypatch.setattr(retirement, "_here", set())
    assert securegen(*call(third, small_results, key_file, key_file.file, tmp_path / "t")).code == 6
    words, backup = key_file.options[-1], tmp_path / "backup.secret"
    assert securegen("key", "backup", *key_file.options[1:], "--new-passphrase-file", words, "--out", backup).code == 0
    assert securegen(*call(third, small_results, key_file, backup, tmp_path / "t")).code == 6


def test_scores_retire_their_key_too(small, tmp_path, monkeypatch):
    from securegen.scores.study import ScoreInputs, open_scores
    from securegen.study.inputs import Inputs

    bim = [line.split() for line in Path(small.bfile + ".bim").read_text().splitlines()][:300]
    file = tmp_path / "w.tsv"
    lines = ["ID\tA1\tA2\tWEIGHT", *(f"{b[1]}\t{b[4]}\t{b[5]}\t0.{i % 9 + 1}" for i, b in enumerate(bim))]
    file.write_text("\n".join(lines) + "\n")
    study = open_scores(Inputs(small.bfile), ScoreInputs((str(file),)))
    key = public.generate_score_key(study.plan, len(study.reader.samples))
    sent = public.encrypt_scores(study, key, tmp_path / "s")
    results = public.score_encrypted(sent.cohort, sent.model, tmp_path / "r")
    with monkeypatch.context() as m:
        m.setattr(owner_side, "passes", lambda *_: False)
        with pytest.raises(VerificationError):
            public.decrypt_scores(results, key, sent.owner)
    with pytest.raises(KeyFileError, match="is retired"):
        public.decrypt_scores(results, key, sent.owner)
    public.decrypt_scores(results, key, sent.owner, key_still_trusted=True)


def test_a_mark_that_cannot_be_written_is_said_and_ends_decryption(
    crafted, owner, small_results, small_key, key_file, monkeypatch
):
    """A medium that is full, or read-only, when the result has failed; and one that was so from the start."""
    key = secret_key.read_secret(key_file.file, passphrase=(key_file.file.parent / "passphrase").read_bytes().strip())

    def full(*_, **__):
        raise StorageError("no space")

    with monkeypatch.context() as m:
        m.setattr(retirement, "write_text", full)
        with pytest.raises(
            VerificationError, match=r"could NOT be marked as retired \(no space\): do not use it again"
        ):
            sg.ckks.decrypt(crafted, key, owner)
    with pytest.raises(KeyFileError, match="is retired"):  # this process remembers
        sg.ckks.decrypt(small_results, key, owner)
    monkeypatch.setattr(retirement, "_here", set())
    monkeypatch.setattr(retirement, "_writable", lambda folder: folder != owner)
    with pytest.raises(VerificationError, match="the key is retired"):  # one place is enough
        sg.ckks.decrypt(crafted, key, owner)
    secret_key.retired_marker(key_file.file).unlink()
    (owner / f"retired-{key.public.fingerprint[:32]}.txt").unlink()
    retirement.user_mark(key).unlink()
    monkeypatch.setattr(retirement, "_here", set())
    monkeypatch.setattr(retirement, "_writable", lambda folder: False)
    monkeypatch.setattr(
        "securegen.engines.ckks.owner.decrypt.decrypt_block", lambda *_: pytest.fail("it was decrypted")
    )
    with pytest.raises(StorageError, match="so nothing is decrypted"):
        sg.ckks.decrypt(crafted, replace(key), owner)


@pytest.mark.parametrize("kind", ["hard link", "copy"])
def test_a_copy_with_a_restored_owners_folder_is_retired(
    kind, crafted, owner, small_results, key_file, tmp_path, monkeypatch
):
    """Key and owner's folder as they were before the failure, both elsewhere: neither has a mark beside it."""
    saved = shutil.copytree(owner, tmp_path / "backup" / "owner")
    second = tmp_path / "backup" / "other.secret"
    (second.hardlink_to if kind == "hard link" else lambda source: shutil.copy(source, second))(key_file.file)
    assert securegen(*call(owner, crafted, key_file, key_file.file, tmp_path / "t")).code == 8
    monkeypatch.setattr(retirement, "_here", set())
    refused = securegen(*call(saved, small_results, key_file, second, tmp_path / "u"))
    assert refused.code == 6 and "is retired" in refused.err and not list(tmp_path.glob("u.*.glm.*"))
    monkeypatch.setattr(retirement, "user_mark", lambda key: None)
    assert securegen(*call(saved, small_results, key_file, second, tmp_path / "u")).code == 0
    secret_key.retired_marker(key_file.file).unlink()
