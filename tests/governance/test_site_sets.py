"""Sets of sites across studies: wherever the rule speaks an attack by linear algebra works, and it speaks under every name."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from policy_tools import write_former

from securegen.governance.ledger_file import open_ledger
from securegen.governance.site_sets import StudySites, alone

KEYS = {name: format(i, "02x") * 32 for i, name in enumerate("ABCDEFGHX", 1)}


def study(what: str, sites, agreed="", own="A", begun=True, unsummed="") -> StudySites:
    """Sites as names, whose keys are their own, or as (name, key)."""
    pairs = tuple((s, KEYS[s]) if isinstance(s, str) else s for s in sites)
    return StudySites(what, pairs, own, frozenset(agreed), frozenset(unsummed), begun)


def refused(new: StudySites, *known: StudySites) -> set[str]:
    return {r.site for r in alone(new, known) if not r.agreed}


def read_by(known_sites: str, *totals: str) -> set[str]:
    """Sites whose sums the totals give whoever knows the sums of `known_sites`: by rank, exactly."""
    names = sorted(set("".join(totals) + known_sites))
    rows = np.array([[n in t for n in names] for t in (*totals, *known_sites)], float)
    rank = np.linalg.matrix_rank(rows)
    unit = np.eye(len(names))
    return {
        n for n, row in zip(names, unit, strict=True) if np.linalg.matrix_rank(np.vstack([rows, row])) == rank
    } - set(known_sites)


@pytest.mark.parametrize(
    ("sites", "wanted"),
    [
        ("ABC", "D"), ("ABCDE", "E"), ("ABCX", "DX"), ("ABCXE", "D"), ("AB", "CD"), ("ABCDEF", "EF"), ("ABCD", ""),
        ("ABEF", ""), ("ABCDEFG", ""), ("AEFG", ""),
    ],
)  # fmt: skip
def test_a_site_that_comes_or_goes_alone(sites, wanted):
    """Beside ABCD. Who comes for D reads D, two that come or go read each other; the rule speaks of all who can be read so."""
    assert refused(study("two", sites), study("one", "ABCD")) == set(wanted)
    assert refused(study("one", "ABCD"), study("two", sites)) == set(wanted), "whichever was first"
    for name in wanted:
        assert name in read_by("".join((set(sites) ^ set("ABCD")) - {name}), "ABCD", sites)


def renamed(sites: str, how: str) -> list[tuple[str, str]]:
    """The same sites under other names, other keys, names of each other, or names and keys by turns."""
    if how == "names":
        return [(n.lower(), KEYS[n]) for n in sites]
    if how == "keys":
        return [(n, KEYS[n][::-1] + "00") for n in sites]
    if how == "by turns":
        return [(n.lower(), KEYS[n]) if i % 2 else (n, "99" * 31 + KEYS[n][:2]) for i, n in enumerate(sites)]
    return [(a, KEYS[b]) for a, b in zip(sites, sites[1:] + sites[:1], strict=True)]


@pytest.mark.parametrize("how", ["names", "keys", "by turns"])
def test_a_site_that_goes_is_found_under_other_names_and_keys(how):
    before = study("one", "ABCDE")
    new = renamed("ABCD", how)
    assert "E" in refused(study("two", new, own=new[0][0]), before)
    same = renamed("ABCDE", how)
    assert not refused(study("two", same, own=same[0][0]), before) or how == "by turns"


def test_this_site_is_itself_under_any_name_and_key():
    """A's ledger is A's: it cannot be made to take itself for a site that came."""
    mine = [("Z", "77" * 32), "B", "C"]
    assert refused(study("two", mine, own="Z"), study("one", "ABCD")) == {"D"}
    mine.append("D")
    assert not refused(study("two", mine, own="Z"), study("one", "ABCD"))


def test_a_false_site_under_the_name_of_the_one_that_went():
    """The coordinator's own key under D's name: nothing changes by names, the difference is D's sums less its own."""
    false = [*"ABC", ("D", KEYS["X"])]
    assert refused(study("two", false), study("one", "ABCD")) == {"D"}
    # D itself has another key: it says so by joining with the agreement, under a fingerprint that the others heard
    assert not refused(study("two", false, agreed="D"), study("one", "ABCD"))


