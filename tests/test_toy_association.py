"""One more association test, registered here and nowhere else, gives the same table on every engine.

The toy is the correlation of a phenotype with the dosage of the people called, without covariates: T = r√(df/(1 − r²)).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats as reference

from securegen import vocabulary as voc
from securegen.catalogue import TESTS, Reads, Test
from securegen.design import fixedpoint as fp
from securegen.design.columns import INTERCEPT, Analysis, Design, scatter
from securegen.design.data import DesignData
from securegen.engines.ckks import steps
from securegen.engines.federated import rehearsal
from securegen.engines.federated.site import run_site
from securegen.engines.mpc.aggregates import deal, genotype_run, phenotype_run
from securegen.engines.mpc.loopback import loopback_study
from securegen.engines.mpc.net.certs import PartyIdentity
from securegen.engines.mpc.net.session import open_session
from securegen.engines.mpc.state_file import StateFile
from securegen.engines.mpc.vertical import Roles
from securegen.engines.plain.engine import write_plain
from securegen.errors import PeerError, UsageError
from securegen.governance.signing import read_identity
from securegen.model import Columns, ImputedSums, Sums
from securegen.stats.imputed import linear_sums
from securegen.study.genotypes import open_genotypes
from securegen.study.inputs import Inputs
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


def design(group: DesignData, total: fp.SumOverSites) -> Design:
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
    study = open_study(small.bfile, pheno=small.pheno, pheno_name="QT", model=toy)
    (written,) = write_plain(study, str(tmp_path / "plain"))
    assert written.path.endswith(".QT.toy")
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


def test_encrypted(toy, table, small, tmp_path):
    study = open_study(small.bfile, pheno=small.pheno, pheno_name="QT", model=toy)
    key = steps.generate_key(steps.plan(study))
    made = steps.encrypt(study, key, tmp_path / "study")
    results = steps.associate(made.cohort, made.design, tmp_path / "results")
    (written,) = steps.decrypt_tables(results, key, made.owner, str(tmp_path / "ckks"))
    assert Path(written.path).read_bytes() == table


def test_sites(toy, table, small, tmp_path):
    """Three sites, one after the other in this process, until all are done."""
    inputs = Inputs(small.bfile, pheno=small.pheno, pheno_name="QT", model=toy)
    sites = rehearsal.deal(open_genotypes(inputs), inputs.genotypes, 3)
    rehearsal.set_up(tmp_path, inputs, sites, lambda _: None, openings="all")
    done: set[str] = set()
    for _ in range(60):
        for name in (s.name for s in sites if s.name not in done):
            own = replace(inputs, keep=str(tmp_path / name / "keep.txt"))
            private = tmp_path / name / "private"
            key = read_identity(private / "site.secret")
            try:
                run_site(tmp_path / "shared", private, key, own, str(tmp_path / name / "result"))
            except PeerError:
                continue
            done.add(name)
    assert len(done) == 3
    assert all((tmp_path / name / "result.QT.toy").read_bytes() == table for name in done)


def test_parties(toy, table, small, tmp_path):
    """Genotypes with one party, phenotypes with another, a dealer; the sums are opened by consent."""
    names = {"ada": "genotypes", "bob": "phenotypes", "dan": "dealer"}
    roles, parties = Roles(*names), loopback_study(tmp_path / "study", names, timeout=60.0)
    own = Inputs(pheno=small.pheno, pheno_name="QT", model=toy)
    errors: list[BaseException] = []
    programs = {
        "ada": lambda s: genotype_run(
            s, roles, open_genotypes(Inputs(small.bfile)), cohort="c", state=StateFile(tmp_path / "a.state"),
            consent_aggregates=True, column_limit=100, level="all",
        ),
        "bob": lambda s: phenotype_run(
            s, roles, own, str(tmp_path / "mpc"), state=StateFile(tmp_path / "b.state"), consent_aggregates=True
        ),
        "dan": lambda s: deal(s, roles),
    }  # fmt: skip

    def party(name: str) -> None:
        try:
            identity = PartyIdentity.in_directory(tmp_path / "study", name)
            with open_session(parties, identity, protocol="test/1", dimensions={}) as session:
                programs[name](session)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=party, args=(name,), daemon=True) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(300)
    assert not errors, errors
    assert (tmp_path / "mpc.QT.toy").read_bytes() == table
