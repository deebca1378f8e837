"""A public key of an issuer of visas: one JWK (RFC 7517) as a policy has it. The kind of key alone says the algorithm.

A token names its algorithm too, and is not asked: a key of RSA is for RS256, one of P-256 for ES256, one of Ed25519 for
EdDSA, and there is no other. Shared secrets (`oct`) and private halves are refused.
"""

from __future__ import annotations

import base64
import binascii
import functools
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from securegen.errors import PolicyError
from securegen.io.schema import Refused, has, list_of, one_of, record, text
from securegen.io.strict_json import parse_json, read_json

RS256, ES256, EDDSA = ALGORITHMS = ("RS256", "ES256", "EdDSA")
_OF_KIND = {"RSA": RS256, "EC": ES256, "OKP": EDDSA}
_PARTS = {"RSA": ("n", "e"), "EC": ("crv", "x", "y"), "OKP": ("crv", "x")}
_CURVES = {"EC": "P-256", "OKP": "Ed25519"}
_RSA_BITS = 2048, 8192
_MOST = 4096
_KEY = record(
    kty=one_of(*_OF_KIND), kid=text(200, least=1),
    may_have={
        "alg": one_of(*ALGORITHMS), "use": one_of("sig"), "n": text(2048), "e": text(16), "crv": one_of(*_CURVES.values()),
        "x": text(64), "y": text(64),
    },
)  # fmt: skip


@dataclass(frozen=True)
class IssuerKey:
    """One public key. kid: by which tokens name it; algorithm: the one that it is for; x: of Ed25519, its 32 bytes, else
    empty; text: the JWK."""

    kid: str
    algorithm: str
    x: bytes
    text: str

    def to_jwk(self) -> dict[str, Any]:
        """The JWK with its algorithm."""
        return {**json.loads(self.text), "alg": self.algorithm}


def unpadded(value: str, where: str) -> bytes:
    """The bytes of base64url without padding, written in the one way that there is. Raises `schema.Refused`."""
    try:
        raw = base64.b64decode(value.encode("ascii") + b"=" * (-len(value) % 4), altchars=b"-_", validate=True)
    except (UnicodeEncodeError, binascii.Error, ValueError):
        raise Refused(f"{where} is not base64url") from None
    if base64.urlsafe_b64encode(raw).rstrip(b"=").decode() != value:
        raise Refused(f"{where} is not base64url as it is written")
    return raw


def issuer_key(value: object, where: str) -> IssuerKey:
    """A check of the text of one JWK. Raises `schema.Refused`."""
    if type(value) is not str or len(value) > _MOST:
        raise Refused(f"{where} must be the text of one public JWK")
    try:
        key = parse_json(value, where, _KEY, error=PolicyError)
    except PolicyError as error:
        raise Refused(str(error)) from None
    kind, parts = key["kty"], _PARTS[key["kty"]]
    if {"n", "e", "crv", "x", "y"} & set(key) != set(parts):
        raise Refused(f"{where} has not what a key of {kind} has: {', '.join(parts)}")
    if key.get("alg", _OF_KIND[kind]) != _OF_KIND[kind]:
        raise Refused(f"{where} is a key of {kind}, which is for {_OF_KIND[kind]}")
    raw = {name: unpadded(key[name], f"{where}.{name}") for name in parts if name != "crv"}
    if kind == "RSA":
        bits, e = int.from_bytes(raw["n"]).bit_length(), int.from_bytes(raw["e"])
        if not _RSA_BITS[0] <= bits <= _RSA_BITS[1] or e < 3 or not e & 1:
            raise Refused(f"{where} has {bits} bits: RSA needs {_RSA_BITS[0]} to {_RSA_BITS[1]} and an odd exponent")
        if anybody_signs(int.from_bytes(raw["n"])):
            raise Refused(f"{where} has a modulus that anybody can factor: whoever reads it signs under it")
    elif key["crv"] != _CURVES[kind] or any(len(part) != 32 for part in raw.values()):
        raise Refused(f"{where} is not a key on {_CURVES[kind]}")
    return IssuerKey(key["kid"], _OF_KIND[kind], raw["x"] if kind == "OKP" else b"", value)


@functools.lru_cache(64)
def anybody_signs(modulus: int) -> bool:
    """Whether the private key of an RSA modulus is seen at a glance: it is a prime or a square, or has a factor below 1000.

    >>> anybody_signs(2**2203 - 1), anybody_signs((2**1279 - 1) * (2**2203 - 1))
    (True, False)
    """
    small = any(modulus % p == 0 for p in (2, *range(3, 1000, 2)))
    return small or math.isqrt(modulus) ** 2 == modulus or pow(2, modulus - 1, modulus) == 1  # Fermat's test


def keys_of_set(path: str | Path) -> list[str]:
    """The keys of a JWKS file, or of one JWK, as texts for a policy, public members alone. Keys of other kinds are left out.

    Raises PolicyError where none is left, or the file is something else.
    """
    what = "a set of public keys (JWKS)"
    try:
        found = read_json(path, what, has(), most=1 << 20, error=PolicyError)
    except FileNotFoundError:
        raise PolicyError(f"policy.visa: there is no {path}, {what}") from None
    try:
        keys: Sequence[dict[str, Any]] = list_of(has(), 1, 100)(found.get("keys", [found]), "keys")
    except Refused as error:
        raise PolicyError(f"policy.visa: {path} is not {what}: {error}") from None
    out = []
    for key in keys:
        kept = {name: key[name] for name in ("kty", "kid", "alg", "use", "n", "e", "crv", "x", "y") if name in key}
        text = json.dumps(kept)
        try:
            issuer_key(text, "key")
        except Refused:
            continue
        out.append(text)
    if not out:
        raise PolicyError(f"policy.visa: {path} has no public key for {', '.join(ALGORITHMS)}")
    return out
