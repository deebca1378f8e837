"""The bridge to Microsoft SEAL through TenSEAL: contexts, keys and encryptions of zero as arrays of residues.

SEAL objects serialise to a file name only, so they pass through anonymous memory (memfd): nothing secret reaches a disk.
Stream layout (SEAL 4.x, little endian): a 16-byte header (magic A15E, header size, version, compression 0 none or
2 zstandard, reserved, total size), then the body; residues are its last words, [polynomial, prime, coefficient], in
NTT form with SEAL's order (odd powers of the smallest primitive 2n-th root, bit reversed).
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import zstandard

from securegen.errors import PlanError, StorageError
from securegen.rlwe.ring import Ring

_HEADER = 16
_ZSTD = 2


def context(ring: Ring) -> Any:
    """SEALContext of a ring, enforced at 128-bit security. Raises PlanError when SEAL would use other primes."""
    import tenseal.sealapi as seal

    parameters = seal.EncryptionParameters(seal.SCHEME_TYPE.CKKS)
    parameters.set_poly_modulus_degree(ring.n)
    bits = [p.bit_length() for p in (*ring.primes, ring.special)]
    chain = seal.CoeffModulus.Create(ring.n, bits)
    if tuple(int(m.value()) for m in chain) != (*ring.primes, ring.special):
        raise PlanError("this SEAL build chooses other primes than the plan names")
    parameters.set_coeff_modulus(chain)
    return seal.SEALContext(parameters, True, seal.SEC_LEVEL_TYPE.TC128)


def dump(thing: Any) -> bytes:
    """A SEAL object as its stream, through anonymous memory."""
    descriptor = os.memfd_create("seal", os.MFD_CLOEXEC)
    try:
        try:
            thing.save(f"/proc/self/fd/{descriptor}")
        except RuntimeError:
            raise StorageError(
                "SEAL cannot write to a file in memory: is the size of files limited (ulimit -f)?"
            ) from None
        size = os.fstat(descriptor).st_size
        return os.pread(descriptor, size, 0)
    finally:
        os.close(descriptor)


def load(empty: Any, ctx: Any, stream: bytes) -> Any:
    """Fill an empty SEAL object from its stream."""
    descriptor = os.memfd_create("seal", os.MFD_CLOEXEC)
    try:
        os.pwrite(descriptor, stream, 0)
        empty.load(ctx, f"/proc/self/fd/{descriptor}")
        return empty
    finally:
        os.close(descriptor)


def body(stream: bytes) -> bytes:
    """What follows the header of a stream that SEAL wrote, unpacked where it is packed with zstandard."""
    if stream[5] == _ZSTD:
        return zstandard.ZstdDecompressor().decompressobj().decompress(stream[_HEADER:])
    return stream[_HEADER:]


def residues(thing: Any, polynomials: int, primes: int, n: int) -> np.ndarray:
    """(polynomials, primes, n) uint64 residues of a SEAL key or ciphertext, in NTT form."""
    count = polynomials * primes * n
    return np.frombuffer(body(dump(thing))[-8 * count :], dtype="<u8").reshape(polynomials, primes, n)


def new_secret_key(ring: Ring) -> tuple[bytes, np.ndarray]:
    """A fresh ternary secret key: SEAL's stream, and its residues modulo the data primes, (k, n) uint64, NTT form."""
    import tenseal.sealapi as seal

    key = seal.KeyGenerator(context(ring)).secret_key()
    k = len(ring.primes)
    return dump(key), residues(key, 1, k + 1, ring.n)[0, :k].copy()


class ZeroEncryptor:
    """Fresh symmetric encryptions of zero at the data level by SEAL (its own randomness: BLAKE2 of OS entropy)."""

    def __init__(self, ring: Ring, key_stream: bytes) -> None:
        import tenseal.sealapi as seal

        self._ring, self._context = ring, context(ring)
        self._encryptor = seal.Encryptor(self._context, load(seal.SecretKey(), self._context, key_stream))
        self._level, self._out = self._context.first_parms_id(), seal.Ciphertext()

    def __call__(self) -> np.ndarray:
        """(2, k, n) uint64: c0, c1 with c0 + c1·s = small error."""
        self._encryptor.encrypt_zero_symmetric(self._level, self._out)
        return residues(self._out, 2, len(self._ring.primes), self._ring.n)
