"""People who withdrew are taken out of an encrypted cohort under its own key: it is the cohort of the others, whenever it was
killed, and nothing of before is read again."""

from __future__ import annotations

import itertools
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from append_tools import PEOPLE, Growing, growing
from support import write_tsv

import securegen as sg
from securegen.engines.ckks.owner import encrypt_cohort as encrypting
from securegen.engines.ckks.owner import leave_cohort as leaving
from securegen.engines.ckks.owner.asked import registers_of
from securegen.engines.ckks.owner.encryption import make_encryptor
from securegen.engines.ckks.owner.state import OwnerState, read_info
from securegen.engines.plain.engine import write_plain
from securegen.errors import ArtefactError, InputError, PolicyError, StorageError
from securegen.io import output
from securegen.io.arrays import ArrayReader

GONE = (7, 20)


class Killed(BaseException):
    """The end of a process."""


@dataclass(frozen=True)
class Stored:
    """A cohort with its design and results, and a register in which two of its people withdrew."""

    study: Growing
    prefix: Path
    register: Path

    @property
    def paths(self) -> sg.ckks.Encrypted:
        return sg.ckks.encrypted_paths(self.prefix)

    @property
    def others(self) -> ArrayReader:
        return self.study.whole.select(samples=np.delete(np.arange(PEOPLE), GONE))

    def apply(self, reader=None) -> int:
        return sg.ckks.take_out_withdrawn(reader or self.study.whole, self.study.key, self.prefix, self.register)

    def tables(self, folder: Path) -> tuple[bytes, bytes]:
        """Of the cohort as it is now, and of plain without who left."""
        remaining = sg.open_study(self.others, pheno=self.study.pheno, pheno_name=("QT",))
        sg.ckks.encrypt_design(remaining, self.study.key, self.paths.owner, folder / "new.design")
        results = sg.ckks.associate(self.paths.cohort, folder / "new.design", folder / "new.results")
        (made,) = sg.ckks.decrypt_tables(results, self.study.key, self.paths.owner, str(folder / "new"))
        return Path(made.path).read_bytes(), Path(write_plain(remaining, str(folder / "plain"))[0].path).read_bytes()


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Stored:
    folder = tmp_path_factory.mktemp("stored")
    study = growing(folder)
    prefix, register = folder / "store", folder / "register.tsv"
    sg.ckks.encrypt(study.study("1", "2", "3"), study.key, prefix)
    study.served(prefix, folder / "store.results")
    rows = [(f"P{i}", "HMB", "2025-01-01") for i in range(PEOPLE)]
    sg.consent.import_table(register, write_tsv(folder / "consents.tsv", ("IID", "DUO", "DATE"), rows))
    sg.consent.withdraw(register, write_tsv(folder / "leaving.txt", ("IID",), [(f"P{i}",) for i in GONE]))
    return Stored(study, prefix, register)


@pytest.fixture
def stored(made, tmp_path) -> Stored:
    for folder in made.prefix.parent.glob("store.*"):
        shutil.copytree(folder, tmp_path / folder.name)
    for file in made.prefix.parent.glob("register.tsv*"):
        shutil.copy2(file, tmp_path / file.name)
    return Stored(made.study, tmp_path / "store", tmp_path / "register.tsv")


def seeds_fixed(patched) -> None:
    numbers = itertools.count()
    patched.setattr("securegen.kernels.threads.get_num_threads", lambda: 1)
    patched.setattr("secrets.token_bytes", lambda size=32: np.random.default_rng(next(numbers)).bytes(size))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def refuses_what_was(stored: Stored, tmp_path: Path) -> str:
    with pytest.raises((ArtefactError, PolicyError)) as caught:
        stored.study.table(Path(f"{stored.prefix}.results"), stored.prefix)
    assert not list(tmp_path.glob("store.t*"))
    return str(caught.value)


