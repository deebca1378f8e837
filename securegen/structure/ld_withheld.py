"""Which variants a policy leaves out of matrices of correlations and of clumps: those whose r would be few people's genotypes.

The r of a variant with every other are sums of its carriers' genotypes, and go over the people who have both calls. So one
whom few carry is left out; one whose call few people lack, since r with and without these differ by them; one whose people
without a call are nearly those of a variant before it; and one that few tell apart of the people by whom this set of samples
differs from an earlier one.
"""

from __future__ import annotations

import numpy as np

from securegen.governance.door import LD
from securegen.governance.gate import Gate
from securegen.kernels.row_distance import planes, take_rows
from securegen.model import GenotypeReader, iterate_blocks
from securegen.results.outputs import hidden_rows
from securegen.results.people_behind import who_differ
from securegen.structure.ld import BLOCK, moments


def withheld(reader: GenotypeReader, gate: Gate) -> list[tuple[str, np.ndarray]]:
    """What is said of variants that a policy leaves out, and which, (M,) bool each; empty where it has no floor. reader: with
    the variants of the gate's people, in one pass."""
    floor = gate.minor_alleles
    if not floor:
        return []
    m = moments(reader)
    rare = who_differ(m.called, m.dosage, m.square, grid=reader.dosage_grid) < floor
    lacking = len(reader.samples) - m.called
    few = (lacking > 0) & (lacking < floor)
    return [
        (f"with fewer than {floor} carriers (policy)", rare),
        (f"whose call fewer than {floor} people lack (policy)", few),
        (f"that fewer than {floor} tell apart of who is here and not in an earlier table, or the reverse (policy)",
         hidden_rows(gate, LD, len(reader.variants))),
    ]  # fmt: skip


def lacking_apart(reader: GenotypeReader, allowed: np.ndarray, floor: int) -> np.ndarray:
    """(M,) bool: allowed variants, (M,) bool, but those whose people without a call differ from those of one taken before by 1 to
    floor − 1 people. Memory: a bit a genotype, twice."""
    parts = [
        planes(np.zeros(b.dosage.shape, np.uint8) if b.missing is None else b.missing.astype(np.uint8))
        for b in iterate_blocks(reader, BLOCK)
    ]
    odd, high = (np.concatenate([p[i] for p in parts]) for i in (0, 1))
    at = np.arange(len(allowed))
    return take_rows(odd, high, len(reader.samples), at, allowed, window=len(at), least=floor)
