"""Studies with a design for each chromosome, encrypted: the tables of the plain engine to the byte, and regenie's numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from reference_data import GOLD

import securegen as sg
from securegen.engines.plain import sums as plain_sums

REGENIE = GOLD / "sim_500x5k" / "gold_regenie"
FIRST = {"to_bp": 2_000_000_000}


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
