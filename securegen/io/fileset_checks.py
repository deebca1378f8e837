"""What is refused, or said aloud, of the variants in the files of a cohort: they would be read, and read wrongly."""

from __future__ import annotations

import itertools
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
    bare = {name: canonical_chromosome(name) for name in dict.fromkeys(table.chromosome)}
    number = {c: k for k, c in enumerate(dict.fromkeys(bare.values()))}
    chromosome = np.array([number[bare[c]] for c in table.chromosome], np.int64)
    file = np.searchsorted(np.asarray(starts), np.arange(len(table)), side="right") - 1
    order = np.lexsort((table.position, chromosome))
    new = (np.diff(chromosome[order]) != 0) | (np.diff(table.position[order]) != 0)
    found: dict[tuple[int, int], list[int]] = {}
    bounds = [0, *(np.flatnonzero(new) + 1).tolist(), len(order)]
    for a, b in itertools.pairwise(bounds):
        if b - a == 1 or len(set(file[order[a:b]].tolist())) == 1:
            continue
        seen: dict[tuple[str, frozenset[str]], int] = {}
        for row in sorted(order[a:b].tolist()):
            key = (table.id[row], frozenset((table.effect_allele[row], table.other_allele[row])))
            first = seen.setdefault(key, row)
            if file[first] != file[row]:
                found.setdefault((int(file[first]), int(file[row])), []).append(row)
    return [
        f"WARNING: {count(len(rows), 'variant')} of {names[j]} {'is' if len(rows) == 1 else 'are'} in {names[i]} too, first "
        f"{table.id[rows[0]]} ({table.chromosome[rows[0]]}:{table.position[rows[0]]}): each is a row of its own"
        for (i, j), rows in found.items()
    ]
