"""CrypTen's random words from AES-CTR: shares, shares of zero, and the public randomness of dropout.

As shipped CrypTen draws all of them from a Mersenne Twister with a 64-bit seed of which torch uses 32 bits. Here a
generator is a 128-bit key and a count of what was drawn; two parties with the same key draw the same words.
"""

from __future__ import annotations

import numpy as np
import torch

from securegen.engines.mpc.shares.prg import Stream
from securegen.errors import PolicyError


class AesGenerator:
    """Stands where CrypTen keeps a torch.Generator."""

    device = torch.device("cpu")

    def __init__(self, key: bytes, domain: str) -> None:
        self._stream = Stream(key, domain)

    def words(self, size: object) -> torch.Tensor:
        """Uniform int64 words."""
        return torch.from_numpy(self._stream.draw(_shape(size)).view(np.int64))

    def uniform(self, size: object) -> torch.Tensor:
        """float32 numbers k / 2^24 with k uniform in [0, 2^24)."""
        return torch.from_numpy((self._stream.draw(_shape(size)) >> np.uint64(40)).astype(np.float32) * 2.0**-24)

    def manual_seed(self, seed: int) -> None:
        raise PolicyError("randomness that protects data cannot be seeded by hand")


def _shape(size: object) -> tuple[int, ...]:
    return (size,) if isinstance(size, int) else tuple(size)  # type: ignore[arg-type]


def ring_element(
    size: object, ring_size: int = 2**64, generator: AesGenerator | None = None, **kwargs: object
) -> torch.Tensor:
    """In place of crypten.common.rng.generate_random_ring_element: uniform in [−ring_size/2, ring_size/2)."""
    bits = ring_size.bit_length() - 1
    if ring_size != 1 << bits:
        raise PolicyError(f"a ring of {ring_size} elements is not a power of two")
    return _generator(generator).words(size) >> (64 - bits)


def kbit_tensor(
    size: object, bitlength: int | None = None, generator: AesGenerator | None = None, **kwargs: object
) -> torch.Tensor:
    """In place of crypten.common.rng.generate_kbit_random_tensor: uniform words of `bitlength` (default 64) bits."""
    words = _generator(generator).words(size)
    return words if bitlength in (None, 64) else words & ((1 << bitlength) - 1)


def _generator(generator: AesGenerator | None) -> AesGenerator:
    if generator is None:
        import crypten

        generator = crypten.generators["local"][torch.device("cpu")]
    if not isinstance(generator, AesGenerator):
        raise PolicyError(f"a {type(generator).__name__} is not allowed to make randomness that protects data")
    return generator
