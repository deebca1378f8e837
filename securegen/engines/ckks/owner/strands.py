"""Strands: multi-secret RLWE, shared a. Ciphertexts that share their public half and have a secret key each.

(a, −a·s_1 + e_1 + m_1, …, −a·s_S + e_S + m_S) hides every message as a single ciphertext does: by a hybrid argument over
the S keys, which are independent of each other, whoever tells it from random tells one RLWE sample from random with at
least 1/S of the advantage (Peikert, Vaikuntanathan and Waters 2008; FrodoKEM's matrices, Bos et al. 2016). It is the seed
that must never serve two messages under the same key, and it does not: each key occurs once a seed.

What it buys. A product of two ciphertexts is four products of polynomials, (b_g + a_g s)(b_c + a_c s'). If S strands share
a_g and J columns share a_c, a block has (S+1)(J+1) products for S·J pairs, little more than one for each; and a result
is b_g·b_c alone, with the a-parts shared.

Strand 0 has the key itself, which SEAL made; the others are drawn here: uniform ternary, from AES-CTR under a key that
HKDF makes from the master key, so that no other file or field is needed. 64 bits become a digit by floor(3·w/2^64), which
is uniform to 2^-62.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from securegen.engines.ckks.owner.secret_key import SecretKey
from securegen.kernels.ntt import forward, ntt_tables
from securegen.randomness import keystream


def strand_secrets(key: SecretKey, strands: Sequence[int]) -> np.ndarray:
    """Secret keys of these strands, (S, k, n) uint64 residues in NTT form; that of strand 0 is the key's own."""
    ring = key.public.parameters.ring
    out = np.empty((len(strands), len(ring.primes), ring.n), np.uint64)
    seed = key.derive("strands", 16)
    for i, strand in enumerate(strands):
        words = keystream(seed, strand, 8 * ring.n).view("<u8")
        high, low = words >> np.uint64(32), words & np.uint64(0xFFFFFFFF)
        digit = (np.uint64(3) * high + (np.uint64(3) * low >> np.uint64(32))) >> np.uint64(32)  # 0, 1 or 2
        for p, q in enumerate(ring.primes):
            out[i, p] = digit + np.uint64(q - 1)  # −1, 0 or 1, plus q
    forward(out, tuple(ntt_tables(ring.n, q) for q in ring.primes))
    for i, strand in enumerate(strands):
        if strand == 0:
            out[i] = key.residues
    return out
