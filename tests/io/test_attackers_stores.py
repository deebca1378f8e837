"""Stores that an attacker runs: answers without end, in drops, elsewhere, in other forms; what is shown of them.

Each attack is made twice: with the protection off it does what the attacker wants.
"""

from __future__ import annotations

import contextlib
import gc
import gzip
import json
import logging
import time
import tracemalloc

import pytest
from object_stores import TOKEN

from securegen.errors import ArtefactError, StorageError
from securegen.io import store_allowance, store_answers, store_listing, store_uploads, stores
from securegen.io.folder import FilePart
from securegen.io.store_requests import brief
from securegen.io.stores import StoreFolder

PIECE = 1 << 20
TIMES = 16  # pieces of an endless answer: enough to see that they are taken


def off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers as the backends read them."""
    monkeypatch.setattr(store_allowance.Allowance, "take", lambda *_: None)
    monkeypatch.setattr(store_allowance.Allowance, "refuse", lambda *_: None)


def read(folder: StoreFolder) -> object:
    return folder.part(FilePart("x", 5000, 0, 1000))


@pytest.mark.parametrize("status", [206, 500])
def test_an_answer_without_end_is_not_read_on(attacked, monkeypatch, status):
    """For a thousand bytes, memory and hours as the attacker likes; an error has a text without end, too."""
    folder, store = attacked(lambda h: h.pour(status, bytes(PIECE), TIMES))
    with pytest.raises(StorageError, match=r"cannot be read: the store sent more than 1,0.9,576 bytes"):
        read(folder)
    assert store.poured < len(store.asked) * TIMES * PIECE // 2  # what lies in buffers of both ends was sent, not read
    folder, store = attacked(lambda h: h.pour(status, bytes(PIECE), TIMES))
    off(monkeypatch)
    with pytest.raises(Exception):  # noqa: B017
        read(folder)
    assert store.poured >= TIMES * PIECE


def test_an_answer_in_drops_ends(attacked, monkeypatch):
    folder, _ = attacked(lambda h: h.pour(206, bytes(20), 50, pause=0.02))
    assert len(read(folder)) == 1000  # slow, and what was asked for
    monkeypatch.setattr(store_allowance, "SECONDS", 0.2)
    folder, _ = attacked(lambda h: h.pour(206, bytes(20), 50, pause=0.02))
    with pytest.raises(StorageError, match="took more than 0.2.* seconds"):
        read(folder)


def test_nobody_is_sent_elsewhere(attacked, monkeypatch):
    """A store could read what this machine alone can reach, and hand the token of a session to others."""
    _, inside = attacked(lambda h: h.say(200, b"what only this machine may read" * 40), elsewhere=True)
    folder, store = attacked(lambda h: h.say(307, Location=f"{inside.url}/latest/meta-data"))
    with pytest.raises(StorageError, match="cannot be read: the store names another place"):
        read(folder)
    assert len(store.asked) >= 1 and inside.asked == []
    off(monkeypatch)
    with pytest.raises(Exception):  # noqa: B017
        read(folder)
    assert inside.asked
    tokens = {h.get("X-Amz-Security-Token") for _, path, h in inside.asked if path == "/latest/meta-data"}
    assert str(folder).startswith("gs") or tokens == {TOKEN}


def listing(handler: object, page: int, names: int = 200, end: str = "") -> bytes:
    """A page of a listing that never ends, as either store writes it."""
    names = [f"lab/a/{page}-{i}{end}" for i in range(names)]
    if "list-type" in handler.path:
        objects = "".join(f"<Contents><Key>{name}</Key><Size>1</Size></Contents>" for name in names)
        return (
            f"<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>{page}</NextContinuationToken>"
            f"{objects}</ListBucketResult>"
        ).encode()
    return json.dumps(
        {"kind": "storage#objects", "nextPageToken": str(page), "items": [{"name": n, "size": "1"} for n in names]}
    ).encode()


@pytest.mark.parametrize("names", [200, 0], ids=["names", "pages that are empty"])
def test_a_listing_without_end_is_not_read_on(attacked, monkeypatch, names):
    folder, store = attacked(lambda h: h.say(200, listing(h, len(h.attack.asked), names)))
    monkeypatch.setattr(store_listing, "PAGE", 1 << 10)
    monkeypatch.setattr(store_listing, "MORE_PAGES", 3)
    with pytest.raises(StorageError, match="cannot be listed: the store names more than 1,000 objects there"):
        folder.sizes(1000)
    assert len(store.asked) == (6 if names else 7)

    def until(handler):  # the attacker's patience, not ours
        page = len(handler.attack.asked)
        handler.say(*((200, listing(handler, page, names)) if page < 40 else (403,)))

    folder, store = attacked(until)
    with pytest.raises(StorageError, match="does not let you"):
        folder.sizes(1 << 40)
    assert len(store.asked) == 40


def test_a_page_of_a_listing_has_the_size_of_one(attacked, monkeypatch):
    folder, _ = attacked(lambda h: h.say(200, listing(h, 1, 9000, "-" * 1000)))
    with pytest.raises(StorageError, match="cannot be listed: the store sent more than 5,"):
        folder.sizes()


def test_of_a_listing_only_names_are_kept_that_are_asked_for(attacked):
    """Every page is let go: of three hundred with two hundred names that nobody has, none is kept."""

    def pages(handler):
        page = len(handler.attack.asked)
        handler.say(200, listing(handler, page, 200, "~" * 500).replace(b"true", b"true" if page < 300 else b"false")
                    .replace(b'"nextPageToken"', b'"nextPageToken"' if page < 300 else b'"no"'))  # fmt: skip

    folder, store = attacked(pages)
    folder.sizes(60_000)  # what is loaded once
    folder, store = attacked(pages)
    gc.freeze()
    gc.collect()  # garbage of pages is found soon, however much lives from tests before
    tracemalloc.start()
    try:
        assert folder.sizes(60_000) == {} and len(store.asked) == 300
        kept, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        gc.unfreeze()
    assert most - kept < 12 << 20  # a page has 0.1 MB, all of them have 30


@pytest.mark.parametrize("size", [-5, "5", None, True, 1.5, 1 << 63])
def test_a_size_that_is_none_is_refused(memory, size):
    """Read as it stands it would take memory, or end the command without a word of what is wrong."""
    folder = StoreFolder(f"{memory}/a")
    folder.write("x", [b"12345"])
    described = {"name": f"{folder._path}/x", "type": "file", "size": size}
    folder._fs = Lying(folder._fs, described)
    for ask in (
        lambda: folder.size("x"),
        folder.sizes,
        lambda: folder.read("x", "a word", 9),
        lambda: folder.digest("x"),
    ):
        with pytest.raises(StorageError, match="the store says it has"):
            ask()


class Lying:
    """A backend that says of every object what it is told to."""

    def __init__(self, real: object, described: dict) -> None:
        self._real, self._described = real, described

    def info(self, *_: object) -> dict:
        return self._described

    def ls(self, *_: object, **__: object) -> list[dict]:
        return [self._described]

    def __getattr__(self, name: str) -> object:
        return getattr(self._real, name)


@pytest.mark.parametrize(
    "body", [b"[]", b'{"items": [7]}', b'{"items": 7}', b'{"items": [{"size": "1"}]}', b"null", b"\xff"]
)
def test_a_listing_of_another_form_is_the_stores_failure(attacked, body):
    """Whatever the backend makes of it: no traceback, no other exit code."""
    folder, _ = attacked(lambda h: h.say(200, body, Content_Type="application/json"))
    with pytest.raises(StorageError) as refused:
        folder.sizes()
    assert refused.value.exit_code == 9


def test_names_that_are_none_are_nobodys(memory, monkeypatch):
    """Somebody who may write beside a study stops neither its owner nor whoever joins its parts."""
    fs = StoreFolder(f"{memory}/a")._fs
    for name in ("a/x.npy", "a/x y.npy", "a/x?versionId=1.npy", "a/é.npy", "run.1of2 .results/y", "run.1of2.results/y"):
        fs.pipe_file(f"{memory.removeprefix('memory://')}/{name}", b"1")
    folder = StoreFolder(f"{memory}/a")
    assert folder.sizes() == {"x.npy": 1}
    assert [f.name for f in stores.stored_beside(f"{memory}/run")] == ["run.1of2.results"]
    folder.discard()  # what is not ours stays
    assert len(fs.ls(folder._path)) == 3
    monkeypatch.setattr(store_listing, "is_plain", lambda _: True)
    assert len(folder.sizes()) == 3


def test_a_digest_ends_with_the_size_that_was_written(memory, no_pause):
    """A store that says that an object grew without bound, and gives bytes for as long as anybody reads."""
    folder, asked = StoreFolder(f"{memory}/a"), []

    class Growing(Lying):
        def cat_file(self, _: str, start: int, end: int) -> bytes:
            asked.append(start)
            if len(asked) > 20:
                raise KeyboardInterrupt  # hours later
            return bytes(end - start)

    folder._fs = Growing(folder._fs, {"type": "file", "size": 1 << 60})
    with pytest.raises(Exception, match="its manifest says 100: truncated or replaced"):
        folder.digest("x", 100)
    assert len(asked) == 1
    with pytest.raises(KeyboardInterrupt):
        folder.digest("x")


def error(handler: object, words: str) -> None:
    """The words of an error, as either store writes it."""
    if "x-goog-api-client" in {h.lower() for h in handler.headers} or "gcsfs" in handler.headers.get("User-Agent", ""):
        handler.say(400, json.dumps({"error": {"code": 400, "message": words}}).encode())
    else:
        escaped = "".join(f"&#{ord(c)};" if ord(c) > 126 else c for c in words)
        handler.say(400, f"<Error><Code>Bad</Code><Message>{escaped}</Message></Error>".encode())


SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"


@pytest.mark.parametrize(
    "words, shown, never",
    [
        ("\x9b31mred \u202edlrow", "\\x9b31mred \\u202edlrow", "\x9b"),
        (f"no key {SECRET} here", "no key … here", SECRET),
        ("at https://me:pass@word@host/b?sig=hush end", "at https://host/b end", "word"),
    ],
    ids=["moves the cursor", "says a secret again", "a password with an @"],
)
def test_what_a_store_writes_is_shown_without_harm(attacked, words, shown, never):
    folder, _ = attacked(lambda h: error(h, words))
    with pytest.raises(StorageError) as refused:
        folder.sizes()
    assert shown in str(refused.value) and never not in str(refused.value)
    assert never in words and never not in brief(OSError(words))


@pytest.mark.parametrize("name", ["s3fs", "gcsfs"])
def test_a_backend_writes_nothing_on_the_terminal(attacked, name, monkeypatch, capfd):
    """It logs what the store said as it came; where nobody asks for a log, Python writes it on the terminal."""
    folder, _ = attacked(lambda h: error(h, "\x9b31mred"))
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    with pytest.raises(StorageError):
        folder.sizes()
    assert capfd.readouterr().err == "" and (name not in str(folder._fs.__class__) or logging.getLogger(name).handlers)


def test_one_that_is_denied_is_not_tried_again(attacked):
    folder, store = attacked(lambda h: h.say(403))
    with pytest.raises(StorageError, match="the store does not let you"):
        folder.write("x", [b"1"])
    assert len(store.asked) == 1


def test_one_that_fails_is_tried_four_times(attacked):
    folder, store = attacked(lambda h: h.say(503))
    with pytest.raises(StorageError, match="in 4 tries"):
        read(folder)
    asked = [
        path
        for method, path, _ in store.asked
        if method == "GET" and ("alt=media" in path or path == "/bucket/lab/a/x")
    ]
    assert len(asked) == 4


def test_no_upload_goes_elsewhere(attacked, monkeypatch):
    """Google's store names the address to which the chunks of a large object go: elsewhere it would have them, and the token."""
    monkeypatch.setattr(store_uploads, "CHUNK", 256 << 10)
    large = [bytes(300 << 10)]
    _, inside = attacked(lambda h: h.say(200, b"{}"), elsewhere=True)
    folder, store = attacked(lambda h: h.say(200, b"{}", Location=f"{inside.url}/upload/of/the/attacker"))
    with pytest.raises(StorageError, match="x cannot be written: the store names another place"):
        folder.write("x", large)
    assert len(store.asked) == 1 and inside.asked == []
    off(monkeypatch)
    with contextlib.suppress(StorageError):
        folder.write("x", large)
    if str(folder).startswith("gs"):
        assert inside.asked[0][:2] == ("POST", "/upload/of/the/attacker")


