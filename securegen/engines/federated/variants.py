"""The public variant list of a study, and aligning a site's genotypes to it: same variants, same counted allele.

Alleles are compared as written, swapped, complemented (the other strand) and both; A, C, G and T in any case, other
letters as they stand, since D and d may be two alleles. A swapped variant is counted as 2 − g.
For A/T and C/G a swap and a strand flip look alike: such a variant is taken where both alleles stand as in the list, and
refused by name where they are swapped. So is a variant that is absent, lies elsewhere or has other alleles.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from securegen.errors import InputError
from securegen.io.output import atomic
from securegen.io.schema import shown
from securegen.io.text import fields_of, lines_of, read_text, whole_number
from securegen.model import GenotypeBlock, IntArray, Samples, SelectableReader, Variants
from securegen.vocabulary import canonical_allele, canonical_chromosome

HEADER = ("#CHROM", "POS", "ID", "EFFECT_ALLELE", "OTHER_ALLELE")
_COMPLEMENT = str.maketrans("ACGT", "TGCA")
SHOWN = 5  # names in an error


def write_variants(path: str | Path, variants: Variants) -> None:
    """Write a variant list: one header line, tab separated."""
    with atomic(path) as stream:
        stream.write(("\t".join(HEADER) + "\n").encode())
        for row in zip(
            variants.chromosome,
            variants.position,
            variants.id,
            variants.effect_allele,
            variants.other_allele,
            strict=True,
        ):
            stream.write(("\t".join(map(str, row)) + "\n").encode())


def read_variants(path: str | Path) -> Variants:
    """Read a variant list, or a PLINK bim file. Raises InputError naming file and line."""
    lines = [(i, line) for i, line in enumerate(lines_of(read_text(path)), 1) if line.strip()]
    rows = [(i, line.split("\t") if line.count("\t") == len(HEADER) - 1 else fields_of(line)) for i, line in lines]
    bim = bool(rows) and not rows[0][1][0].startswith("#")
    if not bim:
        if not rows or tuple(rows[0][1]) != HEADER:
            raise InputError(f"{path}: the header must be {' '.join(HEADER)}, or the file a bim")
        rows = rows[1:]
    for number, fields in rows:
        if len(fields) != (6 if bim else 5):
            raise InputError(f"{path}, line {number}: {len(fields)} fields, expected {6 if bim else 5}")
    cells = np.array([fields for _, fields in rows], dtype=object).reshape(len(rows), 6 if bim else 5)
    order = (0, 3, 1, 4, 5) if bim else range(5)
    chromosome, position, ids, effect, other = (cells[:, j] for j in order)
    places = [whole_number(text) for text in position]
    if None in places:
        number, fields = rows[places.index(None)]
        raise InputError(f"{path}, line {number}: position {shown(fields[order[1]])} is not a whole number")
    return Variants(chromosome, np.array(places, np.int64), ids, effect, other)


def complement(allele: str) -> str:
    """The allele on the other strand.

    >>> complement("AC")
    'GT'
    """
    return canonical_allele(allele).translate(_COMPLEMENT)[::-1]


def compare(effect: str, other: str, wanted_effect: str, wanted_other: str) -> tuple[str, bool]:
    """How a site's alleles relate to the study's: ("same" | "strand" | "ambiguous" | "different", swapped).

    >>> compare("G", "A", "A", "G"), compare("T", "C", "A", "G"), compare("T", "A", "A", "T")
    (('same', True), ('strand', False), ('ambiguous', True))
    >>> compare("d", "D", "D", "d"), compare("a", "A", "A", "a"), compare("a", "G", "A", "g")
    (('same', True), ('same', True), ('same', False))
    """
    if len({canonical_allele(effect), canonical_allele(other)}) == 1:  # a and A: two alleles by their case alone
        if (effect, other) == (wanted_effect, wanted_other):
            return "same", False
        return ("same", True) if (other, effect) == (wanted_effect, wanted_other) else ("different", False)
    here = (canonical_allele(effect), canonical_allele(other))
    wanted = (canonical_allele(wanted_effect), canonical_allele(wanted_other))
    if here == wanted:
        return "same", False
    flipped = (complement(effect), complement(other))
    if here == wanted[::-1]:
        return ("ambiguous", True) if flipped == wanted else ("same", True)
    known = all(set(a) <= set("ACGT") for a in (*here, *wanted))
    if known and flipped in (wanted, wanted[::-1]):
        return "strand", flipped != wanted
    return "different", False


def _key(variants: Variants, j: int) -> tuple[str, int, str]:
    return canonical_chromosome(str(variants.chromosome[j])), int(variants.position[j]), variants.id[j]


@dataclass(frozen=True)
class Alignment:
    """For every variant of the study: its row in the site's file, and whether the site counts the other allele.

    index: (M,) int64; swapped: (M,) bool; strand, palindromic, unused: how many were complemented, are A/T or C/G and taken
    as written, and are only in the site's file.
    """

    index: np.ndarray
    swapped: np.ndarray
    strand: int
    palindromic: int
    unused: int


def align_variants(own: Variants, study: Variants, site: str) -> Alignment:
    """Find every study variant in a site's file. Raises InputError naming those that are absent or do not match."""
    places: dict[tuple[str, int, str], list[int]] = {}
    for j in range(len(own)):
        places.setdefault(_key(own, j), []).append(j)
    positions = {own.id[j]: _key(own, j)[:2] for j in range(len(own))}
    index, swapped = np.full(len(study), -1, np.int64), np.zeros(len(study), bool)
    strand = palindromic = 0
    problems = []
    for j in range(len(study)):
        candidates = places.get(_key(study, j), [])
        verdicts = []
        for at, c in enumerate(candidates):
            kind, swap = compare(
                own.effect_allele[c], own.other_allele[c], study.effect_allele[j], study.other_allele[j]
            )
            verdicts.append(kind)
            if kind in ("same", "strand"):
                index[j], swapped[j] = candidates.pop(at), swap
                strand += kind == "strand"
                palindromic += kind == "same" and complement(study.effect_allele[j]) == canonical_allele(
                    study.other_allele[j]
                )
                break
        if index[j] < 0:
            problems.append(_problem(study, j, own, candidates, verdicts, positions))
    if problems:
        more = f" and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        raise InputError(
            f"site {site}: {len(problems)} variants of the study cannot be aligned: {'; '.join(problems[:SHOWN])}{more}. "
            "Leave them out of the study's variant list, or correct the file"
        )
    return Alignment(index, swapped, strand, palindromic, len(own) - len(study))


