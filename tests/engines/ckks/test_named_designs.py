"""The owner names the design that is opened: what a server returns never chooses it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from ckks_tools import rewrite_manifest
from support import securegen

import securegen as sg
from securegen.engines.ckks import artefact, steps
from securegen.engines.ckks.owner import design_secrets, secret_key
from securegen.engines.ckks.owner.design_secrets import read_one, state_name
from securegen.engines.ckks.owner.state import OwnerState, read_info
from securegen.errors import ArtefactError, DesignError, UsageError
from securegen.model import Samples
from securegen.study.build import Inputs

pytestmark = pytest.mark.usefixtures("forked_roles")


@pytest.fixture
def corrected(small, small_key, small_encrypted, small_results, tmp_path):
    """After the results of a first design the owner orders a second, with a corrected phenotype file; the server returns
    those of the first again."""
    owner = shutil.copytree(small_encrypted.owner, tmp_path / "owner")
    header, *rows = Path(small.pheno).read_text().splitlines()
    cells = [line.split("\t") for line in rows]
    moved = [[*a[:2], *b[2:]] for a, b in zip(cells, cells[1:] + cells[:1], strict=True)]
    pheno = tmp_path / "pheno.tsv"
    pheno.write_text("\n".join([header, *("\t".join(r) for r in moved)]) + "\n")
    later = sg.open_study(small.bfile, pheno=str(pheno), pheno_name=("QT", "QT2"), covar=small.covar)
    design = steps.encrypt_design(later, small_key, owner, tmp_path / "second.design")
    return owner, design, later, shutil.copytree(small_results, tmp_path / "returned.results")


def test_results_that_choose_the_design_pass_for_the_new_one(corrected, small_key, small_study, monkeypatch):
    """The attack: the record is looked up under the digest that the results name, as it once was."""
    owner, _, later, returned = corrected

    def named_by_the_results(state, _):
        return read_one(state, state_name(artefact.read_manifest(returned, "results", None)["design"]))

    monkeypatch.setattr(design_secrets, "read_secrets", named_by_the_results)
    table = sg.ckks.decrypt(returned, small_key, owner)
    assert table.equals(sg.run(small_study).frame) and not table.equals(sg.run(later).frame)


def test_the_owner_says_which_design(corrected, small_key, small_encrypted, small_study, tmp_path):
    owner, design, later, returned = corrected
    with pytest.raises(UsageError, match="knows 2 designs: say with `design`") as said:
        sg.ckks.decrypt(returned, small_key, owner)
    assert "\n" not in str(said.value) and str(said.value).count("; `design` ") == 1
    with pytest.raises(ArtefactError, match="another cohort or design.* They are of design .*give `design`"):
        sg.ckks.decrypt(returned, small_key, owner, design=design)
    # the manifest rewritten to name the new design is no help: the nonce, and then the linear check, differ
    rewrite_manifest(returned, design=artefact.manifest_digest(design))
    with pytest.raises(ArtefactError, match="another cohort or design"):
        sg.ckks.decrypt(returned, small_key, owner, design=design)

    honest = sg.ckks.associate(small_encrypted.cohort, design, tmp_path / "honest.results")
    digest = artefact.manifest_digest(design)
    gone = shutil.move(design, tmp_path / "at the server")
    for name in (design, digest, digest[:16], gone):  # the folder that it had, its digest, where it is now
        assert sg.ckks.decrypt(honest, small_key, owner, design=name).equals(sg.run(later).frame)
    for name in ("nowhere.design", digest[:15], "0" * 64):
        with pytest.raises(ArtefactError, match="no such design; it knows"):
            sg.ckks.decrypt(honest, small_key, owner, design=name)


@pytest.mark.parametrize("how", ["copied", "linked"])
def test_another_design_put_into_the_named_folder_is_not_opened(
    corrected, small_key, small_encrypted, small_study, tmp_path, monkeypatch, how
):
    """A server that can write where the designs lie puts the first, signed as it is, in the place of the second."""
    owner, design, later, returned = corrected
    digest = artefact.manifest_digest(design)
    shutil.rmtree(design)
    if how == "copied":
        shutil.copytree(small_encrypted.design, design)
    else:
        design.symlink_to(small_encrypted.design)
    with pytest.raises(ArtefactError, match="there lies design .*; what was encrypted into this folder is design"):
        sg.ckks.decrypt(returned, small_key, owner, design=design)
    with pytest.raises(ArtefactError, match="another cohort or design"):
        sg.ckks.decrypt(returned, small_key, owner, design=digest)
    current = tmp_path / "current"
    current.symlink_to(small_encrypted.design)  # the owner's own link, under no name that another design had
    assert sg.ckks.decrypt(returned, small_key, owner, design=current).equals(sg.run(small_study).frame)
    monkeypatch.setattr(design_secrets, "_written", lambda *_: None)
    assert sg.ckks.decrypt(returned, small_key, owner, design=design).equals(sg.run(small_study).frame)


def test_a_design_of_another_owner_is_none(corrected, small_key, small_study, tmp_path):
    owner, design, _, returned = corrected
    stranger = sg.ckks.encrypt(small_study, sg.ckks.generate_key(sg.ckks.plan(small_study)), tmp_path / "stranger")
    with pytest.raises(ArtefactError, match="belongs to key"):
        sg.ckks.decrypt(returned, small_key, owner, design=stranger.design)
    manifest = json.loads((design / "manifest.json").read_text())
    manifest["body"]["nonce"] = "00" * 16
    (design / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ArtefactError, match="not signed by its owner"):
        sg.ckks.decrypt(returned, small_key, owner, design=design)


def test_a_record_that_cannot_be_read_counts_as_a_design(corrected, small_key):
    """Decay of the new design's record must not make the old one the only one."""
    owner, design, _, returned = corrected
    box = owner / f"{state_name(artefact.manifest_digest(design))}.box"
    box.write_bytes(box.read_bytes()[:-1])
    with pytest.raises(UsageError, match="knows 2 designs"):
        sg.ckks.decrypt(returned, small_key, owner)


