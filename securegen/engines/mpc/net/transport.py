"""A mesh of parties: arrays and JSON go out in the background, arrive in order, and every failure reaches everybody.

Trust: the peers are authenticated (connect.py); what they send is not believed to be well-formed. A frame of another
session, a sequence number that was seen before or skipped, or an unexpected step, dtype or shape ends the session.
A party that fails, for whatever reason, tells the others why before it closes, so that no party waits in vain; a party
that is killed is noticed by its closed connection, one that hangs by the timeout. The text of an abort never depends
on data: of an error outside the transport only the class is told.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable

import numpy as np
from numpy.typing import DTypeLike

from securegen.engines.mpc.net.connect import Links
from securegen.engines.mpc.net.frames import (
    ABORT,
    ARRAY,
    GOODBYE,
    JSON,
    MAX_PAYLOAD,
    NO_SESSION,
    WAITING,
    Frame,
    encode_json,
    header,
    read_frame,
)
from securegen.engines.mpc.net.greeting import fill_from
from securegen.engines.mpc.net.queues import PeerQueues, Traffic
from securegen.errors import PeerError, PolicyError, ProtocolError, SecuregenError
from securegen.io.schema import printable

_BUFFER = 48 << 20  # bytes in flight a peer and direction: flat memory, enough to overlap
_CHUNK = 1 << 18
_WARNED = 0.8  # of a timeout, after which who waits says for whom
_LAST_WORD = 5.0  # seconds at most for the reason of an end to go out, or to come
_FRAME = 1 << 10  # what a waiting frame costs beside its payload, at least: empty frames count too


class Mesh:
    """Frames to and from every other party. One thread uses it; a reader and a writer thread a peer do the work."""

    def __init__(self, me: str, links: Links, *, timeout: float) -> None:
        self.me, self.timeout = me, timeout
        self.session = NO_SESSION
        self.traffic = Traffic(dict.fromkeys(links.outgoing, 0))
        self._links, self._closing, self._waiting = links, False, True
        self._failure: SecuregenError | None = None
        self._peers = {name: PeerQueues() for name in links.outgoing}
        self._changed = threading.Condition()
        for name in self._peers:
            threading.Thread(target=self._write, args=(name,), daemon=True).start()
            threading.Thread(target=self._read, args=(name,), daemon=True).start()

    @property
    def names(self) -> tuple[str, ...]:
        """The other parties."""
        return tuple(self._peers)

    def send(self, to: str, step: str, array: np.ndarray) -> None:
        """Queue an array; returns at once unless much is queued. The array must not change until it is sent."""
        self._push(to, ARRAY, step, np.ascontiguousarray(array).reshape(np.shape(array)))

    def send_json(self, to: str, step: str, value: object) -> None:
        """Queue a JSON object."""
        self._push(to, JSON, step, encode_json(value))

    def receive(
        self, source: str, step: str, *, shape: tuple[int, ...] | None = None, dtype: DTypeLike | None = None
    ) -> np.ndarray:
        """The next frame of `source`, which must be an array of `step`, and of `shape` and `dtype` where given.

        Raises PeerError when the peer is silent for `timeout` seconds, gone, or somebody aborted; ProtocolError when
        it sent something else. Both end the session for every party.
        """
        frame = self._next(source, step, ARRAY)
        found = frame.payload
        if (shape is not None and found.shape != tuple(shape)) or (
            dtype is not None and found.dtype != np.dtype(dtype)
        ):
            want = f"{np.dtype(dtype) if dtype is not None else 'any'} of {shape}"
            raise self._fail(ProtocolError(f"party {source!r} sent {found.dtype} of {found.shape} in step {step!r}, "
                                           f"expected {want}: the parties are desynchronised"))  # fmt: skip
        return found

    def receive_json(self, source: str, step: str, *, limit: int = MAX_PAYLOAD) -> object:
        """The next frame of `source`, which must be a JSON object of `step`, of at most `limit` bytes."""
        try:
            frame = self._next(source, step, JSON)
            if frame.payload.nbytes > limit:
                raise ProtocolError(f"step {step!r} has {frame.payload.nbytes} bytes, at most {limit} are allowed")
            return frame.json()
        except ProtocolError as error:
            if self._failure:
                raise
            raise self._fail(ProtocolError(f"party {source!r}: {error}")) from error

    def flush(self) -> None:
        """Wait until everything that was queued is sent."""
        self._wait(lambda: all(not p.outbox and not p.outbox_bytes for p in self._peers.values()), self.timeout)
        if self._failure:
            raise self._failure
        for name, peer in self._peers.items():
            if peer.outbox_bytes:
                raise self._fail(PeerError(f"party {name!r} stalled: it took nothing for {self.timeout:g} s"))

    def close(self) -> None:
        """Send what is queued, say goodbye, wait for every goodbye, close. PeerError when a party is not there."""
        for name in self._peers:
            self._push(name, GOODBYE, "goodbye", np.empty(0, np.uint8))
        self.flush()
        self._wait(lambda: all(p.said_goodbye for p in self._peers.values()), self.timeout)
        if self._failure:
            raise self._failure
        silent = [n for n, p in self._peers.items() if not p.said_goodbye]
        if silent:
            raise self._fail(PeerError(f"party {silent[0]!r} stalled: no goodbye for {self.timeout:g} s"))
        self._shut()

    def abort(self, error: BaseException) -> None:
        """End the session for everybody, naming the reason; never raises."""
        known = self._failure or (error if isinstance(error, PeerError | ProtocolError) else None)
        reason = str(known) if known else f"it stopped with {type(error).__name__}{_hint(error)}"
        with self._changed:
            if self._closing:
                return
            self._failure = self._failure or PeerError(f"this party ended the session: {reason}")
            payload = encode_json({"party": self.me, "reason": reason[:1000]})
            for peer in self._peers.values():
                head = header(ABORT, self.session, peer.send_sequence, "abort", payload)
                peer.outbox.clear()
                peer.outbox.append((head, payload))
                peer.outbox_bytes = len(head) + payload.nbytes
            self._changed.notify_all()
            self._changed.wait_for(
                lambda: not any(p.outbox for p in self._peers.values()), min(_LAST_WORD, self.timeout / 4)
            )
        self._shut()

    def _push(self, to: str, kind: int, step: str, payload: np.ndarray) -> None:
        peer = self._peers[to]
        size = payload.nbytes
        self._wait(lambda: peer.outbox_bytes == 0 or peer.outbox_bytes + size <= _BUFFER, self.timeout)
        with self._changed:
            if self._failure:
                raise self._failure
            stalled = peer.outbox_bytes and peer.outbox_bytes + size > _BUFFER
            if not stalled:
                head = header(kind, self.session, peer.send_sequence, step, payload)
                peer.send_sequence += 1
                peer.outbox.append((head, payload))
                peer.outbox_bytes += len(head) + size
                self.traffic.sent[to] += len(head) + size
                self._waiting = self._waiting or kind != WAITING
                self._changed.notify_all()
        if stalled:
            raise self._fail(PeerError(f"party {to!r} stalled: it took nothing for {self.timeout:g} s"))

    def _next(self, source: str, step: str, kind: int) -> Frame:
        peer = self._peers[source]
        if self._waiting:
            self.traffic.rounds += 1
            self._waiting = False
        self._wait(lambda: peer.inbox or peer.said_goodbye, _WARNED * self.timeout)
        if not (peer.inbox or peer.said_goodbye or self._failure):
            for other in self._peers:  # so that whoever waits for us blames the right party
                self._push(other, WAITING, source, np.empty(0, np.uint8))
            self._wait(lambda: peer.inbox or peer.said_goodbye, (1 - _WARNED) * self.timeout)
        with self._changed:
            if self._failure:
                raise self._failure
            frame = peer.inbox.popleft() if peer.inbox else None
            if frame is not None:
                peer.inbox_bytes -= frame.payload.nbytes + _FRAME
                self._changed.notify_all()
        if frame is None:
            raise self._fail(self._silent(source, step))
        if frame.session != self.session:
            raise self._fail(ProtocolError(f"party {source!r} sent a frame of another session in step {frame.step!r}"))
        if frame.kind != kind or frame.step != step:
            raise self._fail(ProtocolError(f"party {source!r} sent step {frame.step!r} where {step!r} was expected: "
                                           "the parties are desynchronised"))  # fmt: skip
        return frame

    def _silent(self, source: str, step: str) -> SecuregenError:
        """Who is to blame for nothing from `source`: the end of the chain of parties that wait for each other."""
        if self._peers[source].said_goodbye:
            return PeerError(f"party {source!r} ended the session early; waited for step {step!r}")
        chain = [self.me, source]
        while (following := self._peers[chain[-1]].waits_for) is not None:
            if following in chain:
                who = ", ".join(map(repr, chain))
                return ProtocolError(f"parties {who} wait for each other: they are desynchronised")
            chain.append(following)
        return PeerError(f"party {chain[-1]!r} stalled: nothing for {self.timeout:g} s in step {step!r}")

    def _wait(self, ready: Callable[[], object], seconds: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._failure or ready(), seconds)

    def _fail(self, error: SecuregenError) -> SecuregenError:
        """Record the first failure and return it; whoever raises it leads to `abort`."""
        with self._changed:
            self._failure = self._failure or error
            self._changed.notify_all()
            return self._failure

    def _write(self, name: str) -> None:
        peer, connection = self._peers[name], self._links.outgoing[name]
        try:
            while True:
                with self._changed:
                    self._changed.wait_for(lambda: peer.outbox or self._closing)
                    if self._closing and not peer.outbox:
                        return
                    head, payload = peer.outbox[0]
                connection.sendall(head)
                view = payload.reshape(-1).data.cast("B") if payload.nbytes else memoryview(b"")
                for start in range(0, len(view), _CHUNK):
                    connection.sendall(view[start : start + _CHUNK])
                with self._changed:
                    if peer.outbox and peer.outbox[0][0] is head:
                        peer.outbox.popleft()
                        peer.outbox_bytes -= len(head) + payload.nbytes
                    self._changed.notify_all()
        except OSError as error:
            stalled = isinstance(error, TimeoutError)
            reason = f"stalled: it took nothing for {self.timeout:g} s" if stalled else "closed its connection"
            # its own abort, with the true reason, may still be on the way to our reader
            self._wait(lambda: False, 0 if stalled else min(_LAST_WORD, self.timeout / 5))
            if not self._closing:
                self._fail(PeerError(f"party {name!r} {reason}"))
        finally:
            connection.close()
            with self._changed:
                peer.outbox.clear()  # nothing more can be sent: do not let anybody wait for it
                self._changed.notify_all()

    def _read(self, name: str) -> None:
        peer, connection = self._peers[name], self._links.incoming[name]
        try:
            while not peer.said_goodbye:
                frame = read_frame(lambda view: fill_from(connection, view))
                self._take(name, peer, frame)
        except (EOFError, OSError):
            if not self._closing:
                self._fail(PeerError(f"party {name!r} died or lost the network: its connection closed without goodbye"))
        except ProtocolError as error:
            self._fail(error if str(error).startswith("party") else ProtocolError(f"party {name!r} {error}"))
        except Exception as error:  # whatever a frame provokes must end the session, not only this thread
            self._fail(ProtocolError(f"party {name!r} sent what cannot be read ({type(error).__name__})"))
        finally:
            connection.close()

    def _take(self, name: str, peer: PeerQueues, frame: Frame) -> None:
        if frame.kind == ABORT:
            value = frame.json()
            reason = printable(value.get("reason", ""), 1000) if isinstance(value, dict) else ""
            self._fail(PeerError(f"party {name!r} ended the session: {reason}"))
            peer.said_goodbye = True
            return
        with self._changed:
            if frame.sequence != peer.receive_sequence:
                what = "replayed" if frame.sequence < peer.receive_sequence else "skipped to"
                raise ProtocolError(f"party {name!r} {what} frame {frame.sequence}, expected {peer.receive_sequence}")
            peer.receive_sequence += 1
            peer.said_goodbye = frame.kind == GOODBYE
            peer.waits_for = frame.step if frame.kind == WAITING else None
            if frame.kind in (ARRAY, JSON):
                peer.inbox.append(frame)
                peer.inbox_bytes += frame.payload.nbytes + _FRAME
            self._changed.notify_all()
            self._changed.wait_for(lambda: peer.inbox_bytes <= _BUFFER or self._closing)

    def _shut(self) -> None:
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        for connection in [*self._links.outgoing.values(), *self._links.incoming.values()]:
            with contextlib.suppress(OSError):
                # the base method: SSLSocket's own would pull the TLS object from under the reading thread
                socket.socket.shutdown(connection, socket.SHUT_RDWR)


def _hint(error: BaseException) -> str:
    """What the class of an error says to the other parties; its text stays at home, it may be about data."""
    if isinstance(error, PolicyError):
        return ": its owner's rules refuse this run; ask there which"
    return "; the reason is printed there only" if isinstance(error, SecuregenError) else ""
