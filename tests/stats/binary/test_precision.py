"""The printed bound of the score test: it holds on every variant at every precision, and the planned precision meets it."""

from __future__ import annotations

import numpy as np
import pytest

from securegen.engines.plain import sums
from securegen.engines.plain.engine import write_plain
from securegen.results.block_columns import result_columns
from securegen.stats.score_test import PROMISED, expected_chisq_error
from securegen.study.opening import Study


def statistics(study: Study) -> dict[str, np.ndarray]:
    parts = [result_columns(study.design.analyses[0], s) for s in sums.sums(study.reader, study.design.columns)]
    return {n: np.concatenate([p[n] for p in parts]) for n in ("CHISQ", "DCHISQ_BOUND")}


@pytest.mark.parametrize("bits", [14, 16, None])
def test_certain_bound_holds(bits, binary_cohort, open_cohort, gold):
    columns = statistics(open_cohort(binary_cohort, bits=bits))
    reference = gold(binary_cohort, "np_cc_score_cov_meanimp.tsv").CHISQ.to_numpy()
    tested = np.isfinite(columns["CHISQ"]) & np.isfinite(reference)
    error, bound = np.abs(columns["CHISQ"] - reference)[tested], columns["DCHISQ_BOUND"][tested]
    assert (error <= bound).all()
    # docs/explanation/score-test.md says below a quarter; a bound that is far from every error would say nothing
    assert 1 / 200 < (error / bound).max() < 1 / 4


def test_planned_precision_keeps_the_promise(binary_cohort, open_cohort):
    study = open_cohort(binary_cohort)
    columns = statistics(study)
    scaled = columns["DCHISQ_BOUND"] / np.maximum(columns["CHISQ"], 1)
    assert np.nanmax(scaled) <= PROMISED
    assert expected_chisq_error(study.design.analyses[0].model) <= PROMISED / 5


def test_every_bit_halves_the_bound(open_cohort):
    bounds = [np.nanmedian(statistics(open_cohort("edge", bits=bits))["DCHISQ_BOUND"]) for bits in (14, 16, 18)]
    assert 3.5 < bounds[0] / bounds[1] < 4.5 and 3.5 < bounds[1] / bounds[2] < 4.5


def test_promise_is_printed_and_recorded(open_cohort, tmp_path):
    (summary,) = write_plain(open_cohort("edge"), str(tmp_path / "t"))
    assert set(summary.promise) == {"dchisq_promised", "dchisq_certain", "dchisq_expected"}
    assert (
        0 < summary.promise["dchisq_expected"] < summary.promise["dchisq_certain"] <= summary.promise["dchisq_promised"]
    )
