"""Folders in a store: ranges, whole objects, one writer, and what goes wrong on the way, each named with its exit code."""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
import threading
import tracemalloc

import numpy as np
import pytest
from object_stores import KEYS, counted

from securegen.engines.ckks import artefact
from securegen.errors import ArtefactError, MissingExtraError, StorageError, UsageError
from securegen.io import read_ahead, store_listing, store_requests, store_uploads, stores
from securegen.io.folder import FilePart, Folder
from securegen.io.folders import folder_of, folders_beside, place_of
from securegen.io.local_folder import LocalFolder
from securegen.io.stores import StoreFolder


def whole(folder: Folder, name: str, size: int) -> bytes:
    return bytes(folder.part(FilePart(name, size, 0, size)))


@pytest.fixture(params=["disk", "memory", "s3", "gs"])
def folder(request, tmp_path) -> Folder:
    """One folder of each kind: what one does the others do."""
    return folder_of(tmp_path / "a" if request.param == "disk" else f"{request.getfixturevalue(request.param)}/lab/a")


@pytest.fixture
def small_ranges(monkeypatch):
    monkeypatch.setattr(stores, "RANGE", 64)
    monkeypatch.setattr(read_ahead, "STREAM", 48)


def test_folders_of_every_kind_do_the_same(folder, small_ranges):
    assert folder.sizes() == {} and folder.size("x") is None
    folder.make()
    content = os.urandom(200)
    folder.write("x.npy", (content[:10], memoryview(content)[10:]))
    folder.write("y", [b"old"])
    folder.write("y", [b"new one"])
    assert folder.sizes() == {"x.npy": 200, "y": 7} and folder.size("y") == 7
    assert folder.read("y", "a word", 7) == b"new one" and folder.name == "a" and folder.at("y") == f"{folder}/y"
    assert whole(folder, "x.npy", 200) == content
    for start, stop in ((0, 200), (0, 1), (7, 190), (150, 200), (64, 128)):
        part = folder.part(FilePart("x.npy", 200, start, stop))
        assert part.readonly and part == content[start:stop]
    head, rest = bytearray(33), bytearray(167)
    folder.fill("x.npy", 200, (memoryview(head), memoryview(rest)))
    assert bytes(head + rest) == content
    with folder.stream("x.npy", 200) as stream:
        parts = []
        while got := stream.readinto(part := bytearray(17)):
            parts.append(bytes(part[:got]))
        assert b"".join(parts) == content
    assert folder.digest("x.npy") == artefact.blake3(content).hexdigest()
    other = folder_of(f"{os.fspath(folder)}.more")
    other.make()
    other.take("x.npy", folder)
    assert folder.sizes() == {"y": 7} and other.digest("x.npy") == artefact.blake3(content).hexdigest()
    assert [f.name for f in folders_beside(os.fspath(folder))] == ["a.more"]
    folder.remove(["y", "absent"])
    other.discard()
    assert folder.sizes() == other.sizes() == {} and folders_beside(os.fspath(folder)) == []


@pytest.mark.parametrize("end", [b"", b"\r", b"\n", b"\r\n", b"\n--==0==--", b"--", b"\0"])
@pytest.mark.parametrize("begin", [b"", b"abc", b"\n--==0==\n"])
def test_bytes_are_written_whatever_they_are(folder, begin, end):
    """gcsfs sets small objects between lines of text, and one block of sums in 256 ends as such a line does."""
    folder.make()
    folder.write("x", [begin, end])
    assert folder.read("x", "a word", 99) == begin + end


def test_a_large_object_goes_in_chunks(gs, monkeypatch):
    monkeypatch.setattr(store_uploads, "CHUNK", 256 << 10)
    folder, content = folder_of(f"{gs}/lab/a"), os.urandom(600 << 10) + b"\r"
    folder.write("x", [content])
    assert folder.read("x", "an array", 1 << 20) == content


def test_a_small_object_of_gcsfs_loses_its_end(gs, monkeypatch):
    """What the test above is for: by gcsfs's own way the last byte is gone, and the sum that is asked for tells."""
    folder = folder_of(f"{gs}/lab/a")
    monkeypatch.setattr(stores, "upload", lambda fs, _, place, content, **options: fs.pipe_file(place, content))
    folder._fs.consistency = "none"
    folder.write("x", [b"abc\r"])
    assert folder.read("x", "a word", 99) == b"abc"
    folder._fs.consistency = "md5"
    monkeypatch.setattr(store_requests, "PAUSE", 0.0)
    with pytest.raises(StorageError, match="x cannot be written: no good answer"):
        folder.write("x", [b"abc\r"])


