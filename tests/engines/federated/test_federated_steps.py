"""A study from Python: the same steps as the command line, refused where they must be."""

import pytest

from securegen.engines.federated import steps
from securegen.errors import PeerError, PolicyError, StorageError, UsageError
from securegen.governance import signing
from securegen.study.inputs import Inputs

SITES = ("anna", "bert", "cora")


@pytest.fixture
def marks(tmp_path):
    """Fingerprint of every site; their keys are in tmp_path/NAME, public halves beside them."""
    return {name: steps.keygen(tmp_path / name, tmp_path / f"{name}.pub") for name in SITES}


def init(folder, **more):
    (folder / "list.bim").write_text("1\trs1\t0\t5\tA\tC\n")
    terms = {
        "sites": {name: folder / f"{name}.pub" for name in SITES},
        "variant_lists": [folder / "list.bim"],
        "phenotypes": {"QT": "quantitative"},
    }
    return steps.init(folder / "shared", folder / "coordinator.key", **(terms | more))


def test_a_study_is_set_up_and_accepted(marks, tmp_path):
    study, left_out = init(tmp_path, covariates=["age"], aim="height")
    assert (study.variants, left_out, study.covariates, study.notes) == (1, 0, ("age",), (("aim", "height"),))
    heard = steps.fingerprints(study)
    assert {name: heard[name] for name in SITES} == marks
    assert steps.join(tmp_path / "shared", tmp_path / "anna", fingerprints=heard) == "anna"
    assert [p.accepted for p in steps.progress(tmp_path / "shared")] == [True, False, False]


def test_a_key_that_differs_or_was_not_heard_is_refused(marks, tmp_path):
    heard = steps.fingerprints(init(tmp_path)[0])
    with pytest.raises(UsageError, match="bert, cora were not given"):
        steps.join(tmp_path / "shared", tmp_path / "anna", fingerprints={steps.COORDINATOR: heard[steps.COORDINATOR]})
    with pytest.raises(PolicyError, match="for bert, not .*: do not join"):
        steps.join(tmp_path / "shared", tmp_path / "anna", fingerprints=heard | {"bert": marks["cora"]})
    assert not steps.progress(tmp_path / "shared")[0].accepted


def test_a_study_that_does_not_fit_leaves_no_key(marks, tmp_path):
    with pytest.raises(UsageError, match="kind 'tall' is not one of"):
        init(tmp_path, phenotypes={"QT": "tall"})
    assert not (tmp_path / "coordinator.key").exists() and not (tmp_path / "shared" / "study.toml").exists()
    init(tmp_path)
    with pytest.raises(StorageError, match="exists already"):
        init(tmp_path)


def test_a_site_chooses_nothing_that_is_the_studys(marks, tmp_path, monkeypatch):
    init(tmp_path)
    steps.join(tmp_path / "shared", tmp_path / "anna", fingerprints={}, trust_study_file=True)

    def run(**more):
        inputs = Inputs(**({"bfile": "a", "pheno": "p"} | more))
        steps.run_site(tmp_path / "shared", tmp_path / "anna", inputs, str(tmp_path / "out"))

    for field, value in {
        "model": "linear",
        "missing": "complete",
        "chr": "1",
        "extract": "x",
        "apply_rint": True,
    }.items():
        with pytest.raises(UsageError, match=f"{field}.*the study file says it"):
            run(**{field: value})
    with pytest.raises(UsageError, match="needs its genotypes"):
        run(pheno=None)
    monkeypatch.setattr(steps.site, "run_site", lambda *_, **__: (_ for _ in ()).throw(PeerError("reached")))
    with pytest.raises(PeerError, match="reached"):
        run(keep="k", covar="c")


def test_a_protected_key_needs_its_passphrase(tmp_path):
    mark = steps.keygen(tmp_path / "anna", tmp_path / "anna.pub", passphrase=b"a long enough passphrase, isn't it")
    assert mark == signing.fingerprint(signing.read_verify_key(tmp_path / "anna.pub"))
    assert mark not in (tmp_path / "anna" / steps.SITE_KEY).read_text(errors="replace")
