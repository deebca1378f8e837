"""One exception class for each kind of failure, each with the exit code of the command line.

A message says what was found, where, and what to do. An argument stands in it in backquotes, as `min_overlap`; the command
line puts its flag there. `docs/reference/exit-codes.md` is written from this table.
"""

from __future__ import annotations


class SecuregenError(Exception):
    """Base of every error that securegen raises on purpose."""

    exit_code = 1

    def __str__(self) -> str:
        """The message; what is not printable in it, as names in foreign files, is escaped: it moves no cursor of a terminal."""
        said = super().__str__()
        if said.replace("\n", "").isprintable():
            return said
        escaped = (c if c == "\n" or c.isprintable() else c.encode("unicode_escape").decode() for c in said)
        return "".join(escaped)


class UsageError(SecuregenError):
    """Options that contradict each other or lack a partner."""

    exit_code = 2


class InputError(SecuregenError):
    """An input file cannot be read as what it should be."""

    exit_code = 3


class DesignError(SecuregenError):
    """Phenotypes or covariates that cannot be analysed: constant, collinear, not converging, no sample left."""

    exit_code = 4


class PlanError(SecuregenError):
    """No parameters hold the sums exactly at 128-bit security, or the given ones are not allowed."""

    exit_code = 5


class KeyFileError(SecuregenError):
    """A key file is missing, belongs to something else, has another passphrase, or is retired."""

    exit_code = 6


class ArtefactError(SecuregenError):
    """An encrypted cohort, design or result is truncated, altered or belongs to another key."""

    exit_code = 7


class VerificationError(SecuregenError):
    """A decrypted result failed verification. The text is fixed: it must not depend on what was decrypted."""

    exit_code = 8

    def __init__(self, *, unmarked: str = "") -> None:
        """unmarked: why the key could not be marked as retired, where it could not."""
        retired = (
            f"the key could NOT be marked as retired ({unmarked}): do not use it again."
            if unmarked
            else ("the key is retired. See docs/explanation/verification.md before using --key-still-trusted.")
        )
        super().__init__(
            f"the result failed verification: it was not computed from this cohort and design. Nothing was written and {retired}"
        )


class StorageError(SecuregenError):
    """The file system or a store refused, or did not answer: no space, no permission, a path that exists."""

    exit_code = 9


class PeerError(SecuregenError):
    """Another party is unreachable, silent, dead, or not who it should be. The message names it."""

    exit_code = 10


class ProtocolError(SecuregenError):
    """Another party sent something that the protocol does not allow. The message names it."""

    exit_code = 11


class PolicyError(SecuregenError):
    """The owner's policy, whose rule is named, or the protocol's privacy rule refuses."""

    exit_code = 12


class MissingExtraError(SecuregenError):
    """An optional package is absent. The message names the extra that installs it."""

    exit_code = 13

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"{package} is not installed: pip install 'securegen[{extra}]'")
