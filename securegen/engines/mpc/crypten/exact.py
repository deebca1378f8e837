"""CrypTen's division by a public integer and its decoding, made right.

As shipped, two parties divide their shares locally, which is wrong by 2^64/y with probability about |x| / 2^64 an
element; three use a protocol with the same flaw; and decoding is off by one for negative numbers just above a whole
one. Here the parties open c = x + 2^62 + r for a uniform r of which the dealer shares r // y and the top bit, as in
Catrina and de Hoogh 2010 (and Damgård et al. 2006): for |x| < 2^62 the sum x + 2^62 + r wraps exactly when the top bit
of r is 1 and that of c is 0, so the quotient is right to within 2 for every draw. One round, 8 bytes each way a number.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from securegen.engines.mpc.crypten.dealer import DealerProvider

_SHIFT = 1 << 62


def divide_share(share: torch.Tensor, divisor: int, *, provider: DealerProvider, communicator: Any) -> torch.Tensor:
    """This party's share of x // divisor (within 2), from its share of x; int64, any shape, 2 <= divisor < 2^62."""
    r, quotient, top = provider.truncation(share.shape, divisor)
    first = communicator.get_rank() == 0
    opened = communicator.all_reduce(share + r + (_SHIFT if first else 0)).numpy().view(np.uint64)
    not_top = torch.from_numpy(np.asarray(1 - (opened >> np.uint64(63)).view(np.int64)))  # a scalar stays a tensor
    out = top * not_top * ((1 << 64) // divisor) - quotient
    if first:
        out += torch.from_numpy(np.asarray((opened // np.uint64(divisor)).view(np.int64))) - _SHIFT // divisor
    return out


def divide_in_place(original: Callable[..., Any], provider: DealerProvider, communicator: Any) -> Callable[..., Any]:
    """ArithmeticSharedTensor.div_ with an exact quotient for whole public scalars; other divisors as before."""

    def div_(self: Any, y: Any) -> Any:
        if isinstance(y, float) and y.is_integer():
            y = int(y)
        if torch.is_tensor(y) and y.numel() == 1 and not y.is_floating_point():
            y = int(y)
        if not isinstance(y, int) or not 1 <= abs(y) < _SHIFT:
            return original(self, y)
        if abs(y) > 1:
            self.share = divide_share(self.share, abs(y), provider=provider, communicator=communicator)
        if y < 0:
            self.share = -self.share
        return self

    return div_


def decode(self: Any, tensor: torch.Tensor | None) -> torch.Tensor | None:
    """FixedPointEncoder.decode: integers to the nearest float32 of tensor / scale; integers where the scale is 1."""
    if tensor is None or self._scale == 1:
        return tensor
    out: torch.Tensor = (tensor.double() / self._scale).float()
    return out
