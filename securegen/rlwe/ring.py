"""The ring of ciphertexts: its dimension, its primes, and the largest modulus that is secure in it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from securegen.errors import PlanError
from securegen.kernels.residue_mac import LANES_MULTIPLE, PRIME_LIMIT

# Homomorphic Encryption Standard (Albrecht et al. 2018), table 1: log2 of the largest modulus at 128-bit classical
# security for ternary secrets, by ring dimension.
STANDARD_128 = {1024: 27, 2048: 54, 4096: 109, 8192: 218, 16384: 438}
ERROR_SD = math.sqrt(10.5)  # centred binomial of 21 + 21 bits
ERROR_MAX = 21
LANES = 64


def is_prime(value: int) -> bool:
    """Miller–Rabin, deterministic below 3.3e24."""
    if value < 2 or any(value % p == 0 for p in (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37)):
        return value in (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37)
    odd, twos = value - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    for base in (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37):
        x = pow(base, odd, value)
        if x in (1, value - 1):
            continue
        for _ in range(twos - 1):
            x = x * x % value
            if x == value - 1:
                break
        else:
            return False
    return True


def ntt_primes(n: int, bits: int, count: int) -> tuple[int, ...]:
    """The `count` largest primes below 2^bits that are 1 mod 2n, as SEAL chooses them."""
    out: list[int] = []
    candidate = ((1 << bits) - 1) // (2 * n) * (2 * n) + 1
    while len(out) < count and candidate > 1 << (bits - 1):
        if candidate < 1 << bits and is_prime(candidate):
            out.append(candidate)
        candidate -= 2 * n
    if len(out) < count:
        raise PlanError(f"there are not {count} primes of {bits} bits for ring dimension {n}")
    return tuple(out)


@dataclass(frozen=True)
class Ring:
    """n: ring dimension; primes: data primes, each below 2^30; special: SEAL's key-switching prime (only keys see it).

    Raises PlanError below 128-bit security. Storage is tiled [prime, tile, ciphertext, lane].
    """

    n: int
    primes: tuple[int, ...]
    special: int
    lanes: int = LANES

    def __post_init__(self) -> None:
        if self.n not in STANDARD_128:
            raise PlanError(f"ring dimension {self.n} is not one of {sorted(STANDARD_128)}")
        if self.lanes < 1 or self.lanes % LANES_MULTIPLE or self.n % self.lanes:
            raise PlanError(
                f"{self.lanes} lanes are not a multiple of {LANES_MULTIPLE} that divides the ring dimension"
            )
        if not self.primes:
            raise PlanError("a ring needs a data prime")
        bits = math.log2(math.prod(self.primes) * self.special)
        if bits > STANDARD_128[self.n]:
            raise PlanError(
                f"{bits:.1f} bits of modulus at ring dimension {self.n} give less than 128-bit security "
                f"(Homomorphic Encryption Standard: at most {STANDARD_128[self.n]})"
            )
        everything = (*self.primes, self.special)
        if len(set(everything)) < len(everything) or not all(is_prime(p) and p % (2 * self.n) == 1 for p in everything):
            raise PlanError("the moduli must be different primes that are 1 modulo twice the ring dimension")
        if max(self.primes) >= PRIME_LIMIT:
            raise PlanError("a data prime must be below 2^30")

    @property
    def modulus(self) -> int:
        return math.prod(self.primes)

    @property
    def tiles(self) -> int:
        return self.n // self.lanes

    @staticmethod
    def standard(n: int, count: int) -> Ring:
        """`count` data primes of 30 bits and a small special prime."""
        special_bits = min(30, STANDARD_128[n] - 30 * count)
        if special_bits < 18:
            raise PlanError(f"{count} primes of 30 bits do not fit ring dimension {n} at 128-bit security")
        # SEAL's order: ascending, the last one for keys
        primes = ntt_primes(n, 30, count + (special_bits == 30))[::-1]
        special = primes[-1] if special_bits == 30 else ntt_primes(n, special_bits, 1)[0]
        return Ring(n, primes[:count], special)
