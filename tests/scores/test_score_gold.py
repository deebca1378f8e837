"""Every cohort with a score and every scoring file of the reference data, against plink2, float64 and exact numbers."""

from __future__ import annotations

import gzip
import math
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest

from securegen.scores.files import read_scoring
from securegen.scores.match import match_variants
from securegen.scores.plan import plan_scores, used_variants
from securegen.scores.release import release
from securegen.scores.sums import count_alleles, plain_scores

GOLD = [
    ("cineca", "cineca.prs.tsv", "prs", "np_prs_prs"),
    ("cineca", "cineca.PGS001229_chr22.tsv", "PGS001229_chr22", "np_prs_PGS001229_chr22"),
    ("edge", "edge.prs.tsv", "prs", "np_prs_prs"),
    ("sim_500x5k", "sim_500x5k.prs.tsv", "prs", "np_prs_prs"),
]
SCORED_ON_CINECA = {
    "scorefile.txt": 829,
    "multiscore.txt": 829,
    "PGS001229_22.txt": 829,
    "scorefile_dominant_and_recessive.txt": 829,
}
WHOLE = [
    "PGS000001_hmPOS_GRCh37.txt", "PGS000001.txt.gz", "PGS000002_hmPOS_GRCh38.txt.gz", "PGS000802_hmPOS_GRCh37.txt",
    "PGS004255_hmPOS_GRCh38.txt.gz", "complex_variants_PGS000021.txt", "complex_variants_PGS004239.txt",
    "PGS001229_22_duplicate.txt", "customgrch38.txt", "multiscore.txt",
]  # fmt: skip


def read_gold(path) -> dict[str, list[str]]:
    text = gzip.decompress(path.read_bytes()).decode() if path.suffix == ".gz" else path.read_text()
    header, *rows = [line.split("\t") for line in text.splitlines()]
    return {name: [row[i] for row in rows] for i, name in enumerate(header)}


def half_unit(text: str) -> float:
    """Half a unit of the sixth significant digit of a printed number, and float64 noise."""
    value = abs(float(text))
    return 0.5 * 10.0 ** (math.floor(math.log10(value)) - 5) * (1 + 1e-9) if value else 1e-12


@pytest.fixture
def scored(cohort, reference):
    def run(name: str, file: str, imputation: str, columns=None):
        reader = cohort(name)
        match = match_variants(read_scoring(reference.source(name) / file, columns), reader.variants)
        counts = count_alleles(reader, used_variants([match]))
        plan = plan_scores([match], imputation=imputation, counts=counts)
        return plan, plain_scores(reader, plan)

    return run


@pytest.mark.parametrize(("name", "file", "sscore", "float64"), GOLD)
@pytest.mark.parametrize("imputation", ["cohort", "none"])
def test_gold(scored, reference, name, file, sscore, float64, imputation):
    plan, sums = scored(name, file, imputation)
    table = release(sums, digits=17)
    gold = read_gold(reference(name).gold / f"{float64}.tsv")
    want = np.array(gold["SCORE_SUM_MEANIMP" if imputation == "cohort" else "SCORE_SUM_NOIMP"], float)
    assert np.abs(table.total[:, 0] - want).max() <= plan.error[0] + 1e-12 * len(plan.variant)
    assert np.array_equal(sums.allele_count, 2 * np.array(gold["NONMISS"], int))
    suffix = "" if imputation == "cohort" else "_noimp"
    path = reference(name).gold / f"{sscore}{suffix}.sscore.gz"
    if not path.exists():
        assert (name, sscore, imputation) == ("cineca", "PGS001229_chr22", "none")
        return
    plink = read_gold(path)
    assert np.array_equal(table.allele_count, np.array(plink["ALLELE_CT"], int))
    assert np.array_equal(sums.denominator(0), np.array(plink["DENOM"], int))
    assert np.array_equal(table.named_dosage, np.array(plink["NAMED_ALLELE_DOSAGE_SUM"], float))
    for i, text in enumerate(plink["SCORE1_SUM"]):
        assert abs(table.total[i, 0] - float(text)) <= plan.error[0] + half_unit(text)
    for i, text in enumerate(plink["SCORE1_AVG"]):
        allowed = plan.error[0] / sums.denominator(0)[i] + half_unit(text)
        assert abs(table.average[i, 0] - float(text)) <= allowed


