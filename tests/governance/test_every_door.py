"""Nothing goes round the door: by command, from Python and by editing files, in every engine."""

from __future__ import annotations

import datetime
import json
import re
import shutil
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from policy_tools import make_ruled
from support import securegen, write_plink, write_tsv

import securegen as sg
from securegen.engines.mpc.owner_gate import rare_rows
from securegen.engines.plain.engine import write_plain
from securegen.errors import PolicyError, UsageError
from securegen.governance import audit_beside, gate, history, policy_file, policy_steps
from securegen.governance.decision import Decision
from securegen.governance.gate import LEDGER
from securegen.model import GenotypeBlock
from securegen.results import write
from securegen.stats.meta import Studies
from securegen.stats.qc import Filters
from securegen.study.noised import place_of

CODE = PolicyError.exit_code
FEW = {"chr": "1", "to_bp": 40_000}


def gwas(ruled, *more, out="out"):
    return securegen("gwas", *ruled.words("--out", ruled.folder / out, "--quiet", *more))


def test_off_without_a_policy_and_on_as_soon_as_one_stands_beside(ruled):
    assert gwas(ruled, out="free").code == 0
    assert "governance" not in json.loads((ruled.folder / "free.run.json").read_text())
    ruled.write()
    done = gwas(ruled)
    assert done.code == CODE and "policy.purpose" in done.err and ruled.results("out") == []
    assert gwas(ruled, "--purpose", "HMB").code == 0
    assert (ruled.folder / "out.QT.glm.linear").read_bytes() == (ruled.folder / "free.QT.glm.linear").read_bytes()


def test_run_json_and_the_receipt_have_the_decision(ruled):
    policy = ruled.write()
    assert gwas(ruled, "--purpose", "HMB", "--identity", ruled.key("anna")).code == 0
    said = json.loads((ruled.folder / "out.run.json").read_text())
    found = said["governance"]
    assert (found["who"], found["role"], found["purpose"]) == ("anna", "analyst", "HMB")
    assert found["policy"]["digest"] == policy.digest
    (decision,) = map(Decision.from_json, found["decisions"])
    assert decision.allowed and {r.rule for r in decision.reasons} >= {"policy.purpose", "budget.columns"}
    assert any("policy.smallest_cohort" in line for line in said["receipt"]["decisions"])
    assert "policy.smallest_cohort" in (ruled.folder / "out.log").read_text()
    for log in (*said["audit"], found["audit"]):
        del log["key"], log["note"]  # signed: their Base 64 may spell an id
    record, ledger = json.dumps(said).encode(), (ruled.folder / LEDGER).read_bytes()
    ids = [f"{letter}{i}".encode() for letter in "FI" for i in range(10, 90)]
    assert not any(name in record for name in ids)
    assert (
        sum(name in ledger for name in ids) < 9
    )  # its bytes are marks: three spell one of 160 ids once in ten ledgers


REFUSALS = {
    "policy.purpose": ({"purposes__allowed": ["POA"]}, {}),
    "policy.smallest_cohort": ({"limits__smallest_cohort": 91}, {}),
    "policy.degrees_of_freedom": ({"limits__degrees_of_freedom": 90}, {}),
    "policy.columns_per_person": ({"limits__columns_per_person": 0.01}, {}),
    "policy.most_variants": ({"limits__most_variants": 10}, {}),
    "policy.reveal": ({"tiers__analyst__reveal": "uv"}, {}),
    "policy.granularity": ({"tiers__analyst__granularity": "boolean"}, {}),
    "budget.columns": ({"budgets__columns_share": 0.01}, {}),
    "budget.releases_per_day": ({"budgets__releases_per_day": 0}, {}),
    "policy.second_signature": ({"second_signature__for": ["association"]}, {}),
    "policy.noise": ({"noise__required": True}, {}),
    "policy.identity": ({"requests__unidentified": "refused"}, {}),
}


@pytest.mark.parametrize("rule", REFUSALS)
def test_each_rule_holds_by_command_and_from_python(ruled, rule):
    settings, more = REFUSALS[rule]
    ruled.write(**settings)
    done = gwas(ruled, "--purpose", "HMB")
    assert done.code == CODE and rule in done.err and ruled.results("out") == []

    def study():
        return ruled.study(purpose="HMB", **({} if rule == "policy.most_variants" else FEW), **more)

    for attempt in (
        lambda: sg.run(study(), out=ruled.folder / "out"), lambda: write_plain(study(), str(ruled.folder / "out")),
        lambda: list(sg.Plain().sums(study())),
    ):  # fmt: skip
        with pytest.raises(PolicyError, match=rule.replace(".", r"\.")):
            attempt()
    assert ruled.results("out") == []
    ruled.write(version=2)
    assert sg.run(study())["QT"] is not None  # and without the rule it works


