"""Arrays that are kept for a later run: what changed on disk is refused."""

from __future__ import annotations

import numpy as np
import pytest

from securegen.errors import ArtefactError
from securegen.io.kept_arrays import keep_array, keep_json, kept_array, kept_json
from securegen.io.schema import integer, record


@pytest.mark.parametrize("mapped", [False, True])
def test_a_kept_array_comes_back_and_a_changed_one_does_not(tmp_path, mapped):
    path, array = tmp_path / "weights.npy", np.arange(12, dtype=np.int64).reshape(3, 4)
    keep_array(path, array, mode=0o600)
    assert {p.stat().st_mode & 0o777 for p in tmp_path.iterdir()} == {0o600}
    np.testing.assert_array_equal(kept_array(path, mapped=mapped), array)
    data = bytearray(path.read_bytes())
    data[-8] ^= 1
    path.write_bytes(data)
    assert np.load(path, allow_pickle=False)[-1, -1] != array[-1, -1]  # without the digest: another number, no error
    with pytest.raises(ArtefactError, match="has changed"):
        kept_array(path, mapped=mapped)


@pytest.mark.parametrize("harm", ["empty", "cut", "no digest", "absent"])
def test_what_is_no_kept_array_is_an_error_that_names_it(tmp_path, harm):
    path = tmp_path / "masks.npy"
    keep_array(path, np.arange(5))
    if harm == "no digest":
        (tmp_path / "masks.npy.blake3").unlink()
    elif harm == "absent":
        path.unlink()
    else:
        path.write_bytes(b"" if harm == "empty" else path.read_bytes()[:-1])
    with pytest.raises(ArtefactError, match="masks.npy"):
        kept_array(path)


def test_every_damage_of_a_kept_value_is_seen(tmp_path):
    """Each bit of the file: without the digest a scale of 41 bits would be one of 40."""
    path, check = tmp_path / "kept.json", record(scale=integer(1, 64))
    keep_json(path, {"scale": 41}, mode=0o600)
    assert kept_json(path, "a scale", check) == {"scale": 41}
    whole = path.read_bytes()
    for i in range(8 * len(whole)):
        damaged = bytearray(whole)
        damaged[i // 8] ^= 1 << i % 8
        path.write_bytes(damaged)
        with pytest.raises(ArtefactError, match="has changed since it was written"):
            kept_json(path, "a scale", check)
    (tmp_path / "kept.json.blake3").unlink()
    with pytest.raises(ArtefactError, match="cannot be read with its digest"):
        kept_json(path, "a scale", check)
    path.unlink()
    with pytest.raises(FileNotFoundError):
        kept_json(path, "a scale", check)
