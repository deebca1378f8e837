"""Consent and purpose in the terms of the GA4GH Data Use Ontology, and whether one covers the other: pure.

A consent is one permission with modifiers. A request is one purpose with what it declares: `DS:MONDO:0005148,IRB,GS:SE`.
GRU covers every purpose, HMB those of health, a disease those within it, POA ancestry alone, NRES all.

A modifier is one of three kinds. *Decided* follows from the request itself: NMDS, NPOA, GSO (association and scores are
genetic studies) and TS, a last day. *Declared* must stand in the request: RS, NPU, NCU, NPUNCU (both), COL, IRB, GS, US, PS,
IS. *Obligations* lie after a run and are listed: PUB, MOR, RTN. CC adds clinical care, which is not a purpose here.

Terms and their ids: https://github.com/EBISPOT/DUO, release 2021-02-23 (CC BY 4.0).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Final, NoReturn

PERMISSION, DECIDED, DECLARED, OBLIGATION, WIDER = "permission", "decided", "declared", "obligation", "wider"
NONE, DISEASE, DAY, WORDS = "", "disease", "day", "words"  # what stands behind the code
Within = Callable[[str, str], bool]  # (disease, group) -> whether it is the group or within it


@dataclass(frozen=True)
class DuoTerm:
    """A term of the ontology. value: what follows its code, as `GS:SE`."""

    code: str
    id: str
    label: str
    kind: str
    value: str = NONE


TERMS: Final[Mapping[str, DuoTerm]] = {
    t.code: t
    for t in (
        DuoTerm("NRES", "DUO:0000004", "no restriction", PERMISSION),
        DuoTerm("GRU", "DUO:0000042", "general research use", PERMISSION),
        DuoTerm("HMB", "DUO:0000006", "health or medical or biomedical research", PERMISSION),
        DuoTerm("DS", "DUO:0000007", "disease specific research", PERMISSION, DISEASE),
        DuoTerm("POA", "DUO:0000011", "population origins or ancestry research only", PERMISSION),
        DuoTerm("RS", "DUO:0000012", "research specific restrictions", DECLARED, WORDS),
        DuoTerm("NMDS", "DUO:0000015", "no general methods research", DECIDED),
        DuoTerm("GSO", "DUO:0000016", "genetic studies only", DECIDED),
        DuoTerm("NPUNCU", "DUO:0000018", "not for profit, non commercial use only", DECLARED),
        DuoTerm("PUB", "DUO:0000019", "publication required", OBLIGATION),
        DuoTerm("COL", "DUO:0000020", "collaboration required", DECLARED),
        DuoTerm("IRB", "DUO:0000021", "ethics approval required", DECLARED),
        DuoTerm("GS", "DUO:0000022", "geographical restriction", DECLARED, WORDS),
        DuoTerm("MOR", "DUO:0000024", "publication moratorium", OBLIGATION, DAY),
        DuoTerm("TS", "DUO:0000025", "time limit on use", DECIDED, DAY),
        DuoTerm("US", "DUO:0000026", "user specific restriction", DECLARED, WORDS),
        DuoTerm("PS", "DUO:0000027", "project specific restriction", DECLARED, WORDS),
        DuoTerm("IS", "DUO:0000028", "institution specific restriction", DECLARED, WORDS),
        DuoTerm("RTN", "DUO:0000029", "return to database or resource", OBLIGATION),
        DuoTerm("CC", "DUO:0000043", "clinical care use", WIDER),
        DuoTerm("NPOA", "DUO:0000044", "population origins or ancestry research prohibited", DECIDED),
        DuoTerm("NPU", "DUO:0000045", "not for profit organisation use only", DECLARED),
        DuoTerm("NCU", "DUO:0000046", "non-commercial use only", DECLARED),
    )
}
METHODS: Final = "MDS"  # the purpose that NMDS forbids: development of methods
PURPOSES: Final = ("GRU", "HMB", "DS", "POA", METHODS)
_BY_ID: Final = {t.id: t.code for t in TERMS.values()}
_MONDO: Final = re.compile(r"MONDO:[0-9]{7}")
_WORDS: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}(\+[A-Za-z0-9][A-Za-z0-9._-]{0,63}){0,31}")
_LONGEST: Final = 2000


class NotDuo(ValueError):
    """Text that is not a code of consent or purpose. The message says what was expected and repeats no cell."""


@dataclass(frozen=True)
class Modifier:
    """A modifier with its value: words in order, a day, or nothing."""

    code: str
    value: str = ""

    def __str__(self) -> str:
        return f"{self.code}:{self.value}" if self.value else self.code


@dataclass(frozen=True)
class Consent:
    """What one person allows: a permission, for DS its disease, and modifiers in the order of their codes."""

    code: str
    disease: str = ""
    modifiers: tuple[Modifier, ...] = ()

    def __str__(self) -> str:
        return ",".join([f"{self.code}:{self.disease}" if self.disease else self.code, *map(str, self.modifiers)])

    @property
    def obligations(self) -> tuple[str, ...]:
        """What whoever uses the data owes afterwards."""
        return tuple(str(m) for m in self.modifiers if TERMS[m.code].kind == OBLIGATION)


@dataclass(frozen=True)
class Purpose:
    """What data are asked for: a purpose, for DS its disease, and what the request declares."""

    code: str
    disease: str = ""
    declared: tuple[Modifier, ...] = ()

    def __str__(self) -> str:
        return ",".join([f"{self.code}:{self.disease}" if self.disease else self.code, *map(str, self.declared)])


def parse_consent(text: str) -> Consent:
    """A permission and its modifiers, separated by commas; ids of the ontology stand for codes, case is ignored.

    Raises NotDuo.

    >>> str(parse_consent("ds:mondo:0005148,ts:2030-12-31,NPU"))
    'DS:MONDO:0005148,NPU,TS:2030-12-31'
    """
    code, disease, rest = _parts(text)
    if code not in TERMS or TERMS[code].kind != PERMISSION:
        _refuse("a consent begins with", [t.code for t in TERMS.values() if t.kind == PERMISSION])
    found = tuple(sorted((_modifier(word) for word in rest), key=lambda m: m.code))
    _refuse_twice(found)
    return Consent(code, disease, found)


def parse_purpose(text: str) -> Purpose:
    """A purpose and what the request declares, in the same form.

    Raises NotDuo.

    >>> str(parse_purpose("hmb,irb,gs:SE"))
    'HMB,GS:SE,IRB'
    """
    code, disease, rest = _parts(text)
    if code not in PURPOSES:
        _refuse("a purpose begins with", PURPOSES)
    declared = tuple(sorted((_modifier(word) for word in rest), key=lambda m: m.code))
    wrong = [m.code for m in declared if TERMS[m.code].kind != DECLARED]
    if wrong:
        able = ", ".join(t.code for t in TERMS.values() if t.kind == DECLARED)
        raise NotDuo(f"{wrong[0]} is a condition of a consent, which no request declares; declared are {able}")
    if any("+" in m.value for m in declared):
        raise NotDuo("a request declares one value of a modifier")
    _refuse_twice(declared)
    return Purpose(code, disease, declared)


def unmet(consent: Consent, purpose: Purpose, today: date, within: Within) -> tuple[str, ...]:
    """Codes by which a consent does not cover a purpose on that day; none where it covers it.

    within: (disease, group) -> whether the disease is that group or in it.
    """
    out = [] if _permitted(consent, purpose, within) else [consent.code]
    return (*out, *(m.code for m in consent.modifiers if not _met(m, purpose, today)))


def _permitted(consent: Consent, purpose: Purpose, within: Within) -> bool:
    if consent.code in ("NRES", "GRU"):
        return True
    if consent.code == "HMB":
        return purpose.code in ("HMB", "DS")
    if consent.code == "DS":
        return purpose.code == "DS" and within(purpose.disease, consent.disease)
    return consent.code == purpose.code == "POA"


def _met(modifier: Modifier, purpose: Purpose, today: date) -> bool:
    if TERMS[modifier.code].kind in (OBLIGATION, WIDER):
        return True
    if modifier.code == "NMDS":
        return purpose.code != METHODS
    if modifier.code == "NPOA":
        return purpose.code != "POA"
    if modifier.code == "GSO":
        return True
    if modifier.code == "TS":
        return today <= date.fromisoformat(modifier.value)
    declared = {m.code: m.value for m in purpose.declared}
    if modifier.code == "NPUNCU":
        return "NPUNCU" in declared or {"NPU", "NCU"} <= set(declared)
    if modifier.code in ("NPU", "NCU") and "NPUNCU" in declared:
        return True
    if modifier.code not in declared:
        return False
    return not modifier.value or declared[modifier.code] in modifier.value.split("+")


def _parts(text: str) -> tuple[str, str, list[str]]:
    """Code, disease and the other words of a consent or a purpose."""
    if not isinstance(text, str) or not text.isascii() or len(text) > _LONGEST or text.split() != [text]:
        raise NotDuo("a code is ASCII text without blanks, as DS:MONDO:0005148,NPU")
    first, *rest = text.split(",")
    code, value = _split(first)
    if code == "DS":
        if not _MONDO.fullmatch(value.upper()):
            raise NotDuo("DS names a disease by its MONDO id of seven digits, as DS:MONDO:0005148")
        return code, value.upper(), rest
    if value:
        raise NotDuo(f"{code if code in TERMS else 'this code'} takes no value")
    return code, "", rest


def _split(word: str) -> tuple[str, str]:
    """A code, or its id, and what follows it."""
    upper = word.upper()
    if upper.startswith("DUO:"):
        if upper[:11] not in _BY_ID or upper[11:12] not in ("", ":"):
            raise NotDuo("an id of the Data Use Ontology is unknown")
        return _BY_ID[upper[:11]], word[12:]
    code, _, value = word.partition(":")
    return code.upper(), value


def _modifier(word: str) -> Modifier:
    code, value = _split(word)
    term = TERMS.get(code)
    if term is None or term.kind == PERMISSION:
        _refuse("a modifier is one of", [t.code for t in TERMS.values() if t.kind != PERMISSION])
    if term.value == DAY:
        return Modifier(code, str(day(value)))
    if term.value == WORDS:
        if not _WORDS.fullmatch(value):
            raise NotDuo(f"{code} names what it is limited to, as {code}:NAME or {code}:NAME+OTHER")
        return Modifier(code, "+".join(sorted(set(value.split("+")))))
    if value:
        raise NotDuo(f"{code} takes no value")
    return Modifier(code)


def day(text: str) -> date:
    """A date written YYYY-MM-DD. Raises NotDuo."""
    try:
        if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text, re.ASCII):
            raise ValueError
        return date.fromisoformat(text)
    except ValueError:
        raise NotDuo("a date is written YYYY-MM-DD") from None


def _refuse_twice(found: tuple[Modifier, ...]) -> None:
    codes = [m.code for m in found]
    twice = [c for c in codes if codes.count(c) > 1]
    if twice:
        raise NotDuo(f"{twice[0]} stands twice")


def _refuse(what: str, codes: object) -> NoReturn:
    raise NotDuo(f"{what} {', '.join(codes)}")  # type: ignore[arg-type]