@pytest.mark.parametrize(
    "place, elsewhere",
    [
        ("http://h:1/upload?id=1", False), ("/upload", False), ("http://h:1", False), ("HTTP://H:1/", False),
        ("http://h/upload", True), ("https://h:1/", True), ("//evil/", True), ("http://h:1@evil/", True),
        ("file:///etc/hostname", True), ("http://[", True),
    ],
)  # fmt: skip
def test_what_is_another_place(place, elsewhere):
    URL = pytest.importorskip("yarl").URL
    assert store_answers._elsewhere(URL("http://h:1/b/x"), 200, place) == elsewhere
    assert store_answers._elsewhere(URL("http://h:1/b/x"), 307, place)


def test_heads_without_end_end(attacked, monkeypatch):
    """No byte of a body comes, so that nothing which is counted grows."""

    def answer(handler):
        begun = time.monotonic()
        while time.monotonic() - begun < 1:
            handler.wfile.write(b"HTTP/1.1 102 Processing\r\n\r\n")
            time.sleep(0.02)
        handler.say(206, bytes(1000))

    folder, _ = attacked(answer)
    begun = time.monotonic()
    assert len(read(folder)) == 1000 and time.monotonic() - begun > 1  # as long as the attacker likes
    monkeypatch.setattr(store_allowance, "SECONDS", 0.3)
    folder, _ = attacked(answer)
    with pytest.raises(StorageError, match="the store took more than 0.3.* seconds"):
        read(folder)


