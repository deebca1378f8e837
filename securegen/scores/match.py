"""Which variant of a cohort each row of a scoring file means, decided before anything is encrypted.

By id, or by position and alleles. The effect allele may be the cohort's other allele (swapped: 2 − dosage) or be read
on the other strand (flipped). A/T and C/G variants look the same on both strands: they are kept when the id names the
variant and no allele label contradicts, dropped when only the position does. Every row gets one word in the log.

Who learns what: the party that matches sees the variant list and the scoring file's alleles; no genotype is read. The
words are those users of pgsc_calc know (Lambert et al. 2021).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from securegen.errors import InputError, UsageError
from securegen.model import IntArray, TextArray, Variants
from securegen.scores.files import ScoringFile
from securegen.vocabulary import SEX_AND_MITOCHONDRIAL, canonical_allele, canonical_chromosome

MATCHED, SWAPPED, FLIPPED, FLIPPED_SWAPPED = "matched", "swapped", "flipped", "flipped_swapped"
USED: Final = (MATCHED, SWAPPED, FLIPPED, FLIPPED_SWAPPED)  # best first
AMBIGUOUS, ALLELE_MISMATCH, NOT_FOUND = "ambiguous", "allele_mismatch", "not_found"
DUPLICATE_ROW, DUPLICATE_VARIANT = "duplicate_row", "duplicate_variant"
MULTIALLELIC = "multiallelic"
REFUSED = "refused"

MIN_OVERLAP: Final = 0.75
_COMPLEMENT: Final = str.maketrans("ACGT", "TGCA")
_ON_X: Final = frozenset({"XY", "PAR1", "PAR2"})  # by their positions, which are those of X


def normalise_chromosome(name: str) -> str:
    """One name for one chromosome: 'chr01' and '1', '23' and 'X', 'M' and 'MT'.

    >>> [normalise_chromosome(c) for c in ("chr01", "23", "chrM")]
    ['1', 'X', 'MT']
    """
    canonical = canonical_chromosome(name)
    return "X" if canonical in _ON_X else canonical


def reverse_complement(allele: str) -> str | None:
    """The allele read on the other strand; None where it is not a sequence of A, C, G and T."""
    return allele.translate(_COMPLEMENT)[::-1] if allele and set(allele) <= set("ACGT") else None


def is_ambiguous(first: str, second: str) -> bool:
    """True where the two alleles are each other's reverse complement (A/T, C/G), so that no strand can be told.

    >>> is_ambiguous("A", "T"), is_ambiguous("A", "G")
    (True, False)
    """
    return reverse_complement(first) == second


def compare_alleles(effect: str, other: str, a1: str, a2: str, *, strand_flips: bool = True) -> str | None:
    """How (effect, other) of a scoring file lies on (a1, a2) of a cohort: a word of USED, or None. other may be ''."""

    def fits(e: str | None, o: str | None) -> int | None:
        for rank, (first, second) in enumerate(((a1, a2), (a2, a1))):
            if e == first and (o == "" or o == second):
                return rank
        return None

    rank = fits(effect, other)
    if rank is not None:
        return USED[rank]
    if strand_flips:
        rank = fits(reverse_complement(effect), reverse_complement(other) if other else "")
        if rank is not None:
            return USED[2 + rank]
    return None


@dataclass(frozen=True)
class Match:
    """Rows of a scoring file on variants of a cohort.

    word, by: (R,) object arrays, the log's word and 'id', 'position' or ''; candidate: (R,) int64 variant the row was
    compared with, −1 where none; row, variant: (K,) int64, the rows used and their variants, variants ascending;
    swapped: (K,) bool, the effect allele is the cohort's other allele; ambiguous: used variants that are A/T or C/G.
    """

    scoring: ScoringFile
    word: TextArray
    by: TextArray
    candidate: IntArray
    row: IntArray
    variant: IntArray
    swapped: np.ndarray
    ambiguous: int

    def __len__(self) -> int:
        return len(self.row)

    @property
    def overlap(self) -> float:
        """Share of the file's rows (refused ones included) that are scored."""
        return len(self.row) / self.scoring.rows

    def counts(self) -> dict[str, int]:
        """Rows for each word of the log; refused rows as 'refused:<word>'."""
        out = Counter(self.word.tolist())
        out.update(f"{REFUSED}:{word}" for _, _, word in self.scoring.refused)
        order = (*USED, AMBIGUOUS, ALLELE_MISMATCH, NOT_FOUND, DUPLICATE_ROW, DUPLICATE_VARIANT, MULTIALLELIC)
        return {word: out[word] for word in (*order, *sorted(set(out) - set(order))) if out[word]}

    def summary(self) -> str:
        """One line: what was used, what was not and why."""
        parts = ", ".join(f"{count} {word}" for word, count in self.counts().items())
        kept = f"; {self.ambiguous} of those used are A/T or C/G" if self.ambiguous else ""
        return (
            f"{self.scoring.path}: {len(self)} of {self.scoring.rows} rows scored ({self.overlap:.1%}): {parts}{kept}"
        )


def _index(variants: Variants) -> tuple[dict[str, list[int]], dict[tuple[str, int], list[int]]]:
    by_id: dict[str, list[int]] = {}
    by_position: dict[tuple[str, int], list[int]] = {}
    for v in range(len(variants)):
        if variants.id[v] not in ("", "."):
            by_id.setdefault(variants.id[v], []).append(v)
        place = (normalise_chromosome(variants.chromosome[v]), int(variants.position[v]))
        by_position.setdefault(place, []).append(v)
    return by_id, by_position


