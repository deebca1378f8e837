"""Object stores for tests: fsspec's in memory, stand-ins of S3 and of Google's store on this machine, and one that is run by an
attacker. What is asked of one is counted."""

from __future__ import annotations

import contextlib
import functools
import http.client
import logging
import os
import random
import re
import socket
import socketserver
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from securegen.io import store_requests
from securegen.io.stores import StoreFolder

KEYS = {"AWS_ACCESS_KEY_ID": "tester", "AWS_SECRET_ACCESS_KEY": "not-so-secret-word", "AWS_DEFAULT_REGION": "us-east-1"}

TOKEN = "token-of-a-session"


@pytest.fixture(scope="session")
def stand_in() -> Iterator[str]:
    """The endpoint of a server that answers as S3 does."""
    server = pytest.importorskip("moto.server").ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3(stand_in, monkeypatch) -> str:
    """s3://BUCKET of a new bucket, with credentials in the environment."""
    s3fs = pytest.importorskip("s3fs")
    for name, value in {**KEYS, "AWS_ENDPOINT_URL": stand_in}.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    bucket = f"lab-{uuid.uuid4().hex[:12]}"
    store_requests.file_system("s3").mkdir(bucket)
    yield f"s3://{bucket}"
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture
def memory() -> Iterator[str]:
    """memory://PLACE that is empty."""
    pytest.importorskip("fsspec")
    place = f"lab-{os.urandom(6).hex()}"
    yield f"memory://{place}"
    found = store_requests.file_system("memory")
    if found.exists(place):
        found.rm(place, recursive=True)


@pytest.fixture(scope="session")
def google_stand_in() -> Iterator[str]:
    """The endpoint of a server that answers as Google's store does.

    It knows no conditions: one that an object must not be there yet is asked for it here.
    """
    emulator = pytest.importorskip("gcp_storage_emulator.server")
    server = emulator.create_server("127.0.0.1", 0, in_memory=True)

    class Handler(emulator.RequestHandler):
        def do_POST(self) -> None:
            asked = parse_qs(urlsplit(self.path).query)
            bucket = self.path.partition("/b/")[2].partition("/")[0]
            if "ifGenerationMatch" in asked and asked["name"][0] in self.storage.objects.get(bucket, {}):
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                self.send_error(412)
                return
            super().do_POST()

    server.start()
    httpd = server._api._httpd
    httpd.RequestHandlerClass = functools.partial(Handler, server._storage)
    httpd.handle_error = lambda *_: None  # gcsfs breaks off requests that it needs no more
    host, port = httpd.server_address
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def gs(google_stand_in, monkeypatch) -> Iterator[str]:
    """gs://BUCKET of a new bucket."""
    core = pytest.importorskip("gcsfs.core")
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", google_stand_in)
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    core.GCSFileSystem.clear_instance_cache()
    bucket = f"lab-{uuid.uuid4().hex[:12]}"
    store_requests.file_system("gs").call("POST", "b", json={"name": bucket})
    yield f"gs://{bucket}"
    core.GCSFileSystem.clear_instance_cache()


@dataclass
class Attack:
    """What a store of an attacker answers. asked: (method, path, headers) of every request; poured: bytes of answers without a
    length."""

    answer: Callable[[AttackersStore], None]
    url: str
    asked: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    poured: int = 0


class AttackersStore(BaseHTTPRequestHandler):
    """One request to a store of an attacker."""

    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        self.attack: Attack = self.server.attack
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.attack.asked.append((self.command, self.path, dict(self.headers)))
        with contextlib.suppress(OSError):  # whoever asked has gone
            self.attack.answer(self)
            return
        self.close_connection = True

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = answer

    def say(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content_Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def pour(self, status: int, piece: bytes, times: int, pause: float = 0.0) -> None:
        """An answer without a length."""
        self.send_response(status)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for _ in range(times):
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            self.attack.poured += len(piece)
            time.sleep(pause)
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *_: object) -> None:
        pass


class _Threads(socketserver.ThreadingMixIn, HTTPServer):
    daemon_threads = True
    attack: Attack
    losses: Losses

    def handle_error(self, *_: object) -> None:
        """Whoever asked has gone."""


def _serving(kind: type[BaseHTTPRequestHandler]) -> _Threads:
    server = _Threads(("127.0.0.1", 0), kind)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    return server


