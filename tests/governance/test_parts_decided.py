"""Parts of a run under a policy: each is a request of its own, and the joined record names them all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support import register_of, securegen, write_tsv

import securegen as sg
from securegen.engines import merging, protocol
from securegen.errors import InputError, PolicyError
from securegen.governance import consent_steps
from securegen.governance.gate import Asking
from securegen.record import parts
from securegen.results.join import join_tables


def test_a_joined_record_has_what_was_decided_on_every_part(ruled):
    ruled.write()
    told = ruled.words("--purpose", "HMB", "--quiet", "--out", ruled.folder / "p")
    for i in (2, 1):
        done = securegen("gwas", *told, "--blocks", f"{i}/2")
        assert done.code == 0, done.err
    assert securegen("merge", ruled.folder / "p", "--quiet").code == 0
    record = json.loads((ruled.folder / "p.run.json").read_text())
    parts = [json.loads((ruled.folder / f"p.{i}of2.run.json").read_text()) for i in (1, 2)]
    requests = [r for part in parts for r in part["governance"]["requests"]]
    assert len(set(requests)) == 2 and record["governance"]["requests"] == requests
    assert all(d in record["governance"]["decisions"] for part in parts for d in part["governance"]["decisions"])
    assert record["receipt"]["decisions"]


def parts_of(ruled, *changes, **more):
    """Two parts from Python; between them each change is made. more: options of the first part, and of the second."""
    first, second = more.pop("first", {}), more.pop("second", {})
    sg.run(ruled.study(blocks="1/2", **first, **more), out=ruled.folder / "p")
    for change in changes:
        change()
    sg.run(ruled.study(blocks="2/2", **second, **more), out=ruled.folder / "p")


def scoring_of(ruled) -> Path:
    """A score of every variant."""
    ids = [line.split()[1] for line in (ruled.folder / "cohort.bim").read_text().splitlines()]
    return write_tsv(
        ruled.folder / "s.tsv", ("rsID", "effect_allele", "other_allele", "effect_weight"),
        [(name, "A", "G", 0.1 + 0.01 * n) for n, name in enumerate(ids)],
    )  # fmt: skip


@pytest.mark.parametrize("protected", [True, False])
def test_parts_of_two_policies_are_not_joined(ruled, monkeypatch, protected):
    """Else rows that the first one withholds stand beside rows that the second shows, and the record names one of the two."""
    ruled.write(limits__minor_alleles=20)
    if not protected:
        monkeypatch.setattr(parts, "_GOVERNED", ())
    parts_of(ruled, lambda: ruled.write(version=2), purpose="HMB")
    if protected:
        with pytest.raises(InputError, match="differ in policy"):
            sg.merge(ruled.folder / "p")
        assert not list(ruled.folder.glob("p.QT*"))
        return
    record = sg.merge(ruled.folder / "p").facts["governance"]
    assert record["policy"]["version"] == 1 and len(record["requests"]) == 2


@pytest.mark.parametrize("protected", [True, False])
@pytest.mark.parametrize("way", ["options", "noise"])
def test_parts_of_two_designs_are_not_joined(ruled, monkeypatch, protected, way):
    """From Python records have no options, and with noise on phenotypes no digest of a table of people: each row would be of a
    regression, but not of one."""
    if not protected:
        monkeypatch.setattr(protocol, "digest_of", lambda _: "0" * 64)
    if way == "options":
        parts_of(ruled, second={"dominant": True})
    else:
        pytest.importorskip("opendp")
        covar = Path(ruled.cohort.covar)
        lines = covar.read_text().splitlines()
        swapped = [lines[0], *(f"{a.rsplit(chr(9), 1)[0]}\t{b.rsplit(chr(9), 1)[1]}" for a, b in
                               zip(lines[1:], [*lines[2:], lines[1]], strict=True))]  # fmt: skip
        parts_of(ruled, lambda: covar.write_text("\n".join(swapped) + "\n"), pheno_name="CC", dp_epsilon=1.0)
    if protected:
        with pytest.raises(InputError, match="differ in options, or in files"):
            sg.merge(ruled.folder / "p")
        assert not [p for p in ruled.folder.glob("p.*") if ".1of2" not in p.name and ".2of2" not in p.name]
        return
    assert sg.merge(ruled.folder / "p").parts == 2


def test_parts_of_one_run_are_joined_whoever_ran_them(ruled):
    """With noise too, and where a register of consent governs and remembers each part."""
    pytest.importorskip("opendp")
    register = register_of(ruled.folder, dict.fromkeys(range(90), "GRU"))
    asked = {"purpose": "GRU", "consent": register, "pheno_name": "CC", "dp_epsilon": 1.0}
    parts_of(ruled, **asked)
    assert sg.merge(ruled.folder / "p").parts == 2


@pytest.mark.parametrize("protected", [True, False])
def test_scores_of_who_withdrew_after_the_parts_were_made_are_not_added_up(ruled, monkeypatch, protected):
    """Exact sums of parts stay with their owner; the scores leave when they are joined."""
    register = register_of(ruled.folder, dict.fromkeys(range(90), "GRU"))
    score = scoring_of(ruled)
    for i in (1, 2):
        done = securegen("prs", "--bfile", ruled.cohort.bfile, "--score", score, "--purpose", "GRU", "--consent", register,
                         "--blocks", f"{i}/2", "--out", ruled.folder / "p", "--quiet")  # fmt: skip
        assert done.code == 0, done.err
    sg.consent.withdraw(register, write_tsv(ruled.folder / "gone.txt", ("FID", "IID"), [("F7", "I7")]))
    if protected:
        done = securegen("merge", ruled.folder / "p")
        assert done.code == PolicyError.exit_code and "consent.withdrawn" in done.err
        assert not (ruled.folder / "p.sscore").exists()
        return
    monkeypatch.setattr(Asking, "refuse_withdrawn", lambda *_: None)
    (path, *_) = sg.merge(ruled.folder / "p").paths
    assert "\nF7\tI7\t" in Path(path).read_text()


@pytest.mark.parametrize("protected", [True, False])
def test_a_part_that_is_run_again_while_it_is_joined_is_noticed(ruled, monkeypatch, protected):
    """Two at once: a second run with another model puts its table there after the first was compared."""
    parts_of(ruled)
    record = (ruled.folder / "p.2of2.run.json").read_text()

    def meanwhile(path, tables, *, check):
        sg.run(ruled.study(blocks="2/2", dominant=True), out=ruled.folder / "p")
        return join_tables(path, tables, check=check if protected else lambda: None)

    monkeypatch.setattr(merging, "join_tables", meanwhile)
    if protected:
        with pytest.raises(InputError, match="is not what its run wrote"):
            sg.merge(ruled.folder / "p")
        assert not list(ruled.folder.glob("p.QT*")) and record != (ruled.folder / "p.2of2.run.json").read_text()
    else:
        assert sg.merge(ruled.folder / "p").parts == 2


@pytest.mark.parametrize("protected", [True, False])
def test_a_study_that_was_opened_before_somebody_withdrew_is_not_run_with_her(ruled, monkeypatch, protected):
    """From Python hours may lie between, and both engines in the clear released tables and scores with her in."""
    register = register_of(ruled.folder, dict.fromkeys(range(90), "GRU"))
    asked = {"purpose": "GRU", "consent": str(register)}
    score = scoring_of(ruled)
    opened = {
        "gwas": (sg.run, ruled.study(**asked)), "qc": (sg.qc, sg.open_qc(ruled.cohort.bfile, **asked)),
        "scores": (sg.scores.run, sg.scores.open(bfile=ruled.cohort.bfile, score=str(score), **asked)),
    }  # fmt: skip
    sg.consent.withdraw(register, write_tsv(ruled.folder / "gone.txt", ("FID", "IID"), [("F7", "I7")]))
    if not protected:
        monkeypatch.setattr(consent_steps, "_refuse_gone", lambda *_: None)
    for name, (run, study) in opened.items():
        if protected:
            with pytest.raises(PolicyError, match=r"consent\.withdrawn: 1 of the people"):
                run(study)
        elif name != "qc":  # which is apart from the first by her
            assert run(study)
