"""Results that were honest once, or elsewhere: of another block, another design, an earlier design or cohort."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from ckks_tools import rewrite_manifest

import securegen as sg
from securegen.engines.ckks import artefact
from securegen.engines.ckks.steps import encrypt_cohort, encrypt_design
from securegen.errors import ArtefactError, StorageError, VerificationError
from securegen.study.genotypes import open_genotypes
from securegen.study.inputs import Inputs


def test_a_neighbouring_block_is_refused(small_results, small_key, small_encrypted, tmp_path):
    folder = shutil.copytree(small_results, tmp_path / "swapped.results")
    blocks = artefact.read_manifest(folder, "results", None)["blocks"]
    blocks[0], blocks[2] = blocks[2], blocks[0]  # both have the streams g and m, and as many variants
    assert blocks[0]["size"] == blocks[2]["size"]
    rewrite_manifest(folder, blocks=blocks)
    with pytest.raises(VerificationError):
        sg.ckks.decrypt_tables(folder, small_key, small_encrypted.owner, str(tmp_path / "table"))


@pytest.fixture
def two_designs(small, small_key, small_encrypted, small_results, tmp_path):
    """The cohort with an earlier design and its results, and a later one of the same shape: another phenotype file."""
    owner = shutil.copytree(small_encrypted.owner, tmp_path / "owner")
    text = Path(small.pheno).read_text().splitlines()
    header, rows = text[0], [line.split("\t") for line in text[1:]]
    shifted = [[*a[:2], *b[2:]] for a, b in zip(rows, rows[1:] + rows[:1], strict=True)]
    pheno = tmp_path / "pheno.tsv"
    pheno.write_text("\n".join([header, *("\t".join(r) for r in shifted)]) + "\n")
    study = sg.open_study(small.bfile, pheno=str(pheno), pheno_name=("QT", "QT2"), covar=small.covar)
    later = encrypt_design(study, small_key, owner, tmp_path / "later.design")
    return owner, later


def test_a_replayed_result_is_refused(two_designs, small_results, small_encrypted, small_key, tmp_path):
    """The results of the earlier design, their manifest made to name the later one."""
    owner, later = two_designs
    folder = shutil.copytree(small_results, tmp_path / "replayed.results")
    body = artefact.read_manifest(later, "design", small_key.public)
    rewrite_manifest(folder, design=artefact.manifest_digest(later), nonce=body["nonce"])
    with pytest.raises(VerificationError):
        sg.ckks.decrypt_tables(folder, small_key, owner, str(tmp_path / "table"), design=later)
    trusted = {"design": later, "key_still_trusted": True}
    rewrite_manifest(folder, nonce="00" * 16)
    with pytest.raises(ArtefactError, match="computed from another cohort or design"):
        sg.ckks.decrypt_tables(folder, small_key, owner, str(tmp_path / "table"), **trusted)
    honest = sg.ckks.associate(small_encrypted.cohort, later, tmp_path / "honest.results")
    assert sg.ckks.decrypt_tables(honest, small_key, owner, str(tmp_path / "table"), **trusted)[0].variants == 1300


def test_results_of_a_design_that_was_replaced_are_refused(small_study, small_key, small_encrypted, tmp_path):
    """Encrypting a design again into the same folder (a corrected phenotype file, say) ends the old one."""
    owner, folder = shutil.copytree(small_encrypted.owner, tmp_path / "owner"), tmp_path / "again.design"
    results = []
    for name in ("old", "new"):
        if name == "new":
            with pytest.raises(StorageError, match="which is not overwritten"):
                encrypt_design(small_study, small_key, owner, folder)
        encrypt_design(small_study, small_key, owner, folder, overwrite=True)
        results.append(sg.ckks.associate(small_encrypted.cohort, folder, tmp_path / f"{name}.results"))
        shutil.rmtree(folder)  # it went to the server
    with pytest.raises(ArtefactError, match="another cohort or design"):
        sg.ckks.decrypt_tables(results[0], small_key, owner, str(tmp_path / "table"), design=folder)
    assert sg.ckks.decrypt_tables(results[1], small_key, owner, str(tmp_path / "table"), design=folder)
    # a design in another folder is another study of the same cohort and stays valid
    other = sg.ckks.associate(small_encrypted.cohort, small_encrypted.design, tmp_path / "other.results")
    assert sg.ckks.decrypt_tables(other, small_key, owner, str(tmp_path / "other"), design=small_encrypted.design)


def test_results_of_an_earlier_version_of_the_cohort_are_refused(small, small_key, small_study, tmp_path):
    """One person's genotypes change (consent withdrawn, say) and the cohort is encrypted again: old results are old."""
    bfile = tmp_path / "cohort"
    for suffix in (".bed", ".bim", ".fam"):
        shutil.copy(small.bfile + suffix, bfile.with_suffix(suffix))
    options = {"pheno": small.pheno, "pheno_name": ("QT", "QT2"), "covar": small.covar}
    made = sg.ckks.encrypt(sg.open_study(bfile, **options), small_key, tmp_path / "study")
    old = sg.ckks.associate(made.cohort, made.design, tmp_path / "old.results")
    raw = bytearray(bfile.with_suffix(".bed").read_bytes())
    raw[3] ^= 0b11  # the first person's first call
    bfile.with_suffix(".bed").write_bytes(raw)
    corrected = open_genotypes(Inputs(str(bfile)))
    with pytest.raises(StorageError, match="has a complete cohort, which is not overwritten"):
        encrypt_cohort(corrected, small_key, tmp_path / "study")
    encrypt_cohort(corrected, small_key, tmp_path / "study", overwrite=True)
    with pytest.raises(ArtefactError, match="knows no design"):
        sg.ckks.decrypt_tables(old, small_key, made.owner, str(tmp_path / "table"))
    encrypt_design(sg.open_study(bfile, **options), small_key, made.owner, made.design, overwrite=True)
    with pytest.raises(ArtefactError, match="another cohort or design"):
        sg.ckks.decrypt_tables(old, small_key, made.owner, str(tmp_path / "table"))