@pytest.mark.parametrize("size", [199, 201, 64, 63, 128, 1])
def test_a_file_of_another_size_is_refused(folder, small_ranges, no_pause, size):
    folder.make()
    folder.write("x", [bytes(200)])
    for read in (
        lambda: whole(folder, "x", size),
        lambda: folder.fill("x", size, [memoryview(bytearray(size))]),
    ):
        with pytest.raises(ArtefactError, match="truncated or replaced"):
            read()
    with pytest.raises(ArtefactError, match="too large to be a word"):
        folder.read("x", "a word", 199)


def test_a_listing_has_pages(store, monkeypatch):
    monkeypatch.setattr(store_listing, "PAGE", 2)
    folder = StoreFolder(f"{store}/lab/a")
    for name in "abcde":
        folder.write(name, [name.encode()])
    for of in ("a", "a.1of2.results", "a.2of2.results", "ab", "b"):
        StoreFolder(f"{store}/lab/{of}").write("x", [b"1"])
    assert folder.sizes() == {**dict.fromkeys("abcde", 1), "x": 1}
    assert [f.name for f in folders_beside(f"{store}/lab/a")] == ["a.1of2.results", "a.2of2.results"]
    with pytest.raises(StorageError, match="more than 5 objects"):
        folder.sizes(5)


def test_what_is_absent_is_said_to_be(folder):
    folder.make()
    for read in (
        lambda: folder.read("x", "a word", 9),
        lambda: whole(folder, "x", 9),
        lambda: folder.fill("x", 9, [memoryview(bytearray(9))]),
        lambda: folder.digest("x"),
    ):
        with pytest.raises(FileNotFoundError):
            read()


def test_reading_asks_for_the_bytes_of_a_file_and_no_more(store, small_ranges):
    folder = StoreFolder(f"{store}/lab/a")
    array = np.arange(1000, dtype="<u4")
    entry = vars(artefact.write_entry(folder, "x.npy", array))
    folder.write("other", [bytes(5000)])
    backend = counted(folder)
    assert np.array_equal(artefact.load_array(folder, entry, (1000,)), array) and folder.fetched == entry["size"]
    reads = [options for name, _, options in backend.asked if name == "cat_file"]
    assert {name for name, *_ in backend.asked} == {"cat_file"}  # not even its size is asked for
    assert max(o["end"] - o["start"] for o in reads) <= 64 + 1 and len(reads) >= entry["size"] // 64
    folder.part(FilePart("x.npy", entry["size"], 300, 390))
    assert folder.fetched == entry["size"] + 90


def test_memory_is_that_of_the_file_and_a_range(memory):
    folder, size = StoreFolder(f"{memory}/a"), 24 << 20
    folder.write("x", [bytes(size)])
    tracemalloc.start()
    folder.digest("x")
    assert tracemalloc.get_traced_memory()[1] < 3 * stores.RANGE
    tracemalloc.reset_peak()
    folder.part(FilePart("x", size, 0, size))
    assert tracemalloc.get_traced_memory()[1] < size + 3 * stores.RANGE
    tracemalloc.stop()


def test_two_files_are_fetched_ahead_and_no_more(memory):
    folder = StoreFolder(f"{memory}/a")
    order = [(f"f{i}", 100 + i) for i in range(12)]
    for name, size in order:
        folder.write(name, [name.encode() * size][:1] and [(name.encode() * size)[:size]])
    held, most, lock = 0, 0, threading.Lock()

    def slow(real, path, **options):
        nonlocal held, most
        with lock:
            held += 1
            most = max(most, held)
        return real(path, **options)

    backend = counted(folder, cat_file=slow)
    with folder.ahead(FilePart(name, size, 0, size) for name, size in order):
        for number, (name, size) in enumerate(order):
            if number == 3:  # out of turn, and once more than it was announced
                assert len(whole(folder, "f9", 109)) == 109
                with lock:
                    held -= 1
            assert (whole(folder, name, size)) == (name.encode() * size)[:size]
            with lock:
                held -= 1
            assert most <= read_ahead.IN_FLIGHT + 2
    assert len([a for a in backend.asked if a[0] == "cat_file"]) == len(order) + 1


