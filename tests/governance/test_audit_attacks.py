"""Whoever can write in the log's folder, and whoever has its key as well, tries to change what it says.

Each attack is found at its place. The last tests take the protection out, and the attack works.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from securegen.errors import ArtefactError, StorageError
from securegen.governance import audit_log, audit_verify
from securegen.governance.audit_beside import make_log
from securegen.governance.audit_entry import Entry, read_entry
from securegen.governance.audit_folder import LogFolder
from securegen.governance.audit_log import AuditLog
from securegen.governance.audit_note import LogKey, sign_checkpoint
from securegen.governance.audit_tree import Frontier, leaf_hash, tile_path
from securegen.governance.audit_verify import read_log
from securegen.governance.signing import generate

COUNT = 300  # a full file and tile, and a part of the next
STEWARD = generate()


def facts(number: int) -> tuple[str, dict]:
    return "release", {"what": "table", "rows": number}


@pytest.fixture(scope="module")
def honest(tmp_path_factory):
    log = make_log(tmp_path_factory.mktemp("honest") / "audit", STEWARD)
    log.append_all([facts(i) for i in range(COUNT - 1)])
    log.append(*facts(COUNT - 1))
    return log.folder


@pytest.fixture
def folder(honest, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda _: None)
    return Path(shutil.copytree(honest, tmp_path / "audit"))


def lines_in(folder: Path) -> list[bytes]:
    return [line for part in sorted((folder / "entries").iterdir()) for line in part.read_bytes().splitlines()]


def put(folder: Path, lines: list[bytes], *, tiles: bool, sign=None) -> None:
    """Write these lines as the log's; tiles: and all tiles that belong to them; sign: and a checkpoint by this key."""
    shutil.rmtree(folder / "entries")
    (folder / "entries").mkdir()
    for start in range(0, len(lines), 256):
        text = b"".join(line + b"\n" for line in lines[start : start + 256])
        (folder / f"entries/{start // 256:03}.jsonl").write_bytes(text)
    frontier, full = Frontier(), []
    for line in lines:
        full += frontier.add(leaf_hash(line))
    if tiles:
        shutil.rmtree(folder / "tile")
        for level, index, tile in [*full, *frontier.partial_tiles()]:
            path = folder / tile_path(level, index, len(tile) // 32)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(tile)
    if sign is not None:
        (folder / "checkpoint").write_text(sign_checkpoint(len(lines), frontier.root(), sign).note)


def edited(line: bytes, **change) -> bytes:
    value = json.loads(line)
    value |= {k: v for k, v in change.items() if k != "rows"}
    value["facts"] |= {k: v for k, v in change.items() if k == "rows"}
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def resigned(lines: list[bytes], key=STEWARD) -> list[bytes]:
    """The lines as the holder of the log's key would write them: numbered and signed anew."""
    frontier, out, name = Frontier(), [], LogKey.of(key.verify_key).name
    for number, line in enumerate(lines):
        old = read_entry(line, "x")
        entry = Entry(number, old.at, old.kind, old.facts)
        out.append(entry.with_signature(key.sign(entry.signed_text(name, frontier.root()))).line)
        frontier.add(leaf_hash(out[-1]))
    return out


def test_the_attacks_own_tools_make_a_whole_log(folder):
    put(folder, lines_in(folder), tiles=True)
    assert len(read_log(folder).entries) == COUNT
    assert resigned(lines_in(folder)) == lines_in(folder), "signatures are a function of key and content"


@pytest.mark.parametrize("tiles", [False, True])
@pytest.mark.parametrize("at", [0, 100, 255, 256, COUNT - 1])
def test_an_edited_entry_is_named(folder, at, tiles):
    lines = lines_in(folder)
    lines[at] = edited(lines[at], rows=10**6)
    put(folder, lines, tiles=tiles)
    with pytest.raises(ArtefactError, match=f"entry {at} .*was altered"):
        read_log(folder)


@pytest.mark.parametrize("at", [0, 40, 255, 256, COUNT - 1])
def test_a_cut_entry_is_named(folder, at):
    lines = lines_in(folder)
    del lines[at]
    put(folder, lines, tiles=True)
    with pytest.raises(ArtefactError, match=f"entry {at} is missing"):
        read_log(folder)


@pytest.mark.parametrize("at", [0, 40, 254])
def test_a_cut_entry_is_named_where_the_others_are_numbered_anew(folder, at):
    lines = lines_in(folder)
    del lines[at]
    lines = [edited(line, n=i) for i, line in enumerate(lines)]
    put(folder, lines, tiles=True)
    with pytest.raises(ArtefactError, match="was cut: entry 299 is missing"):
        read_log(folder)
    put(folder, [*lines, edited(lines[-1], n=COUNT - 1)], tiles=True)
    with pytest.raises(ArtefactError, match=f"entry {at} of .*was altered"):
        read_log(folder)


def test_entries_in_another_order_are_named(folder):
    lines = lines_in(folder)
    lines[7], lines[9] = lines[9], lines[7]
    put(folder, lines, tiles=True)
    with pytest.raises(ArtefactError, match="entry 7 is missing, in its place stands entry 9"):
        read_log(folder)
    put(folder, [edited(line, n=i) for i, line in enumerate(lines)], tiles=True)
    with pytest.raises(ArtefactError, match="entry 7 of .*was altered"):
        read_log(folder)


def test_an_entry_put_in_between_is_named(folder):
    lines = lines_in(folder)
    lines.insert(20, edited(lines[20], rows=5))
    put(folder, [edited(line, n=i) for i, line in enumerate(lines)], tiles=True)
    with pytest.raises(ArtefactError, match="entry 20 of .*was altered"):
        read_log(folder)


def test_an_altered_log_takes_no_entry(folder):
    """Neither edited in its last file, nor cut: an append would sign it."""
    lines = lines_in(folder)
    for changed in (
        lines[:-1],
        [*lines[:-1], edited(lines[-1], rows=1)],
        [*lines[:260], edited(lines[260], rows=1), *lines[261:]],
    ):
        put(folder, changed, tiles=True)
        with pytest.raises(ArtefactError):
            AuditLog.open(folder, STEWARD).append(*facts(1))


def test_an_edit_before_the_last_file_is_found_with_the_tiles_gone(folder):
    lines = lines_in(folder)
    put(folder, [edited(lines[0], rows=1), *lines[1:]], tiles=True)
    with pytest.raises(ArtefactError, match="not those that were signed"):
        AuditLog.open(folder, STEWARD).append(*facts(1))


def test_lines_that_the_log_did_not_write_are_not_taken_in(folder):
    """Whoever can write in the folder, without the key, appends a line: the log does not sign it."""
    lines = lines_in(folder)
    bad = {
        "another key's": resigned([*lines, lines[-1]], generate())[-1],
        "an earlier signature": edited(lines[-1], n=COUNT),
        "a repeated one": lines[-1],
        "no entry": b"x",
        "NUL": b"\0" * 100,
        "huge": b'{"at":"' + b"9" * 70_000,
    }
    for what, line in bad.items():
        put(folder, [*lines, line], tiles=False)
        for call in (lambda: read_log(folder), lambda: AuditLog.open(folder, STEWARD).append(*facts(1))):
            with pytest.raises(ArtefactError, match=f"entry {COUNT} "):
                call()
            assert lines_in(folder) == [*lines, line], what


@pytest.mark.parametrize(
    "line", [b"\0", b"", b"{}", b"[" * 5000, b'{"at":"' + b"9" * 70_000, b"\xff\xfe", b'{"at":1,"at":2}']
)
def test_bytes_that_are_no_entry_are_named(folder, line):
    lines = lines_in(folder)
    lines[11] = line
    put(folder, lines, tiles=True)
    with pytest.raises(ArtefactError, match="entry 11 "):
        read_log(folder)


def test_an_old_checkpoint_forgets_no_entry(folder, honest):
    """With only the checkpoint rolled back, the entries beyond it are signed: they are taken in again, not dropped."""
    old = sign_checkpoint(256, _root(lines_in(folder)[:256]), STEWARD)
    (folder / "checkpoint").write_text(old.note)
    state = read_log(folder)
    assert (len(state.entries), state.beyond) == (COUNT, COUNT - 256)
    AuditLog.open(folder, STEWARD).append(*facts(7))
    assert len(read_log(folder).entries) == COUNT + 1


def _root(lines: list[bytes]) -> bytes:
    frontier = Frontier()
    for line in lines:
        frontier.add(leaf_hash(line))
    return frontier.root()


def test_a_rolled_back_log_is_found_against_a_witness(folder):
    """Whole files of an earlier day are a whole log: only a witness tells."""
    witness = read_log(folder).checkpoint
    lines = lines_in(folder)
    put(folder, lines[:290], tiles=True, sign=STEWARD)
    assert read_log(folder).verdict.startswith("consistent, no witness")
    with pytest.raises(
        ArtefactError, match="rolled back: it has 290 entries, and a witness saw 300; entries 290 to 299"
    ):
        read_log(folder, seen=[witness])


def test_two_versions_shown_to_two_auditors_are_found(folder, tmp_path):
    """The log's holder, with its key, goes on from entry 280 in two ways, each whole."""
    lines = lines_in(folder)
    other = Path(shutil.copytree(folder, tmp_path / "other"))
    put(other, resigned([*lines[:280], *([lines[279]] * 40)]), tiles=True, sign=STEWARD)
    early = sign_checkpoint(200, _root(lines[:200]), STEWARD)
    first, second = read_log(folder, seen=[early]), read_log(other, seen=[early])
    assert first.witnesses == second.witnesses == 1, "each alone is consistent with what both saw before"
    with pytest.raises(ArtefactError, match="between entries 200 and 299 other entries were written"):
        read_log(other, seen=[early, first.checkpoint])
    with pytest.raises(ArtefactError, match="rolled back"):
        read_log(folder, seen=[early, second.checkpoint])


def test_a_log_that_was_made_anew_is_found_against_a_witness(folder):
    witness = read_log(folder).checkpoint
    lines = lines_in(folder)
    thief = generate()
    put(folder, resigned(lines, thief), tiles=True, sign=thief)
    with pytest.raises(ArtefactError, match="another log"):
        read_log(folder)
    (folder / "key").write_text(LogKey.of(thief.verify_key).to_text() + "\n")
    assert len(read_log(folder).entries) == COUNT, "a whole log, of another key"
    for known in ({"seen": [witness]}, {"key": witness.key}, {"fingerprint": witness.key.fingerprint}):
        with pytest.raises(ArtefactError, match="has key"):
            read_log(folder, **known)


def test_a_forged_checkpoint_is_found(folder):
    lines = lines_in(folder)
    forged = sign_checkpoint(290, _root(lines[:290]), generate()).note
    name = read_log(folder).key.name
    for note in (forged, forged.replace(forged.split("\n")[0], name), "", "\0" * 100, "x" * 70_000):
        put(folder, lines[:290], tiles=True)
        (folder / "checkpoint").write_text(note)
        for call in (lambda: read_log(folder), lambda: AuditLog.open(folder, STEWARD).append(*facts(1))):
            with pytest.raises(ArtefactError):
                call()
    (folder / "checkpoint").unlink()
    with pytest.raises(ArtefactError, match="gone"):
        read_log(folder)


def test_swapped_tiles_are_named(folder):
    first, last = folder / "tile/0/000", folder / "tile/0/001.p/44"
    tile = bytearray(first.read_bytes())
    tile[:32], tile[32:64] = tile[32:64], tile[:32]
    first.write_bytes(tile)
    with pytest.raises(ArtefactError, match=r"tile/0/000 is gone or not the tile"):
        read_log(folder)
    first.write_bytes(last.read_bytes())
    with pytest.raises(ArtefactError, match=r"tile/0/000 is gone or not the tile"):
        read_log(folder)


def test_tiles_of_a_fork_lead_no_append_astray(folder):
    """An append reads the right edge from tiles: those of other entries do not lead to the signed root."""
    lines = lines_in(folder)
    put(folder, [*lines[:-1], edited(lines[-1], rows=1)], tiles=True)
    entries = folder / "entries/001.jsonl"
    entries.write_bytes(b"".join(line + b"\n" for line in lines[256:]))
    AuditLog.open(folder, STEWARD).append(*facts(5))
    assert [e.facts["rows"] for e in read_log(folder).entries] == [*range(COUNT), 5]


def test_entries_after_a_hole_are_found(folder):
    (folder / "entries/002.jsonl").write_bytes(lines_in(folder)[-1] + b"\n")
    for call in (lambda: read_log(folder), lambda: AuditLog.open(folder, STEWARD).append(*facts(1))):
        with pytest.raises(ArtefactError, match="entry 300 is missing"):
            call()


@pytest.mark.parametrize("name", ["", "entries", "entries/001.jsonl", "tile", "tile/0/001.p/44", "checkpoint", "key"])
def test_links_are_refused(folder, tmp_path, name):
    """A link in the log could be turned to other files between two readers."""
    path = folder / name if name else folder
    moved = path.rename(tmp_path / "moved")
    path.symlink_to(moved)
    for call in (lambda: read_log(folder), lambda: AuditLog.open(folder, STEWARD).append(*facts(1))):
        with pytest.raises((ArtefactError, StorageError), match="link|changed"):
            call()


def test_a_folder_where_others_may_write_is_refused(folder):
    folder.chmod(0o777)
    with pytest.raises(StorageError, match="chmod 700"):
        AuditLog.open(folder, STEWARD).append(*facts(1))


def test_a_named_pipe_keeps_nobody_waiting(folder):
    (folder / "entries/001.jsonl").unlink()
    os.mkfifo(folder / "entries/001.jsonl")
    with pytest.raises(ArtefactError, match="not a regular file"):
        read_log(folder)


def test_without_the_comparison_a_rolled_back_log_passes(folder, monkeypatch):
    """The protection is what fails the attack: with it out, nobody notices."""
    witness = read_log(folder).checkpoint
    put(folder, lines_in(folder)[:290], tiles=True, sign=STEWARD)
    monkeypatch.setattr(audit_verify._Reading, "_compare", lambda *_: None)
    assert len(read_log(folder, seen=[witness]).entries) == 290


def test_without_the_root_an_edited_log_passes(folder, monkeypatch):
    lines = lines_in(folder)
    put(folder, [edited(lines[0], rows=10**6), *lines[1:]], tiles=True)
    signed = LogFolder(folder).checkpoint(None)
    root = _root(lines_in(folder))
    monkeypatch.setattr(LogFolder, "checkpoint", lambda *_: type(signed)(signed.size, root, signed.key))
    assert read_log(folder).entries[0].facts["rows"] == 10**6


def test_without_the_lines_signature_a_foreign_line_is_signed_into_the_log(folder, monkeypatch):
    """Whoever may write in the folder, and has no key: with the check of signatures out, the next append vouches for it."""
    lines = lines_in(folder)
    put(folder, [*lines, edited(lines[-1], n=COUNT, rows=666)], tiles=False)
    with pytest.raises(ArtefactError):
        AuditLog.open(folder, STEWARD).append(*facts(1))
    monkeypatch.setattr(audit_log, "verifies", lambda *_: True)
    AuditLog.open(folder, STEWARD).append(*facts(1))
    monkeypatch.undo()
    assert read_log(folder).entries[COUNT].facts["rows"] == 666
