"""Masks of sets of variants: regenie's rows to its digits, an oracle in plain Python, engines alike, and what is refused."""

from __future__ import annotations

import itertools
import shutil
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from set_files import REGENIE, flags, opened
from support import securegen

import securegen as sg
from securegen.errors import InputError, UsageError
from securegen.study.mask_rows import with_masks
from securegen.study.masks import combined


@pytest.mark.parametrize("rule", ["max", "sum", "comphet"])
def test_rows_are_regenies(whole, rule):
    """Names, places, order and numbers; 24 bits of a column leave less than regenie prints."""
    study = opened(whole, build_mask=rule, statistic="regenie", bits=24)
    ours = sg.run(study, format="regenie")["QT"]
    theirs = pd.read_csv(REGENIE / f"qt_mask_{rule}_QT.regenie.gz", sep=" ", comment="#")
    for mine, name in {"ID": "ID", "#CHROM": "CHROM", "POS": "GENPOS", "REF": "ALLELE0", "A1": "ALLELE1"}.items():
        assert ours[mine].astype(str).tolist() == theirs[name].astype(str).tolist()
    assert len(ours) == 347 and study.reader.dosage_max == (36 if rule == "sum" else 2)
    for mine, name in {"SE": "SE", "CHISQ": "CHISQ", "LOG10_P": "LOG10P", "BETA": "BETA"}.items():
        off = (ours[mine] - theirs[name]).abs() / np.maximum(1, theirs[name].abs())
        assert off.max() < (
            4e-5 if mine == "BETA" else 5e-6
        )  # BETA of two digits before the point, of which rounding is 1/√N
    ratio = ours["A1_FREQ"] / theirs["A1FREQ"]  # of a sum, regenie prints the mean frequency of its variants
    assert np.allclose(ratio, ratio.round(), rtol=1e-5) and ((ratio.round() == 1).all() == (rule != "sum"))


def by_hand(dosage, missing, members, rule, two):
    """One mask in plain Python, in units of which `two` are two copies; None where nobody is called."""
    out = []
    for person in range(len(dosage[0])):
        calls = [dosage[v][person] for v in members if not missing[v][person]]
        value = None
        if calls:
            value = max(calls) if rule == "max" else sum(calls) if rule == "sum" else min(sum(calls), two)
        out.append(value)
    return out


