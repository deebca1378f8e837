"""Object stores for tests: fsspec's in memory, and a stand-in of S3 on this machine. What is asked of one is counted."""

from __future__ import annotations

import logging
import os
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from securegen.io import store_requests
from securegen.io.stores import StoreFolder

KEYS = {"AWS_ACCESS_KEY_ID": "tester", "AWS_SECRET_ACCESS_KEY": "not-so-secret-word", "AWS_DEFAULT_REGION": "us-east-1"}


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


@pytest.fixture(params=["memory", "s3"])
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
