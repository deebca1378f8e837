"""Allele matching: each word of the log, what is dropped, and what must not change a match."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from securegen.errors import InputError, UsageError
from securegen.model import Variants
from securegen.scores.files import read_scoring
from securegen.scores.match import compare_alleles, is_ambiguous, match_variants, reverse_complement
from securegen.scores.plan import plan_scores, used_variants
from securegen.scores.sscore import match_log_text
from securegen.scores.sums import count_alleles, plain_scores

COHORT = [
    ("1", 100, "rs1", "A", "G"),
    ("1", 200, "rs2", "A", "T"),
    ("2", 300, "rs3", "C", "T"),
    ("2", 300, "rs3b", "C", "G"),
    ("X", 400, "rs4", "AT", "A"),
    ("3", 500, "rs5", "C", "A"),
    ("3", 500, "rs6", "C", "A"),
]


@pytest.fixture
def variants(array_reader):
    return array_reader(COHORT, np.zeros((len(COHORT), 1), np.int8)).variants


@pytest.fixture
def match_rows(score_file, variants):
    """Match rows of (id, chromosome, position, effect allele, other allele) against COHORT."""

    def run(*rows, **options):
        head = "rsID\tchr_name\tchr_position\teffect_allele\tother_allele\teffect_weight\n"
        text = head + "".join("\t".join(map(str, row)) + "\t1\n" for row in rows)
        return match_variants(read_scoring(score_file(text)), variants, **{"min_overlap": 0} | options)

    return run


ANCHOR = ("rs5", "", "", "C", "A")  # so that something always matches


@pytest.mark.parametrize(
    ("row", "word", "by"),
    [
        (("rs1", "", "", "A", "G"), "matched", "id"),
        (("rs1", "", "", "G", "A"), "swapped", "id"),
        (("rs1", "", "", "T", "C"), "flipped", "id"),
        (("rs1", "", "", "C", "T"), "flipped_swapped", "id"),
        (("rs1", "", "", "G", ""), "swapped", "id"),
        (("rs1", "", "", "A", "T"), "allele_mismatch", "id"),
        (("other", "chr1", 100, "G", "A"), "swapped", "position"),
        (("rs2", "", "", "A", "T"), "matched", "id"),
        (("rs2", "", "", "T", "A"), "swapped", "id"),
        (("rs2", "", "", "T", ""), "swapped", "id"),
        (("rs2", "", "", "C", "G"), "allele_mismatch", "id"),
        (("", "1", 200, "A", "T"), "ambiguous", "position"),
        (("", "2", 300, "C", "T"), "multiallelic", "position"),
        (("", "2", 300, "T", "C"), "swapped", "position"),
        (("", "2", 300, "G", "A"), "multiallelic", "position"),
        (("", "2", 300, "A", "G"), "flipped_swapped", "position"),
        (("", "2", 300, "C", ""), "duplicate_variant", "position"),
        (("", "2", 300, "T", ""), "swapped", "position"),
        (("", "23", 400, "A", "AT"), "swapped", "position"),
        (("", "X", 400, "AT", "A"), "matched", "position"),
        (("", "3", 500, "C", "A"), "duplicate_variant", "position"),
        (("nobody", "", "", "C", "A"), "not_found", ""),
        (("", "9", 100, "C", "A"), "not_found", ""),
    ],
)
def test_words(match_rows, row, word, by):
    match = match_rows(ANCHOR, row)
    assert (match.word[1], match.by[1]) == (word, by)


def test_options(match_rows):
    palindrome, flip = ("", "1", 200, "T", "A"), ("rs1", "", "", "T", "C")
    assert match_rows(ANCHOR, palindrome, keep_ambiguous=True).word[1] == "swapped"
    assert match_rows(ANCHOR, flip, strand_flips=False).word[1] == "allele_mismatch"
    both = ("rs1", "2", 300, "T", "C")
    assert match_rows(ANCHOR, both).candidate[1] == 0
    assert match_rows(ANCHOR, both, by="id").candidate[1] == 0
    assert match_rows(both, by="position").candidate[0] == 2
    with pytest.raises(UsageError, match="no positions to match by"):
        match_rows(ANCHOR, by="position")


def test_an_id_whose_alleles_do_not_fit_is_tried_by_position(match_rows):
    match = match_rows(("rs1", "2", 300, "G", "C"), keep_ambiguous=True)
    assert (match.word[0], match.by[0], match.candidate[0]) == ("swapped", "position", 3)


def test_two_rows_on_one_variant_keep_the_first(match_rows):
    match = match_rows(("rs1", "", "", "A", "G"), ("rs1", "", "", "G", "A"))
    assert match.word.tolist() == ["matched", "duplicate_row"]
    assert match.row.tolist() == [0]


def test_two_cohort_variants_of_one_id(score_file, array_reader):
    twice = array_reader([("1", 1, "rs1", "A", "G"), ("1", 2, "rs1", "G", "A")], np.zeros((2, 1), np.int8)).variants
    scoring = read_scoring(score_file("ID\tA1\tA2\tWEIGHT\nrs1\tA\tG\t1\n"))
    assert match_variants(scoring, twice).variant.tolist() == [0], "only one of them has the alleles as labelled"
    same = Variants(twice.chromosome, twice.position, twice.id, twice.effect_allele[[0, 0]], twice.other_allele[[0, 0]])
    with pytest.raises(InputError, match="1 duplicate_variant"):
        match_variants(scoring, same)


TRIPLE = [("1", 9, "rs1", "G", "A"), ("1", 9, "rs1", "T", "A"), ("2", 5, "rs2", "C", "T")]


@pytest.mark.parametrize("protected", [True, False])
def test_the_reference_of_a_record_with_several_alt(score_file, array_reader, monkeypatch, protected):
    """REF A, ALT G and T: people A/G, A/T, G/T and A/A have 1, 1, 0 and 2 copies of A. 2 − G would say 1, 2, 1 and 2."""
    if not protected:
        monkeypatch.setattr(sys.modules[match_variants.__module__], "_one_of_several", lambda *_: False)
    reader = array_reader(TRIPLE, np.array([[1, 0, 1, 0], [0, 1, 1, 0], [0, 1, 2, 1]], np.int8))
    rows = "rs1\tA\tG\t1\nrs2\tC\tT\t0.5\n"
    scoring = read_scoring(score_file(f"ID\tA1\tA2\tWEIGHT\n{rows}"))
    match = match_variants(scoring, reader.variants, min_overlap=0)
    assert match.word.tolist() == ["multiallelic" if protected else "swapped", "matched"]
    plan = plan_scores([match], counts=count_alleles(reader, used_variants([match])))
    got = plain_scores(reader, plan).score[:, 0] / 2 ** plan.exponent[0]
    np.testing.assert_allclose(got, [0, 0.5, 1, 0.5] if protected else [1, 2.5, 2, 2.5])


@pytest.mark.parametrize(
    ("rows", "row", "word"),
    [
        (TRIPLE, ("rs1", "T", "A"), "matched"),  # an ALT has a row of its own
        (TRIPLE, ("rs1", "A", ""), "duplicate_variant"),
        (
            [("1", 9, "a", "A", "G"), ("1", 9, "b", "T", "A")],
            ("a", "A", "G"),
            "multiallelic",
        ),  # PLINK1 may turn a row round
        ([("1", 9, "a", "A", "AT"), ("1", 9, "b", "G", "A")], ("a", "A", "AT"), "matched"),  # a deletion beside a SNP
        ([("1", 9, "a", "A", "AT"), ("1", 9, "b", "ATT", "AT")], ("a", "AT", "A"), "multiallelic"),
        ([("0", 0, "a", "G", "A"), ("0", 0, "b", "T", "A")], ("a", "A", "G"), "swapped"),  # no place
        ([("1", 9, "a", "G", "A"), ("1", 9, "b", "G", "A")], ("a", "A", "G"), "swapped"),  # the same variant twice
    ],
)
def test_which_rows_of_a_place_are_one_record(score_file, array_reader, rows, row, word):
    anchor = ("3", 5, "rs9", "C", "T")
    cohort = array_reader([*rows, anchor], np.zeros((len(rows) + 1, 1), np.int8)).variants
    text = "".join("\t".join(r) + "\t1\n" for r in (row, ("rs9", "C", "T")))
    match = match_variants(read_scoring(score_file(f"ID\tA1\tA2\tWEIGHT\n{text}")), cohort, min_overlap=0)
    assert match.word.tolist() == [word, "matched"]


@pytest.mark.parametrize(("chromosome", "word"), [("24", "Y"), ("chrM", "MT")])
def test_rows_on_chromosomes_that_are_not_here_say_so(match_rows, chromosome, word):
    match = match_rows(("", chromosome, 4, "A", "G"), ("", "7", 4, "A", "G"), ANCHOR)
    here = match_rows(("", "chr23", 4, "A", "G"), ANCHOR)
    assert here.word.tolist() == ["not_found", "matched"], "the cohort has variants on X"
    assert match.word.tolist() == [f"refused:{word}", "not_found", "matched"]
    assert match.counts()[f"refused:{word}"] == 1


def test_overlap_is_refused_with_counts(match_rows):
    rows = [ANCHOR, ("rs1", "", "", "A", "G"), ("n1", "", "", "A", "G"), ("n2", "", "", "A", "G")]
    with pytest.raises(InputError, match=r"2 of 4 rows scored \(50.0%\): 2 matched, 2 not_found; at least 75%"):
        match_rows(*rows, min_overlap=0.75)
    assert len(match_rows(*rows, min_overlap=0.5)) == 2
    with pytest.raises(InputError, match="0 of 1 rows .* check that ids or the genome build agree"):
        match_rows(("nobody", "9", 9, "C", "A"))
    with pytest.raises(InputError, match="0 of 1 rows .* it has no positions: take a file with positions"):
        match_rows(("nobody", "", "", "C", "A"))


def test_match_log_has_a_row_for_every_row(score_file, variants):
    text = (
        "rsID\teffect_allele\tother_allele\teffect_weight\tis_haplotype\n"
        "rs1\tG\tA\t1\t\nrs9\tA\tG\t1\t\nh\tA\tG\t1\tTRUE\nrs2\tT\tA\t1\t\n"
    )
    match = match_variants(read_scoring(score_file(text)), variants, min_overlap=0.5)
    header, *rows = [line.split("\t") for line in match_log_text([match], variants).splitlines()]
    assert [row[header.index("STATUS")] for row in rows] == ["swapped", "not_found", "refused:haplotype", "swapped"]
    assert [row[header.index("USED")] for row in rows] == ["1", "0", "0", "1"]
    assert all(len(row) == len(header) for row in rows)
    assert match.counts() == {"swapped": 2, "not_found": 1, "refused:haplotype": 1}
    assert match.summary().endswith("1 of those used are A/T or C/G")


ALLELE = st.text("ACGT", min_size=1, max_size=3)


@given(ALLELE, ALLELE, ALLELE, ALLELE)
def test_comparison_does_not_depend_on_strand_or_order(effect, other, a1, a2):
    word = compare_alleles(effect, other, a1, a2)
    turned = compare_alleles(other, effect, a2, a1)
    assert word == turned, "swapping both sides changes nothing"
    if a1 != a2 and effect != other and not is_ambiguous(a1, a2):
        flipped = compare_alleles(reverse_complement(effect), reverse_complement(other), a1, a2)
        assert (word is None) == (flipped is None)
        if word and flipped:
            assert ("swapped" in word) == ("swapped" in flipped)


@st.composite
def scored_cohorts(draw):
    """Variants (a1, a2), effect allele first or second, integer weights, dosages with missing calls."""
    size = draw(st.integers(1, 6))
    pairs = [draw(st.sampled_from(["AG", "AC", "TC", "TG", "GA", "CT"])) for _ in range(size)]
    weights = [draw(st.integers(-9999, 9999).filter(bool)) for _ in range(size)]
    turned = [draw(st.booleans()) for _ in range(size)]
    people = draw(st.integers(1, 5))
    cell = st.integers(-1, 2)
    dosage = [[draw(cell) for _ in range(people)] for _ in range(size)]
    return pairs, weights, turned, np.array(dosage, np.int8)


def score_integers(make_reader, pairs, labels, weights, dosage):
    """Plan and integers of a cohort with alleles `pairs` and a file with alleles `labels`."""
    reader = make_reader([("1", i + 1, f"rs{i}", *pair) for i, pair in enumerate(pairs)], dosage)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "score"
        rows = [f"rs{i}\t{e}\t{o}\t{w}\n" for i, ((e, o), w) in enumerate(zip(labels, weights, strict=True))]
        path.write_text("ID\tA1\tA2\tWEIGHT\n" + "".join(rows))
        match = match_variants(read_scoring(path), reader.variants)
    plan = plan_scores([match], counts=count_alleles(reader, used_variants([match])))
    return plan, plain_scores(reader, plan)


@settings(max_examples=60, deadline=None)
@given(case=scored_cohorts())
def test_scores_do_not_depend_on_how_alleles_are_written(array_reader, case):
    pairs, weights, turned, dosage = case
    if not (dosage >= 0).any():
        return
    labels = [pair[::-1] if t else pair for pair, t in zip(pairs, turned, strict=True)]
    plan, sums = score_integers(array_reader, pairs, labels, weights, dosage)
    other_strand = [tuple(reverse_complement(a) for a in pair) for pair in labels]
    _, flipped = score_integers(array_reader, pairs, other_strand, weights, dosage)
    assert np.array_equal(sums.values, flipped.values), "the file on the other strand"
    recoded = np.where(dosage < 0, dosage, 2 - dosage)
    _, swapped = score_integers(array_reader, [p[::-1] for p in pairs], labels, weights, recoded)
    assert np.array_equal(sums.values, swapped.values), "the cohort counts its other alleles"
    _, negated = score_integers(array_reader, pairs, [p[::-1] for p in labels], [-w for w in weights], dosage)
    kept = (dosage >= 0).any(axis=1)
    shift = 2 * sum(w for w, k in zip(weights, kept, strict=True) if k)
    unit = np.ldexp(1.0, -plan.exponent[0])
    difference = (sums.score - negated.score)[:, 0] * unit
    assert np.abs(difference - shift).max() <= 2 * plan.error[0], "the other allele with the opposite weight"
    assert len(set(difference)) == 1


@pytest.mark.parametrize(
    ("cohort", "row", "word"),
    [
        (("D", "d"), ("D", "d"), "matched"),
        (("D", "d"), ("d", "D"), "swapped"),
        (("D", "d"), ("d", ""), "swapped"),
        (("a", "g"), ("A", "G"), "matched"),
        (("a", "A"), ("A", "G"), "allele_mismatch"),
        (("a", "A"), ("A", ""), "allele_mismatch"),
        (("I", "D"), ("i", "d"), "allele_mismatch"),
    ],
)
def test_case_matters_unless_the_letters_are_bases(cohort, row, word, score_file, array_reader):
    variants = array_reader([("1", 1, "rs1", *cohort), ("1", 2, "rs2", "C", "A")], np.zeros((2, 1), np.int8)).variants
    text = "rsID\teffect_allele\tother_allele\teffect_weight\n" + "\t".join(["rs1", *row, "1"]) + "\nrs2\tC\tA\t1\n"
    assert match_variants(read_scoring(score_file(text)), variants, min_overlap=0).word[0] == word


def test_weights_that_vanish_beside_a_large_one_are_named(score_file, array_reader):
    rows = [("1", j, f"rs{j}", "A", "G") for j in range(1, 6)]
    reader = array_reader(rows, np.ones((5, 3), np.int8))
    weights = ["0.1", "0.2", "1e9", "-0.3", "0.1"]
    text = "ID\tA1\tWEIGHT\n" + "".join(f"rs{j}\tA\t{w}\n" for j, w in enumerate(weights, 1))
    match = match_variants(read_scoring(score_file(text)), reader.variants)
    counts = count_alleles(reader, used_variants([match]))
    with pytest.raises(
        InputError, match=r"4 of 5 weights of SCORE1 become 0 in 20 bits beside 1e9 on line 4.*give more bits"
    ):
        plan_scores([match], counts=counts, bits=20)
    assert plan_scores([match], counts=counts, bits=40).score_variants(0) == 5


def test_a_row_that_is_scored_counts_its_allele(score_file, array_reader):
    """Records with one to three ALT, SNPs and indels, split; each scored row against the true genotypes, either strand."""
    rng, people, words = np.random.default_rng(8), 8, set()
    for _ in range(250):
        ref = str(rng.choice(["A", "C", "AT"]))
        alleles = [
            ref,
            *rng.permutation([a for a in ("A", "C", "G", "T", "AT", "ATT", "CA") if a != ref])[: rng.integers(1, 4)],
        ]
        genotypes = rng.integers(0, len(alleles), (people, 2))
        copies = np.array([(genotypes == k).sum(axis=1) for k in range(len(alleles))], np.int8)
        cohort = array_reader([("1", 9, "r", alt, ref) for alt in alleles[1:]], copies[1:])
        named, other = rng.permutation(alleles)[:2]
        if rng.random() < 0.3:
            named, other = reverse_complement(named), reverse_complement(other)
        other = "" if rng.random() < 0.3 else other
        scoring = read_scoring(score_file(f"ID\tA1\tA2\tWEIGHT\nr\t{named}\t{other}\t1\n"))
        try:
            match = match_variants(scoring, cohort.variants, min_overlap=0)
        except InputError:
            continue
        words |= set(match.word)
        plan = plan_scores([match], imputation="none", counts=count_alleles(cohort, used_variants([match])))
        as_read = named in alleles and (other == "" or other in alleles)
        meant = alleles.index(named if as_read else reverse_complement(named))
        got = plain_scores(cohort, plan).score[:, 0] / 2 ** plan.exponent[0]
        np.testing.assert_array_equal(got, copies[meant], err_msg=f"{alleles} {named} {other} {match.word}")
    assert words == {"matched", "swapped", "flipped", "flipped_swapped"}