@pytest.mark.parametrize(("rule", "grid"), [(r, g) for r in ("max", "sum", "comphet") for g in (1, 256)])
def test_a_mask_is_what_it_says(tmp_path, rule, grid):
    """Members by the frequency among the analysed people, singletons, and what a missing call counts; in two formats."""
    rng = np.random.default_rng(5)
    people, variants = 40, 24
    dosage = np.minimum(rng.binomial(2, rng.uniform(0, 0.2, (variants, 1)), (variants, people)), 2) * grid
    if grid > 1:
        dosage = np.where(dosage > 0, dosage - rng.integers(0, 200, dosage.shape), 0)
    dosage[3], dosage[3, 7], dosage[4] = 0, grid, 2 * grid
    missing = rng.random(dosage.shape) < 0.1
    missing[:, 5] = True  # a person without any call
    ids = [f"v{j}" for j in range(variants)]
    values = np.where(missing, np.nan, dosage / grid)
    table = {"chromosome": ["2"] * 12 + ["chr1"] * 12, "position": list(range(1, variants + 1)), "id": ids}
    reader = sg.from_arrays(
        values, [f"P{i}" for i in range(people)],
        variants=table | {"effect_allele": ["A"] * variants, "other_allele": ["G"] * variants},
    )  # fmt: skip
    analysed = [i for i in range(people) if i % 7]
    (tmp_path / "pheno").write_text(
        "#IID\tY\n" + "".join(f"P{i}\t{rng.normal():.4f}\n" if i in analysed else f"P{i}\tNA\n" for i in range(people))
    )
    anno = {
        (v, s): c for s, of in (("one", range(12, 24)), ("two", range(12))) for v, c in zip(of, itertools.cycle("abc"))
    }
    (tmp_path / "anno").write_text("".join(f"v{v} {s}\t{c}\n" for (v, s), c in anno.items()) + "\nelsewhere one a\n")
    (tmp_path / "sets").write_text(
        "one 1 5 " + ",".join(ids[12:]) + ",gone\ntwo 2 9 " + ",".join(ids[:12][::-1]) + "\n"
    )
    (tmp_path / "masks").write_text("A a\nAB a,b\nD d\n")
    inputs = sg.Inputs(
        pheno=str(tmp_path / "pheno"), anno_file=str(tmp_path / "anno"), set_list=str(tmp_path / "sets"),
        mask_def=str(tmp_path / "masks"), aaf_bins=(0.05, 0.1, "all"), build_mask=rule,
    )  # fmt: skip
    said: list[str] = []
    made = with_masks(inputs, reader.on_grid(grid), said.append)
    assert any("mask D: no variant has category d" in line for line in said)

    expected = []
    for name, place, of in (("two", "2", range(12)), ("one", "chr1", range(12, 24))):  # by the cohort's chromosomes
        for mask, categories in (("A", "a"), ("AB", "ab")):
            here = [v for v in of if anno[v, name] in categories]
            sums = {v: sum(int(dosage[v, i]) for i in analysed if not missing[v, i]) for v in here}
            called = {v: sum(not missing[v, i] for i in analysed) for v in here}
            varies = [v for v in here if 2 * min(sums[v], 2 * grid * called[v] - sums[v]) >= grid]
            alone = [v for v in varies if (2 * sums[v] + grid) // (2 * grid) == 1]
            for word, top in (
                ("singleton", Fraction(0)),
                ("0.05", Fraction(1, 20)),
                ("0.1", Fraction(1, 10)),
                ("all", 1),
            ):
                rare = [v for v in varies if v in alone or Fraction(sums[v], 2 * grid * called[v]) <= top]
                members = alone if word == "singleton" else rare
                if members:
                    expected.append(
                        (f"{name}.{mask}.{word}", place, by_hand(dosage.tolist(), missing, members, rule, 2 * grid))
                    )
    block = made.read(0, len(expected))
    assert made.variants.id.tolist() == [name for name, _, _ in expected]
    assert made.variants.chromosome.tolist() == [place for _, place, _ in expected]
    for row, (_, _, values) in enumerate(expected):
        found = [None if block.missing[row, i] else int(block.dosage[row, i]) for i in range(people)]
        assert found == values
    assert block.dosage.max() <= made.dosage_max
    few = made.select(np.arange(3, 20), np.array([1, 0]))
    np.testing.assert_array_equal(few.read(0, 2).dosage, block.dosage[[1, 0], 3:20])


def test_a_wider_bin_goes_on_from_the_narrower():
    dosage = np.array([[1, 0, 2], [1, 2, 0], [0, 0, 1]], np.int8)
    members = np.array([[1, 0, 0], [1, 1, 0], [0, 1, 1]], bool)
    found, lacking = combined(dosage, None, members, "sum", 2)
    assert found.tolist() == [[1, 0, 2], [2, 2, 2], [1, 2, 1]] and lacking is None


def test_encrypted_masks_give_the_same_table(small, sets, tmp_path):
    """They are made where genotypes are in the clear, before they are encrypted; by command and from Python alike."""
    chosen = {**sets, "aaf_bins": "0.2,0.45,all", "build_mask": "sum"}
    done = securegen("gwas", *small.options("CC"), *flags(chosen), "--quiet", "--out", tmp_path / "plain")
    assert done.code == 0, done.err
    chosen["aaf_bins"] = (0.2, "0.45", 1.0)
    study = sg.open_study(small.bfile, pheno=small.pheno, pheno_name="CC", covar=small.covar, **chosen)
    key = sg.ckks.generate_key(sg.ckks.plan(study))
    made = sg.ckks.encrypt(study, key, tmp_path / "study")
    results = sg.ckks.associate(made.cohort, made.design, tmp_path / "results")
    table = sg.ckks.decrypt(results, key, made.owner)
    by_command = pd.read_csv(tmp_path / "plain.CC.glm.logistic.score", sep="\t", dtype={"#CHROM": str})
    pd.testing.assert_frame_equal(table, by_command, check_dtype=False, check_exact=True)
    assert table["A1_FREQ"].max() > 1 and table["ID"].str.startswith("S2.M2.").sum() >= 2


def test_the_printed_bound_of_chi_squared_holds_for_sums(small, sets):
    """A bound that takes a dosage for at most 2 would be too small: here people count up to 24."""
    options = {"pheno": small.pheno, "pheno_name": "CC", "covar": small.covar, "build_mask": "sum", "aaf_bins": "all"}
    coarse, fine = (sg.open_study(small.bfile, **options, **sets, bits=bits) for bits in (14, 24))
    (analysis,) = coarse.analyses
    assert analysis.model.most == coarse.reader.dosage_max > 8
    loose, tight = sg.run(coarse), sg.run(fine)
    error = (loose.frame["CHISQ"] - tight.frame["CHISQ"]).abs() / np.maximum(1, tight.frame["CHISQ"])
    assert 0 < error.max() < loose.promise["dchisq_certain"]


def test_public_frequencies_decide_in_place_of_these_people(small, sets, tmp_path):
    """Also of a variant that does not vary here; one without a frequency is in no mask; and a third column says singletons."""
    names = [f"rs{j}" for j in range(30)]
    (tmp_path / "f").write_text(
        "".join(f"{v} {0.001 * (j + 1):g} {int(j == 3)}\n" for j, v in enumerate(names) if j != 5)
    )
    options = {
        "pheno": small.pheno,
        "pheno_name": "QT",
        **sets,
        "aaf_file": f"{tmp_path}/f",
        "aaf_bins": (0.004, 0.011),
    }
    reader = sg.open_study(small.bfile, **options).reader
    in_first = dict(zip(reader.variants.id, _members(reader), strict=True))
    assert in_first["S0.M2.singleton"] == ["rs3"] and in_first["S0.M2.0.004"] == ["rs0", "rs1", "rs2", "rs3"]
    assert in_first["S0.M1.0.011"] == ["rs0", "rs2", "rs4", "rs6", "rs8", "rs10"]
    assert in_first["S0.M2.0.011"] == [f"rs{j}" for j in range(11) if j != 5]
    (tmp_path / "keep").write_text("".join(f"F{i} I{i}\n" for i in range(45)))
    assert _members(sg.open_study(small.bfile, **options, keep=tmp_path / "keep").reader) == _members(reader)


def _members(reader) -> list[list[str]]:
    """The variants of each mask."""
    return [
        list(reader.source.variants.id[first + np.flatnonzero(row)])
        for first, masks in zip(reader.firsts, reader.members, strict=False) for row in masks
    ]  # fmt: skip


def test_a_male_with_a_variant_of_x_is_a_singleton(tmp_path):
    """He has it once and is stored as 2; and the mask is on X, where sex is a covariate."""
    dosage = np.zeros((2, 60))
    dosage[0, 4], dosage[1, 5], dosage[1, 9] = 2, 1, 1
    people = [f"P{i}" for i in range(60)]
    variants = {
        "chromosome": ["X", "X"],
        "position": [1, 2],
        "id": ["a", "b"],
        "effect_allele": ["A"] * 2,
        "other_allele": ["G"] * 2,
    }
    reader = sg.from_arrays(dosage, people, variants=variants)
    rng = np.random.default_rng(3)
    rows = "".join(f"{p}\t{rng.normal():.3f}\t{1 + i % 2}\n" for i, p in enumerate(people))
    (tmp_path / "pheno").write_text(f"#IID\tY\tSEX\n{rows}")
    for name, text in {"anno": "a G x\nb G x\n", "sets": "G 23 7 a b\n", "masks": "M x\n"}.items():
        (tmp_path / name).write_text(text)
    study = sg.open_study(
        reader, pheno=tmp_path / "pheno", pheno_name="Y", sex_name="SEX", anno_file=tmp_path / "anno",
        set_list=tmp_path / "sets", mask_def=tmp_path / "masks", aaf_bins=0.03,
    )  # fmt: skip
    assert [s.name for s in study.strata] == ["X"]
    assert study.reader.variants.id.tolist() == (
        ["G.M.0.03"] if (people.index("P4") % 2) else ["G.M.singleton", "G.M.0.03"]
    )
    assert (sg.run(study).frame["ERRCODE"] == ".").all()


@pytest.mark.parametrize(("file", "text", "match"), [
    ("anno", "rs0 S0\n", "line 1: a variant, a set and a category"),
    ("anno", "rs0 S0 dom a\n", "regions of a set"),
    ("anno", "rs0 S0 a\nrs0 S0 b\n", "line 2: 'rs0' of set 'S0' is annotated twice"),
    ("anno", "rs0 T a\n", "annotates no variant of any set"),
    ("anno", "", "annotates no variant"),
    ("sets", "S0 1 x rs0\n", "line 1: a set's name"), ("sets", "S0 1 5\n", "line 1"), ("sets", "S0 1 -5 rs0\n", "line 1"),
    ("sets", "S0 1 5 rs0\nS0 1 5 rs1\n", "set 'S0' stands in line 1"), ("sets", "", "names no set"),
    ("sets", "S0 3 5 rs0\n", "set S0 is on chromosome 3, its variant rs0 on 1"),
    ("masks", "M1\n", "line 1: the name of a mask"), ("masks", "M1 a\nM1 b\n", "mask 'M1' is defined twice"),
    ("masks", "", "defines no mask"),
    ("freq", "rs0 1.5\n", "line 1"), ("freq", "rs0 nan\n", "line 1"), ("freq", "rs0 0.1 2\n", "line 1"),
    ("freq", "rs0 0.1\nrs1 0.1 1\n", "line 2"), ("freq", "rs0 0.1\nrs0 0.2\n", "'rs0' has a frequency already"),
    ("freq", "#CHROM SNP\nrs0 0.1\n", "names no ID and ALT_FREQS"), ("freq", "other 0.1\n", "no frequency of any"),
])  # fmt: skip
def test_files_are_refused_by_line(small, sets, tmp_path, file, text, match):
    (tmp_path / file).write_text(text)
    more = {"aaf_file": f"{tmp_path}/freq"} if file == "freq" else {}
    with pytest.raises(InputError, match=match):
        sg.open_study(small.bfile, pheno=small.pheno, pheno_name="QT", **sets, **more)


def test_an_id_of_two_variants_is_refused_where_a_set_has_it(small, sets, tmp_path):
    """Which of the two a set has, nothing says; of an id that no set has nothing is asked."""
    for end in ("bed", "fam"):
        shutil.copy(f"{small.bfile}.{end}", tmp_path / f"twice.{end}")
    rows = [line.split("\t") for line in Path(f"{small.bfile}.bim").read_text().splitlines()]
    for first, second in ((1298, 1299), (0, 1)):
        renamed = [[*r[:1], rows[first][1] if j == second else r[1], *r[2:]] for j, r in enumerate(rows)]
        (tmp_path / "twice.bim").write_text("".join("\t".join(r) + "\n" for r in renamed))
        options = {"pheno": small.pheno, "pheno_name": "QT", "aaf_bins": "all", **sets}
        if second == 1:
            with pytest.raises(InputError, match="rs0 is the id of several variants of the genotype files"):
                sg.open_study(tmp_path / "twice", **options)
        else:
            assert len(sg.open_study(tmp_path / "twice", **options).reader.variants)


def test_rows_of_one_name_are_refused(small, sets, tmp_path):
    """SET.MASK: a point in both names makes rows that cannot be told apart."""
    (tmp_path / "anno").write_text("rs0 A.b L\nrs1 A L\n")
    (tmp_path / "sets").write_text("A.b 1 5 rs0\nA 1 5 rs1\n")
    (tmp_path / "masks").write_text("c L\nb.c L\n")
    with pytest.raises(InputError, match="line 2: mask b.c of set A has the rows' name of mask c of set A.b"):
        sg.open_study(small.bfile, pheno=small.pheno, pheno_name="QT", aaf_bins="all", **sets)
    (tmp_path / "masks").write_text("c L\nd.c L\n")
    ids = sg.open_study(small.bfile, pheno=small.pheno, pheno_name="QT", aaf_bins="all", **sets).reader.variants.id
    assert len(set(ids)) == len(ids) > 1


@pytest.mark.parametrize(("options", "match"), [
    ({"mask_def": None}, "give `mask_def` too"),
    ({"anno_file": None, "set_list": None, "mask_def": None, "build_mask": "sum"}, "`anno_file`, `set_list`, `mask_def` too"),
    ({"dominant": True}, "masks count several"), ({"build_mask": "sum", "qc": True}, "`qc` and its filters"),
    ({"build_mask": "sum", "model": "trend"}, "`model` trend counts"), ({"aaf_bins": (0.0001,)}, "choose wider `aaf_bins`"),
    ({"aaf_bins": (0.12345671, 0.12345672)}, "both written 0.123457"),
    ({"chr": "2"}, "are the ids those"), ({"condition": "rs0"}, None),
])  # fmt: skip
def test_options_that_do_not_go_together(small, sets, options, match):
    given = {"pheno": small.pheno, "pheno_name": "QT", "aaf_bins": "all", **sets, **options}
    if match is None:  # a variant outside the masks is a covariate as ever
        assert "rs0" in sg.open_study(small.bfile, **given).analyses[0].model.covariates
        return
    with pytest.raises(UsageError, match=match):
        sg.open_study(small.bfile, **given)


def test_a_format_of_variants_takes_none(small, sets):
    study = sg.open_study(small.bfile, pheno=small.pheno, pheno_name="QT", aaf_bins="all", **sets)
    with pytest.raises(UsageError, match="`format` gwas-ssf takes variants, not masks"):
        sg.run(study, format="gwas-ssf", genome_build="GRCh38")
