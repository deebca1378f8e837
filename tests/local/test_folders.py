"""Working folders in a place where others may write: nothing outside them is deleted, whatever is put in their place."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from securegen.local import folders
from securegen.local.folders import PARTIES, delete_abandoned, working_folder

RMTREE = shutil.rmtree


def deleted_by_path(at: int, folder: Path, log) -> bool:
    """As it would be without the descriptor."""
    for entry in os.scandir(folder):
        if entry.is_dir(follow_symlinks=False):
            folders.shutil.rmtree(entry.path, ignore_errors=True)
    return True


@pytest.fixture
def home(tmp_path):
    """Somebody's files: folders named as those of a run are."""
    for name in ("owner", "server"):
        (tmp_path / "home" / name).mkdir(parents=True)
        (tmp_path / "home" / name / "thesis.txt").touch()
    (tmp_path / "home" / "mine.secret").touch()
    return tmp_path / "home"


def exchanged(folder: Path, home: Path) -> None:
    """What whoever may write beside a folder can do with it at any moment."""
    folder.rename(folder.with_name("taken-away"))
    folder.symlink_to(home)


def left(home: Path) -> int:
    return sum(1 for path in home.rglob("*") if path.is_file())


@pytest.mark.parametrize("safe", [True, False])
@pytest.mark.parametrize("abandoned", [True, False])
def test_a_folder_exchanged_while_it_is_deleted(abandoned, safe, home, tmp_path, monkeypatch):
    """Of a run that ends, and of one that was killed: a link takes its place after the first folder in it is gone."""
    if not safe:
        monkeypatch.setattr(folders, "_delete", deleted_by_path)
    where: list[Path] = []

    def rmtree(name, **options):
        if where:
            exchanged(where.pop(), home)
        RMTREE(name, **options)

    monkeypatch.setattr(folders.shutil, "rmtree", rmtree)
    out = str(tmp_path / "shared" / "run")
    with working_folder(out, PARTIES, keep=False, log=lambda line: None) as work:
        for name in ("owner", "server"):
            (work / name).mkdir()
        if not abandoned:
            where.append(work)
        else:
            shutil.copytree(work, f"{out}.{PARTIES}.aaaaaaaa")
            where.append(Path(f"{out}.{PARTIES}.aaaaaaaa"))
            delete_abandoned(out, lambda line: None)
    assert not where and (left(home) == 3) == safe


@pytest.mark.parametrize("keep", [True, False])
def test_keys_are_deleted_where_they_are_and_not_where_a_link_leads(keep, home, tmp_path):
    said: list[str] = []
    with working_folder(str(tmp_path / "shared" / "run"), PARTIES, keep=keep, log=said.append) as work:
        (work / "owner").mkdir()
        (work / "owner" / "key.secret").touch()
        exchanged(work, home)
    assert left(home) == 3 and not list((tmp_path / "shared" / "taken-away").rglob("*.secret"))
    assert keep or (said and "by hand" in said[0])


def test_a_folder_of_another_user_is_left_alone(tmp_path, monkeypatch):
    made = Path(f"{tmp_path}/run.{PARTIES}.aaaaaaaa")
    (made / "owner").mkdir(parents=True)
    (made / ".lock").touch()
    own = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: own + 1)
    delete_abandoned(str(tmp_path / "run"), print)
    assert (made / "owner").exists()
    monkeypatch.undo()
    delete_abandoned(str(tmp_path / "run"), print)
    assert not made.exists()
