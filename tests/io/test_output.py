"""Files are written whole or not at all, and tables hold every digit."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from securegen import vocabulary as voc
from securegen.catalogue import TESTS
from securegen.errors import StorageError
from securegen.io import output
from securegen.io.output import atomic, copy_file, write_array, write_json, write_text
from securegen.model import Variants
from securegen.results.rows import column_text, table_text

PACKAGE = Path(output.__file__).parents[1]
LOCKS = {
    "scores/ledger.py",
    "engines/federated/state.py",
    "governance/audit_folder.py",  # a log is appended to
    "governance/ledger_file.py",
    "governance/noise_store.py",
    "io/locks.py",
    "local/folders.py",
    "engines/mpc/state_file.py",
}
CRASHES = {"cli/crash.py"}  # written when all else has failed


def test_a_file_appears_whole_with_its_mode(tmp_path):
    path = tmp_path / "deep" / "er" / "file"
    with atomic(path, mode=0o600) as stream:
        stream.write(b"half")
        assert not path.exists()
        stream.write(b" whole")
    assert path.read_bytes() == b"half whole" and stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(path.parent) == ["file"]


@pytest.mark.parametrize(
    "error", [ValueError("stop"), KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device")]
)
def test_nothing_is_left_when_writing_stops(tmp_path, error):
    path = tmp_path / "file"
    write_text(path, "before")
    expected = StorageError if isinstance(error, OSError) else type(error)
    with pytest.raises(expected), atomic(path) as stream:
        stream.write(b"x" * 100_000)
        raise error
    assert path.read_text() == "before" and os.listdir(tmp_path) == ["file"]


def test_no_space_no_folder_no_name_are_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"cannot make the folder .*/file: a file is in the way"):
        write_text(tmp_path / "file" / "below", "x")
    (tmp_path / "folder").mkdir()
    with pytest.raises(StorageError, match="cannot write .*/folder: Is a directory"):
        write_text(tmp_path / "folder", "x")
    with pytest.raises(StorageError, match="cannot write .*: File name too long"):
        write_text(tmp_path / ("n" * 300), "x")
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]


def test_an_existing_file_is_kept_when_asked(tmp_path):
    write_text(tmp_path / "key", "first", overwrite=False)
    with pytest.raises(StorageError, match="key exists and is not overwritten: choose another name or remove it"):
        write_text(tmp_path / "key", "second", overwrite=False)
    assert (tmp_path / "key").read_text() == "first" and os.listdir(tmp_path) == ["key"]


@contextlib.contextmanager
def umask(value: int):
    before = os.umask(value)
    try:
        yield
    finally:
        os.umask(before)


@pytest.mark.parametrize(("value", "file", "folder"), [(0o077, 0o600, 0o700), (0o022, 0o644, 0o755), (0, 0o666, 0o777)])
def test_the_umask_is_respected_and_secrets_are_private_whatever_it_says(tmp_path, value, file, folder):
    with umask(value):
        write_text(tmp_path / "new" / "table", "x")
        write_text(tmp_path / "a" / "b" / "key", "x", mode=0o600)
        copy_file(tmp_path / "a" / "b" / "key", tmp_path / "new" / "copy", mode=0o600)
        write_text(tmp_path / "given" / "cohort", "x", mode=output.FOR_OTHERS)
    mode = lambda *parts: stat.S_IMODE(tmp_path.joinpath(*parts).stat().st_mode)  # noqa: E731
    assert (mode("new", "table"), mode("new")) == (file, folder)
    assert (mode("a", "b", "key"), mode("new", "copy"), mode("a", "b"), mode("a")) == (0o600, 0o600, 0o700, 0o700)
    assert (mode("given", "cohort"), mode("given")) == (output.FOR_OTHERS, output.FOLDER_FOR_OTHERS)


def test_what_others_read_has_the_umask_of_who_started_the_process(tmp_path):
    code = (
        "import os; from securegen.cli.lockdown import lock_down_process as l; from securegen.io.output import *; l(); "
        + ("write_text('s/for-others', '', mode=FOR_OTHERS); write_text('own', ''); print(oct(os.umask(0)))")
    )
    with umask(0o027):
        done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "0o27"
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("s", "s/for-others", "own")]
    assert modes == [0o750, 0o640, 0o640]


def test_a_link_at_the_name_is_replaced_and_not_followed(tmp_path):
    (tmp_path / "victim").write_text("precious")
    (tmp_path / "key").symlink_to("victim")
    with pytest.raises(StorageError, match="exists and is not overwritten"):
        write_text(tmp_path / "key", "secret", mode=0o600, overwrite=False)
    write_text(tmp_path / "key", "secret", mode=0o600)
    assert (tmp_path / "victim").read_text() == "precious" and not (tmp_path / "key").is_symlink()


def test_leftovers_of_a_killed_writer_are_deleted_and_nothing_else(tmp_path):
    writer = (
        "import os, sys; from securegen.io.output import atomic\nwith atomic('table') as s: s.write(b'x'); os._exit(9)"
    )
    assert subprocess.run([sys.executable, "-c", writer], cwd=tmp_path).returncode == 9
    (left,) = os.listdir(tmp_path)
    assert left.startswith(".table.")
    others = [".table.settings", ".table2.00000000", ".table.0000000", "table.00000000", ".tablex00000000"]
    for name in others:
        (tmp_path / name).touch()
    (tmp_path / ".table.11111111").symlink_to(".table.settings")
    with atomic(tmp_path / "table") as first:  # a living one is not touched
        first.write(b"first")
        write_text(tmp_path / "table", "second")
        assert len([n for n in os.listdir(tmp_path) if n.startswith(".table.")]) == 4
    assert (tmp_path / "table").read_text() == "first"
    assert sorted(os.listdir(tmp_path)) == sorted([*others, ".table.11111111", "table"])


def test_a_name_taken_for_abandoned_between_opening_and_locking_is_given_up(tmp_path, monkeypatch):
    taken = []

    def lock(descriptor: int, kind: int) -> None:
        if not taken:  # another process locks and deletes it first
            taken.append(os.readlink(f"/proc/self/fd/{descriptor}"))
            output.delete_abandoned(tmp_path, "table")
        real(descriptor, kind)

    real = fcntl.flock
    monkeypatch.setattr(output.fcntl, "flock", lock)
    write_text(tmp_path / "table", "whole")
    assert taken and os.listdir(tmp_path) == ["table"] and (tmp_path / "table").read_text() == "whole"


def test_what_promises_rest_on_is_synced_before_and_after_it_gets_its_name(tmp_path, monkeypatch):
    synced = []

    def sync(descriptor: int) -> None:
        synced.append((os.readlink(f"/proc/self/fd/{descriptor}").rpartition("/")[2][:6], (tmp_path / "f").exists()))

    monkeypatch.setattr(output.os, "fsync", sync)
    write_text(tmp_path / "f", "table")
    assert synced == []
    (tmp_path / "f").unlink()
    write_text(tmp_path / "f", "key", mode=0o600)
    assert synced == [(".f." + synced[0][0][3:], False), (tmp_path.name[:6], True)]
    write_text(tmp_path / "f", "public", durable=True)
    assert len(synced) == 4


def test_a_file_above_the_limit_is_an_error_of_storage_and_leaves_the_old_one(tmp_path):
    code = """if True:
        import resource, numpy as np
        from securegen.errors import StorageError
        from securegen.io import output
        output.write_text("old", "good")
        open("big", "wb").write(bytes(200_000))
        resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))
        big = np.zeros(100_000)
        for write in (lambda: output.write_array("old", big), lambda: output.write_text("old", "x" * 100_000),
                      lambda: output.copy_file("big", "old"), lambda: output.write_text("new", "x" * 100_000, mode=0o600)):
            try:
                write()
            except StorageError as error:
                print(error)
    """
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [f"cannot write {n}: File too large" for n in ("old", "old", "old", "new")]
    assert sorted(os.listdir(tmp_path)) == ["big", "old"] and (tmp_path / "old").read_text() == "good"


def test_an_error_of_a_peer_met_while_writing_stays_one(tmp_path):
    with pytest.raises(ConnectionResetError), atomic(tmp_path / "f"):
        raise ConnectionResetError("peer")
    with (
        pytest.raises(StorageError, match=r"cannot write .*/f: \[Errno 5\] Input/output error: '/other'"),
        atomic(tmp_path / "f"),
    ):
        raise OSError(errno.EIO, "Input/output error", "/other")


def test_nobody_writes_a_file_another_way():
    """Other ways leave halves behind."""
    calls = (r"shutil\.copy[a-z0-9_]*\(\w+, ", r"shutil\.(move|copyfile)\(", r"\.write_(text|bytes)\(", r"np\.save\(")
    ways = re.compile("|".join([*calls, r"open\([^)]*[\"'][wax]b?[\"']", r"\.tofile\(", "O_CREAT"]))
    found = {
        f"{path.relative_to(PACKAGE)}"
        for path in PACKAGE.rglob("*.py")
        for line in path.read_text().splitlines()
        if ways.search(line)
    }
    assert found - LOCKS - CRASHES == {"io/output.py"}


def test_json_and_arrays_come_back(tmp_path):
    write_json(tmp_path / "j.json", {"b": [1, None], "a": 2.5})
    assert (tmp_path / "j.json").read_text() == '{\n "a": 2.5,\n "b": [\n  1,\n  null\n ]\n}\n'
    array = np.arange(24, dtype="<u4").reshape(2, 3, 4)[:, :, ::2]
    size = write_array(tmp_path / "a.npy", array)
    assert size == (tmp_path / "a.npy").stat().st_size
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy", allow_pickle=False), array)
    with pytest.raises(ValueError, match="allow_pickle"):
        write_array(tmp_path / "o.npy", np.array([object()]))
    for array in (
        np.zeros((0, 3), "<u2"),
        np.float64(2.5),
        np.asfortranarray(np.arange(6).reshape(2, 3)),
        np.ones(3, "S4"),
    ):
        write_array(tmp_path / "a.npy", array)
        np.save(tmp_path / "b.npy", np.ascontiguousarray(array), allow_pickle=False)
        assert (tmp_path / "a.npy").read_bytes() == (tmp_path / "b.npy").read_bytes()
    (tmp_path / "b.npy").unlink()
    assert sorted(os.listdir(tmp_path)) == ["a.npy", "j.json"]


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_seventeen_digits_are_every_digit(value):
    (text,) = column_text(np.array([value]))
    assert float(text) == value


def test_missing_integers_and_text():
    assert column_text(np.array([np.nan, 0.1])) == ["NA", "0.10000000000000001"]
    assert column_text(np.array([np.nan, 0.123456789]), 6) == ["NA", "0.123457"]
    assert column_text(np.array([3, -4])) == ["3", "-4"]
    assert column_text(np.array(["A", "."], dtype=object)) == ["A", "."]


def variants(count: int) -> Variants:
    text = lambda prefix: np.array([f"{prefix}{i}" for i in range(count)], dtype=object)  # noqa: E731
    return Variants(text("chr"), np.arange(count) * 10, text("rs"), text("A"), text("G"))


def p_text(p, log10p, digits=17):
    """The column P of a table."""
    return table_text(variants(len(p)), {"P": p, "LOG10_P": log10p}, ("P",), digits).decode().split()


@given(st.floats(0.0, 5e6), st.sampled_from([3, 6, 17]))
def test_no_p_is_written_as_zero(log10p, digits):
    p = 10.0**-log10p  # underflows beyond 1e-324
    (text,) = p_text(np.array([p]), np.array([log10p]), digits)
    mantissa, _, exponent = text.partition("e")
    assert float(mantissa) > 0
    written = np.log10(float(mantissa)) + int(exponent or 0)
    # rounding to `digits` (12 at most where p comes from its logarithm), and of the logarithm itself
    assert abs(written + log10p) <= 10.0 ** (1 - min(digits, 12)) + 4e-16 * log10p
    assert 1 <= int(mantissa.partition(".")[0]) < 10 or p > 1e-5


def test_missing_p_stays_missing():
    assert p_text(np.array([np.nan, 0.5]), np.array([np.nan, 0.30103])) == ["NA", "0.5"]


def test_rows_follow_the_order_of_the_columns():
    columns = {name: np.array([0.25, np.nan]) for name in voc.LINEAR_COLUMNS[6:]}
    columns |= {"TEST": np.array(["ADD", "ADD"], dtype=object), "OBS_CT": np.array([7, 8]),
                "ERRCODE": np.array([".", "ALL_MISSING"], dtype=object)}  # fmt: skip
    first, second = table_text(variants(2), columns, voc.LINEAR_COLUMNS, 6).decode().splitlines(keepends=True)
    assert first == "chr0\t0\trs0\tG0\tA0\tA0\t0.25\tADD\t7\t0.25\t0.25\t0.25\t0.25\t0.25\t0.25\t0.25\t.\n"
    assert second == "chr1\t10\trs1\tG1\tA1\tA1\tNA\tADD\t8" + "\tNA" * 7 + "\tALL_MISSING\n"


def test_the_columns_are_those_of_the_contract():
    assert " ".join(voc.LINEAR_COLUMNS) == (
        "#CHROM POS ID REF ALT A1 A1_FREQ TEST OBS_CT BETA SE L95 U95 T_STAT P LOG10_P ERRCODE"
    )
    assert TESTS["linear"].suffix == "glm.linear"


def test_a_private_folder_is_made_or_shut(tmp_path):
    for name, mode in (("new", None), ("empty", 0o777), ("read", 0o755)):
        folder = tmp_path / name
        if mode is not None:
            folder.mkdir()
            folder.chmod(mode)
        if name == "read":
            (folder / "file").touch()
        output.private_folder(folder)
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_private_folder_that_another_may_have_filled_is_refused_until_its_owner_shuts_it(tmp_path, monkeypatch):
    folder = tmp_path / "private"
    folder.mkdir()
    (folder / "invitation").symlink_to(tmp_path)
    folder.chmod(0o770)
    for _ in range(2):  # refusing changes nothing
        with pytest.raises(StorageError, match="others may write in .*private, and something lies there"):
            output.private_folder(folder)
    folder.chmod(0o700)
    output.private_folder(folder)
    own = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: own + 1)
    with pytest.raises(StorageError, match="another user's"):
        output.private_folder(folder)
