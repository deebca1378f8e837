"""URLs of object stores: which are taken, and how one is shown without what may be secret in it.

A URL names a place and nothing else: no user, password, query, fragment or second URL behind `::`, so that neither a
command line that is logged nor an artefact can carry credentials or send a reader elsewhere.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from securegen.errors import UsageError

REMOTE = ("s3", "gs", "gcs", "memory")
FILE = "file"
SCHEMES = (*REMOTE, FILE)
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/")
_PLACE = re.compile(r"[A-Za-z0-9._~-]+(/[A-Za-z0-9._~+=,-]+)*")
_IN_TEXT = re.compile(r"(?<![A-Za-z0-9+.-])([A-Za-z][A-Za-z0-9+.-]*://)[^/\s\"']*@")
_QUERY = re.compile(r"(?<![A-Za-z0-9+.-])([A-Za-z][A-Za-z0-9+.-]*:/[^\s?#\"']*)[?#][^\s\"']*")
_LONGEST = 1024

PathLike = str | os.PathLike[str]


def is_url(place: object) -> bool:
    """Whether text or a path names something by a scheme, as s3://bucket/study does, or chains places with `::`.

    >>> is_url("s3://bucket/study"), is_url("results/study")
    (True, False)
    """
    text = os.fspath(place) if isinstance(place, str | os.PathLike) else ""
    return isinstance(text, str) and (_URL.match(text) is not None or "::" in text.partition("/")[0])


def without_secrets(text: str) -> str:
    """Text, of a few thousand characters at most, with the users, passwords and queries of the URLs in it left out.

    >>> without_secrets("s3://me:word@bucket/study?key=1 is refused")
    's3://bucket/study is refused'
    """
    return _QUERY.sub(r"\1", _IN_TEXT.sub(r"\1", text))


def checked_url(place: PathLike) -> tuple[str, str]:
    """The scheme of a URL and the place behind it. Raises UsageError for anything but a plain place in a store.

    >>> checked_url("s3://bucket/study.cohort")
    ('s3', 'bucket/study.cohort')
    """
    text = os.fspath(place)
    shown = repr(shown_url(text))
    if "::" in text:
        raise UsageError(f"{shown} is chained to another place by '::', which is refused: name the folder itself")
    scheme, _, rest = text.partition(":")
    scheme = scheme.lower()
    if scheme not in SCHEMES:
        raise UsageError(f"{shown}: {scheme}:// is refused; stores are {', '.join(f'{s}://' for s in REMOTE)}")
    if not rest.startswith("//"):
        raise UsageError(f"{shown} has lost a slash: give {scheme}://… as text, not as a Path")
    rest = rest[2:]
    if "@" in rest:
        raise UsageError(f"{shown}: a user or password in a URL is refused; credentials come from the environment")
    if "?" in rest or "#" in rest:
        raise UsageError(f"{shown}: a query in a URL is refused; options of a store come from its environment")
    inside = rest[1:] if scheme == FILE and rest.startswith("/") else rest
    plain = inside if scheme == FILE else rest
    parts = plain.split("/")
    ordinary = _PLACE.fullmatch(plain) if scheme != FILE else plain.isprintable() and plain and "" not in parts
    if (
        not ordinary
        or {".", ".."} & set(parts)
        or len(text) > _LONGEST
        or (scheme == FILE and not rest.startswith("/"))
    ):
        raise UsageError(
            f"{shown} is not a place in a store: {scheme}://BUCKET/FOLDER of letters, digits and . _ ~ + = , -"
        )
    if scheme not in (FILE, "memory") and len(parts) < 2:
        raise UsageError(f"{shown} is a whole bucket: name a folder in it, as {scheme}://BUCKET/study")
    return scheme, rest


def shown_url(text: str) -> str:
    """What is shown of a URL that is refused. A password may hold a slash, so what has an @ is shown by its scheme alone."""
    if "@" in text:
        return f"{text.partition(':')[0][:32]}://…"
    return without_secrets(text.partition("::")[0][:_LONGEST])


def refuse_url(place: PathLike, what: str) -> None:
    """Raise UsageError where what must stay on a local disk is placed in a store. what: as "the owner's folder".

    >>> refuse_url("s3://bucket/k.secret", "a key file")
    Traceback (most recent call last):
    ...
    securegen.errors.UsageError: 's3://bucket/k.secret': a key file stays on a local disk, never in a store
    """
    if is_url(place):
        raise UsageError(f"{shown_url(os.fspath(place))!r}: {what} stays on a local disk, never in a store")


def local_prefix(prefix: str) -> str:
    """Where what stays here goes beside a prefix in a store: under the same last name in the working folder.

    >>> local_prefix("s3://bucket/biobank/study"), local_prefix("results/study")
    ('study', 'results/study')
    """
    if not is_url(prefix):
        return prefix
    scheme, rest = checked_url(prefix)
    return rest if scheme == FILE else rest.rpartition("/")[2]


def local_path(place: PathLike) -> Path | None:
    """The path of a place on a local disk, file:// included; None where it is in a store. Raises UsageError for a URL that is
    refused."""
    if not is_url(place):
        return Path(place)
    scheme, rest = checked_url(place)
    return Path(rest) if scheme == FILE else None
