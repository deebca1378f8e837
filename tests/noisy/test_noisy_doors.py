"""Summaries with noise and policies: one door, by command and from Python, and no exact number beside the table."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from policy_tools import Ruled, make_ruled
from support import securegen

import securegen as sg
from securegen.design.columns import AppliedNoise
from securegen.errors import PolicyError, UsageError
from securegen.governance import noise_store
from securegen.governance.audit_verify import read_log
from securegen.governance.door import KINDS, NOISY, OutputFacts
from securegen.governance.gate import gate_of
from securegen.governance.label_noise import LAPLACE
from securegen.noisy import release
from securegen.python.twin import read_frequencies


@pytest.fixture
def ruled(small, tmp_path) -> Ruled:
    return make_ruled(tmp_path / "ruled", small)


def inputs_of(ruled: Ruled, **more: object) -> sg.Inputs:
    c = ruled.cohort
    return sg.Inputs(bfile=c.bfile, pheno=c.pheno, pheno_name="CC", purpose="HMB", **more)  # type: ignore[arg-type]


def words(ruled: Ruled, kind: str = "counts", epsilon: str = "0.5") -> list[object]:
    c = ruled.cohort
    return [
        "dp",
        kind,
        "--bfile",
        c.bfile,
        "--purpose",
        "HMB",
        "--dp-epsilon",
        epsilon,
        "--quiet",
        "--out",
        ruled.folder / "o",
    ]


def entries(ruled: Ruled, kind: str):
    return [e for e in read_log(ruled.folder / "audit").entries if e.kind == kind]


def test_a_policy_bounds_epsilon_and_a_life(ruled):
    """By command, from Python, and by editing the policy."""
    ruled.write(noise__epsilon=2.0, noise__delta=0.0)
    asked = inputs_of(ruled)
    assert securegen(*words(ruled, epsilon="2.5")).code == PolicyError.exit_code and ruled.results("o") == []
    with pytest.raises(PolicyError, match=r"policy\.noise_epsilon: .*2\.5; at most 2 is allowed"):
        sg.dp.counts(asked, epsilon=2.5)
    with pytest.raises(PolicyError, match=r"policy\.noise_delta"):
        sg.dp.counts(asked, epsilon=1.0, delta=1e-9)
    sg.dp.counts(asked, epsilon=1.5)
    with pytest.raises(PolicyError, match=r"noise\.budget: this summary"):
        sg.dp.counts(asked, epsilon=0.75)
    assert any("noise.budget" in e.facts["rules"] for e in entries(ruled, "refusal"))
    ruled.policy.write_text(ruled.policy.read_text().replace("epsilon = 2.0", "epsilon = 99.0"))
    with pytest.raises(PolicyError, match="changed since it was signed"):
        sg.dp.counts(asked, epsilon=0.75)


def test_noise_is_what_is_allowed_where_it_is_required(ruled):
    """`noise.whole_people` lets nothing else leave: no table, no quality control, no kinship, and no phenotype's own noise."""
    ruled.write(noise__required=True, noise__whole_people=True, noise__epsilon=3.0)
    assert securegen(*words(ruled)).code == 0
    c, owner = ruled.cohort, ruled.key("steward")
    few = {"chr": "1", "to_bp": 2000, "purpose": "HMB", "identity": owner}
    tries = {
        "noisy study": lambda: sg.run(ruled.study("CC", dp_epsilon=1.0, **few)),
        "qc": lambda: sg.qc(sg.open_qc(c.bfile, **few)),
        "kinship": lambda: sg.kinship(sg.Inputs(bfile=c.bfile, **few)),
        "ld": lambda: sg.ld(sg.Inputs(bfile=c.bfile, **few)),
    }
    for name, ask in tries.items():
        with pytest.raises(PolicyError, match=r"policy\.noise_whole_people: no noise of whole people"):
            ask()
            pytest.fail(name)
    ruled.write(version=2, noise__required=True, noise__epsilon=3.0)  # the protection off
    assert "afreq" in set(tries["qc"]())


