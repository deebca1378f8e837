"""Files of sets of variants as regenie writes them: annotations, sets, definitions of masks, and public frequencies.

Fields are separated by blanks, tabs or commas; no file has a header, but frequencies may have plink2's (`.afreq`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Set
from dataclasses import dataclass
from typing import Final

from securegen.errors import InputError
from securegen.io.schema import shown
from securegen.io.text import iterate_lines, whole_number

_FIELD: Final = re.compile(r"[^ \t,]+")
_DECIMAL: Final = re.compile(r"[0-9]*\.?[0-9]+([eE][+-]?[0-9]{1,3})?|[0-9]+\.", re.ASCII)
Annotations = dict[str, dict[str, str]]  # set -> variant -> category


@dataclass(frozen=True)
class VariantSet:
    """A set as the list has it. chromosome: as written there; variants: ids, each once; line: of the list."""

    name: str
    chromosome: str
    position: int
    variants: tuple[str, ...]
    line: int


@dataclass(frozen=True)
class Frequency:
    """Of the counted allele of a variant. singleton: whether the file says that one person carries it, None where it says
    nothing."""

    share: float
    singleton: bool | None


def _rows(path: str) -> Iterator[tuple[int, list[str]]]:
    """Line number and fields of every line that is not empty."""
    for number, line in enumerate(iterate_lines(path), 1):
        fields = _FIELD.findall(line)
        if fields:
            yield number, fields


def read_sets(path: str) -> list[VariantSet]:
    """`--set-list`: name, chromosome, position and variants of a set a line. Raises InputError naming the line."""
    out: list[VariantSet] = []
    seen: dict[str, int] = {}
    for number, fields in _rows(path):
        position = whole_number(fields[2]) if len(fields) > 3 else None
        if position is None or position < 0:
            raise InputError(
                f"{path}, line {number}: a set's name, its chromosome, a position and its variants are expected"
            )
        if fields[0] in seen:
            raise InputError(f"{path}, line {number}: set {shown(fields[0])} stands in line {seen[fields[0]]} already")
        seen[fields[0]] = number
        out.append(VariantSet(fields[0], fields[1], position, tuple(dict.fromkeys(fields[3:])), number))
    if not out:
        raise InputError(f"{path} names no set")
    return out


def read_annotations(path: str, names: Set[str]) -> Annotations:
    """`--anno-file`: a variant, a set and the variant's category in it a line; of the sets that are named.

    Raises InputError naming the line, also for a variant that a set has twice, and for a column of regions.
    """
    out: Annotations = {}
    for number, fields in _rows(path):
        if len(fields) != 3:
            more = (
                "; regions of a set, a fourth column of regenie's, are not read: write each as a set of its own"
                if len(fields) == 4
                else ""
            )
            raise InputError(f"{path}, line {number}: a variant, a set and a category are expected{more}")
        variant, name, category = fields
        if name not in names:
            continue
        of_set = out.setdefault(name, {})
        if variant in of_set:
            raise InputError(f"{path}, line {number}: {shown(variant)} of set {shown(name)} is annotated twice")
        of_set[variant] = category
    if not out:
        raise InputError(
            f"{path} annotates no variant of any set of the list of sets: are the names those of that list?"
        )
    return out


def read_masks(path: str) -> dict[str, frozenset[str]]:
    """`--mask-def`: the name of a mask and its categories per line. Raises InputError naming the line."""
    out: dict[str, frozenset[str]] = {}
    for number, fields in _rows(path):
        if len(fields) < 2:
            raise InputError(f"{path}, line {number}: the name of a mask and its categories are expected")
        if fields[0] in out:
            raise InputError(f"{path}, line {number}: mask {shown(fields[0])} is defined twice")
        out[fields[0]] = frozenset(fields[1:])
    if not out:
        raise InputError(f"{path} defines no mask")
    return out


def read_frequencies(path: str, wanted: Set[str]) -> dict[str, Frequency]:
    """`--aaf-file`: a variant, the frequency of its counted allele and, in every line or in none, 1 where one person carries
    it, else 0; or a table of plink2 --freq, whose header names ID and ALT_FREQS. Of the wanted variants.

    Raises InputError naming the line, also for a variant with two frequencies, or where none is wanted.
    """
    out: dict[str, Frequency] = {}
    id_at, share_at, width, header = 0, 1, 0, False
    for number, fields in _rows(path):
        if not width:
            width = len(fields)
            header = fields[0].startswith("#")
            if header:
                names = [f.lstrip("#") for f in fields]
                if "ID" not in names or "ALT_FREQS" not in names:
                    raise InputError(f"{path}, line {number}: the header names no ID and ALT_FREQS")
                id_at, share_at = names.index("ID"), names.index("ALT_FREQS")
                continue
        found = len(fields) == width and (header or width in (2, 3))
        share = float(fields[share_at]) if found and _DECIMAL.fullmatch(fields[share_at]) else -1.0
        flagged = fields[2] if found and not header and width == 3 else None
        if not 0 <= share <= 1 or flagged not in (None, "0", "1"):
            raise InputError(
                f"{path}, line {number}: a variant, a frequency from 0 to 1 and, in every line or in none, 1 for a singleton or "
                "0 are expected"
            )
        variant = fields[id_at]
        if variant not in wanted:
            continue
        if variant in out:
            raise InputError(f"{path}, line {number}: {shown(variant)} has a frequency already")
        out[variant] = Frequency(share, None if flagged is None else flagged == "1")
    if not out:
        raise InputError(f"{path} has no frequency of any variant of the sets")
    return out
