"""Every spelling of a chromosome is one chromosome: in --chr, in scores and when tables are compared."""

from __future__ import annotations

import numpy as np
import pytest
from support import text_array

from securegen.errors import UsageError
from securegen.model import Variants
from securegen.scores.match import normalise_chromosome
from securegen.study.selection import chromosome_words, in_range
from securegen.vocabulary import canonical_chromosome

# Canonical name -> how files write it.
SPELLINGS = {
    "1": ("1", "01", "chr1", "CHR01", "Chr1"), "22": ("22", "chr22"), "X": ("X", "x", "chrX", "23", "chr23", "0X", "023"),
    "Y": ("Y", "chrY", "24"), "XY": ("XY", "25", "chrXY"), "MT": ("MT", "M", "chrM", "chrMT", "26", "mt"),
    "PAR1": ("PAR1", "par1"), "PAR2": ("PAR2",), "0": ("0", "00", "chr0"), "GL000192.1": ("GL000192.1", "gl000192.1"),
}  # fmt: skip
ALL = text_array([word for words in SPELLINGS.values() for word in words])


@pytest.mark.parametrize("name", SPELLINGS)
def test_chr_finds_every_spelling_of_each(name):
    m = len(ALL)
    variants = Variants(ALL, np.arange(1, m + 1), *(text_array(["v"] * m) for _ in range(3)))
    for word in SPELLINGS[name]:
        assert canonical_chromosome(word) == name
        kept = in_range(variants, (word,), None, None, lambda _: None)
        assert tuple(ALL[kept]) == SPELLINGS[name]


def test_ranges_of_plink_numbers_hold_the_letters():
    m = len(ALL)
    variants = Variants(ALL, np.arange(1, m + 1), *(text_array(["v"] * m) for _ in range(3)))
    kept = in_range(variants, ("22-24",), None, None, lambda _: None)
    assert tuple(ALL[kept]) == (*SPELLINGS["22"], *SPELLINGS["X"], *SPELLINGS["Y"])


def test_positions_of_scoring_files_are_those_of_the_chromosome():
    """A scoring file says X for a pseudoautosomal region too."""
    assert {normalise_chromosome(word) for word in ("XY", "25", "PAR1", "PAR2", "23", "X")} == {"X"}
    assert normalise_chromosome("chrM") == "MT" and normalise_chromosome("24") == "Y"


def test_names_between_commas_are_a_list_in_python():
    with pytest.raises(UsageError, match=r"`chr` '1,X' holds a comma: from Python several names are a list"):
        chromosome_words(["1,X"])