def test_what_fails_ahead_is_raised_where_it_is_taken(memory, no_pause):
    folder = StoreFolder(f"{memory}/a")
    folder.write("x", [b"abc"])
    with folder.ahead([FilePart("x", 3, 0, 3), FilePart("gone", 3, 0, 3)]):
        assert (whole(folder, "x", 3)) == b"abc"
        with pytest.raises(FileNotFoundError):
            whole(folder, "gone", 3)


def failing(times: int, error: Exception):
    left = [times]

    def answer(real, *arguments, **options):
        if left[0]:
            left[0] -= 1
            raise error
        return real(*arguments, **options)

    return answer


@pytest.mark.parametrize(
    "error", [TimeoutError("slow"), ConnectionResetError("gone"), OSError(5, "SlowDown"), RuntimeError("x")]
)
def test_a_failure_is_tried_again_a_bounded_number_of_times(memory, no_pause, error):
    folder = StoreFolder(f"{memory}/a")
    folder.write("x", [b"abc"])
    counted(folder, cat_file=failing(store_requests.TRIES - 1, error), pipe_file=failing(1, error))
    assert (whole(folder, "x", 3)) == b"abc"
    folder.write("x", [b"abcd"])
    backend = counted(folder, cat_file=failing(99, error), pipe_file=failing(99, error))
    for act in (lambda: whole(folder, "x", 4), lambda: folder.write("x", [b"no"])):
        backend.asked.clear()
        with pytest.raises(StorageError, match=f"in {store_requests.TRIES} tries") as failed:
            act()
        assert str(folder.at("x")) in str(failed.value) and failed.value.exit_code == 9
        assert len([a for a in backend.asked if a[0] in ("cat_file", "pipe_file")]) == store_requests.TRIES
    backend.answers.clear()
    assert folder.read("x", "a word", 9) == b"abcd"  # what could not be written changed nothing


def lost(times: int):
    """What was asked is done, and its answer does not come."""
    left = [times]

    def answer(real, *arguments, **options):
        found = real(*arguments, **options)
        if left[0]:
            left[0] -= 1
            raise ConnectionResetError("gone")
        return found

    return answer


VERBS = ("pipe_file", "cp_file", "rm_file", "cat_file", "info", "call", "call_s3")


def test_what_was_done_and_not_answered_is_done_again_without_harm(store, no_pause):
    """A copy whose first is there still, a removal of what is gone, a claim that is this writer's own."""
    one, two = StoreFolder(f"{store}/lab/a"), StoreFolder(f"{store}/lab/b")
    for times in (1, store_requests.TRIES - 1):
        for act in (
            lambda: one.write("x", [b"abc"]),
            lambda: two.take("x", one),
            lambda: two.read("x", "a word", 9),
            lambda: one.sizes() or two.sizes(),
            lambda: one.remove(["x"]),
            lambda: two.remove(["x"]),
        ):
            backends = [counted(folder, **{verb: lost(times) for verb in VERBS}) for folder in (one, two)]
            found = act()
            for folder, backend in zip((one, two), backends, strict=True):
                folder._fs = backend.real
            assert found in (None, b"abc", {"x": 3})
        backend = counted(one, **{verb: lost(times) for verb in VERBS})
        with one.claimed(lambda: "one"):
            one._fs = backend.real
            with pytest.raises(StorageError, match="another securegen"), two.claimed(lambda: "x"):
                two.write("y", [b"1"])
                one.confirm(lambda: "two")
        assert one.sizes() == {} and one.size(stores.CLAIM) is None
        two.discard()


def test_a_short_answer_is_read_again(memory, no_pause):
    folder = StoreFolder(f"{memory}/a")
    folder.write("x", [b"0123456789"])
    short = [True, True]

    def cut(real, *arguments, **options):
        return real(*arguments, **options)[: 4 if short and short.pop() else None]

    counted(folder, cat_file=cut)
    assert (whole(folder, "x", 10)) == b"0123456789"
    counted(folder, cat_file=lambda real, *a, **o: real(*a, **o)[:4])
    with pytest.raises(StorageError, match="4 of 10 bytes came"):
        whole(folder, "x", 10)


