"""Randomness that protects data: the operating system, and AES-CTR streams expanded from its keys.

Nothing here is NumPy's or torch's generator. A stream is addressed by (key, nonce, offset); the caller owns the rule
that a (key, nonce) pair is never used for two different secrets.
"""

from __future__ import annotations

import secrets

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

KEY_BYTES = 16
_CHUNK = 1 << 20
_ZEROS = memoryview(bytes(_CHUNK))


def fresh_key() -> bytes:
    """A new 128-bit key from the operating system."""
    return secrets.token_bytes(KEY_BYTES)


def keystream(key: bytes, nonce: int, size: int, offset: int = 0) -> np.ndarray:
    """`size` bytes of the AES-CTR stream of `key` under the 64-bit `nonce`, starting at byte `offset`.

    offset must be a multiple of 16 (one AES block). Returns a uint8 array that the caller owns.
    Blocks are numbered from offset/16 in the lower 64 bits of the counter: NIST SP 800-38A, CTR mode.

    >>> keystream(bytes(16), 0, 4).tobytes().hex()
    '66e94bd4'
    >>> bool((keystream(bytes(16), 7, 64)[32:] == keystream(bytes(16), 7, 32, offset=32)).all())
    True
    """
    if offset % 16 or not 0 <= nonce < 1 << 64 or len(key) not in (16, 32):
        raise ValueError(f"no keystream at byte {offset} for a key of {len(key)} bytes")
    counter = nonce.to_bytes(8, "big") + (offset // 16).to_bytes(8, "big")
    encryptor = Cipher(algorithms.AES(key), modes.CTR(counter)).encryptor()
    out = np.empty(size + 16, np.uint8)  # update_into asks for one spare block
    view = memoryview(out.data)
    for start in range(0, size, _CHUNK):
        n = min(_CHUNK, size - start)
        encryptor.update_into(_ZEROS[:n], view[start : start + n + 16])
    return out[:size]
