"""CrypTen's correlated randomness (triples, squares, wraps, bits, truncation) from a dealer in a process of its own.

Every computing party shares a 128-bit key with the dealer. For request n all of them draw their shares from the stream
named by n and the request itself: parties that disagree about it get unrelated words; the first party asks the dealer
for what is missing in its share of the product. The dealer sees operations and sizes, never data, and must not collude
with anybody. Bytes: the product's size, 8 an element, from the dealer to the first party.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from securegen.engines.mpc.net.session import Session
from securegen.engines.mpc.shares.prg import words
from securegen.engines.mpc.shares.ring import matmul_ring
from securegen.errors import PolicyError, ProtocolError

PRODUCTS = ("mul", "matmul", "conv1d", "conv2d", "conv_transpose1d", "conv_transpose2d")
OPERATIONS = (*PRODUCTS, "square", "and", "wraps", "bit", "truncation")
_ONE_FACTOR = ("square", "wraps", "bit", "truncation")
_KWARGS = {"stride", "padding", "dilation", "groups", "output_padding"}
_MAX_WORDS = 1 << 27
_Steps = int | list[int]
_Size = Sequence[int]


def _draw(key: bytes, number: int, request: dict[str, Any], part: str, size: list[int]) -> torch.Tensor:
    domain = f"crypten {part} {json.dumps(request, sort_keys=True)}"
    return torch.from_numpy(words(key, domain, number=number, shape=tuple(size), dtype=np.uint64).view(np.int64))


def product(op: str, a: torch.Tensor, b: torch.Tensor, **kwargs: Any) -> torch.Tensor:
    """torch's `op` on int64 tensors; matrices go through the ring kernel."""
    if op == "matmul" and a.dim() == b.dim() == 2:
        left = np.ascontiguousarray(a.numpy().T).view(np.uint64)
        return torch.from_numpy(matmul_ring(left, np.ascontiguousarray(b.numpy()).view(np.uint64)).view(np.int64))
    out: torch.Tensor = getattr(torch, op)(a, b, **kwargs)
    return out


def _product_size(request: dict[str, Any]) -> list[int]:
    """The shape of the product, without computing it. ValueError or RuntimeError when the sizes do not fit."""
    op: str = request["op"]
    sizes: list[list[int]] = request["sizes"]
    if op == "truncation":
        return [2, *sizes[0]]
    if op in _ONE_FACTOR:
        return sizes[0]
    a, b = sizes
    if op in ("and", "mul"):
        return list(np.broadcast_shapes(tuple(a), tuple(b)))
    if op == "matmul":
        rows, columns = [1, *a] if len(a) == 1 else a, [*b, 1] if len(b) == 1 else b
        if len(a) < 1 or len(b) < 1 or rows[-1] != columns[-2]:
            raise ValueError(f"matrices of {a} and {b} have no product")
        batch = np.broadcast_shapes(tuple(rows[:-2]), tuple(columns[:-2]))
        return [*batch, *rows[-2:-1][: len(a) > 1], *columns[-1:][: len(b) > 1]]
    return _convolution_size(a, b, transposed="transpose" in op, **request["kwargs"])


def _convolution_size(
    a: list[int],
    b: list[int],
    *,
    transposed: bool,
    stride: _Steps = 1,
    padding: _Steps = 0,
    dilation: _Steps = 1,
    groups: int = 1,
    output_padding: _Steps = 0,
) -> list[int]:
    """Shape of a convolution of (batch, channels, …) with a kernel, as torch documents it."""
    axes = len(a) - 2
    options = [v if isinstance(v, list) else [v] * axes for v in (stride, padding, dilation, output_padding)]
    if (
        axes not in (1, 2)
        or len(b) != len(a)
        or any(len(v) != axes for v in options)
        or min(options[0] + options[2]) < 1
    ):
        raise ValueError(f"{a} and {b} have no convolution")
    if groups < 1 or min(b) < 1 or b[0] % groups or a[1] != (b[0] if transposed else b[1] * groups):
        raise ValueError(f"{a} and {b} have no convolution in {groups} groups")
    padded = [v + 2 * pad for v, pad in zip(a[2:], options[1], strict=True)]
    if np.prod([*a[:2], *padded], dtype=np.float64) > _MAX_WORDS:
        raise ValueError(f"{a} is too large with its padding")
    size = [a[0], b[1] * groups if transposed else b[0]]
    for length, kernel, step, pad, spread, extra in zip(a[2:], b[2:], *options, strict=True):
        reach = spread * (kernel - 1) + 1
        size.append(
            (length - 1) * step - 2 * pad + reach + extra if transposed else (length + 2 * pad - reach) // step + 1
        )
    return size