@pytest.mark.parametrize("whole", [True, False])
def test_the_table_is_that_of_the_others(stored, tmp_path, whole):
    """Whether the owner still has the genotypes of who left or not; and old designs and results have a named end."""
    before = contents(stored.paths.cohort)
    old_checks = [path.read_bytes() for path in stored.paths.owner.glob("block-*.box")]
    assert stored.apply(stored.study.whole if whole else stored.others) == 2
    assert "people who withdrew were taken out" in refuses_what_was(stored, tmp_path)
    with pytest.raises(ArtefactError):  # the server has the design of before
        stored.study.served(stored.prefix, tmp_path / "stale")
    ours, plain = stored.tables(tmp_path)
    assert ours == plain
    with pytest.raises(ArtefactError, match="people who withdrew were taken out"):
        sg.ckks.decrypt(
            f"{stored.prefix}.results", stored.study.key, stored.paths.owner, design=tmp_path / "new.design"
        )
    after = contents(stored.paths.cohort)
    assert set(after) == set(before)
    assert not any(after[name] == before[name] for name in after)  # which blocks have who left is not to be seen
    assert not {path.read_bytes() for path in stored.paths.owner.glob("block-*.box")} & set(old_checks)
    info = read_info(OwnerState(stored.paths.owner, stored.study.key))
    assert len(info.samples) == PEOPLE - 2 and info.earlier == ()
    assert stored.apply() == 0 and contents(stored.paths.cohort) == after


def test_no_seed_of_before_is_drawn_again(stored):
    """A public seed that served two messages would give the difference of two genotypes."""

    def seeds(folder: Path) -> list[str]:
        found = re.findall('"seed": *"([0-9a-f]{32})"', (folder / "manifest.json").read_text())
        assert len(found) == len(set(found)) > 3
        return found

    before = seeds(stored.paths.cohort)
    stored.apply()
    after = seeds(stored.paths.cohort)
    assert not set(before) & set(after)


def test_with_the_same_seeds_it_is_a_fresh_one_byte_for_byte(stored, tmp_path, monkeypatch):
    info = read_info(OwnerState(stored.paths.owner, stored.study.key))
    with monkeypatch.context() as patched:

        def fixed(*arguments, **named):  # the nonces of the owner's boxes are drawn too
            seeds_fixed(patched)
            return encrypting.encrypt_cohort(*arguments, **named)

        patched.setattr(leaving, "encrypt_cohort", fixed)
        stored.apply()
    with monkeypatch.context() as patched:
        seeds_fixed(patched)
        encrypting.encrypt_cohort(
            stored.others.on_grid(info.dosage_grid), stored.study.key, tmp_path / "fresh",
            OwnerState(tmp_path / "fresh.owner", stored.study.key),
            encryptor=make_encryptor(info.encryptor, stored.study.key), squares=info.squares, like=info,
        )  # fmt: skip
    assert contents(stored.paths.cohort) == contents(tmp_path / "fresh")


def writes_of(monkeypatch, stop: int | None) -> list[int]:
    """Count what changes files in a run; stop: end the process at that one."""
    done = [0]

    def counting(function):
        def call(*args, **named):
            done[0] += 1
            if done[0] == stop:
                raise Killed
            return function(*args, **named)

        return call

    for where, name in (
        (os, "replace"),
        (leaving, "write_info"),
        (leaving, "_remove"),
        (leaving, "sync_folder"),
        (output, "sync_folder"),
    ):
        if hasattr(where, name):
            monkeypatch.setattr(where, name, counting(getattr(where, name)))
    monkeypatch.setattr(Path, "unlink", counting(Path.unlink))
    return done


