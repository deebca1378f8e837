"""Sums that leave in another form than a table pass the door: clumps, and allele counts of a request for scores."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support import securegen, write_tsv

import securegen as sg
from securegen.engines.ckks.scores import public, run_public, steps
from securegen.engines.ckks.scores.messages import read_request
from securegen.engines.ckks.scores.public_model import read_model
from securegen.errors import PolicyError, ProtocolError, UsageError
from securegen.model import Variants
from securegen.structure import fine_mapping
from securegen.study.genotypes import open_genotypes

FLOOR = 20
PART = {"chr": "1", "to_bp": 300_000}


def minor_of(bfile: str) -> tuple[Variants, np.ndarray]:
    """The variants of a cohort, and how many people differ from the others at each."""
    reader = sg.read_plink(bfile)
    g = reader.read(0, len(reader.variants))
    lacking = np.zeros(g.dosage.shape, bool) if g.missing is None else g.missing
    counts = np.stack([((g.dosage == c) & ~lacking).sum(axis=1) for c in range(3)])
    return reader.variants, counts.sum(axis=0) - counts.max(axis=0)


@pytest.fixture
def table(ruled):
    """Whoever makes clumps brings the table: here every variant is significant, a rare one most of all."""
    variants, minor = minor_of(ruled.cohort.bfile)
    rare = int(np.flatnonzero((minor > 0) & (minor < FLOOR))[0])
    near = [rare, *(int(i) for i in np.flatnonzero(minor >= FLOOR)[:12])]
    rows = [
        (variants.chromosome[i], variants.position[i], variants.id[i], variants.other_allele[i], variants.effect_allele[i],
         variants.effect_allele[i], 90, 1, 1, f"{10.0 ** (k - 30):g}")
        for k, i in enumerate(near)
    ]  # fmt: skip
    path = write_tsv(
        ruled.folder / "t.QT.glm.linear", ("#CHROM", "POS", "ID", "REF", "ALT", "A1", "OBS_CT", "BETA", "SE", "P"), rows
    )
    return str(path), str(variants.id[rare])


def clumped(ruled, table, out, **more):
    made = sg.clump(sg.Inputs(bfile=ruled.cohort.bfile, purpose="HMB"), table, ruled.folder / out, **more)
    return [line.split("\t")[2] for line in Path(made.paths[0]).read_text().splitlines()[1:]]


@pytest.mark.parametrize("protected", [True, False])
def test_clumps_say_nothing_of_who_carries_a_rare_variant(ruled, table, monkeypatch, protected):
    ruled.write(limits__minor_alleles=FLOOR)
    if not protected:  # the attack: of a table that I made, who shares a singleton, at any r² I choose
        monkeypatch.setattr(fine_mapping, "withheld", lambda *_: [])
    assert (table[1] in clumped(ruled, table[0], "c", r2=0.999)) is not protected


@pytest.mark.parametrize("protected", [True, False])
def test_clumps_by_another_limit_are_another_release(ruled, table, monkeypatch, protected):
    """Else the r² of two variants is found by halving, at the price of one table."""
    ruled.write(limits__minor_alleles=FLOOR, budgets__releases_per_day=1)
    if not protected:
        monkeypatch.setattr(fine_mapping, "digest_of", lambda _: "")
    clumped(ruled, table[0], "a", r2=0.999)
    assert clumped(ruled, table[0], "again", r2=0.999)
    if protected:
        with pytest.raises(PolicyError, match=r"budget\.releases_per_day"):
            clumped(ruled, table[0], "b", r2=0.998)
    else:
        assert clumped(ruled, table[0], "b", r2=0.998)


def test_index_variants_are_columns_of_everybody(ruled, table):
    ruled.write(limits__minor_alleles=FLOOR, budgets__columns_share=0.05)  # 4 of 90 people
    with pytest.raises(PolicyError, match=r"budget\.columns"):
        clumped(ruled, table[0], "c", r2=0.999)
    assert ruled.results("c") == []


def request(ruled, out, **more):
    inputs = sg.Inputs(bfile=ruled.cohort.bfile, **PART, **more)
    reader = open_genotypes(inputs)
    steps.request(reader, ruled.folder / out, inputs=inputs)
    return read_request(ruled.folder / out).counts, reader


def one_less(ruled) -> str:
    lines = (ruled.folder / "cohort.fam").read_text().splitlines()
    return str(write_tsv(ruled.folder / "keep", ("#FID", "IID"), [x.split()[:2] for x in (*lines[:7], *lines[8:])]))


@pytest.mark.parametrize("protected", [True, False])
def test_allele_counts_of_two_requests_are_not_the_person_between_them(ruled, monkeypatch, protected):
    ruled.write()
    if (
        not protected
    ):  # the attack: a request with her and one without her are her genotypes, without purpose, role or trace
        monkeypatch.setattr(steps, "pass_counts", lambda made, *_: made)
        (whole, reader), (less, _) = request(ruled, "a"), request(ruled, "b", keep=one_less(ruled))
        block = reader.read(0, len(reader.variants))
        np.testing.assert_array_equal((whole.dosage - less.dosage), np.where(block.missing, 0, block.dosage)[:, 7])
        return
    with pytest.raises(PolicyError, match=r"policy\.purpose"):
        request(ruled, "a")
    request(ruled, "a", purpose="HMB")
    with pytest.raises(PolicyError, match=r"policy\.differing_people"):
        request(ruled, "b", purpose="HMB", keep=one_less(ruled))
    assert not (ruled.folder / "b").exists()


def test_allele_counts_below_the_floor_stay(ruled):
    ruled.write(limits__minor_alleles=FLOOR)
    told, reader = request(ruled, "a", purpose="HMB")
    minor = minor_of(ruled.cohort.bfile)[1][: len(reader.variants)]
    assert (minor[told.called > 0] >= FLOOR).all() and (told.called[minor >= FLOOR] > 0).all()
    assert not told.dosage[minor < FLOOR].any() and (minor[told.called == 0] > 0).any()


def test_the_command_asks_and_without_files_no_counts_leave(ruled):
    ruled.write()
    done = securegen("prs-step", "request", "--bfile", ruled.cohort.bfile, "--out", ruled.folder / "r")
    assert done.code == PolicyError.exit_code and "policy.purpose" in done.err and ruled.results("r") == []
    with pytest.raises(UsageError, match="`inputs`"):
        steps.request(sg.read_plink(ruled.cohort.bfile), ruled.folder / "r")
    done = securegen(
        "prs-step", "request", "--bfile", ruled.cohort.bfile, "--imputation", "none", "--out", ruled.folder / "r"
    )
    assert done.code == 0  # variants and a number of people


def scoring_file(ruled) -> str:
    """Weights of common variants."""
    variants, minor = minor_of(ruled.cohort.bfile)
    here = (variants.chromosome == "1") & (variants.position <= PART["to_bp"]) & (minor >= FLOOR)
    rows = [(variants.id[i], variants.effect_allele[i], f"{1 + i / 7:.4f}") for i in np.flatnonzero(here)]
    return str(write_tsv(ruled.folder / "s.tsv", ("ID", "A1", "BETA"), rows))


def model_of(ruled, out, **more):
    """A public model of common variants, as its server has it, and the study."""
    study = sg.scores.open(
        bfile=ruled.cohort.bfile, score=scoring_file(ruled), allow_small_score="SCORE1", **PART | more
    )
    key = steps.generate_key(study)
    return read_model(steps.encrypt(study, key, ruled.folder / out).model, key.public).plan, study


@pytest.mark.parametrize("protected", [True, False])
def test_means_of_two_public_models_are_not_the_person_between_them(ruled, monkeypatch, protected):
    ruled.write()
    if not protected:  # the attack: what imputes a missing call is the mean, without purpose, role or trace
        monkeypatch.setattr(public, "pass_means", lambda *_, **__: None)
        (whole, study), (less, other) = model_of(ruled, "a"), model_of(ruled, "b", keep=one_less(ruled))
        block = study.reader.read(0, len(study.reader.variants))
        sums = []
        for plan, of in ((whole, study), (less, other)):
            missing = of.reader.read(0, len(of.reader.variants)).missing
            called = len(of.reader.samples) - (0 if missing is None else missing.sum(axis=1)[plan.variant])
            sums.append(np.round(plan.missing_weight[:, 0] / plan.dosage_weight[:, 0] * called))
        person = np.where(block.missing, 0, block.dosage)[whole.variant, 7]
        np.testing.assert_array_equal(sums[0] - sums[1], person)
        return
    with pytest.raises(PolicyError, match=r"policy\.purpose[^\0]*`imputation` file"):
        model_of(ruled, "a")
    model_of(ruled, "a", purpose="HMB")
    with pytest.raises(PolicyError, match=r"policy\.differing_people"):
        model_of(ruled, "b", purpose="HMB", keep=one_less(ruled))
    assert ruled.results("b") == []
    model_of(ruled, "b", imputation="none", keep=one_less(ruled))  # which tells none of them


def test_the_rarest_mean_of_a_public_model_is_above_the_floor(ruled):
    ruled.write(limits__minor_alleles=FLOOR)
    model_of(ruled, "a", purpose="HMB")
    ruled.write(version=2, limits__minor_alleles=70)
    with pytest.raises(PolicyError, match=r"policy\.minor_alleles.*`imputation` none"):
        model_of(ruled, "b", purpose="HMB")


def test_a_public_model_is_refused_before_there_is_a_key(ruled):
    ruled.write()
    words = ["--bfile", ruled.cohort.bfile, "--score", scoring_file(ruled), "--allow-small-score", "SCORE1"]
    done = securegen("prs-step", "encrypt", *words, "--out", ruled.folder / "r")
    assert done.code == PolicyError.exit_code and "policy.purpose" in done.err
    assert ruled.results("r") == ["r.match.tsv"]


def test_on_one_machine_a_public_model_leaves_nothing(ruled, monkeypatch):
    ruled.write(tiers__analyst__granularity="record", limits__minor_alleles=80)

    def served(*_, **__):
        raise ProtocolError("the server has it")

    monkeypatch.setattr(run_public, "run_inside", served)
    study = sg.scores.open(
        bfile=ruled.cohort.bfile, score=scoring_file(ruled), allow_small_score="SCORE1", purpose="HMB", **PART
    )
    with pytest.raises(ProtocolError, match="the server has it"):
        sg.scores.run(study, engine=sg.scores.CkksScores())