def test_tiers_purposes_and_second_signatures_hold(ruled):
    ruled.write(second_signature__for=["noisy"], noise__epsilon=2.0)
    c = ruled.cohort
    with pytest.raises(PolicyError, match=r"policy\.granularity"):
        sg.dp.counts(inputs_of(ruled, identity=ruled.key("otto")), epsilon=1.0)
    with pytest.raises(PolicyError, match=r"policy\.purpose"):
        sg.dp.counts(sg.Inputs(bfile=c.bfile), epsilon=1.0)
    anna = inputs_of(ruled, identity=ruled.key("anna"))
    with pytest.raises(PolicyError, match=r"needs a second signature: none on request [0-9a-f]{64}") as first:
        sg.dp.counts(anna, epsilon=1.0)
    digest = str(first.value).split("on request ")[1][:64]
    with pytest.raises(PolicyError, match=digest):  # the same on another day: keys of marks stay
        sg.dp.counts(anna, epsilon=1.0)
    signed = ruled.folder / "second.json"
    sg.policy.countersign(digest, ruled.key("otto"), signed)
    both = replace(anna, second_signature=(str(signed),))
    with pytest.raises(PolicyError, match="second signature"):  # of another ε
        sg.dp.counts(both, epsilon=1.25)
    assert sg.dp.counts(both, epsilon=1.0).attrs["people_noise"]["charged"]
    assert [e.facts["what"] for e in entries(ruled, "release")] == ["counts"]


def test_the_record_the_log_and_the_audit_log_have_no_exact_number_of_people(ruled):
    """Nor a digest of a file, by which who knows all others tells whether one is in it. Of another command they have both."""
    ruled.write(noise__epsilon=2.0)
    c = ruled.cohort
    people = str(len(Path(f"{c.bfile}.fam").read_text().splitlines()))
    digest = hashlib.sha256(Path(f"{c.bfile}.fam").read_bytes()).hexdigest()
    more = ["--pheno", c.pheno, "--pheno-name", "CC", "--sexes", "--sign", ruled.key("anna")]
    done = securegen(*(w for w in words(ruled) if w != "--quiet"), *more)
    assert done.code == 0, done.err
    said = json.loads((ruled.folder / "o.run.json").read_text())
    assert said["call"]["digests"] == {} and "inputs" not in said and "samples" not in said
    assert said["people_noise"]["l1"] == 3 and said["people_noise"]["charged"] is True
    assert said["peak_rss_bytes"] is None
    receipt = said["receipt"]
    assert receipt["parties"][1]["name"] == "reader of the table" and any(
        "noise.budget" in x for x in receipt["decisions"]
    )
    told = [(ruled.folder / name).read_text() for name in ("o.run.json", "o.log", "o.receipt.json")]
    (leaving,) = entries(ruled, "release")
    told += [done.out, done.err, json.dumps(leaving.facts)]
    for text in told:
        assert digest not in text and f"{people} samples" not in text and f"{people} people" not in text
    assert leaving.facts["samples"] == 0
    assert securegen("qc", "--bfile", c.bfile, "--purpose", "HMB", "--out", ruled.folder / "q").code == 0
    exact = (ruled.folder / "q.run.json").read_text() + (ruled.folder / "q.log").read_text()
    assert digest in exact and f"{people} samples" in exact


def test_a_floor_would_tell_who_is_there_and_noise_has_none(ruled, tmp_path):
    """Ten names, and nine with a stranger: the exact way refuses the second list, and so says that the first are all there."""
    ruled.write(noise__epsilon=3.0, limits__smallest_cohort=10)
    fam = [line.split()[:2] for line in Path(f"{ruled.cohort.bfile}.fam").read_text().splitlines()]
    refused = []
    for name, ids in (("ten", fam[:10]), ("nine", [*fam[:9], ["X", "X"]])):
        (tmp_path / name).write_text("".join(f"{a}\t{b}\n" for a, b in ids))
        assert sg.dp.counts(inputs_of(ruled, keep=str(tmp_path / name)), epsilon=0.5).attrs["people_noise"]["charged"]
        try:
            sg.open_qc(ruled.cohort.bfile, keep=str(tmp_path / name), purpose="HMB")
        except PolicyError:
            refused.append(name)
    assert refused == ["nine"]


