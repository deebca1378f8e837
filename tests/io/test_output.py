"""Files are written whole or not at all, and tables hold every digit."""

from __future__ import annotations

import errno
import os
import stat

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from securegen import vocabulary as voc
from securegen.errors import StorageError
from securegen.io.output import atomic, write_array, write_json, write_text
from securegen.io.sumstats import format_column, p_text, table_rows
from securegen.model import Variants


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


def test_json_and_arrays_come_back(tmp_path):
    write_json(tmp_path / "j.json", {"b": [1, None], "a": 2.5})
    assert (tmp_path / "j.json").read_text() == '{\n "a": 2.5,\n "b": [\n  1,\n  null\n ]\n}\n'
    array = np.arange(24, dtype="<u4").reshape(2, 3, 4)[:, :, ::2]
    size = write_array(tmp_path / "a.npy", array)
    assert size == (tmp_path / "a.npy").stat().st_size
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy", allow_pickle=False), array)
    with pytest.raises(ValueError, match="allow_pickle"):
        write_array(tmp_path / "o.npy", np.array([object()]))
    assert sorted(os.listdir(tmp_path)) == ["a.npy", "j.json"]


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_seventeen_digits_are_every_digit(value):
    (text,) = format_column(np.array([value]))
    assert float(text) == value


def test_missing_integers_and_text():
    assert format_column(np.array([np.nan, 0.1])) == ["NA", "0.10000000000000001"]
    assert format_column(np.array([np.nan, 0.123456789]), 6) == ["NA", "0.123457"]
    assert format_column(np.array([3, -4])) == ["3", "-4"]
    assert format_column(np.array(["A", "."], dtype=object)) == ["A", "."]


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


def variants(count: int) -> Variants:
    text = lambda prefix: np.array([f"{prefix}{i}" for i in range(count)], dtype=object)  # noqa: E731
    return Variants(text("chr"), np.arange(count) * 10, text("rs"), text("A"), text("G"))


def test_rows_follow_the_order_of_the_columns():
    columns = {name: np.array([0.25, np.nan]) for name in voc.LINEAR_COLUMNS[6:]}
    columns |= {"TEST": np.array(["ADD", "ADD"], dtype=object), "OBS_CT": np.array([7, 8]),
                "ERRCODE": np.array([".", "ALL_MISSING"], dtype=object)}  # fmt: skip
    first, second = table_rows(variants(2), columns, voc.LINEAR_COLUMNS, 6)
    assert first == "chr0\t0\trs0\tG0\tA0\tA0\t0.25\tADD\t7\t0.25\t0.25\t0.25\t0.25\t0.25\t0.25\t0.25\t.\n"
    assert second == "chr1\t10\trs1\tG1\tA1\tA1\tNA\tADD\t8" + "\tNA" * 7 + "\tALL_MISSING\n"


def test_the_columns_are_those_of_the_contract():
    assert " ".join(voc.LINEAR_COLUMNS) == (
        "#CHROM POS ID REF ALT A1 A1_FREQ TEST OBS_CT BETA SE L95 U95 T_STAT P LOG10_P ERRCODE"
    )
    assert voc.TABLE_SUFFIX["linear"] == "glm.linear"
