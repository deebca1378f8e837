"""An encryption that was killed goes on where it stopped; what changed is encrypted again, freshly."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from support import MemoryReader, killed_at

import securegen as sg
from securegen.engines.ckks import cohort
from securegen.engines.ckks.owner import secret_key
from securegen.engines.ckks.owner.encrypt_cohort import encrypt_cohort, least_bytes
from securegen.engines.ckks.owner.encryption import ENCRYPTORS, OwnEncryptor
from securegen.engines.ckks.owner.state import CohortInfo, OwnerState, read_info
from securegen.engines.ckks.planner import Workload, choose
from securegen.engines.plain.engine import write_plain
from securegen.errors import ArtefactError, StorageError
from securegen.io import output

SAMPLES = 20


@pytest.fixture(scope="module")
def key():
    return secret_key.generate(choose(Workload(SAMPLES, 4000, 2, 16)).parameters)


@pytest.fixture
def reader(key):
    """Four blocks; calls are missing in the second."""
    width = key.public.parameters.block_variants
    dosage = np.random.default_rng(1).integers(0, 3, (3 * width + 7, SAMPLES)).astype(np.int8)
    dosage[width + 1, 3] = -1
    return MemoryReader(dosage)


def encrypt(reader, key, folder: Path, *, stop_after: int | None = None, encryptor: str = "own") -> CohortInfo:
    """Encrypt; stop_after: raise when that many blocks are done, as a kill would end the process."""

    def progress(done: int, total: int) -> None:
        if done == stop_after:
            raise KeyboardInterrupt

    state = OwnerState(folder / "owner", key)
    make = ENCRYPTORS[encryptor](key)
    return encrypt_cohort(reader, key, folder / "cohort", state, encryptor=make, progress=progress)


def files(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Content and time of writing of every ciphertext file."""
    return {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in sorted((folder / "cohort").glob("*.npy"))}


def numbers(raw: bytes) -> np.ndarray:
    """The residues of a .npy image of version 1, flat."""
    return np.frombuffer(raw, "<u4", offset=10 + int.from_bytes(raw[8:10], "little"))


def block_of(name: str) -> int:
    return int(name.split("-")[1])


@pytest.mark.parametrize("encryptor", ENCRYPTORS)
def test_a_killed_encryption_keeps_its_whole_blocks(reader, key, tmp_path, encryptor):
    with pytest.raises(KeyboardInterrupt):
        encrypt(reader, key, tmp_path, stop_after=2, encryptor=encryptor)
    before = files(tmp_path)
    assert {block_of(name) for name in before} == {0, 1}
    with pytest.raises(ArtefactError, match="has no manifest: it is not complete"):
        cohort.open_cohort(tmp_path / "cohort")
    encrypt(reader, key, tmp_path, encryptor=encryptor)
    after = files(tmp_path)
    assert {name: after[name] for name in before} == before
    assert {block_of(name) for name in after} == {0, 1, 2, 3}
    assert len(cohort.open_cohort(tmp_path / "cohort").blocks) == 4


def test_running_again_changes_nothing(reader, key, tmp_path):
    first = encrypt(reader, key, tmp_path)
    before = files(tmp_path)
    assert encrypt(reader, key, tmp_path).digest == first.digest and files(tmp_path) == before


def test_a_changed_block_is_encrypted_again_and_shares_no_randomness(reader, key, tmp_path):
    """One call differs: its block gets other seeds and other residues; subtracting old from new is no genotype."""
    encrypt(reader, key, tmp_path)
    seeds = lambda: [  # noqa: E731
        e["seed"] for e in cohort.open_cohort(tmp_path / "cohort").stored() if e["seed"]
    ]
    before, old_seeds = files(tmp_path), seeds()
    width = key.public.parameters.block_variants
    changed = reader.dosage.copy()
    changed[2 * width + 5, 0] = (changed[2 * width + 5, 0] + 1) % 3
    encrypt(MemoryReader(changed), key, tmp_path)
    after, new_seeds = files(tmp_path), seeds()
    different = {name for name in after if after[name] != before.get(name)}
    assert {block_of(name) for name in different} == {2}
    assert len(set(old_seeds) & set(new_seeds)) == len(old_seeds) - len([n for n in different if ".c0." in n])
    for name in different:
        assert (numbers(before[name][0]) == numbers(after[name][0])).mean() < 0.001


def test_encrypting_the_same_genotypes_twice_shares_nothing(reader, key, tmp_path):
    for name in ("a", "b"):
        encrypt(reader, key, tmp_path / name)
    a, b = files(tmp_path / "a"), files(tmp_path / "b")
    assert set(a) == set(b)
    for name in a:
        assert (numbers(a[name][0]) == numbers(b[name][0])).mean() < 0.001
    seeds = [[e["seed"] for e in cohort.open_cohort(tmp_path / n / "cohort").stored()] for n in ("a", "b")]
    assert not set(seeds[0]) & set(seeds[1]) and len(set(seeds[0])) == len(seeds[0])