def test_few_cases_are_refused_whatever_the_test(ruled):
    ruled.write(limits__smallest_cases=60)
    for model in ("logistic", "trend", "allelic"):
        with pytest.raises(PolicyError, match=r"policy\.smallest_cases"):
            sg.run(ruled.study("CC", model=model, purpose="HMB", **FEW))


def test_rare_rows_are_withheld_in_every_column_and_the_others_are_as_before(ruled):
    free = sg.run(ruled.study(qc=True, **FEW))["QT"]
    ruled.write(limits__minor_alleles=25)
    frame = sg.run(ruled.study(purpose="HMB", **FEW))["QT"]
    count = (free["A1_FREQ"] * 2 * free["OBS_CT"]).round()
    hidden = frame["ERRCODE"] == "FEW_CARRIERS"
    assert 0 < hidden.sum() < len(frame)
    assert frame.loc[hidden, ["A1_FREQ", "OBS_CT", "BETA", "SE", "T_STAT", "P"]].isna().all().all()
    pd.testing.assert_frame_equal(frame[~hidden], free[~hidden], check_dtype=False)
    assert not hidden[(count >= 30) & (count <= 2 * free["OBS_CT"] - 30)].any()
    with pytest.raises(PolicyError, match=r"policy\.minor_alleles"):
        list(sg.Plain().sums(ruled.study(purpose="HMB", **FEW)))
    quality = sg.qc(sg.open_qc(ruled.cohort.bfile, purpose="HMB", keep=_keep(ruled), **FEW))["afreq"]
    assert 0 < (quality["ALT_FREQS"] == "NA").sum() < len(quality)


def test_masks_that_contain_each_other_are_refused_where_rare_rows_are_withheld(ruled):
    """Both are common enough to be shown; sums of one variant, which is not, are their difference."""
    free = sg.run(ruled.study(qc=True, **FEW))["QT"]
    count = (free["A1_FREQ"] * 2 * free["OBS_CT"]).round()
    rare = free["ID"][count < 25].iloc[0]
    rest = free["ID"][(count >= 25) & (count < 90)].tolist()
    for name, lines in {
        "anno": [f"{v} G a" for v in rest] + [f"{rare} G b"], "sets": [f"G 1 1 {rare} {' '.join(rest)}"],
        "masks": ["M1 a", "M2 a,b"],
    }.items():  # fmt: skip
        (ruled.folder / name).write_text("\n".join(lines) + "\n")
    files = {"anno_file": ruled.folder / "anno", "set_list": ruled.folder / "sets", "mask_def": ruled.folder / "masks"}
    masks = {**files, "aaf_bins": "all", "build_mask": "sum", **FEW}
    one, both = (row for _, row in sg.run(ruled.study(**masks))["QT"].iterrows())
    assert round(2 * both["OBS_CT"] * (both["A1_FREQ"] - one["A1_FREQ"])) in (
        count[free["ID"] == rare].item() + d for d in (-2, -1, 0, 1, 2)
    )
    ruled.write(limits__minor_alleles=25)
    with pytest.raises(PolicyError, match=r"policy\.minor_alleles.*two masks of a set"):
        sg.run(ruled.study(purpose="HMB", **masks), out=ruled.folder / "out")
    assert ruled.results("out") == []


def test_filters_leave_out_no_withheld_row(ruled, monkeypatch):
    """By one count after the other, the rows that are gone told the count of each."""
    ruled.write(limits__minor_alleles=25, budgets__releases=9)
    study = ruled.study(purpose="HMB", qc=True, keep=_keep(ruled), **FEW)

    def hidden(**filters):
        frame = sg.run(study, filters=Filters(**filters))["QT"]
        return set(frame["ID"][frame["ERRCODE"] == "FEW_CARRIERS"]), len(frame)

    block = study.reader.read(0, len(study.reader.variants))
    called = (~block.missing).sum(axis=1)
    alleles = np.where(block.missing, 0, block.dosage).sum(axis=1)
    counted = set(study.reader.variants.id[np.minimum(alleles, 2 * called - alleles) < 25])  # of all people
    everything, rows = hidden()
    assert len(counted) > 3 and counted <= everything
    for filters in ({"mac": 20}, {"maf": 0.2}, {"hwe": 0.5}, {"geno": 0.01}):
        here, left = hidden(**filters)
        assert here >= counted and (left < rows or "mac" in filters), filters
    monkeypatch.setattr(write, "_rare", lambda gate, stratum, sums, q: q["CARRIERS"] < 0)  # the protection
    assert hidden(mac=20)[0] & counted < counted and not hidden(mac=25)[0] & counted


