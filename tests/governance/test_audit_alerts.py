"""Each rule speaks at its limit and not below it, says the numbers, and can be changed; the door hears of second signatures."""

from __future__ import annotations

import pytest

from securegen.errors import InputError
from securegen.governance.audit_alerts import MEASURES, RULES, SECOND, asker, reasons, rules_from, unusual
from securegen.governance.audit_entry import Entry, checked_facts, time_text

HOUR = 3_600_000
MONDAY = 1_700_470_800_000  # 2023-11-20T09:00Z
ANNA, BERT = ["-".join([f"{i:04x}"] * 8) for i in (1, 2)]
Q, C, D = [f"{i:064x}" for i in (7, 8, 9)]


def log(*items: tuple) -> list[Entry]:
    """Entries of (hours after Monday nine o'clock, kind, facts); all by Anna unless they say so."""
    return [
        Entry(i, time_text(round(MONDAY + hours * HOUR)), kind, checked_facts(kind, {"who": ANNA} | facts))
        for i, (hours, kind, facts) in enumerate(items)
    ]


def told(entries: list[Entry], rule: str, **changes) -> list[int]:
    rules = rules_from({rule: changes} if changes else {}, "x")
    return [a.number for a in unusual(entries, [r for r in rules if r.name == rule])]


def release(hours: float, **facts) -> tuple:
    return hours, "release", {"what": "table"} | facts


def test_rules_are_data():
    assert len({r.name for r in RULES}) == len(RULES)
    assert {r.measure for r in RULES} == set(MEASURES)
    assert {"bulk_rows", "burst", "near", "budget", "new_asker", "odd_hours"} <= {r.name for r in RULES}


def test_bulk_export_adds_up_over_a_day():
    entries = log(*(release(h, rows=900_000) for h in (0, 10, 20, 45)))
    assert told(entries, "bulk_rows", limit=2_000_000) == [2], "the third within 24 hours; a day later it is forgotten"
    rules = rules_from({"bulk_rows": {"limit": 2_000_000, "second_signature": True}}, "x")
    (alert,) = unusual(entries, [r for r in rules if r.name == "bulk_rows"])
    assert "2700000 rows in 24 hours, in entries 0, 1, 2; the limit is 2000000" in alert.why and alert.second
    two = log(*(release(h, rows=1_200_000, who=who) for h, who in ((0, ANNA), (1, BERT))))
    assert told(two, "bulk_rows", limit=2_000_000) == [], "each asker has a sum of their own"
    assert told(entries, "bulk_rows") == []


def test_bursts_and_refusals():
    entries = log(*((i / 100, "refusal", {"rules": ["policy.purpose"]}) for i in range(7)))
    assert told(entries, "refusals") == [5, 6]
    assert told(entries, "burst", limit=6) == [6]
    runs = log(*((i / 100, "run", {"command": "gwas", "phase": p}) for i in range(4) for p in ("start", "end")))
    assert told(runs, "burst", limit=3) == [6], "the end of a run is not a second request"
    assert told(log(*((i, "refusal", {"rules": ["policy.purpose"]}) for i in range(0, 200, 20))), "refusals") == []


def test_near_identical_questions():
    same = {"question": Q, "cohort": C}
    entries = log(release(0, samples=500, **same), release(1, samples=497, **same), release(2, samples=480, **same),
                  release(3, samples=480, **same), release(4, samples=499, question=D, cohort=C))  # fmt: skip
    assert told(entries, "near") == [1]
    (alert,) = unusual(entries, [r for r in RULES if r.name == "near"])
    assert "entry 0 answered this question for 500 people, this one for 497: 3 apart, the limit is 10" in alert.why
    swapped = log(release(0, samples=500, design=C, **same), release(1, samples=500, design=D, **same))
    assert told(swapped, "near") == [1], "other people, as many"
    assert told(log(*(release(i, samples=500, **same) for i in range(13))), "repeats") == [10, 11, 12]


def test_budgets_that_run_out():
    assert told(log(*(release(i, spent=s, budget=25) for i, s in enumerate((10, 19, 20, 25)))), "budget") == [2, 3]


def test_new_askers():
    entries = log(release(0), release(1), release(2, who=BERT), release(3, who=BERT))
    assert told(entries, "new_asker") == [2], "the first one in a log is no news"
    assert asker(entries[2]) == BERT


