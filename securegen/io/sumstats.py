"""Result tables in plink2's columns: tab separated, one header line, NA where missing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from securegen.io.output import atomic
from securegen.model import Variants
from securegen.vocabulary import MISSING_TEXT

FULL_DIGITS = 17


def format_column(values: np.ndarray, digits: int = FULL_DIGITS) -> list[str]:
    """Text of one column: integers and text as they are, floats with `digits` significant digits, NaN as NA."""
    if values.dtype.kind == "f":
        pattern = f"%.{digits}g"
        return [MISSING_TEXT if v != v else pattern % v for v in values.tolist()]
    return [str(v) for v in values.tolist()]


def p_text(p: np.ndarray, log10p: np.ndarray, digits: int = FULL_DIGITS) -> list[str]:
    """Text of p-values; where p underflows, mantissa and exponent come from −log10 p, so that no p is ever 0."""
    out = format_column(p, digits)
    for i in np.flatnonzero(p < 1e-300):
        exponent = int(np.ceil(log10p[i]))
        mantissa = f"%.{min(digits, 12) - 1}f" % 10 ** (exponent - log10p[i])
        out[i] = f"{mantissa}e-{exponent}" if not mantissa.startswith("10") else f"1e-{exponent - 1}"
    return out


def table_rows(
    variants: Variants, columns: dict[str, np.ndarray], names: Sequence[str], digits: int = FULL_DIGITS
) -> Iterator[str]:
    """Lines of a table for the variants of one block, in the order of `names` (vocabulary.TABLE_COLUMNS)."""
    own = {
        "#CHROM": variants.chromosome, "POS": variants.position, "ID": variants.id,
        "REF": variants.other_allele, "ALT": variants.effect_allele, "A1": variants.effect_allele,
    }  # fmt: skip
    text = []
    for name in names:
        if name == "P":
            text.append(p_text(columns["P"], columns["LOG10_P"], digits))
        else:
            text.append(format_column(columns[name] if name in columns else own[name], digits))
        assert len(text[-1]) == len(variants), name
    for row in zip(*text, strict=True):
        yield "\t".join(row) + "\n"


def write_table(path: str | Path, names: Sequence[str], rows: Iterable[str]) -> None:
    """Write header and rows, whole or not at all."""
    with atomic(path) as stream:
        stream.write(("\t".join(names) + "\n").encode())
        for row in rows:
            stream.write(row.encode())