def test_few_people_who_have_a_genetic_model_are_withheld(ruled, monkeypatch):
    """Of one homozygote the effect is a phenotype."""
    ruled.write(limits__minor_alleles=3)
    study = ruled.study(purpose="HMB", recessive=True, **FEW)

    def hidden():
        frame = sg.run(study)["QT"]
        return set(frame["ID"][frame["ERRCODE"] == "FEW_CARRIERS"])

    dosage = study.reader.read(0, len(study.reader.variants)).dosage[:, study.design.columns.values[:, 0] != 0]
    two = (dosage == 1).sum(axis=1)
    few = set(study.reader.variants.id[(two < 3) | (two > dosage.shape[1] - 3)])
    assert few and hidden() >= few
    monkeypatch.setattr(write, "fewest_carriers", lambda a, sums, **_: np.full(len(sums), 99.0))  # the protection
    assert not hidden() & few


def _keep(ruled) -> Path:
    """The people who were analysed: another set would be refused."""
    rows = [line.split("\t")[:3] for line in Path(ruled.cohort.pheno).read_text().splitlines()[1:]]
    covar = {
        line.split("\t")[1] for line in Path(ruled.cohort.covar).read_text().splitlines()[1:] if "\tNA" not in line
    }
    path = ruled.folder / "keep.txt"
    path.write_text("".join(f"{f}\t{i}\n" for f, i, y in rows if y != "NA" and i in covar and i != "I9999"))
    return path


def test_a_set_that_differs_by_few_people_is_refused_and_with_the_guard_off_it_is_that_person(ruled):
    """Two tables of the same phenotype, one without a person: their allele counts differ by that person's genotypes."""
    people = _keep(ruled).read_text().splitlines()
    less = ruled.folder / "less.txt"
    less.write_text("\n".join(people[1:]) + "\n")
    tables = [sg.run(ruled.study(keep=k, **FEW))["QT"] for k in (_keep(ruled), less)]
    a, b = ((t["A1_FREQ"] * 2 * t["OBS_CT"]) for t in tables)
    reader = sg.read_plink(ruled.cohort.bfile)
    place = list(reader.samples.iid).index(people[0].split("\t")[1])
    truth = reader.read(0, len(a)).dosage[:, place]
    assert ((a - b).round() == truth).mean() > 0.9  # but for rows where calls are missing
    ruled.write()
    assert len(sg.run(ruled.study(purpose="HMB", keep=_keep(ruled), **FEW))["QT"])
    with pytest.raises(PolicyError, match=r"policy\.differing_people: fewer than 10 people are only in the"):
        sg.run(ruled.study(purpose="HMB", keep=less, **FEW))
    with pytest.raises(PolicyError, match=r"policy\.differing_people"):
        sg.run(ruled.study(("QT", "CC"), purpose="HMB", **FEW))
    with pytest.raises(PolicyError, match=r"policy\.differing_people"):
        sg.qc(sg.open_qc(ruled.cohort.bfile, purpose="HMB", **FEW))


def test_budgets_count_what_is_new_and_a_refusal_costs_nothing(ruled):
    ruled.write(budgets__releases_per_day=1, budgets__columns_share=0.08)  # 6 columns of 84 people
    study = ruled.study(purpose="HMB", **FEW)
    for _ in range(3):
        sg.run(study)  # the same again
    before = (ruled.folder / LEDGER).read_bytes()
    other = ruled.study(purpose="HMB", covar_name="AGE", **FEW)
    with pytest.raises(PolicyError, match=r"budget\.releases_per_day"):
        sg.run(other)
    assert (ruled.folder / LEDGER).read_bytes() == before
    ruled.write(version=2, budgets__columns_share=0.05)
    with pytest.raises(PolicyError, match=r"budget\.columns"):
        sg.run(other)


