"""policy.toml and its detached signature: read strictly, signed by the steward, found beside what it governs.

The file has a narrow form, so that two readers cannot differ on it: UTF-8 with LF, one key per line, no key twice, no value
over several lines, no link. The signature is on its bytes. Every fault names the line.
"""

from __future__ import annotations

import os
import re
import stat
import tomllib
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from securegen.errors import PolicyError
from securegen.governance.audit_alerts import SETTINGS_OF_ALERTS
from securegen.governance.policy import SETTINGS, Policy, Setting
from securegen.governance.policy_tables import TABLES, Tables, identities_of, issuers_of, visas_of
from securegen.governance.signing import SigningIdentity, canonical, fingerprint, sha256, verifies
from securegen.io.output import FOR_OTHERS, write_json, write_text
from securegen.io.schema import Refused, hex_bytes, hex_text, integer, one_of, printable, record
from securegen.io.strict_json import read_json, read_regular

POLICY, SIGNATURE = "policy.toml", ".sig"  # the latter beside it, policy.toml.sig
MOST_BYTES = 1 << 16
_MOST_LINKS = 40  # one after the other, as Linux follows them
MAGIC = "securegen policy signature 1"
DOMAIN = b"securegen policy"
_KEYS = SETTINGS | SETTINGS_OF_ALERTS
_HEADER = re.compile(rf"\[([a-z_]+(?:\.[a-z_]+)?)\]|\[\[({'|'.join(TABLES)})\]\]")
_KEY = re.compile(r"([a-z_]+) = (\S.*)")
_SEAL = record(
    magic=one_of(MAGIC), policy=hex_text(32), version=integer(1, 1 << 31), key=hex_bytes(32), signature=hex_bytes(64)
)


def _fault(where: str, line: int, what: str) -> PolicyError:
    return PolicyError(f"policy.file: {where}, line {line}: {what}")


def _bytes(path: Path) -> bytes:
    try:
        if stat.S_ISLNK(os.lstat(path).st_mode):
            raise PolicyError(f"policy.file: {path} is a link: put the policy itself there")
        if os.lstat(path).st_size > MOST_BYTES:
            raise PolicyError(f"policy.file: {path} is larger than {MOST_BYTES} bytes, the most of a policy")
        return read_regular(path, "a policy", most=MOST_BYTES, error=PolicyError)
    except FileNotFoundError:
        raise PolicyError(
            f"policy.file: there is no {path}: bring the policy back, nothing is released without"
        ) from None


def digest_of(raw: bytes) -> str:
    """Hex SHA-256 of a policy's bytes."""
    return sha256(DOMAIN, raw)


