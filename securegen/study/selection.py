"""Which samples and variants of a genotype file are analysed: filters by name, place and chromosome, each counted aloud.

A filter that finds nothing says what it looked for and what the file has.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

import numpy as np

from securegen.errors import InputError, UsageError
from securegen.io.tables import read_ids, read_names
from securegen.io.text import count
from securegen.model import Samples, Variants
from securegen.study import people
from securegen.study.held import refuse_few
from securegen.study.inputs import Log
from securegen.vocabulary import AUTOSOMES, PSEUDOAUTOSOMAL, SEX_AND_MITOCHONDRIAL, UNPLACED, canonical_chromosome

SHOWN: Final = 5  # names in a message
ONE_DESIGN: Final = "only autosomes are used here"
_LIKE_AUTOSOMES: Final = AUTOSOMES | PSEUDOAUTOSOMAL
_MARKS: Final = {
    ",": "commas: use blanks or tabs",
    ";": "semicolons: use blanks or tabs",
    '"': "quotes: leave them out",
}


def some(names: Sequence[str]) -> str:
    """The first few names of a list, and how many more there are."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{', '.join(names[:SHOWN])}{more}"


def chosen_samples(samples: Samples, keep: str | None, remove: str | None, log: Log, fewest: int) -> np.ndarray:
    """(N,) bool: samples that --keep names and --remove does not. fewest: people whom a policy wants, 0 without one. Raises
    InputError when --keep names nobody here, and as `refuse_few`."""
    out = np.ones(len(samples), bool)
    for flag, path in (("--keep", keep), ("--remove", remove)):
        if not path:
            continue
        ids = read_ids(path)
        named = people.match_people(samples, ids, path)
        if flag == "--keep":
            refuse_few(fewest, int(named.sum()), path)
        if not named.any():
            first = " ".join(ids[0]) if ids else "nobody"
            text = (
                f"{path} ({flag}) names nobody of the genotype file: compare the ids of its first line with the file's"
            )
            hint = next((f"; its ids stand between {name}" for mark, name in _MARKS.items() if mark in first), "")
            if flag == "--keep" or hint:
                raise InputError(text + hint)
            log(f"WARNING: {text}")
        out &= named if flag == "--keep" else ~named
        log(f"{flag}: {int(out.sum())} samples remain")
    refuse_few(fewest, int(out.sum()), "`keep` and `remove`")
    if not out.any():
        raise UsageError("`keep` and `remove` leave nobody")
    return out


def chosen_variants(variants: Variants, extract: str | None, exclude: str | None, log: Log) -> np.ndarray:
    """(M,) bool: variants that --extract names and --exclude does not. Raises InputError when --extract finds none."""
    out = np.ones(len(variants), bool)
    for flag, path in (("--extract", extract), ("--exclude", exclude)):
        if not path:
            continue
        listed = read_names(path)
        names = set(listed)
        named = np.array([v in names for v in variants.id], bool)
        if not named.any():
            first = listed[0] if listed else "nothing"
            text = (
                f"{path} ({flag}) names no variant of the genotype file: it begins with {first!r}, the genotype file with "
                f"{variants.id[0]!r}"
            )
            if flag == "--extract":
                raise InputError(text)
            log(f"WARNING: {text}")
        out &= named if flag == "--extract" else ~named
        log(f"{flag}: {int(out.sum())} variants remain")
    return out


