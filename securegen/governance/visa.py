"""Visas of GA4GH passports: tokens (JWT) by which others say who somebody is, verified offline under a policy's issuers.

| token | payload | what is read |
|---|---|---|
| passport | `ga4gh_passport_v1`, a list of tokens | the visas in it; it says nothing itself |
| visa | `ga4gh_visa_v1`: type, value, source, by, asserted, conditions | one statement on iss and sub |

A token chooses nothing by which it is checked: its issuer must be one of the policy, the key is the issuer's of that `kid`, and
the key alone says the algorithm. A header of other fields (`jwk`, `x5u`, `crit`, …) is refused, and nothing is fetched. Names of
people go no further than this module: a subject is a digest of iss and sub.

Fields are those of GA4GH Passport 1.2 and of its AAI profile.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from securegen.errors import MissingExtraError, PolicyError
from securegen.governance.jwk import ALGORITHMS, IssuerKey, unpadded
from securegen.governance.policy import BY, LINKED, VISA_TYPES, Issuer, Policy
from securegen.governance.signing import is_weak, sha256
from securegen.io.schema import Refused, has, integer, list_of, one_of, printable, record, text
from securegen.io.strict_json import parse_json, read_regular

MOST_BYTES, MOST_TOKEN, MOST_VISAS = 1 << 20, 1 << 15, 64
MOST_LINKS = 32
_LATEST = 1 << 40
_TIME = integer(0, _LATEST)
_URL = text(255)
_TOKEN = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_HEADER = record(
    alg=text(16), kid=text(200, least=1),
    may_have={"typ": one_of("JWT", "vnd.ga4gh.visa+jwt", "vnd.ga4gh.passport+jwt", "at+jwt"), "jku": text(300)},
)  # fmt: skip
_CLAUSE = record(type=one_of(*VISA_TYPES), may_have={name: text(255, least=1) for name in ("value", "source", "by")})
_VISA = has(
    "type", "asserted", "value", "source",
    type=text(255, least=1), asserted=_TIME, value=text(4096, least=1), source=_URL, by=one_of(*BY),
    conditions=list_of(list_of(_CLAUSE, 1, 16), 0, 16),
)  # fmt: skip
_CLAIMS = has(
    "iss", "sub", "exp", iss=text(300, least=1), sub=text(255, least=1), iat=_TIME, exp=_TIME, nbf=_TIME,
    ga4gh_visa_v1=_VISA, ga4gh_passport_v1=list_of(text(MOST_TOKEN), 0, MOST_VISAS),
)  # fmt: skip
Clause = tuple[tuple[str, str], ...]  # field and what it must be


@dataclass(frozen=True)
class Visa:
    """A visa whose signature holds. issuer: its name in the policy; subject: digest of iss and sub; asserted, since, until: in
    seconds since 1970, `since` the latest of nbf and iat; conditions: any of these lists of clauses, none where empty; links:
    issuer and subject of each identity that LinkedIdentities names; digest: SHA-256 of the token."""

    issuer: str
    subject: str
    type: str
    value: str
    source: str
    by: str
    asserted: int
    since: int
    until: int
    conditions: tuple[tuple[Clause, ...], ...]
    links: tuple[tuple[str, str], ...]
    digest: str


def subject_of(iss: str, sub: str) -> str:
    """What a policy calls a subject, 64 hex digits. It is not secret: whoever guesses iss and sub can tell."""
    return sha256(b"securegen subject of visas", iss.encode(), sub.encode())


def read_visas(policy: Policy, paths: Iterable[str | os.PathLike[str]]) -> tuple[Visa, ...]:
    """The visas of files: passports or visas, a token a line, or a JSON object with `ga4gh_passport_v1`.

    Visas of issuers that the policy does not name are left out: nothing of them is believed. Raises PolicyError naming the file
    for whatever else is not as it should be, MissingExtraError without PyJWT.
    """
    found: dict[str, Visa] = {}
    for path in paths:
        where = f"policy.visa: {printable(os.fspath(path), 200)}"
        for visa in _of_file(policy, path, where):
            found[visa.digest] = visa
    if len(found) > MOST_VISAS:
        raise PolicyError(f"policy.visa: {len(found)} visas; a request may have {MOST_VISAS}")
    return tuple(found.values())


def _of_file(policy: Policy, path: str | os.PathLike[str], where: str) -> Iterator[Visa]:
    try:
        raw = read_regular(os.fspath(path), "a file of visas", most=MOST_BYTES, error=PolicyError)
    except FileNotFoundError:
        raise PolicyError(f"{where}: there is no such file") from None
    except PolicyError as error:
        raise PolicyError(f"policy.visa: {error}") from None
    if raw.lstrip()[:1] == b"{":
        check = has("ga4gh_passport_v1", ga4gh_passport_v1=list_of(text(MOST_TOKEN), 0, MOST_VISAS))
        yield from _of_tokens(policy, parse_json(raw, where, check, error=PolicyError)["ga4gh_passport_v1"], where)
        return
    try:
        tokens = raw.decode("ascii").split()
    except UnicodeDecodeError:
        raise PolicyError(f"{where} is neither JSON nor a token a line") from None
    if not tokens or len(tokens) > MOST_VISAS:
        raise PolicyError(f"{where} has {len(tokens)} tokens; 1 to {MOST_VISAS} are read")
    for token in tokens:
        claims = _claims(token, where)
        if "ga4gh_passport_v1" not in claims:
            yield from _of_tokens(policy, [token], where)
            continue
        if _issuer(policy, claims) is None:
            raise PolicyError(f"{where}: a passport of an issuer whom the policy does not name")
        verified(policy, token, where)
        yield from _of_tokens(policy, claims["ga4gh_passport_v1"], where)


def _of_tokens(policy: Policy, tokens: Iterable[str], where: str) -> Iterator[Visa]:
    for token in tokens:
        if _issuer(policy, _claims(token, where)) is not None:
            yield visa_of(policy, token, where)


def visa_of(policy: Policy, token: str, where: str) -> Visa:
    """One visa, verified. Raises as `verified`, and PolicyError for a token that is not a visa or is for somebody else."""
    claims = verified(policy, token, where)
    if "ga4gh_visa_v1" not in claims or "ga4gh_passport_v1" in claims:
        raise PolicyError(f"{where}: a token that is not a visa")
    if "aud" in claims or "cnf" in claims:
        raise PolicyError(f"{where}: a visa that is for somebody else: it has `aud` or `cnf`")
    issuer, said = _issuer(policy, claims), claims["ga4gh_visa_v1"]
    if issuer is None:
        raise PolicyError(f"{where}: a visa of an issuer whom the policy does not name")
    conditions = tuple(
        tuple(tuple(sorted((k, str(v)) for k, v in clause.items())) for clause in clauses)
        for clauses in said.get("conditions", ())
    )
    if any(len(clause) < 2 for clauses in conditions for clause in clauses):
        raise PolicyError(f"{where}: a condition names a type and nothing of it")
    links = tuple(_links(policy, said["value"], where)) if said["type"] == LINKED else ()
    return Visa(
        issuer.name, subject_of(issuer.iss, claims["sub"]), said["type"], said["value"], said["source"], said.get("by", ""),
        said["asserted"], max(claims.get("nbf", 0), claims.get("iat", 0)), claims["exp"], conditions, links,
        sha256(b"visa", token.encode()),
    )  # fmt: skip


def verified(policy: Policy, token: str, where: str) -> dict[str, Any]:
    """The claims of a token that an issuer of the policy signed. Raises PolicyError, MissingExtraError without PyJWT."""
    claims, header = _claims(token, where), _part(token, 0, _HEADER, where)
    issuer = _issuer(policy, claims)
    if issuer is None:
        raise PolicyError(f"{where}: a token of an issuer whom the policy does not name")
    key = next((k for k in issuer.keys if k.kid == header["kid"]), None)
    if key is None:
        raise PolicyError(f"{where}: {issuer.name} has no key {printable(header['kid'], 40)!r} in the policy")
    if header["alg"] != key.algorithm:
        raise PolicyError(
            f"{where}: the token says the algorithm {printable(header['alg'], 16)!r}; this key of {issuer.name} is for "
            f"{key.algorithm}"
        )
    if header.get("jku", issuer.jku) != issuer.jku:
        raise PolicyError(f"{where}: the token names keys elsewhere (`jku`); the policy does not")
    if not _signed(token, key):
        raise PolicyError(f"{where}: a token was altered, or is not signed by {issuer.name}")
    return claims


def _signed(token: str, key: IssuerKey) -> bool:
    try:
        from jwt import PyJWK, PyJWS
        from jwt.exceptions import PyJWTError
    except ImportError:
        raise MissingExtraError("PyJWT", "gov") from None
    if key.algorithm not in ALGORITHMS or (key.x and is_weak(key.x)):
        return False
    try:
        PyJWS().decode_complete(
            token, PyJWK.from_dict(key.to_jwk(), algorithm=key.algorithm), algorithms=[key.algorithm]
        )
    except (PyJWTError, ValueError, TypeError):
        return False
    return True


def _issuer(policy: Policy, claims: dict[str, Any]) -> Issuer | None:
    return next((i for i in policy.issuers if i.iss == claims["iss"]), None)


def _claims(token: str, where: str) -> dict[str, Any]:
    """What a token says, whoever signed it."""
    return _part(token, 1, _CLAIMS, where)


def _part(token: str, number: int, check: Any, where: str) -> dict[str, Any]:
    """Header (0) or payload (1) of a token, whoever signed it. Raises PolicyError."""
    if len(token) > MOST_TOKEN or not _TOKEN.fullmatch(token):
        raise PolicyError(f"{where}: what is there is no signed token (JWT)")
    try:
        parts = [unpadded(part, "a token") for part in token.split(".")]
    except Refused as error:
        raise PolicyError(f"{where}: {error}") from None
    found: dict[str, Any] = parse_json(
        parts[number], f"{where}: a token's {('header', 'payload')[number]}", check, error=PolicyError
    )
    return found


def _links(policy: Policy, value: str, where: str) -> Iterator[tuple[str, str]]:
    """Issuer and subject of the identities in `sub,iss;sub,iss`, each escaped as in a URL; of issuers of the policy alone."""
    pairs = value.split(";")
    if len(pairs) > MOST_LINKS:
        raise PolicyError(f"{where}: LinkedIdentities of {len(pairs)} identities; at most {MOST_LINKS} are allowed")
    for pair in pairs:
        sub, comma, iss = pair.partition(",")
        if not comma or "," in iss:
            raise PolicyError(f"{where}: LinkedIdentities are `sub,iss` with `;` between them")
        for issuer in policy.issuers:
            if issuer.iss == unquote(iss):
                yield issuer.name, subject_of(issuer.iss, unquote(sub))
