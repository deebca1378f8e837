"""How an object is written by each backend: the body of a request has its bytes and nothing else.

gcsfs puts small objects between lines of text: one that ends in a carriage return loses it, and one that has such a line in
it ends there. So they are sent here, in one request; empty ones lose nothing, and larger ones gcsfs sends in chunks as they
are.
"""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

CHUNK = 32 << 20  # bytes of one request to Google's store, which takes multiples of 256 KiB


def upload(fs: Any, scheme: str, place: str, content: bytes, *, create: bool = False) -> None:
    """Write an object. place: bucket and key; create: raise FileExistsError where there is one."""
    if scheme not in ("gs", "gcs"):
        fs.pipe_file(place, content, **({"mode": "create"} if create else {}))
    elif not 0 < len(content) <= CHUNK:
        fs.pipe_file(place, content, chunksize=CHUNK, **({"mode": "create"} if create else {}))
    else:
        _upload(fs, place, content, {"ifGenerationMatch": "0"} if create else {})


def _upload(fs: Any, place: str, content: bytes, condition: dict[str, str]) -> None:
    bucket, _, key = place.partition("/")
    address = f"{fs.base.removesuffix('storage/v1/')}upload/storage/v1/b/{bucket}/o"
    head = {"Content-Type": "application/octet-stream"}
    _, told = fs.call("POST", address, uploadType="media", name=key, headers=head, data=content, **condition)
    digest = base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()
    if json.loads(told)["md5Hash"] != digest:
        raise OSError("other bytes came there than were sent")
