"""VCF and BCF through cyvcf2: dosages (DS) or genotypes (GT) of the first ALT, in one pass forward.

A record without the chosen field, or a sample without it, is read from the other one. Of GT: `.` and a half-call (`./1`)
are missing, phase is ignored, a haploid call counts twice (as in plink2). Extra: `pip install 'securegen[vcf]'`.
"""

from __future__ import annotations

import contextlib
import gzip
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from securegen.errors import InputError, MissingExtraError, SecuregenError
from securegen.io.dosages import DosageReader, ForwardFile, hard_units, opened, to_units
from securegen.io.formats import MULTIALLELIC, Format, FormatOption
from securegen.io.tables import unique_samples
from securegen.io.text import iterate_lines, readable, refuse_foreign
from securegen.io.unpacked import GZIP
from securegen.model import IntArray, Variants

FIELDS: Final = ("DS", "GT")
BGZF_END: Final = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")
LARGEST_SUM: Final = 2.02  # of the DS of several ALT, which are rounded one by one
DECIMALS: Final = 6  # of a DS; cyvcf2 returns float32
INTEGER_MISSING: Final = -(1 << 31) + 7  # htslib keeps the eight smallest integers for "missing" and "end"
# A broken record of a contig that the header does not name ends the process, in cyvcf2: these are named.
CONTIGS: Final = tuple(f"{start}{name}" for start in ("", "chr") for name in (*range(1, 27), "X", "Y", "XY", "M", "MT"))
DECLARED: Final = re.compile(r"^##FORMAT=<(?:[^\n]*,)?\s*ID=DS\s*[,>]", re.MULTILINE)


@dataclass
class VcfSource:
    """One VCF or BCF file, read forward. names: (N,) ids, for messages; use_dosages: DS goes before GT."""

    path: Path
    names: np.ndarray
    use_dosages: bool
    records: ForwardFile

    @property
    def fractional(self) -> bool:
        return self.use_dosages

    def read(self, records: IntArray, alleles: IntArray, samples: IntArray) -> np.ndarray:
        """See `DosageSource.read`."""
        return self.records.read(records, alleles, samples, self._units)

    def release(self) -> None:
        """See `DosageSource.release`."""
        self.records.release()

    def apart(self) -> VcfSource:
        """See `DosageSource.apart`."""
        return replace(self, records=self.records.apart())

    def _units(self, record: Any, allele: int) -> np.ndarray:
        with _complaints(self.path, f"{record.CHROM}:{record.POS}"):
            calls = _genotypes(record, allele) if "GT" in record.FORMAT else None
            dosage = _dosages(record, allele, needed=calls is None) if self.use_dosages or calls is None else None
            if dosage is None:
                if calls is None:
                    raise InputError("the record has neither GT nor DS; plink2 converts GP and HDS (--vcf … dosage=GP)")
                return hard_units(calls.copies, calls.missing)
            if calls is not None:
                dosage = np.where(calls.haploid & ~calls.missing, 2 * dosage, dosage)
                dosage = np.where(np.isnan(dosage) & ~calls.missing, calls.copies, dosage)
            outside = ~((dosage >= 0) & (dosage <= 2) | np.isnan(dosage))
            if outside.any():
                at = int(outside.argmax())
                raise InputError(f"sample {at + 1} has a DS of {dosage[at]:g}, outside [0, 2]")
            return to_units(dosage)


@dataclass(frozen=True)
class Calls:
    """GT of one record, each (N,): copies of one ALT (0 where missing), missing, haploid."""

    copies: np.ndarray
    missing: np.ndarray
    haploid: np.ndarray


