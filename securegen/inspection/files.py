"""Single files: keys, plans, records of runs, tables, studies, parties, certificates. Secret halves are never parsed."""

from __future__ import annotations

import gzip
import tomllib
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import zstandard

from securegen import vocabulary as voc
from securegen.catalogue import TESTS
from securegen.engines.ckks import keys
from securegen.engines.ckks.owner import secret_key
from securegen.engines.ckks.planner import Plan
from securegen.errors import ArtefactError, SecuregenError
from securegen.governance import signing
from securegen.inspection.folders import describe_study_folder, parameters_facts, public_key_facts
from securegen.io.schema import anything, has, hex_bytes, integer, map_of, one_of, shown, text
from securegen.io.secret_files import first_bytes
from securegen.io.strict_json import parse_json, read_json, read_regular
from securegen.io.unpacked import GZIP, ZSTD, unpacked
from securegen.record.run_log import read_records
from securegen.results import gwas_ssf, regenie
from securegen.scores.sscore import MATCH_COLUMNS

Found = dict[str, Any]
_ENTRIES = map_of(anything, 1 << 22, name=text(1 << 12))
_STATE = has("claims", "spent", claims=_ENTRIES, spent=_ENTRIES)
_LEDGER = has("replies", replies=map_of(map_of(integer(0, 1 << 62), 1 << 20), 1 << 20))


def key_fingerprint(path: Path) -> str | None:
    """Fingerprint of the public half of a securegen secret key; None for other secrets."""
    try:
        return "fingerprint " + _public_half(path).fingerprint
    except SecuregenError:
        return None


_SECRET_HEADER = has(
    "magic",
    "public",
    "protection",
    magic=one_of(secret_key.SECRET_MAGIC, secret_key.EARLIER_MAGIC),
    protection=text(64),
)


def _header(path: Path) -> dict[str, Any]:
    with path.open("rb") as stream:
        header: dict[str, Any] = parse_json(stream.readline(1 << 16), f"{path}, a secret key,", _SECRET_HEADER)
    return header


def _public_half(path: Path) -> keys.PublicKey:
    return keys.PublicKey.from_json(_header(path)["public"])


def describe_file(path: Path) -> Found | None:
    """What a file is; None when it is nothing that securegen writes. Raises ArtefactError when it is, and is damaged."""
    start = first_bytes(path)
    for magic, describe in KINDS:
        if magic in start:
            return describe(path)
    if path.name.endswith(".box"):
        return {"kind": "owner's box, encrypted under the owner's key", "facts": {"bytes": path.stat().st_size}}
    if path.suffix == ".toml":
        return _toml(path)
    if path.suffix == ".msg":
        return _message(path)
    if start[:1] == b"{":
        return _json(path)
    return _table(path, start)


def _mode(path: Path) -> tuple[str, list[str]]:
    mode = path.stat().st_mode & 0o777
    return f"{mode:o}", [f"{path} can be read by others (mode {mode:o}): chmod 600 {path}"] if mode & 0o077 else []


def _secret_key(path: Path) -> Found:
    try:
        header, public = _header(path), _public_half(path)
    except ArtefactError as error:
        raise ArtefactError(f"{path} is a damaged securegen secret key: {error}") from None
    mode, problems = _mode(path)
    protected = header.get("protection") != "none"
    how = f"{header.get('protection')} (passphrase)" if protected else "none: whoever reads the file can decrypt"
    retired = secret_key.retired_marker(path).exists()
    notes = ["stays with the owner; nothing secret in it was read"]
    notes += [f"retired, a result failed verification: see {secret_key.retired_marker(path)}"] if retired else []
    facts = {"protection": how, "mode": mode, "retired": retired, **public_key_facts(public)}
    return {"kind": "secret key", "facts": facts, "problems": tuple(problems), "notes": tuple(notes)}


def _public_key(path: Path) -> Found:
    return {"kind": "public key", "facts": public_key_facts(keys.read_public(path))}


