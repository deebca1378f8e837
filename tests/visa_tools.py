"""Issuers of visas for tests: tokens put together by hand, so that a test can write what no library would sign."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils

GRANT = {
    "type": "ControlledAccessGrants", "value": "https://data.example/sets/1", "source": "https://dac.example", "by": "dac",
}  # fmt: skip
DAY = 86400


def packed(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def number(value: int) -> str:
    return packed(value.to_bytes((value.bit_length() + 7) // 8))


def token(header: dict[str, Any], payload: dict[str, Any], sign) -> str:
    said = ".".join(packed(json.dumps(part).encode()) for part in (header, payload))
    return f"{said}.{packed(sign(said.encode()))}"


@dataclass(frozen=True)
class Signer:
    """Who signs visas. algorithm: EdDSA, ES256 or RS256."""

    name: str = "broker"
    iss: str = "https://broker.example/oidc/"
    algorithm: str = "EdDSA"
    kid: str = "k1"
    more: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def private(self) -> Any:
        if self.algorithm == "RS256":
            return rsa.generate_private_key(65537, 2048)
        return (
            ed25519.Ed25519PrivateKey.generate()
            if self.algorithm == "EdDSA"
            else ec.generate_private_key(ec.SECP256R1())
        )

    @property
    def jwk(self) -> dict[str, Any]:
        public = self.private.public_key()
        if self.algorithm == "EdDSA":
            return {"kty": "OKP", "crv": "Ed25519", "kid": self.kid, "x": packed(public.public_bytes_raw())}
        found = public.public_numbers()
        if self.algorithm == "RS256":
            return {"kty": "RSA", "kid": self.kid, "n": number(found.n), "e": number(found.e)}
        return {
            "kty": "EC", "crv": "P-256", "kid": self.kid, "x": packed(found.x.to_bytes(32)), "y": packed(found.y.to_bytes(32)),
        }  # fmt: skip

    @property
    def pem(self) -> bytes:
        public = self.private.public_key()
        return public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)

    @property
    def table(self) -> dict[str, Any]:
        """Its [[issuer]]."""
        own = {"name": self.name, "iss": self.iss, "algorithms": [self.algorithm], "keys": [json.dumps(self.jwk)]}
        return {**own, **self.more}

    def sign(self, said: bytes) -> bytes:
        if self.algorithm == "RS256":
            return self.private.sign(said, padding.PKCS1v15(), hashes.SHA256())
        if self.algorithm == "EdDSA":
            return self.private.sign(said)
        r, s = utils.decode_dss_signature(self.private.sign(said, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(32) + s.to_bytes(32)

    def header(self, **more: Any) -> dict[str, Any]:
        return {"alg": self.algorithm, "kid": self.kid, "typ": "JWT", **more}

    def payload(self, sub: str = "anna", said: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
        """Claims of a visa. said: of the visa, in place of those of GRANT; more: other claims; None leaves one out."""
        now = int(time.time())
        claims = {
            "iss": self.iss, "sub": sub, "iat": now - 60, "exp": now + DAY,
            "ga4gh_visa_v1": {"asserted": now - 3600, **GRANT, **(said or {})}, **more,
        }  # fmt: skip
        return {name: value for name, value in claims.items() if value is not None}

    def visa(self, sub: str = "anna", said: dict[str, Any] | None = None, **more: Any) -> str:
        return token(self.header(), self.payload(sub, said, **more), self.sign)

    def passport(self, *visas: str, **more: Any) -> str:
        said = {"ga4gh_passport_v1": list(visas), "ga4gh_visa_v1": None, **more}
        return token(self.header(), self.payload(**said), self.sign)


def hmac_of(key: bytes):
    return lambda said: hmac.digest(key, said, hashlib.sha256)
