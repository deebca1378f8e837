"""BGEN files through the package bgen: expected dosages of the second allele, in one pass forward.

The first allele is the reference (as in UK Biobank and the BGEN specification) unless the last one is asked for; BGEN
itself does not say. People come from a .sample file or from the BGEN. Extra: `pip install 'securegen[bgen]'`.
"""

from __future__ import annotations

import contextlib
import logging
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from securegen.errors import InputError, MissingExtraError
from securegen.io.bgen_people import read_sample, refuse_other_order, sample_beside
from securegen.io.dosages import DosageReader, ForwardFile, opened, to_units
from securegen.io.formats import MULTIALLELIC, Format, FormatOption
from securegen.io.tables import unique_samples
from securegen.model import IntArray, Variants

STEPS: Final = 65535  # probabilities of 1, 2, 4, 8 and 16 bits are multiples of 1/65535


@dataclass
class BgenSource:
    """One BGEN file, read forward. ref_last: the last allele is the reference, so the first is counted."""

    path: Path
    ref_last: bool
    records: ForwardFile
    fractional: bool = True

    def read(self, records: IntArray, alleles: IntArray, samples: IntArray) -> np.ndarray:
        """See `DosageSource.read`."""
        return self.records.read(records, alleles, samples, self._units)

    def release(self) -> None:
        """See `DosageSource.release`."""
        self.records.release()

    def apart(self) -> BgenSource:
        """See `DosageSource.apart`."""
        return replace(self, records=self.records.apart())

    def _units(self, record: Any, allele: int) -> np.ndarray:
        with _complaints(self.path, f"variant {record.rsid}"), _warnings_refused():
            _check_packed(self.path, record)
            several, ploidy = len(record.alleles) > 2, record.ploidy
            counted = allele - 1 if self.ref_last else allele
            dosage = _expected(record, counted) if several else record.alt_dosage.astype(np.float64)
        if ploidy.max(initial=0) > 2:
            raise InputError(f"{self.path}, variant {record.rsid}: a genotype of more than two alleles")
        steps = dosage * STEPS
        whole = np.rint(steps)
        dosage = np.where(np.abs(steps - whole) < 0.1, whole / STEPS, dosage)  # float32 -> as stored
        if (ploidy == 1).any():
            dosage = np.where(ploidy == 1, 2 * dosage, dosage)
        return to_units(2 - dosage if self.ref_last and not several else dosage)


