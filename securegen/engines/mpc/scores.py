"""Scores Σ_j w_j g_ij of private weights on private genotypes, opened to the party that holds the people.

The same product as vertical.py with the roles of the axes exchanged: the sum runs over variants, so the dealer's part
is one small matrix for the whole genome.

| message | from | to | bytes |
|---|---|---|---|
| key of a; of b | genotypes; model | dealer | 16 each |
| ε = g − a, block by block | genotypes | model | 8 a variant and person |
| δ = w − b, block by block | model | genotypes | 8 a variant and score |
| key of the c share; the other c share | dealer | genotypes; model | 16; 8 a person and score |
| share of the scores | model | genotypes | 8 a person and score |

The genotype party learns the exact scores of its people: each is one linear equation in the weights, so the model's
owner counts them over the life of the model and refuses above its limit: weights are private only below a cap. The model's
owner learns the sizes and who asked. Semi-honest, and a dealer that colludes with neither.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from securegen.engines.mpc.dealer import CORRELATION, LEFT_MASK, RIGHT_MASK
from securegen.engines.mpc.net.session import Session
from securegen.engines.mpc.shares.additive import from_ring, ring_dtype
from securegen.engines.mpc.shares.prg import words
from securegen.engines.mpc.shares.ring import matmul_ring
from securegen.engines.mpc.state_file import StateFile
from securegen.engines.mpc.vertical import Roles
from securegen.randomness import fresh_key


def people_side(
    session: Session, roles: Roles, blocks: Iterable[np.ndarray], *, people: int, scores: int, bits: int = 64,
    threads: int = 1,
) -> np.ndarray:  # fmt: skip
    """The genotype party's part: blocks of (V, people) integer dosages; returns (people, scores) int64, exact.

    bits: of the ring, 64, or 32 where every score is certain to be below 2^31 in size.
    """
    dtype = ring_dtype(bits)
    key = fresh_key()
    session.send_json(roles.dealer, "dealer/sizes", [people, scores, bits])
    session.send_key(roles.dealer, "dealer/key", key)
    total = np.zeros((people, scores), dtype)
    number = 0
    for number, g in enumerate(blocks, 1):
        if g.shape[1] != people:
            raise ValueError(f"a block has {g.shape[1]} people, {people} expected")
        mask = words(key, LEFT_MASK, number=number - 1, shape=g.shape, dtype=dtype)
        session.send_json(roles.dealer, f"dealer/block/{number - 1}", [len(g)])
        np.subtract(g, mask, out=mask, dtype=dtype, casting="unsafe")
        session.send(roles.right, f"scores/epsilon/{number - 1}", mask)
        delta = session.receive(roles.right, f"scores/delta/{number - 1}", shape=(len(g), scores), dtype=dtype)
        total += matmul_ring(g, delta, threads=threads)
    session.send_json(roles.dealer, f"dealer/block/{number}", [0])
    key_c = session.receive_key(roles.dealer, "dealer/correlation key")
    total += words(key_c, CORRELATION, number=0, shape=total.shape, dtype=dtype)
    return from_ring(total + session.receive(roles.right, "scores/share", shape=total.shape, dtype=dtype))


def model_side(
    session: Session, roles: Roles, weights: Iterable[np.ndarray], *, people: int, scores: int, model: str,
    state: StateFile, reply_cap: int, charged: int = 0, constant: np.ndarray | None = None, bits: int = 64,
    threads: int = 1,
) -> None:  # fmt: skip
    """The model owner's part: blocks of (V, scores) integer weights, in the blocks of the genotype party.

    constant: (scores,) integers added to every person's scores.
    model: the name under which `state` counts; reply_cap: scores it may ever answer to this peer; charged: how many of
    this run's are counted already. Raises PolicyError before anything is sent when people × scores would exceed it.
    """
    charge(state, model, roles.left, people * scores - charged, limit=reply_cap)
    dtype = ring_dtype(bits)
    key = fresh_key()
    session.send_key(roles.dealer, "dealer/key", key)
    total = np.zeros((people, scores), dtype)
    if constant is not None:
        total += constant.astype(np.int64).astype(dtype)
    for number, w in enumerate(weights):
        if w.shape[1] != scores:
            raise ValueError(f"a block has {w.shape[1]} scores, {scores} expected")
        b = words(key, RIGHT_MASK, number=number, shape=w.shape, dtype=dtype)
        session.send(
            roles.left, f"scores/delta/{number}", w.astype(np.int64).astype(dtype) - b
        )  # mod 2^bits, as sums are
        epsilon = session.receive(roles.left, f"scores/epsilon/{number}", shape=(len(w), people), dtype=dtype)
        total += matmul_ring(epsilon, b, threads=threads)
    total += session.receive(roles.dealer, "dealer/c", shape=total.shape, dtype=dtype)
    session.send(roles.left, "scores/share", total)


def charge(state: StateFile, model: str, client: str, answers: int, *, limit: int) -> None:
    """Count scores of a model that a client was answered. Raises PolicyError above the limit; nothing is counted then."""
    state.spend(f"scores of model {model} to {client}", answers, limit=limit)