def test_a_copy_without_end_ends(attacked, monkeypatch):
    """Google's store says of each piece that another one follows; S3's is asked once."""
    answer = json.dumps({"done": False, "rewriteToken": "t"}).encode()

    def slow(handler):
        time.sleep(0.02)
        handler.say(
            200 if len(handler.attack.asked) < 60 else 403, answer, Last_Modified="Mon, 30 Nov 2026 00:00:00 GMT"
        )

    folder, store = attacked(slow)
    with contextlib.suppress(StorageError):
        folder.take("x", StoreFolder(f"{folder}.part"))
    assert len(store.asked) == 60 or str(folder).startswith("s3")
    monkeypatch.setattr(store_allowance, "SECONDS", 0.3)
    folder, store = attacked(slow)
    with pytest.raises(StorageError):
        folder.take("x", StoreFolder(f"{folder}.part"))
    assert len(store.asked) < 20


def test_an_answer_is_not_unpacked(attacked):
    """A few kilobytes that are said to be packed would be gigabytes in memory: bytes are taken as they come."""
    packed = gzip.compress(bytes(1 << 20)).ljust(1100, b"\0")
    folder, _ = attacked(lambda h: h.say(206, packed[:1000], Content_Encoding="gzip"))
    assert read(folder) == packed[:1000]
    if str(folder).startswith("gs"):  # as gcsfs would have it
        folder._fs._session._auto_decompress = True
        with pytest.raises(ArtefactError, match="changed while it was read"):  # a thousand bytes are a million
            read(folder)


