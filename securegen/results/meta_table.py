"""The table of a meta-analysis: PREFIX.meta, a row per variant that any study has."""

from __future__ import annotations

from typing import Final

import numpy as np

from securegen.governance.door import ASSOCIATION, OutputFacts
from securegen.governance.gate import Gate
from securegen.io.output import atomic
from securegen.model import Variants
from securegen.results.rows import FULL_DIGITS, table_text
from securegen.vocabulary import VARIANT_COLUMNS

COLUMNS: Final = (
    *VARIANT_COLUMNS, "A1_FREQ", "STUDY_CT", "OBS_CT", "BETA", "SE", "L95", "U95", "Z_STAT", "P", "LOG10_P", "BETA_RANDOM",
    "SE_RANDOM", "LOG10_P_RANDOM", "Z_STOUFFER", "LOG10_P_STOUFFER", "Q", "P_Q", "I2", "TAU2", "DIRECTION",
)  # fmt: skip
_ALWAYS: Final = ("REF", "ALT", "STUDY_CT")


def outputs_of(columns: dict[str, np.ndarray], fewest: int, floor: int) -> list[OutputFacts]:
    """What the table says of itself at the door. fewest: people of any study in any row."""
    return [OutputFacts(ASSOCIATION, "meta", fewest, len(columns["OBS_CT"]), columns=1, minor=floor)]


def write_meta(
    path: str, variants: Variants, columns: dict[str, np.ndarray], digits: int = FULL_DIGITS, *, fewest: int, gate: Gate
) -> None:
    """Write the table. fewest: people of any study in any row; gate: the door, passed before the first byte; rows of fewer
    carriers than its floor, or whose frequency no study says, are NA. Raises PolicyError, StorageError."""
    floor = gate.minor_alleles
    gate.release(outputs_of(columns, fewest, floor))
    if floor:
        share = columns["A1_FREQ"]
        carriers = np.fmin(share, 1 - share) * columns["OBS_CT"]  # nobody has more than two of the alleles
        columns = _without(columns, ~(carriers >= floor))
    with atomic(path) as stream:
        stream.write(("\t".join(COLUMNS) + "\n").encode())
        stream.write(table_text(variants, columns, COLUMNS, digits))


def _without(columns: dict[str, np.ndarray], rare: np.ndarray) -> dict[str, np.ndarray]:
    out = {}
    for name, values in columns.items():
        if name in _ALWAYS:
            out[name] = values
        elif values.dtype == object:
            out[name] = np.where(rare, "NA", values)
        else:
            out[name] = np.where(rare, np.nan, values)
    return out
