"""CrypTen tensors <-> securegen shares: both are additive shares mod 2^64, so nothing is sent and nothing is rounded.

A party converts its own share; one share alone is uniform and says nothing. CrypTen's number x at precision p is the
integer round(x·2^p): securegen's integers are precision 0, CrypTen's default is 16.

Who learns what: nobody anything, as long as the shares are uniform. Those of an unhardened CrypTen come from a generator
with a 32-bit seed and are refused; `insecure_share_of_shipped_crypten` takes them by name. With one party the share is
the plaintext, which is refused.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from securegen.engines.mpc.crypten.importing import import_crypten, import_torch
from securegen.errors import PolicyError, UsageError

PRECISIONS = range(31)  # bits below the point; CrypTen multiplies two of them in 64 bits


def share_from_crypten(tensor: Any) -> tuple[np.ndarray, int]:
    """This party's share of an MPCTensor, inside `hardened`: (uint64 of its shape, bits below the point).

    Raises PolicyError outside a hardened session or with one party, UsageError for a binary sharing.
    """
    from securegen.engines.mpc.crypten.communicator import MeshCommunicator

    crypten = import_crypten()
    communicator = crypten.communicator.get() if crypten.communicator.is_initialized() else None
    if not isinstance(communicator, MeshCommunicator):
        raise PolicyError(
            "this CrypTen runs on predictable randomness, so its shares hide nothing: share the data again inside "
            "securegen.engines.mpc.crypten.layer.hardened (insecure_share_of_shipped_crypten takes them as they are)"
        )
    return _share(tensor)


def insecure_share_of_shipped_crypten(tensor: Any) -> tuple[np.ndarray, int]:
    """As `share_from_crypten`, of CrypTen as it is shipped: whoever guesses its seed knows the data. Prints one line."""
    print("insecure: shares of CrypTen as shipped, whose randomness has a 32-bit seed", file=sys.stderr)
    if import_crypten().communicator.get().get_world_size() < 2:
        raise PolicyError("with one party its share is the plaintext")
    return _share(tensor)


def _share(tensor: Any) -> tuple[np.ndarray, int]:
    crypten = import_crypten()
    if not isinstance(tensor, crypten.mpc.MPCTensor):
        raise UsageError(f"a {type(tensor).__name__} is not an MPCTensor")
    if tensor.ptype != crypten.mpc.arithmetic:
        raise UsageError("a binary sharing is not the sum of its shares: tensor.to(crypten.mpc.arithmetic) first")
    precision = int(tensor.encoder.scale).bit_length() - 1
    return tensor.share.detach().numpy().copy().view(np.uint64), precision


def share_to_crypten(share: np.ndarray, *, precision: int = 0) -> Any:
    """This party's securegen share, uint64 of any shape, as an MPCTensor; precision: bits below the point of the number.

    Every party calls it with its share, in a session of the same parties. Raises UsageError for a 32-bit ring.
    """
    if share.dtype != np.uint64:
        raise UsageError(f"CrypTen's ring is mod 2^64, this share is {share.dtype}: share with bits=64")
    if precision not in PRECISIONS:
        raise UsageError(f"precision {precision} is not one of 0 to {PRECISIONS[-1]} bits")
    crypten, torch = import_crypten(), import_torch()
    words = torch.from_numpy(np.ascontiguousarray(share).copy().view(np.int64))
    return crypten.mpc.MPCTensor.from_shares(words, precision=precision, ptype=crypten.mpc.arithmetic)
