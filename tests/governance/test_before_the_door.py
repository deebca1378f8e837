"""What happens before the door tells nothing of a person: no count, no value and no id, in logs, errors and refusals."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

import pytest
from support import securegen

import securegen as sg
from securegen.errors import DesignError, PolicyError
from securegen.governance import door, refusals
from securegen.governance.asker import known_key
from securegen.study import held, opening, people, selection, traits

CODE = PolicyError.exit_code
FEW = ("--chr", "1", "--to-bp", "40000", "--quiet")


def asked(ruled, *more, purpose="HMB", name="QT", out="out"):
    """Exit code, and what whoever asks reads: the error, and the log without what they typed and when."""
    c = ruled.cohort
    words = ["--bfile", c.bfile, "--pheno", c.pheno, "--pheno-name", name, "--out", ruled.folder / out, *FEW, *more]
    done = securegen("gwas", *words, *(("--purpose", purpose) if purpose else ()))
    log = (ruled.folder / f"{out}.log").read_text()
    (ruled.folder / f"{out}.log").unlink()
    apart = ("command", "securegen", "ended", "folder", "machine", "failed")
    return done.code, done.err, "\n".join(line for line in log.splitlines() if not line.startswith(apart))


def rows_of(ruled, column: int) -> dict[str, str]:
    """The cells of a column of the phenotypes, by the two ids of their people, in the order of the genotype file."""
    cells = [line.split("\t") for line in Path(ruled.cohort.pheno).read_text().splitlines()[1:]]
    known = {"\t".join(c[:2]): c[column] for c in cells}
    fam = [line.split()[:2] for line in Path(f"{ruled.cohort.bfile}.fam").read_text().splitlines()]
    return {"\t".join(p): known.get("\t".join(p), "NA") for p in fam}


def keep(ruled, names) -> Path:
    path = ruled.folder / "keep"
    path.write_text("\n".join(names) + "\n")
    return path


def test_a_list_of_one_person_more_reads_nothing_of_that_person(ruled, monkeypatch):
    """Whether one is in the file, has a value, is a case: the refusals of lists with and without one are the same text."""
    ruled.write(limits__smallest_cohort=30, limits__smallest_cases=60)
    values = rows_of(ruled, 2)
    have = [p for p, v in values.items() if v != "NA"]
    lacks = [p for p, v in values.items() if v == "NA"]

    def told(*lists, name="QT", **more):
        return {asked(ruled, "--keep", keep(ruled, names), name=name, **more) for names in lists}

    base = have[:20]
    seen = told(base, [*base, "F999\tI999"], [have[0]], [lacks[0]], ["F999\tI999"])
    assert lacks and len(seen) == 1
    assert {code for code, _, _ in seen} == {CODE}
    assert sum(e.kind == "refusal" for e in sg.audit.verify(ruled.folder).entries) == 5
    many = have[:40]
    assert len(told(many, [*many, have[40]], [*many, lacks[0]], name="CC")) == 1
    monkeypatch.setattr(traits, "refuse_few", lambda *_: None)  # the protections
    monkeypatch.setattr(people, "refuse_few", lambda *_: None)
    monkeypatch.setattr(selection, "refuse_few", lambda *_: None)
    monkeypatch.setattr(opening, "held", lambda _, log: contextlib.nullcontext(held.Held(log, None)))
    monkeypatch.setattr(door, "_decided", lambda r, exact, real=door._decided: real(r, exact=True))
    assert len(told(many, [*many, have[40]], [*many, lacks[0]], name="CC")) > 1


def test_a_value_of_one_person_waits_for_the_door(ruled, monkeypatch):
    """A warning of what looks like a missing code has the value, and how many have it."""
    ruled.write()
    table = Path(ruled.cohort.pheno)
    head, first, *rest = table.read_text().splitlines()
    cells = first.split("\t")
    cells[head.split("\t").index("QT")] = "-99"
    table.write_text("\n".join([head, "\t".join(cells), *rest]) + "\n")
    code, error, log = asked(ruled, purpose=None)
    assert code == CODE and "99" not in error and "holds -99" not in log and "people are analysed" not in log
    _, _, log = asked(ruled, "--apply-rint")  # it stands alone
    assert "holds -99" in log and "people are analysed" in log
    monkeypatch.setattr(opening, "held", lambda _, log: contextlib.nullcontext(held.Held(log, None)))  # the protection
    assert "holds -99" in asked(ruled, purpose=None)[2]


def test_a_rehearsal_and_a_plan_pass_the_door_before_they_count(ruled):
    ruled.write()
    c = ruled.cohort
    words = ["--bfile", c.bfile, "--pheno", c.pheno, "--pheno-name", "QT", "--chr", "1", "--to-bp", "40000"]
    for command in (["gwas", "--dry-run"], ["plan"]):
        done = securegen(*command, *words, "--out", ruled.folder / "p")
        assert done.code == CODE and "analysed" not in done.err + done.out and not list(ruled.folder.glob("p.*.json"))
        done = securegen(*command, *words, "--out", ruled.folder / "p", "--purpose", "HMB")
        assert done.code == 0 and "people are analysed" in done.err + done.out


@pytest.mark.parametrize(
    "command", [["kinship"], ["pca"], ["kinship", "--dry-run"], ["pca", "--dry-run"], ["ld"], ["ld", "--dry-run"]]
)
def test_tables_of_people_say_nothing_of_a_list_before_the_door(ruled, command):
    """How many of a list are in the file."""
    ruled.write()
    listed = keep(ruled, list(rows_of(ruled, 2))[:40])
    words = ["--bfile", ruled.cohort.bfile, "--keep", listed, "--chr", "1", "--out", ruled.folder / "k"]
    done = securegen(*command, *words)
    assert done.code == CODE and "samples remain" not in done.err + done.out
    if command[0] == "ld":  # which an analyst may have
        few = ruled.folder / "few"
        few.write_text("\n".join(map(str, sg.read_plink(ruled.cohort.bfile).variants.id[:4])) + "\n")
        done = securegen(*command, *words, "--extract", few, "--purpose", "HMB")
        assert done.code == 0 and "samples remain" in done.err + done.out


@pytest.mark.parametrize("file", ["pheno", "covar", "keep", "fam"])
def test_no_id_of_a_person_reaches_a_log(ruled, file):
    ruled.write()
    people_of = list(rows_of(ruled, 2))
    if file == "keep":
        more = ["--keep", keep(ruled, ["X1\tX2"])]
    elif file == "fam":
        path, more = Path(f"{ruled.cohort.bfile}.fam"), []
        lines = path.read_text().splitlines()
        path.write_text("\n".join([*lines[:-1], lines[0]]) + "\n")
    else:
        path = Path(getattr(ruled.cohort, file))
        path.write_text(path.read_text() + path.read_text().splitlines()[3] + "\n")
        more = ["--covar", path] if file == "covar" else []
    code, error, log = asked(ruled, *more)
    assert code != 0
    for name in ["X2", *(p.split("\t")[1] for p in people_of)]:
        assert f" {name} " not in f" {error} {log} ".replace("\n", " ").replace(":", " "), name


def test_who_is_a_case_is_not_read_by_refusals(ruled, monkeypatch):
    """Nine controls and many cases, and one person more: few controls, or as many as there must be. One list of cases alone with
    one person more: a design that is not possible, or is."""
    ruled.write(budgets__columns_share=0.16, budgets__refusals_per_month=4)
    values = rows_of(ruled, 3)
    cases, controls = ([p for p, v in values.items() if v == code] for code in "21")
    base, more = [*cases[:30], *controls[:9]], (cases[30], controls[9])

    def told(*lists, **more):
        return {asked(ruled, "--keep", keep(ruled, names), name="CC", **more)[:2] for names in lists}

    lists = [[*base, p] for p in more]
    assert len(told(*lists, purpose=None)) == 1  # what refuses anyhow, alone
    assert asked(ruled, "--keep", keep(ruled, base), name="CC")[0] == CODE  # nine
    assert asked(ruled, "--keep", keep(ruled, lists[1]), name="CC")[0] == 0  # ten, and a table of them
    others = [[*base, p] for p in (cases[31], controls[10])]
    seen = told(*others)
    assert len(seen) == 1 and all("policy.differing_people" in e and "smallest_cases" not in e for _, e in seen)
    alone = [[*cases[:20], p] for p in (cases[20], controls[0])]
    assert (
        asked(ruled, "--keep", keep(ruled, alone[0]), name="CC")[0] == DesignError.exit_code
    )  # it tells, and is counted
    seen = told(*alone, *others, cases, controls, purpose=None)
    assert len(seen) == 1 and all("budget.refusals: 4 refusals" in e for _, e in seen)
    entries = sg.audit.verify(ruled.folder).entries
    assert sum(e.kind == "refusal" and e.facts["rules"] == ["policy.design"] for e in entries) == 1
    monkeypatch.setattr(held, "refusal_reasons", lambda *_: [])  # the protections
    monkeypatch.setattr(door, "told", lambda decision: decision)
    assert len(told(*alone)) == 2 and len(told(*lists, purpose=None)) == 2


def test_one_asker_does_not_use_up_the_refusals_of_the_others(ruled, monkeypatch):
    """Whoever gives no identity, by any command and whoever they name, has one share; each identity its own; all the total."""
    ruled.write(limits__smallest_cohort=30, budgets__refusals_per_asker=2, budgets__refusals_per_month=5)
    few = keep(ruled, list(rows_of(ruled, 2))[:20])

    def rule(*more):
        found = re.search(r"(policy|budget)\.[a-z_]+", asked(ruled, "--keep", few, *more)[1])
        return found and found[0]

    anna, steward = (("--identity", ruled.key(name)) for name in ("anna", "steward"))
    assert asked(ruled, *steward, out="first")[0] == 0
    assert rule() == "policy.smallest_cohort"
    explained = sg.policy.explain(ruled.policy, who="anna", purpose="HMB", kind="quality", variants=20, people=few)
    assert [r.rule for r in explained.refusals] == ["policy.differing_people"]
    assert rule() == "budget.refusals"  # without an identity; anna asked for nothing yet
    assert rule(*anna) == rule(*anna) == "policy.smallest_cohort"
    assert rule(*anna) == "budget.refusals"
    assert asked(ruled, *steward, out="again")[0] == 0  # others work on
    assert rule(*steward) == "policy.smallest_cohort" and rule(*steward) == "budget.refusals"  # five in all
    monkeypatch.setattr(refusals, "SHARE", refusals.KEY)  # the protection
    ruled.write(version=2, limits__smallest_cohort=30, budgets__refusals_per_month=6)
    assert rule(*anna) == "policy.smallest_cohort"  # who has had her share
    assert asked(ruled, *steward, out="third")[1].count("budget.refusals")


def test_a_key_that_the_policy_does_not_know_is_no_asker_of_its_own(ruled):
    policy = ruled.write()
    assert known_key(policy, ruled.key("anna")) and known_key(policy, None) is None
    assert known_key(policy, ruled.key("stranger")) is None