def _pair(first: str, second: str) -> tuple[str, str]:
    """Alleles as they are compared; empty, so that nothing fits, where only their case tells them apart (A and a)."""
    pair = (canonical_allele(first), canonical_allele(second))
    return pair if pair[0] != pair[1] else ("", "")


def _one_of_several(
    named: str,
    rank: int,
    v: int,
    variants: Variants,
    alleles: list[tuple[str, str]],
    places: dict[tuple[str, int], list[int]],
) -> bool:
    """Whether the row's allele cannot be told from one variant (v, matched by rank of USED) of a place with several ALT.

    It is the reference of them, whose copies are 2 less those of all ALT (of longer alleles A2 alone is the same everywhere); or
    it was read on the other strand, and is there on this one too.
    """
    place = (normalise_chromosome(variants.chromosome[v]), int(variants.position[v]))
    if place[1] <= 0:
        return False
    side, there = rank % 2, [alleles[w] for w in places[place]]
    if rank > 1 and any(named in pair for pair in there):
        return True
    effect, other = alleles[v][side], alleles[v][1 - side]
    for pair in there:
        short = all(len(a) == 1 for a in (*alleles[v], *pair))
        for a, b in (pair[::-1], *([pair] if short else [])):
            if a == effect and b != other and (short or side == 1):
                return True
    return False


class TooFewMatchesError(InputError):
    """Less of a scoring file is found than asked for; `match` says what became of each row."""

    def __init__(self, message: str, match: Match) -> None:
        super().__init__(message)
        self.match = match


def match_variants(
    scoring: ScoringFile,
    variants: Variants,
    *,
    by: Literal["auto", "id", "position"] = "auto",
    keep_ambiguous: bool = False,
    strand_flips: bool = True,
    min_overlap: float = MIN_OVERLAP,
) -> Match:
    """Find the cohort's variant for each row of a scoring file.

    by: 'auto' tries the id, then position and alleles. keep_ambiguous: use A/T and C/G matched by position as labelled.
    Raises TooFewMatchesError with counts when fewer than min_overlap of the rows are scored; UsageError for by='id' without
    ids and by='position' without positions in the file.
    """
    has_id, has_position = bool((scoring.id != "").any()), bool((scoring.position >= 0).any())
    if by not in ("auto", "id", "position"):
        raise UsageError(f"by is {by!r}: one of auto, id, position")
    if (by == "id" and not has_id) or (by == "position" and not has_position):
        raise UsageError(f"{scoring.path} has no {by}s to match by")
    by_id, by_position = _index(variants)
    alleles = [_pair(a, b) for a, b in zip(variants.effect_allele, variants.other_allele, strict=True)]
    size = len(scoring)
    word, how = np.full(size, NOT_FOUND, dtype=object), np.full(size, "", dtype=object)
    candidate = np.full(size, -1, np.int64)
    taken: set[int] = set()
    for r in range(size):
        routes: list[tuple[str, list[int]]] = []
        if by != "position" and scoring.id[r]:
            routes.append(("id", by_id.get(scoring.id[r], [])))
        if by != "id" and scoring.position[r] >= 0:
            place = (normalise_chromosome(scoring.chromosome[r]), int(scoring.position[r]))
            routes.append(("position", by_position.get(place, [])))
        for route, places in routes:
            if not places:
                continue
            found = [
                (USED.index(w), v) for v in places
                if (w := compare_alleles(
                    scoring.effect_allele[r], scoring.other_allele[r], *alleles[v], strand_flips=strand_flips))
            ]  # fmt: skip
            how[r] = route
            if not found:
                word[r], candidate[r] = ALLELE_MISMATCH, places[0]
                continue
            best = min(found)[0]
            fitting = [v for rank, v in found if rank == best]
            candidate[r] = fitting[0]
            if len(fitting) > 1:
                word[r] = DUPLICATE_VARIANT
            elif _one_of_several(scoring.effect_allele[r], best, fitting[0], variants, alleles, by_position):
                word[r] = MULTIALLELIC
            elif is_ambiguous(*alleles[fitting[0]]) and route == "position" and not keep_ambiguous:
                word[r] = AMBIGUOUS
            elif fitting[0] in taken:
                word[r] = DUPLICATE_ROW
            else:
                word[r] = USED[best]
                taken.add(fitting[0])
            break
    elsewhere = SEX_AND_MITOCHONDRIAL - {normalise_chromosome(c) for c in dict.fromkeys(variants.chromosome)}
    for r in np.flatnonzero(word == NOT_FOUND).tolist():
        if normalise_chromosome(scoring.chromosome[r]) in elsewhere:
            word[r] = f"{REFUSED}:{normalise_chromosome(scoring.chromosome[r])}"
    row = np.flatnonzero(np.isin(word, USED))
    row = row[np.argsort(candidate[row], kind="stable")]
    variant = candidate[row]
    if not (np.diff(variant) > 0).all():
        raise ValueError("a variant was matched twice")
    swapped = np.isin(word[row], (SWAPPED, FLIPPED_SWAPPED))
    ambiguous = sum(is_ambiguous(*alleles[v]) for v in variant)
    match = Match(scoring, word, how, candidate, row, variant, swapped, ambiguous)
    if not len(row) or match.overlap < min_overlap:
        hint = (
            "see the match log" if (candidate >= 0).any()
            else "check that ids or the genome build agree" if has_position
            else "its ids are not those of the cohort, and it has no positions: take a file with positions, such as the "
            "PGS Catalog's harmonised one (hmPOS)"
        )  # fmt: skip
        asked = f"at least {min_overlap:.0%} is asked for (`min_overlap`)" if min_overlap else "no row can be scored"
        raise TooFewMatchesError(f"{match.summary()}; {asked}: {hint}", match)
    return match
