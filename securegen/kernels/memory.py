"""Arrays that begin at a cache line, so that a line of residues is one line of memory, and arrays that are used again."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

LINE = 64  # bytes


def aligned(
    shape: tuple[int, ...], dtype: Any = np.uint32, *, make: Callable[..., np.ndarray] = np.empty
) -> np.ndarray:
    """An array of that shape and type, of memory from `make` (np.empty or np.zeros), whose first byte begins a line.

    >>> aligned((3, 5), np.int32, make=np.zeros).any(), aligned((2,)).ctypes.data % LINE
    (np.False_, 0)
    """
    return _within(make(_bytes(shape, dtype) + LINE, np.uint8), shape, dtype)


def _bytes(shape: tuple[int, ...], dtype: Any) -> int:
    return math.prod(shape) * int(np.dtype(dtype).itemsize)


def _within(memory: np.ndarray, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    start = -memory.ctypes.data % LINE
    array: np.ndarray = memory[start : start + _bytes(shape, dtype)].view(dtype).reshape(shape)
    return array


class Rooms:
    """Memory for large arrays, used again: the system takes about as long to give new memory as a kernel to fill it.

    Threads may share one. Nothing secret is kept in them: they are not cleared.
    """

    def __init__(self) -> None:
        self._lock, self._free = threading.Lock(), list[np.ndarray]()

    def take(self, shape: tuple[int, ...], dtype: Any = np.uint32) -> np.ndarray:
        """An array as `aligned` makes it; it holds anything.

        >>> rooms = Rooms()
        >>> first = rooms.take((4, 4))
        >>> rooms.give(first)
        >>> rooms.take((3, 5)).ctypes.data == first.ctypes.data
        True
        """
        size = _bytes(shape, dtype) + LINE
        with self._lock:
            large = [(len(memory), i) for i, memory in enumerate(self._free) if len(memory) >= size]
            if large:
                return _within(self._free.pop(min(large)[1]), shape, dtype)
            del self._free[:1]  # too small for what is asked for now
        return _within(np.empty(size, np.uint8), shape, dtype)

    def give(self, array: np.ndarray) -> None:
        """Give back an array that `take` returned, which nobody reads or writes any more."""
        memory = array.base
        if memory is None or memory.dtype != np.uint8 or memory.ndim != 1:
            raise ValueError("only what was taken can be given back")
        with self._lock:
            self._free.append(memory)
