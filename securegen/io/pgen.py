"""PLINK2 filesets (pgen, pvar, psam) through Pgenlib, in blocks of variants. The effect allele is the first ALT.

Formats: PLINK 2 file format specification (pgen, pvar, psam). Extra: `pip install 'securegen[pgen]'`.
"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from securegen.errors import InputError, MissingExtraError
from securegen.io.dosages import DosageReader, hard_units, opened, to_units
from securegen.io.fileset_tables import read_psam, read_pvar
from securegen.io.formats import MULTIALLELIC, Format
from securegen.io.plink1 import refuse_padding
from securegen.io.text import beside
from securegen.model import IntArray

MAGIC = b"\x6c\x1b"
HARD_CALL_MODES = (0x01, 0x02)  # PLINK1's layout and its fixed-width successor
VARIABLE = 0x10


@dataclass(frozen=True)
class Header:
    """samples, variants: counts, None in PLINK1's layout; fractional: False where no record can hold dosages."""

    samples: int | None
    variants: int | None
    fractional: bool


def read_header(path: Path) -> Header:
    """The first bytes of a pgen. Raises InputError for another file."""
    try:
        with path.open("rb") as stream:
            head = stream.read(12)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    if len(head) < 12 or head[:2] != MAGIC:
        raise InputError(f"{path} is not a pgen file (its first bytes are {head[:3].hex()})")
    if head[2] == HARD_CALL_MODES[0]:
        return Header(None, None, False)
    # 4-bit record types have no room for dosages
    fractional = head[11] & 15 >= 4 if head[2] == VARIABLE else head[2] not in HARD_CALL_MODES
    return Header(int.from_bytes(head[7:11], "little"), int.from_bytes(head[3:7], "little"), fractional)


@dataclass
class PgenSource:
    """One pgen file; opened at the first read. alleles: (M + 1,) offsets of every variant's alleles."""

    path: Path
    fractional: bool
    sample_count: int
    alleles: IntArray
    _reader: Any = None
    _subset: bytes = b""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def read(self, records: IntArray, alleles: IntArray, samples: IntArray) -> np.ndarray:
        """See `DosageSource.read`."""
        with self._lock:
            try:
                if self._reader is None:
                    self._reader = self._open()
                columns = self._choose(samples)
                units = np.empty((len(records), self.sample_count if columns is not None else len(samples)), np.uint16)
                for allele in np.unique(alleles).tolist():
                    mine = alleles == allele
                    units[mine] = self._units(np.ascontiguousarray(records[mine], np.uint32), allele, units.shape[1])
            except (RuntimeError, OSError) as error:
                raise InputError(f"{self.path} cannot be read, it is truncated or damaged ({error})") from None
        return units if columns is None else units[:, columns]

    def _units(self, rows: np.ndarray, allele: int, width: int) -> np.ndarray:
        if not self.fractional:
            calls = np.empty((len(rows), width), np.int8)
            self._reader.read_list(rows, calls, allele)
            return hard_units(np.maximum(calls, 0), calls < 0)
        dosage = np.empty((len(rows), width), np.float32)
        self._reader.read_dosages_list(rows, dosage, allele)
        return to_units(np.where(dosage < 0, np.nan, dosage.astype(np.float64)))

    def release(self) -> None:
        """See `DosageSource.release`."""
        with self._lock:
            self._reader, self._subset = None, b""

    def apart(self) -> PgenSource:
        """See `DosageSource.apart`."""
        return PgenSource(self.path, self.fractional, self.sample_count, self.alleles)

    def _open(self) -> Any:
        counts = np.diff(self.alleles)
        offsets = self.alleles.astype(np.uintp) if (counts != 2).any() else None
        return _pgenlib().PgenReader(
            os.fsencode(self.path), raw_sample_ct=self.sample_count, variant_ct=len(counts), allele_idx_offsets=offsets
        )

    def _choose(self, samples: IntArray) -> IntArray | None:
        """Let Pgenlib skip samples; None when it does, else the columns to take from all of them."""
        rising = len(samples) > 0 and bool((np.diff(samples) > 0).all())
        subset = None if not rising or len(samples) == self.sample_count else np.ascontiguousarray(samples, np.uint32)
        key = b"" if subset is None else subset.tobytes()
        if key != self._subset:
            self._reader.change_sample_subset(subset)
            self._subset = key
        return None if rising else samples


def _pgenlib() -> Any:
    try:
        import pgenlib
    except ImportError:
        raise MissingExtraError("Pgenlib", "pgen") from None
    return pgenlib


def read_pgen(prefix: str | os.PathLike[str], *, multiallelic: str | None = None) -> DosageReader:
    """Open PREFIX.pgen, .pvar (or .pvar.zst) and .psam. Genotypes are read later, block by block.

    Raises InputError for a missing, ragged or truncated file, MissingExtraError without Pgenlib.
    """
    base = os.fspath(prefix).removesuffix(".pgen")
    _pgenlib()
    pgen = Path(base + ".pgen")
    header = read_header(pgen)
    samples, variants = read_psam(beside(base + ".psam")), read_pvar(beside(base + ".pvar"))
    for what, held, listed in (("samples", header.samples, len(samples)), ("variants", header.variants, len(variants))):
        if held not in (None, listed):
            raise InputError(f"{pgen} has {held} {what}, the table beside it has {listed}")
    if header.samples is None:
        refuse_padding(pgen, len(samples), len(variants))
    alleles = np.zeros(len(variants) + 1, np.int64)
    np.cumsum([2 + alt.count(",") for alt in variants.effect_allele], out=alleles[1:])
    source = PgenSource(pgen, header.fractional, len(samples), alleles)
    source.read(np.zeros(1, np.int64), np.ones(1, np.int64), np.arange(1))  # says now what does not fit together
    return opened(source, samples, variants, multiallelic)


FORMAT = Format(
    "pfile", "PLINK2 fileset PREFIX.pgen, .pvar (or .pvar.zst), .psam.", read_pgen, ends=("pgen", "pvar", "psam"),
    options=(MULTIALLELIC,), package="Pgenlib", extra="pgen",
)  # fmt: skip
