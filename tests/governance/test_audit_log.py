"""The log takes entries without anything of a person, and is whole after a kill at any byte and between any two operations."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from securegen.errors import ArtefactError, KeyFileError, StorageError, UsageError
from securegen.governance import audit_beside, audit_log
from securegen.governance.audit_beside import log_beside, make_log, record
from securegen.governance.audit_entry import KINDS, checked_facts, read_entries
from securegen.governance.audit_log import AuditLog
from securegen.governance.audit_verify import read_log
from securegen.governance.signing import generate

RUN = {"command": "gwas", "phase": "start"}


def digest(number: int) -> str:
    return f"{number:064x}"


def key_use(number: int) -> tuple[str, dict]:
    return "key", {"action": "unlocked", "key": digest(number)}


@pytest.fixture
def fast(monkeypatch):
    """Nothing waits for the disk: these tests end no power supply."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.fixture(scope="module")
def long_log(tmp_path_factory):
    """255 entries: the next one fills a file and a tile."""
    log = make_log(tmp_path_factory.mktemp("long") / "audit", generate())
    log.append_all([key_use(i) for i in range(255)])
    return log


def copied(log: AuditLog, folder: Path) -> AuditLog:
    shutil.copytree(log.folder, folder)
    return AuditLog(audit_log.LogFolder(folder), log._identity)


def told_in(folder: Path) -> list[dict]:
    return [e.facts for e in read_log(folder).entries]


def told(log: AuditLog) -> list[dict]:
    return [e.facts for e in read_log(log.folder).entries]


def test_entries_are_kept_in_order(tmp_path, fast):
    log = make_log(tmp_path / "audit", generate())
    assert log.witness().size == 0 and read_log(log.folder).entries == ()
    for i in range(3):
        assert log.append(*key_use(i)).number == i
    log.append("run", RUN)
    state = read_log(log.folder)
    assert [e.kind for e in state.entries] == ["key", "key", "key", "run"]
    assert state.checkpoint == log.witness() and state.checkpoint.size == 4
    lines = (log.folder / "entries/000.jsonl").read_bytes().splitlines()
    assert [json.loads(line)["n"] for line in lines] == [0, 1, 2, 3]
    assert state.verdict.startswith("consistent, no witness: 4 entries")
    assert read_log(log.folder, seen=[log.witness()]).verdict.startswith("consistent with 1 witness: 4 entries")


def test_an_entry_that_is_written_otherwise_is_refused(tmp_path, fast):
    """An entry has one spelling: other bytes with the same facts are not an entry."""
    log = make_log(tmp_path / "audit", generate())
    log.append("run", {"command": "gwas", "phase": "start"})
    (entry,) = read_log(log.folder).entries
    assert read_entries([entry.line], 0, "log")[0].facts == entry.facts
    for other in (entry.line.replace(b":", b": ", 1), entry.line.replace(b"gwas", b"gw\\u0061s")):
        assert json.loads(other) == json.loads(entry.line)
        with pytest.raises(ArtefactError, match="entry 0 of the audit log log was altered: it is not written"):
            read_entries([other], 0, "log")


def test_files_are_the_owners_alone(tmp_path, fast):
    log = make_log(tmp_path / "audit", generate())
    log.append("run", RUN)
    assert all(p.stat().st_mode & 0o077 == 0 for p in [log.folder, *log.folder.rglob("*")])


def test_time_never_goes_back(tmp_path, fast, monkeypatch):
    """With the clock set back an entry has the time of the last one, and says what the clock said."""
    log = make_log(tmp_path / "audit", generate())
    for now in (2_000_000, 1_000_000, 3_000_000):
        monkeypatch.setattr(audit_log.time, "time_ns", lambda now=now: now * 1_000_000)
        log.append("run", RUN)
    entries = read_log(log.folder).entries
    assert [e.at[11:19] for e in entries] == ["00:33:20", "00:33:20", "00:50:00"]
    assert [e.clock and e.clock[11:19] for e in entries] == [None, "00:16:40", None]


PERSONAL = [
    "NA12878",
    "FAM1 IND1",
    "1234567",
    "/data/anna.bed",
    "Anna Svensson",
    "1970-01-01",
    "policy.NA12878",
    "x" * 99,
]


