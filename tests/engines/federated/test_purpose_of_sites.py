"""A site takes part for the purpose that it joined for: left out later, or in the study that goes on, it still holds."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from support import write_tsv

import securegen as sg
from securegen.engines.federated import own_components, own_inputs, own_policy, steps
from securegen.engines.federated import site as site_run
from securegen.errors import ArtefactError, PeerError, PolicyError
from securegen.governance import signing
from securegen.governance.gate import Asking
from securegen.governance.history import PeopleFacts
from securegen.study.inputs import Inputs

from .consortium import SITES, Consortium

THREE = SITES[:3]
GONE = "p4"  # of anna


@pytest.fixture(scope="module")
def begun(tmp_path_factory, cohort) -> Consortium:
    """anna joined for a purpose, with a register in which everybody consents; three sites have keys, and a fourth is silent."""
    made = Consortium(tmp_path_factory.mktemp("begun"), cohort)
    table = write_tsv(
        made.work / "consents.tsv", ("IID", "DUO", "DATE"), [(p, "HMB", "2025-01-01") for p in cohort.people]
    )
    sg.consent.import_table(made.work / "register.tsv", table)
    made.init("four", SITES[1:] + SITES[:1])
    return made


@pytest.fixture
def consortium(begun, tmp_path) -> Consortium:
    shutil.copytree(begun.work, tmp_path, dirs_exist_ok=True)
    return replace(begun, work=tmp_path)


def asking(made: Consortium) -> Asking:
    return Asking(purpose="hmb", consent=made.work / "register.tsv")


def join(made: Consortium, folder: str = "four", asked: Asking | None = None) -> None:
    steps.join(
        made.work / folder, made.state("anna"), fingerprints={}, trust_study_file=True, asking=asked or asking(made)
    )


def run(made: Consortium, folder: str = "four", **more):
    """anna, as far as she goes alone."""
    keep = str(made.work / "anna" / "keep.txt")
    inputs = Inputs(made.cohort.bfile, pheno=made.cohort.pheno, covar=made.cohort.covar, keep=keep, **more)
    said: list[str] = []
    with pytest.raises(PeerError):
        steps.run_site(made.work / folder, made.state("anna"), inputs, str(made.work / "out"), log=said.append)
    return said


def withdraw(made: Consortium) -> None:
    sg.consent.withdraw(made.work / "register.tsv", write_tsv(made.work / "leaving.txt", ("IID",), [(GONE,)]))


def counted(said: list[str]) -> list[str]:
    return [line for line in said if line.startswith("--purpose HMB")]


@pytest.mark.parametrize("remembered", [True, False])
def test_a_run_without_a_purpose_is_for_the_one_that_was_joined_for(consortium, monkeypatch, remembered):
    join(consortium)
    withdraw(consortium)
    if not remembered:  # the attack: who withdrew is in the sums
        monkeypatch.setattr(site_run, "for_what_was_asked", lambda state, study, inputs: inputs)
    said = counted(run(consortium))
    assert ("23 of 24 people" in said[0]) if remembered else said == []


@pytest.mark.parametrize("remembered", [True, False])
def test_who_withdrew_while_the_study_ran_is_not_summed_on(consortium, monkeypatch, remembered):
    """The first run names the purpose, the second does not, and somebody withdrew between them."""
    if not remembered:
        real = own_inputs.commitment_to_inputs
        monkeypatch.setattr(own_inputs, "commitment_to_inputs", lambda salt, files: real(salt, files | {"asked": ""}))
        monkeypatch.setattr(site_run, "for_what_was_asked", lambda state, study, inputs: inputs)
    (line,) = counted(run(consortium, purpose="HMB", consent=str(consortium.work / "register.tsv")))
    assert "24 of 24 people" in line
    withdraw(consortium)
    if not remembered:
        run(consortium)  # the attack: the run goes on with all
        return
    with pytest.raises(PolicyError, match="consent.withdrawn: who allows the purpose"):
        run(consortium)


def test_a_purpose_that_was_deleted_from_the_memory_is_missed(consortium):
    """A site's memory that lost it would sum whoever withdrew since."""
    join(consortium)
    run(consortium)
    study, _ = steps.open_folder(consortium.work / "four")
    for name in ("purpose", "register"):
        (consortium.memory("anna", study) / name).unlink()
    withdraw(consortium)
    with pytest.raises(ArtefactError, match="filters changed since this site began"):
        run(consortium)


