"""`policy explain` says what a run would hear of budgets, releases and sets of samples, and changes no ledger."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import securegen

import securegen as sg
from securegen.errors import InputError, UsageError
from securegen.governance import audit_release, explained
from securegen.governance.door import History

FACTS = {"purpose": "HMB", "variants": 20, "columns": 1}


def listed(ruled, *without: int) -> str:
    fam = [line.split()[:2] for line in Path(f"{ruled.cohort.bfile}.fam").read_text().splitlines()]
    path = ruled.folder / "people.txt"
    path.write_text("".join(f"{f} {i}\n" for n, (f, i) in enumerate(fam) if n not in without))
    return str(path)


def run_of(ruled, keep=None) -> str:
    """Quality control, a column of everybody: the error of it."""
    words = ["qc", "--bfile", ruled.cohort.bfile, "--chr", "1", "--to-bp", "200000", "--purpose", "HMB", "--quiet"]
    return securegen(*words, "--out", ruled.folder / "q", *(("--keep", keep) if keep else ())).err


def bytes_of(ruled):
    return {
        p: p.read_bytes() for p in ruled.folder.rglob("*") if p.is_file() and ("ledger" in p.name or "audit" in str(p))
    }


def refusals(ruled, **more):
    return {r.rule for r in sg.policy.explain(ruled.policy, kind="quality", **FACTS | more).refusals}


def unasked(monkeypatch):
    """The protection off: the ledger is not asked."""
    monkeypatch.setattr(
        explained,
        "_history",
        lambda folder, r, named, entries, columns, spent: (History(columns=columns, people=90), ()),
    )


def test_a_set_that_differs_by_one_is_refused_before_it_runs(ruled, monkeypatch):
    ruled.write()
    run_of(ruled)
    one = listed(ruled, 7)
    assert "policy.differing_people" in run_of(ruled, one)
    before = bytes_of(ruled)
    assert refusals(ruled, people=listed(ruled)) == set() == refusals(ruled, people=listed(ruled, *range(20)))
    assert bytes_of(ruled) == before  # neither ledger nor log knows of it
    assert refusals(ruled, people=listed(ruled, 7)) == {"policy.differing_people"}
    assert (ruled.folder / explained.LEDGER).read_bytes() == before[ruled.folder / explained.LEDGER]
    said = sg.policy.explain(ruled.policy, samples=89, kind="quality", **FACTS)
    assert said.allowed and any(r.rule == "ledger.samples" and "1 sets" in r.text for r in said.reasons)
    unasked(monkeypatch)
    assert refusals(ruled, people=listed(ruled, 7)) == set()


def test_releases_and_columns_are_those_of_the_ledger(ruled, monkeypatch):
    ruled.write(budgets__releases_per_day=1, budgets__columns_share=0.05)
    assert refusals(ruled, samples=90) == set()
    run_of(ruled)
    assert refusals(ruled, samples=90) == {"budget.releases_per_day"} == refusals(ruled, people=listed(ruled))
    assert refusals(ruled, samples=90, releases=0) == set()
    ruled.write(version=2, budgets__columns_share=0.05)  # 4 columns of 90 people, of which one is spent
    assert (
        refusals(ruled, samples=90, columns=4) == {"budget.columns"} == refusals(ruled, people=listed(ruled), columns=4)
    )
    assert refusals(ruled, samples=90, columns=4, spent=0) == set() == refusals(ruled, samples=90, columns=3)
    unasked(monkeypatch)
    assert refusals(ruled, samples=90, columns=4) == set()


def test_a_ledger_of_another_account_is_said_not_to_be_asked(ruled, monkeypatch):
    ruled.write(budgets__releases_per_day=1)
    run_of(ruled)
    monkeypatch.setattr(explained.os, "access", lambda *a: False)
    said = sg.policy.explain(ruled.policy, samples=90, kind="quality", **FACTS)
    assert said.allowed and any("cannot be read here: budgets" in r.text for r in said.reasons)


def test_a_list_is_read_strictly(ruled):
    ruled.write()
    path = ruled.folder / "people.txt"
    for text, why in (("F1 I1\nF1 I1\n", "twice"), ("F1\n", "FID and IID")):
        path.write_text(text)
        with pytest.raises(InputError, match=why):
            refusals(ruled, people=path)
    for more in ({"people": listed(ruled), "samples": 4}, {}):
        with pytest.raises(UsageError, match="`samples`"):
            refusals(ruled, **more)


def test_by_command(ruled):
    ruled.write()
    run_of(ruled)
    words = ["policy", "explain", ruled.policy, "--purpose", "HMB", "--kind", "quality", "--variants", "20"]
    done = securegen(*words, "--people", listed(ruled, 7))
    assert done.code == 0 and "REFUSED  policy.differing_people" in done.out and "decision: refused" in done.out
    assert "decision: allowed" in securegen(*words, "--people", listed(ruled)).out


def test_who_was_analysed_is_not_asked_without_end(ruled, monkeypatch):
    """Nine who were and many strangers, with one person more: whether these are ten."""
    ruled.write(budgets__refusals_per_month=3)
    run_of(ruled)
    fam = [line.split()[:2] for line in Path(f"{ruled.cohort.bfile}.fam").read_text().splitlines()]

    def asked(n, one):
        names = [*fam[:9], one, *([f"X{n}-{i}", "S"] for i in range(30))]
        path = ruled.folder / "asked"
        path.write_text("".join(f"{f} {i}\n" for f, i in names))
        return refusals(ruled, people=path)

    assert asked(0, fam[20]) == set() and asked(1, ["nobody", "here"]) == {"policy.differing_people"}
    assert asked(2, ["nobody", "else"]) and asked(3, ["nobody", "ever"])
    assert asked(4, fam[21]) == asked(5, ["nobody", "now"]) == {"budget.refusals"}
    monkeypatch.setattr(audit_release, "refusal_reasons", lambda *_: [])  # the protection
    assert asked(4, fam[21]) != asked(5, ["nobody", "now"])