class DealerProvider:
    """What CrypTen calls a provider, at a computing party."""

    NAME = "dealer"

    def __init__(self, session: Session, dealer: str, key: bytes) -> None:
        self._session, self._dealer, self._key, self._number = session, dealer, key, 0
        self._first = session.me == session.parties.computing[0]

    @property
    def rank(self) -> int:
        return self._session.parties.computing.index(self._session.me)

    def _request(self, op: str, *sizes: _Size, **kwargs: Any) -> tuple[torch.Tensor, ...]:
        """This party's shares of every factor, and of the product."""
        request: dict[str, Any] = {"op": op, "sizes": [[int(v) for v in s] for s in sizes], "kwargs": _plain(kwargs)}
        number, self._number = self._number, self._number + 1
        factors = [_draw(self._key, number, request, f"factor {i}", s) for i, s in enumerate(request["sizes"])]
        size = _product_size(request)
        if self._first:
            self._session.send_json(self._dealer, "crypten/request", request)
            array = self._session.receive(self._dealer, f"crypten/product/{number}", shape=tuple(size), dtype=np.int64)
            return *factors, torch.from_numpy(array)
        return *factors, _draw(self._key, number, request, "product", size)

    def generate_additive_triple(
        self, size0: _Size, size1: _Size, op: str, device: object = None, *args: object, **kwargs: Any
    ) -> tuple[Any, ...]:
        """Shares of a, b and op(a, b)."""
        if args or op not in PRODUCTS:
            raise PolicyError(f"the dealer makes no triples for {op!r} with {len(args)} positional options")
        return tuple(_arithmetic(x) for x in self._request(op, size0, size1, **kwargs))

    def square(self, size: _Size, device: object = None) -> tuple[Any, ...]:
        """Shares of r and r²."""
        return tuple(_arithmetic(x) for x in self._request("square", size))

    def generate_binary_triple(self, size0: _Size, size1: _Size, device: object = None) -> tuple[Any, ...]:
        """XOR shares of a, b and a & b."""
        return tuple(_binary(x) for x in self._request("and", size0, size1))

    def wrap_rng(self, size: _Size, device: object = None) -> tuple[Any, ...]:
        """Shares of r and of the number of times their sum wraps."""
        return tuple(_arithmetic(x) for x in self._request("wraps", size))

    def B2A_rng(self, size: _Size, device: object = None) -> tuple[Any, Any]:  # noqa: N802
        """Arithmetic and XOR shares of one random bit."""
        bit, arithmetic = self._request("bit", size)
        return _arithmetic(arithmetic), _binary(bit & 1)

    def truncation(self, size: _Size, divisor: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Shares of a uniform r, of r // divisor and of the top bit of r (r unsigned): see crypten_exact."""
        r, (quotient, top) = self._request("truncation", size, divisor=divisor)
        return r, quotient, top

    def trace(self, tracing: bool = True) -> None:
        raise PolicyError("tuple caches are pickle files and can be used twice; they are not offered")

    trace_once = fill_cache = save_cache = load_cache = trace

    def end(self) -> None:
        """Tell the dealer that nothing more is needed."""
        if self._first:
            self._session.send_json(self._dealer, "crypten/request", {"op": "end", "sizes": [], "kwargs": {}})


def serve_crypten(session: Session) -> int:
    """The dealer's part of a CrypTen session. Returns the number of requests served."""
    names = session.parties.computing
    keys = [session.receive_key(name, "crypten/dealer key") for name in names]
    number = 0
    while True:
        request = _checked(session.receive_json(names[0], "crypten/request"), names[0])
        if request["op"] == "end":
            return number
        missing = _missing(request, keys, number)
        session.send(names[0], f"crypten/product/{number}", missing.numpy())
        number += 1


def _missing(request: dict[str, Any], keys: list[bytes], number: int) -> torch.Tensor:
    """The first party's share of the product: the product of the sums minus everybody else's share."""
    op, sizes = request["op"], request["sizes"]
    factors = [[_draw(k, number, request, f"factor {i}", s) for k in keys] for i, s in enumerate(sizes)]
    rest = [_draw(k, number, request, "product", _product_size(request)) for k in keys[1:]]
    if op == "and":
        xor = [functools.reduce(torch.bitwise_xor, f) for f in factors]
        return functools.reduce(torch.bitwise_xor, rest, xor[0] & xor[1])
    if op == "bit":
        whole = functools.reduce(torch.bitwise_xor, factors[0]) & 1
    elif op == "truncation":
        r = functools.reduce(torch.add, factors[0]).numpy().view(np.uint64)
        parts = r // np.uint64(request["kwargs"]["divisor"]), r >> np.uint64(63)
        whole = torch.from_numpy(np.stack(parts).view(np.int64))
    elif op == "wraps":
        whole = count_wraps(factors[0])
    else:
        sums = [functools.reduce(torch.add, f) for f in factors]
        whole = sums[0] * sums[0] if op == "square" else product(op, *sums, **request["kwargs"])
    return functools.reduce(torch.sub, rest, whole)


def count_wraps(shares: list[torch.Tensor]) -> torch.Tensor:
    """θ with Σ shares = (their int64 sum) + 2^64 θ, element by element.

    >>> count_wraps([torch.tensor([2**62]), torch.tensor([2**62])])
    tensor([1])
    """
    total, theta = shares[0].clone(), torch.zeros_like(shares[0])
    for share in shares[1:]:
        after = total + share
        theta += ((total > 0) & (share > 0) & (after < 0)).long() - ((total < 0) & (share < 0) & (after >= 0)).long()
        total = after
    return theta


def _checked(request: object, sender: str) -> dict[str, Any]:
    """The request, if it is one: a known operation, sizes that fit in memory, options that are small integers."""
    if isinstance(request, dict) and set(request) == {"op", "sizes", "kwargs"}:
        op, sizes, kwargs = request["op"], request["sizes"], request["kwargs"]
        if op == "end":
            return request
        count = 1 if op in _ONE_FACTOR else 2
        sized = isinstance(sizes, list) and len(sizes) == count and all(_is_size(s) for s in sizes)
        if op in OPERATIONS and sized and isinstance(kwargs, dict) and _are_options(op, kwargs):
            try:
                if _is_size(_product_size(request)):
                    return request
            except (RuntimeError, TypeError, ValueError) as error:
                raise ProtocolError(f"party {sender!r} asked for {op} of sizes {sizes} that do not fit") from error
    raise ProtocolError(f"party {sender!r} asked the dealer for something it does not make: {str(request)[:200]}")


def _is_size(value: object) -> bool:
    return (
        isinstance(value, list)
        and all(type(v) is int and 0 <= v <= _MAX_WORDS for v in value)  # also beside an axis of 0
        and bool(np.prod(value, dtype=np.float64) <= _MAX_WORDS)
    )


def _are_options(op: str, kwargs: dict[str, Any]) -> bool:
    if op == "truncation":
        divisor = kwargs.get("divisor")
        return len(kwargs) == 1 and type(divisor) is int and 2 <= divisor < 1 << 62
    values = [v for value in kwargs.values() for v in (value if isinstance(value, list) else [value])]
    small = all(type(v) is int and 0 <= v < 1 << 16 for v in values)
    return not kwargs or (op.startswith("conv") and set(kwargs) <= _KWARGS and small)


def _plain(kwargs: dict[str, Any]) -> dict[str, Any]:
    return {k: list(v) if isinstance(v, tuple | list) else int(v) for k, v in kwargs.items()}


def _arithmetic(share: torch.Tensor) -> Any:
    from crypten.mpc.primitives import ArithmeticSharedTensor

    return ArithmeticSharedTensor.from_shares(share, precision=0)


def _binary(share: torch.Tensor) -> Any:
    from crypten.mpc.primitives import BinarySharedTensor

    return BinarySharedTensor.from_shares(share)
