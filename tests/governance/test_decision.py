"""A decision is what its reasons say, in memory and in JSON."""

import json

import pytest

from securegen.errors import PolicyError
from securegen.governance.decision import Decision, Reason
from securegen.io.schema import Refused

YES = Reason("policy.purpose", True, "HMB is among the purposes", 4)
NO = Reason("budget.columns", False, "12 columns of 10", 9)


def test_one_refusal_refuses_and_names_its_rule_and_line():
    assert Decision.of([YES]).allowed and Decision.of([]).allowed
    decision = Decision.of([YES, NO])
    assert not decision.allowed and decision.refusals == (NO,)
    with pytest.raises(PolicyError, match=r"budget\.columns: 12 columns of 10 \(policy\.toml, line 9\)"):
        decision.require()
    Decision.of([YES]).require()


def test_json_returns_what_was_written():
    decision = Decision.of([YES, NO])
    assert Decision.from_json(json.loads(json.dumps(decision.to_json()))) == decision


@pytest.mark.parametrize(
    "change", [{"allowed": True}, {"allowed": 0}, {"reasons": {}}, {"more": 1}, {"reasons": [{"rule": "a.b"}]}]
)
def test_altered_json_is_refused(change):
    with pytest.raises(ValueError):
        Decision.from_json({**Decision.of([YES, NO]).to_json(), **change})


def test_a_reason_is_one_line_and_its_rule_a_dotted_word():
    assert "\n" not in Reason("policy.purpose", False, "a\nb").text
    for rule in ("purpose", "Policy.purpose", "policy.", "policy.p p", "policy.purpose\n"):
        with pytest.raises(ValueError):
            Reason(rule, True, "")
    with pytest.raises(Refused):
        Reason.from_json({**YES.to_json(), "line": 0})
