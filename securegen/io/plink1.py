"""PLINK1 filesets (bed, bim, fam) through bed-reader, in blocks of variants."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from securegen.errors import InputError
from securegen.io.dosages import check_grid
from securegen.io.tables import unique_samples
from securegen.io.text import beside, fields_of, iterate_lines
from securegen.model import GenotypeBlock, Samples, Variants

SEXES = frozenset({"0", "1", "2", "-9", "NA", "M", "F"})
MAGIC, SAMPLE_MAJOR = b"\x6c\x1b\x01", b"\x6c\x1b\x00"


def _fields(path: Path, counts: tuple[int, ...], what: str) -> np.ndarray:
    """(R, F) object array of the fields of every row, all of one length. Raises InputError naming file and line."""
    rows = [(number, fields_of(line)) for number, line in enumerate(iterate_lines(path), 1) if line.strip()]
    if not rows:
        raise InputError(f"{path} is empty")
    expected = next((n for n in counts if any(len(fields) == n for _, fields in rows)), counts[0])
    for number, fields in rows:
        if len(fields) != expected:
            raise InputError(f"{path}, line {number}: {len(fields)} fields, a {what} file has {expected}")
    return np.array([fields for _, fields in rows], dtype=object)


def refuse_header(people: np.ndarray, path: Path) -> None:
    """Raise InputError for a row of names among the (N, F) rows of a fam: it would be read as one more person."""
    for row in np.flatnonzero([sex not in SEXES for sex in people[:, 4]]).tolist():
        words = {word.lstrip("#").strip('"').upper() for word in people[row]}
        numbers = [f"{word}{i}" for word in ("V", "X", "") for i in range(people.shape[1] + 1)]
        known = words & FAM_WORDS
        if len(known) > 1 or (row == 0 and words <= set(numbers) and len(words) == people.shape[1]):
            raise InputError(
                f"{path}, line {row + 1}: a header ({' '.join(people[row])}), but a fam has none: remove the header line"
            )


FAM_WORDS = frozenset(
    {"FID", "IID", "PID", "MID", "PAT", "MAT", "SEX", "GENDER", "PHENO", "PHENOTYPE", "FATHER", "MOTHER", "FAMILY"}
    | {"INDIVIDUAL", "FAMILYID", "INDIVIDUALID", "AFF", "STATUS"}
)


def _positions(bim: np.ndarray, column: int, path: Path) -> np.ndarray:
    """(M,) int64 base-pair positions. Raises InputError naming the line and the text of another word."""
    try:
        return bim[:, column].astype(np.int64)
    except (ValueError, OverflowError):
        at, text = next((i, t) for i, t in enumerate(bim[:, column].tolist()) if not _whole(t))
        hint = " (R: options(scipen=999))" if "e" in text.lower() and any(c.isdigit() for c in text) else ""
        header = ": remove the header line" if at == 0 and text.isalpha() else ""
        raise InputError(
            f"{path}, line {at + 1}: {text!r} is no base-pair position, a whole number is expected{hint}{header}"
        ) from None


def _whole(text: str) -> bool:
    try:
        return abs(int(text)) < 1 << 63
    except ValueError:
        return False


@dataclass(frozen=True)
class PlinkReader:
    """A PLINK1 cohort, or a part of it. The effect allele is A1, column 5 of the bim.

    sample_index, variant_index: rows of the fam and of the bim that are read, in order.
    """

    path: Path
    samples: Samples
    variants: Variants
    sample_index: np.ndarray
    variant_index: np.ndarray
    stored_samples: int
    stored_variants: int
    dosage_grid: int = 1

    def read(self, start: int, stop: int) -> GenotypeBlock:
        """Dosages of variants start..stop-1 as (V, N) int8, or int16 on a grid. Raises InputError when the bed is unreadable."""
        from bed_reader import open_bed

        index = (np.ascontiguousarray(self.sample_index), np.ascontiguousarray(self.variant_index[start:stop]))
        try:
            with open_bed(
                self.path, count_A1=True, iid_count=self.stored_samples, sid_count=self.stored_variants, properties={},
                num_threads=1,
            ) as bed:  # fmt: skip
                raw = bed.read(index=index, dtype="int8", order="F").T
        except (OSError, ValueError) as error:
            raise InputError(f"{self.path} cannot be read: {error}") from None
        missing = raw == -127
        has_missing = bool(missing.any())
        dosage = np.where(missing, np.int8(0), raw) if has_missing else raw
        if self.dosage_grid > 1:
            dosage = dosage * np.int16(self.dosage_grid)
        return GenotypeBlock(start, dosage, missing if has_missing else None)

    def select(self, samples: np.ndarray | None = None, variants: np.ndarray | None = None) -> PlinkReader:
        """The same cohort with only these rows (index arrays into the current samples and variants)."""
        out = self
        if samples is not None:
            out = replace(out, samples=out.samples.take(samples), sample_index=out.sample_index[samples])
        if variants is not None:
            out = replace(out, variants=out.variants.take(variants), variant_index=out.variant_index[variants])
        return out

    def on_grid(self, grid: int | None) -> PlinkReader:
        """The same cohort in steps of 1/grid (None: 1), to be summed with others that have fractional dosages."""
        check_grid(1 if grid is None else grid)
        return replace(self, dosage_grid=grid or 1)


def read_plink(prefix: str | os.PathLike[str]) -> PlinkReader:
    """Open PREFIX.bed, .bim and .fam (the last two also as .gz or .zst). Genotypes are read later, block by block.

    Raises InputError for a missing, ragged or truncated file, and for duplicate sample ids.
    """
    base = str(prefix)
    base = base[:-4] if base.endswith(".bed") else base
    bed, bim_path, fam_path = Path(base + ".bed"), beside(base + ".bim"), beside(base + ".fam")
    bim, fam = _fields(bim_path, (6, 5), "bim"), _fields(fam_path, (6,), "fam")
    refuse_header(fam, fam_path)
    place = bim.shape[1] - 3  # centimorgans may be left out
    position = _positions(bim, place, bim_path)
    try:
        size, magic = bed.stat().st_size, bed.open("rb").read(3)
    except OSError as error:
        raise InputError(f"{bed} cannot be read: {error.strerror}") from None
    expected = 3 + len(bim) * ((len(fam) + 3) // 4)
    if magic == SAMPLE_MAJOR:
        raise InputError(
            f"{bed} is sample-major (its third byte is 00), variant-major is read: plink --make-bed converts it"
        )
    if magic != MAGIC:
        raise InputError(f"{bed} is not a variant-major PLINK1 bed file (its first bytes are {magic.hex()})")
    if size != expected:
        raise InputError(f"{bed} has {size} bytes, {expected} expected for {len(fam)} samples × {len(bim)} variants")
    founder = (fam[:, 2] == "0") & (fam[:, 3] == "0")
    samples = unique_samples(fam[:, 0], fam[:, 1], founder, fam_path)
    variants = Variants(bim[:, 0], position, bim[:, 1], bim[:, place + 1], bim[:, place + 2])
    return PlinkReader(bed, samples, variants, np.arange(len(fam)), np.arange(len(bim)), len(fam), len(bim))