@pytest.mark.parametrize(("name", "file", "sscore", "float64"), GOLD)
def test_column_numbers_give_the_same_integers(scored, name, file, sscore, float64):
    _, by_name = scored(name, file, "cohort")
    _, by_number = scored(name, file, "cohort", (1, 2, 4))
    assert np.array_equal(by_name.values, by_number.values)


@pytest.mark.parametrize("file", SCORED_ON_CINECA)
def test_catalog_files_on_cineca(cohort, reference, oracle, file):
    reader = cohort("cineca")
    match = match_variants(read_scoring(reference.source("scores") / file), reader.variants, keep_ambiguous=True)
    assert len(match) == SCORED_ON_CINECA[file]
    few = type(reader)(reader.variants, reader.samples.take(slice(0, 60)), reader.dosage[:, :60])
    plan = plan_scores([match], counts=count_alleles(few, used_variants([match])))
    sums = plain_scores(few, plan)
    for s in range(len(plan.names)):
        unit = Fraction(2) ** -plan.exponent[s]
        worst = max(abs(int(v) * unit - want) for v, want in zip(sums.score[:, s], oracle(match, few, s), strict=True))
        assert worst <= Fraction(plan.error[s])


@pytest.mark.parametrize("file", WHOLE)
@pytest.mark.parametrize("grid", [1, 256])
def test_whole_scoring_file_on_a_cohort_made_for_it(reference, array_reader, oracle, file, grid):
    """Each variant of the file, its alleles as labelled, swapped or on the other strand; a tenth of calls missing."""
    scoring = read_scoring(reference.source("scores") / file)
    rng = np.random.default_rng(len(scoring))
    complement = {"A": "T", "C": "G", "G": "C", "T": "A"}
    rows = []
    for r in range(len(scoring)):
        effect = scoring.effect_allele[r]
        other = scoring.other_allele[r] or next(b for b in "ACGT" if b not in (effect, complement.get(effect)))
        pair = [effect, other] if rng.random() < 0.5 else [other, effect]
        if rng.random() < 0.3 and set(pair) <= set("ACGT") and complement[pair[0]] != pair[1]:
            pair = [complement[a] for a in pair]
        rows.append((scoring.chromosome[r] or "1", max(int(scoring.position[r]), r), scoring.id[r] or ".", *pair))
    dosage = rng.integers(0, 2 * grid + 1, (len(rows), 12)).astype(np.int16)
    dosage[rng.random(dosage.shape) < 0.1] = -1
    reader = array_reader(rows, dosage, grid)
    overlap = len(scoring) / scoring.rows
    match = match_variants(scoring, reader.variants, keep_ambiguous=True, min_overlap=overlap)
    assert len(match) == len(scoring)
    plan = plan_scores([match], dosage_grid=grid, counts=count_alleles(reader, used_variants([match])))
    sums = plain_scores(reader, plan)
    for s in range(len(plan.names)):
        unit = Fraction(2) ** -plan.exponent[s] / grid
        for value, want in zip(sums.score[:, s], oracle(match, reader, s), strict=True):
            assert abs(int(value) * unit - want) <= Fraction(plan.error[s])


@pytest.mark.parametrize("bits", [16, 20, 30])
def test_largest_weight_has_the_bits_asked_for(cohort, reference, bits):
    reader = cohort("sim_500x5k")
    match = match_variants(read_scoring(reference.source("sim_500x5k") / "sim_500x5k.prs.tsv"), reader.variants)
    plan = plan_scores([match], imputation="none", bits=bits)
    assert int(np.abs(plan.dosage_weight[:, 0]).max()).bit_length() == bits


def test_complex_rows_are_refused_by_name_and_counted(reference):
    file = read_scoring(reference.source("scores") / "complex_variants_PGS000021.txt")
    assert Counter(word for _, _, word in file.refused) == {"HLA": 8}
    assert file.refused[5][1] == "HLA-A*24"
    assert file.rows == 33 == len(file) + 8
