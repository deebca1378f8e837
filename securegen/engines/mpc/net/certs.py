"""Keys and certificates of the parties: one study authority, one certificate a party, bound to name and rank.

The private key of a party never leaves its machine: `request` makes it there together with a signing request, the
authority signs that. The certificate says the party's name (DNS name) and rank (a URI); the transport compares both,
and the SHA-256 of the public key with the pin in parties.toml: an authority cannot stand in for a party. Keys are ECDSA
over P-256; certificates last a year unless told otherwise. Before it connects a party checks its own files by the same
rules. A private key is a PEM file, or an `envelope` under a passphrase; then it is in the clear in memory only.
"""

from __future__ import annotations

import datetime
import os
import ssl
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from securegen.engines.mpc.net.parties import NAME
from securegen.engines.mpc.net.pem import (
    KEY_MAGIC,
    load_certificate,
    load_key,
    load_request,
    pin_of,
    private_pem,
    read_pem,
)
from securegen.errors import InputError, KeyFileError
from securegen.io import envelope
from securegen.io.output import FOR_OTHERS, PRIVATE, PRIVATE_FOLDER, atomic, make_folder
from securegen.io.schema import printable, shown

RANK_URI = "urn:securegen:rank:"
_PEM = serialization.Encoding.PEM


@dataclass(frozen=True)
class PartyIdentity(envelope.Unpicklable):
    """What a party needs to prove who it is: its name and three PEM files."""

    name: str
    certificate: Path
    key: Path
    authority: Path
    passphrase: bytes | None = field(default=None, repr=False)

    @staticmethod
    def in_directory(directory: Path, name: str, passphrase: bytes | None = None) -> PartyIdentity:
        """The files as `init_ca`, `request` and `issue` write them: ca.pem, NAME.pem, NAME.key. passphrase: of the key."""
        d = Path(directory)
        return PartyIdentity(name, d / f"{name}.pem", d / f"{name}.key", d / "ca.pem", passphrase)

    def load_into(self, context: ssl.SSLContext) -> None:
        """Give a TLS context the certificate and its key. Raises KeyFileError, and SSLError where they do not fit."""
        with envelope.in_memory(private_pem(self.key, self.passphrase)) as path:
            context.load_cert_chain(self.certificate, path)

    def check(self, *, pin: str, rank: int) -> None:
        """Our own files by the rules of the others, so that a mistake is named where it can be mended.

        Raises KeyFileError: absent, readable by others, of another key, authority, name or rank, or expired.
        """
        for path in (self.certificate, self.key, self.authority):
            if not path.is_file():
                raise KeyFileError(f"{path}: no such file, but party {self.name!r} needs it; {self._others()}")
        if self.key.stat().st_mode & 0o077:
            raise KeyFileError(f"{self.key} can be read by others: chmod 600 {self.key}")
        own, authority = load_certificate(self.certificate), load_certificate(self.authority)
        found = pin_of(own)
        if found != pin:
            raise KeyFileError(f"{self.certificate} has key {found}; parties.toml pins {pin}")
        now = datetime.datetime.now(datetime.UTC)
        for path, certificate in ((self.certificate, own), (self.authority, authority)):
            begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
            if now > end:
                raise KeyFileError(f"{path} is valid until {end:%Y-%m-%d %H:%M} UTC only: let it be issued anew")
            if now < begin:
                raise KeyFileError(f"{path} is valid from {begin:%Y-%m-%d %H:%M} UTC only: is a clock wrong?")
        try:
            own.verify_directly_issued_by(authority)
        except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
            raise KeyFileError(
                f"{self.certificate} is not signed by {self.authority}: one is another study's"
            ) from None
        expected = _alternatives(self.name, rank)
        try:
            names = list(own.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
        except x509.ExtensionNotFound:
            names = []
        if names != expected:
            said = " and ".join(printable(getattr(n, "value", n), 80) for n in names) or "nobody"
            raise KeyFileError(f"{self.certificate} is for {said}; parties.toml has {self.name} at rank {rank}, counted "
                               "from 0: let it be issued for these")  # fmt: skip
        try:
            self.load_into(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
        except ssl.SSLError:
            raise KeyFileError(f"{self.key} is not the private key of {self.certificate}") from None

    def _others(self) -> str:
        """What to do about a file that is absent."""
        others = sorted(p.stem for p in self.key.parent.glob("*.key") if p.stem not in (self.name, "ca"))
        made = "make it with `securegen certs`, docs/howto/mpc.md has the steps"
        return f"the folder has the key of {', '.join(others)}: is the role right? Otherwise {made}" if others else made


def init_ca(directory: Path, *, days: int = 365, passphrase: bytes | None = None) -> Path:
    """Make the study authority: `ca.pem` (for every party) and `ca.key` (0600, stays here). Returns ca.pem.

    passphrase: of ca.key; None leaves it unprotected on disk. A run that was killed between the two files is ended. Raises
    KeyFileError for a passphrase that is too weak, or where both are there.
    """
    directory = Path(directory)
    make_folder(directory, PRIVATE_FOLDER)
    key = _begun_key(directory / "ca.key", directory / "ca.pem", passphrase)
    name = _name("securegen study authority")
    certificate = (
        _builder(name, name, key.public_key(), days)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    _write_new(directory / "ca.pem", certificate.public_bytes(_PEM))
    return directory / "ca.pem"


def request(directory: Path, name: str, *, passphrase: bytes | None = None) -> Path:
    """Make a party's key `NAME.key` (0600) and its signing request `NAME.csr`, which goes to the authority.

    passphrase, and a run that was killed: as in `init_ca`.
    """
    _check_name(name)
    directory = Path(directory)
    make_folder(directory, PRIVATE_FOLDER)
    key = _begun_key(directory / f"{name}.key", directory / f"{name}.csr", passphrase)
    csr = x509.CertificateSigningRequestBuilder().subject_name(_name(name)).sign(key, hashes.SHA256())
    _write_new(directory / f"{name}.csr", csr.public_bytes(_PEM))
    return directory / f"{name}.csr"


def issue(
    ca: Path,
    csr: Path,
    *,
    name: str,
    rank: int,
    out: Path | None = None,
    days: int = 365,
    passphrase: bytes | None = None,
) -> Path:
    """Sign the request `csr` with the authority in directory `ca`, for party `name` of `rank`. Returns NAME.pem.

    passphrase: of ca.key, where it has one.

    Raises InputError when the request is for another name or its signature is wrong, KeyFileError when a file exists.
    """
    _check_name(name)
    asked = load_request(csr)
    if asked.subject != _name(name):
        raise InputError(
            f"{csr}: is not a valid request of party {name!r}; it says {shown(asked.subject.rfc4514_string(), 80)}"
        )
    authority = load_certificate(Path(ca) / "ca.pem")
    ca_key = load_key(private_pem(Path(ca) / "ca.key", passphrase), Path(ca) / "ca.key")
    certificate = (
        _builder(_name(name), authority.subject, asked.public_key(), days)
        .add_extension(x509.SubjectAlternativeName(_alternatives(name, rank)), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False
        )
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    path = Path(out) if out else Path(ca) / f"{name}.pem"
    _write_new(path, certificate.public_bytes(_PEM))
    return path


def _alternatives(name: str, rank: int) -> list[x509.GeneralName]:
    return [x509.DNSName(name), x509.UniformResourceIdentifier(f"{RANK_URI}{rank}")]


def _builder(subject: x509.Name, issuer: x509.Name, key: object, days: int) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)  # type: ignore[arg-type]
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(days=days))
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates, key_cert_sign=signs_certificates, crl_sign=signs_certificates,
        content_commitment=False, key_encipherment=False, data_encipherment=False, key_agreement=False,
        encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _check_name(name: str) -> None:
    if not NAME.fullmatch(name):
        raise InputError(f"party name {name!r} must be lower-case letters, digits and hyphens, at most 31")


def protect(path: Path, passphrase: bytes) -> None:
    """Put a private key in PEM form under its first passphrase, in its place."""
    pem = read_pem(path, "private key")
    load_key(pem, path)
    with atomic(os.path.realpath(path), mode=PRIVATE) as stream:
        stream.write(envelope.sealed(KEY_MAGIC, {}, pem, passphrase))


def _begun_key(path: Path, public: Path, passphrase: bytes | None) -> ec.EllipticCurvePrivateKey:
    """The key at `path`, made where there is none; `public` is what will be made of it and must not be there."""
    if os.path.lexists(path) and not os.path.lexists(public):
        return load_key(private_pem(path, passphrase), path)
    _refuse_old(path)
    _refuse_old(public)
    key = ec.generate_private_key(ec.SECP256R1())
    _write_key(path, key, passphrase)
    return key


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey, passphrase: bytes | None) -> None:
    data = key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    _write_new(path, data if passphrase is None else envelope.sealed(KEY_MAGIC, {}, data, passphrase), PRIVATE)


def _refuse_old(path: Path) -> None:
    if os.path.lexists(path):
        raise KeyFileError(f"{path} exists already and is never overwritten; remove it by hand first")


def _write_new(path: Path, data: bytes, mode: int = FOR_OTHERS) -> None:
    _refuse_old(path)
    with atomic(path, mode=mode, overwrite=False, durable=True) as file:
        file.write(data)
