"""Quality control against plink2 and float64 references, on every cohort."""

from __future__ import annotations

import numpy as np
import pytest

from securegen.engines.plain.engine import write_plain_qc
from securegen.study.opening_qc import open_qc

SIX_DIGITS = 5.01e-6  # half a unit of plink2's last digit


@pytest.fixture
def tables(reference, frame, tmp_path):
    """cohort -> its afreq, vmiss and hardy tables from the plain engine."""

    def run(name: str):
        paths = write_plain_qc(open_qc(reference(name).bfile), str(tmp_path / name))
        return {path.rsplit(".", 1)[1]: frame(path) for path in paths}

    return run


def test_frequency_and_missingness(any_cohort, tables, gold):
    ours = tables(any_cohort)
    reference = gold(any_cohort, "np_qc.tsv")
    assert list(ours["afreq"].index) == list(reference.index)
    called = ours["afreq"].OBS_CT > 0
    np.testing.assert_allclose(ours["afreq"].ALT_FREQS[called], reference.A1_FREQ[called], rtol=1e-14)
    assert ours["afreq"].ALT_FREQS[~called].isna().all()  # the reference has 0
    np.testing.assert_allclose(ours["vmiss"].F_MISS, reference.F_MISS, rtol=1e-14, atol=1e-15)
    for column, other in (("HOM_A1_CT", "N_HOM_A2"), ("HET_A1_CT", "N_HET"), ("TWO_AX_CT", "N_HOM_A1")):
        np.testing.assert_array_equal(ours["hardy"][column], reference[other])


def test_plink2(any_cohort, tables, gold):
    """Every column of plink2's three reports, to the digits it prints."""
    ours = tables(any_cohort)
    nobody = ours["afreq"].index[ours["afreq"].OBS_CT == 0]
    for kind, table in ours.items():
        reference = gold(any_cohort, f"qc.{kind}")
        if kind == "hardy":
            assert table.loc[nobody, "E(HET_A1)"].isna().all()  # plink2 has 0, beside an observed share of nan
            reference.loc[nobody, "E(HET_A1)"] = np.nan
        assert list(table.columns) == list(reference.columns) and list(table.index) == list(reference.index)
        for column in table.columns:
            if table[column].dtype.kind == "f":
                np.testing.assert_allclose(
                    table[column], reference[column], rtol=SIX_DIGITS, err_msg=f"{kind} {column}"
                )
            else:
                assert (table[column].astype(str) == reference[column].astype(str)).all(), f"{kind} {column}"