def _signing_key(path: Path) -> Found:
    mode, problems = _mode(path)
    line = read_regular(path, "a signing key").partition(b"\n")[0]
    head = parse_json(line, f"{path}, a signing key,", has("verify_key", "protection", verify_key=hex_bytes(32)))
    facts = {"mode": mode, "protection": shown(head["protection"])}
    facts["fingerprint"] = signing.fingerprint(head["verify_key"])
    note = "stays with the site or coordinator; of it only the fingerprint of its public half is shown"
    return {"kind": "signing key of a federated study", "facts": facts, "problems": tuple(problems), "notes": (note,)}


def _verify_key(path: Path) -> Found:
    facts = {"fingerprint": signing.fingerprint(signing.read_verify_key(path))}
    return {"kind": "verification key of a federated study (public)", "facts": facts}


def _message(path: Path) -> Found:
    from securegen.engines.federated.messages import read_head

    body = read_head(read_regular(path, "a message"), str(path))["body"]
    facts = {k: body[k] for k in ("study", "site", "step")} | {"bytes": (body["payload"] or {"size": 0})["size"]}
    checks = {"signature": "not checked: securegen study status checks every message of a study"}
    return {"kind": "message of a federated study", "facts": facts, "checks": checks}


def _private_pem(path: Path) -> Found:
    mode, problems = _mode(path)
    note = "stays where it was made; it was not parsed"
    return {
        "kind": "private key of a TLS certificate",
        "facts": {"mode": mode},
        "problems": tuple(problems),
        "notes": (note,),
    }


def _certificate(path: Path) -> Found:
    from securegen.engines.mpc.net.pem import load_certificate, pin

    certificate = load_certificate(path)
    facts = {
        "subject": certificate.subject.rfc4514_string(), "issuer": certificate.issuer.rfc4514_string(),
        "valid": f"{certificate.not_valid_before_utc:%Y-%m-%d} to {certificate.not_valid_after_utc:%Y-%m-%d}",
        "pin": pin(path),
    }  # fmt: skip
    return {"kind": "certificate of a party (public)", "facts": facts}


def _request(path: Path) -> Found:
    return {"kind": "certificate request (public), for the authority", "facts": {"bytes": path.stat().st_size}}


def _state(path: Path) -> Found:
    mode, problems = _mode(path)
    content = read_json(path, "a memory of masks and limits", _STATE)
    facts = {"mode": mode, "claims": len(content["claims"]), "counted": len(content["spent"])}
    note = "stays with its owner: it holds mask keys, which were not shown; never restore an old copy"
    return {"kind": "memory of masks and limits", "facts": facts, "problems": tuple(problems), "notes": (note,)}


def _ledger(path: Path) -> Found:
    models = read_json(path, "a ledger of replies", _LEDGER)["replies"]
    facts = {"models": len(models), "replies": sum(int(n) for clients in models.values() for n in clients.values())}
    return {"kind": "ledger of a private model's replies", "facts": facts, "notes": ("stays with the model owner",)}


def _challenge(path: Path) -> Found:
    return {"kind": "challenge (public, of one run)", "facts": {"bytes": path.stat().st_size}}


def _toml(path: Path) -> Found | None:
    try:
        content = tomllib.loads(read_regular(path, "a TOML file").decode())
    except (ValueError, UnicodeDecodeError, RecursionError):
        return None
    if "party" in content:
        from securegen.engines.mpc.net.parties import read_parties

        parties = read_parties(path)
        who = parties.party
        facts = {
            "study": parties.study,
            "parties": [f"{p.name} ({p.role}) {f'at {p.address}' if p.address else 'dials only'}" for p in who],
            "pins": [f"{p.name} {p.pin}" for p in who],
            "who dials": [f"{a.name} -> {b.name} at {b.address}" for a in who for b in who
                          if a is not b and parties.dials(a.name, b.name)],
        }  # fmt: skip
        return {"kind": "parties of a multi-party run", "facts": facts}
    if "site" in content:
        return describe_study_folder(path)
    if "command" in content:
        return {
            "kind": f"options for securegen {content['command']} (--config)",
            "facts": {k: content[k] for k in content},
        }
    return None


