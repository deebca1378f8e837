"""What is refused, or said aloud, of the variants in the files of a cohort: they would be read, and read wrongly."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence

import numpy as np

from securegen.errors import InputError
from securegen.io.schema import shown
from securegen.io.text import count
from securegen.model import Samples, Variants
from securegen.vocabulary import PSEUDOAUTOSOMAL, canonical_chromosome

_CONTROL = ("\t", "\n", "\r", "\0")


def refuse_control_characters(name: str, samples: Samples, variants: Variants) -> None:
    """Raise InputError for an id or an allele with a tab or a line's end, which would be two cells of a table."""
    words = (
        ("id", samples.fid), ("id", samples.iid), ("variant id", variants.id), ("chromosome", variants.chromosome),
        ("allele", variants.effect_allele), ("allele", variants.other_allele),
    )  # fmt: skip
    for what, column in words:
        text = "\n".join(column)
        if text.count("\n") == len(column) - 1 and not any(c in text for c in ("\t", "\r", "\0")):
            continue
        wrong = next(word for word in column if any(c in word for c in _CONTROL))
        raise InputError(f"{name}: the {what} {shown(wrong)} holds a tab, a line's end or a NUL: rename it")


def check_chromosome(pattern: str, name: str, said: str, variants: Variants) -> str:
    """A warning about variants in the file of a chromosome that lie on others, or nothing. pattern, name: of the files; said:
    the chromosome in the name. Raises InputError where all of them do."""
    held = list(dict.fromkeys(map(canonical_chromosome, dict.fromkeys(variants.chromosome))))
    on_x = {"X", *PSEUDOAUTOSOMAL}
    others = [c for c in held if c not in (on_x if said in on_x else {said})]
    if len(others) == len(held):
        raise InputError(
            f"{pattern}: {name} has no variant on chromosome {said}, but on {', '.join(others[:5])}: @ stands for chromosomes, "
            "files of other parts are named in a list"
        )
    return f"WARNING: {name} has variants on chromosome {', '.join(others[:5])} too" if others else ""


def repeated_variants(table: Variants, starts: Sequence[int], names: Sequence[str]) -> list[str]:
    """Warnings about variants that are in two files, as where chunks of a chromosome overlap. starts: first row of every file,
    and the number of rows; names: of the files."""
    held = [set(map(canonical_chromosome, set(table.chromosome[a:b]))) for a, b in itertools.pairwise(starts)]
    shared = {c: k for k, c in enumerate(c for c, n in Counter(itertools.chain(*held)).items() if n > 1)}
    if not shared:
        return []
    number = {name: shared.get(canonical_chromosome(name), -1) for name in dict.fromkeys(table.chromosome)}
    chromosome = np.array([number[name] for name in table.chromosome], np.int64)
    file = np.searchsorted(np.asarray(starts), np.arange(len(table)), side="right") - 1
    rows = np.flatnonzero(chromosome >= 0)
    order = rows[np.lexsort((table.position[rows], chromosome[rows]))]
    new = (np.diff(chromosome[order]) != 0) | (np.diff(table.position[order]) != 0)
    bounds = np.concatenate([[0], np.flatnonzero(new) + 1, [len(order)]])  # of the rows of one place
    several = np.minimum.reduceat(file[order], bounds[:-1]) < np.maximum.reduceat(file[order], bounds[:-1])
    found: dict[tuple[int, int], list[int]] = {}
    for a, b in zip(bounds[:-1][several].tolist(), bounds[1:][several].tolist(), strict=True):
        seen: dict[tuple[str, frozenset[str]], int] = {}
        for row in sorted(order[a:b].tolist()):
            key = (table.id[row], frozenset((table.effect_allele[row], table.other_allele[row])))
            first = seen.setdefault(key, row)
            if file[first] != file[row]:
                found.setdefault((int(file[first]), int(file[row])), []).append(row)
    return [
        f"WARNING: {count(len(twice), 'variant')} of {names[j]} {'is' if len(twice) == 1 else 'are'} in {names[i]} too, first "
        f"{table.id[twice[0]]} ({table.chromosome[twice[0]]}:{table.position[twice[0]]}): each is a row of its own"
        for (i, j), twice in found.items()
    ]