@pytest.mark.parametrize("value", PERSONAL)
@pytest.mark.parametrize("kind", KINDS)
def test_no_fact_holds_text(kind, value):
    """Whatever field it is put in, an id is refused, and the error does not repeat it."""
    needed = {
        "run": RUN, "release": {"what": "table"}, "refusal": {"rules": ["policy.purpose"]}, "key": key_use(1)[1],
        "policy": {"action": "signed", "policy": digest(1)}, "consent": {"action": "withdrawn", "register": digest(1)},
        "export": {"what": "log"}, "ledger": {"which": digest(1), "changes": 1, "whole": digest(2)},
    }[kind]  # fmt: skip
    assert checked_facts(kind, needed) == needed
    fields = {
        *needed,
        "who",
        "account",
        "role",
        "run",
        "purpose",
        "cohort",
        "question",
        "rules",
        "people",
        "rows",
        "note",
        value,
    }
    for name in fields:
        for wrong in (value, [value], {value: 1}):
            with pytest.raises(UsageError) as refused:
                checked_facts(kind, needed | {name: wrong})
            assert value not in str(refused.value)


def test_what_no_kind_takes():
    for kind, facts in [("note", {}), ("run", {}), ("run", RUN | {"rows": -1}), ("run", RUN | {"rows": 1.5}),
                        ("run", RUN | {"rows": True}), ("release", {"what": "genotypes"}),
                        ("refusal", {"rules": []})]:  # fmt: skip
        with pytest.raises(UsageError, match="audit log"):
            checked_facts(kind, facts)


def test_a_refused_entry_writes_nothing(tmp_path, fast):
    log = make_log(tmp_path / "audit", generate())
    with pytest.raises(UsageError):
        log.append_all([("run", RUN), ("run", {"sample": "NA12878"})])
    assert read_log(log.folder).entries == ()


def test_the_entry_is_on_the_disk_before_append_returns(tmp_path, monkeypatch):
    """Every written descriptor was synced after its last write, the line before the checkpoint."""
    log = make_log(tmp_path / "audit", generate())
    events: list[tuple[str, str]] = []
    name = lambda fd: os.readlink(f"/proc/self/fd/{fd}")
    write, fsync, replace = os.write, os.fsync, os.replace
    monkeypatch.setattr(os, "write", lambda fd, data: (events.append(("write", name(fd))), write(fd, data))[1])
    monkeypatch.setattr(os, "fsync", lambda fd: (events.append(("fsync", name(fd))), fsync(fd))[1])
    monkeypatch.setattr(os, "replace", lambda a, b: (events.append(("replace", str(b))), replace(a, b))[1])
    log.append("run", RUN)
    line = str(log.folder / "entries/000.jsonl")
    wrote, synced = events.index(("write", line)), events.index(("fsync", line))
    shown = events.index(("replace", str(log.folder / "checkpoint")))
    assert wrote < synced < shown < len(events) - 1 and events[-1] == ("fsync", str(log.folder))
    assert ("fsync", str(log.folder / "entries")) in events[:shown], "the new file's name too"


class Killed(BaseException):
    """The process is gone: from here on none of its operations changes a file."""


CHANGES = (
    "write",
    "fsync",
    "replace",
    "rename",
    "link",
    "unlink",
    "rmdir",
    "mkdir",
    "ftruncate",
    "fchmod",
    "chmod",
    "open",
)


class Machine:
    """Counts the operations that change files, and ends the process, or fills the disk, before one of them."""

    def __init__(self, monkeypatch, *, at: int | None = None, part: int | None = None, full: bool = False) -> None:
        self.count, self.at, self.part, self.full, self.dead = 0, at, part, full, False
        for name in CHANGES:
            monkeypatch.setattr(os, name, self.wrapped(name, getattr(os, name)))

    def wrapped(self, name, real):
        def call(*args, **options):
            if name == "open" and not args[1] & os.O_CREAT:
                return real(*args, **options)
            if self.dead:
                raise Killed
            self.count += 1
            if self.count - 1 == self.at:
                if self.full:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                if name == "write" and self.part is not None:
                    real(args[0], bytes(args[1])[: self.part])
                self.dead = True
                raise Killed
            return real(*args, **options)

        return call


