"""Cross products gᵀy of genotypes at one party and phenotypes at another, as additive shares.

Beaver's multiplication for matrices, with the genotypes masked once: the genotype party opens ε = g − a to the
phenotype party, which opens δ = y − b; then gᵀy = gᵀδ + εᵀb + c with c = aᵀb from the dealer. ε serves every
phenotype: a further column costs 8 bytes of δ a sample, and 8 bytes of c and 8 of the opened result a variant; a later
session with other phenotypes reuses the stored ε.

| message | from | to | bytes |
|---|---|---|---|
| sizes, and a key per block | genotypes | dealer | 16 a block |
| key of b | phenotypes | dealer | 16 |
| key of the c share | dealer | genotypes | 16 |
| the other c share | dealer | phenotypes | 8 a variant and column (and chunk) |
| δ = y − b | phenotypes | genotypes | 8 a sample and column |
| ε = g − a (once in the life of a study) | genotypes | phenotypes | 8 a sample and variant |

Each party learns the sizes, and which blocks have which streams (a block without missing calls has no stream m);
nothing else until somebody opens the shares. In a 32-bit ring the bytes halve. Semi-honest parties; the dealer must
not collude with either. What is opened afterwards is a separate decision: whoever gets as many exact sums as there are
samples, and knows the other factor, solves for it (docs/explanation/threat-model-mpc.md), so the genotype party counts columns.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from securegen.engines.mpc.dealer import CORRELATION, LEFT_MASK, RIGHT_MASK
from securegen.engines.mpc.masked_store import MaskedStore
from securegen.engines.mpc.net.session import Session
from securegen.engines.mpc.shares.additive import from_ring, ring_dtype, to_ring
from securegen.engines.mpc.shares.prg import words
from securegen.engines.mpc.shares.radix import messages
from securegen.engines.mpc.shares.ring import matmul_chunks
from securegen.engines.mpc.state_file import StateFile, columns_answered, digest_array
from securegen.errors import ProtocolError
from securegen.kernels import fields
from securegen.randomness import fresh_key


@dataclass(frozen=True)
class Roles:
    """Who is who: left holds the genotypes (or dosages), right the phenotypes (or weights)."""

    left: str
    right: str
    dealer: str


@dataclass(frozen=True)
class Block:
    """Consecutive variants from `start`. streams: name to (V, N) integers, such as g, m (missing) and q (g²); withheld:
    (V,) bool, rows of which noise is sent, None for none; recoded: by which genetic model, '' for none: other data, with
    other masks; place: what tells them from other blocks of that start (`runs.VariantRun.place`), since a mask covers one."""

    start: int
    streams: dict[str, np.ndarray]
    withheld: np.ndarray | None = None
    recoded: str = ""
    place: str = ""

    def mask(self, stream: str, ring: str, split: str = "") -> str:
        """The name of the mask of a stream."""
        return f"{split}{self.recoded}{stream}/{self.start}/{ring}{self.place and '/'}{self.place}"


@dataclass(frozen=True)
class BlockShares:
    """One party's share of every stream's product: name to (V, chunks·K) ring elements, the sums of each chunk of samples."""

    start: int
    streams: dict[str, np.ndarray]


def block_size(samples: int, bits: int = 64) -> int:
    """Variants a block so that a masked block has about 16 MiB: it overlaps well and its memory is used again.

    >>> block_size(10_000), block_size(500_000)
    (209, 4)
    """
    return max(1, (1 << 24) // (samples * bits // 8))


def genotype_side(
    session: Session, roles: Roles, blocks: Iterable[Block], *, samples: int, columns: int, cohort: str,
    state: StateFile, column_limit: int | None = None, charged: bool = False, bits: int = 64,
    widths: Mapping[str, int] | None = None, chunk: int | None = None, resend: bool = True, threads: int = 1,
) -> Iterator[BlockShares]:  # fmt: skip
    """The genotype party's part: yields its shares block by block, as fast as blocks come.

    cohort: the name under which `state` keeps the masks; column_limit: lifetime number of phenotype columns answered
    for this cohort, `charge`, unless the caller has charged them already. widths: bits of each stream's ring, where these
    are fewer than `bits`; chunk: samples that are summed together (default: all).
    resend=False when the phenotype party kept ε from an earlier session. Raises PolicyError before anything is sent
    when the limit is reached or masked data has changed.
    """
    if not charged:
        charge(state, cohort, columns, samples=samples, column_limit=column_limit)
    dtype = ring_dtype(bits)
    rows = chunk or samples
    session.send_json(roles.dealer, "dealer/sizes", [samples, columns, bits, rows])
    key_c = session.receive_key(roles.dealer, "dealer/correlation key")
    delta = session.receive(roles.right, "vertical/delta", shape=(samples, columns), dtype=dtype)
    number = 0
    for block in blocks:
        names = list(block.streams)
        width = len(block.streams[names[0]])
        keys = {
            n: state.mask_key(cohort, block.mask(n, _ring(n, widths, bits)), digest_array(block.streams[n]))
            for n in names
        }
        marks = {n: hashlib.sha256(key).hexdigest()[:32] for n, key in keys.items()}
        session.send_json(
            roles.right, "vertical/block", {"start": block.start, "width": width, "streams": list(marks.items())}
        )
        for i, name in enumerate(names):
            session.send_json(roles.dealer, f"dealer/block/{number + i}", [width, int(name == names[-1])])
            session.send_key(roles.dealer, f"dealer/block key/{number + i}", keys[name])
        shares = {}
        for together in messages(names, widths):
            streams = [np.ascontiguousarray(block.streams[name].T) for name in together]
            if resend:
                masked = [cover(g, keys[name], dtype) for name, g in zip(together, streams, strict=True)]
                session.send(
                    roles.right, f"vertical/epsilon/{number}",
                    masked[0] if widths is None else fields.pack(masked, [widths[n] for n in together], threads=threads),
                )  # fmt: skip
            for name, g in zip(together, streams, strict=True):
                if g.shape != (samples, width):
                    raise ValueError(f"a stream has shape {g.shape}, {(samples, width)} expected")
                shares[name] = matmul_chunks(g, delta, rows, threads=threads)
                shares[name] += words(key_c, CORRELATION, number=number, shape=shares[name].shape, dtype=dtype)
                number += 1
        yield BlockShares(block.start, shares)
    session.send_json(roles.dealer, f"dealer/block/{number}", [0, 1])
    session.send_json(roles.right, "vertical/block", {"start": 0, "width": 0, "streams": []})


def phenotype_side(
    session: Session, roles: Roles, y: np.ndarray, *, state: StateFile, bits: int = 64,
    widths: Mapping[str, int] | None = None, chunk: int | None = None, store: MaskedStore | None = None,
    resend: bool = True, use: str = "", threads: int = 1,
) -> Iterator[BlockShares]:  # fmt: skip
    """The phenotype party's part. y: (N, K) integers; yields its shares block by block. use: a name of this batch where
    a session has several; widths, chunk: as the genotype party has them.

    store keeps ε for later sessions (8 bytes per genotype on disk); with resend=False ε comes from it. Raises
    ProtocolError when the genotype party announces a block that the store does not hold.
    """
    dtype = ring_dtype(bits)
    samples, columns = y.shape
    key = fresh_key()
    state.claim(f"phenotypes/{session.id.hex()}{use and '/'}{use}", digest_array(y))
    b = words(key, RIGHT_MASK, number=0, shape=(samples, columns), dtype=dtype)
    session.send_key(roles.dealer, "dealer/key", key)
    session.send(roles.left, "vertical/delta", to_ring(y, bits) - b)
    number = 0
    while True:
        start, width, marks = announced(session.receive_json(roles.left, "vertical/block"), roles.left)
        if width == 0:
            return
        known, shares = dict(marks), {}
        if widths is not None and not known.keys() <= widths.keys():
            raise ProtocolError(f"party {roles.left!r} announced a stream that this run does not have")
        for together in messages(list(known), widths):
            if resend:
                masked = _received(session, roles, number, together, (samples, width), dtype, widths, threads)
                for name, epsilon in zip(together, masked, strict=True):
                    if store:
                        store.put(name, start, known[name], epsilon)
            else:
                if store is None:
                    raise ProtocolError(f"party {roles.left!r} sends no masked genotypes, and none are kept here")
                masked = [store.get(n, start, known[n], shape=(samples, width), dtype=dtype) for n in together]
            for name, epsilon in zip(together, masked, strict=True):
                shares[name] = matmul_chunks(epsilon, b, chunk or samples, threads=threads)
                shares[name] += session.receive(
                    roles.dealer, f"dealer/c/{number}", shape=shares[name].shape, dtype=dtype
                )
                number += 1
        yield BlockShares(start, shares)


def _received(
    session: Session, roles: Roles, number: int, names: Sequence[str], shape: tuple[int, int], dtype: np.dtype,
    widths: Mapping[str, int] | None, threads: int,
) -> list[np.ndarray]:  # fmt: skip
    """ε of streams that travel together."""
    step = f"vertical/epsilon/{number}"
    if widths is None:
        return [session.receive(roles.left, step, shape=shape, dtype=dtype)]
    bits = [widths[n] for n in names]
    planes = session.receive(roles.left, step, shape=(fields.record_bytes(bits), *shape), dtype=np.uint8)
    return fields.unpack(planes, bits, dtype, threads=threads)


def _ring(name: str, widths: Mapping[str, int] | None, bits: int) -> str:
    """A mask's words and ring: the same words cut elsewhere would cover the data twice."""
    return str(bits) if widths is None else f"{bits}.{widths[name]}"


