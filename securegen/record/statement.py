"""What a signed receipt says of a run: an in-toto Statement, version 1.

Its subjects are the files that the run wrote, by name and SHA-256. Its predicate has the engine, parameters and options,
digests of the inputs, who learned what, what a policy decided, how far the audit logs were, and the digest of the run's
record. Paths lose their folders: a receipt goes to others.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from securegen.errors import ArtefactError
from securegen.governance.signing import canonical
from securegen.io.schema import (
    Check,
    Refused,
    anything,
    has,
    hex_text,
    integer,
    list_of,
    map_of,
    one_of,
    optional,
    text,
)
from securegen.io.strict_json import parse_json
from securegen.record.receipt import Receipt

PAYLOAD = "application/vnd.in-toto+json"
STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "urn:securegen:receipt:1"
MOST_FILES = 1 << 14
_COUNTS = ("samples", "samples_stored", "variants", "covariates")
_LISTS = ("phenotypes", "covariate_names")
_WORD, _SHA = text(1 << 12), re.compile("[0-9a-f]{64}")


def _relative(value: object, where: str) -> str:
    """The name of a file in the folder of the receipt, or below it."""
    name: str = text(1 << 12, least=1)(value, where)
    if name.startswith("/") or "\\" in name or {"", ".", ".."} & set(name.split("/")):
        raise Refused(f"{where} is not a name of a file beside the receipt")
    return name


_WORDS = list_of(_WORD, 0, 1 << 12)
_LEARNED = has(
    "scenario", "parties", scenario=_WORD, parties=list_of(map_of(text(1 << 14), 16), 0, 1 << 10), released=_WORDS,
    assumptions=_WORDS, warnings=_WORDS, decisions=_WORDS, design=text(1 << 14),
)  # fmt: skip
_DIGEST = has("sha256", sha256=hex_text(32))
_COUNTED: dict[str, Check] = {name: optional(integer(0, 1 << 62)) for name in _COUNTS}
_PREDICATE = has(
    "run", "command", "version", "options", "inputs", "record", "signedOn",
    run=text(255, least=1), command=text(255), version=text(64), engine=text(64), options=map_of(anything, 256),
    parameters=map_of(anything, 256), record=_DIGEST, signedOn=text(64),
    inputs=list_of(has("name", "digest", name=_WORD, digest=map_of(text(255), 4)), 0, MOST_FILES),
    learned=_LEARNED, governance=map_of(anything, 64), audit=list_of(anything, 0, 64),
    stored=map_of(hex_text(32), 64, name=text(4096)),
    **_COUNTED, **{name: list_of(text(255), 0, 1 << 14) for name in _LISTS},
)  # fmt: skip
_STATEMENT = has(
    "_type", "subject", "predicateType", "predicate", _type=one_of(STATEMENT), predicateType=one_of(PREDICATE),
    subject=list_of(has("name", "digest", name=_relative, digest=_DIGEST), 0, MOST_FILES), predicate=_PREDICATE,
)  # fmt: skip


@dataclass(frozen=True)
class RunStatement:
    """subjects: name to SHA-256 of every file that the run wrote; predicate: what is said of the run."""

    subjects: Mapping[str, str]
    predicate: Mapping[str, Any]

    @property
    def run(self) -> str:
        """The last part of the prefix that the run wrote under."""
        return str(self.predicate["run"])

    @property
    def learned(self) -> Receipt | None:
        """Who learned what, where the run says it."""
        found = self.predicate.get("learned")
        return None if found is None else Receipt.from_json(found)

    def to_json(self) -> dict[str, Any]:
        """The Statement as it is signed."""
        subject = [{"name": name, "digest": {"sha256": digest}} for name, digest in sorted(self.subjects.items())]
        return {"_type": STATEMENT, "subject": subject, "predicateType": PREDICATE, "predicate": dict(self.predicate)}

    def to_bytes(self) -> bytes:
        return canonical(self.to_json())

    @classmethod
    def from_bytes(cls, raw: bytes, what: str) -> RunStatement:
        """A statement that was read. Raises ArtefactError, also for one of another kind and for a name given twice."""
        fields = parse_json(raw, what, _STATEMENT)
        subjects = {s["name"]: s["digest"]["sha256"] for s in fields["subject"]}
        if len(subjects) != len(fields["subject"]):
            raise ArtefactError(f"{what} is damaged: it names a file twice")
        return cls(subjects, fields["predicate"])

    def lines(self) -> list[str]:
        """For people."""
        said = self.predicate
        out = [f"run {self.run}: securegen {said['version']} {said['command']}, signed {said['signedOn']}"]
        counted = [f"{said[name]} {name.replace('_', ' ')}" for name in _COUNTS if said.get(name) is not None]
        out += [", ".join([*([f"engine {said['engine']}"] if said.get("engine") else []), *counted])]
        out += [f"options: {' '.join(f'{k}={_short(v)}' for k, v in sorted(said['options'].items()))}"]
        out += [f"read {i['name']} {' '.join(i['digest'].values())}" for i in said["inputs"]]
        out += [
            f"wrote {name} {digest}" for name, digest in sorted({**(said.get("stored") or {}), **self.subjects}.items())
        ]
        out += self.learned.lines() if self.learned else ["the run does not say who learned what"]
        policy = (said.get("governance") or {}).get("policy")
        if isinstance(policy, dict):
            out.append(f"policy {policy.get('name')} version {policy.get('version')}, {policy.get('digest')}")
        out += [
            f"audit log of {w['size']} entries, root {w['root']}"
            for w in said.get("audit") or []
            if isinstance(w, dict) and {"size", "root"} <= set(w)
        ]
        return out


def statement_of(prefix: str, record: Mapping[str, Any], subjects: Mapping[str, str]) -> RunStatement:
    """The statement of a run. record: as it stands in PREFIX.run.json; subjects: its files."""
    call = record.get("call") or {}
    read = {(Path(path).name, digest) for path, digest in (call.get("digests") or {}).items()}
    by_path = {digest for _, digest in read}
    read |= {(name, digest) for name, digest in (record.get("inputs") or {}).items() if digest not in by_path}
    inputs = [
        {"name": name, "digest": {"sha256" if _SHA.fullmatch(digest) else "key": digest}}
        for name, digest in sorted(read)
    ]
    written = {Path(str(p)).name for p in record.get("outputs") or ()}
    options = {name: _nameless(value) for name, value in (call.get("options") or {}).items() if value not in ("", None)}
    said = {
        "run": Path(prefix).name, "command": record["command"], "version": record["version"], "options": options,
        "inputs": inputs, "record": {"sha256": record_digest(record)}, "signedOn": _now(),
    }  # fmt: skip
    kept = {"engine", "parameters", *_COUNTS, *_LISTS, "governance", "audit", "stored"}
    said |= {name: record[name] for name in sorted(kept) if record.get(name) is not None}
    if (learned := record.get("receipt")) is not None:
        released = [Path(w).name if Path(w).name in written else w for w in learned.get("released") or ()]
        said["learned"] = {**learned, "released": released}
    return RunStatement(dict(subjects), said)


def record_digest(record: Mapping[str, Any]) -> str:
    """SHA-256 of one record of run.json, without what other commands left beside it."""
    own = {name: value for name, value in record.items() if name != "earlier"}
    return hashlib.sha256(canonical(own)).hexdigest()


def _nameless(value: Any) -> Any:
    """A path without its folders; NAME=FILE keeps its name."""
    if isinstance(value, list):
        return [_nameless(v) for v in value]
    if not isinstance(value, str) or os.sep not in value:
        return value
    name, told, path = value.rpartition("=")
    return f"{name}{told}{Path(path).name}"


def _short(value: Any) -> str:
    shown = ",".join(map(str, value)) if isinstance(value, list) else str(value)
    return shown if len(shown) <= 64 else f"{shown[:63]}…"


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def names(found: Sequence[str]) -> str:
    """Names of files for an error, the first of many."""
    shown = ", ".join(found[:8])
    return shown if len(found) <= 8 else f"{shown} and {len(found) - 8} more"
