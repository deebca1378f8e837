"""The phenotype owner's own register of consent: its tables leave again when enough have left, whatever a session opens."""

from __future__ import annotations

import pytest
from support import register_of, withdraw

from securegen.engines.mpc import aggregates, association, projected_run
from securegen.engines.mpc.association import announce_cohort
from securegen.engines.mpc.outsourced import OutsourcedRoles
from securegen.engines.mpc.state_file import StateFile
from securegen.engines.mpc.vertical import Roles
from securegen.errors import PolicyError
from securegen.study.genotypes import open_genotypes
from securegen.study.inputs import Inputs

PEOPLE = 90


class Told(Exception):
    """The genotype owner was told something of the study."""


class GenotypeOwner:
    """A session in which a cohort was announced, and nothing else ever comes."""

    def __init__(self, bfile: str) -> None:
        self.announced: object = None
        announce_cohort(self, "here", open_genotypes(Inputs(bfile, chr=("1",))))

    def send_json(self, to: str, step: str, value: object) -> None:
        if to != "here":
            raise Told(step)
        self.announced = value

    def receive_json(self, source: str, step: str, **_: object) -> object:
        assert step == "cohort"
        return self.announced


def aggregated(session, inputs, folder):
    state = StateFile(folder / "state.json")
    aggregates.phenotype_run(
        session, Roles("g", "p", "d"), inputs, str(folder / "t"), state=state, consent_aggregates=True
    )


def outsourced(session, inputs, folder):
    roles = OutsourcedRoles("g", "p", ("one", "two"), "d", "p")
    association.outsourced_phenotype_run(session, roles, inputs, str(folder / "t"), state=StateFile(folder / "s.json"))


def projected(session, inputs, folder):
    state = StateFile(folder / "state.json")
    projected_run.phenotype_run(session, Roles("g", "p", "d"), inputs, str(folder / "t"), reveal="chi2", state=state)


@pytest.mark.parametrize("run", [aggregated, outsourced, projected], ids=lambda f: f.__name__)
def test_two_tables_that_differ_by_a_person_are_not_asked_for(run, small, tmp_path, monkeypatch):
    register = register_of(tmp_path, dict.fromkeys(range(PEOPLE), "HMB"))
    inputs = Inputs(pheno=small.pheno, pheno_name=("QT",), covar=small.covar, purpose="HMB", consent=str(register))
    session = GenotypeOwner(small.bfile)
    for _ in range(2):  # the same people again are the same table
        with pytest.raises(Told):
            run(session, inputs, tmp_path)
    withdraw(register, 20)
    with pytest.raises(
        PolicyError, match=r"consent.release: QT linear autosomes: fewer than 10 people are only in the first"
    ):
        run(session, inputs, tmp_path)
    for module in (aggregates, association, projected_run):
        monkeypatch.setattr(module, "claim_release", lambda *_: None)
    with pytest.raises(Told):  # the attack: the difference of the two tables is that person
        run(session, inputs, tmp_path)