def test_the_study_that_goes_on_is_for_the_same_purpose(consortium):
    join(consortium)
    run(consortium)
    consortium.go_on("four", "three", "dora")
    join(consortium, "three", Asking())
    withdraw(consortium)
    assert "23 of 24 people" in counted(run(consortium, "three"))[0]


def test_another_purpose_or_register_is_another_study(consortium):
    join(consortium)
    other = consortium.work / "other.tsv"
    for more in ({"purpose": "POA"}, {"purpose": "HMB", "consent": str(other)}):
        with pytest.raises(PolicyError, match="consent.purpose: this site takes part with the"):
            run(consortium, **more)
    with pytest.raises(PolicyError, match="takes part with the purpose HMB, not GRU"):
        join(consortium, asked=Asking(purpose="GRU"))
    assert not Path(other).exists()


def test_a_register_that_changed_for_others_stops_nothing(consortium):
    """Its bytes are no part of what the site commits itself to: who is in the sums is."""
    named = {"purpose": "HMB", "consent": str(consortium.work / "register.tsv")}
    run(consortium, **named)
    rows = write_tsv(consortium.work / "more.tsv", ("IID", "DUO", "DATE"), [("stranger", "HMB", "2025-01-01")])
    sg.consent.import_table(consortium.work / "register.tsv", rows)
    run(consortium, **named)


def test_a_site_whose_policy_requires_noise_sends_nothing_exact(consortium):
    """It joins, for no phenotype is read then; its run is refused before a message leaves, unless it gives noise."""
    folder = consortium.state("anna")
    settings = {
        "purposes.allowed": ["HMB"], "budgets.columns_share": 0.16, "limits.minor_alleles": 0, "noise.required": True,
        "noise.epsilon": 4.0,
    }  # fmt: skip
    sg.policy.init(folder / "policy.toml", "Anna", key=consortium.work / "steward.secret", settings=settings)
    sg.policy.sign(folder / "policy.toml", consortium.work / "steward.secret")
    join(consortium)
    shared = consortium.work / "four" / "anna"
    before = sorted(shared.glob("*"))
    inputs = Inputs(
        consortium.cohort.bfile, pheno=consortium.cohort.pheno, covar=consortium.cohort.covar,
        keep=str(consortium.work / "anna" / "keep.txt"),
    )  # fmt: skip
    with pytest.raises(PolicyError, match="policy.noise: exact statistics"):
        steps.run_site(consortium.work / "four", folder, inputs, str(consortium.work / "out"))
    assert [p for p in sorted(shared.glob("*")) if p not in before] == [shared / "stopped.msg"]
    pheno = consortium.work / "pheno.tsv"
    shutil.copy(consortium.cohort.pheno, pheno)
    noisy = replace(inputs, pheno=str(pheno), dp_epsilon=2.0, dp_bounds="0,60")
    with pytest.raises(PeerError):
        steps.run_site(consortium.work / "four", folder, noisy, str(consortium.work / "out"))
    assert not (shared / "stopped.msg").exists() and (shared / "hello.msg").is_file()


def test_a_second_signature_lets_a_site_join(consortium):
    folder, key = consortium.state("anna"), consortium.work / "second.secret"
    signing.write_identity(key, made := signing.generate())
    signing.write_verify_key(consortium.work / "second.pub", made)
    settings = {
        "purposes.required": False, "budgets.columns_share": 0.16, "limits.minor_alleles": 0,
        "second_signature.for": ["association"],
    }  # fmt: skip
    sg.policy.init(
        folder / "policy.toml", "Anna", key=consortium.work / "steward.secret", settings=settings,
        identities={"otto": ("auditor", consortium.work / "second.pub")},
    )  # fmt: skip
    sg.policy.sign(folder / "policy.toml", consortium.work / "steward.secret")
    asked = replace(asking(consortium), identity=str(consortium.work / "steward.secret"))
    with pytest.raises(PolicyError, match="policy.second_signature") as refused:
        join(consortium, asked=asked)
    request = str(refused.value).split("none on request ")[1].split()[0]
    sg.policy.countersign(request, key, consortium.work / "signed")
    join(consortium, asked=replace(asked, second_signature=(str(consortium.work / "signed"),)))
    assert (consortium.work / "four" / "anna" / "accept.msg").is_file()


