"""Write PLINK1 bed, bim and fam: a few variants in memory at a time, all three files whole or not there."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from securegen.io.output import atomic
from securegen.model import IntArray, Samples, Variants

_MAGIC = bytes([0x6C, 0x1B, 0x01])  # variants in rows
_CODES = np.array([1, 3, 2, 0], np.uint8)  # of −1 (missing), 0, 1 and 2 copies of the bim's fifth column


def write_plink(prefix: str | Path, samples: Samples, blocks: Iterable[tuple[Variants, IntArray]]) -> None:
    """Write PREFIX.bed, .bim and .fam. blocks: variants, and (V, N) int8 copies of their effect allele, −1 where missing.

    Raises StorageError, ValueError for dosages of another shape or range.
    """
    prefix = str(prefix)
    with contextlib.ExitStack() as stack:
        bed, bim, fam = (stack.enter_context(atomic(f"{prefix}.{ending}")) for ending in ("bed", "bim", "fam"))
        bed.write(_MAGIC)
        for variants, dosage in blocks:
            if dosage.shape != (len(variants), len(samples)) or dosage.min(initial=0) < -1 or dosage.max(initial=0) > 2:
                raise ValueError(
                    f"dosages of shape {dosage.shape} for {len(variants)} variants, {len(samples)} samples"
                )
            bed.write(_packed(dosage).tobytes())
            columns = (
                variants.chromosome,
                variants.id,
                variants.position,
                variants.effect_allele,
                variants.other_allele,
            )
            for chromosome, name, position, effect, other in zip(*columns, strict=True):
                bim.write(f"{chromosome}\t{name}\t0\t{position}\t{effect}\t{other}\n".encode())
        for fid, iid, sex in zip(samples.fid, samples.iid, samples.sex, strict=True):
            fam.write(f"{fid}\t{iid}\t0\t0\t{sex}\t-9\n".encode())


def _packed(dosage: IntArray) -> np.ndarray:
    """(V, ⌈N/4⌉) uint8: four people a byte, the first in the lowest bits."""
    codes = np.zeros((len(dosage), -(-dosage.shape[1] // 4) * 4), np.uint8)
    codes[:, : dosage.shape[1]] = _CODES[dosage.astype(np.int64) + 1]
    a, b, c, d = (codes[:, i::4] for i in range(4))
    out: np.ndarray = a | (b << 2) | (c << 4) | (d << 6)
    return out
