"""What a person has spent is one count under a policy, whichever engine it was spent in: with a part off, attacks work."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from policy_tools import Ruled

import securegen as sg
from securegen.engines.federated import own_policy
from securegen.engines.governed import for_study, people_of
from securegen.engines.mpc import deployment
from securegen.engines.mpc.deployment import VERTICAL
from securegen.engines.mpc.loopback import loopback_study
from securegen.engines.mpc.owner_gate import of_session, pass_owner
from securegen.engines.mpc.people import charge, ledger_of
from securegen.engines.mpc.state_file import StateFile
from securegen.errors import PolicyError
from securegen.governance.door import ASSOCIATION, OutputFacts
from securegen.governance.gate import LEDGER, Asking, gate_of
from securegen.governance.history import PeopleFacts
from securegen.governance.ledger_file import open_ledger
from securegen.results.outputs import associations
from securegen.structure.run import write_components
from securegen.study.genotypes import open_genotypes
from securegen.study.inputs import Inputs

OWNER = {"purpose": "HMB"}


@pytest.fixture
def governed(ruled) -> Ruled:
    ruled.write(budgets__columns_share=0.1)  # 9 columns of 90 people, 8 of 87
    return ruled


def gwas(ruled: Ruled, phenotype: str = "QT") -> None:
    """5 columns of 87 people, in the clear."""
    sg.run(ruled.study(phenotype, **OWNER))


def session(ruled: Ruled, name: str, columns: int, state: str = "state", **off: object) -> None:
    """The genotype owner's part of a session with a phenotype owner, until genotypes would be sent."""
    inputs = Inputs(bfile=ruled.cohort.bfile, **OWNER)
    reader, own = open_genotypes(inputs, lambda line: None), StateFile(ruled.folder / state)
    everybody = np.ones((len(reader.samples), 1), bool)
    gate = gate_of("mpc", inputs.asking, inputs.files().values(), log=lambda line: None)
    pass_owner(gate, reader, [(("",), everybody)], columns, "uv", state=own, session=SimpleNamespace(id=name.encode()))
    charge(own, name, [({""}, everybody, columns)], people=reader, column_limit=100)


def spent(ruled: Ruled) -> int:
    with open_ledger(ruled.folder / LEDGER, kept=False) as ledger:
        return int(ledger.spent.max(initial=0))


def test_sessions_of_parties_and_runs_in_the_clear_are_one_budget(governed):
    session(governed, "one", 6)
    with pytest.raises(PolicyError, match=r"budget\.columns: columns so far for these"):
        gwas(governed)
    with pytest.raises(PolicyError, match=r"budget\.columns: columns so far for these"):
        session(governed, "two", 5, state="another state")
    session(governed, "three", 3, state="another state")
    assert spent(governed) == 9


def test_without_it_a_session_is_free(governed, monkeypatch):
    monkeypatch.setattr("securegen.engines.mpc.owner_gate.PeopleFacts", lambda *a, **k: PeopleFacts(*a))
    for name in ("one", "two", "three"):
        session(governed, name, 6, state=name)  # 18 columns, where 9 were allowed
    assert spent(governed) == 0


def test_what_was_spent_before_a_policy_stood_there_counts(ruled, monkeypatch):
    session(ruled, "early", 6)
    ruled.write(budgets__columns_share=0.1)
    with pytest.raises(PolicyError, match=r"budget\.columns: columns so far for these"):
        session(ruled, "late", 4)
    with monkeypatch.context() as off:
        off.setattr("securegen.governance.history._spent_in", lambda path, people: 0)
        session(ruled, "late", 4)
    with open_ledger(ledger_of(StateFile(ruled.folder / "state")), kept=False) as ledger:
        assert set(ledger.spent.tolist()) == {10}


def test_the_ledger_of_a_site_counts_and_is_only_looked_at(governed):
    path = governed.folder / "site" / "ledger"
    study = governed.study(**OWNER)
    samples = study.reader.samples
    with open_ledger(path) as ledger:
        ledger.spend(ledger.rows(samples), 6)  # of components, or a whole-genome model
    files = {p.name: p.read_bytes() for p in path.parent.iterdir()}
    gate = gate_of("federated", Asking(**OWNER), [governed.policy], log=lambda line: None)
    values = np.random.default_rng(1).integers(1, 9, (90, 4))
    facts = PeopleFacts(samples, (("QT", "", np.ones(90, bool)),), (values,))
    table = [OutputFacts(ASSOCIATION, "QT", 90, 10, columns=3, minor=30)]
    for _ in range(2):
        with pytest.raises(PolicyError, match=r"budget\.columns: columns so far for these"):
            gate.of(replace(facts, beside=(path,))).release(table)
    few = replace(facts, columns=(values[:, :3],), beside=(path,))
    for _ in range(2):  # begun again
        gate.of(few).release(table)
    assert spent(governed) == 9 and {p.name: p.read_bytes() for p in path.parent.iterdir()} == files
    with pytest.raises(PolicyError, match=r"budget\.columns"):
        gwas(governed)