def test_a_copy_of_the_policy_begins_no_other_ledger(ruled, tmp_path):
    """Nor another log, nor other draws of noise: what stands beside the data keeps them, whatever is named."""
    ruled.write(budgets__releases_per_day=1)
    for end in ("", ".sig"):
        shutil.copy(f"{ruled.policy}{end}", tmp_path / f"policy.toml{end}")
    named = {"purpose": "HMB", "policy": tmp_path / "policy.toml", **FEW}
    sg.run(ruled.study(**named))
    with pytest.raises(PolicyError, match=r"budget\.releases_per_day"):
        sg.run(ruled.study(covar_name="AGE", **named))
    assert (ruled.folder / LEDGER).exists() and (ruled.folder / "audit").is_dir()
    assert not (tmp_path / LEDGER).exists() and not (tmp_path / "audit").exists()
    assert place_of(sg.Inputs(bfile=ruled.cohort.bfile, policy=tmp_path / "policy.toml"))[0] == ruled.folder
    for end in ("", ".sig"):  # where none stands beside the data, the copy is the only one
        Path(f"{ruled.policy}{end}").unlink()
    sg.run(ruled.study(covar_name="AGE", **named))
    assert (tmp_path / LEDGER).exists()


def test_editing_swapping_and_replaying_a_policy(ruled):
    ruled.write(version=3)
    old, seal = ruled.policy.read_bytes(), policy_file.signature_path(ruled.policy).read_bytes()
    assert gwas(ruled, "--purpose", "HMB").code == 0
    ruled.policy.write_bytes(old.replace(b"smallest_cohort = 10", b"smallest_cohort = 1"))
    assert (done := gwas(ruled, "--purpose", "HMB")).code == CODE and "policy.signature" in done.err
    ruled.write(version=4, limits__smallest_cohort=91)
    assert "policy.smallest_cohort" in gwas(ruled, "--purpose", "HMB").err
    ruled.write(version=5, limits__most_variants=100_000)
    assert gwas(ruled, "--purpose", "HMB").code == 0
    ruled.policy.write_bytes(old)
    policy_file.signature_path(ruled.policy).write_bytes(seal)
    assert (done := gwas(ruled, "--purpose", "HMB")).code == CODE and "policy.version" in done.err


def test_a_policy_of_another_steward_does_not_take_its_place(ruled, tmp_path, small):
    ruled.write()
    assert gwas(ruled, "--purpose", "HMB").code == 0
    other = make_ruled(tmp_path / "other", small)
    other.write(version=9)
    done = gwas(ruled, "--purpose", "HMB", "--policy", other.policy)
    assert done.code == CODE and "governs these data" in done.err
    for end in ("", ".sig"):
        Path(f"{ruled.policy}{end}").write_bytes(Path(f"{other.policy}{end}").read_bytes())
    done = gwas(ruled, "--purpose", "HMB")
    assert done.code == CODE and "policy.steward" in done.err


def test_links_to_governed_genotypes_are_governed(ruled, tmp_path):
    ruled.write()
    away = tmp_path / "away"
    away.mkdir()
    for end in ("bed", "bim", "fam"):
        (away / f"c.{end}").symlink_to(f"{ruled.cohort.bfile}.{end}")
    for name in ("pheno", "covar"):
        (away / f"{name}.tsv").write_text(Path(getattr(ruled.cohort, name)).read_text())
    moved = replace(ruled, folder=away, cohort=replace(
        ruled.cohort, bfile=str(away / "c"), pheno=str(away / "pheno.tsv"), covar=str(away / "covar.tsv")
    ))  # fmt: skip
    assert "policy.purpose" in gwas(moved).err
    assert moved.results("out") == []


def test_an_identity_is_a_key_and_not_a_name(ruled):
    ruled.write(requests__unidentified="refused")
    assert gwas(ruled, "--purpose", "HMB", "--identity", ruled.key("anna")).code == 0
    for key in ("stranger", "otto"):
        done = gwas(ruled, "--purpose", "HMB", "--identity", ruled.key(key), out=key)
        assert done.code == CODE and ruled.results(key) == []
    done = gwas(ruled, "--purpose", "HMB", "--identity", ruled.folder / "keys" / "anna.pub", out="pub")
    assert done.code == 6  # the public half proves nothing


def test_a_second_signature_is_on_one_request(ruled):
    ruled.write(second_signature__for=["full"])
    done = gwas(ruled, "--purpose", "HMB", "--identity", ruled.key("anna"))
    request = done.err.split("none on request ")[1].split()[0]
    signed = ruled.folder / "otto.signed"
    for who, out in (("anna", "own"), ("stranger", "foreign"), ("otto", "otto")):
        words = (
            "policy",
            "countersign",
            "--request",
            request,
            "--key",
            ruled.key(who),
            "--out",
            ruled.folder / f"{out}.signed",
        )
        assert securegen(*words).code == 0
    for out in ("own", "foreign"):
        done = gwas(
            ruled,
            "--purpose",
            "HMB",
            "--identity",
            ruled.key("anna"),
            "--second-signature",
            ruled.folder / f"{out}.signed",
        )
        assert done.code == CODE
    words = ("--identity", ruled.key("anna"), "--second-signature", signed)
    assert gwas(ruled, "--purpose", "GRU", *words).code == CODE  # another request
    assert gwas(ruled, "--purpose", "HMB", *words).code == 0
    for other in (("--chr", "2"), ("--covar-name", "AGE"), ("--recessive",), ("--missing", "complete")):
        done = gwas(ruled, "--purpose", "HMB", *words, *other, out="other")
        assert done.code == CODE and "policy.second_signature" in done.err, other
    signed.write_text(signed.read_text().replace(request[:8], "00000000"))
    assert "was altered" in gwas(ruled, "--purpose", "HMB", *words).err


