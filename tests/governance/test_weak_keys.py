"""Keys under which anybody signs: a signature made without any key is refused, though the library takes it."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from securegen.governance import signing

P = 2**255 - 19
D = -121665 * pow(121666, -1, P) % P
IDENTITY = (1).to_bytes(32, "little")


def add(a: tuple[int, int], b: tuple[int, int]) -> tuple[int, int]:
    """The law of the twisted Edwards curve."""
    (x1, y1), (x2, y2) = a, b
    t = D * x1 * x2 * y1 * y2
    return (x1 * y2 + x2 * y1) * pow(1 + t, -1, P) % P, (y1 * y2 + x1 * x2) * pow(1 - t, -1, P) % P


def root(square: int) -> int:
    r = pow(square, (P + 3) // 8, P)
    return r if r * r % P == square else r * pow(2, (P - 1) // 4, P) % P


def eighth() -> tuple[int, int]:
    """A point of order 8: some point of the curve times the order of its large subgroup."""
    large = 2**252 + 27742317777372353535851937790883648493
    for y in range(3, 200):
        square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
        x = root(square)
        if x * x % P != square:
            continue
        point, power, n = (0, 1), (x, y), large
        while n:
            point, power, n = add(point, power) if n & 1 else point, add(power, power), n >> 1
        if add(add(point, point), add(point, point)) != (0, 1):
            return point
    raise AssertionError("no such point among the first")


def test_every_point_of_small_order_is_weak_and_no_fresh_key_is():
    step, point = eighth(), (0, 1)
    found = set()
    for _ in range(8):
        found.add(point)
        point = add(point, step)
    assert len(found) == 8 and point == (0, 1)
    for x, y in found:
        for sign in {x & 1, 1 - (x & 1)}:
            assert signing.is_weak((y | sign << 255).to_bytes(32, "little"))
    for y in (P, P + 1):  # written otherwise than the least
        assert signing.is_weak(y.to_bytes(32, "little"))
    assert not any(signing.is_weak(signing.generate().verify_key) for _ in range(20))


@pytest.mark.parametrize("message", [b"one", b"another"])
def test_a_signature_that_needs_no_key_is_refused(message):
    forged = IDENTITY + bytes(32)  # R = 0, S = 0
    Ed25519PublicKey.from_public_bytes(IDENTITY).verify(forged, message)  # it is accepted there
    assert not signing.verifies(IDENTITY, message, forged)
    real = signing.generate()
    assert signing.verifies(real.verify_key, message, real.sign(message))