def test_components_of_one_owner_count_once(governed, monkeypatch, tmp_path):
    inputs = Inputs(bfile=governed.cohort.bfile, identity=governed.key("steward"), **OWNER)
    for again in ("a", "b"):
        write_components(inputs, str(tmp_path / again), pcs=5, rounds=2)
    assert spent(governed) == 5
    with pytest.raises(PolicyError, match=r"budget\.columns: columns so far for these"):
        gwas(governed)
    with pytest.raises(PolicyError, match=r"budget\.columns: columns so far for these"):
        write_components(inputs, str(tmp_path / "c"), pcs=5, rounds=3)


@pytest.mark.parametrize("first", ["genotypes", "phenotypes"])
def test_both_owners_of_one_ledger_count_a_session_once(ruled, first):
    """As in a rehearsal on one machine, in whichever order the two doors are passed."""
    ruled.write(budgets__columns_share=0.12)  # 10 columns of 90 and of 87 people
    study = ruled.study(**OWNER)
    table = associations(study.analyses, study.strata, len(study.reader.variants), floor=0)

    def genotypes(name: str, columns: int = 5) -> None:
        inputs, everybody = study.inputs, people_of(study.reader, study.strata).sets[0][2][:, None]
        gate = gate_of("mpc", Asking(**OWNER), inputs.files().values(), log=lambda line: None)
        own = {"state": StateFile(ruled.folder / "state"), "session": SimpleNamespace(id=name.encode())}
        pass_owner(gate, study.reader, [(("",), everybody)], columns, "uv", **own)

    def phenotypes(name: str) -> None:
        gate = for_study(gate_of("mpc", Asking(**OWNER), [ruled.policy], log=lambda line: None), study)
        of_session(gate, SimpleNamespace(id=name.encode()), 5).release(table)

    doors = [genotypes, phenotypes]
    for name in ("one", "two"):
        for door in doors if first == "genotypes" else doors[::-1]:
            door(name)
        assert spent(ruled) == 5, "and the same columns again are free"
    with pytest.raises(PolicyError, match=r"budget\.columns: columns so far for these"):
        genotypes("three", 6)


@pytest.mark.parametrize("protected", [True, False])
def test_components_of_sites_are_columns_once_a_study(governed, monkeypatch, protected):
    """Entered before they are opened, so that a study that another site stops has spent them; begun again they are free."""
    monkeypatch.setattr(own_policy, "ROUNDS", 1)  # of five columns each
    if not protected:
        monkeypatch.setattr(own_policy, "enter_products", lambda *_: None)
    reader, state = sg.read_plink(governed.cohort.bfile), governed.folder / "state"
    gate = gate_of("federated", Asking(**OWNER), [governed.policy], log=lambda line: None)
    planned = [SimpleNamespace(mask=np.ones(90, bool), phenotype=SimpleNamespace(name="QT"))]

    def enter(digest: str) -> None:
        terms = {
            "openings": "all",
            "consent_openings": False,
            "phenotypes": (),
            "step1": None,
            "pcs": 1,
            "variants": 9,
            "sets": None,
        }
        study = SimpleNamespace(digest=digest, **terms)
        own_policy.enter_products(gate, study, planned, reader, reader.variants, "", state)

    for _ in range(2):
        enter("a")
    if not protected:
        assert not (governed.folder / LEDGER).exists()
        return
    assert spent(governed) == 5
    with pytest.raises(PolicyError, match=r"budget\.columns"):
        enter("b")
    assert spent(governed) == 5


def test_a_policy_does_not_raise_what_parties_answer(governed, tmp_path, monkeypatch):
    """A hundredth of the people, although a tenth may be summed with the genotypes of each in all."""
    found: list[deployment.Task] = []
    monkeypatch.setattr(deployment, "_session", lambda *told: nullcontext())
    monkeypatch.setattr(deployment, "_vertical", lambda session, roles, task, *told: found.append(task))
    parties = loopback_study(tmp_path, deployment.ROLES[VERTICAL])
    name = next(n for n, role in deployment.ROLES[VERTICAL].items() if role == "genotypes")
    state = StateFile(governed.folder / "state")
    task = deployment.Task(Inputs(bfile=governed.cohort.bfile, **OWNER), str(governed.folder / "out"), state)
    assert deployment.run_party(parties, SimpleNamespace(name=name), task).gate.policy is not None
    people = open_genotypes(task.inputs, lambda line: None).samples
    columns = [({""}, np.ones((len(people), 1), bool), 6)]
    with pytest.raises(PolicyError, match="answered 0 of at most 1; 6 more are refused"):
        charge(state, "c", columns, people=people, column_limit=found[0].column_limit)
    charge(state, "c", columns, people=people, column_limit=int(0.1 * len(people)))  # as a policy raised it
