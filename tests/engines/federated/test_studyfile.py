"""The study file: what it refuses, that it survives writing and reading, that nobody can change it; signing keys."""

from __future__ import annotations

from dataclasses import replace

import pytest

from securegen.engines.federated import hub, study_toml, studyfile
from securegen.engines.federated.studyfile import STUDY, Site, TraitColumn
from securegen.engines.federated.variants import write_variants
from securegen.errors import (
    ArtefactError,
    DesignError,
    KeyFileError,
    PolicyError,
    ProtocolError,
    StorageError,
    UsageError,
)
from securegen.governance import signing

from .conftest import make_study, variant_list


@pytest.fixture
def keys():
    return {name: signing.generate() for name in ("anna", "bert", "cora")}


def test_study_survives_writing_and_reading(tmp_path, keys):
    coordinator = signing.generate()
    study = make_study(
        keys, coordinator, name='a "quoted" näme', covariates=("AGE", "B M I"), model="linear", missing="complete",
        bits=18, site_indicators=True, qc=True, smallest_cohort=40,
        phenotypes=(TraitColumn("QT", "quantitative"), TraitColumn("CC", "case-control-12")),
    )  # fmt: skip
    written = study_toml.write_study(tmp_path, study, coordinator)
    read = study_toml.read_study(tmp_path / STUDY)
    assert read == written and replace(read, digest="") == study
    with pytest.raises(StorageError, match="exists and is not overwritten"):
        study_toml.write_study(tmp_path, study, coordinator)


def test_altered_study_is_refused(tmp_path, keys):
    coordinator = signing.generate()
    study_toml.write_study(tmp_path, make_study(keys, coordinator, smallest_cohort=40), coordinator)
    path = tmp_path / STUDY
    path.write_text(path.read_text().replace("smallest_cohort = 40", "smallest_cohort = 1"))
    with pytest.raises(ArtefactError, match="not signed by the coordinator"):
        study_toml.read_study(path)
    path.write_text("format = 2\n")
    with pytest.raises(ArtefactError, match="is not a study file"):
        study_toml.read_study(path)


def test_study_signed_by_somebody_else_is_refused(tmp_path, keys):
    study_toml.write_study(tmp_path, make_study(keys, signing.generate()), signing.generate())
    with pytest.raises(ArtefactError, match="not signed by the coordinator"):
        study_toml.read_study(tmp_path / STUDY)


def test_two_sites_need_to_be_told(keys):
    two = {name: keys[name] for name in ("anna", "bert")}
    with pytest.raises(PolicyError, match="each subtracts its own sums.*`two_sites_learn_each_other`"):
        make_study(two, signing.generate())
    assert make_study(two, signing.generate(), two_sites_learn_each_other=True).sites[1].name == "bert"
    with pytest.raises(PolicyError, match="three sites or more, not 1"):
        make_study({"anna": keys["anna"]}, signing.generate(), two_sites_learn_each_other=True)


@pytest.mark.parametrize(
    ("changes", "error", "match"),
    [
        (
            {"sites": (Site("../x", b"1" * 32), Site("b", b"2" * 32), Site("c", b"3" * 32))},
            UsageError,
            "not a site name",
        ),
        ({"sites": (Site("b", b"1" * 32), Site("b", b"2" * 32), Site("c", b"3" * 32))}, UsageError, "same name"),
        ({"sites": (Site("a", b"1" * 32), Site("b", b"1" * 32), Site("c", b"3" * 32))}, UsageError, "same key"),
        ({"model": "cox"}, UsageError, "not known"),
        ({"model": "trend"}, DesignError, "phenotype QT is quantitative"),
        ({"missing": "complete", "phenotypes": (TraitColumn("CC", "case-control-01"),)}, UsageError, "`missing` mean"),
        ({"phenotypes": ()}, UsageError, "needs a phenotype"),
        ({"smallest_cohort": 0}, UsageError, "must be positive"),
        ({"loadings_pcs": 2}, UsageError, "need a file of loadings"),
        ({"notes": (("colour", "red"),)}, UsageError, "no field colour"),
        ({"notes": (("expires", "soon"),)}, UsageError, "write a day"),
    ],
)
def test_studies_that_do_not_fit_together_are_refused(keys, changes, error, match):
    with pytest.raises(error, match=match):
        make_study(keys, signing.generate(), **changes)


def test_a_stranger_cannot_join_and_an_altered_variant_list_is_refused(tmp_path, keys):
    coordinator = signing.generate()
    study_toml.write_study(tmp_path, make_study(keys, coordinator), coordinator)
    write_variants(tmp_path / studyfile.VARIANTS, variant_list(1))
    assert hub.join(tmp_path, keys["bert"]) == "bert"
    with pytest.raises(PolicyError, match="signing key of this site is not in the study"):
        hub.join(tmp_path, signing.generate())
    write_variants(tmp_path / studyfile.VARIANTS, variant_list(1, ("G", "A")))
    with pytest.raises(ProtocolError, match="not the variant list that the study names"):
        hub.join(tmp_path, keys["anna"])


def test_signing_keys_are_private_files(tmp_path):
    key = signing.generate()
    signing.write_identity(tmp_path / "k", key)
    signing.write_verify_key(tmp_path / "k.public", key)
    assert signing.read_identity(tmp_path / "k").signing_key == key.signing_key
    assert signing.read_verify_key(tmp_path / "k.public") == key.verify_key
    assert (tmp_path / "k").stat().st_mode & 0o777 == 0o600
    with pytest.raises(StorageError, match="exists"):
        signing.write_identity(tmp_path / "k", key)
    with pytest.raises(ArtefactError, match="a securegen verify key"):
        signing.read_verify_key(tmp_path / "k")
    (tmp_path / "k").chmod(0o644)
    with pytest.raises(KeyFileError, match="chmod 600"):
        signing.read_identity(tmp_path / "k")
    with pytest.raises(KeyFileError, match="there is no signing key"):
        signing.read_identity(tmp_path / "absent")


@pytest.mark.parametrize("name", ["../../escaped", "/absolute/x", "a\nb", "Q" * 300])
def test_a_coordinator_cannot_place_the_tables_of_a_site(name, keys, monkeypatch):
    """The name of a phenotype becomes a part of the name of the site's table."""

    from securegen.study import checks

    with pytest.raises(DesignError, match="becomes a part of a file's name"):
        make_study(keys, signing.generate(), phenotypes=(TraitColumn(name, "quantitative"),))
    monkeypatch.setattr(checks, "file_name", lambda *_: None)
    make_study(keys, signing.generate(), phenotypes=(TraitColumn(name, "quantitative"),))