def parse(raw: bytes, where: str) -> Policy:
    """A policy from its bytes. Raises PolicyError naming the line and the key."""
    try:
        lines = raw.decode("utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise _fault(where, raw.count(b"\n", 0, error.start) + 1, "it is not UTF-8 text") from None
    values: dict[str, Any] = {}
    at: dict[str, int] = {}
    tables: dict[str, list[tuple[int, dict[str, Any]]]] = {}
    sections: set[str] = set()
    section, repeated = "", ""
    own: dict[str, Any] | None = None  # the repeated table that this line is in
    for number, line in enumerate(lines, 1):
        if any(not c.isprintable() for c in line):
            raise _fault(where, number, f"it holds U+{next(ord(c) for c in line if not c.isprintable()):04X}")
        if not line.strip(" ") or line.startswith("#"):
            continue
        header = _HEADER.fullmatch(line.rstrip(" "))
        if header:
            section, repeated, own = header[1] or "", header[2] or "", None
            if repeated:
                own = {}
                tables.setdefault(repeated, []).append((number, own))
            elif section in sections or not any(k.startswith(f"{section}.") for k in _KEYS):
                raise _fault(
                    where, number, f"[{section}] is {'there twice' if section in sections else 'no table of a policy'}"
                )
            sections.add(section)
            continue
        found = _KEY.fullmatch(line)
        if not found:
            raise _fault(where, number, f"`key = value` in one line is expected, not {printable(line, 40)}")
        key = f"{section}.{found[1]}" if section else found[1]
        name = key if own is None else f"{repeated}.{found[1]}"
        setting = _KEYS.get(key) if own is None else TABLES[repeated].get(found[1])
        if setting is None:
            raise _fault(where, number, f"{name} is not a key of a policy")
        if (key in values) if own is None else (found[1] in own):
            raise _fault(where, number, f"{name} is there twice")
        value = _value(found[2], setting, name, where, number)
        if own is None:
            values[key], at[key] = value, number
        else:
            own[found[1]] = value
    return _whole(raw, where, values, at, tables)


def _value(written: str, setting: Setting, name: str, where: str, line: int) -> Any:
    try:
        read = tomllib.loads(f"v = {written}")["v"]
        if '"""' in written or "'''" in written:
            raise Refused(f"{name} must stand in one line")
        return setting.check(read, name)
    except Refused as error:
        raise _fault(where, line, str(error)) from None
    except (ValueError, RecursionError):  # no TOML, or a number of too many digits
        raise _fault(where, line, f"{name} has no TOML value in this line") from None


def _whole(raw: bytes, where: str, values: dict[str, Any], at: dict[str, int], tables: Tables) -> Policy:
    try:
        tomllib.loads(raw.decode())  # any reader of TOML takes it
    except (ValueError, RecursionError) as error:
        raise PolicyError(f"policy.file: {where} is not TOML: {error}") from None
    for key, setting in SETTINGS.items():
        if key not in values:
            if setting.default is None:
                raise PolicyError(f"policy.file: {where} lacks {key}")
            values[key] = setting.default

    def fault(line: int, what: str) -> PolicyError:
        return _fault(where, line, what)

    identities, issuers = identities_of(tables, fault), issuers_of(tables, fault)
    return Policy(values, identities, at, digest_of(raw), issuers, visas_of(tables, issuers, fault))


def signature_path(path: Path) -> Path:
    """Where the signature of a policy lies."""
    return path.with_name(path.name + SIGNATURE)


def _seal(path: Path) -> dict[str, Any]:
    try:
        seal: dict[str, Any] = read_json(
            signature_path(path), "the signature of a policy", _SEAL, most=1 << 12, error=PolicyError
        )
    except FileNotFoundError:
        raise PolicyError(
            f"policy.signature: {path} is not signed: securegen policy sign {path} --key STEWARD.secret"
        ) from None
    return seal


def _signed(policy: Policy) -> bytes:
    return DOMAIN + canonical({"policy": policy.digest, "version": policy.version, "key": policy.steward})


def read_policy(path: str | Path) -> Policy:
    """A signed policy. Raises PolicyError where it is absent, unsigned, altered, signed by another than its steward, or not
    what a policy is."""
    path = Path(path)
    policy, seal = parse(_bytes(path), str(path)), _seal(path)
    if seal["policy"] != policy.digest or seal["version"] != policy.version:
        raise PolicyError(f"policy.signature: {path} was changed since it was signed")
    if seal["key"].hex() != policy.steward or not verifies(seal["key"], _signed(policy), seal["signature"]):
        raise PolicyError(f"policy.signature: {path} is not signed by the steward whose key it names")
    return policy


def sign_policy(
    path: str | Path, steward: SigningIdentity, *, first: Callable[[Policy], object] | None = None
) -> Policy:
    """Sign a policy file. first: told of it before the signature is written.

    Raises PolicyError where it is not one, names another steward, or has no later version than the one that was signed before.
    """
    path = Path(path)
    policy = parse(_bytes(path), str(path))
    if policy.steward != steward.verify_key.hex():
        raise PolicyError(
            f"policy.steward: {path} names the steward {fingerprint(bytes.fromhex(policy.steward))}; this key is "
            f"{fingerprint(steward.verify_key)}"
        )
    if os.path.lexists(signature_path(path)):
        before = _seal(path)
        if before["policy"] != policy.digest and before["version"] >= policy.version:
            raise PolicyError(
                f"policy.version: version {before['version']} was signed already, of another text: write version "
                f"{before['version'] + 1}"
            )
    seal = {
        "magic": MAGIC, "policy": policy.digest, "version": policy.version, "key": policy.steward,
        "signature": steward.sign(_signed(policy)).hex(),
    }  # fmt: skip
    if first is not None:
        first(policy)
    write_json(signature_path(path), seal, mode=FOR_OTHERS)
    return policy


def write_draft(path: str | Path, draft: str) -> None:
    """Write a policy that is not signed yet. Raises StorageError where one is there."""
    parse(draft.encode(), str(path))
    write_text(path, draft, mode=FOR_OTHERS, overwrite=False)


def beside(files: Iterable[str | os.PathLike[str]]) -> list[Path]:
    """Policies in the folders of these files, and in those where links lead. Raises PolicyError for a name that only looks
    like policy.toml, and for a signature without its policy. What lies where a link leads comes first."""
    found: dict[Path, Path] = {}
    for file in files:
        for folder in _folders_of(Path(os.path.abspath(file))):
            if _stands_in(folder):
                found.setdefault(Path(os.path.realpath(folder)), folder / POLICY)
    return list(found.values())


def _folders_of(given: Path) -> list[Path]:
    """Where the policy of a file may stand: where it lies first, then where each link to it lies, the given name last."""
    steps = [given]
    while steps[-1].is_symlink() and len(steps) < _MOST_LINKS:
        steps.append(Path(os.path.abspath(steps[-1].parent / os.readlink(steps[-1]))))
    steps.append(Path(os.path.realpath(given)))
    inside = (steps[-1], given) if given.is_dir() else ()
    return list(dict.fromkeys((*(p.parent for p in reversed(steps)), *inside)))


def governing(named: str | os.PathLike[str] | None, found: Sequence[Path]) -> tuple[Policy | None, Path]:
    """The policy that governs, None without one, and the folder that has its ledger, its log and its draws of noise.

    named: by whoever asks; found: of `beside`. What stands beside the data comes first: a copy elsewhere, that somebody names,
    neither lifts it nor begins another ledger. Raises PolicyError where two differ.
    """
    if not found:
        return (None, Path(".")) if named is None else (read_policy(Path(named)), Path(named).parent)
    policy = read_policy(found[0])
    for path in (*found[1:], *(() if named is None else (Path(named),))):
        if read_policy(path).digest != policy.digest:
            raise PolicyError(f"policy.file: {found[0]} governs these data, not {path}")
    return policy, found[0].parent


def _stands_in(folder: Path) -> bool:
    seal = POLICY + SIGNATURE
    try:
        names = os.listdir(folder)
    except OSError:  # it may be entered all the same
        names = [name for name in (POLICY, seal) if os.path.lexists(folder / name)]
    for name in names:
        if name not in (POLICY, seal) and unicodedata.normalize("NFKC", name).casefold() in (POLICY, seal):
            raise PolicyError(
                f"policy.file: {folder}/{printable(name, 40)} looks like {POLICY} and is not it: rename it"
            )
    if seal in names and POLICY not in names:
        raise PolicyError(f"policy.file: {folder}/{seal} has no {POLICY} beside it: bring it back")
    return POLICY in names
