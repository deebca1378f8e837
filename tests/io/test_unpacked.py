"""Packed files: the same content as unpacked ones, and none that fills the memory."""

from __future__ import annotations

import gzip
import zlib

import pytest
import zstandard
from genotype_files import write_bgen
from test_bgen import DOSAGE, PEOPLE, SITES

from securegen import vocabulary as voc
from securegen.errors import InputError, SecuregenError
from securegen.inspection import inspect
from securegen.io import bgen, unpacked
from securegen.io.text import iterate_lines, read_text
from securegen.results.join import join_tables
from securegen.results.read import read_frame
from securegen.results.rows import read_sumstats

PACKED = {"gz": lambda data: gzip.compress(data, mtime=0), "zst": zstandard.compress}
HEADER = next(iter(voc.QC_COLUMNS.values()))
BOMB = "\t".join(HEADER).encode() + b"\n" + (b"\t".join([b"1"] * len(HEADER)) + b"\n") * (1 << 17)


@pytest.fixture(params=PACKED)
def bomb(request, tmp_path, monkeypatch):
    monkeypatch.setattr(unpacked, "FREE", 1 << 20)
    path = tmp_path / f"table.{request.param}"
    path.write_bytes(PACKED[request.param](BOMB))
    assert path.stat().st_size * unpacked.RATIO < len(BOMB)
    return path


READERS = {
    "read_text": read_text,
    "iterate_lines": lambda path: list(iterate_lines(path)),
    "read_frame": read_frame,
    "join_tables": lambda path: join_tables(path.with_name("joined"), [path], check=lambda: None),
    "inspect": lambda path: inspect(path),
    "read_sumstats": read_sumstats,
}


@pytest.mark.parametrize("reader", READERS)
def test_a_file_that_unpacks_to_a_thousand_times_its_size_is_refused(reader, bomb, monkeypatch):
    """Without the limit all of it is read: none says that it is large."""
    with pytest.raises(SecuregenError, match="unpacks to more than 100 times its size"):
        READERS[reader](bomb)
    monkeypatch.setattr(unpacked, "FREE", 1 << 30)
    try:
        READERS[reader](bomb)
    except SecuregenError as error:
        assert "its size" not in str(error)


@pytest.mark.parametrize("kind", PACKED)
def test_what_comes_out_is_what_was_packed(kind, tmp_path):
    path = tmp_path / "x"
    path.write_bytes(PACKED[kind](BOMB) + PACKED[kind](b"2\t7\n"))  # two members, two frames
    assert read_text(path) == (BOMB + b"2\t7\n").decode()
    assert list(iterate_lines(path))[-1] == "2\t7"


@pytest.mark.parametrize("reader", [name for name in READERS if name != "inspect"])
@pytest.mark.parametrize("kind", PACKED)
def test_a_file_that_was_cut_is_refused(reader, kind, tmp_path, monkeypatch):
    """It would be a shorter table: zstandard's own stream reads it so. Whole members and frames before it do not help."""
    rows = "".join(f"1\t{i}\trs{i}\t" + "\t".join(["1"] * (len(HEADER) - 3)) + "\n" for i in range(20000))
    packed = PACKED[kind](("\t".join(HEADER) + "\n").encode()) + PACKED[kind](rows.encode())
    path = tmp_path / f"table.{kind}"
    for end in (len(packed) // 2, len(packed) - 1):
        path.write_bytes(packed[:end])
        with pytest.raises(SecuregenError, match="end"):
            READERS[reader](path)
    if kind == "zst":
        monkeypatch.setattr(
            unpacked, "_Frames", lambda raw: zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True)
        )
        assert 0 < len(read_text(path)) < len(rows)


def test_frames_of_every_kind(tmp_path):
    """Empty ones, skippable ones, those that do not tell their size, thousands of them, and a block in four bytes."""
    plain = zstandard.ZstdCompressor(write_content_size=False, write_checksum=True)
    stream = plain.compressobj()
    unsized = stream.compress(b"x" * 3000) + stream.flush()
    skipped = b"\x50\x2a\x4d\x18\x03\0\0\0abc"
    packed = (
        (zstandard.compress(b"a") + zstandard.compress(b"") + skipped) * 3000
        + unsized
        + zstandard.compress(b"z" * (1 << 20))
    )
    path = tmp_path / "x.zst"
    path.write_bytes(packed)
    assert read_text(path) == "a" * 3000 + "x" * 3000 + "z" * (1 << 20)
    path.write_bytes(packed + skipped[:-1])
    with pytest.raises(InputError, match="end is missing"):
        read_text(path)


def test_genotypes_of_bgen_that_unpack_to_more_than_is_announced(tmp_path):
    pytest.importorskip("bgen", reason="needs securegen[bgen]")
    path = tmp_path / "x.bgen"
    write_bgen(path, DOSAGE, PEOPLE, SITES, compression="zlib", ids=True)
    data = path.read_bytes()
    at = next(i for i in range(len(data)) if data[i : i + 1] == b"\x78" and _inflates(data[i:]))
    whole = zlib.decompressobj()
    content = whole.decompress(data[at:])
    used = len(data) - at - len(whole.unused_data)
    large = zlib.compress(content + bytes(1 << 20))
    path.write_bytes(
        data[: at - 8] + (len(large) + 4).to_bytes(4, "little") + data[at - 4 : at] + large + data[at + used :]
    )
    with pytest.raises(InputError, match="another size"):
        bgen.read_bgen(path).on_grid(None).read(0, 2)


def _inflates(data: bytes) -> bool:
    try:
        return bool(zlib.decompressobj().decompress(data))
    except zlib.error:
        return False