@pytest.mark.parametrize("protected", [True, False])
def test_a_site_with_a_floor_takes_no_part_where_every_row_is_opened(begun, tmp_path, monkeypatch, protected):
    """anna's policy withholds rows of fewer than 25 minor alleles in her own table; bert has the same sums."""
    made = Consortium(tmp_path, begun.cohort)
    sites, state = SITES[:3], made.state("anna")
    settings = {"purposes.required": False, "budgets.columns_share": 0.16, "limits.minor_alleles": 25}
    sg.policy.init(state / "policy.toml", "Anna", key=tmp_path / "steward.secret", settings=settings)
    sg.policy.sign(state / "policy.toml", tmp_path / "steward.secret")
    state.chmod(0o700)
    steps.keygen(state, tmp_path / "anna.public")
    (tmp_path / "anna" / "keep.txt").write_text("".join(f"f\t{p}\n" for p in begun.cohort.people[::4]))
    if protected:
        for terms in ({"openings": "all"}, {"openings": "strict"}):  # of ten people, which is fewer
            with pytest.raises(PolicyError, match=r"policy\.minor_alleles"):
                made.init(terms["openings"], sites, **terms)
        monkeypatch.setattr(own_policy, "check_terms", lambda *_: None)
        made.init("joined", sites)
        with pytest.raises(PolicyError, match=r"policy\.minor_alleles"):
            made.run("joined", "anna")
        made.init("more", sites, openings="strict", fewest_people=25)
        with pytest.raises(PeerError):
            made.run("more", "anna")
        return
    monkeypatch.setattr(own_policy, "fewest_opened", lambda _: 1000)
    made.init("all", sites)
    assert not [e for e in made.run_all("all", sites).values() if isinstance(e, Exception)]
    rare = [line for line in made.table("anna", "all").splitlines() if line.endswith(b"FEW_CARRIERS")]
    assert rare and b"FEW_CARRIERS" not in made.table("bert", "all")


@pytest.mark.parametrize("protected", [True, False])
@pytest.mark.parametrize("opened", [{"pcs": 1}, {"step1": True, "block": 10}])
def test_products_that_sites_open_are_columns_of_a_sites_policy(begun, tmp_path, monkeypatch, protected, opened):
    """anna's policy lets few columns meet her people's genotypes; a study in which all is opened asks its guard for none."""
    made = Consortium(tmp_path, begun.cohort)
    state = made.state("anna")
    settings = {
        "purposes.required": False, "budgets.columns_share": 0.16, "limits.minor_alleles": 0,
        "requests.unidentified": "owner", "limits.columns_per_person": 0.9, "limits.degrees_of_freedom": 1,
    }  # fmt: skip
    sg.policy.init(state / "policy.toml", "Anna", key=tmp_path / "steward.secret", settings=settings)
    sg.policy.sign(state / "policy.toml", tmp_path / "steward.secret")
    state.chmod(0o700)
    steps.keygen(state, tmp_path / "anna.public")
    (tmp_path / "anna" / "keep.txt").write_text("".join(f"f\t{p}\n" for p in begun.cohort.people[::4]))
    made.init("all", THREE, **opened)
    monkeypatch.setattr(own_components, "unrelated_people", lambda reader, people, fewest: people)  # of so few variants
    if not protected:
        monkeypatch.setattr(own_policy, "products_of", lambda study, planned, samples, *_: PeopleFacts(samples))
    result = made.run_all("all", THREE)["anna"]
    sent = {p.name for p in (made.work / "all" / "anna").glob("*")}
    products = {name for name in sent if name.startswith(("components-01-products", "step1-block-00000-gram"))}
    assert bool(products) is not protected, (sent, result)
    if protected:
        assert isinstance(result, PolicyError) and "budget.columns" in str(result) and "hello.msg" not in sent
