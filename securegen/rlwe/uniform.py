"""The public half of a ciphertext, drawn again from its 16-byte seed: uniform residues by rejection from AES-CTR.

Everything here is public. A cell is the lanes of one tile of one ciphertext modulo one prime; cell (prime p, tile t,
ciphertext c) of a block of C has the number (pT + t)C + c. It has a fixed budget of words at that place of stream 0 of
the seed, so that any tile expands alone. A word is cut to the bits of the prime and rejected unless it is below it; the
few cells whose budget does not suffice go on in a stream of their own, 1 + their number, which has no end. (Bos et al.
2016, FrodoKEM, expands its public matrix likewise.)
"""

from __future__ import annotations

import numpy as np
from numba import njit, uint32

from securegen.errors import ArtefactError
from securegen.kernels.memory import aligned
from securegen.kernels.threads import over_range
from securegen.randomness import KEY_BYTES, keystream
from securegen.rlwe.ring import Ring

PIECE_BYTES = 1 << 21  # of stream drawn at a time: few calls, and still in a cache when it is read


def budget(lanes: int) -> int:
    """32-bit words of stream 0 a cell: the lanes and a 16th of them, at least 4, in whole AES blocks."""
    return lanes + max(4, -(-lanes // 64) * 4)


def expand_uniform(
    seed: bytes,
    ciphertexts: int,
    ring: Ring,
    *,
    tile: int | None = None,
    out: np.ndarray | None = None,
    threads: int | None = None,
) -> np.ndarray:
    """The second half of `ciphertexts` ciphertexts: (k, T, C, L) uint32 residues, uniform modulo each prime.

    tile: only this one, (k, 1, C, L). out: a contiguous array to fill. threads: None for as many as Numba may use.

    >>> ring = Ring.standard(4096, 3)
    >>> whole = expand_uniform(bytes(16), 2, ring)
    >>> whole.shape, bool((whole[:, 5:6] == expand_uniform(bytes(16), 2, ring, tile=5)).all())
    ((3, 64, 2, 64), True)
    """
    if tile is not None and not 0 <= tile < ring.tiles:
        raise ValueError(f"tile {tile} of {ring.tiles}")
    tiles = range(ring.tiles) if tile is None else range(tile, tile + 1)
    if out is None:
        out = aligned((len(ring.primes), len(tiles), ciphertexts, ring.lanes))
    _expand(seed, ring.primes, ring.tiles, tiles, out, threads)
    return out


def expand_tiles(seed: bytes, ring: Ring, prime: int, first: int, out: np.ndarray) -> None:
    """Fill a contiguous (tiles, C, L) uint32 array with some tiles, from `first` on, of the prime of that number.

    >>> ring, out = Ring.standard(4096, 3), np.empty((2, 5, 64), np.uint32)
    >>> expand_tiles(bytes(16), ring, 1, 7, out)
    >>> bool((out == expand_uniform(bytes(16), 5, ring)[1, 7:9]).all())
    True
    """
    tiles, ciphertexts, lanes = out.shape
    _check(seed, out)
    if lanes != ring.lanes or not 0 <= first <= ring.tiles - tiles:
        raise ValueError(
            f"tiles {first} to {first + tiles} of {lanes} lanes, the ring has {ring.tiles} of {ring.lanes}"
        )
    at = (prime * ring.tiles + first) * ciphertexts
    _draw_cells(seed, at, ring.primes[prime], out.reshape(-1, lanes))


def _expand(
    seed: bytes, primes: tuple[int, ...], all_tiles: int, tiles: range, out: np.ndarray, threads: int | None
) -> None:
    """Fill (k, len(tiles), C, L) with these tiles of `all_tiles`."""
    k, wanted, ciphertexts, lanes = out.shape
    _check(seed, out)
    if lanes % 4 or (k, wanted) != (len(primes), len(tiles)):
        raise ValueError(f"{wanted} tiles of {lanes} lanes modulo {k} primes are not these of the ring")
    least = max(1, PIECE_BYTES // (4 * budget(lanes) * max(ciphertexts, 1)))

    def draw(first: int, last: int) -> None:
        """Rows (prime, tile) from first to last, a piece of one prime at a time."""
        while first < last:
            p, t = divmod(first, wanted)
            stop = min(t + least, wanted, t + last - first)
            _draw_cells(seed, (p * all_tiles + tiles[t]) * ciphertexts, primes[p], out[p, t:stop].reshape(-1, lanes))
            first += stop - t

    over_range(k * wanted, draw, threads=threads, least=least)


def _check(seed: bytes, out: np.ndarray) -> None:
    if len(seed) != KEY_BYTES:
        raise ArtefactError(f"the seed of a ciphertext has {len(seed)} bytes, {KEY_BYTES} expected")
    if out.dtype != np.uint32 or not out.flags.c_contiguous:
        raise ValueError("residues are drawn into a contiguous array of uint32")


def _draw_cells(seed: bytes, first: int, prime: int, out: np.ndarray) -> None:
    """Fill (cells, L) with the cells from number `first` on."""
    cells, lanes = out.shape
    words = keystream(seed, 0, 4 * budget(lanes) * cells, offset=4 * budget(lanes) * first).view("<u4")
    mask = (1 << prime.bit_length()) - 1
    filled = np.empty(cells, np.int64)
    short = _accept(words.reshape(cells, budget(lanes)), mask, prime, out, filled)
    if not short:
        return
    for cell in np.flatnonzero(filled < lanes):
        have, offset = int(filled[cell]), 0
        while have < lanes:
            more = keystream(seed, 1 + first + int(cell), 4 * lanes, offset=offset).view("<u4") & np.uint32(mask)
            more = more[more < prime][: lanes - have]
            out[cell, have : have + len(more)] = more
            have, offset = have + len(more), offset + 4 * lanes


@njit(cache=True, nogil=True)
def _accept(words, mask, prime, out, filled):
    """The first `lanes` words of each cell that are below the prime; returns how many cells have too few."""
    cells, lanes = out.shape
    bits, q = uint32(mask), uint32(prime)
    short = 0
    for cell in range(cells):
        rejected = uint32(0)
        for l in range(lanes):
            x = words[cell, l] & bits
            out[cell, l] = x
            rejected |= uint32(x >= q)
        have = lanes
        if rejected:
            have = 0
            for word in words[cell]:
                x = word & bits
                if x < q and have < lanes:
                    out[cell, have] = x
                    have += 1
            short += have < lanes
        filled[cell] = have
    return short
