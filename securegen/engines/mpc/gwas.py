"""Association sums under MPC: the same `Sums` as the plain engine, bit for bit, for each way the data is split.

| split | parties | who gets the sums | what that tells them |
|---|---|---|---|
| vertical | genotypes, phenotypes, dealer | the phenotype party | it can read genotypes by choosing phenotypes |
| outsourced | two owners, two servers, dealer | the receiver | the same, if it is one of the owners |

These open every sum (`--reveal aggregates`), so both owners must have agreed to it: the functions ask for that by name.
Genotype streams: g, q = g² where a column needs it, m (missing calls) only in blocks that have any, which the other
party sees.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from securegen.design.fixedpoint import check_sum_bound
from securegen.engines.mpc import outsourced, vertical
from securegen.engines.mpc.net.session import Session
from securegen.errors import PolicyError
from securegen.model import Columns, GenotypeBlock, Sums
from securegen.vocabulary import ADDITIVE


def genotype_streams(block: GenotypeBlock, *, squares: bool, coding: str = ADDITIVE) -> vertical.Block:
    """The streams of one block: g, m where calls are missing, q where some column needs Σ g² x, or with a genetic model Σ of
    the alleles."""
    streams = {"g": block.dosage}
    if squares:
        streams["q"] = block.squares.astype(np.int16 if block.dosage.dtype == np.int8 else np.int64)
    if block.missing is not None:
        streams["m"] = block.missing.astype(np.int8)
    return vertical.Block(block.start, streams, recoded="" if coding == ADDITIVE else f"{coding}:")


def shared_columns(columns: Columns, *, pairs: bool) -> np.ndarray:
    """(N, J) integers to multiply with; with pairs also the J(J+1)/2 products of columns, for complete cases."""
    x = columns.values
    if not pairs:
        return x
    k, l = np.triu_indices(x.shape[1])
    largest = int(np.abs(x).max(initial=0))
    check_sum_bound(largest * largest * len(x), "Σ m x x")
    return np.concatenate([x, x[:, k] * x[:, l]], axis=1)


def opened_columns(columns: Columns, *, pairs: bool) -> dict[str, list[int]]:
    """Which columns of `shared_columns` are opened for each stream: no more than `Sums` holds."""
    width = columns.values.shape[1]
    last = width + (width * (width + 1) // 2 if pairs else 0)
    return {"g": list(range(width)), "q": columns.squared_index, "m": list(range(last))}


def ring_bits(columns: Columns, dosage_max: int, *, pairs: bool = False) -> int:
    """32 where every sum that is opened is certain to be below 2^31, else 64. Raises PlanError where it may pass 2^63."""
    x, squares = np.abs(shared_columns(columns, pairs=pairs)).sum(axis=0, dtype=object), columns.squared_index
    largest = [dosage_max * int(max(x)), *(dosage_max**2 * int(x[j]) for j in squares)]
    check_sum_bound(max(largest), "a sum")
    return 32 if max(largest) < 1 << 31 else 64


def outsourced_sums(
    session: Session, roles: outsourced.OutsourcedRoles, columns: Columns, *, pairs: bool = False, bits: int = 64
) -> Iterator[Sums]:
    """The receiver of an outsourced run: yields the sums. Servers open what `opened_columns` says; bits: `ring_bits`."""
    opened = opened_columns(columns, pairs=pairs)
    for block in outsourced.receive_sums(session, roles, columns=len(opened["m"]), opened=opened, bits=bits):
        yield _sums(block.start, block.streams, columns, pairs=pairs)


LEAST_ANALYSED = 20


def refuse_few(analysed: int, where: str = "") -> None:
    """Raise PolicyError for so few people that single genotypes show in what is opened. where: of several strata, which."""
    if analysed < LEAST_ANALYSED:
        raise PolicyError(
            f"fewer than {LEAST_ANALYSED} people would be analysed{where and ' on '}{where}: their results tell single "
            f"genotypes{where and '; leave these variants out (`chr`)'}"
        )


def ask_consent(consent: bool) -> None:
    """Raise PolicyError unless the owner agreed by name to opening all sums."""
    if not consent:
        raise PolicyError(
            "opening all sums lets their receiver read genotypes by choosing phenotypes, and whoever holds the genotypes "
            "solve for phenotypes: both owners must agree with `consent_aggregates`"
        )


def _sums(start: int, streams: dict[str, np.ndarray], columns: Columns, *, pairs: bool) -> Sums:
    g = streams["g"]
    width = columns.values.shape[1]
    m = streams.get("m")
    if m is None:  # nothing is missing in this block
        m = np.zeros((len(g), len(opened_columns(columns, pairs=pairs)["m"])), np.int64)
    q = streams.get("q", np.zeros((len(g), 0), np.int64))
    return Sums(start, g, m[:, :width], q, m[:, width:] if pairs else None)
