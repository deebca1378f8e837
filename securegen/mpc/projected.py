"""Linear regression of a vertical split that opens less than all sums: two numbers a variant, or only those of hits.

The phenotype party projects the covariates out (stats.projection): its masked columns are an orthonormal basis and its
residual. The genotype party centres its dosages over the analysed samples, which it must therefore be told. Products
come from `vertical`, K − 1 squares from `squares`, and v = ‖g̃‖² − Σ t_k² is a sum of shares. Then either

- `uv`: u and v of every variant are opened to the phenotype party. Whoever chooses phenotypes reads genotypes from them as
  from all sums, which is why both owners name it and columns are counted; the genotype party learns nothing.
- `hits`: [T² >= threshold], and u and v where it holds, are opened to the phenotype party (`hits`). One threshold a
  cohort and phenotype, which the genotype owner's state remembers: repeated ones would bisect T².

Besides sizes the genotype party learns who is analysed; both know N, the number of covariates and the scales.
Shares of all products are kept until the cohort is through: 8 (K + 2) bytes a variant.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from securegen.errors import ProtocolError
from securegen.model import GenotypeReader, iterate_blocks
from securegen.mpc import vertical, wide
from securegen.mpc.dealer import block_dealer
from securegen.mpc.hits import deal_hits, open_hits
from securegen.mpc.session import Session
from securegen.mpc.squares import deal_squares, lift_and_square
from securegen.mpc.state import OwnerState, digest_array
from securegen.stats.projection import Scales, centred_dosages

UV, HITS = "uv", "hits"
BATCH = 1 << 13  # variants a batch of squares and comparisons


@dataclass(frozen=True)
class Pass:
    """What is public of one phenotype's pass. phenotype: its name; columns: K, the basis and the residual; threshold:
    the p-value of a hit, None for `uv`."""

    phenotype: str
    columns: int
    scales: Scales
    threshold: float | None


def deal_passes(session: Session, roles: vertical.Roles, *, threads: int = 1) -> float:
    """The dealer of all passes. Returns the seconds spent computing products."""
    busy = 0.0
    while True:
        plan = session.receive_json(roles.left, "dealer/pass")
        if plan is None:
            return busy
        if not isinstance(plan, list) or len(plan) != 3 or not all(type(v) is int and 0 <= v < 1 << 32 for v in plan):
            raise ProtocolError(f"party {roles.left!r} announced a pass that is none")
        variants, columns, hits = plan
        busy += block_dealer(session, left=roles.left, right=roles.right, bits=64, threads=threads)
        for start, stop in batches(variants):
            deal_squares(session, roles.left, roles.right, (stop - start, columns), f"squares/{start}")
            if hits:
                deal_hits(session, roles.left, roles.right, stop - start, f"hits/{start}")


def genotype_pass(
    session: Session, roles: vertical.Roles, reader: GenotypeReader, plan: Pass, analysed: np.ndarray, *, cohort: str,
    state: OwnerState, column_limit: int | None, threads: int = 1,
) -> None:  # fmt: skip
    """The genotype party's part of one phenotype. analysed: (N,) bool. Raises PolicyError for another threshold than
    before on this phenotype, and above the column limit."""
    if plan.threshold is not None:
        state.bind(
            f"threshold of {cohort}/{plan.phenotype}", repr(plan.threshold),
            "one threshold a cohort and phenotype, because several bisect the statistic of every variant",
        )  # fmt: skip
    samples, variants = len(reader.samples), len(reader.variants)
    stream = f"centred/{plan.scales.dosage_bits}/{digest_array(analysed)[:32]}"
    squares: list[np.ndarray] = []
    session.send_json(roles.dealer, "dealer/pass", [variants, plan.columns, int(plan.threshold is not None)])
    sides = vertical.genotype_side(
        session, roles, _blocks(reader, plan, analysed, squares, stream), samples=samples,
        columns=plan.columns, cohort=cohort, state=state, column_limit=column_limit, threads=threads,
    )  # fmt: skip
    shares = np.concatenate([next(iter(s.streams.values())) for s in sides])
    assert shares.shape == (variants, plan.columns)
    norms = np.concatenate(squares)
    _finish(session, roles, plan, shares, norms)


def phenotype_pass(
    session: Session, roles: vertical.Roles, x: np.ndarray, plan: Pass, *, variants: int, state: OwnerState,
    threads: int = 1,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # fmt: skip
    """The phenotype party's part. x: (N, K) int64 from `projection.basis`.

    Returns (M,) bool, which variants are opened, and their u and v: (M,) Python integers, 0 where not opened.
    """
    sides = vertical.phenotype_side(session, roles, x, state=state, use=plan.phenotype, threads=threads)
    shares = np.concatenate([next(iter(s.streams.values())) for s in sides])
    if shares.shape != (variants, plan.columns):
        raise ProtocolError(f"party {roles.left!r} sent {len(shares)} variants after announcing {variants}")
    opened = _finish(session, roles, plan, shares, None)
    assert opened is not None
    return opened


def _blocks(
    reader: GenotypeReader, plan: Pass, analysed: np.ndarray, squares: list[np.ndarray], stream: str
) -> Iterator[vertical.Block]:
    for block in iterate_blocks(reader, vertical.block_size(len(reader.samples))):
        h = centred_dosages(block, analysed, reader.dosage_grid, plan.scales)
        squares.append(wide.total_of_squares(h))
        yield vertical.Block(block.start, {stream: h})


def _finish(session: Session, roles: vertical.Roles, plan: Pass, shares: np.ndarray, norms: np.ndarray | None):
    """v, and what is opened of it, batch by batch. norms: (M, 2) of Σ g̃² at the genotype party."""
    between = (roles.left, roles.right)
    opened: list[tuple[np.ndarray, np.ndarray]] = []
    for start, stop in batches(len(shares)):
        lifted = lift_and_square(
            session, shares[start:stop], between=between, dealer=roles.dealer, step=f"squares/{start}"
        )  # fmt: skip
        u, v = lifted.x[:, -1], wide.negate(wide.total(lifted.square[:, :-1]))
        if norms is not None:
            v = wide.add(v, wide.multiply(norms[start:stop], wide.constant(1 << (2 * plan.scales.basis_bits))))
        both = np.stack([u, v], axis=1)
        if plan.threshold is None:
            whole = _open(session, roles, both, start)
            if whole is not None:
                opened.append((np.ones(len(whole), bool), whole))
            continue
        lead = wide.constant(1 << (2 * plan.scales.lead_bits))
        f = wide.subtract(wide.multiply(lifted.square[:, -1], lead), v)
        if norms is not None:
            f = wide.subtract(f, wide.constant(1))  # a constant variant, 0 >= 0, is no hit
        found = open_hits(session, f, both, between=between, dealer=roles.dealer, step=f"hits/{start}")
        if found is not None:
            opened.append(found)
    if not opened:
        return None
    values = np.concatenate([o[1] for o in opened])
    return np.concatenate([o[0] for o in opened]), wide.integers(values[:, 0]), wide.integers(values[:, 1])


def _open(session: Session, roles: vertical.Roles, both: np.ndarray, start: int) -> np.ndarray | None:
    if session.me == roles.left:
        session.send(roles.right, f"open/{start}", both)
        return None
    theirs = session.receive(roles.left, f"open/{start}", shape=both.shape, dtype=np.uint64)
    return wide.add(both, theirs)


def batches(variants: int) -> Iterable[tuple[int, int]]:
    """Ranges of variants whose squares and comparisons go together."""
    return [(start, min(start + BATCH, variants)) for start in range(0, variants, BATCH)]
