"""Studies with a design for each chromosome, encrypted: the tables of the plain engine to the byte, and regenie's numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from reference_data import GOLD

import securegen as sg
from securegen.engines.plain import sums as plain_sums
from securegen.errors import DesignError

pytestmark = pytest.mark.usefixtures("forked_roles")

REGENIE = GOLD / "sim_500x5k" / "gold_regenie"


def tables(results: sg.Results) -> dict[str, bytes]:
    return {name: Path(path).read_bytes() for name, path in results.paths.items()}


def equal_sums(study: sg.Study, engine: sg.Ckks) -> None:
    """The integers of every stratum, its columns in its own order."""
    encrypted = list(engine.sums(study))
    blocks = [(b.start, b.start + len(b)) for b in encrypted]
    assert [a for a, _ in blocks] == [0, *(b for _, b in blocks[:-1])] and blocks[-1][1] == len(study.reader.variants)
    for stratum in study.strata:
        for start, stop in stratum.runs:
            mine = [b for b in encrypted if start <= b.start < stop]
            plain = (
                plain_sums.block_sums(study.reader.read(start, stop), stratum.design.columns)
                if (stratum.design.columns.names)
                else None
            )
            for stream in ("g", "m", "q"):
                found = np.concatenate([getattr(b, stream) for b in mine])
                want = np.zeros((stop - start, 0), np.int64) if plain is None else getattr(plain, stream)
                np.testing.assert_array_equal(found, want, err_msg=f"{stratum.name} {stream}")


SEXES = [
    ("QT", {"split_par": "b38"}), ("QT", {"split_par": "b38", "xchr_model": 1}), ("QT", {}), ("QT", {"xchr_model": 0}),
    ("QT", {"statistic": "regenie"}), ("CC", {"split_par": "b38", "xchr_model": 1}), ("CC", {}),
    ("QT", {"interaction": "AGE", "xchr_model": 1}), ("QT", {"dominant": True, "statistic": "regenie"}),
    ("QT", {"chr": ("Y", "MT")}),
]  # fmt: skip


def sexes(reference, trait="QT", **options) -> sg.Study:
    cohort = reference("sexes")
    return sg.open_study(cohort.bfile, pheno=cohort.pheno, pheno_name=trait, covar=cohort.covar, **options)


@pytest.mark.parametrize(("trait", "options"), SEXES)
def test_x_y_and_mt_give_the_plain_tables(trait, options, reference, tmp_path):
    study = sexes(reference, trait, **options)
    assert len(study.strata) > 1
    encrypted, plain = (sg.run(study, engine, out=tmp_path / engine / "t") for engine in ("ckks", "plain"))
    assert tables(encrypted) == tables(plain)
    assert encrypted.record["strata"] == plain.record["strata"]


@pytest.mark.parametrize(("trait", "options"), [("QT", {"split_par": "b38", "xchr_model": 1}), ("CC", {})])
def test_x_y_and_mt_give_the_plain_sums(trait, options, reference):
    equal_sums(sexes(reference, trait, qc=True, **options), sg.Ckks())


@pytest.mark.parametrize("options", [{"split_par": "b38"}, {}])
def test_quality_control_gives_the_plain_tables(options, reference, tmp_path):
    study = sg.open_qc(reference("sexes").bfile, **options)
    encrypted, plain = (sg.qc(study, engine, out=tmp_path / engine / "t") for engine in ("ckks", "plain"))
    assert tables(encrypted) == tables(plain) and "hardy.x" in encrypted


@pytest.mark.parametrize(("size", "fits"), [(1.5, True), (30, False)])
def test_predictions_that_are_none_have_no_plan(size, fits, reference, tmp_path):
    """Somewhat worse than nothing fits; what is in other units, or of another trait, would not fit the planned columns."""
    cohort = reference("sim_500x5k")
    head, *lines = (REGENIE / "qt1_1.loco").read_text().splitlines()
    noise = np.random.default_rng(8).standard_normal((len(lines), len(head.split()) - 1)) * size * 0.8
    rows = [" ".join([line.split()[0], *map(str, own)]) for line, own in zip(lines, noise, strict=True)]
    (tmp_path / "a.loco").write_text("\n".join([head, *rows]) + "\n")
    (tmp_path / "list").write_text("QT a.loco\n")
    study = sg.open_study(
        cohort.bfile, pheno=cohort.pheno, pheno_name="QT", covar=cohort.covar, pred=tmp_path / "list", chr="1"
    )
    if not fits:
        with pytest.raises(DesignError, match="are they of this phenotype"):
            sg.ckks.plan(study)
        return
    assert sg.run(study, "ckks").frame.equals(sg.run(study).frame)


@pytest.mark.parametrize(("trait", "encryptor"), [("QT", "own"), ("QT", "seal"), ("CC", "own")])
def test_predictions_give_the_plain_tables_and_regenies_numbers(trait, encryptor, reference, tmp_path):
    cohort = reference("sim_500x5k")
    study = sg.open_study(
        cohort.bfile, pheno=cohort.pheno, pheno_name=trait, covar=cohort.covar,
        pred=REGENIE / f"{trait.lower()}1_pred.list",
    )  # fmt: skip
    engine = sg.Ckks(encryptor=encryptor)
    encrypted, plain = (
        sg.run(study, e, out=tmp_path / n / "t", format="regenie") for n, e in (("e", engine), ("p", sg.Plain()))
    )
    assert tables(encrypted) == tables(plain)
    theirs = pd.read_csv(REGENIE / f"{trait.lower()}_pred_{trait}.regenie.gz", sep=" ").set_index("ID")
    ours = encrypted.frame.set_index("ID")
    theirs = theirs.loc[ours.index]
    assert (
        len(ours) == 1401 and ((ours["CHISQ"] - theirs["CHISQ"]).abs() <= 1e-3 * np.maximum(1, theirs["CHISQ"])).all()
    )