def _json(path: Path) -> Found | None:
    content = read_json(path, "JSON of securegen", has())
    named = JSON_KINDS.get(str(content.get("magic", content.get("format"))))
    if named:
        return named(path)
    if {"parameters", "workload"} <= set(content):
        plan = Plan.from_json(content)
        w = plan.workload
        facts = {
            "variants": w.variants,
            "columns": f"{w.columns} {w.precision}",
            **parameters_facts(plan.parameters),
        }
        facts["bytes"] = {k: f"{v / 1e6:.1f} MB" for k, v in plan.bytes().items()}
        return {"kind": "plan (public)", "facts": facts}
    if "command" in content and "seconds" in content:
        return _run(path)
    return None


def _run(path: Path) -> Found:
    names = ("command", "version", "engine", "samples", "variants", "covariates", "phenotypes", "missing", "seconds")
    last, *earlier = read_records(path)
    facts = {k: last[k] for k in names if k in last}
    if "call" in last:
        facts["again"] = f"securegen rerun {path}"
    if earlier:
        facts["earlier"] = [r["command"] for r in earlier]
    return {"kind": "record of a run", "facts": facts}


def _table(path: Path, start: bytes) -> Found | None:
    try:
        if start[:2] == GZIP or start[:4] == ZSTD:
            with path.open("rb") as raw, unpacked(raw) as stream:
                start = stream.read(1 << 12)
        return _rows(path, start)
    except (EOFError, ValueError, zlib.error, gzip.BadGzipFile, zstandard.ZstdError) as error:
        raise ArtefactError(f"{path} cannot be unpacked: {error}") from None


def _rows(path: Path, start: bytes) -> Found | None:
    first = start.split(b"\n", 1)[0].decode("utf-8", "replace")
    header = first.split("\t" if "\t" in first else None)
    names = {t.columns: f"{t.name} association" for t in TESTS.values()}
    names |= {tuple(c): f"quality control ({n})" for n, c in voc.QC_COLUMNS.items()}
    kind = names.get(tuple(header))
    if kind is None and {"ALLELE_CT", "NAMED_ALLELE_DOSAGE_SUM"} <= set(header):
        kind = "scores"
    if kind is None and tuple(header) == MATCH_COLUMNS:
        kind = "which rows of a scoring file are scored, and why the others are not"
    if kind is None and set(voc.VARIANT_COLUMNS) < set(header) and {"LOG10_P", "ERRCODE"} <= set(header):
        kind = "association"  # hits, or what else two parties agreed to open
    for others, needed in (("regenie's", regenie.COLUMNS), ("GWAS-SSF's", gwas_ssf.MANDATORY)):
        if kind is None and set(needed) <= set(header):
            kind = f"association, in {others} columns"
    if kind is None:
        return None
    with path.open("rb") as raw, unpacked(raw) as stream:
        parts = iter(lambda: stream.read(1 << 20), b"")  # a line of other people's may have no end
        rows = sum(part.count(b"\n") for part in parts) - 1
    return {"kind": f"result table: {kind}", "facts": {"rows": rows, "columns": header}}


KINDS: tuple[tuple[bytes, Callable[[Path], Found]], ...] = (
    (b'"' + secret_key.SECRET_MAGIC.encode() + b'"', _secret_key),
    (b'"' + secret_key.EARLIER_MAGIC.encode() + b'"', _secret_key),
    (b'"securegen party key 1"', _private_pem),
    (b'"' + signing.SECRET_MAGIC.encode() + b'"', _signing_key),
    (b'"' + signing.PUBLIC_MAGIC.encode() + b'"', _verify_key),
    (b"PRIVATE KEY-----", _private_pem),
    (b"BEGIN CERTIFICATE REQUEST-----", _request),
    (b"BEGIN CERTIFICATE-----", _certificate),
)
JSON_KINDS: dict[str, Callable[[Path], Found]] = {
    keys.PUBLIC_MAGIC: _public_key,
    "securegen reply ledger 1": _ledger,
    "securegen mpc state 1": _state,
    "securegen mpc state 2": _state,
    "securegen score challenge 1": _challenge,
}