def test_odd_hours():
    entries = log(release(0), release(12.5), release(24 * 5), (12.5, "run", {"command": "gwas", "phase": "start"}))
    assert told(entries, "odd_hours") == [1, 2], "at half past nine in the evening, and on a Saturday"
    assert told(entries, "odd_hours", utc_offset=-1, weekend=True) == []


def test_a_clock_that_was_set_back():
    (entry,) = log(release(0))
    behind = Entry(0, entry.at, entry.kind, entry.facts, time_text(0))
    assert told([entry], "clock") == [] and told([behind], "clock") == [0]


def test_a_clock_that_was_set_forward():
    """Days without an entry: of the first entry after them, and of the first that leaves, unless the steward signed."""
    day, run = 24, {"command": "gwas", "phase": "start"}
    signed = {"action": "signed", "policy": Q}
    assert told(log(release(0), release(13.9 * day), release(28 * day)), "clock_ahead") == [2]
    entries = log(release(0), (31 * day, "run", run), (31 * day, "refusal", {"rules": ["budget.refusals"]}),
                  release(31 * day), release(32 * day))  # fmt: skip
    assert told(entries, "clock_ahead") == [1, 3] and told(entries, "clock_ahead", limit=32) == []
    assert told(log(release(0), (31 * day, "policy", signed), release(31 * day)), "clock_ahead") == []
    assert told(
        log(release(0), (31 * day, "run", run), (31 * day, "policy", signed), release(31 * day)), "clock_ahead"
    ) == [1]
    rules = rules_from({"clock_ahead": {"second_signature": True}}, "x")
    at, facts = MONDAY + 31 * day * HOUR, {"what": "table", "who": ANNA}
    assert reasons(entries[:1], "release", facts, at=MONDAY + HOUR, rules=rules) == ()
    for known in (entries[:1], entries[:2], entries[:3]):  # asking again, or first for something else, changes nothing
        (reason,) = reasons(known, "release", facts, at=at, rules=rules)
        assert not reason.allowed and "31 days after entry 0" in reason.text
        assert reasons(known, "release", facts | {"second": BERT}, at=at, rules=rules)[0].allowed
    assert reasons(entries[:4], "release", facts, at=at, rules=rules) == ()


def test_a_rule_can_be_switched_off_and_made_to_demand():
    entries = log(*(release(i, spent=24, budget=25) for i in range(2)))
    assert told(entries, "budget", on=False) == []
    rules = rules_from({"budget": {"second_signature": True}}, "x")
    now = MONDAY + 2 * HOUR
    facts = {"what": "table", "who": ANNA, "spent": 24, "budget": 25}
    assert reasons(entries, "release", facts, at=now) == ()
    (reason,) = reasons(entries, "release", facts, at=now, rules=rules)
    assert (reason.rule, reason.allowed) == (SECOND, False) and "24 of 25 is spent" in reason.text
    assert reasons(entries, "release", facts | {"second": ANNA}, at=now, rules=rules)[0].allowed is False, (
        "not one's own"
    )
    assert reasons(entries, "release", facts | {"second": BERT}, at=now, rules=rules)[0].allowed is True
    assert reasons(entries, "release", {"what": "table", "who": ANNA}, at=now, rules=rules) == ()


def test_reasons_look_at_the_coming_entry_alone():
    entries = log(release(0, rows=3_000_000))
    rules = rules_from({"bulk_rows": {"limit": 2_000_000, "second_signature": True}}, "x")
    ask = lambda who: reasons(
        entries, "release", {"what": "table", "who": who, "rows": 1}, at=MONDAY + HOUR, rules=rules
    )
    assert ask(BERT) == () and ask(ANNA)[0].rule == SECOND
    assert not [r for r in RULES if r.second], "a steward asks for signatures by name"


@pytest.mark.parametrize("wrong", [{"burts": {}}, {"burst": {"limits": 1}}, {"burst": {"limit": -1}}, {"burst": 3}, 7,
                                   {"burst": {"limit": 1.5}}, {"odd_hours": {"to_hour": 25}}, {"burst": {"on": 1}}])  # fmt: skip
def test_changes_that_are_none(wrong):
    with pytest.raises(InputError, match="rules.toml"):
        rules_from(wrong, "rules.toml")
