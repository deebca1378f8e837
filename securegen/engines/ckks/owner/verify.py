"""Verified before shown: a decrypted sum leaves the key holder only if the server computed it.

A server may return (NΔ, (N/2)Δ, 0) as the ciphertext of Σg: it decrypts to plausible counts that spell the secret key.
Neither rounding nor a range check sees that. So the owner keeps, with the key, for every block a linear check of the
genotypes, h_i = Σ_j r_j g_ij mod p with p = 2^61 − 1 and secret uniform r, and a returned block S passes only if
Σ_j r_j S_jk = Σ_i h_i c_ik mod p for every column. A server that does not know r passes a wrong block with chance
1/p for each try, and the first failure retires the key. (Freivalds 1979.)

The check proves residues modulo p. They are the integers only where every |S| is below 2^60: a server that adds p times
a coefficient of the key passes wherever the range allows it. `check_bounds` is asked before anything is encrypted or
decrypted.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from securegen.design.fixedpoint import check_sum_bound
from securegen.engines.ckks.owner.secret_key import SecretKey
from securegen.kernels.modmath61 import dot, weighted_sums
from securegen.model import GenotypeBlock
from securegen.randomness import keystream

MODULUS = (1 << 61) - 1
STREAMS = ("g", "m", "q")


def largest_sum(sum_abs: int, stream: str, dosage_max: int) -> int:
    """Largest |sum| that honest data can give: of a column with Σ|c|, over dosages of up to dosage_max ('o': own squares)."""
    square = dosage_max * dosage_max
    return int(sum_abs) * {"g": dosage_max, "m": 1, "q": square, "o": square}[stream]


def check_bounds(sum_abs: np.ndarray, squared: Sequence[bool], dosage_max: int) -> None:
    """Raise PlanError unless every sum of these columns can be verified. sum_abs: (J,) Σ|c|; squared: with a Σ g²."""
    for total, squares in zip(sum_abs, squared, strict=True):
        check_sum_bound(largest_sum(total, "q" if squares else "g", dosage_max), "a sum of this design", verified=True)


def block_secrets(key: SecretKey, cohort: str, block: int, variants: int) -> np.ndarray:
    """r of one block: (V,) uint64 uniform below 2^61 − 1, from the master key, the cohort's id and the block number."""
    seed = key.derive(f"verification {cohort}", 16)
    raw = keystream(seed, block, 16 * variants).view("<u8").reshape(variants, 2)
    # 128 bits reduced modulo 2^61 − 1: the distance from uniform is below 2^-66
    wide = [(int(a) | int(b) << 64) % MODULUS for a, b in raw]
    return np.array(wide, np.uint64)


def block_check(r: np.ndarray, block: GenotypeBlock, squares: bool) -> np.ndarray:
    """h of one block for the streams g, m and q: (3, N) uint64 (zeros for a stream that is not stored)."""
    out = np.zeros((3, block.dosage.shape[1]), np.uint64)
    out[0] = weighted_sums(block.dosage, r)
    if block.missing is not None:
        out[1] = weighted_sums(block.missing.view(np.int8), r)
    if squares:
        out[2] = weighted_sums(block.squares, r)
    return out


def expected_check(h: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Σ_i h_i c_ik mod p: h (N,) uint64, columns (N, J) int64 -> (J,) uint64."""
    return dot(h, columns)


def passes(r: np.ndarray, sums: np.ndarray, expected: np.ndarray) -> bool:
    """Whether Σ_j r_j S_jk equals the expected check for every column. sums: (V, J) int64."""
    return bool(np.array_equal(dot(r, sums), expected))