def chromosome_words(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Chromosomes that --chr names: those named one by one, and those of ranges such as 1-22. Raises UsageError.

    >>> chromosome_words(["chr2", "23", "5-7", "22-26"])
    (['2', 'X'], ['5', '6', '7', '22', 'X', 'Y', 'XY', 'MT'])
    """
    single, ranged = [], []
    for word in words:
        if "," in word:
            raise UsageError(f'`chr` {word!r} holds a comma: from Python several names are a list, as ["1", "X"]')
        first, dash, last = word.partition("-")
        ends = [end[3:] if end[:3].lower() == "chr" else end for end in (first, last)]
        if not dash:
            single.append(canonical_chromosome(word))
        elif all(end.isdecimal() for end in ends) and 0 <= int(ends[0]) <= int(ends[1]) <= 26:
            ranged += [canonical_chromosome(str(n)) for n in range(int(ends[0]), int(ends[1]) + 1)]
        elif any(canonical_chromosome(end) in AUTOSOMES for end in ends):
            raise UsageError(f"`chr` {word}: a range goes from a smaller number to a larger one, as 1-22")
        else:
            single.append(canonical_chromosome(word))  # a contig with a dash in its name
    return single, ranged


def in_range(
    variants: Variants, chromosomes: Sequence[str] | None, from_bp: int | None, to_bp: int | None, log: Log
) -> np.ndarray:
    """(M,) bool: chromosome and position filters. Raises UsageError when no chromosome that was asked for is there."""
    out = np.ones(len(variants), bool)
    bare = {name: canonical_chromosome(name) for name in dict.fromkeys(variants.chromosome)}
    if chromosomes:
        single, ranged = chromosome_words(chromosomes)
        names, there = {*single, *ranged}, set(bare.values())
        if not names & there:
            raise UsageError(
                f"`chr` {','.join(chromosomes)}: the genotype file has {some([str(n) for n in bare])} only"
            )
        absent = [name for name in dict.fromkeys(single) if name not in there]
        if absent:
            log(f"WARNING: --chr: no variant is on chromosome {', '.join(absent)}")
        out &= np.array([bare[c] in names for c in variants.chromosome], bool)
    if from_bp is not None or to_bp is not None:
        if not chromosomes or len({*single, *ranged}) != 1:
            raise UsageError("`from_bp` and `to_bp` need `chr` with one chromosome")
        low = from_bp if from_bp is not None else 0
        high = to_bp if to_bp is not None else np.iinfo(np.int64).max
        out &= (variants.position >= low) & (variants.position <= high)
        if not out.any():
            raise UsageError(f"`from_bp`, `to_bp`: no variant of chromosome {','.join(chromosomes)} lies there")
    if not out.all():
        log(f"--chr, --from-bp, --to-bp: {int(out.sum())} variants remain")
    return out


def supported(
    variants: Variants, wanted: np.ndarray, log: Log, *, haploid: bool = False, xchr_model: int = 2, x: bool = False,
    why: str = ONE_DESIGN,
) -> np.ndarray:  # fmt: skip
    """(M,) bool: on a known chromosome (or on 0, unplaced), with two alleles and a position; the others are counted aloud.

    haploid: X (unless xchr_model is 0), Y and MT too, for who has a design for each; else X alone where x says so, and `why`.
    Raises UsageError when none of the wanted variants is.
    """
    bare = {name: canonical_chromosome(name) for name in dict.fromkeys(variants.chromosome)}
    sex = np.array([bare[c] in SEX_AND_MITOCHONDRIAL for c in variants.chromosome], bool)
    on_x = np.array([bare[c] == "X" for c in variants.chromosome], bool)
    unplaced = np.array([bare[c] == UNPLACED for c in variants.chromosome], bool)
    unknown = ~sex & ~unplaced & ~np.array([bare[c] in _LIKE_AUTOSOMES for c in variants.chromosome], bool)
    many = np.array(
        ["," in a or "," in b for a, b in zip(variants.effect_allele, variants.other_allele, strict=True)], bool
    )
    negative = variants.position < 0
    contigs = [str(n) for n, _ in Counter(variants.chromosome[unknown & wanted].tolist()).most_common()]
    alone = ("on Y or MT", sex & ~on_x, why) if x else ("on X, Y or MT", sex, why)
    reasons = (
        ("on X", on_x if xchr_model == 0 else on_x & False, "--xchr-model 0") if haploid else alone,
        (f"on chromosomes that are not known ({some(contigs)})", unknown, "1 to 22, X, Y and MT are known"),
        (
            "with more than two alleles",
            many,
            "--multiallelic split makes a row of each ALT of a PLINK2, VCF or BGEN file",
        ),
        ("with a negative position", negative, "plink leaves them out too"),
    )
    found = []
    out = np.ones(len(variants), bool)
    for what, which, why in reasons:
        out &= ~which
        number = int((which & wanted).sum())
        if number:
            found.append(f"{number} {what}")
            log(f"WARNING: {count(number, 'variant')} {what} {'is' if number == 1 else 'are'} left out: {why}")
    if wanted.any() and not (out & wanted).any():
        known = "1 to 22, X, Y and MT" if haploid else "1 to 22"
        raise UsageError(
            f"no variant is left: {', '.join(found)}; chromosomes {known} (with or without chr) are analysed here"
        )
    if (unplaced & out & wanted).any():
        log(
            f"WARNING: {count(int((unplaced & out & wanted).sum()), 'variant')} on chromosome 0 (unplaced), analysed as autosomal"
        )
    return out