def _check_packed(path: Path, record: Any) -> None:
    """Raise ValueError for a record that announces more than its people have, or whose zlib check sum does not fit: the package
    looks at neither, and takes whatever memory is announced."""
    if record.compression not in ("zlib", "zstd"):
        return
    with path.open("rb") as stream:
        stream.seek(record.fileoffset)
        raw = stream.read(record.next_variant_offset - record.fileoffset)
    new = record.layout == 2
    at = 0 if new else 4  # an older record begins with the number of people
    for _ in range(3):  # two ids and the chromosome
        at += 2 + _number(raw, at, 2)
    at += 4  # position
    alleles = _number(raw, at, 2) if new else 2
    at += 2 * new
    for _ in range(alleles):
        at += 4 + _number(raw, at, 4)
    end = at + 4 + _number(raw, at, 4)
    unpacked = _number(raw, at + 4, 4) if new else 6 * record.n_samples
    at += 8 if new else 4  # sizes, packed and unpacked
    stored = max(2 * alleles - 2, alleles * (alleles + 1) // 2 - 1)  # of one person, 32 bits each: phased, and not
    if end > len(raw) or unpacked > 10 + record.n_samples * (1 + 4 * max(stored, 1)):
        raise ValueError("its genotypes announce another size than they have: the file is damaged")
    if record.compression == "zstd":
        return
    inflating = zlib.decompressobj()
    try:
        if len(inflating.decompress(raw[at:end], unpacked + 1)) != unpacked or not inflating.eof:
            raise ValueError("its packed genotypes have another size than is announced: the file is damaged")
    except zlib.error as error:
        raise ValueError(f"its packed genotypes are damaged ({error})") from None


def _number(raw: bytes, at: int, size: int) -> int:
    return int.from_bytes(raw[at : at + size], "little")


def _expected(record: Any, allele: int) -> np.ndarray:
    """(N,) float64 expected copies of an allele (0 the first) of a record of more than two; of a haploid person its
    probability."""
    count, p = len(record.alleles), np.asarray(record.probabilities, np.float64)
    one = record.ploidy == 1
    if record.is_phased:
        copies = p[:, allele] + (p[:, count + allele] if p.shape[1] > count else 0)
    else:
        pairs = [(i, j) for j in range(count) for i in range(j + 1)]
        if p.shape[1] == len(pairs):
            copies = p @ np.array([(i == allele) + (j == allele) for i, j in pairs], np.float64)
        else:
            copies = p[:, allele]
    return np.where(one, p[:, allele], copies)


def _open(path: Path) -> Any:
    try:
        import bgen
    except ImportError:
        raise MissingExtraError("bgen", "bgen") from None
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    with _complaints(path, "header"):
        return bgen.BgenReader(str(path), delay_parsing=True)


@contextlib.contextmanager
def _complaints(path: Path, where: str) -> Iterator[None]:
    """What the package bgen raises as InputError with the place."""
    try:
        yield
    except (ValueError, RuntimeError, IndexError, OverflowError, OSError) as error:
        raise InputError(f"{path}, {where}: {error}") from None
    except MemoryError:
        raise InputError(f"{path}, {where}: it announces more than there is memory for: the file is damaged") from None


class _Collected(logging.Handler):
    """Keeps what the package bgen logs."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())


@contextlib.contextmanager
def _warnings_refused() -> Iterator[None]:
    """Raise ValueError where the package only warns: probabilities above 1, which it would clamp, are not genotypes."""
    collected, root = _Collected(), logging.getLogger()
    root.addHandler(collected)
    try:
        yield
    finally:
        root.removeHandler(collected)
    if any("malformed" in text for text in collected.said):
        raise ValueError("probabilities that sum to more than 1: the file is damaged")


def _records(path: Path) -> Iterator[Any]:
    opened = _open(path)
    number = 0
    try:
        while True:
            with _complaints(path, f"after {number} variants"):
                record = next(opened, None)
            if record is None:
                return
            number += 1
            yield record
    finally:
        opened.close()


def read_bgen(
    path: str | os.PathLike[str],
    *,
    sample: str | os.PathLike[str] | None = None,
    ref_last: bool = False,
    multiallelic: str | None = None,
) -> DosageReader:
    """Open a BGEN file (1.1 to 1.3; any compression and number of bits). Genotypes are read later, block by block.

    sample: a .sample file; without it the ids in the BGEN, as IIDs without a family, or where it has none the .sample file
    of its name beside it. ref_last: the last allele is REF.
    Raises InputError for a missing, broken or truncated file and repeated ids, MissingExtraError without bgen.
    """
    where = Path(path)
    file = _open(where)
    with _complaints(where, "header"):
        header = file.header
        names = file.samples if header.has_sample_ids else []  # else the package makes up as many as the header says
    file.close()
    if sample is not None:
        samples = read_sample(sample)
        if len(samples) != header.nsamples:
            raise InputError(f"{sample} has {len(samples)} people, {where} has {header.nsamples}")
        if header.has_sample_ids:
            refuse_other_order(samples, names, Path(sample), where)
    elif near := sample_beside(where, {}):
        return read_bgen(path, sample=near["sample"], ref_last=ref_last, multiallelic=multiallelic)
    elif header.has_sample_ids:
        ids = np.array(names, dtype=object)
        samples = unique_samples(np.full(len(ids), "0", dtype=object), ids, np.ones(len(ids), bool), where)
    else:
        raise InputError(
            f"{where} has no sample ids, and no {where.with_suffix('.sample').name} lies beside it: give its .sample file "
            "(`sample`)"
        )
    variants = _variants(where, header.nvariants, ref_last)
    source = BgenSource(where, ref_last, ForwardFile(lambda: _records(where), where, len(variants)))
    return opened(source, samples, variants, multiallelic)


def _variants(path: Path, count: int, ref_last: bool) -> Variants:
    """One pass over the records, no genotype is decoded."""
    rows: list[tuple[str, int, str, str, str]] = []
    for record in _records(path):
        with _complaints(path, f"variant {len(rows) + 1}"):
            first, *others = ("0" if a == "." else a for a in record.alleles)
            name = record.rsid or record.varid or "."
            chromosome = record.chrom.lstrip("0") if record.chrom.isdecimal() else record.chrom
        if ref_last and others:
            first, others = others[-1], [first, *others[:-1]]
        rows.append((chromosome or "0", record.pos, name, ",".join(others) or "0", first))
    if len(rows) != count or not rows:
        raise InputError(f"{path} has {len(rows)} variants, its header says {count}: it is truncated")
    chromosomes, position, ids, alt, ref = zip(*rows, strict=True)
    text = [np.array(c, dtype=object) for c in (chromosomes, ids, alt, ref)]
    return Variants(text[0], np.array(position, np.int64), *text[1:])


FORMAT = Format(
    "bgen",
    "BGEN file.",
    read_bgen,
    options=(
        FormatOption(
            "sample", "sample", "The .sample file of --bgen [ids in the BGEN, or the file beside it].", metavar="FILE"
        ),
        FormatOption(
            "ref_last", "ref_last", "Which allele of a BGEN is REF; the other is counted [first].", off="ref-first"
        ),
        MULTIALLELIC,
    ),
    beside=sample_beside,
    package="bgen",
    extra="bgen",
)
