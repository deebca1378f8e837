"""A register of consent: attacked by tables, by files of another day, and by hand; it names nobody."""

from __future__ import annotations

import shutil
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from securegen.errors import InputError, PolicyError, StorageError, UsageError
from securegen.governance import consent_steps as steps
from securegen.governance.consent_file import ledger_of, open_register
from securegen.model import Samples

DAY = date(2026, 6, 1)
HEADER = "FID\tIID\tDUO\tMODIFIERS\tDATE\tEVIDENCE"


def table(folder: Path, *rows: str, header: str = HEADER, name: str = "consents.tsv", end: str = "\n") -> Path:
    path = folder / name
    path.write_bytes((end.join([header, *rows]) + end).encode())
    return path


def people(*names: str) -> Samples:
    pairs = [name.split() for name in names]
    fid, iid = (np.array([p[i] for p in pairs], object) for i in (0, 1))
    return Samples(fid, iid, np.ones(len(pairs), bool))


@pytest.fixture
def register(tmp_path) -> Path:
    """F1 I1: health; F2 I2: a disease; F3 I3: general, not for profit; F4 I4: general, a last day."""
    rows = ("F1\tI1\tHMB\t.\t2025-01-01\tNA", "F2\tI2\tds:mondo:0005015\t\t2025-01-01\t" + "ab" * 32,
            "F3\tI3\tGRU\tNPU, PUB\t2025-01-01\t.", "F4\tI4\tGRU\tTS:2025-12-31\t2025-01-01\t.")  # fmt: skip
    path = tmp_path / "register.tsv"
    assert steps.import_table(path, table(tmp_path, *rows), today=DAY).new == 4
    return path


ALL = people("F1 I1", "F2 I2", "F3 I3", "F4 I4", "F5 I5")


def allowed(register: Path, purpose: str = "DS:MONDO:0005148", samples: Samples = ALL, today: date = DAY) -> list[bool]:
    return steps.check(register, samples, purpose, today=today).people.tolist()


def test_whose_consent_covers_a_purpose(register):
    assert allowed(register) == [True, True, False, False, False]
    assert allowed(register, "ds:mondo:0005148,npu") == [True, True, True, False, False]
    assert allowed(register, "HMB,NPU", today=date(2025, 12, 31)) == [True, False, True, True, False]
    found = steps.check(register, ALL, "HMB,NPU", today=DAY)
    assert found.why == {"DS": 1, "TS": 1, "absent": 1} and found.obligations == {"PUB": 1}
    assert found.reason.to_json()["text"].startswith("the consent of 2 of 5 people covers it")


def test_a_disease_that_the_table_lacks_covers_nobody(register, tmp_path):
    with pytest.raises(PolicyError, match="consent.disease"):
        steps.check(register, ALL, "DS:MONDO:9999999", today=DAY)
    own = tmp_path / "mondo.tsv"
    own.write_text("MONDO:9999999\tMONDO:0005015\n")
    assert steps.check(register, ALL, "DS:MONDO:9999999", mondo=own, today=DAY).people.tolist()[:2] == [True, True]
    with pytest.raises(UsageError, match="purpose"):
        steps.check(register, ALL, "disease", today=DAY)


def test_a_withdrawal_counts_at_once_and_an_older_table_does_not_undo_it(register, tmp_path):
    again = tmp_path / "consents.tsv"
    list_ = tmp_path / "leaving.txt"
    list_.write_text("#FID IID\nF1 I1\n")
    assert steps.withdraw(register, list_, today=DAY) == (1, ())
    assert steps.withdraw(register, list_, today=DAY) == (0, ())
    assert allowed(register)[0] is False
    made = steps.import_table(register, again, today=DAY)  # the whole table again
    assert (made.unchanged, made.withdrawn, made.new, made.changed) == (3, 1, 0, 0) and allowed(register)[0] is False
    same_day = table(tmp_path, "F1\tI1\tHMB\t.\t2026-06-01\t.", name="b.tsv")
    assert steps.import_table(register, same_day, today=DAY).withdrawn == 1 and allowed(register)[0] is False
    later = table(tmp_path, "F1\tI1\tHMB\t.\t2026-06-02\t.", name="c.tsv")
    assert steps.import_table(register, later, today=date(2026, 6, 3)).changed == 1
    assert allowed(register, today=date(2026, 6, 3))[0] is True
    assert allowed(register, today=DAY)[0] is False  # a clock that is turned back


def test_a_withdrawn_person_is_not_used_under_a_name_without_family(register, tmp_path):
    """As a VCF has people: alone, or with the family's id in front."""
    assert allowed(register, samples=people("0 I1", "0 F1_I1", "0 I5")) == [True, True, False]
    list_ = tmp_path / "leaving.txt"
    list_.write_text("I1\n")
    steps.withdraw(register, list_, today=DAY)
    for row in ("0\tI1\tGRU\t.\t2025-01-01\t.", "\tI1\tGRU\t.\t2025-01-01\t."):
        steps.import_table(register, table(tmp_path, row, name="b.tsv"), today=DAY)
    assert allowed(register, samples=people("0 I1", "0 F1_I1", "F1 I1")) == [
        False, False, False,
    ]  # fmt: skip


