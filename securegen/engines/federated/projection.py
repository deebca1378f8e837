"""Principal components of a site's people on public loadings: every site computes its own, nothing is opened.

Coordinate k of a person is Σ_j (g_j − 2f_j)/√(2f_j(1−f_j)) · l_jk, a missing call counts as 2f_j. (Patterson et al. 2006.)
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from securegen.engines.federated.variants import HEADER, align_reader
from securegen.errors import InputError
from securegen.io.text import fields_of, lines_of
from securegen.model import SelectableReader, Variants

READ = 512


@dataclass(frozen=True)
class Loadings:
    """variants: L of them; frequency: (L,) of the effect allele in the reference; weights: (L, C)."""

    variants: Variants
    frequency: np.ndarray
    weights: np.ndarray


def parse_loadings(content: str, path: str | Path) -> Loadings:
    """The loadings in the text of a file of `write_loadings`. Raises InputError naming file and line."""
    rows = [(i, fields_of(line)) for i, line in enumerate(lines_of(content), 1) if line.strip()]
    header = (*HEADER, "FREQ")
    if not rows or tuple(rows[0][1][:6]) != header or len(rows[0][1]) < 7:
        raise InputError(f"{path}: the header must be {' '.join(header)} PC1 …")
    width = len(rows[0][1])
    for number, fields in rows[1:]:
        if len(fields) != width:
            raise InputError(f"{path}, line {number}: {len(fields)} fields, the header has {width}")
    cells = np.array([fields for _, fields in rows[1:]], dtype=object).reshape(-1, width)
    try:
        numbers, position = cells[:, 5:].astype(np.float64), cells[:, 1].astype(np.int64)
    except (ValueError, OverflowError) as error:
        raise InputError(f"{path}: {error}") from None
    frequency = numbers[:, 0]
    if not ((frequency > 0) & (frequency < 1)).all() or not np.isfinite(numbers).all():
        raise InputError(f"{path}: frequencies must lie between 0 and 1, loadings must be numbers")
    return Loadings(Variants(cells[:, 0], position, cells[:, 2], cells[:, 3], cells[:, 4]), frequency, numbers[:, 1:])


def project(reader: SelectableReader, loadings: Loadings, site: str) -> np.ndarray:
    """(N, C) float64 coordinates of the reader's samples. Raises InputError for loadings that cannot be aligned."""
    aligned, _ = align_reader(reader, loadings.variants, site)
    out = np.zeros((len(reader.samples), loadings.weights.shape[1]))
    for start in range(0, len(loadings.variants), READ):
        block = aligned.read(start, min(start + READ, len(loadings.variants)))
        here = slice(start, start + len(block))
        f = loadings.frequency[here, None]
        centred = (block.dosage / aligned.dosage_grid - 2 * f) / np.sqrt(2 * f * (1 - f))
        if block.missing is not None:
            centred[block.missing] = 0.0
        out += centred.T @ loadings.weights[here]
    return out