@pytest.mark.parametrize("damage", ["truncated", "altered", "deleted", "record deleted"])
def test_a_damaged_block_is_encrypted_again(reader, key, tmp_path, damage):
    encrypt(reader, key, tmp_path)
    before = files(tmp_path)
    block = next((tmp_path / "cohort").glob("g-000001-*.c0.npy"))
    raw = block.read_bytes()
    if damage == "truncated":
        block.write_bytes(raw[:-100])
    elif damage == "altered":
        block.write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))
    elif damage == "deleted":
        block.unlink()
    else:
        (tmp_path / "owner" / "block-000001.box").unlink()
    encrypt(reader, key, tmp_path)
    after = files(tmp_path)
    assert {block_of(n) for n in after if after[n] != before[n]} == {1}
    opened = cohort.open_cohort(tmp_path / "cohort")
    assert all(opened.folder.digest(e["name"]) == e["blake3"] for e in opened.stored())


def test_another_key_encrypts_everything_again(reader, key, tmp_path):
    encrypt(reader, key, tmp_path)
    before = files(tmp_path)
    other = secret_key.generate(key.public.parameters)
    encrypt(reader, other, tmp_path)
    after = files(tmp_path)
    assert all(after[name][0] != before[name][0] for name in before)
    assert cohort.open_cohort(tmp_path / "cohort").public == other.public


def test_the_owners_record_says_nothing_about_genotypes(reader, key, tmp_path):
    """Neither the files for the server nor the owner's hold a recognisable genotype or id."""
    encrypt(reader, key, tmp_path)
    manifest = (tmp_path / "cohort" / "manifest.json").read_text()
    assert "P19" not in manifest and '"v0"' not in manifest
    for box in (tmp_path / "owner").iterdir():
        raw = box.read_bytes()
        # NumPy stores text as four bytes a letter
        for word in ("P19".encode("utf-32-le"), "rs".encode("utf-32-le"), reader.dosage[0].tobytes(), b'"identity"'):
            assert word not in raw
    state = OwnerState(tmp_path / "owner", key)
    assert state.read("cohort")[1]["iid"].tobytes().count("P19".encode("utf-32-le")) == 1  # the words are right
    assert state.read("block-000000")[0]["identity"]
    assert (tmp_path / "owner").stat().st_mode & 0o777 == 0o700


def test_a_full_disk_leaves_whole_files_only(reader, key, tmp_path, monkeypatch):
    """The fifth file does not fit: an error that names it, no half file, and the next run goes on."""
    written = 0
    original = os.fdopen

    def fdopen(descriptor, mode):
        nonlocal written
        written += 1
        stream = original(descriptor, mode)
        if written == 5:
            stream.close()
            raise OSError(28, "No space left on device")
        return stream

    monkeypatch.setattr(os, "fdopen", fdopen)
    with pytest.raises(StorageError, match=r"cannot write .*/(cohort|owner)/.*: No space left on device"):
        encrypt(reader, key, tmp_path)
    monkeypatch.undo()
    assert not list(tmp_path.rglob(".*"))
    kept = files(tmp_path)
    encrypt(reader, key, tmp_path)
    after = files(tmp_path)
    assert all(after[name] == kept[name] for name in kept if block_of(name) == 0)
    assert len(cohort.open_cohort(tmp_path / "cohort").blocks) == 4


def test_kill_minus_nine(small, small_key, small_study, small_encrypted, tmp_path):
    """The real thing: a process is killed while it encrypts, and the same command run again ends with the same table."""
    secret_key.write_secret(tmp_path / "k.secret", small_key, passphrase=None)
    call = [sys.executable, "-m", "securegen", "encrypt", "--key", str(tmp_path / "k.secret"), *small.options("QT,QT2"),
            "--encryptor", "seal", "--threads", "1", "--out", str(tmp_path / "study"), "--quiet"]  # fmt: skip
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(p or os.getcwd() for p in sys.path)}
    dies = os.environ | killed_at(tmp_path / "site", ".block-000001.box.")
    assert subprocess.run(call, env=dies, check=False).returncode == -signal.SIGKILL
    assert (tmp_path / "study.owner" / "block-000000.box").exists()
    folder = tmp_path / "study.cohort"
    assert not (folder / "manifest.json").exists()
    before = {p.name: p.read_bytes() for p in folder.glob("?-000000-*.npy")}
    (folder / ".g-000002-0000.c0.npy.abcd").write_bytes(b"half")  # what a kill leaves when it hits a write
    subprocess.run(call, env=environment, check=True)
    assert before and {name: (folder / name).read_bytes() for name in before} == before
    assert not list(folder.glob(".*"))
    results = sg.ckks.associate(folder, tmp_path / "study.design", tmp_path / "results")
    tables = sg.ckks.decrypt_tables(results, small_key, tmp_path / "study.owner", str(tmp_path / "t"))
    for ours, plain in zip(tables, write_plain(small_study, str(tmp_path / "p")), strict=True):
        assert Path(ours.path).read_bytes() == Path(plain.path).read_bytes()
    shutil.rmtree(folder)


