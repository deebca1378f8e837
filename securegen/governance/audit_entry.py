"""An entry of the audit log: one line of canonical JSON, signed by the log, whose facts hold nothing of a person.

A fact is a digest, a count, a fingerprint or a word of a list. There is no field for free text: an id of a person, a file
name or a reason in prose is refused where it enters. The signature of a line covers the tree before it, so that an edited
line, or the line after a cut, is named without any other copy of the log.
"""

from __future__ import annotations

import base64
import datetime
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from securegen.errors import ArtefactError, UsageError
from securegen.governance import duo
from securegen.governance.signing import canonical
from securegen.io.schema import Check, Refused, anything, boolean, hex_text, integer, list_of, one_of, record, shown
from securegen.io.strict_json import parse_json

MOST_LINE = (1 << 16) - 1  # a bundle of C2SP prefixes an entry with two bytes of length

COMMANDS = (
    "audit", "certs init-ca", "certs issue", "certs pin", "certs request", "check", "consent apply", "consent check",
    "consent import", "consent list", "consent withdraw", "crate", "dealer", "decrypt", "dp counts", "dp frequencies",
    "dp histogram", "dp hits", "encrypt", "gwas", "inspect",
    "key backup", "key passphrase", "keygen", "kinship", "ld", "merge", "meta", "party", "pca", "pia", "plan", "plot",
    "policy check", "policy countersign", "policy explain", "policy init", "policy sign", "prs", "prs-step accept",
    "prs-step answer", "prs-step blind", "prs-step challenge", "prs-step decrypt", "prs-step encrypt", "prs-step encrypt-model",
    "prs-step evaluate", "prs-step invite", "prs-step offer", "prs-step open", "prs-step reply", "prs-step request",
    "prs-step unmask", "prs-step withdraw", "pseudonyms make", "pseudonyms open", "python", "qc", "receipt show",
    "receipt sign", "receipt verify", "report", "rerun", "risk", "run-local gwas", "run-local prs", "run-local qc",
    "site keygen", "site run", "site variants", "step1", "study continue", "study init", "study join", "study leave",
    "study status", "twin",
)  # fmt: skip
WHAT = (
    "table", "scores", "frequencies", "counts", "hits", "boolean", "components", "kinship", "predictions", "report", "crate",
    "receipt", "assessment", "twin", "risk", "key", "cohort", "design", "model", "log",
)  # fmt: skip
ROLES = ("owner", "steward", "analyst", "auditor", "site", "coordinator", "server", "modeller", "party", "dealer")
ENGINES = ("plain", "ckks", "federated", "mpc")
DUO = tuple(dict.fromkeys((*duo.TERMS, *duo.PURPOSES)))
ROOMS = (
    "policy", "consent", "budget", "openings", "audit", "risk", "noise", "release", "receipt", "pseudonyms", "generalise",
    "minimise", "ledger", "tier", "purpose", "identity", "pia", "crate", "twin", "dp",
)  # fmt: skip


def _pattern(pattern: str, wanted: str) -> Check:
    form = re.compile(pattern)

    def check(value: object, where: str) -> str:
        if type(value) is not str or not form.fullmatch(value):
            raise Refused(f"{where} is {shown(value)}, expected {wanted}")
        return value

    return check


COUNT = integer(0, 10**18)
DIGEST = hex_text(32)
RULE = _pattern(rf"({'|'.join(ROOMS)})(\.[a-z][a-z_]{{0,39}}){{1,2}}", "the name of a rule such as policy.purpose")
FINGERPRINT = _pattern(r"[0-9a-f]{4}(-[0-9a-f]{4}){7}", "the fingerprint of a key")
PURPOSES = rf"({'|'.join(DUO)})(:MONDO:[0-9]{{7}})?"
PURPOSE = _pattern(PURPOSES, "a DUO code such as GRU or DS:MONDO:0005148")
RULES = list_of(RULE, 0, 256)
VISAS = list_of(DIGEST, 1, 64)

