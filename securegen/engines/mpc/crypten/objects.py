"""CrypTen's object messages without pickle: sizes, numbers, text, plain tensors and containers of them, as JSON.

CrypTen pickles what it broadcasts; a pickle from a peer is a program. Here a message is JSON text in which everything
but numbers, text, booleans and None is a one-key object saying its type. Anything else, modules in particular, is
refused: build the network at every party and encrypt it from one (`model.encrypt(src=0)`).
"""

from __future__ import annotations

import base64
import math
from typing import Any

import numpy as np
import torch

from securegen.engines.mpc.net.frames import DTYPES
from securegen.errors import ProtocolError

_NAMES = {dtype.name: dtype for dtype in DTYPES.values()}


def encode(value: object) -> object:
    """`value` as JSON-ready data; ProtocolError for a type that does not travel.

    >>> decode(encode({"size": torch.Size([2, 3]), "x": (1, None)}))
    {'size': torch.Size([2, 3]), 'x': (1, None)}
    """
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": str(value)}  # JSON has none of these
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, torch.Size):
        return {"size": list(value)}
    if isinstance(value, list | tuple):
        return {"tuple" if isinstance(value, tuple) else "list": [encode(v) for v in value]}
    if isinstance(value, dict) and all(isinstance(k, str) for k in value):
        return {"dict": [[k, encode(v)] for k, v in value.items()]}
    if type(value) is torch.Tensor:
        return {"tensor": _array(value.detach().cpu().numpy())}
    if isinstance(value, np.ndarray):
        return {"array": _array(value)}
    raise ProtocolError(
        f"CrypTen asked to send a {type(value).__module__}.{type(value).__qualname__}; objects of this type do not "
        "travel between parties. Build it at every party"
    )


def decode(value: object) -> object:
    """The inverse of `encode`; ProtocolError for anything `encode` does not produce."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, dict) and len(value) == 1:
        ((kind, body),) = value.items()
        if kind in ("array", "tensor"):
            array = _restored(body)
            return array if kind == "array" else torch.from_numpy(array)
        if kind == "float" and body in ("inf", "-inf", "nan"):
            return float(body)
        if isinstance(body, list):
            if kind == "size" and all(type(v) is int and 0 <= v < 1 << 63 for v in body):
                return torch.Size(body)
            if kind in ("list", "tuple"):
                items = [decode(v) for v in body]
                return items if kind == "list" else tuple(items)
            if kind == "dict" and all(isinstance(v, list) and len(v) == 2 and isinstance(v[0], str) for v in body):
                return {k: decode(v) for k, v in body}
    raise ProtocolError("a peer sent a malformed object message")  # every party reads this: not what was in it


def _array(array: np.ndarray) -> list[Any]:
    if array.dtype.name not in _NAMES:
        raise ProtocolError(f"an array of {array.dtype} does not travel")
    data = base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
    return [array.dtype.name, list(array.shape), data]


def _restored(body: Any) -> np.ndarray:
    try:
        name, shape, data = body
        array = np.frombuffer(base64.b64decode(data, validate=True), _NAMES[name])
        if min(shape, default=0) < 0 or (array.dtype == np.bool_ and array.view(np.uint8).max(initial=0) > 1):
            raise ValueError(shape)
        return array.reshape(shape).copy()
    except (TypeError, ValueError, KeyError) as error:
        raise ProtocolError("a peer sent a malformed array") from error
