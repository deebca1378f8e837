"""Values given from Python: what the command line refuses is refused here too, before a file is read."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from support import genotypes, write_plink, write_tsv

import securegen as sg
from securegen.engines.ckks.scores.promises import PrivacyRules
from securegen.errors import InputError, UsageError
from securegen.io.genotypes import FORMATS, LISTS, OPTIONS
from securegen.scores.study import ScoreInputs, match_scores
from securegen.study.inputs import Inputs

WRONG = {
    "missing": ["Complete", "none", "", None, True], "model": ["logit", "Linear", "", 1], "bits": [3, 13, 25, 16.0, "16", True],
    "from_bp": [-1, 1.5, "5"], "to_bp": [-1, "5"], "dosage_grid": [0, -1, "256"], "vcf_field": ["GP", ""],
    "force_01": [1, "yes", None], "apply_rint": ["no"], "qc": [0], "hwe_controls": [None], "ref_last": ["last"],
    "no_input_missing_phenotype": [1], "chr": [12, [1, 2], ["1", ""], [None]], "pheno_name": [3, [""], [None]],
    "covar_name": [1.5], "covar_categorical": [{"SITE"}], "pheno": [7, b"p"], "covar": [True], "keep": [["a"]],
    "bfile": [3, [], ["a", 3], b"p"], "vcf_list": [["a"]],
    "multiallelic": ["join", ""], "extract": ["a\0b"], "common_samples": ["yes", 2],
    "xchr_model": [3, "2", "X"], "split_par": ["hg19", 38], "sex_name": [1, "", ["SEX"]],
    "pred": [3, ["a"]], "statistic": ["saige", "", 1],
    "dominant": [1, "yes", None], "recessive": [0], "hetonly": ["no"],
    "purpose": [3, "", "health", "HMB "], "consent": [["a"], 3], "mondo": [["a"]],
    "generalise": [3, "AGE", ["AGE:0"], ("AGE:2", "AGE:3")],
    "policy": [3, ["a"]], "identity": [3, ["a"]], "visa": [3, [""]], "second_signature": [3, [""]],
    "dp_epsilon": [0, -1.0, float("nan"), float("inf"), "1", True, 1e6], "dp_delta": [1e-6], "dp_bounds": ["0,1", "a", (1,), 3],
    "interaction": [3, "", ["AGE"]], "condition": [3, [""]], "condition_list": [["a"]],
    "blocks": [3, "", "3", "0/2", "3/2", (1, 2)],
    "correction": ["SPA", "", None, 1], "p_thresh": [-0.1, 1.1, "0.05", float("nan"), True], "fast": [1, "yes"],
    "anno_file": [3, ["a"], "anno.txt"], "set_list": [3, "sets.txt"], "mask_def": [3, "masks.txt"], "aaf_file": [3, "f.txt"],
    "aaf_bins": [0, -0.1, 1.5, "rare", float("nan"), True, {0.1}, (0.1,)], "build_mask": ["mean", 3, "sum"],
    "vc_tests": ["SKAT", 3, [""], "skat"], "vc_max_aaf": [0, 2, "x", 0.5],
}  # fmt: skip


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_a_value_that_a_field_does_not_take_is_refused(name, value):
    with pytest.raises(UsageError, match=name):
        Inputs(**{name: value})


def test_every_field_is_checked():
    """A field that is added must be given a rule here."""
    alike = {*FORMATS, *LISTS, *(o.name for o in OPTIONS.values() if o.metavar), "remove", "exclude"}
    assert {f.name for f in dataclasses.fields(Inputs)} - set(WRONG) <= alike


def test_one_name_may_be_text_and_a_path_an_object():
    inputs = Inputs(Path("c"), pheno=Path("p"), pheno_name="QT", chr="12", covar_name=["AGE", "SEX", "AGE"])
    assert (inputs.bfile, inputs.pheno, inputs.pheno_name, inputs.chr) == ("c", "p", ("QT",), ("12",))
    assert inputs.covar_name == ("AGE", "SEX") and Inputs(chr=()).chr is None
    with pytest.raises(UsageError, match="`from_bp` 9 lies behind `to_bp` 3"):
        Inputs(chr="1", from_bp=9, to_bp=3)


WRONG_SCORES = {
    "weight_bits": [3, 41, "20", 20.5], "match_by": ["name", None], "imputation": ["mean"],
    "min_overlap": [-0.1, 1.1, float("nan")],
    "digits": [0, 18], "min_variants": [0], "keep_ambiguous": [1], "strand_flips": ["no"],
    "score_col_nums": [(0, 1, 2), ("a", 1, 2), (1, 2)],
    "risk_slope": [float("nan")], "risk_intercept": ["x"], "reference": [3], "allow_small_score": [[3]], "score": [[3], [""]],
    "genome_build": ["b39", 38], "gzip": [1],
}  # fmt: skip


@pytest.mark.parametrize(("name", "value"), [(n, value) for n, values in WRONG_SCORES.items() for value in values])
def test_a_value_that_a_field_of_scores_does_not_take_is_refused(name, value):
    with pytest.raises(UsageError, match=name):
        ScoreInputs(**{"score": ("s",), name: value})


def test_every_field_of_scores_is_checked():
    """A field that is added must be given a rule here."""
    assert {f.name for f in dataclasses.fields(ScoreInputs)} == set(WRONG_SCORES)


def test_a_slope_of_risks_needs_its_intercept_and_scores_a_file():
    with pytest.raises(UsageError, match="`risk_slope` is given without `risk_intercept`"):
        ScoreInputs("s", risk_slope=0.5)
    with pytest.raises(UsageError, match="`score` names no scoring file"):
        match_scores(ScoreInputs(()), None)


@pytest.mark.parametrize(
    "wrong",
    [
        {"ledger": ""},
        {"ledger": None},
        {"client": ""},
        {"client": 3},
        {"allow_small_model": [3]},
        {"reply_cap": 0},
        {"reply_cap": 2.5},
    ],
)
def test_a_rule_of_privacy_that_means_nothing_is_refused(wrong):
    with pytest.raises(UsageError, match=next(iter(wrong))):
        PrivacyRules(**({"ledger": Path("l"), "client": "c"} | wrong))


def test_one_scoring_file_may_be_text_or_a_path():
    assert ScoreInputs("s.txt").score == ("s.txt",) and ScoreInputs([Path("a"), "b"]).score == ("a", "b")
    assert ScoreInputs("s", allow_small_score="PGS1").allow_small_score == ("PGS1",)


def test_ids_and_alleles_of_a_frame_are_text(tmp_path):
    """null, nan, NA and 007 are ids, T and NA alleles, 01 a chromosome."""
    write_plink(tmp_path / "c", genotypes(np.random.default_rng(1), 6, 40, missing=0))
    names = ["null", "nan", "NA", "007", "1e5", "None"]
    rows = [f"01 {name} 0 {i + 1} {'NA' if i == 2 else 'T'} G\n" for i, name in enumerate(names)]
    (tmp_path / "c.bim").write_text("".join(rows))
    pheno = write_tsv(tmp_path / "p", ("#FID", "IID", "QT"), [(f"F{i}", f"I{i}", i * i % 17) for i in range(40)])
    frame = sg.run(sg.open_study(tmp_path / "c", pheno=pheno)).frame
    assert frame["ID"].tolist() == names and set(frame["#CHROM"]) == {"01"}
    assert frame["A1"].tolist() == ["T", "T", "NA", "T", "T", "T"] and frame["ERRCODE"].tolist() == ["."] * 6
    assert [str(frame[n].dtype) for n in ("POS", "OBS_CT", "BETA", "P")] == ["int64", "int64", "float64", "float64"]


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("position", [1.0, np.nan], "variant b: position nan is not a whole number"),  # a column of pandas with a gap
        ("position", [10.5, 2], "variant a: position 10.5 is not a whole number"),
        ("position", ["1", "2e3"], "positions are whole numbers, not"),
        ("id", ["a", "b\tc"], "genotypes in memory: the variant id .* holds a tab, a line's end or a NUL"),
    ],
)
def test_a_variant_table_in_memory(tmp_path, field, value, message):
    table = {
        "chromosome": ["1", "1"],
        "position": [1, 2],
        "id": ["a", "b"],
        "effect_allele": ["A", "A"],
        "other_allele": ["G", "G"],
    }
    (tmp_path / "p").write_text("#IID\tQT\nx\t1\ny\t2.5\nz\t3\n")
    with pytest.raises(InputError, match=message):
        sg.open_study(
            sg.from_arrays(np.array([[0, 1, 2], [1, 1, 0]]), ["x", "y", "z"], variants=table | {field: value}),
            pheno=tmp_path / "p",
        )