def test_an_id_that_two_people_share_is_nobody(tmp_path):
    path = tmp_path / "r.tsv"
    steps.import_table(
        path,
        table(tmp_path, "A\t1\tGRU\t.\t2025-01-01\t.", "B\t1\tGRU\t.\t2025-01-01\t.", "0\t2\tGRU\t.\t2025-01-01\t."),
    )
    assert allowed(path, samples=people("A 1", "B 1", "0 1", "A 2", "B 2")) == [True, True, False, False, False]
    list_ = tmp_path / "leaving.txt"
    list_.write_text("1\n")
    with pytest.raises(InputError, match="several people"):
        steps.withdraw(path, list_)
    list_.write_text("A 1\n")
    steps.withdraw(path, list_)
    assert allowed(path, samples=people("A 1", "B 1")) == [False, True]


def test_ids_are_letter_by_letter_and_lines_may_end_in_cr_lf(tmp_path):
    path = tmp_path / "r.tsv"
    steps.import_table(path, table(tmp_path, "F\té1\tGRU\t.\t2025-01-01\t.", "F\tx\tGRU\t.\t2025-01-01\t.", end="\r\n"))
    assert allowed(path, samples=people("F é1", "F E1", "F X", "F x", "F e\N{COMBINING ACUTE ACCENT}1")) == [
        True,
        False,
        False,
        True,
        False,
    ]
    for who in ("F X", "F é1x", "F e\N{COMBINING ACUTE ACCENT}1", "F \N{ZERO WIDTH SPACE}x", "G x", ""):
        list_ = tmp_path / "leaving.txt"
        list_.write_text(who + "\r\n")
        with pytest.raises(InputError):
            steps.withdraw(path, list_)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (["F1\tI1\tHMB\t.\t2025-01-01\t.", "F1\tI1\tGRU\t.\t2025-01-01\t."], "lines 2 and 3 name one person"),
        (["0\tI1\tHMB\t.\t2025-01-01\t.", "\tI1\tHMB\t.\t2025-01-01\t."], "one person"),
        (["F1\tI1\tHMB\t.\t2026-06-02\t."], "line 2: the day 2026-06-02 lies ahead"),
        (["F1\tI1\tHMB\t.\t01.02.2025\t."], "YYYY-MM-DD"), (["F1\tI1\tHMB\t.\t\t."], "YYYY-MM-DD"),
        (["F1\tI1\tHMB\tfree text\t2025-01-01\t."], "line 2"), (["F1\tI1\tXX\t.\t2025-01-01\t."], "line 2"),
        (["F1\tI1\tHMB\t.\t2025-01-01\tsigned on paper"], "SHA-256"), (["F1\tI1\tHMB\t.\t2025-01-01"], "5 fields"),
        (["F1\t\tHMB\t.\t2025-01-01\t."], "an id is empty"), (["F1\tI 1\tHMB\t.\t2025-01-01\t."], "blank"),
        (['F1\t"I1"\tHMB\t.\t2025-01-01\t.'], "quoted"), (["F1\tI\N{NO-BREAK SPACE}1\tHMB\t.\t2025-01-01\t."], "blank"),
    ],
)  # fmt: skip
def test_a_table_is_taken_whole_or_not_at_all(rows, words, tmp_path):
    path = tmp_path / "r.tsv"
    good = "F9\tI9\tHMB\t.\t2025-01-01\t."
    with pytest.raises(InputError, match=words) as caught:
        steps.import_table(path, table(tmp_path, *rows, good), today=DAY)
    assert "I1" not in str(caught.value) and not path.exists()


def test_columns_that_do_not_belong_in_a_register_are_refused(tmp_path):
    for header in ("FID\tIID\tDUO\tDATE\tNAME", "FID\tIID\tDATE", "FID\tIID\tIID\tDUO\tDATE", "FID,IID,DUO,DATE"):
        with pytest.raises(InputError, match="the header has"):
            steps.import_table(tmp_path / "r.tsv", table(tmp_path, "a\tb\tGRU\t2025-01-01\tc", header=header))


def test_two_consents_of_a_person(register, tmp_path):
    """The later day counts, whatever the order of import; two of one day are refused."""
    later = table(tmp_path, "F1\tI1\tPOA\t.\t2025-06-01\t.", name="b.tsv")
    assert steps.import_table(register, later, today=DAY).changed == 1 and allowed(register)[0] is False
    assert (
        steps.import_table(register, tmp_path / "consents.tsv", today=DAY).older == 1 and allowed(register)[0] is False
    )
    two = table(tmp_path, "F1\tI1\tGRU\t.\t2025-06-01\t.", name="c.tsv")
    with pytest.raises(InputError, match="another consent of this person of the same day"):
        steps.import_table(register, two, today=DAY)


