"""Parts of an encrypted run: blocks encrypted and summed by several processes make the cohort and the results of one."""

from __future__ import annotations

import contextlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from append_tools import Growing, growing
from damaged_parts import SECOND, absent, edited, flipped, renamed

import securegen as sg
from securegen.engines.ckks.owner import encrypt_cohort as encrypting
from securegen.engines.ckks.owner import state as owner_state
from securegen.engines.ckks.owner.state import OwnerState
from securegen.errors import ArtefactError, StorageError, UsageError
from securegen.io.locks import only_one

SUMMED = Path("r.results", "manifest.json")


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Growing:
    return growing(tmp_path_factory.mktemp("parts"))


@pytest.fixture(scope="module")
def made(study, tmp_path_factory) -> Path:
    """A cohort of three blocks, two of them encrypted at once as parts, and its design."""
    prefix = tmp_path_factory.mktemp("made") / "s"
    whole = study.study("1", "2", "3")
    with ThreadPoolExecutor(2) as pool:
        parts = ["3/3", "1/3"]
        list(pool.map(lambda part: sg.ckks.encrypt(whole, study.key, prefix, blocks=part), parts))
    assert not (prefix.parent / "s.cohort" / "manifest.json").exists()
    before = {p.name: p.read_bytes() for p in Path(f"{prefix}.cohort").glob("*.npy")}
    sg.ckks.encrypt(whole, study.key, prefix)
    after = {p.name: p.read_bytes() for p in Path(f"{prefix}.cohort").glob("*.npy")}
    assert before and before.items() < after.items()  # what parts made is kept, the block between is new
    return prefix


def served(prefix: Path, out: Path, *parts: str) -> None:
    paths = sg.ckks.encrypted_paths(prefix)
    for part in parts:
        name = part.replace("/", "of")
        sg.ckks.associate(paths.cohort, paths.design, f"{out}.{name}.results", blocks=part)


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir()}


@pytest.fixture(scope="module")
def whole(study, made, tmp_path_factory) -> dict[str, bytes]:
    return bytes_of(study.served(made, tmp_path_factory.mktemp("whole") / "results"))


def test_results_of_parts_are_those_of_one_pass(study, made, whole, tmp_path):
    served(made, tmp_path / "r", "2/2", "1/2")
    assert sg.merge(tmp_path / "r").paths == (str(tmp_path / "r.results"),)
    assert bytes_of(tmp_path / "r.results") == whole
    assert [p.name for p in tmp_path.iterdir()] == ["r.results"]
    assert study.table(tmp_path / "r.results", made) == study.plain(tmp_path, "1", "2", "3")


def test_a_killed_join_goes_on(made, whole, tmp_path, monkeypatch):
    from securegen.engines.ckks.server import results_parts

    served(made, tmp_path / "r", "1/3", "2/3", "3/3")
    move, left = results_parts._move, [2]

    def killed(*arguments):
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        move(*arguments)

    monkeypatch.setattr(results_parts, "_move", killed)
    with pytest.raises(KeyboardInterrupt):
        sg.merge(tmp_path / "r")
    assert not (tmp_path / "r.results" / "manifest.json").exists()
    monkeypatch.undo()
    sg.merge(tmp_path / "r")
    assert bytes_of(tmp_path / "r.results") == whole


@pytest.mark.parametrize("protected", [True, False])
@pytest.mark.parametrize("before", [True, False], ids=["before it", "after it"])
@pytest.mark.parametrize("number", range(4))
def test_a_join_that_was_killed_while_parts_went_ends(made, whole, tmp_path, monkeypatch, number, before, protected):
    """Its results are whole, and two parts or one are left: they are not asked for those that went."""
    from securegen.engines.ckks.server import results_parts

    served(made, tmp_path / "r", "1/2", "2/2")
    (tmp_path / "r.1of2.results" / "stray.npy").write_bytes(b"of a run before")
    took, left = {"unlink": Path.unlink, "rmdir": Path.rmdir}, [number]

    def killed(name: str, path: Path, **options: object) -> None:
        if f"of2{os.sep}" not in f"{path}{os.sep}".replace(".results", "") or not (tmp_path / SUMMED).exists():
            took[name](path, **options)
            return
        left[0] -= 1
        if left[0] >= 0 or not before:
            took[name](path, **options)
        if left[0] < 0:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", lambda path, **options: killed("unlink", path, **options))
        patched.setattr(Path, "rmdir", lambda path: killed("rmdir", path))
        with pytest.raises(KeyboardInterrupt):
            sg.merge(tmp_path / "r")
    assert bytes_of(tmp_path / "r.results") == whole
    if not protected:
        monkeypatch.setattr(results_parts, "_is_joined", lambda *_: False)
    first, second = (tmp_path / f"r.{n}of2.results" / "manifest.json" for n in (1, 2))
    if not protected and second.exists() and not first.exists():
        with pytest.raises(ArtefactError, match="1 of 2 parts are not there"):
            sg.merge(tmp_path / "r")
        return
    with contextlib.suppress(UsageError):  # where no part is left
        sg.merge(tmp_path / "r")
    assert bytes_of(tmp_path / "r.results") == whole
    assert all(not list(folder.iterdir()) for folder in tmp_path.glob("r.*of2.results"))


