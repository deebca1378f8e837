"""What two parties say on a connection before there is a session: small frames, and why one was refused."""

from __future__ import annotations

import ssl

from securegen.engines.mpc.net.frames import NO_SESSION, Frame, encode_json, header, read_frame
from securegen.errors import ProtocolError
from securegen.io.schema import printable

_HELLO_BYTES = 1 << 16


def fill_from(connection: ssl.SSLSocket, view: memoryview) -> None:
    """Fill `view` from the connection; EOFError when the peer closes first."""
    done = 0
    while done < len(view):
        got = connection.recv_into(view[done : done + (1 << 18)])
        if got == 0:
            raise EOFError
        done += got


def send_small(connection: ssl.SSLSocket, kind: int, value: object) -> None:
    """Send one frame of no session."""
    payload = encode_json(value)
    connection.sendall(header(kind, NO_SESSION, 0, "connect", payload) + payload.tobytes())


def try_send(connection: ssl.SSLSocket, kind: int, value: object) -> None:
    """The same, for a second at most, and whether or not the peer is still there."""
    try:
        connection.settimeout(1)
        send_small(connection, kind, value)
    except OSError:  # the peer is gone; it finds out for itself
        return


def receive_small(connection: ssl.SSLSocket) -> Frame:
    """One frame of at most 64 KiB. Raises OSError for anything else."""
    try:
        return read_frame(lambda view: fill_from(connection, view), max_payload=_HELLO_BYTES)
    except EOFError as error:
        raise ConnectionError("the connection was closed") from error
    except ProtocolError as error:
        raise OSError(str(error)) from error


def reason_of(answer: Frame) -> str:
    """Why a peer refused us, in its own words made printable."""
    try:
        value = answer.json()
    except ProtocolError:
        return "no reason given"
    return printable(value.get("reason", "no reason given"), 500) if isinstance(value, dict) else "no reason given"


def plain(error: BaseException) -> str:
    """What went wrong on a connection, for a person."""
    if isinstance(error, ssl.SSLEOFError):
        return "it closed the connection"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"wrong certificate: {error.verify_message}"
    reason = getattr(error, "reason", None)
    text = reason.lower().replace("_", " ") if isinstance(reason, str) else str(error) or type(error).__name__
    return printable(text, 500)
