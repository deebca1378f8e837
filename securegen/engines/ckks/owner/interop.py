"""TenSEAL objects <-> securegen keys and ciphertexts, for people who hold either.

Both stand on SEAL, so a ciphertext is the same residues in both; what differs is the encoding. TenSEAL packs real numbers
into slots, securegen integers into coefficients, so a ciphertext moved over decrypts exactly (`decrypt_with_seal`), but
TenSEAL's own `decrypt` of it shows slots. Only rings with data primes below 2^30 fit (`ring_of` says which do not).

Who learns what: `public_context` holds no secret. `context_with_secret_key` hands out everything that is encrypted under
the key, says so and is named so. A TenSEAL cohort becomes a securegen one only through its owner, who decrypts and
encrypts again (`dosages_from_tenseal`): what verifies results is computed from genotypes in the clear.
"""

from __future__ import annotations

import dataclasses
import struct
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from securegen.engines.ckks.owner import secret_key
from securegen.engines.ckks.owner.secret_key import SecretKey
from securegen.engines.ckks.parameters import Parameters
from securegen.errors import ArtefactError, InputError, KeyFileError, PlanError, UsageError
from securegen.kernels.crt import round_residues
from securegen.kernels.ntt import inverse
from securegen.rlwe import seal
from securegen.rlwe.residues import ring_tables
from securegen.rlwe.ring import Ring

_NTT_FLAG, _SCALE = 32, 57  # in the body of a SEAL ciphertext: parms_id, flag, size, n, k, scale
SLOT_TOLERANCE = 0.1  # CKKS noise of a decrypted dosage; more is something else


def ring_of(context: Any) -> Ring:
    """The ring of a `tenseal.Context` (CKKS). Raises PlanError where securegen's kernels cannot hold it.

    >>> import tenseal as ts
    >>> ring_of(ts.context(ts.SCHEME_TYPE.CKKS, 4096, coeff_mod_bit_sizes=[30, 30, 30, 19])) == Ring.standard(4096, 3)
    True
    """
    import tenseal.sealapi  # noqa: F401  # registers the types that are read here

    data = context.seal_context().data.key_context_data().parms()
    primes = tuple(int(m.value()) for m in data.coeff_modulus())
    if max(primes[:-1]) >= 1 << 30:
        raise PlanError(
            f"data primes of {max(primes[:-1]).bit_length()} bits do not fit securegen's kernels (30 at most): make the "
            "TenSEAL context with coeff_mod_bit_sizes=[30, 30, 30, 19] (n = 4096) or with 30s (n = 8192)"
        )
    ring = Ring(data.poly_modulus_degree(), primes[:-1], primes[-1])
    seal.context(ring)  # SEAL, too, would choose these primes
    return ring


def to_seal(ciphertext: np.ndarray, ring: Ring, scale: float) -> Any:
    """(2 or 3, k, n) uint64 residues in NTT form -> `tenseal.sealapi.Ciphertext` at the data level.

    Raises ArtefactError when a residue is not below its prime.
    """
    import tenseal.sealapi as api

    size = len(ciphertext)
    if ciphertext.shape != (size, len(ring.primes), ring.n):
        raise ArtefactError(f"a ciphertext has shape {ciphertext.shape}, its ring {(size, len(ring.primes), ring.n)}")
    context = seal.context(ring)
    empty = api.Ciphertext(context)
    empty.resize(context, context.first_parms_id(), size)
    stream = seal.dump(empty)
    body = bytearray(seal.body(stream))
    body[_NTT_FLAG] = 1
    body[_SCALE : _SCALE + 8] = struct.pack("<d", scale)
    raw = np.ascontiguousarray(ciphertext, "<u8").tobytes()
    body[-len(raw) :] = raw
    header = stream[:5] + b"\0\0\0" + struct.pack("<Q", 16 + len(body))
    try:
        made = seal.load(api.Ciphertext(context), context, header + bytes(body))
    except (RuntimeError, ValueError) as error:
        raise ArtefactError(f"SEAL does not accept the ciphertext: {error}") from None
    if made.size() != size or not made.is_ntt_form() or made.scale != scale:
        raise ArtefactError("SEAL read another ciphertext than was written")
    return made


def from_seal(ciphertext: Any, ring: Ring) -> tuple[np.ndarray, float]:
    """`tenseal.sealapi.Ciphertext` -> ((2 or 3, k, n) uint64 residues in NTT form, scale).

    Raises UsageError for a ciphertext that was rescaled, or is not of this ring.
    """
    shape = (ciphertext.poly_modulus_degree(), ciphertext.coeff_modulus_size())
    if shape != (ring.n, len(ring.primes)) or not ciphertext.is_ntt_form():
        raise UsageError(
            f"the ciphertext has n = {shape[0]} and {shape[1]} primes, the ring n = {ring.n} and {len(ring.primes)}: "
            "rescaled ciphertexts, and those of other parameters, have no counterpart"
        )
    return seal.residues(ciphertext, ciphertext.size(), shape[1], shape[0]).copy(), float(ciphertext.scale)


def decrypt_with_seal(ciphertext: np.ndarray, key: SecretKey, scale_log2: int) -> np.ndarray:
    """(2 or 3, k, n) residues at a scale of 2^scale_log2 -> (n,) int64 coefficients, by SEAL's Decryptor.

    Nothing is verified: a crafted ciphertext makes the result spell the key. Of what a server returned, show nobody.
    """
    import tenseal.sealapi as api

    ring = key.public.parameters.ring
    context = seal.context(ring)
    decryptor = api.Decryptor(context, seal.load(api.SecretKey(), context, key.seal_stream))
    plain = api.Plaintext()
    decryptor.decrypt(to_seal(ciphertext, ring, 2.0**scale_log2), plain)
    residues = seal.residues(plain, 1, len(ring.primes), ring.n).copy()
    inverse(residues, ring_tables(ring))
    return round_residues(residues[0], ring.primes, scale_log2)[0]