def test_other_options_of_as_many_rows_are_another_release(ruled, monkeypatch):
    """Two windows of as many variants: the second was once a repetition, which is free."""
    ruled.write(budgets__releases=1)
    first, second = ruled.study(purpose="HMB", **FEW), ruled.study(purpose="HMB", chr="1", from_bp=1, to_bp=40_000)
    sg.run(first)
    sg.run(ruled.study(purpose="HMB", **FEW))  # the same again
    with pytest.raises(PolicyError, match=r"budget\.releases: 1 other"):
        sg.run(second)
    monkeypatch.setattr(sg.Inputs, "asked_for", sg.Inputs.digests)  # the protection
    ruled.write(version=2, budgets__releases=2)
    sg.run(first)
    assert sg.run(second)["QT"] is not None


def test_a_copy_of_the_policy_beside_links_or_other_files_begins_no_ledger(ruled, monkeypatch, tmp_path):
    ruled.write(budgets__releases=1)
    sg.run(ruled.study(purpose="HMB", **FEW))
    mine = tmp_path / "mine"
    mine.mkdir()
    for name in ("policy.toml", "policy.toml.sig"):
        shutil.copy(ruled.folder / name, mine)
    (mine / "further").symlink_to(ruled.folder)
    for end in ("bed", "bim", "fam"):
        (mine / f"cohort.{end}").symlink_to(f"further/cohort.{end}")
    c = ruled.cohort

    def again():
        return sg.run(
            sg.open_study(mine / "cohort", pheno=c.pheno, pheno_name="QT", covar=c.covar, purpose="HMB", chr="1")
        )

    with pytest.raises(PolicyError, match=r"budget\.releases: 1 other"):
        again()
    shutil.copy(ruled.folder / LEDGER, mine)  # any: what it says is not read
    with pytest.raises(PolicyError, match=r"policy\.file: .* both have this policy"):
        again()
    (mine / LEDGER).unlink()
    monkeypatch.setattr(
        policy_file, "_folders_of", lambda given: [given.parent, given.resolve().parent]
    )  # the protection
    with pytest.raises(PolicyError, match=r"policy\.file: .* knows what was released"):
        again()
    monkeypatch.setattr(policy_file, "_folders_of", lambda given: [given.parent])
    shutil.copy(c.pheno, tmp_path), shutil.copy(c.covar, tmp_path)
    c = replace(c, pheno=str(tmp_path / "pheno.tsv"), covar=str(tmp_path / "covar.tsv"))
    assert again()["QT"] is not None


def test_scores_and_people_need_a_role_with_records(ruled):
    (ruled.folder / "w.tsv").write_text("ID\teffect_allele\teffect_weight\n" + "".join(
        f"rs{i}\tA\t0.{i}\n" for i in range(20, 60)
    ))  # fmt: skip
    ruled.write()
    prs = ("prs", "--bfile", ruled.cohort.bfile, "--score", ruled.folder / "w.tsv", "--purpose", "HMB", "--quiet",
           "--min-overlap", "0", "--out", ruled.folder / "s")  # fmt: skip
    assert (done := securegen(*prs)).code == CODE and "policy.granularity" in done.err and ruled.results("s") == []
    with pytest.raises(PolicyError, match=r"policy\.granularity"):
        sg.scores.run(
            sg.scores.open(bfile=ruled.cohort.bfile, score=ruled.folder / "w.tsv", min_overlap=0, purpose="HMB")
        )
    assert securegen(*prs, "--identity", ruled.key("steward")).code == 0
    assert "governance" in json.loads((ruled.folder / "s.run.json").read_text())
    for command in ("kinship", "pca"):
        done = securegen(
            command, "--bfile", ruled.cohort.bfile, "--purpose", "HMB", "--quiet", "--out", ruled.folder / "p"
        )
        assert done.code == CODE and "policy.granularity" in done.err and ruled.results("p") == []
    with pytest.raises(PolicyError, match=r"policy\.granularity"):
        sg.pca(sg.Inputs(bfile=ruled.cohort.bfile, purpose="HMB"), pcs=2)
    with pytest.raises(PolicyError, match=r"policy\.granularity"):
        sg.step1(
            sg.Inputs(bfile=ruled.cohort.bfile, pheno=ruled.cohort.pheno, pheno_name="QT", purpose="HMB"),
            ruled.folder / "m",
        )
    assert ruled.results("m") == []


