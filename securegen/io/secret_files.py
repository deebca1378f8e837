"""Which files hold secrets: no digest of one is kept anywhere, and none is shown."""

from __future__ import annotations

from pathlib import Path

SECRET_WORDS = (
    b"securegen secret key",
    b"securegen signing key",
    b"securegen party key",
    b"PRIVATE KEY",
    b"securegen mpc state",
)


def first_bytes(path: Path) -> bytes:
    """The first 4096 bytes of a file. Raises OSError."""
    with path.open("rb") as stream:
        return stream.read(1 << 12)


def is_secret(path: Path) -> bool:
    """Whether a file is, or holds, a private key or a mask; a digest of it is kept nowhere.

    >>> is_secret(Path("README.md"))
    False
    """
    return any(word in first_bytes(path) for word in SECRET_WORDS) or path.name.endswith(
        (".secret", ".key", ".state.json")
    )
