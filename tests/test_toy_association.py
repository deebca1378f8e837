"""One more association test, registered here and nowhere else, gives the same table on every engine.

The toy is the correlation of a phenotype with the dosage of the people called, without covariates: T = r√(df/(1 − r²)).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats as reference

from securegen import vocabulary as voc
from securegen.catalogue import TESTS, Reads, Test
from securegen.design import fixedpoint as fp
from securegen.design.columns import INTERCEPT, Analysis, Design, scatter
from securegen.design.group import Group
from securegen.engines.ckks import steps
from securegen.errors import UsageError
from securegen.model import Columns, ImputedSums, Sums
from securegen.stats.imputed import linear_sums
from securegen.study.opening import open_study

COLUMNS = (*voc.VARIANT_COLUMNS, "OBS_CT", "R", "LOG10_P", "ERRCODE")


@dataclass(frozen=True)
class ToyModel:
    """y: Σy and Σy² of the integer phenotype."""

    phenotype: str
    samples: int
    y: tuple[int, int]
    covariates: tuple[str, ...] = ()
    bits: int = 16


def design(group: Group, total: fp.SumOverSites) -> Design:
    """Who is analysed, and the phenotype as integers."""
    (name,) = group.names
    scaling, decimals = fp.fit_scaling(group.values[:, 0], f"phenotype {name}", total)
    y = fp.column_integers(scaling, decimals, 16)
    values = np.stack([np.ones(len(y), np.int64), y], axis=1)
    fp.guard_of(total).opened("toy", values, group.analysed)
    n, s1, s2 = total([len(y), int(y.sum()), int((y.astype(object) ** 2).sum())])
    columns = Columns((INTERCEPT, name), scatter(values, group.analysed), (True, False))
    return Design(columns, (Analysis("toy", name, (0, 1), (0,), ToyModel(name, n, (s1, s2))),))


def statistics(sums: Sums | ImputedSums, model: ToyModel, *, grid: int = 1) -> dict[str, np.ndarray]:
    """Correlation; missing dosages at their mean."""
    if isinstance(sums, Sums):
        sums = linear_sums(sums, model.samples)
    n, s = np.maximum(sums.called, 1).astype(np.float64), sums.dosage.astype(np.float64)
    cross = (sums.cross[:, 0].astype(np.float64) - s * model.y[0]) / n
    spread = (n * sums.square - s * s) / n
    rest = model.y[1] - model.y[0] ** 2 / model.samples
    ok = spread > 0
    r = np.where(ok, cross / np.sqrt(np.where(ok, spread, 1.0) * rest), np.nan)
    df = model.samples - 2
    p = 2 * reference.t.sf(np.abs(r) * np.sqrt(df / (1 - r * r)), df)
    code = np.where(ok, voc.OK, voc.CONST_OMITTED_ALLELE).astype(object)
    return {"OBS_CT": np.full(len(n), model.samples), "R": r, "LOG10_P": -np.log10(p), "ERRCODE": code}


TOY = Test(
    "toy", "Correlation, for a test", design, statistics, ToyModel, COLUMNS, "toy", Reads(squared=(0,), filled=1),
    covariates=False, missing=frozenset({"mean"}),
)  # fmt: skip


@pytest.fixture
def toy(monkeypatch) -> Iterator[str]:
    """The catalogue with one test more, while this test runs."""
    monkeypatch.setitem(TESTS, "toy", TOY)
    yield "toy"


def test_the_toy_is_gone_afterwards(small):
    with pytest.raises(UsageError, match="model"):
        open_study(small.bfile, pheno=small.pheno, pheno_name="QT", model="toy")


@pytest.fixture
def table(toy, small, tmp_path) -> bytes:
    """The plain engine's, held against scipy."""
    from securegen import api
    from securegen.study.inputs import Inputs

    study = open_study(small.bfile, pheno=small.pheno, pheno_name="QT", model=toy)
    (written,) = api.plain_tables(study, str(tmp_path / "plain"))
    assert written.path.endswith(".QT.toy") and isinstance(study.inputs, Inputs)
    frame = pd.read_csv(written.path, sep="\t")
    block = study.reader.read(0, 40)
    y = study.design.columns.values[:, 1].astype(float)
    who = study.design.columns.values[:, 0] == 1
    seen = 0
    for j in range(40):
        missing = np.zeros(len(who), bool) if block.missing is None else block.missing[j]
        if not missing[who].any() and block.dosage[j][who].std() > 0:
            expected = reference.pearsonr(block.dosage[j][who], y[who])
            np.testing.assert_allclose(frame.R[j], expected.statistic, rtol=1e-9)
            np.testing.assert_allclose(frame.LOG10_P[j], -np.log10(expected.pvalue), rtol=1e-6)
            seen += 1
    assert seen > 5
    return Path(written.path).read_bytes()


def test_encrypted(toy, table, small, small_key, tmp_path):
    study = open_study(small.bfile, pheno=small.pheno, pheno_name="QT", model=toy)
    key = steps.generate_key(steps.plan(study))
    made = steps.encrypt(study, key, tmp_path / "study")
    results = steps.associate(made.cohort, made.design, tmp_path / "results")
    (written,) = steps.decrypt_tables(results, key, made.owner, str(tmp_path / "ckks"))
    assert Path(written.path).read_bytes() == table


def in_threads(bodies, seconds: float = 120.0) -> None:
    """Every body at once; the first error is raised."""
    errors: list[BaseException] = []

    def run(body) -> None:
        try:
            body()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(body,), daemon=True) for body in bodies]
    for t in threads:
        t.start()
    for t in threads:
        t.join(seconds)
    if errors:
        raise errors[0]
    assert not any(t.is_alive() for t in threads)