def test_an_object_that_changes_while_it_is_read_is_refused(store, small_ranges, no_pause):
    folder = StoreFolder(f"{store}/lab/a")
    entry = vars(artefact.write_entry(folder, "x.npy", np.zeros(100, "<u4")))
    folder.sizes()
    changed = []

    def change(real, path, **options):
        found = real(path, **options)
        if not changed:
            changed.append(StoreFolder(str(folder)).write("x.npy", [bytes([7]) * entry["size"]]))
        return found

    counted(folder, cat_file=change)
    with pytest.raises(ArtefactError, match="changed while this ran"):
        artefact.load_array(folder, entry, (100,))


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a/b", "../x", "s3://b/x", "x?versionId=1", "a*", "x\n", "a%2fb", "ä", "a::b", "a b"]
)
def test_a_name_is_a_name_and_nothing_else(memory, name):
    folder = StoreFolder(f"{memory}/a")
    backend = counted(folder)
    for act in (lambda: whole(folder, name, 3), lambda: folder.write(name, [b"x"]), lambda: folder.remove([name])):
        with pytest.raises(ArtefactError, match="not the name of a file"):
            act()
    assert backend.asked == []


def test_another_writer_is_refused_and_the_same_goes_on(store):
    one, two = StoreFolder(f"{store}/lab/a"), StoreFolder(f"{store}/lab/a")
    with one.claimed(lambda: "one"):
        with pytest.raises(StorageError, match=r"another securegen is writing .*\.writer"), two.claimed(lambda: "two"):
            pass
        with two.claimed(lambda: "one", keep=True):  # as after a kill, or another part of the same cohort
            one.write("x", [b"1"])
        assert one.sizes() == {"x": 1}  # the claim is no file of the folder
        one.confirm(lambda: "one")
    with pytest.raises(ZeroDivisionError), two.claimed(lambda: "two"):
        raise ZeroDivisionError
    with one.claimed(lambda: "one"):  # whoever fails, as whoever ends, claims no longer
        pass


