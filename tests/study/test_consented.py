"""A purpose in a run: people who allow it are analysed, in every engine alike; a table leaves again when enough have left."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support import Cohort, register_of, securegen, withdraw, write_tsv

import securegen as sg
from securegen.errors import PolicyError, UsageError
from securegen.model import OpenedSums, Sums
from securegen.stats.imputed import linear_sums

PEOPLE = 90
PURPOSE = "DS:MONDO:0005148"


@pytest.fixture
def register(tmp_path) -> Path:
    """All but I0 to I11 allow it: nine consent to other things, three are not there."""
    codes = dict.fromkeys(range(12, PEOPLE), "HMB") | dict.fromkeys(range(3, 12), "POA")
    return register_of(tmp_path, codes)


def study(small: Cohort, register: Path | None, **more) -> sg.Study:
    asked = {"purpose": PURPOSE, "consent": register} if register else {}
    named = {"pheno": small.pheno, "pheno_name": "QT", "covar": small.covar}
    return sg.open_study(small.bfile, **(named | asked | more))


def kept(tmp_path: Path, first: int = 12) -> Path:
    return write_tsv(tmp_path / "keep.txt", ("#FID", "IID"), [(f"F{i}", f"I{i}") for i in range(first, PEOPLE)])


def test_a_purpose_keeps_those_who_allow_it_as_keep_would(small, register, tmp_path):
    said: list[str] = []
    asked = study(small, register, log=said.append)
    named = study(small, None, keep=kept(tmp_path))
    assert np.array_equal(asked.design.columns.values, named.design.columns.values)
    assert sg.run(asked).frame.equals(sg.run(named).frame)
    (line,) = [line for line in said if line.startswith("--purpose")]
    assert "the consent of 78 of 90 people covers it; left out: 9 by POA, 3 are not in the register" in line
    assert not any(f"I{i}" in line for line in said for i in range(PEOPLE))


def test_it_acts_together_with_keep_and_counts_those(small, register, tmp_path):
    said: list[str] = []
    found = study(small, register, keep=kept(tmp_path, 80), log=said.append)
    assert len(found.reader.samples) == 10 and any("of 10 of 10 people" in line for line in said)


def crosses(engine, asked: sg.Study) -> np.ndarray:
    """(M, K+1) of the linear test's products with dosages, whatever the engine's blocks."""
    (analysis,) = asked.design.analyses
    out = []
    for block in engine.sums(asked):
        if isinstance(block, OpenedSums):
            out.append(block.parts["linear", "QT"][0].cross)
            continue
        at = list(analysis.columns)
        part = Sums(block.start, block.g[:, at], block.m[:, at], block.q[:, list(analysis.squares)])
        out.append(linear_sums(part, analysis.model.samples).cross)
    return np.concatenate(out)


@pytest.mark.parametrize(
    "engine",
    [sg.Ckks(), sg.Federated(openings="all"), sg.Mpc(split="outsourced", openings="all")],
    ids=lambda e: e.name,
)
def test_every_engine_sums_over_them_alone(engine, small, register, tmp_path):
    part = {"chr": "1", "to_bp": 1200}
    asked, named = study(small, register, **part), study(small, None, keep=kept(tmp_path), **part)
    assert len(asked.reader.variants) == 21
    assert np.array_equal(crosses(engine, asked), crosses(sg.Plain(), named))


def test_scores_and_the_command_line_take_it(small, register, tmp_path):
    bim = [line.split() for line in Path(f"{small.bfile}.bim").read_text().splitlines()[3:60]]
    score = write_tsv(tmp_path / "s.tsv", ("ID", "A1", "WEIGHT"), [(b[1], b[4], 0.1) for b in bim])
    scored = sg.scores.open(score=score, bfile=small.bfile, purpose=PURPOSE, consent=register)
    assert scored.reader.samples.iid.tolist() == [f"I{i}" for i in range(12, PEOPLE)]
    out = tmp_path / "t"
    done = securegen("gwas", *small.options(), "--purpose", PURPOSE, "--consent", register, "--out", out, "--chr", "1")
    assert done.code == 0, done.err
    record = Path(f"{out}.run.json").read_text() + Path(f"{out}.log").read_text()
    assert "78 of 90 people" in record and not any(f"I{i}\n" in record or f"F{i} " in record for i in range(PEOPLE))


def test_a_withdrawal_stops_use_at_once(small, register):
    before = study(small, register)
    withdraw(register, 20)
    assert len(study(small, register).reader.samples) == len(before.reader.samples) - 1
    withdraw(register, *range(12, PEOPLE))
    with pytest.raises(PolicyError, match="consent.purpose: the consent of 0 of 90"):
        study(small, register)


def test_purpose_and_register_go_together(small, register):
    for wrong in ({"consent": register}, {"mondo": register},
                  {"purpose": "health", "consent": register}, {"purpose": 3, "consent": register}):  # fmt: skip
        with pytest.raises(UsageError):
            sg.Inputs(small.bfile, **wrong)
    assert sg.Inputs(small.bfile, purpose="ds:mondo:0005148,irb", consent="r").purpose == "DS:MONDO:0005148,IRB"
    with pytest.raises(UsageError, match="`purpose`"):  # without a policy that is held against it
        sg.run(sg.open_study(small.bfile, pheno=small.pheno, pheno_name="QT", purpose=PURPOSE, chr="1"))


def blocks_of(asked: sg.Study):
    return [asked.reader.read(0, len(asked.reader.variants))]


def test_two_tables_that_differ_by_a_person_do_not_leave(small, register):
    """Without the rule both are written, and their sums differ by the genotypes of who withdrew."""
    first = study(small, register, chr="1")
    sg.run(first)
    withdraw(register, 20)
    second = study(small, register, chr="1")
    everybody = [s.design.analyses[0].columns[0] for s in (first, second)]  # of who is analysed
    sums = [
        np.concatenate([b.g[:, column] for b in sg.Plain().sums(s)])
        for s, column in zip((first, second), everybody, strict=True)
    ]
    genotypes = np.concatenate([b.dosage for b in blocks_of(first)])[:, first.reader.samples.iid.tolist().index("I20")]
    assert np.array_equal(sums[0] - sums[1], genotypes)  # the attack
    with pytest.raises(
        PolicyError, match=r"consent.release: QT linear autosomes: fewer than 10 people are only in the first"
    ):
        sg.run(second)


def test_neither_another_name_nor_somebody_left_out_beside_helps(small, register, tmp_path):
    sg.run(study(small, register, chr="1"))
    withdraw(register, 20)
    renamed = tmp_path / "renamed.tsv"
    renamed.write_text(Path(small.pheno).read_text().replace("QT\t", "HEIGHT\t", 1))
    out = write_tsv(tmp_path / "out.txt", ("#FID", "IID"), [("F30", "I30")])
    for more in ({"pheno": renamed, "pheno_name": "HEIGHT"}, {"remove": out}):
        with pytest.raises(PolicyError, match="consent.release"):
            sg.run(study(small, register, chr="1", **more))


def test_it_leaves_again_when_enough_have_left(small, register, tmp_path):
    sg.run(study(small, register, chr="1"), out=tmp_path / "first")
    withdraw(register, *range(20, 29))
    with pytest.raises(PolicyError, match="fewer than 10 people"):  # of whom somebody may have no phenotype
        sg.run(study(small, register, chr="1"))
    withdraw(register, *range(40, 46))
    results = sg.run(study(small, register, chr="1"))
    sg.run(study(small, register, chr="1"))  # the same people again
    assert len(results["QT"])
    found = sg.consent.listing(register)
    assert [what.split(" released ")[0] for what, _ in found.releases] == ["QT linear autosomes"] * 3
    assert found.releases[0][1] >= 13 and found.releases[1][1] == 0 and "as first" in found.releases[0][0]
    assert "cannot be recalled" in "\n".join(found.text())


def test_without_a_purpose_nothing_is_kept_or_refused(small, tmp_path):
    for people in (kept(tmp_path), kept(tmp_path, 13)):
        sg.run(study(small, None, keep=people, chr="1"))


def test_a_later_design_of_a_stored_cohort_leaves_out_who_withdrew(small, small_encrypted, small_key, register):
    """Genotypes stay encrypted as they are; who withdrew is in no column that they are summed with."""
    withdraw(register, 20)
    asked = sg.ckks.open_later_study(
        small_encrypted.owner,
        small_key,
        pheno=small.pheno,
        pheno_name="QT",
        covar=small.covar,
        purpose=PURPOSE,
        consent=register,
    )
    values = asked.design.columns.values
    assert not values[[*range(12), 20]].any() and values[21:].any(axis=1).sum() > 50
    with pytest.raises(PolicyError, match="quality control"):
        sg.ckks.open_later_study(small_encrypted.owner, small_key, purpose=PURPOSE, consent=register, qc=True)


def test_a_part_of_scores_is_a_release_of_those_who_allow_it(small, register, tmp_path):
    bim = [line.split() for line in Path(f"{small.bfile}.bim").read_text().splitlines()]
    score = write_tsv(tmp_path / "s.tsv", ("ID", "A1", "WEIGHT"), [(b[1], b[4], 0.1) for b in bim])
    scored = sg.scores.open(score=score, bfile=small.bfile, purpose=PURPOSE, consent=register, blocks="1/2")
    sg.scores.run(scored)
    ((what, gone),) = sg.consent.listing(register).releases
    assert what.startswith("rows of scores SCORE1") and what.endswith("scores.1of2.sums.tsv") and gone == 0
    withdraw(register, *range(10, 14))
    assert [gone for _, gone in sg.consent.listing(register).releases] == [2]