def attempt(log: AuditLog, **how) -> bool:
    """Whether an append was acknowledged on such a machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        Machine(patch, **how)
        try:
            log.append(*key_use(9999))
        except Killed:
            return False
    return True


def operations(log: AuditLog) -> int:
    with pytest.MonkeyPatch.context() as patch:
        machine = Machine(patch)
        log.append(*key_use(9999))
    return machine.count


@pytest.mark.parametrize("size", [0, 3, 255])
def test_a_kill_between_any_two_operations(long_log, tmp_path, fast, size):
    """Whole again at once, with every acknowledged entry; the one that was being written is there or not, whole."""
    log = copied(long_log, tmp_path / "l") if size == 255 else make_log(tmp_path / "l", generate())
    if size != 255:
        log.append_all([key_use(i) for i in range(size)])
    before = told(log)
    count = operations(copied(log, tmp_path / "count"))
    assert count > 10
    kept = set()
    for at in range(count):
        here = copied(log, tmp_path / f"at{at}")
        assert not attempt(here, at=at)
        found = told(here)  # an auditor reads it as it was left
        assert found in (before, [*before, key_use(9999)[1]])
        kept.add(len(found))
        here.append(*key_use(1))
        state = read_log(here.folder)
        assert [e.facts for e in state.entries] == [*found, key_use(1)[1]] and state.beyond == state.torn == 0
        shutil.rmtree(here.folder)
    assert kept == {size, size + 1}


def test_a_kill_at_every_byte_of_the_last_write(tmp_path, fast):
    log = make_log(tmp_path / "l", generate())
    log.append_all([key_use(i) for i in range(2)])
    before = told(log)
    whole = copied(log, tmp_path / "whole").append(*key_use(9999)).line + b"\n"
    name = "entries/000.jsonl"
    held = (log.folder / name).read_bytes()
    for cut in range(len(whole) + 1):
        (log.folder / name).write_bytes(held + whole[:cut])
        state = read_log(log.folder)
        complete = cut == len(whole)
        assert [e.facts for e in state.entries] == [*before, *([key_use(9999)[1]] * complete)]
        assert (state.beyond, state.torn) == ((1, 0) if complete else (0, cut))
        if cut % 16 == 1 or cut > len(whole) - 4:
            here = copied(log, tmp_path / f"cut{cut}")
            here.append(*key_use(1))
            assert told(here) == [*before, *([key_use(9999)[1]] * complete), key_use(1)[1]]


def test_a_kill_inside_a_write_of_several_entries(long_log, tmp_path, fast):
    """What is whole of them is taken in, also where the write went over the end of a file."""
    here = copied(long_log, tmp_path / "l")
    before = told(here)
    full = copied(long_log, tmp_path / "full")
    full.append_all([key_use(i) for i in range(3)])
    for name in ("entries/000.jsonl", "entries/001.jsonl"):
        shutil.copy(full.folder / name, here.folder / name)
    os.truncate(here.folder / "entries/001.jsonl", (here.folder / "entries/001.jsonl").stat().st_size - 5)
    state = read_log(here.folder)
    assert (state.beyond, [e.facts for e in state.entries][255:]) == (2, [key_use(0)[1], key_use(1)[1]])
    assert here.append(*key_use(7)).number == 257
    assert told(here) == [*before, key_use(0)[1], key_use(1)[1], key_use(7)[1]]


def test_a_full_disk_is_said_and_the_log_goes_on(tmp_path, fast):
    log = make_log(tmp_path / "l", generate())
    count = operations(copied(log, tmp_path / "count"))
    refused = 0
    for at in range(count):
        here = copied(log, tmp_path / f"at{at}")
        try:
            attempt(here, at=at, full=True)
        except StorageError as error:
            refused += 1
            assert os.strerror(errno.ENOSPC) in str(error)
        here.append(*key_use(1))
        assert told(here) in ([key_use(1)[1]], [key_use(9999)[1], key_use(1)[1]])
    assert refused > count // 2


def test_a_half_written_line_is_taken_back_on_a_full_disk(tmp_path, fast, monkeypatch):
    log = make_log(tmp_path / "l", generate())
    log.append("run", RUN)
    held = (log.folder / "entries/000.jsonl").read_bytes()
    write, room = os.write, [20, 7]

    def full(fd, data):
        if not room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(fd, bytes(data)[: room.pop()])

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(StorageError, match="No space"):
            log.append(*key_use(123456789))
    assert (log.folder / "entries/000.jsonl").read_bytes() == held


def test_tiles_that_were_lost_are_made_anew(long_log, tmp_path, fast):
    here = copied(long_log, tmp_path / "l")
    here.append_all([key_use(i) for i in range(20)])
    before = {p.relative_to(here.folder): p.read_bytes() for p in (here.folder / "tile").rglob("*") if p.is_file()}
    shutil.rmtree(here.folder / "tile")
    with pytest.raises(ArtefactError, match="makes all tiles anew"):
        read_log(here.folder)
    here.append(*key_use(1))
    read_log(here.folder)
    assert (here.folder / "tile/0/000").read_bytes() == before[Path("tile/0/000")]


APPENDS = """
import sys
from securegen.governance.audit_beside import record
print("ready", flush=True)
for i in range(12):
    record(sys.argv[1], "key", {"action": "unlocked", "key": f"{i:064x}"})
