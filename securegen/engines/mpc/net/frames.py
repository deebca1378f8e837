"""What travels between two parties: one typed frame for each array, JSON object, abort or goodbye.

    offset  bytes  field
    0       4      magic "SGF1"
    4       1      kind: 1 array, 2 JSON, 3 abort, 4 goodbye, 5 "I wait for the party named as step"
    5       1      dtype code (1 uint8, 2 int8, … as in DTYPES)
    6       1      number of axes, at most 8
    7       1      bytes of the step name
    8       16     session id
    24      8      sequence number, counting from 0 for each direction of each pair
    32      8      bytes of the payload
    40      8 each axes, then the step name (UTF-8), then the payload in C order, little-endian

TLS already authenticates and orders bytes; session, sequence and step find a peer that repeats, omits or misorders a
message. Shape and dtype are compared with what the protocol expects before anything is computed. No pickle.

JSON has no NaN or infinity, no key twice, no depth or number that Python refuses. The count of lists and objects is
bounded, since each costs far more memory than its two letters.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from securegen.errors import ProtocolError
from securegen.io.strict_json import parse_json

ARRAY, JSON, ABORT, GOODBYE, WAITING = 1, 2, 3, 4, 5
DTYPES: dict[int, np.dtype] = {
    1: np.dtype(np.uint8), 2: np.dtype(np.int8), 3: np.dtype(np.int16), 4: np.dtype(np.int32), 5: np.dtype(np.int64),
    6: np.dtype(np.uint32), 7: np.dtype(np.uint64), 8: np.dtype(np.float32), 9: np.dtype(np.float64),
    10: np.dtype(np.bool_),
}  # fmt: skip
_CODES = {dtype: code for code, dtype in DTYPES.items()}
_MAGIC = b"SGF1"
_HEAD = struct.Struct("<4sBBBB16sQQ")
MAX_AXES = 8
MAX_PAYLOAD = 1 << 30
MAX_TEXT = 1 << 16  # of anything but arrays and JSON
NO_SESSION = bytes(16)


@dataclass(frozen=True)
class Frame:
    """One received message. payload: an array for ARRAY, uint8 holding JSON text otherwise."""

    kind: int
    session: bytes
    sequence: int
    step: str
    payload: np.ndarray

    def json(self) -> object:
        """The decoded JSON object; ProtocolError when it is not JSON."""
        return parse_json(self.payload.tobytes(), f"step {self.step!r}", error=ProtocolError)


def header(kind: int, session: bytes, sequence: int, step: str, payload: np.ndarray) -> bytes:
    """The bytes before the payload. payload must be C-contiguous with a dtype of DTYPES."""
    name = step.encode()
    dtype = payload.dtype.newbyteorder("=")
    if dtype not in _CODES or payload.ndim > MAX_AXES or len(name) > 255 or payload.nbytes > MAX_PAYLOAD:
        raise ProtocolError(f"step {step!r}: {payload.dtype} of shape {payload.shape} cannot be sent as one frame")
    head = _HEAD.pack(_MAGIC, kind, _CODES[dtype], payload.ndim, len(name), session, sequence, payload.nbytes)
    return head + struct.pack(f"<{payload.ndim}Q", *payload.shape) + name


def encode_json(value: object) -> np.ndarray:
    """JSON text of `value` as a uint8 payload, keys sorted."""
    return np.frombuffer(json.dumps(value, sort_keys=True, separators=(",", ":")).encode(), np.uint8)


def read_frame(fill: Callable[[memoryview], None], *, max_payload: int = MAX_PAYLOAD) -> Frame:
    """Read one frame; `fill` fills a buffer completely or raises. ProtocolError when the bytes are not a frame."""

    def take(size: int) -> bytes:
        buffer = bytearray(size)
        fill(memoryview(buffer))
        return bytes(buffer)

    magic, kind, code, ndim, name_size, session, sequence, size = _HEAD.unpack(take(_HEAD.size))
    if magic != _MAGIC or not ARRAY <= kind <= WAITING or code not in DTYPES or ndim > MAX_AXES:
        raise ProtocolError("sent bytes that are not a frame")
    shape = struct.unpack(f"<{ndim}Q", take(8 * ndim))
    itemsize = DTYPES[code].itemsize
    most = max_payload if kind in (ARRAY, JSON) else min(max_payload, MAX_TEXT)
    spread = math.prod(max(axis, 1) for axis in shape)  # an axis of 0 must not hide one of 2^63
    if math.prod(shape) * itemsize != size or spread * itemsize > most:
        raise ProtocolError(f"announced {size} bytes for shape {shape} of {DTYPES[code]}; at most {most} allowed")
    step = take(name_size).decode("utf-8", "replace")
    payload = np.empty(shape, DTYPES[code])
    if size:
        fill(payload.reshape(-1).data.cast("B"))
    if payload.dtype == np.bool_ and payload.view(np.uint8).max(initial=0) > 1:
        raise ProtocolError("sent truth values that are neither 0 nor 1")
    return Frame(kind, session, sequence, step, payload)