@pytest.fixture(scope="session")
def attackers() -> Iterator[tuple[_Threads, _Threads]]:
    """Two servers of an attacker: the one that is asked, and one elsewhere."""
    servers = _serving(AttackersStore), _serving(AttackersStore)
    yield servers
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(params=["s3", "gs"])
def attacked(request, attackers, monkeypatch, no_pause) -> Callable[..., tuple[StoreFolder, Attack]]:
    """Makes a folder in a store of an attacker, by the protocol of Amazon's and of Google's. elsewhere: of the other server."""
    pytest.importorskip({"s3": "s3fs", "gs": "gcsfs"}[request.param])
    urls = [f"http://127.0.0.1:{server.server_port}" for server in attackers]
    for name, value in {
        **KEYS,
        "AWS_SESSION_TOKEN": TOKEN,
        "NO_GCE_CHECK": "true",
        "AWS_ENDPOINT_URL": urls[0],
        "STORAGE_EMULATOR_HOST": urls[0],
    }.items():
        monkeypatch.setenv(name, value)

    def attack(answer: Callable[[AttackersStore], None], *, elsewhere: bool = False) -> tuple[StoreFolder, Attack]:
        made = attackers[elsewhere].attack = Attack(answer, urls[elsewhere])
        return StoreFolder(f"{request.param}://bucket/lab/a"), made

    return attack


@dataclass
class Losses:
    """What a flaky store loses: of its requests a tenth before they are done, and a tenth of the answers to others.

    One is lost or not by its words and by how often it came, whatever else comes meanwhile.
    """

    seed: int
    to: str = ""
    share: float = 0.0
    seen: Counter[str] = field(default_factory=Counter)
    lost: Counter[tuple[str, bool]] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def of(self, method: str, path: str) -> tuple[bool, bool]:
        """Whether a request, and whether its answer is lost."""
        words = f"{method} {re.sub('lab-[0-9a-f]+', 'lab', path.partition('upload_id')[0])}"
        with self.lock:
            self.seen[words] += 1
            drawn = random.Random(f"{self.seed} {words} {self.seen[words]}").random()
            found = drawn < self.share, self.share <= drawn < 2 * self.share
            if any(found):
                self.lost[method, found[1]] += 1
        return found


class FlakyStore(BaseHTTPRequestHandler):
    """One request to a store behind a line that breaks."""

    protocol_version = "HTTP/1.1"

    def pass_on(self) -> None:
        losses: Losses = self.server.losses
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        before, after = losses.of(self.command, self.path)
        if not before:
            line = http.client.HTTPConnection(losses.to.removeprefix("http://"), timeout=30)
            line.request(self.command, self.path, body, dict(self.headers))
            answer = line.getresponse()
            content = answer.read()
            line.close()
        if before or after:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        self.send_response_only(answer.status)
        own = {"transfer-encoding", "connection"} | ({"content-length"} if self.command != "HEAD" else set())
        for name, value in answer.getheaders():
            if name.lower() not in own:
                self.send_header(name, value)
        if self.command != "HEAD":
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = pass_on

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(params=["s3", "gs"])
def flaky(request, monkeypatch, no_pause) -> Iterator[tuple[str, Losses]]:
    """The URL of a bucket behind a line that breaks, and what it loses: nothing until its `share` is set."""
    place = request.getfixturevalue(request.param)
    name = {"s3": "AWS_ENDPOINT_URL", "gs": "STORAGE_EMULATOR_HOST"}[request.param]
    server = _serving(FlakyStore)
    losses = server.losses = Losses(1, os.environ[name])
    monkeypatch.setenv(name, f"http://127.0.0.1:{server.server_port}")
    kind = type(store_requests.file_system(request.param))
    kind.clear_instance_cache()
    yield place, losses
    kind.clear_instance_cache()
    server.shutdown()
    server.server_close()


@pytest.fixture(params=["memory", "s3", "gs"])
def store(request) -> str:
    """Either."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def no_pause(monkeypatch) -> None:
    """Tries follow at once."""
    monkeypatch.setattr(store_requests, "PAUSE", 0.0)


@dataclass
class Backend:
    """A backend whose requests are counted, and answered otherwise where a test says so.

    answers: method -> what is called in its place, with the method as first argument.
    """

    real: object
    answers: dict[str, Callable] = field(default_factory=dict)
    asked: list[tuple] = field(default_factory=list)

    def __getattr__(self, name: str) -> object:
        found = getattr(self.real, name)
        if not callable(found):
            return found

        def call(*arguments, **options):
            self.asked.append((name, *arguments, options))
            answer = self.answers.get(name)
            return found(*arguments, **options) if answer is None else answer(found, *arguments, **options)

        return call


def counted(folder: StoreFolder, **answers: Callable) -> Backend:
    """Have the requests of a folder counted, and some answered otherwise."""
    folder._fs = Backend(folder._fs, answers)
    return folder._fs