def test_a_key_that_was_linked_to_another_name_hides_nobody():
    """A third study that gives D's key to A, and keys to names by turns."""
    known = [study("one", "ABCD"), study("three", [("A", KEYS["D"]), "E", "F", "G"], own="A")]
    new = [("A", "55" * 32), ("B", "66" * 32), ("C", "77" * 32)]
    assert "D" in refused(study("two", new), *known)


def test_who_agreed_may_be_read_and_nobody_else():
    one = study("one", "ABCD", agreed="D")
    (found,) = alone(study("two", "ABC"), [one])
    assert found.site == "D" and found.agreed and "only D is not here" in found.why
    assert refused(study("two", "ABD"), one) == {"C"}, "the agreement of D is not C's"
    assert refused(study("two", "ABC", agreed="ABC"), study("one", "ABCD")) == {"D"}, "nor the others' D's"
    assert refused(study("two", "ABCX"), one) == {"X"}
    assert not refused(study("two", "ABCX", agreed="X"), one)
    assert not refused(study("two", "ABCDE", agreed="E"), one)


def test_a_study_in_which_nothing_was_summed():
    assert not alone(study("two", "ABC"), [study("one", "ABCD", unsummed="D")])
    assert refused(study("two", "ABD"), study("one", "ABCD", unsummed="D")) == {"C"}


def fano() -> list[str]:
    """Seven studies of A and three of B to H, of which no two differ by one site in either way."""
    lines = ["BCE", "CDF", "DEG", "EFH", "FGB", "GHC", "HBD"]
    return ["A" + "".join(sorted(line)) for line in lines]


def test_three_studies_and_more_that_combine_to_one_site():
    studies = fano()
    for a, b in itertools.combinations(studies, 2):
        assert len(set(a) - set(b)) == len(set(b) - set(a)) == 2 and not refused(study("1", a), study("2", b))
    first = next(n for n in range(2, 8) if any(read_by(r, *studies[:n]) for r in "ABCDEFGH"))
    known = [study(str(i), s) for i, s in enumerate(studies[: first - 1])]
    assert first >= 3 and not any(refused(s, *known[:i]) for i, s in enumerate(known))
    last = study("last", studies[first - 1])
    read = {r: read_by(r, *studies[:first]) for r in "ABCDEFGH"}
    assert refused(last, *known) == set().union(*read.values())
    everybody = [study(s.what, [n for n, _ in s.sites], agreed="ABCDEFGH") for s in known]
    assert not refused(study("last", studies[first - 1], agreed="ABCDEFGH"), *everybody)


def test_sites_by_turns():
    """Of five sites each four: the second already has one that comes and one that goes, who read each other."""
    studies = ["ABCD", "ABCE", "ABDE", "ACDE"]
    assert read_by("A", *studies) == set("BCDE")
    assert refused(study("2", studies[1]), study("1", studies[0])) == {"D", "E"}
    assert read_by("E", *studies[:2]) == {"D"}


def test_what_a_ledger_keeps_of_sites(tmp_path):
    path = tmp_path / "ledger"
    with open_ledger(path) as ledger:
        ledger.add_study(study("one", "ABCD", begun=False))
        ledger.add_study(study("one", "ABCD", agreed="D"))
    with open_ledger(path) as ledger:
        assert ledger.study("one") == study("one", "ABCD", begun=False), "what was said first stays"
        assert not ledger.alone(study("two", "ABC")), "no sum was sent"
        ledger.begin("one")
    with open_ledger(path) as ledger:
        assert ledger.study("one").begun and [r.site for r in ledger.alone(study("two", "ABC"))] == ["D"]
        ledger.unsummed("one", ["D"])
    with open_ledger(path) as ledger:
        assert ledger.study("one") == study("one", "ABCD", unsummed="D") and not ledger.alone(study("two", "ABC"))


def test_a_ledger_of_before_agreements_counts_every_study(tmp_path):
    path = tmp_path / "ledger"
    with open_ledger(path) as ledger:
        assert not ledger.studies
    sites = [{"what": "one", "sites": [f"{n} {KEYS[n]}" for n in "ABCD"]}]
    write_former(path, {"people": [], "spent": [], "charged": [], "sets": [], "studies": sites, "columns": []})
    (tmp_path / "ledger.lock").write_bytes(b"")  # which had no mark then
    with open_ledger(path) as ledger:
        assert ledger.study("one") == study("one", "ABCD", own="")
        assert [(r.site, r.agreed) for r in ledger.alone(study("two", "ABC"))] == [("D", False)]
