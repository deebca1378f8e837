"""`parties.toml`: who takes part in a study, where they listen, and the public key each is pinned by.

Every party keeps its own copy and compares the pins with the others by another channel (telephone, paper) before the
first run; the certificate authority that signed the certificates is then trusted for nothing but a second opinion.

    study = "height-2024"
    timeout_seconds = 60

    [[party]]
    name = "hospital"
    role = "genotypes"
    address = "10.0.0.1:7001"   # where the others dial it; absent: it dials the others, and nobody need reach it
    listen = "0.0.0.0:7001"     # where it listens, if that is another address than the one dialled
    pin = "sha256:…"            # `securegen certs pin hospital.pem`
    policy = "3 … …"            # its policy, where it has one: version, digest, steward (`securegen policy check`)

The order of the parties is their rank. Of two parties the one without an address dials; of two with one, the later.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from securegen.errors import InputError, UsageError
from securegen.io.output import FOR_OTHERS, write_text
from securegen.io.strict_json import read_regular

NAME = re.compile(r"[a-z][a-z0-9-]{0,30}")  # a DNS label, because TLS compares it with the certificate
PIN = re.compile(r"sha256:[0-9a-f]{64}")
POLICY = re.compile(r"[1-9][0-9]{0,9} [0-9a-f]{64} [0-9a-f]{64}")
ROLES = ("genotypes", "phenotypes", "site", "server", "owner", "analyst", "model", "dealer", "compute")
DEALER = "dealer"
MOST_PARTIES = 256
_MOST_BYTES = 1 << 20


@dataclass(frozen=True)
class PartyEntry:
    """One line of the study. address: host:port where others dial it, None for a party that only dials; pin: sha256 of
    its SubjectPublicKeyInfo; listen: host:port it listens on, where that is not the address; policy: the pin of the one that
    governs its data, which it cannot leave away then."""

    name: str
    role: str
    address: str | None
    pin: str
    listen: str | None = None
    policy: str | None = None

    @property
    def listens(self) -> str:
        """host:port it listens on."""
        return self.listen or self.address or ""


@dataclass(frozen=True)
class Parties:
    """The parties of a study in order of rank. timeout: longest silence of a peer, in seconds."""

    study: str
    party: tuple[PartyEntry, ...]
    timeout: float = 60.0

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(p.name for p in self.party)

    def __getitem__(self, name: str) -> PartyEntry:
        for p in self.party:
            if p.name == name:
                return p
        raise UsageError(f"no party is called {name!r}; the study {self.study!r} has {', '.join(self.names)}")

    def rank(self, name: str) -> int:
        return self.party.index(self[name])

    def dials(self, one: str, other: str) -> bool:
        """Whether `one` dials `other`, or is dialled by it: of each pair one party alone must be reachable."""
        mine, theirs = self[one].address, self[other].address
        if (mine is None) != (theirs is None):
            return mine is None
        return self.rank(one) > self.rank(other)

    def with_role(self, role: str) -> tuple[str, ...]:
        """The names of the parties with `role`, in order of rank."""
        return tuple(p.name for p in self.party if p.role == role)

    def only(self, role: str) -> str:
        """The one party with `role`; UsageError when there is none or more than one."""
        names = self.with_role(role)
        if len(names) != 1:
            raise UsageError(f"this protocol needs one party with the role {role!r}; the study has {len(names)}")
        return names[0]

    @property
    def computing(self) -> tuple[str, ...]:
        """Every party but the dealer."""
        return tuple(p.name for p in self.party if p.role != DEALER)

    def digest(self) -> str:
        """SHA-256 over study, names, roles and pins in order: parties that differ in it are not in the same study."""
        lines = [self.study, *(f"{p.name}\t{p.role}\t{p.pin}{_tail(p)}" for p in self.party)]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _tail(p: PartyEntry) -> str:
    return "" if p.policy is None else f"\t{p.policy}"


def read_parties(path: str | os.PathLike[str]) -> Parties:
    """Read and check `parties.toml`. Raises InputError that names file, party and what is wrong."""
    path = Path(path)
    try:
        data = tomllib.loads(read_regular(path, "a parties.toml", most=_MOST_BYTES, error=InputError).decode())
    except FileNotFoundError as error:
        raise InputError(f"cannot read {path}: {error.strerror}; docs/howto/mpc.md shows a parties.toml") from None
    except (ValueError, RecursionError) as error:  # what tomllib and the codec raise
        raise InputError(f"{path}: cannot be read as TOML: {error}") from None
    unknown = set(data) - {"study", "timeout_seconds", "party"}
    if unknown:
        raise InputError(f"{path}: unknown key {sorted(unknown)[0]!r}; known are study, timeout_seconds and [[party]]")
    rows = data.get("party")
    if not isinstance(data.get("study"), str) or not isinstance(rows, list) or not 2 <= len(rows) <= MOST_PARTIES:
        raise InputError(f"{path}: needs a study name (text) and at least two, at most {MOST_PARTIES} [[party]] tables")
    if not data["study"].isprintable():  # the digest of a study is over lines and tabs
        raise InputError(f"{path}: the study's name {data['study']!r} must be one line of printable text")
    timeout = data.get("timeout_seconds", 60)
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not 1 <= timeout <= 86400:
        raise InputError(f"{path}: timeout_seconds must be between 1 and 86400, found {timeout!r}")
    parties = tuple(_party(path, number, row) for number, row in enumerate(rows, 1))
    for field in ("name", "pin", "address"):
        values = [value for p in parties if (value := getattr(p, field)) is not None]
        twice = next((v for v in values if values.count(v) > 1), None)
        if twice is not None:
            raise InputError(f"{path}: two parties have the same {field} {twice!r}")
    silent = [p.name for p in parties if p.address is None]
    if len(silent) > 1:
        raise InputError(
            f"{path}: parties {' and '.join(silent)} have no address, so neither can dial the other: at most one party of "
            "a study goes without"
        )
    return Parties(data["study"], parties, float(timeout))


def split_address(address: str) -> tuple[str, int]:
    """Host and port.

    >>> split_address("[::1]:7001")
    ('::1', 7001)
    """
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def _party(path: Path, number: int, row: Any) -> PartyEntry:
    where = f"{path}: party {number}"
    fields, optional = ("name", "role", "pin"), ("address", "listen", "policy")
    row = row if isinstance(row, dict) else {}
    wrong = [f for f in (*fields, *(f for f in optional if f in row)) if not isinstance(row.get(f), str)]
    wrong += sorted(set(row) - {*fields, *optional})
    if wrong:
        raise InputError(
            f"{where}: needs the text fields {', '.join(fields)}, and may have {' and '.join(optional)}; wrong or absent: "
            f"{', '.join(wrong)}"
        )
    if not NAME.fullmatch(row["name"]):
        raise InputError(f"{where}: name {row['name']!r} must be lower-case letters, digits and hyphens, at most 31")
    if row["role"] not in ROLES:
        raise InputError(f"{where} ({row['name']}): role {row['role']!r} is not one of {', '.join(ROLES)}")
    if not PIN.fullmatch(row["pin"]):
        raise InputError(f"{where} ({row['name']}): pin must be sha256: and 64 hexadecimal digits")
    if "policy" in row and not POLICY.fullmatch(row["policy"]):
        raise InputError(f"{where} ({row['name']}): policy must be the line that securegen policy check prints")
    for field in (f for f in ("address", "listen") if f in row):
        host, colon, port = row[field].rpartition(":")
        if not (colon and host and port.isascii() and port.isdecimal() and len(port) < 6 and 0 < int(port) < 65536):
            raise InputError(
                f"{where} ({row['name']}): {field} {row[field]!r} must be host:port, the port from 1 to 65535"
            )
    if "listen" in row and "address" not in row:
        raise InputError(
            f"{where} ({row['name']}): it says where it listens, but not the address at which others dial it"
        )
    return PartyEntry(row["name"], row["role"], row.get("address"), row["pin"], row.get("listen"), row.get("policy"))


def write_parties(path: Path, parties: Parties) -> None:
    """Write `parties` so that `read_parties` gives them back. Overwrites nothing."""
    lines = [f"study = {json.dumps(parties.study)}", f"timeout_seconds = {parties.timeout:g}"]
    for p in parties.party:
        lines += [
            "",
            "[[party]]",
            *(
                f'{field} = "{value}"'
                for field in ("name", "role", "address", "listen", "pin", "policy")
                if (value := getattr(p, field)) is not None
            ),
        ]
    text = "\n".join(lines) + "\n"
    if os.path.lexists(path):
        raise UsageError(f"{path} exists already; remove it or choose another name")
    write_text(path, text, mode=FOR_OTHERS, overwrite=False)
