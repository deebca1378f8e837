"""What a data steward allows: the settings of a policy.toml, each with its default, its source and the line it stands on.

A policy is data. `door` decides by it, `policy_file` reads and signs it. Thresholds that are left out are those of
DataSHIELD (`nfilter`), ACRO (10 people, 10 degrees of freedom) and this project's rules of openings (k = 10).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Final

from securegen.governance.jwk import ALGORITHMS, IssuerKey, issuer_key
from securegen.governance.openings import FEWEST, SITE_SHARE
from securegen.io.schema import Check, Refused, boolean, hex_text, integer, list_of, number, one_of, record, text

OWNER, ANALYST, AUDITOR = ROLES = ("owner", "analyst", "auditor")
BOOLEAN, COUNT, RECORD = GRANULARITIES = ("boolean", "count", "record")  # of Beacon v2, from less to more
HITS, CHI2, UV, FULL = REVEALS = ("hits", "chi2", "uv", "full")  # of a table of association, from less to more
REFUSED = "refused"
NO_ROLE = "none"  # of an identity that has one by visas alone, and of a visa that others need
LINKED = "LinkedIdentities"  # other names of who asks; the other types say what they may
VISA_TYPES = ("AffiliationAndRole", "ControlledAccessGrants", "ResearcherStatus", "AcceptedTermsAndPolicies", LINKED)
BY = ("self", "peer", "system", "so", "dac")  # who asserts, in the words of GA4GH
SECOND = ("association", "quality", "scores", "people", "full", "noisy")  # what a second signature may be asked for
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}")
PURPOSE = re.compile(r"NRES|GRU|HMB|POA|MDS|DS:MONDO:[0-9]{7}")
ASKED = re.compile(rf"({PURPOSE.pattern})(,[A-Z]+(:[A-Za-z0-9._-]+)?)*")  # with what a request declares
_MOST = 1 << 40
PIN = record(digest=hex_text(32), steward=hex_text(32), version=integer(1, 1 << 31))  # what `pin.Pin` is in JSON


def _name(value: object, where: str) -> str:
    if type(value) is not str or not NAME.fullmatch(value):
        raise Refused(f"{where} must be a name: letters, digits, _ and -, 32 at most")
    return value


def _purpose(value: object, where: str) -> str:
    if type(value) is not str or not PURPOSE.fullmatch(value):
        raise Refused(
            f"{where} must be a DUO code in capitals: NRES, GRU, HMB, POA, MDS, or DS:MONDO: and seven digits"
        )
    return value


def _date(value: object, where: str) -> date:
    if type(value) is not date:
        raise Refused(f"{where} must be a date without quotes, as 2027-12-31")
    return value


@dataclass(frozen=True)
class Setting:
    """One key of a policy. default: None where the key must be given; text: what it does, with its source."""

    check: Check
    default: Any
    text: str


_COUNT = integer(0, _MOST)
SETTINGS: Final[dict[str, Setting]] = {
    "format": Setting(one_of(1), None, "The form of this file."),
    "name": Setting(text(100, least=1), None, "What the policy is called."),
    "version": Setting(integer(1, 1 << 31), None, "Counts up; an earlier one is refused where a later one was used."),
    "steward": Setting(hex_text(32), None, "The verify key of who signs this file."),
    "expires": Setting(_date, date.max, "The last day on which anything is released."),
    "requests.unidentified": Setting(
        one_of(REFUSED, *ROLES), ANALYST, "The role of who gives no `--identity`, or `refused`."
    ),
    "purposes.allowed": Setting(list_of(_purpose, 0, 1000), ["GRU"], "DUO codes. A wider one covers narrower ones."),
    "purposes.required": Setting(boolean, True, "Whether a request must name its purpose."),
    "tiers.owner.granularity": Setting(one_of(*GRANULARITIES), RECORD, "Beacon: `record` has one row per person."),
    "tiers.owner.reveal": Setting(one_of(*REVEALS), FULL, "The most of a table of association."),
    "tiers.analyst.granularity": Setting(one_of(*GRANULARITIES), COUNT, "`count`: tables of sums, no row per person."),
    "tiers.analyst.reveal": Setting(one_of(*REVEALS), FULL, "The most of a table of association."),
    "tiers.auditor.granularity": Setting(one_of(*GRANULARITIES), BOOLEAN, "`boolean`: what would be decided, no table."),
    "tiers.auditor.reveal": Setting(one_of(*REVEALS), HITS, "The most of a table of association."),
    "limits.smallest_cohort": Setting(_COUNT, 10, "Fewest people of a table (ACRO)."),
    "limits.smallest_cases": Setting(_COUNT, 10, "Fewest cases, and fewest controls (ACRO; OpenSAFELY redacts up to 7)."),
    "limits.degrees_of_freedom": Setting(_COUNT, 10, "Fewest people beyond the columns of a model (ACRO)."),
    "limits.columns_per_person": Setting(
        number(0, 1), 0.33, "Most columns of one model, as a share of its people (DataSHIELD `nfilter.glm`)."
    ),
    "limits.minor_alleles": Setting(
        _COUNT, 3, "Rows of fewer carriers are `NA`: people are counted (DataSHIELD `nfilter.tab`); 0 shows all."
    ),
    "limits.most_variants": Setting(integer(1, _MOST), _MOST, "Most variants of one table."),
    "limits.differing_people": Setting(
        integer(1, 1 << 20), FEWEST, "Sets of samples are equal or differ by this many people (k of the rules of openings)."
    ),
    "budgets.releases_per_day": Setting(_COUNT, 100, "Different releases on one day."),
    "budgets.releases_per_month": Setting(_COUNT, 1000, "Different releases in 30 days."),
    "budgets.releases": Setting(_COUNT, 100_000, "Different releases in the life of these people's data."),
    "budgets.refusals_per_month": Setting(
        _COUNT, 50, "Refusals in 30 days that looked at who is in the data, or their values; more is refused before that."
    ),
    "budgets.refusals_per_asker": Setting(
        _COUNT, 20, "The share of one identity, and of all who give none, in these refusals."
    ),
    "budgets.columns_share": Setting(
        number(0, SITE_SHARE), 0.05, f"Most columns summed with a person's genotypes, over people; {SITE_SHARE:g} at most."
    ),
    "second_signature.for": Setting(
        list_of(one_of(*SECOND), 0, len(SECOND)), [], "Outputs that need the signature of another identity."
    ),
    "second_signature.by": Setting(list_of(one_of(*ROLES), 1, 3), [OWNER, AUDITOR], "Roles that may give it."),
    "noise.required": Setting(boolean, False, "Whether exact statistics of a phenotype are refused."),
    "noise.whole_people": Setting(boolean, False, "Whether only summaries with noise of whole people leave (`dp`)."),
    "noise.epsilon": Setting(number(0, 100), 1.0, "Largest ε of noise, and of all noise on a person."),
    "noise.delta": Setting(number(0, 0.5), 1e-6, "Largest δ of noise, and of all noise on a person."),
}  # fmt: skip
IDENTITY: Final[dict[str, Setting]] = {
    "name": Setting(_name, None, "Who it is; no two alike."),
    "key": Setting(hex_text(32), None, "The verify key, as `securegen site keygen` or `policy init` wrote it."),
    "role": Setting(one_of(*ROLES, NO_ROLE), None, "owner, analyst or auditor; `none`: only what visas give."),
    "purposes": Setting(list_of(_purpose, 0, 1000), [], "Only these, of the allowed ones; empty: all of them."),
    "expires": Setting(_date, date.max, "The last day of this identity."),
    "subjects": Setting(
        list_of(hex_text(32), 0, 16),
        [],
        "Whose visas count for this key: digests, as `policy check --visa` has them.",
    ),
}
ISSUER: Final[dict[str, Setting]] = {
    "name": Setting(_name, None, "What this policy calls it; no two alike."),
    "iss": Setting(text(300, least=1), None, "Its `iss`, letter by letter."),
    "algorithms": Setting(list_of(one_of(*ALGORITHMS), 1, 3), None, "RS256, ES256, EdDSA: what it may sign by."),
    "keys": Setting(list_of(issuer_key, 1, 16), None, "Its public keys, the text of one JWK each. Nothing is fetched."),
    "jku": Setting(text(300), "", "The one `jku` that its tokens may name, which is not followed."),
    "links": Setting(list_of(_name, 0, 16), [], "Issuers whose subjects its LinkedIdentities may link to its own."),
}
VISA: Final[dict[str, Setting]] = {
    "name": Setting(_name, None, "What decisions call it; no two alike."),
    "issuer": Setting(_name, None, "Who must have signed it."),
    "type": Setting(one_of(*VISA_TYPES[:-1]), None, ", ".join(VISA_TYPES[:-1]) + "."),
    "value": Setting(text(255, least=1), None, "Its `value`, letter by letter."),
    "source": Setting(text(255), "", "Its `source`, letter by letter; empty: any."),
    "by": Setting(list_of(one_of(*BY), 1, 5), ["system", "so", "dac"], "Who may have asserted it."),
    "most_days": Setting(integer(1, 36500), 365, "Days after `asserted` in which it counts."),
    "needs": Setting(list_of(_name, 0, 16), [], "Visas above this one that must be shown beside it."),
    "role": Setting(one_of(*ROLES, NO_ROLE), NO_ROLE, "The role of who shows it."),
}


@dataclass(frozen=True)
class Identity:
    """Who may ask. verify_key: hex of 32 bytes; purposes: none of its own where empty; line: of its table; subjects: whose
    visas are this one's."""

    name: str
    verify_key: str
    role: str
    purposes: tuple[str, ...] = ()
    expires: date = date.max
    line: int | None = None
    subjects: tuple[str, ...] = ()