def test_the_door_takes_no_noisy_table_without_its_epsilon(ruled):
    """From Python, by hand: a summary that says no ε, and one under another kind's name."""
    ruled.write(noise__epsilon=2.0)
    asked = inputs_of(ruled)
    gate = gate_of("plain", asked.asking, asked.files().values())
    assert NOISY in KINDS
    with pytest.raises(PolicyError, match=r"policy\.request: counts: a noisy summary says its ε"):
        gate.release([OutputFacts(NOISY, "counts", 0, 1)])
    with pytest.raises(PolicyError, match=r"policy\.noise_epsilon"):
        gate_of("plain", asked.asking, asked.files().values()).check(
            [OutputFacts(NOISY, "counts", 0, 1, noise=AppliedNoise(7.0, None, LAPLACE))]
        )
    claimed = [OutputFacts(NOISY, "counts", 0, 1, noise=AppliedNoise(1.0, None, LAPLACE))]
    with pytest.raises(PolicyError, match=r"policy\.request: counts"):  # nor is it believed
        gate.release(claimed)
    gate = replace(gate, draws=None)
    gate.release(claimed)
    gate.passed(noisy=True)
    with pytest.raises(PolicyError, match="did not pass the door"):  # it has no floors: it opens no other writer
        gate.passed()
    fresh = gate_of("plain", asked.asking, asked.files().values())
    with pytest.raises(PolicyError, match="did not pass the door"):
        release.write_noisy(str(ruled.folder / "x"), None, gate=fresh)  # type: ignore[arg-type]


def test_a_policy_explains_what_it_would_say_of_a_noisy_table(ruled):
    ruled.write(noise__epsilon=2.0, noise__whole_people=True)
    facts = {"purpose": "HMB", "kind": NOISY, "samples": 0, "variants": 3, "columns": 0}
    assert sg.policy.explain(ruled.policy, epsilon=1.0, **facts).allowed
    assert not sg.policy.explain(ruled.policy, epsilon=3.0, **facts).allowed
    assert not sg.policy.explain(ruled.policy, **facts).allowed


def test_a_rehearsal_draws_and_charges_nothing(ruled):
    ruled.write(noise__epsilon=2.0)
    for kind, more in (("counts", []), ("frequencies", ["--chr", "1"])):
        done = securegen(*words(ruled, kind), *more, "--dry-run")
        assert done.code == 0 and "would write" in done.out
    assert not list(ruled.folder.glob("noise.draws*"))
    with pytest.raises(UsageError, match="`epsilon`"):
        sg.dp.counts(inputs_of(ruled), epsilon=0)


def test_every_summary_leaves_by_command_as_from_python(ruled):
    """The same question is the same stored answer, whichever way it is asked."""
    ruled.write(noise__epsilon=3.0)
    c = ruled.cohort
    asked = {
        "counts": (["--sexes", "--called"], inputs_of(ruled), {"sexes": True, "called": True}),
        "histogram": (["--pheno-name", "QT", "--edges", "-1,0,1"], replace(inputs_of(ruled), pheno_name="QT"),
                      {"edges": (-1, 0, 1)}),
        "hits": (["--k", "3"], inputs_of(ruled), {"k": 3}),
        "frequencies": (["--chr", "1", "--to-bp", "2000"],
                        replace(inputs_of(ruled), chr="1", to_bp=2000, pheno_name=None), {}),
    }  # fmt: skip
    for kind, (flags, inputs, options) in asked.items():
        names = [] if "--pheno-name" in flags or kind == "frequencies" else ["--pheno-name", "CC"]
        done = securegen(*words(ruled, kind), "--pheno", c.pheno, *names, *flags)
        assert done.code == 0, done.err
        frame = getattr(sg.dp, kind)(inputs, epsilon=0.5, **options)
        assert not frame.attrs["people_noise"]["charged"], kind
        (path,) = ruled.folder.glob(f"o.noisy.{ {'frequencies': 'afreq'}.get(kind, kind) }*")
        lines = path.read_text().splitlines()
        assert lines[0].split("\t") == frame.columns.tolist() and len(lines) == 1 + len(frame)
    with noise_store.open_draws(ruled.folder) as store:
        assert store.most_spent() == (2.0, 0.0)


def test_an_impact_assessment_says_what_noise_covers(ruled):
    ruled.write(noise__epsilon=2.0)
    assert securegen(*words(ruled)).code == 0
    sg.pia(str(ruled.folder / "o"))
    page = (ruled.folder / "o.pia.html").read_text()
    assert "Each person has ε = 0.5, of genotypes, phenotypes and being there at all." in page


def test_a_noisy_afreq_is_read_as_plink2s(ruled):
    ruled.write(noise__epsilon=3.0)
    made = sg.dp.write(replace(inputs_of(ruled), pheno_name=None, pheno=None, chr="1", to_bp=2000), ruled.folder / "f",
                       "frequencies", epsilon=2.0)  # fmt: skip
    assert made.path.endswith("f.noisy.afreq") and repr(made) == f"NoisyRelease({made.path})"
    found = read_frequencies(made.path)
    known = ~np.isnan(made.table.columns[5].astype(float))
    np.testing.assert_allclose(found.frequency, made.table.columns[5][known].astype(float), rtol=1e-9)