def test_correlations_are_columns_of_everybody_and_rare_variants_are_left_out(ruled):
    """An open matrix of M variants is M sums of each genotype: 12 of 90 people are within the budget, 24 are not."""

    def correlated(out, names):
        (ruled.folder / "few").write_text("\n".join(names))
        return securegen("ld", "--bfile", ruled.cohort.bfile, "--extract", ruled.folder / "few", "--purpose", "HMB",
                         "--out", ruled.folder / out)  # fmt: skip

    ruled.write(limits__minor_alleles=20)
    variants = sg.read_plink(ruled.cohort.bfile)
    g = variants.read(0, 60)
    minor = [
        90 - int(np.bincount(row, minlength=3).max()) for row in g.dosage
    ]  # people; the first third has every call
    common = [v for v, m in zip(variants.variants.id, minor, strict=False) if m >= 20]
    rare = [v for v, m in zip(variants.variants.id, minor, strict=False) if 0 < m < 20]
    assert len(common) >= 24 and rare
    assert correlated("a", [*common[:12], rare[0]]).code == 0
    assert (
        rare[0] not in (ruled.folder / "a.z").read_text()
        and "fewer than 20 carriers" in (ruled.folder / "a.log").read_text()
    )
    assert correlated("again", [*common[:12], rare[0]]).code == 0
    done = correlated("b", common[12:24])
    assert done.code == CODE and "budget.columns" in done.err and ruled.results("b") == []
    ruled.write(version=2, limits__minor_alleles=20, limits__columns_per_person=0.1)
    done = correlated("c", common[:12])
    assert done.code == CODE and "policy.columns_per_person" in done.err and ruled.results("c") == []
    with pytest.raises(PolicyError, match=r"policy\.purpose"):
        sg.ld(sg.Inputs(bfile=ruled.cohort.bfile, extract=str(ruled.folder / "few")))


def test_a_variant_that_one_person_carries_has_that_persons_genotypes_in_its_row(ruled):
    """n·Σgh − Σg·Σh with Σg = 1 is n times her copies of the other variant, less its count: read from r and frequencies. The
    floor of minor alleles leaves her variant out."""
    rng = np.random.default_rng(12)
    g = rng.binomial(2, 0.4, (7, 90)).astype(np.int8)
    g[0] = 0
    g[0, 7] = 1
    write_plink(ruled.folder / "cohort", g)
    ruled.write()
    inputs = sg.Inputs(bfile=ruled.cohort.bfile, purpose="HMB")
    r = sg.ld(inputs).to_numpy()
    total, square = g.sum(axis=1), (g.astype(int) ** 2).sum(axis=1)
    spread = 90 * square - total**2
    read = (r[0] * np.sqrt(spread[0] * spread) + total) / 90
    assert len(r) == 7 and read[1:].round(6).tolist() == g[1:, 7].tolist()
    ruled.write(version=2, limits__minor_alleles=3)
    assert len(sg.ld(inputs)) == 6 and "rs0" not in sg.ld(inputs).columns


def test_a_purpose_that_nothing_is_held_against_is_refused(ruled):
    """Neither a register of consent nor a policy: whoever names a purpose would think that somebody asks."""
    assert (done := gwas(ruled, "--purpose", "HMB")).code == 2 and "--consent" in done.err
    study = ruled.study(purpose="HMB", **FEW)
    for engine in ("plain", "ckks", sg.Federated(openings="all"), sg.Mpc(split="vertical", reveal="hits")):
        with pytest.raises(UsageError, match="`purpose`"):
            sg.run(study, engine)