"""


def test_two_processes_at_once(tmp_path):
    """Both make the log, both write: no entry is lost, none has another's place."""
    (tmp_path / "policy.toml").write_text("")
    other = subprocess.Popen([sys.executable, "-c", APPENDS, tmp_path / "x"], stdout=subprocess.PIPE)
    assert other.stdout.readline() == b"ready\n"
    for i in range(12):
        record(tmp_path / "x", *key_use(i))
    assert other.wait(300) == 0
    other.stdout.close()
    state = read_log(tmp_path / "audit")
    assert len(state.entries) == 24 and state.beyond == 0
    assert sorted(e.facts["key"] for e in state.entries) == sorted([digest(i) for i in range(12)] * 2)


def test_there_is_a_log_where_there_is_a_policy(tmp_path, fast):
    (tmp_path / "cohort").mkdir()
    assert log_beside(tmp_path / "key.secret") is None and record(tmp_path / "key.secret", "run", RUN) is None
    assert not list(tmp_path.glob("audit*"))
    (tmp_path / "policy.toml").write_text("")
    assert record(tmp_path / "key.secret", "run", RUN).size == 1
    assert record(tmp_path / "cohort", "run", RUN).size == 2, "a folder beside the policy"
    (tmp_path / "cohort/policy.toml").symlink_to("nowhere")
    assert record(tmp_path / "cohort", "run", RUN).size == 3 and len(told_in(tmp_path / "cohort/audit")) == 1, (
        "both govern"
    )
    assert (tmp_path / "audit.secret").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("gone, error", [("audit", StorageError), ("audit.secret", StorageError)])
def test_a_log_that_was_taken_away_is_not_begun_again(tmp_path, fast, gone, error):
    (tmp_path / "policy.toml").write_text("")
    record(tmp_path / "x", "run", RUN)
    path = tmp_path / gone
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(error, match="gone"):
        record(tmp_path / "x", "run", RUN)


def test_a_kill_while_the_log_is_made(tmp_path, fast):
    for at in range(100):
        place = tmp_path / str(at)
        place.mkdir()
        (place / "policy.toml").write_text("")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "fsync", lambda _: None)
            Machine(patch, at=at)
            try:
                record(place / "x", "run", RUN)
                break
            except Killed:
                pass
        assert record(place / "x", "run", RUN).size in (1, 2)
        assert sorted(p.name for p in place.iterdir()) == ["audit", "audit.secret", "policy.toml"]
        assert len(read_log(place / "audit").entries) in (1, 2)
    assert at > 20


def test_another_logs_key_is_refused(tmp_path, fast):
    log = make_log(tmp_path / "audit", generate())
    with pytest.raises(KeyFileError, match="has key"):
        AuditLog.open(log.folder, generate())
    with pytest.raises(ArtefactError, match="no audit log"):
        AuditLog.open(tmp_path / "none", generate())
    with pytest.raises(StorageError, match="exists"):
        audit_beside.make_log(log.folder, generate())