def test_a_part_that_ran_again_mends_results_that_were_joined(made, whole, tmp_path):
    served(made, tmp_path / "r", "1/3", "2/3", "3/3")
    sg.merge(tmp_path / "r")
    (tmp_path / "r.results" / "block-000001.npy").write_bytes(b"damaged")
    served(made, tmp_path / "r", "2/3")
    sg.merge(tmp_path / "r")
    assert bytes_of(tmp_path / "r.results") == whole


@pytest.mark.parametrize(
    "damage, message",
    [
        (absent, r"1 of 3 parts are not there, or did not end \(2/3\)"),
        (lambda f: (f / SECOND / "manifest.json").unlink(), "has no manifest: it is not complete"),
        (renamed, "it was renamed"),
        (edited(nonce="0" * 32), "differ in nonce: they come from two passes"),
        (edited(lambda body: body["blocks"][0].update(name="block-000002.npy")), "has other blocks than its part"),
        (flipped("block-000001.npy"), "is not what its manifest names"),
    ],
)
def test_what_is_no_part_of_the_pass_is_refused(made, damage, message, tmp_path):
    served(made, tmp_path / "r", "1/3", "2/3", "3/3")
    damage(tmp_path)
    with pytest.raises(ArtefactError, match=message):
        sg.merge(tmp_path / "r")
    assert not (tmp_path / "r.results" / "manifest.json").exists()


def test_results_of_a_part_are_no_results(study, made, tmp_path):
    served(made, tmp_path / "r", "1/3")
    with pytest.raises(ArtefactError, match="is an encrypted part of results, expected results"):
        study.table(tmp_path / "r.1of3.results", made)


def test_parts_that_begin_together_wait_for_each_other(study, made, tmp_path):
    """An array of jobs starts at once: each holds the folder for a moment, and refused the others."""
    state = OwnerState(tmp_path / "o", study.key)
    state.make_folder()
    with ThreadPoolExecutor(1) as pool:
        with state.alone():
            with pytest.raises(StorageError, match="another securegen is writing"), state.alone():
                pass
            part = state.part("1of2")
            begun = pool.submit(part.__enter__)
            with pytest.raises(TimeoutError):
                begun.result(0.1)
        begun.result(10)
        with pytest.raises(StorageError, match="part-1of2"):
            state.refuse_parts()
        part.__exit__(None, None, None)


def test_nobody_ends_a_cohort_between_the_two_locks_of_a_part(study, tmp_path, monkeypatch):
    """The part's lock is held before that of the folder is let go."""
    state, seen = OwnerState(tmp_path / "o", study.key), []
    state.make_folder()

    @contextlib.contextmanager
    def told(path, what, **options):
        seen.append(f"+{path.name}")
        with only_one(path, what, **options) as held:
            yield held
        seen.append(f"-{path.name}")

    monkeypatch.setattr(owner_state, "only_one", told)
    with state.part("1of2"):
        assert seen == ["+.lock", "+.part-1of2.lock", "-.lock"]
    assert seen[-1] == "-.part-1of2.lock"


def test_a_block_is_encrypted_by_one_process_at_a_time(study, tmp_path, monkeypatch):
    """Two processes that encrypt the same part, a part and the end, do not touch each other's files."""
    whole, inner = study.study("1", "2", "3"), []

    def second(make):
        with pytest.raises(StorageError) as error:
            make()
        inner.append(str(error.value))

    one = encrypting._encrypt_one

    def watched(block, index, *rest):
        if not inner:
            second(lambda: sg.ckks.encrypt(whole, study.key, tmp_path / "s", blocks="2/3"))
            second(lambda: sg.ckks.encrypt(whole, study.key, tmp_path / "s", blocks="1/1"))
            second(lambda: sg.ckks.encrypt(whole, study.key, tmp_path / "s"))
        return one(block, index, *rest)

    monkeypatch.setattr(encrypting, "_encrypt_one", watched)
    sg.ckks.encrypt(whole, study.key, tmp_path / "s", blocks="2/3")
    assert [text.split(":")[0].split(" is writing ")[1].split(" of ")[0] for text in inner] == [
        "part 2of3", "block 1", "part-2of3",
    ]  # fmt: skip


def test_what_parts_do_not_do(study, made, tmp_path):
    whole = study.study("1", "2", "3")
    with pytest.raises(StorageError, match="complete study, which is not overwritten"):
        sg.ckks.encrypt(whole, study.key, made, blocks="1/3")
    with pytest.raises(UsageError, match="`blocks` and `overwrite`"):
        sg.ckks.encrypt(whole, study.key, made, blocks="1/3", overwrite=True)
    with pytest.raises(UsageError, match="there are 3 blocks, at most as many parts"):
        sg.ckks.encrypt(whole, study.key, tmp_path / "s", blocks="1/4")
    assert OwnerState(Path(f"{made}.owner"), study.key).cohort_digest() is not None
