"""Cross products gᵀy computed by two servers on data of others: the owners send masked data and go away.

Each mask is the sum of two, one a server: a = a_0 + a_1 for the genotypes, b = b_0 + b_1 for the phenotypes. Both
servers hold ε = g − a and δ = y − b, which are uniform, and server i computes
z_i = εᵀ(b_i + [i = 0] δ) + a_iᵀ δ + c_i without a word to the other; z_0 + z_1 = gᵀy, since c_0 + c_1 = aᵀb.

| message | from | to | bytes |
|---|---|---|---|
| ε, and the key of a_i a block | genotype owner | server i | 8 a sample and variant, once in a study's life |
| δ, and the key of b_i | phenotype owner | server i | 8 a sample and column |
| both keys of a; of b | the owners | dealer | 32 a block; 32 |
| key of c_0; c_1 | dealer | server 0; 1 | 16; 8 a variant and column |
| z_i | server i | receiver | 8 a variant and column |

The receiver learns the sums, the servers and the dealer the sizes. Semi-honest; any two of {server 0, server 1, dealer}
together can unmask everything, one alone nothing. A second batch of phenotypes sends no genotypes: the servers keep ε.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from securegen.engines.mpc.dealer import CORRELATION, LEFT_MASK, RIGHT_MASK, sum_of_words
from securegen.engines.mpc.masked_store import MaskedStore
from securegen.engines.mpc.net.session import Session
from securegen.engines.mpc.shares.additive import from_ring, ring_dtype, to_ring
from securegen.engines.mpc.shares.prg import derive_key, words
from securegen.engines.mpc.shares.ring import matmul_ring
from securegen.engines.mpc.state_file import StateFile, digest_array
from securegen.engines.mpc.vertical import Block, announced, charge
from securegen.errors import ProtocolError
from securegen.randomness import fresh_key, keystream


@dataclass(frozen=True)
class OutsourcedRoles:
    """Names of the parties: the owners, the two servers in order, the dealer, and who receives the sums."""

    left: str
    right: str
    servers: tuple[str, str]
    dealer: str
    receiver: str


def genotype_owner(
    session: Session, roles: OutsourcedRoles, blocks: Iterable[Block], *, samples: int, columns: int, cohort: str,
    state: StateFile, column_limit: int | None = None, charged: bool = False, bits: int = 64, resend: bool = True,
) -> None:  # fmt: skip
    """Send masked genotypes and keys (see vertical.genotype_side for the arguments); noise for rows that are withheld."""
    if not charged:
        charge(state, cohort, columns, samples=samples, column_limit=column_limit)
    dtype = ring_dtype(bits)
    session.send_json(roles.dealer, "dealer/sizes", [samples, columns, bits])
    number = 0
    for block in blocks:
        marks, keys = {}, {}
        for name, values in block.streams.items():
            key = state.mask_key(cohort, block.mask(name, str(bits), "outsourced/"), digest_array(values))
            keys[name] = [derive_key(key, "server 0"), derive_key(key, "server 1")]
            marks[name] = hashlib.sha256(key).hexdigest()[:32]
            width = len(values)
        for server in roles.servers:
            session.send_json(
                server, "outsourced/block", {"start": block.start, "width": width, "streams": list(marks.items())}
            )
        for name, values in block.streams.items():
            if values.shape != (width, samples):
                raise ValueError(f"a stream has shape {values.shape}, {(width, samples)} expected")
            session.send_json(roles.dealer, f"dealer/block/{number}", [width])
            for i, server in enumerate(roles.servers):
                session.send_key(roles.dealer, f"dealer/block key/{number}/{i}", keys[name][i])
                session.send_key(server, f"outsourced/block key/{number}", keys[name][i])
            if resend:
                epsilon = sum_of_words(keys[name], LEFT_MASK, (samples, width), dtype)
                np.subtract(values.T, epsilon, out=epsilon, dtype=dtype, casting="unsafe")
                if block.withheld is not None:  # the products of these rows are then of nobody's genotypes
                    epsilon[:, block.withheld] = _noise(samples, int(block.withheld.sum()), dtype)
                for server in roles.servers:
                    session.send(server, f"outsourced/epsilon/{number}", epsilon)
            number += 1
    session.send_json(roles.dealer, f"dealer/block/{number}", [0])
    for server in roles.servers:
        session.send_json(server, "outsourced/block", {"start": 0, "width": 0, "streams": []})


def _noise(rows: int, columns: int, dtype: np.dtype) -> np.ndarray:
    return keystream(fresh_key(), 0, rows * columns * dtype.itemsize).view(dtype).reshape(rows, columns)


def phenotype_owner(
    session: Session, roles: OutsourcedRoles, y: np.ndarray, *, state: StateFile, bits: int = 64, use: str = ""
) -> None:
    """Send masked phenotypes y (N, K) and keys; the masks are drawn for this call. use: its name, where a session has
    several."""
    keys = [fresh_key(), fresh_key()]
    state.claim(f"phenotypes/{session.id.hex()}{use and '/'}{use}", digest_array(y))
    delta = to_ring(y, bits) - sum_of_words(keys, RIGHT_MASK, y.shape, ring_dtype(bits))
    for i, server in enumerate(roles.servers):
        session.send_key(roles.dealer, f"dealer/key/{i}", keys[i])
        session.send_key(server, "outsourced/key", keys[i])
        session.send(server, "outsourced/delta", delta)


def server(
    session: Session, roles: OutsourcedRoles, *, samples: int, columns: int, bits: int = 64,
    store: MaskedStore | None = None, resend: bool = True, opened: dict[str, list[int]] | None = None, threads: int = 1,
) -> None:  # fmt: skip
    """A server's part: multiply block by block and send its share of the sums to the receiver.

    opened: for each stream the columns that the receiver gets (default: all).
    """
    dtype = ring_dtype(bits)
    first = session.me == roles.servers[0]
    shape = (samples, columns)
    key_c = session.receive_key(roles.dealer, "dealer/correlation key") if first else b""
    b = words(session.receive_key(roles.right, "outsourced/key"), RIGHT_MASK, number=0, shape=shape, dtype=dtype)
    delta = session.receive(roles.right, "outsourced/delta", shape=shape, dtype=dtype)
    if first:
        b = b + delta
    number = 0
    while True:
        start, width, marks = announced(session.receive_json(roles.left, "outsourced/block"), roles.left)
        session.send_json(roles.receiver, "outsourced/result", {"start": start, "width": width, "streams": marks})
        if width == 0:
            return
        for name, mark in marks:
            key = session.receive_key(roles.left, f"outsourced/block key/{number}")
            block = (samples, width)
            if resend:
                epsilon = session.receive(roles.left, f"outsourced/epsilon/{number}", shape=block, dtype=dtype)
                if store:
                    store.put(name, start, mark, epsilon)
            else:
                if store is None:
                    raise ProtocolError(f"party {roles.left!r} sends no masked genotypes, and none are kept here")
                epsilon = store.get(name, start, mark, shape=block, dtype=dtype)
            z = matmul_ring(epsilon, b, threads=threads)
            z += matmul_ring(words(key, LEFT_MASK, number=0, shape=block, dtype=dtype), delta, threads=threads)
            if first:
                z += words(key_c, CORRELATION, number=number, shape=z.shape, dtype=dtype)
            else:
                z += session.receive(roles.dealer, f"dealer/c/{number}", shape=z.shape, dtype=dtype)
            session.send(roles.receiver, f"outsourced/z/{number}", z[:, opened[name]] if opened else z)
            number += 1


def receive_sums(
    session: Session,
    roles: OutsourcedRoles,
    *,
    columns: int,
    opened: dict[str, list[int]] | None = None,
    bits: int = 64,
) -> Iterator[Block]:
    """The receiver's part: yields blocks whose streams are (V, K) int64 sums; opened: as the servers have it."""
    dtype = ring_dtype(bits)
    number = 0
    while True:
        heads = [session.receive_json(s, "outsourced/result") for s in roles.servers]
        if heads[0] != heads[1]:
            raise ProtocolError(f"servers {roles.servers[0]!r} and {roles.servers[1]!r} announced different blocks")
        start, width, marks = announced(heads[0], roles.servers[0])
        if width == 0:
            return
        sums = {}
        for name, _ in marks:
            step = f"outsourced/z/{number}"
            shape = (width, len(opened[name]) if opened else columns)
            z = [session.receive(s, step, shape=shape, dtype=dtype) for s in roles.servers]
            sums[name] = from_ring(z[0] + z[1])
            number += 1
        yield Block(start, sums)
