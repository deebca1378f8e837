"""The key of a run that was killed after it was written: the same command again goes on with it, and makes no second one."""

from __future__ import annotations

import os
from pathlib import Path

from securegen.engines.ckks.keys import read_public, write_public
from securegen.engines.ckks.owner.secret_key import SecretKey, read_secret, write_secret
from securegen.errors import StorageError


def keep_key(
    prefix: str | os.PathLike[str], fresh: SecretKey, *, passphrase: bytes | None, begun: bool, told: bool = True
) -> SecretKey:
    """Write PREFIX.secret and PREFIX.public, and return the key that is in them. told: False where nobody needs the public half.

    begun: what the key is for is not there yet. Then a PREFIX.secret of the same parameters, plan and policy that the passphrase
    opens is that of a run that was killed: it is returned in place of `fresh`, and its public half written where that is absent.
    Raises StorageError where another key is there, KeyFileError for another passphrase.
    """
    secret, public = Path(f"{os.fspath(prefix)}.secret"), Path(f"{os.fspath(prefix)}.public")
    if not begun or not os.path.lexists(secret):
        for path in (secret, public) if told else (secret,):  # neither half is left alone
            if os.path.lexists(path):
                raise StorageError(f"{path} exists and is not overwritten: choose another name or remove it")
        write_secret(secret, fresh, passphrase=passphrase)
        if told:
            write_public(public, fresh.public)
        return fresh
    kept = read_secret(secret, passphrase=passphrase)
    if (kept.public.parameters, kept.planned, kept.policy) != (fresh.public.parameters, fresh.planned, fresh.policy):
        raise StorageError(
            f"{secret} exists, a key for something else, and is not overwritten: choose another name or remove it"
        )
    if not told:
        return kept
    if not os.path.lexists(public):
        write_public(public, kept.public)
    elif read_public(public) != kept.public:
        raise StorageError(f"{public} is not the public half of {secret}: choose another name or remove it")
    return kept
