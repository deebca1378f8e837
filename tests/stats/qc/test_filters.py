"""Filters leave out the variants that plink2's reports say they should, and say who learns what."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import chi2

import securegen as sg
from securegen.engines.plain.engine import write_plain, write_plain_qc
from securegen.errors import DesignError, UsageError
from securegen.stats.qc import Filters, lambda_gc
from securegen.study.opening import open_study
from securegen.study.opening_qc import open_qc


@pytest.fixture
def kept(reference, frame, tmp_path):
    """(cohort, filters, options) -> ids of the rows of its table, and how many rows the summary says are left out."""

    def run(name: str, filters: Filters, **options):
        base = reference(name).bfile
        study = open_study(base, pheno=f"{base}.pheno.tsv", pheno_name=("QT",), qc=True, **options)
        (summary,) = write_plain(study, str(tmp_path / "t"), filters=filters)
        return list(frame(summary.path).index), summary.dropped

    return run


@pytest.mark.parametrize(
    "filters",
    [
        Filters(maf=0.05), Filters(maf=0.3), Filters(mac=20), Filters(mac=1), Filters(geno=0.0), Filters(geno=0.02),
        Filters(hwe=1e-3), Filters(hwe=0.5), Filters(maf=0.01, mac=10, geno=0.02, hwe=1e-6),
    ],
)  # fmt: skip
def test_as_the_reports_of_plink2(filters, any_cohort, kept, gold):
    afreq, vmiss, hardy = (gold(any_cohort, f"qc.{kind}") for kind in ("afreq", "vmiss", "hardy"))
    counts = (afreq.ALT_FREQS * afreq.OBS_CT).round()  # six printed digits give the count back
    minor = np.minimum(counts, afreq.OBS_CT - counts)
    expected = np.ones(len(afreq), bool)
    if filters.maf is not None:
        expected &= minor >= filters.maf * afreq.OBS_CT - 1e-9
        expected &= afreq.OBS_CT > 0  # nobody called: no frequency
    if filters.mac is not None:
        expected &= minor >= filters.mac
    if filters.geno is not None:
        expected &= vmiss.MISSING_CT.le(filters.geno * vmiss.OBS_CT + 1e-9)
    if filters.hwe is not None:
        expected &= hardy.P.ge(filters.hwe)
    ids, dropped = kept(any_cohort, filters)
    assert ids == list(afreq.index[expected])
    assert dropped == int((~expected).sum())


def test_frequencies_of_filters_are_over_founders(tmp_path, frame):
    """An allele that only a child carries is filtered as absent, as in plink2; missing calls count in everybody."""
    n = 30
    samples = sg.model.Samples(
        np.full(n, "0", object), np.array([f"P{i}" for i in range(n)], object), np.arange(n) < 20
    )
    dosage = np.zeros((2, n))
    dosage[0, 20:] = 1  # children only
    dosage[0, 25] = np.nan
    dosage[1, 5:25] = 1
    variants = {"chromosome": ["1"] * 2, "position": [1, 2], "id": ["children", "both"], "effect_allele": ["A"] * 2,
                "other_allele": ["C"] * 2}  # fmt: skip
    values = np.round(np.random.default_rng(1).normal(size=n), 3)
    (tmp_path / "p.tsv").write_text("#IID Y\n" + "\n".join(f"P{i} {y}" for i, y in enumerate(values)) + "\n")
    study = open_study(sg.from_arrays(dosage, samples, variants=variants), pheno=str(tmp_path / "p.tsv"), qc=True)
    (summary,) = write_plain(study, str(tmp_path / "t"), filters=Filters(mac=1))
    assert list(frame(summary.path).index) == ["both"]
    paths = write_plain_qc(study, str(tmp_path / "t"))
    assert list(frame(paths[0]).ALT_FREQS) == [0.0, 15 / 40] and list(frame(paths[0]).OBS_CT) == [40, 40]
    assert list(frame(paths[1]).MISSING_CT) == [1, 0] and list(frame(paths[1]).F_MISS) == [1 / 30, 0.0]


def test_hardy_weinberg_over_controls(reference, frame, gold, tmp_path):
    """--hwe-controls tests controls only; otherwise the trait has no part in it."""
    base = reference("edge").bfile
    options = {"pheno": f"{base}.pheno.tsv"}
    everybody = frame(write_plain_qc(open_qc(base, **options), str(tmp_path / "a"))[2])
    controls = frame(write_plain_qc(open_qc(base, hwe_controls=True, **options), str(tmp_path / "c"))[2])
    allelic = gold("edge", "np_cc_allelic.tsv")
    np.testing.assert_array_equal(everybody.HET_A1_CT, gold("edge", "qc.hardy").HET_A1_CT)
    alleles = 2 * controls.TWO_AX_CT + controls.HET_A1_CT
    np.testing.assert_array_equal(alleles, allelic.A_CTRL)
    assert controls.P["separating"] == 1 and everybody.P["separating"] < 1e-4


def test_controls_need_a_binary_trait(reference):
    base = reference("edge").bfile
    with pytest.raises(UsageError, match="`hwe_controls` needs a binary phenotype"):
        open_qc(base, hwe_controls=True)
    with pytest.raises(UsageError, match="`hwe_controls` needs a binary phenotype"):
        open_study(base, pheno=f"{base}.pheno.tsv", pheno_name=("QT",), qc=True, hwe_controls=True)


def test_filters_need_their_sums(reference, tmp_path):
    base = reference("edge").bfile
    study = open_study(base, pheno=f"{base}.pheno.tsv", pheno_name=("QT",))
    with pytest.raises(UsageError, match="need the sums of quality control: encrypt with `qc`"):
        write_plain(study, str(tmp_path / "t"), filters=Filters(maf=0.1))
    assert not list(tmp_path.iterdir())
    assert write_plain(study, str(tmp_path / "t"), filters=Filters())[0].dropped == 0


def test_filters_and_complete_cases(reference, tmp_path):
    base = reference("edge").bfile
    study = open_study(base, pheno=f"{base}.pheno.tsv", pheno_name=("QT",), qc=True, missing="complete")
    with pytest.raises(UsageError, match="`missing` mean"):
        write_plain(study, str(tmp_path / "t"), filters=Filters(maf=0.1))


def test_nobody_left_is_an_error():
    from securegen.design.qc import qc_design

    with pytest.raises(DesignError, match="no sample is left for founders"):
        qc_design(np.zeros(5, bool), np.ones(5, bool))


def test_inflation_is_the_median_over_that_of_chi_square():
    rng = np.random.default_rng(3)
    chisq = rng.chisquare(1, 2001) * 1.3
    log10p = -np.log10(chi2.sf(chisq, 1))
    assert lambda_gc(log10p) == pytest.approx(np.median(chisq) / chi2.median(1), rel=1e-12)
    assert lambda_gc(np.r_[log10p, np.nan, np.nan]) == pytest.approx(lambda_gc(log10p), rel=1e-12)
    assert np.isnan(lambda_gc(np.array([np.nan])))


def test_inflation_in_the_summary(reference, frame, gold, tmp_path):
    base = reference("sim_500x5k").bfile
    study = open_study(base, pheno=f"{base}.pheno.tsv", pheno_name=("CC",), covar=f"{base}.covar.tsv")
    (summary,) = write_plain(study, str(tmp_path / "t"))
    expected = gold("sim_500x5k", "np_cc_score_cov_meanimp.tsv").CHISQ
    # χ² within 1e-3, so is their median; log10 p is kept with 24 bits
    assert summary.lambda_gc == pytest.approx(expected.median() / chi2.median(1), abs=1e-3 / chi2.median(1))