def test_of_writers_that_begin_at_once_one_goes_on(store):
    """Each looks, finds none, and asks for a claim: the store makes one."""
    folders, wrote = [StoreFolder(f"{store}/lab/a") for _ in range(4)], []
    together, one = threading.Barrier(4, timeout=300), threading.Lock()

    def create(real, *arguments, **options):
        with one:  # stand-ins look and write in two steps, which a store does in one
            return real(*arguments, **options)

    def begin(number: int) -> None:
        folder = folders[number]
        counted(folder, pipe_file=create)
        first = [True]
        looked = folder._claimed

        def look() -> str:
            found = looked()
            if first and first.pop():
                together.wait()
            return found

        folder._claimed = look
        with contextlib.suppress(StorageError), folder.claimed(lambda: f"writer {number}", keep=True):
            wrote.append(number)

    threads = [threading.Thread(target=begin, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(wrote) == 1
    assert folders[0].read(stores.CLAIM, "a claim", 99) == f"writer {wrote[0]}".encode()


def test_where_a_store_makes_a_second_claim_the_first_writer_finds_it(memory):
    """A store that does not know of conditional writing: without `confirm`, two manifests of two writers would mix."""
    one, two = StoreFolder(f"{memory}/a"), StoreFolder(f"{memory}/a")
    for folder in (one, two):
        counted(folder, pipe_file=lambda real, path, data, mode="overwrite": real(path, data))
    with one.claimed(lambda: "one"):
        one.confirm(lambda: "one")
        two.write(stores.CLAIM, [b"two"])  # both found none, and made one
        with pytest.raises(StorageError, match="another securegen is writing"):
            one.confirm(lambda: "one")
    assert two.read(stores.CLAIM, "a claim", 99) == b"two"  # which is not the first one's to remove


def test_wrong_credentials_are_named_and_not_shown(s3, monkeypatch):
    def denied(real, *arguments, **options):
        raise PermissionError("The AWS Access Key Id you provided does not exist, http://tester:hush@host/b?sig=hush")

    folder = StoreFolder(f"{s3}/lab/a")
    backend = counted(folder, cat_file=denied, info=denied, call_s3=denied, pipe_file=denied, rm_file=denied)
    for act in (
        lambda: whole(folder, "x", 3), lambda: folder.sizes(), lambda: folder.write("x", [b""]),
        lambda: folder.remove(["x"]), lambda: folder.read("x", "a word", 3),
    ):  # fmt: skip
        with pytest.raises(StorageError, match="check the credentials in the environment") as refused:
            act()
        assert "hush" not in str(refused.value)
    assert len(backend.asked) == 6  # never tried again; a size is asked for once


def test_no_credentials_are_named(stand_in, monkeypatch, tmp_path):
    s3fs = pytest.importorskip("s3fs")
    for name in KEYS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", stand_in)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(StorageError, match="NoCredentialsError.*check the credentials"):
        StoreFolder("s3://bucket/a").size("x")
    s3fs.S3FileSystem.clear_instance_cache()


def test_a_store_that_does_not_answer_is_named(s3, monkeypatch, no_pause):
    s3fs = pytest.importorskip("s3fs")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(StorageError, match=r"s3://nobody/a/x cannot be found: no good answer"):
        StoreFolder("s3://nobody/a").size("x")


def test_a_bucket_that_is_not_there(s3):
    folder = StoreFolder("s3://no-such-bucket-here/a")
    with pytest.raises(StorageError, match="no such bucket"):
        folder.write("x", [b"1"])
    with pytest.raises(StorageError, match="no such bucket"), folder.claimed(lambda: "one"):
        pass
    assert folder.sizes() == {} and folder.size("x") is None


def test_a_large_object_is_put_together_at_its_end(s3, monkeypatch, no_pause):
    """An upload in parts that is broken off leaves nothing: neither an object nor parts that are paid for."""
    folder, fs = StoreFolder(f"{s3}/lab/a"), store_requests.file_system("s3")
    bucket = s3.removeprefix("s3://")
    large = [bytes(11 << 20)]
    real, parts = type(fs)._call_s3, []

    async def breaks(self, method, *arguments, **options):
        if method == "upload_part":
            parts.append(options["PartNumber"])
            if len(parts) % 2 == 0:
                raise ConnectionResetError("cut")
        return await real(self, method, *arguments, **options)

    counted(folder, pipe_file=lambda put, *a, **o: put(*a, chunksize=5 << 20, **o))
    monkeypatch.setattr(type(fs), "_call_s3", breaks)
    with pytest.raises(StorageError, match="cannot be written"):
        folder.write("x", large)
    monkeypatch.setattr(type(fs), "_call_s3", real)
    assert parts and folder.size("x") is None and not fs.call_s3("list_multipart_uploads", Bucket=bucket).get("Uploads")
    folder.write("x", large)
    assert folder.size("x") == 11 << 20


def test_the_extra_is_named(monkeypatch):
    import fsspec

    def absent(*_, **__):
        raise ImportError

    monkeypatch.setattr(fsspec, "filesystem", absent)
    monkeypatch.setitem(sys.modules, "gcsfs.core", None)
    for url, extra in (("s3://b/x", "s3"), ("gs://b/x", "gs"), ("gcs://b/x", "gs"), ("memory://x", "stores")):
        with pytest.raises(MissingExtraError, match=rf"securegen\[{extra}\]") as refused:
            StoreFolder(url)
        assert refused.value.exit_code == 13


def test_a_file_url_is_the_folder_on_the_disk(tmp_path):
    folder = folder_of(f"file://{tmp_path}/a")
    assert isinstance(folder, LocalFolder) and folder.place == str(tmp_path / "a")
    assert place_of(f"file://{tmp_path}/a") == tmp_path / "a"
    with pytest.raises(UsageError, match="refused"):
        folder_of("http://localhost/a")


@pytest.mark.parametrize("protected", [True, False])
def test_the_body_of_an_upload_is_the_object_over_tls_too(s3, monkeypatch, protected):
    """botocore frames it in chunks by itself, with a sum behind them: a store that does not know that keeps the frame. The
    digest of the bytes is signed instead, so that a store which checks signatures keeps no others."""
    s3fs = pytest.importorskip("s3fs")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://store.example")
    if not protected:
        monkeypatch.setattr(store_requests, "_CHECKSUMS", {})
    s3fs.S3FileSystem.clear_instance_cache()
    fs, sent = store_requests.file_system("s3"), []

    def ends(request, **_):
        sent.append({name.lower(): str(value) for name, value in request.headers.items()})
        raise KeyError("seen")

    fs.connect()
    fs.s3.meta.events.register("before-send.s3.PutObject", ends)
    with contextlib.suppress(Exception):
        fs.pipe_file("bucket/x", b"abc")
    (head,) = sent
    framed = "aws-chunked" in head.get("content-encoding", "b''")
    assert framed is not protected
    digest = hashlib.sha256(b"abc").hexdigest()
    assert (digest in head["x-amz-content-sha256"]) is protected