def test_a_disk_that_is_too_small_is_noticed_before_anything_is_written(small_study, small_key, tmp_path, monkeypatch):
    """The size of the genotypes' ciphertexts is known beforehand; what is there already counts for it."""
    monkeypatch.setattr(output.shutil, "disk_usage", lambda folder: SimpleNamespace(free=100_000))
    with pytest.raises(StorageError, match=r"study.cohort needs \d+\.\d MB at least and 0\.1 MB are free there"):
        sg.ckks.encrypt(small_study, small_key, tmp_path / "study")
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]
    monkeypatch.undo()
    made = sg.ckks.encrypt(small_study, small_key, tmp_path / "study")
    stored = sum(p.stat().st_size for p in made.cohort.glob("g-*"))
    monkeypatch.setattr(output.shutil, "disk_usage", lambda folder: SimpleNamespace(free=0))
    blocks = read_info(OwnerState(made.owner, small_key)).blocks
    assert 0.95 < least_bytes(blocks, small_key.public.parameters, False, OwnEncryptor(small_key)) / stored <= 1
    again = sg.ckks.encrypt(
        small_study, small_key, tmp_path / "study", overwrite=True
    )  # what is there already needs no room
    assert again.cohort == made.cohort


class Stopped(BaseException):
    """As a kill: nothing catches it."""


def stop_before(monkeypatch, last: int) -> list[str]:
    """Raise in place of the last-th record of the owner's; names of those that were written."""
    write, names = OwnerState.write, []

    def counted(self, name, *content):
        if len(names) == last:
            raise Stopped
        names.append(name)
        write(self, name, *content)

    monkeypatch.setattr(OwnerState, "write", counted)
    return names


@pytest.mark.parametrize("correction", ["none", "firth"])
def test_an_encryption_stopped_before_any_record_ends_when_it_runs_again(small, tmp_path, monkeypatch, correction):
    """What is kept of a design is there before the record that ends it: else nobody could open its results."""
    told = {"covar": small.covar, "pheno_name": ("CC",), "correction": correction}
    study = sg.open_study(small.bfile, pheno=small.pheno, **told)
    given = {} if correction == "none" else {"genotypes": sg.read_plink(small.bfile)}
    key = sg.ckks.generate_key(sg.ckks.plan(study))
    with monkeypatch.context() as patch:
        names = stop_before(patch, -1)
        sg.ckks.encrypt(study, key, tmp_path / "whole")
    assert any(name.startswith("asked-") for name in names) and names[-1].startswith("design-")
    assert any(name.startswith("null-") for name in names) == (correction != "none")
    wanted = None
    for number in range(len(names)):
        prefix = tmp_path / str(number)
        with monkeypatch.context() as patch:
            stop_before(patch, number)
            with pytest.raises(Stopped):
                sg.ckks.encrypt(study, key, prefix)
        paths = sg.ckks.encrypt(study, key, prefix)
        results = sg.ckks.associate(paths.cohort, paths.design, tmp_path / f"{number}.results")
        table = sg.ckks.decrypt(results, key, paths.owner, **given)
        wanted = table if wanted is None else wanted
        assert table.equals(wanted)


def test_a_later_design_stopped_before_any_record_is_encrypted_again(small, small_key, tmp_path, monkeypatch):
    """Without `overwrite`: what a killed run left in the folder has no results that could not be read any more."""
    study = sg.open_study(small.bfile, pheno=small.pheno, pheno_name=("QT",), covar=small.covar)
    paths = sg.ckks.encrypt(study, small_key, tmp_path / "study")

    def later(name: str) -> Path:
        return sg.ckks.encrypt_design(study, small_key, paths.owner, tmp_path / name)

    with monkeypatch.context() as patch:
        names = stop_before(patch, -1)
        later("whole")
    assert [name.split("-")[0] for name in names] == ["asked", "design"]
    for number in range(len(names)):
        with monkeypatch.context() as patch:
            stop_before(patch, number)
            with pytest.raises(Stopped):
                later(str(number))
        (paths.owner / f".{names[number]}.box.0123abcd").touch()  # what a kill leaves of a file
        results = sg.ckks.associate(paths.cohort, later(str(number)), tmp_path / f"{number}.results")
        assert sg.ckks.decrypt(results, small_key, paths.owner, design=tmp_path / str(number)).equals(
            sg.run(study).frame
        )
        assert not list(paths.owner.glob(".*.box.*"))
        with pytest.raises(StorageError, match="has a design of .*, which is not overwritten"):
            later(str(number))