def _genotypes(record: Any, allele: int) -> Calls:
    alleles = record.genotype.array()[:, :-1]  # -1 missing, -2 past the sample's ploidy; the last column is phase
    if (alleles[:, 2:] != -2).any():
        raise InputError("a genotype of more than two alleles")
    if alleles.max(initial=0) > len(record.ALT):
        raise InputError(f"a genotype names allele {alleles.max()}, the record has {len(record.ALT)} ALT")
    first = alleles[:, 0]
    second = alleles[:, 1] if alleles.shape[1] > 1 else np.full_like(first, -2)
    haploid, missing = second == -2, (first < 0) | (second == -1)
    copies = (first == allele).astype(np.int8) + (second == allele)
    copies = np.where(haploid, 2 * copies, copies)
    return Calls(np.where(missing, np.int8(0), copies), missing, haploid)


def _dosages(record: Any, allele: int, *, needed: bool) -> np.ndarray | None:
    """(N,) float64 of DS of one ALT, NaN where missing, by whatever type the header declares; None where the record has
    none, or not one number for each of several ALT (InputError where it is needed)."""
    values = record.format("DS") if "DS" in record.FORMAT else None
    if values is None:
        return None
    values = np.asarray(values)
    if values.dtype.kind in "USO":  # declared as String, or not at all
        texts = [str(v).strip("\0") for v in values.reshape(len(values), -1)[:, 0]]
        cells = [t.split(",") if len(record.ALT) > 1 else [t] for t in texts]
        width = max(map(len, cells))
        values = np.array(
            [[np.nan if t in (".", "") else _number(t) for t in c] + [np.nan] * (width - len(c)) for c in cells]
        )
    elif values.dtype.kind == "i":
        values = np.where(values <= INTEGER_MISSING, np.nan, values.astype(np.float64))
    values = values.reshape(len(values), -1)
    if len(record.ALT) <= 1 and not np.isnan(values[:, 1:].astype(np.float64)).all():
        raise InputError("a DS of several numbers, with one ALT")
    numbers = np.round(values.astype(np.float64), DECIMALS)
    if len(record.ALT) > 1 and numbers.shape[1] != len(record.ALT) and not np.isnan(numbers).all():
        if needed:
            raise InputError(
                f"a DS of {numbers.shape[1]} numbers for {len(record.ALT)} ALT: one number per ALT is expected"
            )
        return None
    if (total := np.nansum(numbers, axis=1).max(initial=0)) > LARGEST_SUM and len(record.ALT) > 1:
        raise InputError(f"DS of {len(record.ALT)} ALT that sum to {total:g}, above 2")
    return numbers[:, min(allele, numbers.shape[1]) - 1]


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError(f"a DS of {text!r}, a number is expected") from None