def test_a_meta_analysis_passes_the_door_of_the_policy_beside_its_tables(ruled):
    """Its purpose, its smallest cohort, and its floor of minor alleles; its people were charged with the tables."""
    rows = [("1", 10 * i, f"rs{i}", "A", "G", "G", 0.001 * i, 500, 0.1, 0.2, 0.6) for i in range(1, 30)]
    header = ("#CHROM", "POS", "ID", "REF", "ALT", "A1", "A1_FREQ", "OBS_CT", "BETA", "SE", "P")
    tables = [write_tsv(ruled.folder / name, header, rows) for name in ("a.tsv", "b.tsv")]
    out = ruled.folder / "meta"
    ruled.write(limits__minor_alleles=10)
    done = securegen("meta", *tables, "--out", out)
    assert done.code == CODE and "policy.purpose" in done.err and ruled.results("meta") == []
    found = sg.meta(tables, out, asking=sg.Asking(purpose="HMB")).frame
    shown = 500 * 0.001 * (found.index.to_numpy() + 1) >= 10  # people of each table, of two alleles at most
    assert shown.any() and not shown.all()
    assert found["BETA"].notna().tolist() == found["P"].notna().tolist() == shown.tolist()
    ruled.write(version=2, limits__smallest_cohort=501)  # of each
    with pytest.raises(PolicyError, match="smallest_cohort"):
        sg.meta(tables, ruled.folder / "again", asking=sg.Asking(purpose="HMB"))
    assert ruled.results("again") == []


@pytest.mark.parametrize("protected", [True, False])
def test_a_table_of_many_people_that_weighs_nothing_lifts_no_row_over_the_floor(ruled, monkeypatch, protected):
    """Whoever brings it says that a million carry each variant, with errors so large that the others' numbers come out alone."""
    header = ("#CHROM", "POS", "ID", "REF", "ALT", "A1", "A1_FREQ", "OBS_CT", "BETA", "SE", "P")
    own = [("1", 10 * i, f"rs{i}", "A", "G", "G", 0.002 if i < 5 else 0.4, 500, 0.1 * i, 0.2, 0.6) for i in range(1, 9)]
    made_up = [(*row[:6], 0.5, 2_000_000, 0, 1e12, 1) for row in own]
    tables = [write_tsv(ruled.folder / f"{n}.tsv", header, rows) for n, rows in (("own", own), ("made_up", made_up))]
    ruled.write(limits__minor_alleles=10, limits__smallest_cohort=501 if not protected else 100)
    if not protected:
        monkeypatch.setattr(Studies, "of_carriers", lambda self, floor: self)
        monkeypatch.setattr(Studies, "fewest", property(lambda self: 2_000_500))
    found = sg.meta(tables, ruled.folder / "meta", asking=sg.Asking(purpose="HMB")).frame
    read = (found["BETA"] - 0.1 * np.arange(1, 9)).abs() < 1e-9
    assert read.tolist() == [not protected] * 4 + [True] * 4
    assert protected or (found["OBS_CT"] > 500).all()
    if protected:
        ruled.write(version=2, limits__minor_alleles=10, limits__smallest_cohort=501)
        with pytest.raises(PolicyError, match="smallest_cohort"):
            sg.meta(tables, ruled.folder / "again", asking=sg.Asking(purpose="HMB"))


def test_a_clock_set_back_revives_no_policy(ruled, monkeypatch):
    """The log has been later: its last entry is the least that the day can be."""
    tomorrow = datetime.datetime.now(datetime.UTC).date() + datetime.timedelta(1)
    ruled.write(expires=tomorrow)
    real = time.time_ns
    with monkeypatch.context() as later:
        later.setattr(time, "time_ns", lambda: real() + 3 * 86_400 * 10**9)
        audit_beside.key_used(ruled.policy, "unlocked", "ab" * 32)
    study = ruled.study(purpose="HMB", **FEW)
    with pytest.raises(PolicyError, match=r"policy\.expires"):
        sg.run(study)
    monkeypatch.setattr(gate, "moment", lambda _: datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC))  # the protection
    assert sg.run(study)["QT"] is not None


def test_explain_reads_a_purpose_as_a_run_does(ruled):
    ruled.write()
    for purpose, allowed in (("duo:0000006", True), ("hmb,irb", True), ("HMB or so", False)):
        said = sg.policy.explain(ruled.policy, purpose=purpose, samples=90, variants=9)
        assert said.allowed is allowed, purpose


def test_explain_asks_the_alerts_and_names_no_digest_that_nobody_can_use(ruled):
    """It knew neither, and printed a digest of a request without files, which no run has."""
    ruled.write(second_signature__for=["association"], alerts__budget__limit=0, alerts__budget__second_signature=True)
    asked = {"purpose": "HMB", "samples": 90, "variants": 10}
    audit_beside.log_of(ruled.policy)
    said = sg.policy.explain(ruled.policy, **asked)
    assert {r.rule for r in said.refusals} == {"policy.second_signature", "audit.second_signature"}
    assert not any(re.search("[0-9a-f]{64}", str(r)) for r in said.reasons)
    (ruled.folder / "audit/checkpoint").write_text("x")
    said = sg.policy.explain(ruled.policy, **asked)
    assert "audit.alerts" in {r.rule for r in said.reasons}


