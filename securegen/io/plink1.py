"""PLINK1 filesets (bed, bim, fam) through bed-reader, in blocks of variants."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from securegen.errors import InputError
from securegen.io.dosages import check_grid
from securegen.io.schema import shown
from securegen.io.tables import sex_codes, unique_samples
from securegen.io.text import (
    beside,
    count,
    fields_of,
    iterate_lines,
    refuse_quotes,
    refuse_separator,
    whole_number,
)
from securegen.model import GenotypeBlock, Samples, Variants
from securegen.vocabulary import is_missing

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
            refuse_separator(fields, path, number)
            raise InputError(f"{path}, line {number}: {count(len(fields), 'field')}, a {what} file has {expected}")
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
    last = people[:, -1].tolist()
    if people.shape[1] > 5 and len(last) > 1 and not _number(last[0]) and all(_number(text) for text in last[1:]):
        raise InputError(
            f"{path}, line 1: the last field is {shown(last[0])}, on every other line a number: if line 1 is a header, remove it"
        )


def _number(text: str) -> bool:
    """Whether a phenotype of a fam is a number or missing."""
    try:
        float(text)
    except ValueError:
        return is_missing(text)
    return True


FAM_WORDS = frozenset(
    {"FID", "IID", "PID", "MID", "PAT", "MAT", "SEX", "GENDER", "PHENO", "PHENOTYPE", "FATHER", "MOTHER", "FAMILY"}
    | {"INDIVIDUAL", "FAMILYID", "INDIVIDUALID", "AFF", "STATUS"}
)


def _positions(bim: np.ndarray, column: int, path: Path) -> np.ndarray:
    """(M,) int64 base-pair positions. Raises InputError naming the line and the text of another word."""
    out = [whole_number(text) for text in bim[:, column]]
    if None in out:
        at = out.index(None)
        text = bim[at, column]
        hint = " (R: options(scipen=999))" if EXPONENT.fullmatch(text) else ""
        header = ": remove the header line" if at == 0 and text.isalpha() and not is_missing(text) else ""
        raise InputError(
            f"{path}, line {at + 1}: {shown(text)} is no base-pair position, a whole number is expected{hint}{header}"
        )
    return np.array(out, dtype=np.int64)


EXPONENT = re.compile(r"[0-9.]+[eE][+-]?[0-9]+", re.ASCII)
PADDING_SEEN = 2000  # variants


def refuse_padding(bed: Path, people: int, variants: int) -> None:
    """Raise InputError when the last byte of a variant holds a genotype behind the last person, where zeros must stand.

    A fam that lost a line may still fit the size of the bed, and would give everybody the genotypes of another person.
    """
    spare = -people % 4
    if not spare:
        return
    width = (people + 3) // 4
    with bed.open("rb") as stream:
        head = np.frombuffer(stream.read(3 + min(variants, PADDING_SEEN) * width), np.uint8)[3:]
    if (head[width - 1 :: width] >> (8 - 2 * spare)).any():
        raise InputError(
            f"{bed} holds genotypes of more than the {people} people that its fam names: does the fam miss a line, its first "
            "perhaps?"
        )


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

    @property
    def dosage_max(self) -> int:
        return 2 * self.dosage_grid

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
    refuse_quotes(fam[0], fam_path, 1)
    refuse_quotes(bim[0], bim_path, 1)
    place = bim.shape[1] - 3  # centimorgans may be left out
    position = _positions(bim, place, bim_path)
    try:
        with bed.open("rb") as stream:
            size, magic = os.fstat(stream.fileno()).st_size, stream.read(3)
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
    refuse_padding(bed, len(fam), len(bim))
    founder = (fam[:, 2] == "0") & (fam[:, 3] == "0")
    samples = unique_samples(fam[:, 0], fam[:, 1], founder, fam_path, sex_codes(fam[:, 4]))
    variants = Variants(bim[:, 0], position, bim[:, 1], bim[:, place + 1], bim[:, place + 2])
    return PlinkReader(bed, samples, variants, np.arange(len(fam)), np.arange(len(bim)), len(fam), len(bim))