@contextlib.contextmanager
def _complaints(path: Path, where: str) -> Iterator[None]:
    """What cyvcf2 raises (bare exceptions among it) as InputError with the place."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{path}, {where}: {error}") from None
    except (SecuregenError, MemoryError):
        raise
    except Exception as error:
        said = str(error).strip()
        if "htslib::bcf_read" in said:
            said = (
                "a line that is not a record: it has too few fields, or its position, genotype or dosage cannot be "
                "read (htslib says more above)"
            )
        raise InputError(f"{path}, {where}: {said or 'cannot be read'}") from None


def _open(path: Path) -> Any:
    try:
        import cyvcf2
    except ImportError:
        raise MissingExtraError("cyvcf2", "vcf") from None
    with _complaints(path, "header"):
        opened = cyvcf2.VCF(str(path), gts012=True)
        for name in CONTIGS:
            opened.add_to_header(f"##contig=<ID={name}>")
        return opened


def _records(path: Path) -> Iterator[Any]:
    """Records in order. Raises InputError where one cannot be parsed."""
    opened = _open(path)
    number, place = 0, "at the first record"
    try:
        while True:
            with _complaints(path, place):
                try:
                    record = next(opened)
                except StopIteration:
                    return
                if record.end < record.POS:  # other properties of a record without alleles would end the process
                    raise InputError("an empty or broken line")
                number, place = number + 1, f"after {record.CHROM}:{record.POS} (record {number + 1})"
            yield record
    finally:
        opened.close()


def _check_whole(path: Path) -> None:
    """Raise InputError for a file that is not there, or block-gzipped without its end."""
    try:
        with path.open("rb") as stream:
            head = stream.read(18)
            size = stream.seek(0, os.SEEK_END)
            stream.seek(max(size - len(BGZF_END), 0))
            tail = stream.read()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    refuse_foreign(head, path)
    if head[:3] == b"\xef\xbb\xbf":
        raise InputError(f"{path} begins with a byte-order mark, which a VCF has not: save it as UTF-8 without it")
    if head.isascii() and not head.startswith((b"##fileformat=", GZIP)):
        raise InputError(f"{path} is not a VCF: its first line is not ##fileformat=VCF…")
    if head[:4] == BGZF_END[:4] and tail != BGZF_END:
        raise InputError(f"{path} is truncated: the last block of a block-gzipped file is not there")


def _refuse_more_cells(path: Path, people: int) -> None:
    """Raise InputError where the first record has more genotypes than the header names people, which htslib does not mind:
    who is who is not known then."""
    with readable(path), path.open("rb") as raw:
        packed = raw.read(2) == GZIP
        raw.seek(0)
        if (gzip.GzipFile(fileobj=raw).read(3) if packed else raw.read(3)) == b"BCF":
            return
    first = next((line for line in iterate_lines(path) if line and not line.startswith("#")), "")
    found = first.count("\t") - 8
    if found > people:
        raise InputError(
            f"{path}: its first record has {found:,} genotypes, the header names {people:,} people: does it miss one?"
        )


def read_vcf(
    path: str | os.PathLike[str], *, field: str | None = None, multiallelic: str | None = None
) -> DosageReader:
    """Open a VCF (plain, gzip, bgzip) or BCF file. Genotypes are read later, block by block.

    field: "DS" or "GT" to choose; None for DS where the header declares it or a record has it; multiallelic: "skip" or
    "split" records with several ALT (None: split). Sample ids become IIDs without a family.
    Raises InputError for a missing, broken or truncated file and repeated ids, MissingExtraError without cyvcf2.
    """
    where = Path(path)
    _check_whole(where)
    header = _open(where)
    with _complaints(where, "header"):
        names = np.array(header.samples, dtype=object)
        declared = DECLARED.search(header.raw_header) is not None
    header.close()
    if not len(names):
        raise InputError(f"{where} has no samples")
    _refuse_more_cells(where, len(names))
    samples = unique_samples(np.full(len(names), "0", dtype=object), names, np.ones(len(names), bool), where)
    variants, found = _variants(where)
    if field == "DS" and not (declared or found):
        raise InputError(f"{where}: neither its header nor a record has the FORMAT field DS")
    dosages = field != "GT" and (declared or found)
    source = VcfSource(where, names, dosages, ForwardFile(lambda: _records(where), where, len(variants)))
    return opened(source, samples, variants, multiallelic)


def _variants(path: Path) -> tuple[Variants, bool]:
    """One pass over the records, no genotype is decoded; and whether a record has DS, declared or not."""
    rows: list[tuple[str, int, str, str, str]] = []
    found = False
    for r in _records(path):
        with _complaints(path, f"record {len(rows) + 1}"):
            rows.append((r.CHROM, r.POS, r.ID or ".", ",".join(r.ALT) or "0", r.REF))
            found = found or "DS" in (r.FORMAT or ())
    if not rows:
        raise InputError(f"{path} has no variants")
    chromosome, position, ids, alt, ref = zip(*rows, strict=True)
    text = [np.array(c, dtype=object) for c in (chromosome, ids, alt, ref)]
    return Variants(text[0], np.array(position, np.int64), *text[1:]), found


FORMAT = Format(
    "vcf",
    "VCF or BCF file, also gzipped.",
    read_vcf,
    options=(
        FormatOption(
            "vcf_field", "field", "What to read from a VCF [DS where its header has it, else GT].", choices=FIELDS
        ),
        MULTIALLELIC,
    ),
    package="cyvcf2",
    extra="vcf",
)