def test_an_edited_register_names_its_line(register):
    lines = register.read_bytes().split(b"\n")
    for change in (
        lambda t: t[:4] + [t[4].replace(b"GRU", b"HMB")] + t[5:], lambda t: t[:3] + t[4:], lambda t: [*t[:3], t[4], t[3], *t[5:]],
        lambda t: [*t[:-1], t[-2], b""], lambda t: t[:-2] + [t[-2].replace(b"2025-12-31", b"2035-12-31"), b""],
    ):  # fmt: skip
        register.write_bytes(b"\n".join(change(list(lines))))
        with pytest.raises(StorageError, match=r"line \d+: it was altered"):
            allowed(register)
    for raw in (
        b"\n".join(lines)[:-1],
        b"\n".join(lines[1:]),
        b"",
        b"\r\n".join(lines),
        b"\n".join(lines) + "é".encode(),
    ):
        register.write_bytes(raw)
        with pytest.raises(StorageError):
            allowed(register)
    register.write_bytes(b"\n".join(lines))
    assert allowed(register)[0]


def test_an_older_register_another_one_and_one_that_is_gone_are_refused(register, tmp_path):
    old = register.read_bytes()
    list_ = tmp_path / "leaving.txt"
    list_.write_text("F1 I1\n")
    steps.withdraw(register, list_, today=DAY)
    new = register.read_bytes()
    register.write_bytes(old)
    with pytest.raises(StorageError, match="older register"):
        allowed(register)
    for command in (lambda: steps.import_table(register, tmp_path / "consents.tsv"), lambda: steps.listing(register)):
        with pytest.raises(StorageError, match="older register"):
            command()
    register.unlink()
    with pytest.raises(StorageError, match="is gone"):
        allowed(register)
    with pytest.raises(StorageError, match="is gone"):
        steps.import_table(register, tmp_path / "consents.tsv")
    register.write_bytes(new)
    with pytest.raises(StorageError, match="open to others"):
        register.chmod(0o644)
        allowed(register)
    register.chmod(0o600)
    assert allowed(register)[0] is False
    other = tmp_path / "other.tsv"
    steps.import_table(other, tmp_path / "consents.tsv", today=DAY)
    shutil.copy(other, register)
    with pytest.raises(StorageError):
        allowed(register)
    for lost in (ledger_of(other), Path(f"{ledger_of(other)}.key")):
        kept = lost.read_bytes()
        lost.unlink()
        with pytest.raises(StorageError):
            allowed(other)
        lost.write_bytes(kept)
        lost.chmod(0o600)
    link = tmp_path / "link.tsv"
    link.symlink_to(other)
    with pytest.raises(StorageError, match="link"):
        allowed(link)
    with pytest.raises(StorageError, match="is not there"):
        allowed(tmp_path / "none.tsv")


def test_a_register_that_was_written_when_its_ledger_was_not_goes_on(register, tmp_path):
    """Killed between the two: the lines are marked by the key, and are kept."""
    before = {path: path.read_bytes() for path in tmp_path.glob("register.tsv.ledger*")}
    list_ = tmp_path / "leaving.txt"
    list_.write_text("F1 I1\n")
    steps.withdraw(register, list_, today=DAY)
    for path, content in before.items():
        path.write_bytes(content)
    assert allowed(register)[0] is False
    with open_register(register) as opened:
        assert len(opened.lines) == 5 == opened.ledger.register[0]
    before = register.read_bytes()
    register.write_bytes(b"".join(before.splitlines(keepends=True)[:-1]))
    with pytest.raises(StorageError, match="older register"), open_register(register):
        pass  # the ledger has caught up


def test_nothing_personal_is_written(register, tmp_path):
    list_ = tmp_path / "leaving.txt"
    list_.write_text("F1 I1\n")
    steps.withdraw(register, list_, today=DAY)
    for path in tmp_path.glob("register.tsv*"):
        assert path.stat().st_mode & 0o077 == 0
        binary = path.name.endswith(".ledger")  # two letters may be in any random bytes
        names = (b"F3_I3", b"F1\tI1", b"F1_I1") if binary else (b"F1", b"I1", b"I2", b"F3_I3")
        assert not any(name in path.read_bytes() for name in names)
    found = steps.listing(register)
    assert found.people["withdraw"] == 1 and found.entries == 5 and found.mark in "\n".join(found.text())


def test_the_history_stays_and_its_time_does_not_go_back(register, tmp_path, monkeypatch):
    first = register.read_text().split("\n")[:6]
    from securegen.governance import consent_file

    class Turned(consent_file.datetime):
        @classmethod
        def now(cls, zone=None):
            return cls(2001, 1, 1, tzinfo=zone)

    monkeypatch.setattr(consent_file, "datetime", Turned)
    list_ = tmp_path / "leaving.txt"
    list_.write_text("F1 I1\n")
    steps.withdraw(register, list_, today=DAY)
    lines = register.read_text().split("\n")
    assert lines[:6] == first and lines[6].split("\t")[0] == lines[5].split("\t")[0]
