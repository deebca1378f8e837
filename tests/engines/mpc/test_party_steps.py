"""A party from Python: what can be refused before the others are met, is."""

import pytest

import securegen as sg
from securegen.engines.mpc import steps
from securegen.engines.mpc.deployment import ScoreTask
from securegen.engines.mpc.loopback import loopback_study
from securegen.errors import InputError, PolicyError, ProtocolError, SecuregenError, UsageError
from securegen.study.inputs import Inputs

TRIO = {"ada": "genotypes", "bob": "phenotypes", "deal": "dealer"}


@pytest.fixture
def parties(tmp_path):
    return loopback_study(tmp_path, TRIO, timeout=1)


def check(parties, folder, name, inputs, **more):
    return steps.run_party(parties, name, inputs, str(folder / "out"), keys=folder, check_only=True, **more)


@pytest.mark.parametrize(
    ("name", "inputs", "more", "error", "match"),
    [
        ("ada", Inputs(pheno="p"), {}, UsageError, "role genotypes needs genotypes"),
        ("bob", Inputs(bfile="b"), {}, UsageError, "role phenotypes needs --pheno"),
        ("deal", Inputs(), {}, UsageError, "is the dealer"),
        ("eve", Inputs(), {}, UsageError, "no party is called 'eve'"),
        ("bob", Inputs(pheno="p"), {"threshold": 5.0}, UsageError, "p-value of a hit"),
        ("bob", Inputs(pheno="p"), {"reveal": "aggregates"}, PolicyError, "both owners must agree"),
        ("ada", Inputs(bfile="nowhere"), {}, InputError, "nowhere"),
    ],
)
def test_what_needs_no_other_party_is_refused_at_once(parties, tmp_path, name, inputs, more, error, match):
    with pytest.raises(error, match=match):
        check(parties, tmp_path, name, inputs, **more)
    assert not list(tmp_path.glob("out*")) and not list(tmp_path.glob("*.state.json"))


def test_a_model_owner_needs_scores(tmp_path):
    parties = loopback_study(tmp_path, {"ada": "genotypes", "bob": "model", "deal": "dealer"})
    with pytest.raises(UsageError, match="role model needs --score"):
        check(parties, tmp_path, "bob", Inputs(), score=ScoreTask())
    check(parties, tmp_path, "bob", Inputs(), score=ScoreTask(("weights.txt",)))


def test_another_partys_certificate_is_found_before_anybody_is_met(parties, tmp_path):
    assert steps.run_dealer(parties, keys=tmp_path, check_only=True).seconds == {}
    (tmp_path / "bob.pem").write_bytes((tmp_path / "ada.pem").read_bytes())
    with pytest.raises(SecuregenError, match="bob") as refused:
        check(parties, tmp_path, "bob", Inputs(pheno="p"))
    assert not isinstance(refused.value, ProtocolError)


def test_a_role_that_several_have_needs_a_name(parties):
    assert steps.party_of(parties, "genotypes") == "ada"
    with pytest.raises(UsageError, match="has the role 'phenotypes', not 'genotypes'"):
        steps.party_of(parties, "genotypes", "bob")


def test_the_parties_file_is_read_from_python(parties, tmp_path):
    """As the command reads it: what is wrong is named, and a party starts with it."""
    found = sg.mpc.read_parties(str(tmp_path / "parties.toml"))
    assert found == sg.mpc.read_parties(tmp_path / "parties.toml") == parties
    check(found, tmp_path, "bob", Inputs(pheno="p"))
    (tmp_path / "parties.toml").write_text("study = 3\n")
    with pytest.raises(InputError, match=r"parties\.toml: needs a study name"):
        sg.mpc.read_parties(tmp_path / "parties.toml")
    assert set(sg.mpc.__all__) >= {"read_parties", "run_party", "run_dealer"}