def test_the_command_names_what_it_opened(corrected, key_file, small_encrypted, tmp_path):
    owner, design, _, returned = corrected
    call = ["decrypt", *key_file.options, "--owner", owner, "--results", returned, "--out", tmp_path / "out" / "t"]
    refused = securegen(*call)
    assert refused.code == 2 and refused.err.count("--design") >= 3 and not (tmp_path / "out").exists()
    wrong = securegen(*call, "--design", design)
    assert wrong.code == 7 and not list(tmp_path.glob("out/*.glm.*"))
    assert not list(owner.glob("retired*")), "nothing was decrypted: the key stays in use"
    done = securegen(*call, "--design", small_encrypted.design)
    assert done.code == 0, done.err
    digest = artefact.manifest_digest(small_encrypted.design)
    record = json.loads((tmp_path / "out" / "t.run.json").read_text())
    said = record["design"]
    assert (said["digest"], said["phenotypes"], said["covariates"]) == (digest, ["QT", "QT2"], ["AGE", "SEX", "PC1"])
    assert said["samples"] == [85, 70] and said["encrypted"].startswith("20")
    line = f"design {digest[:16]}, QT (85 samples), QT2 (70 samples), covariates AGE, SEX, PC1, encrypted 20"
    assert line in record["receipt"]["design"] and line in (tmp_path / "out" / "t.log").read_text()


@pytest.mark.parametrize("scores", [False, True])
def test_the_receipt_says_what_lies_on_the_server(small_study, scores, tmp_path):
    """Which blocks have missing calls is seen where a coefficient holds one variant; a packed store has no such stream."""
    key = sg.ckks.generate_key(sg.ckks.plan(small_study, scores=scores))
    secret_key.write_secret(tmp_path / "key.secret", key, passphrase=None)
    made = sg.ckks.encrypt(small_study, key, tmp_path / "study")
    served = sg.ckks.associate(made.cohort, made.design, tmp_path / "results")
    call = (
        "decrypt",
        "--key",
        tmp_path / "key.secret",
        "--owner",
        made.owner,
        "--results",
        served,
        "--out",
        tmp_path / "t",
    )
    done = securegen(*call)
    assert done.code == 0, done.err
    (learns,) = [
        p["learns"]
        for p in json.loads((tmp_path / "t.run.json").read_text())["receipt"]["parties"]
        if p["name"] == "server"
    ]
    stored = any(f.name.startswith("m-") for f in made.cohort.iterdir())
    assert (
        stored == scores == ("which blocks have missing calls" in learns)
        and "no genotype, phenotype or result" in learns
    )


def test_a_design_is_made_for_the_people_that_were_encrypted(small, small_key, small_encrypted, tmp_path):
    """The same people in another order: columns of the one and genotypes of the other would be summed in silence."""
    owner = shutil.copytree(small_encrypted.owner, tmp_path / "owner")
    options = {"pheno": small.pheno, "pheno_name": ("QT",), "covar": small.covar}
    honest = sg.open_study(small.bfile, **options)
    block = honest.reader.read(0, len(honest.reader.variants))
    dosage = np.where(block.missing, np.nan, block.dosage.astype(float))
    s = honest.reader.samples
    for order, genotypes in (
        (np.arange(len(s))[::-1], dosage[:, ::-1]),  # other order
        (
            np.arange(len(s)),
            np.where(np.arange(dosage.size).reshape(dosage.shape) == 3, 1 - dosage, dosage),
        ),  # other call
    ):
        reader = sg.from_arrays(
            genotypes, Samples(s.fid[order], s.iid[order], s.founder[order]), variants=honest.reader.variants
        )
        study = sg.open_study(reader, **options)
        if (order == np.arange(len(s))).all():  # only Σ g² would read them
            assert not read_info(OwnerState(owner, small_key)).squares and any(study.design.columns.squared)
        with pytest.raises((ArtefactError, DesignError), match="not the genotypes that were encrypted"):
            steps.encrypt_design(study, small_key, owner, tmp_path / "x.design")
        assert len(OwnerState(owner, small_key).designs()) == 1
    steps.encrypt_design(honest, small_key, owner, tmp_path / "x.design")


def test_a_later_design_refuses_to_choose_among_the_genotypes(small, small_key, small_encrypted):
    """They were passed over without a word: the people and variants are those that were encrypted."""
    traits = {"pheno": small.pheno, "pheno_name": ("QT",)}
    later = sg.ckks.open_later_study(small_encrypted.owner, small_key, **traits)
    assert later.design.analyses[0].phenotype == "QT"
    for chosen in ({"keep": small.pheno}, {"chr": ("1",)}, {"from_bp": 1}, {"vcf_field": "GT"}):
        with pytest.raises(UsageError, match=f"{next(iter(chosen))}: the people and variants"):
            sg.ckks.later_study_of(Inputs(**traits, **chosen), small_encrypted.owner, small_key)
