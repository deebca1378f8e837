"""The conversation of the sites: messages that each say on which others they depend, and sums that cancel masks.

A step of a sum is one message a site: its numbers, one integer modulo 2^W a row (`fields`), plus a mask for every other
site, + towards later names, − towards earlier ones. The masks cancel in the sum of all sites, of this step, as all of them
read what came before; in anything else they are uniform: in a part, beside another step's message, beside what a site made
up, or where two sites were shown different messages. A mask's key is HKDF(k_ij, E ‖ step ‖ rows ‖ widths), E the digest of
the study and of every message on which the numbers of this step depend.

Trust: a sum hides sites, not people; which sums may be opened is for `checks` and for the study file. What a deviating site
can do is in docs/explanation/threat-model-federated.md.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any, NoReturn

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from securegen.engines.federated.conversation import Conversation
from securegen.engines.federated.fields import MOST_BITS, Layout
from securegen.engines.federated.messages import Message
from securegen.engines.federated.pair_keys import PairKeys, derive
from securegen.errors import ArtefactError, PlanError, PolicyError, ProtocolError
from securegen.governance.signing import canonical, sha256
from securegen.io.schema import hex_text, integer, list_of, record
from securegen.randomness import keystream

SumCheck = Callable[[np.ndarray, np.ndarray], None]
OUT_OF_BOUNDS = "a total is not what the people of these sites can give; the study has ended and nothing more is opened"
_SHAPE = record(
    rows=integer(0, 1 << 24), widths=list_of(integer(2, MOST_BITS), 1, 1 << 14), may_have={"salt": hex_text(32)}
)
PIECE, TOGETHER = 1 << 25, 4  # bytes of a message of one sum of rows, and how many of them are posted at once
_COMMIT = record(commitment=hex_text(32))
_COMPUTED = record(numbers=hex_text(32), mark=hex_text(32))


@dataclass(frozen=True)
class Step:
    """One sum of rows. widths: bits of each field; make(): the own rows, (count, fields); bounds: largest |total| of each
    field, None where the width says it; check(own, total) raises PolicyError to end the study."""

    name: str
    count: int
    widths: tuple[int, ...]
    make: Callable[[], np.ndarray]
    bounds: tuple[int | None, ...] | None = None
    check: SumCheck | None = None


def not_below_own(own: np.ndarray, total: np.ndarray) -> None:
    """Of numbers that are never negative, such as a site's votes: a site that sets the total cannot take another's out of it.
    Raises PolicyError."""
    if any(int(t) < int(o) for t, o in zip(total.ravel(), own.ravel(), strict=True)):
        raise PolicyError(OUT_OF_BOUNDS)


def mask_context(step: str, after: str, layout: Layout) -> bytes:
    """What a mask is for: E, step, rows and widths."""
    return canonical({"after": after, "step": step, "rows": layout.rows, "widths": list(layout.widths)})


def commitment(message: Message) -> str:
    """What is said of a masked message before anybody shows one; its salt hides it."""
    return sha256(b"securegen commitment", message.digest.encode())


class SecureSum:
    """Sums over the sites. keys: None after the end of the study, when only known totals are left.

    opened: name -> (rows, fields) of every sum so far, for the receipt; checks: called with (own, total) of every sum.
    """

    def __init__(self, session: Conversation, keys: PairKeys | None, checks: Sequence[SumCheck] = ()) -> None:
        self._session, self._keys, self.checks = session, keys, tuple(checks)
        self._committed: dict[str, dict[str, str]] = {}
        self._steps = 0
        self.opened: dict[str, tuple[int, int]] = {}
        self.field_bytes = self.row_bytes = 0

    @property
    def site(self) -> str:
        """Whose sums these are."""
        return self._session.site

    def refuse(self, reason: str) -> NoReturn:
        """End the study for this site. Raises PolicyError, now and at every later start."""
        self._session.end(reason)

    def agree(self, name: str, *integers: np.ndarray) -> None:
        """Let the sums that follow depend on integers (int64) that every site computes by itself from opened totals.

        It costs no message: the next one has a mark of them, under a key that the sites share, and masks cancel between
        equal marks alone. Then the next sum raises ProtocolError naming the sites that have other integers, and opens
        nothing. Raises ArtefactError where this site had others when it was here before. One name, once in a study.
        """
        numbers = sha256(*(canonical(a.shape) + np.ascontiguousarray(a, "<i8").tobytes() for a in integers))
        state, after = self._session.state, self._session.transcript

        def make() -> dict[str, str]:
            senders = self._agreed().senders
            key = derive(b"".join(senders[n] for n in sorted(senders)), "computed", canonical([name, after]))
            return {"numbers": numbers, "mark": hmac.new(key, numbers.encode(), hashlib.sha256).hexdigest()}

        kept = state.remember(f"computed.{name}", make, _COMPUTED)
        if kept["numbers"] != numbers:
            raise ArtefactError(f"{name} came out otherwise than before, from the same totals: start another study")
        self._session.depend_on(name, kept["mark"])

    def total(self, values: Sequence[int], check: SumCheck | None = None) -> list[int]:
        """Exact sums of Python integers (below 2^255 in all) over the sites: the `SumOverSites` of a federated study."""
        self._steps += 1
        most = (1 << (MOST_BITS - 1)) // len(self._session.study.sites)
        if any(not -most < v < most for v in values):
            raise PlanError(f"an exact sum of this site does not fit {MOST_BITS} bits")
        own = np.array([[int(v)] for v in values], object).reshape(len(values), 1)
        rows = self.rows(f"design-{self._steps:04d}", len(values), (MOST_BITS,), lambda: own, check=check)
        return [int(v) for v in rows[:, 0]]

    def rows(
        self, name: str, count: int, widths: Sequence[int], make: Callable[[], np.ndarray], *,
        bounds: tuple[int | None, ...] | None = None, check: SumCheck | None = None,
    ) -> np.ndarray:  # fmt: skip
        """Totals over the sites, (count, fields): int64 when every field has at most 63 bits, else Python integers.

        widths: bits of each field, public and equal at every site; make(): the own rows; check: of rows each by itself, for
        those that no message holds are several. Raises ProtocolError (names the site), PeerError (names the silent ones),
        PlanError (a number is too wide), PolicyError (a check refuses).
        """
        size = max(1, PIECE // Layout(count, tuple(widths)).row_bytes)
        if count <= size:
            return next(self.together([Step(name, count, tuple(widths), make, bounds, check)]))
        make = cache(make)
        pieces = [
            Step(
                f"{name}-{first // size:04d}", min(size, count - first), tuple(widths),
                partial(lambda at: make()[at : at + size], first), bounds, check,
            )
            for first in range(0, count, size)
        ]  # fmt: skip
        found: list[np.ndarray] = []
        for at in range(0, len(pieces), TOGETHER):
            found += self.together(pieces[at : at + TOGETHER])
        return np.concatenate(found)

    def together(self, steps: Sequence[Step]) -> Iterator[np.ndarray]:
        """Totals of steps that do not depend on each other: all are posted before the first is opened."""
        session, known = self._session, {}
        own: dict[str, Message] = {}
        after = session.transcript
        steps = [replace(s, make=cache(s.make)) for s in steps]
        for s in steps:
            layout = Layout(s.count, s.widths)
            known[s.name] = self._known(s.name, layout)
            if known[s.name] is None and s.count:
                own[s.name] = session.made(s.name, partial(self._masked, s, layout, after), after)
        if session.study.commit:
            self._commit(steps, own, after)
        for name, message in own.items():
            session.post(name, message)
        for s in steps:
            layout, total = Layout(s.count, s.widths), known[s.name]
            if total is None:
                total = self._open(s, layout, own[s.name], after) if s.count else layout.decode(layout.unpack(b""))
            elif s.count and s.name not in self.opened:
                session.take_up(s.name)
            self._count(s.name, layout)
            yield total

    def _count(self, name: str, layout: Layout) -> None:
        if name not in self.opened:
            self.row_bytes += layout.size
            self.field_bytes += layout.rows * layout.bits // 8
        self.opened[name] = (layout.rows, len(layout.widths))

    def _known(self, name: str, layout: Layout) -> np.ndarray | None:
        raw = self._session.state.get(f"total.{name}")
        if raw is None:
            return None
        if len(raw) != layout.size:
            raise ArtefactError(f"{self._session.state.folder} has totals of other sums than this study's: {name}")
        return layout.decode(layout.unpack(raw))

    def _agreed(self) -> PairKeys:
        if self._keys is None:
            raise PolicyError("this site has finished the study and deleted its keys: start another study")
        return self._keys

    def _masked(self, step: Step, layout: Layout, after: str) -> tuple[dict[str, Any], bytes]:
        """The own rows under masks and under this site's sender key."""
        me, keys = self._session.site, self._agreed()
        context = mask_context(step.name, after, layout)
        words = layout.encode(step.make())
        for other, key in keys.pairs.items():
            mask = layout.unpack(keystream(derive(key, "mask", context), 0, layout.size))
            words = (layout.add if me < other else layout.subtract)(words, mask)
        sealed = AESGCM(derive(keys.senders[me], "array", context)).encrypt(bytes(12), layout.pack(words), context)
        salt = {"salt": secrets.token_hex(32)} if self._session.study.commit else {}
        return {"rows": layout.rows, "widths": list(layout.widths)} | salt, sealed

    def _commit(self, steps: Sequence[Step], own: dict[str, Message], after: str) -> None:
        """Every site says the digest of its masked message before any shows one."""
        session = self._session
        said = {}
        for name, message in own.items():
            value = {"commitment": commitment(message)}
            said[name] = session.made(f"{name}.commit", partial(lambda v: (v, None), value), after)
        for name, message in said.items():
            session.post(f"{name}.commit", message)
        for s in steps:
            if s.name in said:
                found = session.gather(f"{s.name}.commit", said[s.name], after)
                self._committed[s.name] = {n: session.checked(m, _COMMIT)["commitment"] for n, m in found.items()}
            elif s.count and s.name not in self.opened:
                session.take_up(f"{s.name}.commit")

    def _open(self, step: Step, layout: Layout, own: Message, after: str) -> np.ndarray:
        session, keys = self._session, self._agreed()
        messages = session.gather(step.name, own, after)
        context = mask_context(step.name, after, layout)
        words = np.zeros_like(layout.unpack(bytes(layout.size)))
        for site, message in messages.items():
            words = layout.add(words, self._rows_of(site, message, layout, context, keys))
        total = layout.decode(words)
        self._check(step, total)
        session.state.put(f"total.{step.name}", layout.pack(words))
        return total

    def _rows_of(self, site: str, message: Message, layout: Layout, context: bytes, keys: PairKeys) -> np.ndarray:
        """One site's masked rows. Raises ProtocolError naming it."""
        session = self._session
        told = session.checked(message, _SHAPE)
        if (told["rows"], told["widths"]) != (layout.rows, list(layout.widths)):
            raise ProtocolError(f"site {site} sums other numbers in {message.step} than this site")
        if session.study.commit and self._committed[message.step][site] != commitment(message):
            raise ProtocolError(f"site {site} opened something else in {message.step} than it had committed to")
        if len(message.payload) != layout.size + 16:
            raise ProtocolError(
                f"site {site} sent {len(message.payload)} bytes in {message.step}, not {layout.size + 16}"
            )
        try:
            raw = AESGCM(derive(keys.senders[site], "array", context)).decrypt(bytes(12), message.payload, context)
        except InvalidTag:
            raise ProtocolError(f"site {site} sent rows in {message.step} that are not under its key") from None
        return layout.unpack(raw)

    def _check(self, step: Step, total: np.ndarray) -> None:
        """Raise PolicyError, now and ever after, for a total that the sites' people cannot give or a rule refuses."""
        bounds = step.bounds or (None,) * len(step.widths)
        for column, bound in zip(total.T, bounds, strict=True):
            if bound is not None and len(column) and max(-int(column.min()), int(column.max())) > bound:
                self._session.end(OUT_OF_BOUNDS)
        for check in (*self.checks, *([step.check] if step.check else [])):
            try:
                check(step.make(), total)
            except PolicyError as error:
                self._session.end(str(error))