@pytest.mark.parametrize("by", ["ENTITY", "ATTLIST"])
def test_words_of_an_answer_stand_for_themselves(attacked, monkeypatch, by):
    """S3's answers are XML, in which a word can stand for a text: a hundred times what came, and four times that in memory."""
    word = "x" * 5_000
    defined, used = {
        "ENTITY": (f'w "{word}"', "\U0001f9ec" + "&w;" * 1_600), "ATTLIST": (f'w w CDATA "{word}\U0001f9ec"', "<w/>" * 1_400),
    }[by]  # fmt: skip
    inner = f"<Error><Code>Bad</Code><Message>{used}</Message></Error>"
    body = f'<?xml version="1.0"?><!DOCTYPE e [<!{by} {defined}>]>{inner}'.encode()
    assert len(body) < 11_000
    folder, _ = attacked(lambda h: h.say(200 if "list-type" in h.path else 400, body))

    def peak() -> int:
        tracemalloc.start()
        with pytest.raises(StorageError) as refused:
            folder.sizes()
        assert ("defines words of its own" in str(refused.value)) is protected
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    protected = True
    peak()
    assert peak() < 4 << 20
    off(monkeypatch)
    protected = False
    assert peak() > 20 << 20 or str(folder).startswith("gs")


def test_a_page_of_a_gateway_is_a_failure_that_passes(attacked):
    """HTML of a proxy before the store, which has nothing of its own in it: the request is tried again."""
    page = b"<!DOCTYPE html><html><body>502 Bad Gateway</body></html>"
    folder, store = attacked(lambda h: h.say(*((502, page) if len(h.attack.asked) < 3 else (206, bytes(1000)))))
    assert len(read(folder)) == 1000 and len(store.asked) == 3