@dataclass(frozen=True)
class Issuer:
    """Who signs visas that count. keys: as they were pinned; jku: "" for none; links: names of issuers; line: of its table."""

    name: str
    iss: str
    keys: tuple[IssuerKey, ...]
    jku: str = ""
    links: tuple[str, ...] = ()
    line: int | None = None


@dataclass(frozen=True)
class VisaRule:
    """A visa that gives a role, or that another one needs. source: "" for any; line: of its table."""

    name: str
    issuer: str
    type: str
    value: str
    source: str
    by: tuple[str, ...]
    most_days: int
    needs: tuple[str, ...] = ()
    role: str = NO_ROLE
    line: int | None = None


@dataclass(frozen=True)
class Policy:
    """A policy as it was read. values: every setting, by its dotted key; lines: of the keys that the file has; digest: of
    the bytes that were signed."""

    values: Mapping[str, Any]
    identities: tuple[Identity, ...]
    lines: Mapping[str, int] = field(default_factory=dict)
    digest: str = ""
    issuers: tuple[Issuer, ...] = ()
    visas: tuple[VisaRule, ...] = ()

    def __getitem__(self, key: str) -> Any:
        return self.values[key]

    def line(self, key: str) -> int | None:
        """The line of a setting; None where its default holds."""
        return self.lines.get(key)

    @property
    def version(self) -> int:
        return int(self.values["version"])

    @property
    def steward(self) -> str:
        """The verify key of who signs, in hex."""
        return str(self.values["steward"])

    def identity(self, verify_key: str) -> Identity | None:
        """Who has this key."""
        return next((i for i in self.identities if i.verify_key == verify_key), None)

    def named(self, name: str) -> Identity | None:
        """Who has this name."""
        return next((i for i in self.identities if i.name == name), None)


def covers(allowed: str, purpose: str) -> bool:
    """Whether a DUO permission covers a purpose: no restriction covers all, general research all but no restriction,
    health research disease research, and otherwise only what is equal.

    >>> covers("HMB", "DS:MONDO:0005148"), covers("HMB", "GRU"), covers("DS:MONDO:0005148", "DS:MONDO:0005147")
    (True, False, False)
    """
    if allowed == purpose or allowed == "NRES":
        return True
    if allowed == "GRU":
        return purpose != "NRES"
    return allowed == "HMB" and purpose.startswith("DS:")
