"""Consent against purpose: the order of permissions, each modifier, and text that is neither."""

from __future__ import annotations

from datetime import date

import pytest

from securegen.errors import InputError
from securegen.governance.duo import TERMS, NotDuo, parse_consent, parse_purpose, unmet
from securegen.governance.mondo import Diseases, diseases, shipped
from securegen.governance.mondo_slice import SLICE

T2D, DIABETES, BREAST = "MONDO:0005148", "MONDO:0005015", "MONDO:0007254"
TODAY = date(2026, 6, 1)
WITHIN = shipped().within


def covers(consent: str, purpose: str, today: date = TODAY) -> bool:
    return not unmet(parse_consent(consent), parse_purpose(purpose), today, WITHIN)


def test_permissions_are_ordered():
    """GRU takes in HMB, HMB every disease, a disease what is within it; ancestry stands apart, NRES allows all."""
    purposes = ("GRU", "HMB", f"DS:{DIABETES}", f"DS:{T2D}", f"DS:{BREAST}", "POA", "MDS")
    expected = {
        "NRES": purposes, "GRU": purposes, "HMB": purposes[1:5], f"DS:{DIABETES}": purposes[2:4], f"DS:{T2D}": purposes[3:4],
        f"DS:{BREAST}": purposes[4:5], "POA": ("POA",),
    }  # fmt: skip
    for consent, allowed in expected.items():
        assert {p for p in purposes if covers(consent, p)} == set(allowed), consent


@pytest.mark.parametrize(
    ("consent", "no", "yes"),
    [
        ("GRU,NMDS", "MDS", "HMB"), ("GRU,NPOA", "POA", "HMB"), ("HMB,IRB", "HMB", "HMB,IRB"), ("HMB,COL", "HMB", "HMB,COL"),
        ("HMB,NPU", "HMB,NCU", "HMB,NPU"), ("HMB,NCU", "HMB,NPU", "HMB,NCU"), ("HMB,NPUNCU", "HMB,NPU", "HMB,NCU,NPU"),
        ("HMB,NPU", "HMB", "HMB,NPUNCU"), ("HMB,GS:SE+FI", "HMB,GS:NO", "HMB,GS:FI"), ("HMB,RS:a", "HMB,RS:b", "HMB,RS:a"),
        ("HMB,US:0000-0001", "HMB,US:0000-0002", "HMB,US:0000-0001"), ("HMB,PS:P1", "HMB,PS:p1", "HMB,PS:P1"),
        ("HMB,IS:KI", "HMB,IS:UU", "HMB,IS:KI"),
    ],
)  # fmt: skip
def test_a_condition_is_met_by_what_the_request_is_or_declares(consent, no, yes):
    assert not covers(consent, no) and covers(consent, yes)


def test_a_last_day_is_the_last_and_obligations_are_listed():
    assert covers("HMB,TS:2026-06-01", "HMB") and not covers("HMB,TS:2026-05-31", "HMB")
    owed = parse_consent("HMB,PUB,RTN,MOR:2027-01-01,GSO,CC")
    assert covers(str(owed), "HMB") and owed.obligations == ("MOR:2027-01-01", "PUB", "RTN")


def test_every_modifier_is_decided_declared_or_an_obligation():
    values = {"GS": ":SE", "RS": ":x", "US": ":x", "PS": ":x", "IS": ":x", "TS": ":2020-01-01", "MOR": ":2020-01-01"}
    refused = {
        code
        for code, t in TERMS.items()
        if t.kind != "permission" and not covers(f"GRU,{code}{values.get(code, '')}", "POA")
    }
    free = {"NMDS", "GSO", "PUB", "MOR", "RTN", "CC"}  # of this purpose
    assert refused == {code for code, t in TERMS.items() if t.kind != "permission"} - free


def test_case_and_ids_of_the_ontology_are_one_code():
    forms = ("ds:mondo:0005148,npu", "DUO:0000007:MONDO:0005148,DUO:0000045", "DS:MONDO:0005148,NPU")
    assert {str(parse_consent(f)) for f in forms} == {"DS:MONDO:0005148,NPU"}
    assert len({t.id for t in TERMS.values()}) == len(TERMS)


@pytest.mark.parametrize(
    "text",
    ["", "HMB ", " HMB", "HMB,", "XXX", "DS", "DS:", "DS:MONDO:5148", "DS:0005148", "DS:MONDO:00051480", "GRU:x", "HMB,GRU",
     "\N{FULLWIDTH LATIN CAPITAL LETTER G}RU", "HMB,NPU,NPU", "HMB,GS", "HMB,GS:", "HMB,TS", "HMB,TS:2026-02-30",
     "HMB,TS:2026-1-1", "HMB,TS:\N{ARABIC-INDIC DIGIT TWO}026-01-01", "HMB\tNPU", "NPU", "DUO:9999999", "DUO:00000420",
     "HMB,IS:a b", "HMB,US:" + "x" * 70, "HMB;NPU", "HMB," * 600 + "NPU"],
)  # fmt: skip
def test_text_that_is_no_consent_is_refused_without_repeating_it(text):
    with pytest.raises(NotDuo) as caught:
        parse_consent(text)
    assert len(text) < 4 or text not in str(caught.value)
    with pytest.raises(NotDuo):
        parse_purpose(text)


@pytest.mark.parametrize("text", ["NRES", "HMB,TS:2030-01-01", "HMB,PUB", "HMB,GS:SE+FI", "HMB,NMDS", "CC"])
def test_a_request_declares_only_what_a_request_can(text):
    with pytest.raises(NotDuo):
        parse_purpose(text)


def test_a_disease_that_is_unknown_is_within_nothing():
    assert not shipped().within("MONDO:9999999", "MONDO:9999999") and "MONDO:9999999" not in shipped()
    assert not shipped().within(T2D, "MONDO:9999999") and not shipped().within("MONDO:9999999", T2D)


def test_the_shipped_slice_has_no_circle_and_no_loose_link():
    for disease, (name, groups) in SLICE.items():
        assert name and all(group in SLICE for group in groups)
        assert not any(shipped().within(group, disease) for group in groups)


def test_a_table_takes_the_place_of_the_slice(tmp_path):
    path = tmp_path / "mondo.tsv"
    path.write_bytes(
        b"child\tparent\r\nMONDO:0000003\tMONDO:0000002\r\nMONDO:0000002\tMONDO:0000001\r\n\r\nMONDO:0000001\tMONDO:0000003\r\n"
    )
    own = diseases(path)  # a circle ends
    assert own.within("MONDO:0000003", "MONDO:0000001") and T2D not in own
    for text in (
        "",
        "child\tparent\n",
        "MONDO:1\tMONDO:2\n\n",
        "MONDO:0000001\n",
        "MONDO:0000001\tMONDO:0000002\nx\ty\n",
    ):
        path.write_text(text)
        with pytest.raises(InputError):
            diseases(path)
    assert Diseases({}).within(T2D, T2D) is False