def test_a_signed_policy_has_a_ledger_before_anything_is_released(ruled, tmp_path, monkeypatch):
    """Data with a copy of the policy that are put before the others began the first ledger, with a budget of their own."""
    policy = tmp_path / "bank" / "policy.toml"
    sg.policy.init(policy, "Bank", key=tmp_path / "key.secret")
    with monkeypatch.context() as off:
        off.setattr(policy_steps, "begin_ledger", lambda _: None)  # the protection
        sg.policy.sign(policy, tmp_path / "key.secret")
    other = tmp_path / "other"
    other.mkdir()
    for name in ("policy.toml", "policy.toml.sig"):
        shutil.copy(policy.with_name(name), other)
    files = [other / "made.up", policy.with_name("cohort.bed")]
    assert gate.gate_of("plain", gate.Asking(), files).folder == other
    sg.policy.sign(policy, tmp_path / "key.secret")
    with pytest.raises(PolicyError, match=r"policy\.file: .* both have this policy"):
        gate.gate_of("plain", gate.Asking(), files)


def test_the_genotype_owner_of_mpc_counts_one_copy_on_mt_once(ruled):
    """It is stored as two: two carriers were four alleles, above a floor of three. People are counted, wherever they are."""
    ruled.write(limits__minor_alleles=3)
    door = gate.gate_of("mpc", gate.Asking(), [ruled.policy])
    dosage, everybody = np.zeros((4, 40), np.int8), np.ones((40, 1), bool)
    for row, carriers in enumerate((2, 3, 38, 20)):
        dosage[row, :carriers] = 2
    block = GenotypeBlock(0, dosage, None)
    assert rare_rows(block, everybody, 1, door).tolist() == [True, False, True, False]
    ones = GenotypeBlock(0, (dosage == 2).astype(np.int8), None, dosage)  # of a genetic model
    assert rare_rows(ones, everybody, 1, door).tolist() == [True, False, True, False]


def test_how_many_rows_were_corrected_says_nothing_of_those_that_are_not_shown(ruled, monkeypatch):
    """By one threshold after the other it told the P of a rare row, and so whether its one carrier is a case."""
    ruled.write(limits__minor_alleles=25)
    rare = sg.run(ruled.study("CC", purpose="HMB", qc=False, **FEW))["CC"]
    rare = rare["ID"][rare["ERRCODE"] == "FEW_CARRIERS"][:20]
    (ruled.folder / "rare").write_text("\n".join(rare) + "\n")

    def corrected(threshold):
        more = {"statistic": "regenie", "correction": "spa", "p_thresh": threshold, "extract": ruled.folder / "rare"}
        return sg.run(ruled.study("CC", purpose="HMB", **more)).record["correction"]

    assert {tuple(corrected(p)[what].values()) for p in (0.9, 0.2) for what in ("corrected", "uncorrected")} == {(0,)}
    monkeypatch.setattr(write, "without", lambda columns, hidden: columns)  # the protection
    assert corrected(0.9)["corrected"]["CC"] > corrected(0.2)["corrected"]["CC"]


@pytest.mark.parametrize("engine", ["plain", "ckks"])
def test_a_phenotype_in_which_one_person_stands_alone_is_refused_and_else_is_that_persons_genome(
    ruled, monkeypatch, engine
):  # fmt: skip
    """Whoever brings the phenotypes chooses one. The first release, beside which nothing was: later ones add to its columns."""
    ruled.write()
    fam = [line.split()[:2] for line in Path(f"{ruled.cohort.bfile}.fam").read_text().splitlines()]
    noise = np.random.default_rng(5).normal(size=len(fam))
    rows = [(f, i, f"{1000 * (n == 7) + noise[n]:.6f}") for n, (f, i) in enumerate(fam)]
    path = write_tsv(ruled.folder / "own.tsv", ("FID", "IID", "Y"), rows)
    study = sg.open_study(ruled.cohort.bfile, pheno=path, pheno_name="Y", purpose="HMB", **FEW)
    with pytest.raises(PolicyError, match=r"policy\.differing_people: one person has too large a leverage"):
        sg.run(study, engine=engine)
    if engine != "plain":
        return
    monkeypatch.setattr(history, "_stands_out", lambda values: None)  # the protection
    frame = sg.run(study)["Y"]
    block = study.reader.read(0, len(frame))
    other = block.dosage[:, 7] - 2 * frame["A1_FREQ"]
    assert np.corrcoef(frame["T_STAT"].fillna(0), np.where(block.missing[:, 7], 0, other))[0, 1] > 0.9