def test_killed_at_any_write_it_goes_on(made, tmp_path, monkeypatch):
    """From the first write on results of before are refused, and the next run ends with the cohort of the others."""

    def copy(name: str) -> Stored:
        (tmp_path / name).mkdir()
        for path in made.prefix.parent.iterdir():
            if path.name.startswith("store."):
                shutil.copytree(path, tmp_path / name / path.name)
            elif path.name.startswith("register.tsv"):
                shutil.copy2(path, tmp_path / name / path.name)
        return Stored(made.study, tmp_path / name / "store", tmp_path / name / "register.tsv")

    with monkeypatch.context() as patched:
        done = writes_of(patched, None)
        copy("all").apply()
    assert done[0] > 20
    begun = ended = 0
    for stop in range(1, done[0] + 1):
        stored = copy(str(stop))
        with monkeypatch.context() as patched, pytest.raises(Killed):
            writes_of(patched, stop)
            stored.apply()
        if (stored.paths.owner / "leaving.box").exists():
            begun += 1
            with pytest.raises(PolicyError, match="consent.withdrawn"):
                stored.study.table(Path(f"{stored.prefix}.results"), stored.prefix)
            with pytest.raises(PolicyError, match="consent.withdrawn"):
                stored.study.design(stored.prefix, "1", "2", "3", overwrite=True)
            with pytest.raises(StorageError):  # nor is it encrypted over by chance
                sg.ckks.encrypt_cohort(stored.study.whole, stored.study.key, stored.prefix)
        state = OwnerState(stored.paths.owner, stored.study.key)
        if not (stored.paths.owner / "leaving.box").exists() and len(read_info(state).samples) < PEOPLE:
            ended += 1
            assert registers_of(state) == [str(stored.register)]
        stored.apply()
        info = read_info(state)
        assert len(info.samples) == PEOPLE - 2
        assert {p.suffix for p in stored.paths.owner.iterdir() if p.name != ".lock"} == {".box"}
        assert not stored.paths.cohort.with_name("store.cohort.next").exists()
        refuses_what_was(stored, stored.prefix.parent)
        if stop == done[0] // 2:
            assert len(set(stored.tables(tmp_path))) == 1
        shutil.rmtree(stored.prefix.parent)
    assert begun > done[0] // 2 and ended


def test_the_mark_taken_away_by_hand_opens_nothing(stored, monkeypatch):
    """Who edits the owner's folder in the middle has no cohort, and not the one of before."""
    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(leaving, "encrypt_cohort", lambda *a, **k: (_ for _ in ()).throw(Killed))
        stored.apply()
    mark = stored.paths.owner / "leaving.box"
    kept = mark.read_bytes()
    mark.unlink()
    with pytest.raises(ArtefactError):
        stored.study.table(Path(f"{stored.prefix}.results"), stored.prefix)
    (stored.paths.owner / "cohort.box").write_bytes(kept)  # a box says what it is
    with pytest.raises(ArtefactError):
        stored.study.table(Path(f"{stored.prefix}.results"), stored.prefix)


def test_other_genotypes_are_not_put_in_their_place(stored):
    """One call of one person, in a file that has the same people and variants."""
    whole = stored.study.whole
    block = whole.read(0, len(whole.variants))
    dosage = (
        np.where(block.missing, np.nan, block.dosage.astype(float))
        if block.missing is not None
        else block.dosage.astype(float)
    )
    first = np.flatnonzero(dosage[3] == 1)[0]
    dosage[3, first] = 2
    other = sg_arrays(dosage, whole)
    with pytest.raises(ArtefactError, match="not the genotypes that were encrypted"):
        stored.apply(other)
    with pytest.raises(PolicyError, match="consent.withdrawn"):
        stored.study.table(Path(f"{stored.prefix}.results"), stored.prefix)
    assert stored.apply() == 2
    with pytest.raises(InputError, match="1 of the people who stay"):
        stored_again(stored)


def sg_arrays(dosage: np.ndarray, like: ArrayReader) -> ArrayReader:
    from securegen.io.arrays import from_arrays

    return from_arrays(dosage, [str(i) for i in like.samples.iid], variants=like.variants)


def stored_again(stored: Stored) -> None:
    """One more leaves, and the file lacks somebody who stays."""
    people = write_tsv(stored.prefix.parent / "more.txt", ("IID",), [("P1",)])
    sg.consent.withdraw(stored.register, people)
    stored.apply(stored.study.whole.select(samples=np.arange(PEOPLE - 1)))
