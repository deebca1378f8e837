"""Variant lists and alignment: swapped alleles, strands, what is refused by name, what several lists have in common."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from securegen.engines.federated.variants import (
    AlignedReader,
    align_variants,
    common_variants,
    compare,
    complement,
    read_variants,
    write_variants,
)
from securegen.errors import InputError
from securegen.io.plink1 import read_plink
from securegen.model import Variants

from .conftest import variant_list, write_cohort

STUDY = variant_list(4, ("A", "G"))


def with_alleles(variants: Variants, row: int, effect: str, other: str) -> Variants:
    out = replace(variants, effect_allele=variants.effect_allele.copy(), other_allele=variants.other_allele.copy())
    out.effect_allele[row], out.other_allele[row] = effect, other
    return out


@pytest.mark.parametrize(
    ("here", "study", "expected"),
    [
        (("A", "G"), ("A", "G"), ("same", False)),
        (("G", "A"), ("A", "G"), ("same", True)),
        (("T", "C"), ("A", "G"), ("strand", False)),
        (("C", "T"), ("A", "G"), ("strand", True)),
        (("a", "g"), ("A", "G"), ("same", False)),
        (("A", "T"), ("A", "T"), ("same", False)),
        (("T", "A"), ("A", "T"), ("ambiguous", True)),
        (("G", "C"), ("C", "G"), ("ambiguous", True)),
        (("A", "C"), ("A", "G"), ("different", False)),
        (("A", "ACG"), ("ACG", "A"), ("same", True)),
        (("T", "CGT"), ("A", "ACG"), ("strand", False)),
        (("A", "<DEL>"), ("<DEL>", "A"), ("same", True)),
        (("T", "<DEL>"), ("A", "<DEL>"), ("different", False)),
        (("d", "D"), ("D", "d"), ("same", True)),
        (("D", "d"), ("D", "d"), ("same", False)),
        (("D", "i"), ("d", "I"), ("different", False)),
        (("a", "A"), ("A", "a"), ("same", True)),
        (("a", "A"), ("a", "A"), ("same", False)),
        (("a", "A"), ("A", "G"), ("different", False)),
        (("aC", "g"), ("Ac", "G"), ("same", False)),
        (("0", "0"), ("0", "0"), ("same", False)),
    ],
)
def test_alleles_are_compared_on_both_strands(here, study, expected):
    assert compare(*here, *study) == expected


def test_complement_is_its_own_inverse():
    assert complement("ACGTT") == "AACGT" and all(complement(complement(a)) == a for a in ("A", "CG", "TTA"))


def test_order_swaps_and_strands_are_found():
    own = with_alleles(with_alleles(variant_list(6), 1, "G", "A"), 2, "C", "T").take(np.array([5, 2, 1, 0, 3, 4]))
    alignment = align_variants(own, STUDY, "anna")
    assert alignment.index.tolist() == [3, 2, 1, 4] and alignment.swapped.tolist() == [False, True, True, False]
    assert (alignment.strand, alignment.palindromic, alignment.unused) == (1, 0, 2)


def test_variants_that_cannot_be_aligned_are_named():
    own = with_alleles(with_alleles(variant_list(3), 0, "A", "C"), 2, "T", "A")
    own = replace(own, position=np.array([1, 77, 3]))
    study = with_alleles(STUDY, 2, "A", "T")
    with pytest.raises(InputError) as error:
        align_variants(own, study, "anna")
    for part in (
        "site anna: 4 variants", "rs0 has alleles A/C, not A/G", "rs1 lies at 1:77, not 1:2",
        "rs2 is T/A where the study has A/T: swapped or on the other strand", "rs3 is not in the file",
    ):  # fmt: skip
        assert part in str(error.value)


def test_repeated_ids_are_matched_by_their_alleles():
    dots = replace(variant_list(2), id=np.array([".", "."], object), position=np.array([5, 5]))
    study = with_alleles(dots, 1, "A", "C")
    own = study.take(np.array([1, 0]))
    assert align_variants(own, study, "anna").index.tolist() == [1, 0]


def test_common_variants_are_what_all_lists_have():
    second = with_alleles(with_alleles(variant_list(4), 0, "C", "T"), 3, "A", "C").take(np.array([3, 0, 1]))
    common, dropped = common_variants([STUDY, second, STUDY])
    assert common.id.tolist() == ["rs0", "rs1"] and dropped == 2
    assert common.effect_allele.tolist() == ["A", "A"]


def test_aligned_dosages_count_the_allele_of_the_study(tmp_path):
    dosage = np.random.default_rng(1).integers(0, 4, (4, 9))
    reader = read_plink(write_cohort(tmp_path / "c", dosage, STUDY, [f"p{i}" for i in range(9)]))
    swapped = np.array([True, False, True, False])
    block = AlignedReader(reader, STUDY, swapped).read(1, 4)
    expected = np.where(swapped[:, None], 2 - dosage, dosage)
    assert np.array_equal(block.dosage, np.where(dosage == 3, 0, expected)[1:4])
    assert np.array_equal(block.missing, (dosage == 3)[1:4])


def test_variant_lists_and_bim_files_read_alike(tmp_path):
    prefix = write_cohort(tmp_path / "c", np.zeros((4, 1), int), STUDY, ["p"])
    write_variants(tmp_path / "v.tsv", STUDY)
    assert read_variants(tmp_path / "v.tsv").digest() == read_variants(f"{prefix}.bim").digest() == STUDY.digest()
    (tmp_path / "bad.tsv").write_text((tmp_path / "v.tsv").read_text() + "1\t5\n")
    with pytest.raises(InputError, match="line 6: 2 fields"):
        read_variants(tmp_path / "bad.tsv")
    (tmp_path / "bad.tsv").write_text("#CHROM\tID\n")
    with pytest.raises(InputError, match="the header must be"):
        read_variants(tmp_path / "bad.tsv")


def test_files_without_a_common_variant_are_told_apart_by_name():
    other = replace(STUDY, position=STUDY.position + 1)
    with pytest.raises(InputError, match="no variant is in every file: the first begins with .*one name with @"):
        common_variants([STUDY, other])


def test_one_chromosome_in_two_spellings_is_one():
    other = replace(STUDY, chromosome=np.array([f"chr0{c}" for c in STUDY.chromosome], object))
    assert len(common_variants([STUDY, other])[0]) == len(STUDY)


def test_blanks_in_ids_and_positions_that_are_none(tmp_path):
    """A BGEN or a pvar may have blanks in ids; the list of a study is separated by tabs."""
    odd = replace(STUDY, id=np.array([f"rs {j} x" for j in range(len(STUDY))], object))
    write_variants(tmp_path / "v.tsv", odd)
    assert read_variants(tmp_path / "v.tsv").digest() == odd.digest()
    for text in ("1_000", "1e5", "x"):
        lines = (tmp_path / "v.tsv").read_text().splitlines()
        lines[2] = "\t".join([lines[2].split("\t")[0], text, *lines[2].split("\t")[2:]])
        (tmp_path / "bad.tsv").write_text("\n".join(lines) + "\n")
        with pytest.raises(InputError, match=f"line 3: position '{text}' is not a whole number"):
            read_variants(tmp_path / "bad.tsv")
