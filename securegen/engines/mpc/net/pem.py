"""Certificates, signing requests and private keys read from PEM files, and the pin of a public key.

A file may come from anybody: whatever is damaged or of another kind is a KeyFileError.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from securegen.errors import KeyFileError
from securegen.io import envelope
from securegen.io.strict_json import read_regular

KEY_MAGIC = "securegen party key 1"
_MOST_PEM = 1 << 20
T = TypeVar("T")


def read_pem(path: Path, what: str) -> bytes:
    """The bytes of a PEM file. Raises KeyFileError."""
    try:
        return read_regular(path, f"a {what}", most=_MOST_PEM, error=KeyFileError)
    except FileNotFoundError as error:
        raise KeyFileError(f"{path}: no such file; make it with `securegen certs`") from error


def _parse(parse: Callable[[bytes], T], raw: bytes, path: Path, what: str) -> T:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of certificates that later versions refuse
        try:
            return parse(raw)
        except Exception:  # the parser has a class for every kind of damage
            raise KeyFileError(f"{path} is not a {what} in PEM form") from None


def _request(pem: bytes) -> x509.CertificateSigningRequest:
    """Raises ValueError for bytes that are not a request, for another kind of key or another signer."""
    asked = x509.load_pem_x509_csr(pem)
    if not isinstance(asked.public_key(), ec.EllipticCurvePublicKey) or not asked.is_signature_valid:
        raise ValueError
    return asked


def _certificate(pem: bytes) -> x509.Certificate:
    """Raises ValueError for bytes that are not a certificate, also where a part is damaged that is looked at later."""
    made = x509.load_pem_x509_certificate(pem)
    made.public_key()
    made.extensions  # noqa: B018 parses them
    made.subject.rfc4514_string(), made.issuer.rfc4514_string()
    made.not_valid_before_utc, made.not_valid_after_utc  # noqa: B018
    return made


def _key(pem: bytes) -> ec.EllipticCurvePrivateKey:
    made = serialization.load_pem_private_key(pem, None)
    if not isinstance(made, ec.EllipticCurvePrivateKey):
        raise ValueError
    return made


def load_certificate(path: Path) -> x509.Certificate:
    """A PEM certificate, every part of it parsed. Raises KeyFileError."""
    return _parse(_certificate, read_pem(path, "certificate"), path, "certificate")


def load_request(path: Path) -> x509.CertificateSigningRequest:
    """A signing request, its signature checked. Raises KeyFileError."""
    what = "certificate signing request"
    return _parse(_request, read_pem(path, what), path, what)


def load_key(pem: bytes, path: Path) -> ec.EllipticCurvePrivateKey:
    """An unprotected private key over P-256, read from `path`. Raises KeyFileError."""
    return _parse(_key, pem, path, "private key")


def private_pem(path: Path, passphrase: bytes | None) -> bytes:
    """A private key as PEM, whether its file is protected or not."""
    if not envelope.is_protected(path):
        return read_pem(path, "private key")
    return envelope.read(path, KEY_MAGIC, "private key of a party", passphrase=passphrase)[1]


def pin_of_der(certificate: bytes) -> str:
    """The pin of a DER certificate: sha256 of its SubjectPublicKeyInfo, as parties.toml writes it. Raises KeyFileError
    for bytes that are not a certificate, or a key of an unknown kind."""
    try:
        return pin_of(x509.load_der_x509_certificate(certificate))
    except Exception:  # as in `_load`
        raise KeyFileError("a certificate is damaged, or its key is of a kind that is not known") from None


def pin_of(certificate: x509.Certificate) -> str:
    """The pin of a certificate: sha256 of its SubjectPublicKeyInfo in DER, as `sha256:` and 64 hex digits."""
    public = certificate.public_key()
    der = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return "sha256:" + hashlib.sha256(der).hexdigest()


def pin(certificate: Path) -> str:
    """The pin of a PEM certificate file."""
    return pin_of(load_certificate(certificate))
