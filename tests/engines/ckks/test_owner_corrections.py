"""Score tests corrected by the owner after verification: the plain engine's tables, and genotypes that are others."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from support import Cohort, left, securegen, simulate, write_plink

import securegen as sg
from securegen.engines.ckks.owner import secret_key
from securegen.errors import ArtefactError, UsageError, VerificationError
from securegen.io.output import PRIVATE

OPTIONS = {"correction": "spa", "p_thresh": 0.5}


@dataclasses.dataclass(frozen=True)
class Outsourced:
    """A design encrypted for a correction, and what the server returned. cohort: its files; some people were left out."""

    cohort: Cohort
    study: sg.Study
    key: secret_key.SecretKey
    made: sg.ckks.Encrypted
    results: Path


def opened(cohort: Cohort, **more) -> sg.Study:
    return sg.open_study(cohort.bfile, pheno=cohort.pheno, pheno_name=("CC", "QT"), covar=cohort.covar, **more)


@pytest.fixture(scope="module")
def outsourced(tmp_path_factory) -> Outsourced:
    folder = tmp_path_factory.mktemp("corrected")
    cohort = simulate(folder / "c", variants=60)
    (folder / "without.txt").write_text("F3 I3\nF8 I8\n")
    study = opened(cohort, remove=folder / "without.txt", chr="2", **OPTIONS)
    key = sg.ckks.generate_key(sg.ckks.plan(study))
    made = sg.ckks.encrypt(study, key, folder / "study")
    return Outsourced(cohort, study, key, made, sg.ckks.associate(made.cohort, made.design, folder / "results"))


def tables(study: sg.Study, engine: str, out: Path) -> dict[str, bytes]:
    return {name: Path(path).read_bytes() for name, path in sg.run(study, engine, out=out).paths.items()}


def test_equal_tables_of_a_run(outsourced, tmp_path):
    options = {"correction": "firth", "fast": True, "p_thresh": 0.5, "recessive": True}
    study = opened(outsourced.cohort, **options)
    plain = tables(study, "plain", tmp_path / "plain")
    run = sg.run(study, "ckks", out=tmp_path / "ckks")
    assert {name: Path(path).read_bytes() for name, path in run.paths.items()} == plain
    uncorrected = tables(opened(outsourced.cohort, recessive=True), "plain", tmp_path / "score")
    assert plain["CC"] != uncorrected["CC"] and plain["QT"] == uncorrected["QT"]
    assert run.record["correction"]["corrected"]["CC"] > 0
    assert "--correction firth of" in run.record["receipt"]["design"]


def test_equal_tables_from_the_files_of_the_whole_cohort(outsourced):
    """The files have more people and chromosomes than were encrypted."""
    frame = sg.ckks.decrypt(
        outsourced.results, outsourced.key, outsourced.made.owner, genotypes=sg.read_plink(outsourced.cohort.bfile)
    )
    assert frame.equals(sg.run(outsourced.study).frame)


def test_without_the_genotypes_nothing_is_decrypted(outsourced):
    with pytest.raises(UsageError, match=r"encrypted with `correction` spa.*give `bfile`"):
        sg.ckks.decrypt(outsourced.results, outsourced.key, outsourced.made.owner)


def test_genotypes_for_a_design_without_correction_are_refused(small, small_results, small_key, small_encrypted):
    with pytest.raises(UsageError, match="this one was encrypted without"):
        sg.ckks.decrypt(small_results, small_key, small_encrypted.owner, genotypes=sg.read_plink(small.bfile))


@pytest.mark.parametrize("what", ["one call", "people", "variants"])
def test_other_genotypes_are_refused(outsourced, tmp_path, what):
    reader = sg.read_plink(outsourced.cohort.bfile)
    block = reader.read(0, len(reader.variants))
    dosage = block.dosage.astype(np.int8)
    dosage[block.missing] = -127
    if what == "one call":
        dosage[45, 40] = (dosage[45, 40] + 1) % 3
    elif what == "people":
        dosage = dosage[:, :-1].copy()
    else:
        dosage = dosage[:50]
    write_plink(tmp_path / "other", dosage)
    other = sg.read_plink(tmp_path / "other")
    if what == "variants":  # other positions: the simulated ones follow the number of variants
        other = reader.select(None, np.arange(50))
    out = tmp_path / "t"
    with pytest.raises(
        ArtefactError, match="not those that were encrypted" if what == "one call" else f"lack .* {what}"
    ):
        sg.ckks.decrypt_tables(outsourced.results, outsourced.key, outsourced.made.owner, str(out), genotypes=other)
    assert not list(tmp_path.glob("t.*"))


def test_null_models_are_for_the_owner_alone(outsourced):
    """In a box under the key, and not in what travels to the server."""
    (box,) = outsourced.made.owner.glob("null-*.box")
    assert box.stat().st_mode & 0o777 == PRIVATE
    null = next(a.null for a in outsourced.study.analyses if a.null is not None)
    needle = null.mean[:4].tobytes()
    for folder in (outsourced.made.owner, outsourced.made.cohort, outsourced.made.design):
        assert not [p for p in folder.rglob("*") if p.is_file() and needle in p.read_bytes()]


def test_from_the_command_line(outsourced, tmp_path):
    o, passphrase = outsourced, tmp_path / "passphrase"
    passphrase.write_text("a passphrase of this test\n")
    passphrase.chmod(0o600)
    secret_key.write_secret(tmp_path / "k.secret", o.key, passphrase=b"a passphrase of this test")
    run = ["decrypt", "--key", tmp_path / "k.secret", "--passphrase-file", passphrase, "--owner", o.made.owner,
           "--results", o.results]  # fmt: skip
    refused = securegen(*run, "--out", tmp_path / "no")
    assert refused.code == UsageError.exit_code and "--bfile" in refused.err
    assert not [name for name in left(tmp_path) if name.startswith("no")]
    done = securegen(*run, "--bfile", o.cohort.bfile, "--out", tmp_path / "yes")
    assert done.code == 0, done.err
    plain = tables(o.study, "plain", tmp_path / "plain")
    assert (tmp_path / "yes.CC.glm.logistic.score").read_bytes() == plain["CC"]
    record = (tmp_path / "yes.run.json").read_text()
    assert '"correction"' in record and "--correction spa of" in record


def test_a_result_that_fails_verification_is_not_corrected(dishonest_of, outsourced):
    with pytest.raises(VerificationError):
        sg.ckks.decrypt(
            dishonest_of(outsourced.results), outsourced.key, outsourced.made.owner, key_still_trusted=True,
            genotypes=sg.read_plink(outsourced.cohort.bfile),
        )  # fmt: skip


@pytest.fixture
def dishonest_of(dishonest):
    """The results with one residue of the first block changed."""

    def make(results: Path) -> Path:
        def change(index: int, tiles: np.ndarray) -> None:
            tiles.reshape(-1)[0] ^= 1

        return dishonest(change, results)

    return make
