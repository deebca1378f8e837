"""The door is pure, and every rule of it refuses alone, with its name and its line."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest

from securegen.design.columns import AppliedNoise
from securegen.errors import PolicyError
from securegen.governance import door, noise_rules, release, signing
from securegen.governance.decision import Decision, Reason
from securegen.governance.door import History, OutputFacts, Request
from securegen.governance.policy import covers
from securegen.governance.policy_draft import draft
from securegen.governance.policy_file import parse

KEYS = {name: signing.generate().verify_key.hex() for name in ("olga", "anna", "otto")}
PEOPLE = [
    {"name": n, "key": KEYS[n], "role": r} for n, r in (("olga", "owner"), ("anna", "analyst"), ("otto", "auditor"))
]
TODAY = date(2026, 6, 1)


def policy(people=PEOPLE, **settings):
    chosen = {k.replace("__", "."): v for k, v in settings.items()}
    return parse(draft("Test", "00" * 32, people, chosen).encode(), "p")


TABLE = OutputFacts("association", "QT", 100, 5000, columns=5, minor=3)
BINARY = replace(TABLE, name="CC", cases=40, controls=60)
GOOD = Request(
    policy(), "analyst", "plain", (TABLE,), TODAY, who="anna", purpose="HMB", history=History(columns=5, people=100)
)


def ruled(**settings):
    return replace(GOOD, policy=policy(**settings))


def noisy(epsilon, delta=None):
    return replace(GOOD, outputs=(replace(TABLE, noise=AppliedNoise(epsilon, delta, "noise")),))


REFUSED = {
    "policy.expires": ruled(expires=date(2026, 5, 31)),
    "policy.identity": replace(GOOD, role="owner"),
    "policy.identity_expires": replace(GOOD, policy=policy([{**p, "expires": date(2026, 5, 31)} for p in PEOPLE])),
    "policy.purpose": replace(GOOD, purpose="NRES"),
    "policy.granularity": replace(GOOD, outputs=(OutputFacts("scores", "S", 100, 50),)),
    "policy.reveal": ruled(tiers__analyst__reveal="hits"),
    "policy.smallest_cohort": replace(GOOD, outputs=(replace(TABLE, samples=19),), policy=policy(limits__smallest_cohort=20)),
    "policy.smallest_cases": replace(GOOD, outputs=(replace(BINARY, cases=9),)),
    "policy.degrees_of_freedom": replace(GOOD, outputs=(replace(TABLE, samples=12, columns=3),)),
    "policy.columns_per_person": replace(GOOD, outputs=(replace(TABLE, columns=34),)),
    "policy.minor_alleles": replace(GOOD, outputs=(replace(TABLE, minor=2),)),
    "policy.most_variants": ruled(limits__most_variants=4999),
    "policy.differing_people": replace(GOOD, history=replace(GOOD.history, fault="3 people are only in the first")),
    "policy.rows_between": replace(GOOD, history=replace(GOOD.history, seen=False)),
    "budget.columns": replace(GOOD, history=History(columns=6, people=100)),
    "budget.releases_per_day": ruled(budgets__releases_per_day=0),
    "budget.releases_per_month": ruled(budgets__releases_per_month=0),
    "budget.releases": ruled(budgets__releases=0),
    "policy.second_signature": ruled(second_signature__for=["association"]),
    "policy.noise": ruled(noise__required=True),
    "policy.noise_whole_people": ruled(noise__whole_people=True),
    "policy.noise_epsilon": noisy(1.5),
    "policy.noise_delta": noisy(1.0, 0.1),
    "policy.request": replace(GOOD, outputs=()),
    "policy.role": replace(GOOD, who=None, role="king", policy=policy(requests__unidentified="owner")),
}  # fmt: skip


def refusing(request: Request) -> set[str]:
    return {r.rule for r in release(request).refusals}


def test_the_good_request_is_allowed_and_so_are_the_others_but_for_one_rule():
    assert release(GOOD).allowed and release(replace(GOOD, outputs=(BINARY,))).allowed


@pytest.mark.parametrize("rule", REFUSED)
def test_each_rule_refuses_alone(rule):
    decision = release(REFUSED[rule])
    assert not decision.allowed
    assert {r.rule for r in decision.refusals} - {"policy.identity"} <= {rule} or rule == "policy.role"
    assert rule in {r.rule for r in decision.refusals}
    with pytest.raises(PolicyError, match=rule.replace(".", r"\.")):
        decision.require()


def test_every_rule_of_the_door_is_attacked_here():
    from pathlib import Path
    from re import findall

    text = "".join(Path(module.__file__).read_text() for module in (door, noise_rules))
    named = set(findall(r'"((?:policy|budget)\.[a-z_]+)"', text))
    named |= {f"budget.{k}" for k in ("releases_per_day", "releases_per_month", "releases")}
    named |= {"policy.noise_epsilon", "policy.noise_delta"}
    assert named - {"policy.toml"} == set(REFUSED)


def test_a_refusal_names_the_line_of_its_setting():
    request = ruled(limits__smallest_cohort=1000)
    (refusal,) = release(request).refusals
    text = draft("Test", "00" * 32, PEOPLE, {"limits.smallest_cohort": 1000}).split("\n")
    assert text[refusal.line - 1] == "smallest_cohort = 1000"


def test_it_is_pure_and_its_json_is_the_decision():
    for request in (GOOD, *REFUSED.values()):
        first = release(request)
        assert first == release(replace(request)) == Decision.from_json(first.to_json())


def test_without_an_identity_the_role_is_what_the_policy_gives():
    nobody = replace(GOOD, who=None)
    assert release(nobody).allowed
    assert refusing(replace(nobody, role="owner")) == {"policy.identity"}
    assert refusing(replace(nobody, policy=policy(requests__unidentified="refused"))) == {"policy.identity"}
    assert refusing(replace(GOOD, who="ANNA")) == {"policy.identity"}


def test_purposes_of_one_identity_narrow_those_of_the_policy():
    narrow = policy([{**p, "purposes": ["DS:MONDO:0005148"]} for p in PEOPLE])
    assert refusing(replace(GOOD, policy=narrow)) == {"policy.purpose"}
    assert release(replace(GOOD, policy=narrow, purpose="DS:MONDO:0005148")).allowed
    wide = policy([{**p, "purposes": ["NRES"]} for p in PEOPLE], purposes__allowed=["HMB"])
    assert refusing(replace(GOOD, policy=wide, purpose="GRU")) == {"policy.purpose"}


@pytest.mark.parametrize("purpose", [None, "", "hmb", "HMB ", "H\u041cB", "DS", "DS:MONDO:148", "GRU,NPU\n"])
def test_other_texts_are_no_purpose(purpose):
    assert refusing(replace(GOOD, purpose=purpose)) == {"policy.purpose"}


def test_what_a_request_declares_does_not_change_its_purpose():
    assert release(replace(GOOD, purpose="HMB,IRB,GS:SE")).allowed
    assert refusing(replace(GOOD, purpose="NRES,IRB")) == {"policy.purpose"}


def test_a_wider_permission_covers_narrower_purposes():
    order = ["NRES", "GRU", "HMB", "DS:MONDO:0005148"]
    for i, allowed in enumerate(order):
        assert [covers(allowed, p) for p in order] == [j >= i for j in range(4)]
    assert covers("GRU", "POA") and not covers("HMB", "POA") and not covers("POA", "HMB")


def test_tiers_are_ordered_and_an_auditor_has_no_table():
    for role, kind, allowed in (
        ("olga", "scores", True), ("anna", "scores", False), ("anna", "quality", True), ("otto", "quality", False),
    ):  # fmt: skip
        named = policy().named(role)
        got = release(replace(GOOD, who=role, role=named.role, outputs=(OutputFacts(kind, "X", 100, 9),)))
        assert got.allowed == allowed


def test_what_does_not_open_minor_alleles_needs_a_floor_of_none():
    hits = replace(GOOD, outputs=(replace(TABLE, minor=None, reveal="hits"),))
    assert refusing(hits) == {"policy.minor_alleles"}
    assert release(replace(hits, policy=policy(limits__minor_alleles=0))).allowed


def test_a_repetition_costs_no_release_and_facts_that_are_not_at_hand_are_refused():
    full = ruled(budgets__releases=7)
    assert refusing(replace(full, history=replace(GOOD.history, ever=7))) == {"budget.releases"}
    assert release(replace(full, history=replace(GOOD.history, ever=7, repeated=True))).allowed
    assert refusing(replace(GOOD, history=History(known=False))) == {"policy.differing_people"}


def test_a_second_signature_is_of_another_person_who_may_give_it():
    asked = ruled(second_signature__for=["full"])
    assert release(replace(asked, second=("otto",))).allowed and release(replace(asked, second=("olga",))).allowed
    for names in ((), ("anna",), ("stranger",)):
        assert refusing(replace(asked, second=names)) == {"policy.second_signature"}
    own = replace(asked, who="olga", role="owner", second=("olga",))
    assert refusing(own) == {"policy.second_signature"}
    assert asked.digest in str(release(asked).refusals[0])
    nobody = replace(asked, who=None, role="analyst")  # may be either of them
    assert refusing(replace(nobody, second=("olga",))) == {"policy.second_signature"}
    assert release(replace(nobody, second=("olga", "otto"))).allowed


def test_the_digest_of_a_request_is_of_everything_that_is_asked_for():
    others = [
        replace(GOOD, who="olga", role="owner"), replace(GOOD, purpose="GRU"), replace(GOOD, engine="ckks"),
        replace(GOOD, outputs=(BINARY,)), replace(GOOD, inputs=(("bed", "00"),)), noisy(1.0), noisy(1.0, 1e-6),
        ruled(limits__smallest_cohort=11),
    ]  # fmt: skip
    assert len({r.digest for r in (GOOD, *others)}) == 1 + len(others)
    assert GOOD.digest == replace(GOOD, today=date(2030, 1, 1), history=History(), second=("otto",)).digest


def test_what_other_parts_say_is_in_the_decision():
    withdrawn = Reason("consent.withdrawn", False, "3 people withdrew")
    assert refusing(replace(GOOD, reasons=(withdrawn,))) == {"consent.withdrawn"}