def charge(state: StateFile, cohort: str, columns: int, *, samples: int, column_limit: int | None) -> None:
    """Count columns that a cohort answers, of at most `columns_answered` in its life.

    Raises PolicyError above the limit; nothing is counted then.
    """
    state.spend(f"columns of cohort {cohort}", columns, limit=columns_answered(samples, column_limit))


def cover(g: np.ndarray, key: bytes, dtype: np.dtype) -> np.ndarray:
    """g − a in the ring, a the left mask of `key`. g: (N, V) integers."""
    mask = words(key, LEFT_MASK, number=0, shape=g.shape, dtype=dtype)
    np.subtract(g, mask, out=mask, dtype=dtype, casting="unsafe")
    return mask


def reveal(
    session: Session, share: np.ndarray, *, step: str, between: tuple[str, str], to: str | None
) -> np.ndarray | None:
    """Open a share of two parties to `to` (None: to both). Returns int64, or None at a party that does not learn it."""
    other = between[1] if session.me == between[0] else between[0]
    if to in (None, other):
        session.send(other, step, share)
    if to not in (None, session.me):
        return None
    return from_ring(share + session.receive(other, step, shape=share.shape, dtype=share.dtype))


def announced(value: object, sender: str) -> tuple[int, int, list[tuple[str, str]]]:
    """start, width and (stream, mask mark) pairs of the block that `sender` announced; width 0 is the end."""
    if isinstance(value, dict) and set(value) == {"start", "width", "streams"}:
        start, width, marks = value["start"], value["width"], value["streams"]
        sized = type(start) is int and type(width) is int and start >= 0 and 0 <= width < 1 << 32
        if sized and isinstance(marks, list) and all(_is_pair(m) for m in marks):
            return start, width, [(name, mark) for name, mark in marks]
    raise ProtocolError(f"party {sender!r} announced a malformed block")


def _is_pair(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(isinstance(v, str) and len(v) <= 64 for v in value)