def _field(number: int, value: bytes | float | int) -> bytes:
    """A field of a protocol buffer: bytes, a double, or a whole number."""
    if isinstance(value, float):
        return bytes([number << 3 | 1]) + struct.pack("<d", value)
    if isinstance(value, int):
        return bytes([number << 3]) + _varint(value)
    return bytes([number << 3 | 2]) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def _context(key: SecretKey, scale: float, *, with_secret: bool) -> Any:
    import tenseal as ts
    import tenseal.sealapi as api

    context = seal.context(key.public.parameters.ring)
    secret = seal.load(api.SecretKey(), context, key.seal_stream)
    public = api.PublicKey()
    api.KeyGenerator(context, secret).create_public_key(public)
    parts = _field(1, seal.dump(context.key_context_data().parms()))
    parts += _field(2, _field(1, seal.dump(public)) + _field(2, 0) + _field(3, float(scale)))
    if with_secret:
        parts += _field(3, _field(1, key.seal_stream) + _field(2, 1))
    return ts.context_from(parts)


def public_context(key: SecretKey, *, scale: float = 2.0**20) -> Any:
    """A `tenseal.Context` that encrypts under `key` and decrypts nothing: parameters and a fresh public key.

    No relinearisation, no Galois keys: products stay size 3, as securegen's do.
    """
    return _context(key, scale, with_secret=False)


def context_with_secret_key(key: SecretKey, *, scale: float = 2.0**20) -> Any:
    """A `tenseal.Context` that HOLDS THE SECRET KEY: whoever gets it, or what it serialises to, decrypts everything."""
    print(
        "insecure: this TenSEAL context holds the secret key; TenSEAL writes it without a passphrase", file=sys.stderr
    )
    return _context(key, scale, with_secret=True)


def key_from_tenseal(context: Any, parameters: Parameters) -> SecretKey:
    """A securegen key with the RLWE secret of a private `tenseal.Context`, and fresh signing and master keys.

    parameters: of the plan, on the same ring. Approximate results that were ever published under the secret stay a leak
    (Li and Micciancio 2021): prefer a fresh key and `dosages_from_tenseal`. Raises PlanError, KeyFileError.
    """
    ring = ring_of(context)
    if ring != parameters.ring:
        raise PlanError(
            f"the plan is for n = {parameters.ring.n} and primes {parameters.ring.primes}, TenSEAL has {ring}"
        )
    if not context.has_secret_key():
        raise KeyFileError("this TenSEAL context is public: the secret key is with whoever made it")
    secret = context.secret_key().data
    residues = seal.residues(secret, 1, len(ring.primes) + 1, ring.n)[0, : len(ring.primes)].copy()
    return dataclasses.replace(secret_key.generate(parameters), seal_stream=seal.dump(secret), residues=residues)


def from_ckks_vector(vector: Any, ring: Ring) -> tuple[np.ndarray, float]:
    """`tenseal.CKKSVector` or `CKKSTensor` -> ((C, 2 or 3, k, n) uint64 residues, scale); nothing is decrypted."""
    made = [from_seal(c, ring) for c in vector.ciphertext()]
    if len({scale for _, scale in made}) > 1:
        raise UsageError("the ciphertexts of this tensor have different scales")
    return np.stack([residues for residues, _ in made]), made[0][1]


def to_ckks_vector(ciphertexts: np.ndarray, context: Any, *, scale: float, sizes: Sequence[int]) -> Any:
    """(C, 2, k, n) residues -> `tenseal.CKKSVector` on `context`; sizes: numbers in each ciphertext.

    TenSEAL shows slots: meaningful for what was encoded in slots, as by TenSEAL itself.
    """
    import tenseal as ts

    ring = ring_of(context)
    if len(ciphertexts) != len(sizes):
        raise ValueError(f"{len(sizes)} sizes for {len(ciphertexts)} ciphertexts")
    parts = _field(1, b"".join(map(_varint, sizes)))
    for ciphertext in ciphertexts:
        parts += _field(2, seal.dump(to_seal(ciphertext, ring, scale)))
    return ts.ckks_vector_from(context, parts + _field(3, float(scale)))


def dosages_from_tenseal(rows: Iterable[Any], *, grid: int = 1) -> np.ndarray:
    """Owner: TenSEAL vectors or tensors of dosages on a private context, one per variant -> (M, N) dosages in [0, 2].

    grid: steps of 1/grid; int8 for 1, else float64. They go on to `securegen.from_arrays(…, grid=grid)` and are encrypted
    afresh. Raises InputError for what is not a dosage.
    """
    return np.stack(list(_dosages(rows, grid)))


def _dosages(rows: Iterable[Any], grid: int) -> Iterator[np.ndarray]:
    for j, row in enumerate(rows):
        found = row.decrypt()
        values = np.asarray(found.tolist() if hasattr(found, "tolist") else found, float).reshape(-1) * grid
        whole = np.rint(values)
        far = np.abs(values - whole)
        if far.max(initial=0) > SLOT_TOLERANCE or whole.min(initial=0) < 0 or whole.max(initial=0) > 2 * grid:
            i = int(np.argmax(np.where((whole < 0) | (whole > 2 * grid), np.inf, far)))
            raise InputError(f"row {j}, sample {i}: {values[i] / grid:.4f} is not a dosage in steps of 1/{grid}")
        yield whole.astype(np.int8) if grid == 1 else whole / grid
