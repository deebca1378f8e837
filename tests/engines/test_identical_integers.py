"""Every engine that may show its sums shows the plain engine's integers; the others refuse."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import securegen as sg
from securegen.design.columns import Analysis
from securegen.errors import PolicyError, UsageError
from securegen.model import ImputedSums, OpenedSums, Sums
from securegen.stats.imputed import linear_sums, score_sums

pytestmark = pytest.mark.usefixtures("forked_roles")

MPC = sg.Mpc(split="vertical", reveal="aggregates", consent_aggregates=True, openings="all")
ENGINES = [sg.Ckks(), sg.Federated(sites=3, openings="all"), MPC, sg.Mpc(split="outsourced", openings="all")]


@pytest.fixture(scope="module")
def study():
    """With missing calls, a quantitative trait and a binary one."""
    return sg.open_study(
        "examples/cohort", pheno="examples/cohort.pheno.tsv", pheno_name=("QT", "CC"), covar="examples/cohort.covar.tsv",
        covar_name=("AGE", "SEX"), chr="1", to_bp=400_000,
    )  # fmt: skip


def read(sums: Sums | OpenedSums, analysis: Analysis) -> ImputedSums:
    """What the test of an analysis reads of a block."""
    if isinstance(sums, OpenedSums):
        found, withheld = sums.parts[analysis.test, analysis.phenotype]
        assert isinstance(found, ImputedSums) and not withheld.any()
        return found
    part = Sums(
        sums.start, sums.g[:, list(analysis.columns)], sums.m[:, list(analysis.columns)],
        sums.q[:, list(analysis.squares)],
    )  # fmt: skip
    model = analysis.model
    if analysis.test == "linear":
        return linear_sums(part, model.samples)
    return score_sums(part, model.samples, model.cases, 1)


def numbers(study, blocks) -> dict[tuple[str, str], np.ndarray]:
    """(M, …) of every analysis and kind of sum, whatever the blocks."""
    blocks = list(blocks)
    assert [b.start for b in blocks] == np.cumsum([0, *map(len, blocks)])[:-1].tolist()
    out = {}
    for analysis in study.design.analyses:
        parts = [read(b, analysis) for b in blocks]
        for name in ("called", "dosage", "cross", "square", "minor_in_cases"):
            if getattr(parts[0], name) is not None:
                out[analysis.phenotype, name] = np.concatenate([getattr(p, name) for p in parts])
    return out


@pytest.fixture(scope="module")
def plain(study):
    found = numbers(study, sg.Plain().sums(study))
    assert len(found) == 9 and len(found["QT", "called"]) == len(study.reader.variants)
    assert found["QT", "called"].min() < found["QT", "called"].max()  # some calls are missing
    return found


def assert_same(ours, plain) -> None:
    assert set(ours) == set(plain)
    for name, values in plain.items():
        np.testing.assert_array_equal(ours[name], values, err_msg=str(name))


@pytest.mark.parametrize("engine", ENGINES, ids=repr)
def test_sums_are_the_plain_engine_s(study, plain, engine):
    assert_same(numbers(study, engine.sums(study)), plain)


def test_another_integer_would_be_seen(study, plain):
    """The comparison tells a sum that is off by one."""
    blocks = list(sg.Plain().sums(study))
    blocks[0].g[3, 1] += 1
    with pytest.raises(AssertionError):
        assert_same(numbers(study, blocks), plain)


@pytest.mark.parametrize(
    ("engine", "why"),
    [
        (sg.Federated(), "openings all"),
        (sg.Mpc(split="vertical"), "reveal hits opens no sum"),
        (sg.Mpc(split="vertical", reveal="uv"), "reveal uv opens no sum"),
        (replace(MPC, consent_aggregates=False), "both owners must agree"),
    ],
)
def test_sums_that_nobody_may_see_are_refused(study, engine, why):
    with pytest.raises((UsageError, PolicyError), match=why):
        next(iter(engine.sums(study)))
