"""A file that is read in parts: every value once, in order, and nothing altered passes its last part."""

from __future__ import annotations

import numpy as np
import pytest

from securegen.engines.ckks import artefact
from securegen.engines.ckks.file_parts import FileInParts

SHAPE, PARTS = (3, 1000, 16), [1, 999, 15_000, 0, 32_000]


@pytest.fixture
def written(tmp_path):
    """(values, their file's entry)"""
    values = np.random.default_rng(1).integers(0, 1 << 32, SHAPE, dtype=np.uint32)
    return values, vars(artefact.write_entry(tmp_path, "x.npy", values))


def read(folder, entry, parts=PARTS, shape=SHAPE):
    file, out = FileInParts(folder, entry, shape), []
    for count in parts:
        with file.next(count) as part:
            assert not part.flags.writeable
            out.append(part.copy())
    return np.concatenate(out)


def test_parts_are_the_file(written, tmp_path):
    values, entry = written
    np.testing.assert_array_equal(read(tmp_path, entry), values.reshape(-1))


@pytest.mark.parametrize("at", [0, 20, 127, 128, 5_000, -1])
def test_a_changed_byte_is_found_with_the_last_part(at, written, tmp_path):
    _, entry = written
    raw = bytearray((tmp_path / "x.npy").read_bytes())
    raw[at] ^= 1
    (tmp_path / "x.npy").write_bytes(raw)
    read(tmp_path, entry, PARTS[:-1])
    with pytest.raises(artefact.ArtefactError, match=r"x\.npy does not have the digest"):
        read(tmp_path, entry)


def test_a_file_that_is_exchanged_between_two_parts_is_found(written, tmp_path):
    values, entry = written
    file = FileInParts(tmp_path, entry, SHAPE)
    with file.next(24_000):
        artefact.write_entry(tmp_path, "x.npy", values[::-1])
    with pytest.raises(artefact.ArtefactError, match="altered"), file.next(24_000):
        pass


def test_another_array_of_the_same_size_is_refused(written, tmp_path):
    _, entry = written
    with pytest.raises(artefact.ArtefactError, match="is not a uint32 array of shape"):
        read(tmp_path, entry, shape=(1000, 3, 16))


def test_nobody_reads_beyond_the_end(written, tmp_path):
    with pytest.raises(ValueError, match="bytes more"):
        read(tmp_path, written[1], [48_000, 1])