def _problem(
    study: Variants,
    j: int,
    own: Variants,
    candidates: list[int],
    verdicts: list[str],
    positions: dict[str, tuple[str, int]],
) -> str:
    name = study.id[j]
    if not candidates:
        if name in positions:
            return f"{name} lies at {positions[name][0]}:{positions[name][1]}, not {study.chromosome[j]}:{study.position[j]}"
        return f"{name} is not in the file"
    alleles = f"{own.effect_allele[candidates[0]]}/{own.other_allele[candidates[0]]}"
    wanted = f"{study.effect_allele[j]}/{study.other_allele[j]}"
    if "ambiguous" in verdicts:
        return f"{name} is {alleles} where the study has {wanted}: swapped or on the other strand, nobody can tell"
    return f"{name} has alleles {alleles}, not {wanted}"


def _matches(variants: Variants, j: int, effect: str, other: str) -> bool:
    return compare(variants.effect_allele[j], variants.other_allele[j], effect, other)[0] in ("same", "strand")


def common_variants(lists: Sequence[Variants]) -> tuple[Variants, int]:
    """Variants that every list has, aligned and in the order of the first; and how many of the first were left out."""
    first = lists[0]
    keep = np.ones(len(first), bool)
    for other in lists[1:]:
        places: dict[tuple[str, int, str], list[int]] = {}
        for j in range(len(other)):
            places.setdefault(_key(other, j), []).append(j)
        for j in np.flatnonzero(keep).tolist():
            alleles = (first.effect_allele[j], first.other_allele[j])
            candidates = places.get(_key(first, j), [])
            found = next((c for c in candidates if _matches(other, c, *alleles)), None)
            if found is None:
                keep[j] = False
            else:
                candidates.remove(found)
    if not keep.any():
        raise InputError(
            f"no variant is in every file: the first begins with {_named(first, 0)}, another with {_named(lists[-1], 0)}. "
            "Files of one site each are expected: files by chromosome of one site are one name with @, or a list"
        )
    return first.take(np.flatnonzero(keep)), int((~keep).sum())


def _named(variants: Variants, j: int) -> str:
    alleles = f"{variants.effect_allele[j]}/{variants.other_allele[j]}"
    return f"{variants.id[j]} at {variants.chromosome[j]}:{variants.position[j]} {alleles}"


@dataclass(frozen=True)
class AlignedReader:
    """A site's genotypes as the study counts them: a `GenotypeReader` of the study's variants."""

    source: SelectableReader
    variants: Variants
    swapped: np.ndarray

    @property
    def samples(self) -> Samples:
        return self.source.samples

    @property
    def dosage_grid(self) -> int:
        return self.source.dosage_grid

    @property
    def dosage_max(self) -> int:
        return self.source.dosage_max

    def read(self, start: int, stop: int) -> GenotypeBlock:
        """Dosages of the study's effect allele: 2D − g where swapped, 0 where missing."""
        block = self.source.read(start, stop)
        rows = np.flatnonzero(self.swapped[start:stop])
        if not len(rows):
            return block
        dosage = block.dosage.copy()
        dosage[rows] = 2 * self.dosage_grid - dosage[rows]
        if block.missing is not None:
            dosage[rows] = np.where(block.missing[rows], dosage.dtype.type(0), dosage[rows])
        return GenotypeBlock(start, dosage, block.missing)

    def select(self, samples: IntArray | None = None, variants: IntArray | None = None) -> AlignedReader:
        """The same genotypes of only these rows (index arrays into the current samples and variants)."""
        rows = np.arange(len(self.variants)) if variants is None else np.asarray(variants)
        return AlignedReader(self.source.select(samples, rows), self.variants.take(rows), self.swapped[rows])

    def on_grid(self, grid: int | None) -> AlignedReader:
        """The same genotypes in steps of 1/grid."""
        return AlignedReader(self.source.on_grid(grid), self.variants, self.swapped)


def align_reader(reader: SelectableReader, study: Variants, site: str) -> tuple[AlignedReader, Alignment]:
    """The reader's genotypes in the study's order and alleles. Raises InputError naming what does not fit."""
    alignment = align_variants(reader.variants, study, site)
    return AlignedReader(reader.select(variants=alignment.index), study, alignment.swapped), alignment


def describe(alignment: Alignment) -> Iterable[str]:
    """Lines for the log."""
    yield (
        f"{len(alignment.index)} variants of the study found; {int(alignment.swapped.sum())} counted from the other allele, "
        f"{alignment.strand} from the other strand; {alignment.unused} of the file are not in the study"
    )
    if alignment.palindromic:
        yield f"{alignment.palindromic} A/T or C/G variants are taken as written: their strand cannot be checked"