# What every entry may say: who asked, about which data, under which rules.
_COMMON: dict[str, Check] = {
    "who": FINGERPRINT, "account": hex_text(8), "role": one_of(*ROLES), "run": hex_text(8), "engine": one_of(*ENGINES),
    "command": one_of(*COMMANDS), "purpose": PURPOSE, "policy": DIGEST, "cohort": DIGEST, "design": DIGEST,
    "question": DIGEST, "inputs": DIGEST, "outputs": DIGEST, "rules": RULES, "second": FINGERPRINT, "decision": DIGEST,
    "people": COUNT, "samples": COUNT, "cases": COUNT, "variants": COUNT, "phenotypes": COUNT, "covariates": COUNT,
    "columns": COUNT, "rows": COUNT, "bytes": COUNT, "files": COUNT, "spent": COUNT, "budget": COUNT, "withheld": COUNT,
}  # fmt: skip
_NEEDED: dict[str, dict[str, Check]] = {
    "run": {"command": one_of(*COMMANDS), "phase": one_of("start", "end", "failed")},
    "release": {"what": one_of(*WHAT)},
    "refusal": {"rules": list_of(RULE, 1, 256)},
    "key": {"action": one_of("made", "unlocked", "backup", "passphrase", "retired"), "key": DIGEST},
    "policy": {"action": one_of("init", "signed", "changed", "removed"), "policy": DIGEST},
    "consent": {"action": one_of("imported", "withdrawn", "checked", "applied"), "register": DIGEST},
    "export": {"what": one_of(*WHAT)},
    "ledger": {"which": DIGEST, "changes": COUNT, "whole": DIGEST},
}
_MORE: dict[str, dict[str, Check]] = {
    "run": {"exit_code": integer(0, 255)},
    "release": {
        "noise": boolean,
        "ledger": DIGEST,
        "sets": COUNT,
        "charged": COUNT,
        "released": COUNT,
        "visas": VISAS,
    },
    "refusal": {"what": one_of(*WHAT), "visas": VISAS},
    "policy": {"before": DIGEST, "by": FINGERPRINT},
    "consent": {"before": DIGEST, "purposes": COUNT},
    "ledger": {"ledger": DIGEST, "sets": COUNT, "charged": COUNT, "released": COUNT},
}
KINDS = tuple(_NEEDED)
SCHEMAS = {
    kind: record(**needed, may_have={k: v for k, v in (_COMMON | _MORE.get(kind, {})).items() if k not in needed})
    for kind, needed in _NEEDED.items()
}
_TIME = _pattern(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z", "a time in UTC")
_SIGNATURE = _pattern(r"[A-Za-z0-9+/]{86}==", "a signature")
_LINE = record(n=COUNT, at=_TIME, kind=one_of(*KINDS), facts=anything, sig=_SIGNATURE, may_have={"clock": _TIME})


@dataclass(frozen=True)
class Entry:
    """One entry. number: its place, from 0; at: when, in UTC; clock: what the clock said, where it was behind the log;
    line: its bytes in the file, without the line's end."""

    number: int
    at: str
    kind: str
    facts: dict[str, Any]
    clock: str | None = None
    line: bytes = field(default=b"", repr=False)

    def to_json(self) -> dict[str, Any]:
        """For people and programs: without the signature."""
        behind = {"clock": self.clock} if self.clock else {}
        return {"n": self.number, "at": self.at, "kind": self.kind, "facts": self.facts, **behind}

    def signed_text(self, log: str, root: bytes) -> bytes:
        """What the log signs of it. root: of all entries before it."""
        head = f"securegen audit entry 1\n{log}\n{base64.b64encode(root).decode()}\n"
        return head.encode() + canonical(self.to_json()) + b"\n"

    @property
    def signature(self) -> bytes:
        return base64.b64decode(parse_json(self.line, "an entry")["sig"])

    def with_signature(self, signature: bytes) -> Entry:
        """The entry with its line. Raises UsageError when the line is too long for a log."""
        line = canonical({**self.to_json(), "sig": base64.b64encode(signature).decode()})
        if len(line) > MOST_LINE:
            raise UsageError(
                f"an entry of {len(line)} bytes: the log takes {MOST_LINE}; give digests, not what they stand for"
            )
        return Entry(self.number, self.at, self.kind, self.facts, self.clock, line)


def checked_facts(kind: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Facts as the log takes them. Raises UsageError, which repeats no value, for a kind or a fact that it does not take."""
    if kind not in SCHEMAS:
        raise UsageError(f"the audit log has no such kind of entry: there are {', '.join(KINDS)}")
    try:
        found: dict[str, Any] = SCHEMAS[kind](dict(facts), "")
    except Refused as problem:
        words = str(problem)
        if "unknown field" in words:
            words = "a field that the log does not have"
        elif ", expected " in words:
            words = f"{words.partition(' is ')[0]} is not {words.rpartition(', expected ')[2]}"
        raise UsageError(
            f"the audit log refuses facts of a {kind}: {words}. Digests and counts enter, no text"
        ) from None
    return {name: value for name, value in found.items() if value is not None}


def read_entry(line: bytes, where: str) -> Entry:
    """An entry of a line. Raises ArtefactError naming the place: too long, not JSON, not canonical, or with other facts."""
    if len(line) > MOST_LINE:
        raise ArtefactError(f"{where} was altered: a line of {len(line)} bytes")
    value = parse_json(line, where, _line)
    if canonical(value) != line:
        raise ArtefactError(f"{where} was altered: it is not written as the log writes")
    return _entry(value, line)


def read_entries(lines: Sequence[bytes], first: int, log: str) -> list[Entry]:
    """The entries of many lines, which `first` numbers. Raises as `read_entry`, for the first that is wrong.

    They are parsed and written again as one list, which is several times faster than one by one.
    """
    whole = b"[" + b",".join(lines) + b"]"
    begun = all(line.startswith(b'{"at":') and len(line) <= MOST_LINE for line in lines)  # none ends in the next
    try:
        values = parse_json(whole, log, list_of(_line, len(lines), len(lines)))
        if begun and canonical(values) == whole:
            return [_entry(value, line) for value, line in zip(values, lines, strict=True)]
    except ArtefactError:
        pass  # one by one, to name the place
    return [read_entry(line, f"entry {first + i} of the audit log {log}") for i, line in enumerate(lines)]


def _entry(value: dict[str, Any], line: bytes) -> Entry:
    return Entry(value["n"], value["at"], value["kind"], value["facts"], value.get("clock"), line)


def _line(value: object, where: str) -> dict[str, Any]:
    found: dict[str, Any] = _LINE(value, where)
    found["facts"] = SCHEMAS[found["kind"]](found["facts"], "facts")
    return found


def time_text(milliseconds: int) -> str:
    """A time since 1970 in UTC, as it sorts.

    >>> time_text(0)
    '1970-01-01T00:00:00.000Z'
    """
    at = datetime.datetime.fromtimestamp(milliseconds // 1000, datetime.UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{milliseconds % 1000:03}Z"


def moment(at: str) -> datetime.datetime:
    """The time of an entry. Raises ArtefactError for a day that does not exist, as 30 February."""
    try:
        return datetime.datetime.fromisoformat(at)
    except ValueError:
        raise ArtefactError(f"{at} is not a time") from None
