"""Every name that appears in a file or table, written once: columns, formats, error codes, units."""

from __future__ import annotations

from typing import Final

# Result tables (order = order in the file).
VARIANT_COLUMNS: Final = ("#CHROM", "POS", "ID", "REF", "ALT", "A1")
LINEAR_COLUMNS: Final = (
    *VARIANT_COLUMNS, "A1_FREQ", "TEST", "OBS_CT", "BETA", "SE", "L95", "U95", "T_STAT", "P", "LOG10_P", "ERRCODE",
)  # fmt: skip
INTERACTION_COLUMNS: Final = tuple("T_OR_F_STAT" if name == "T_STAT" else name for name in LINEAR_COLUMNS)
SCORE_TEST_COLUMNS: Final = (
    *VARIANT_COLUMNS, "A1_FREQ", "TEST", "OBS_CT", "CASE_CT", "MAC_CASE", "U", "V", "BETA", "SE", "CHISQ", "Z_STAT",
    "P", "LOG10_P", "WALD_LIKE_Z", "ERRCODE",
)  # fmt: skip
TREND_COLUMNS: Final = (
    *VARIANT_COLUMNS, "A1_CASE_CT", "A1_CTRL_CT", "CASE_CT", "CTRL_CT", "CHISQ", "P", "LOG10_P", "ERRCODE",
)  # fmt: skip
ALLELIC_COLUMNS: Final = (
    *VARIANT_COLUMNS, "A1_CASE_CT", "A1_CTRL_CT", "CASE_CT", "CTRL_CT", "OR", "L95", "U95", "CHISQ", "P", "LOG10_P",
    "ERRCODE",
)  # fmt: skip
SET_COLUMNS: Final = (
    *VARIANT_COLUMNS, "TEST", "OBS_CT", "VARIANT_CT", "COLLAPSED_CT", "CHISQ", "P", "LOG10_P", "ERRCODE",
)  # fmt: skip

# Quality control files (plink2's names and columns) and the files they go to.
QC_COLUMNS: Final = {
    "afreq": ("#CHROM", "ID", "REF", "ALT", "ALT_FREQS", "OBS_CT"),
    "vmiss": ("#CHROM", "ID", "MISSING_CT", "OBS_CT", "F_MISS"),
    "hardy": (
        "#CHROM", "ID", "A1", "AX", "HOM_A1_CT", "HET_A1_CT", "TWO_AX_CT", "O(HET_A1)", "E(HET_A1)", "P",
    ),
    "hardy.x": (
        "#CHROM", "ID", "A1", "AX", "FEMALE_HOM_A1_CT", "FEMALE_HET_A1_CT", "FEMALE_TWO_AX_CT", "MALE_A1_CT", "MALE_AX_CT",
        "O(FEMALE_HET_A1)", "E(FEMALE_HET_A1)", "FEMALE_A1_FREQ", "MALE_A1_FREQ", "P",
    ),
}  # fmt: skip
# Chromosomes on which a male, or everybody, has one copy, by canonical name; and the ends of X, which are as autosomes.
SEX_AND_MITOCHONDRIAL: Final = frozenset({"X", "Y", "MT"})
PSEUDOAUTOSOMAL: Final = frozenset({"XY", "PAR1", "PAR2"})
AUTOSOMES: Final = frozenset(str(n) for n in range(1, 23))
UNPLACED: Final = "0"  # plink's word for a variant whose chromosome nobody gave

# Error codes of a row. The first three words are plink2's; docs/reference/tables.md explains each.
OK: Final = "."
ALL_MISSING: Final = "ALL_MISSING"
CONST_OMITTED_ALLELE: Final = "CONST_OMITTED_ALLELE"
CORR_TOO_HIGH: Final = "CORR_TOO_HIGH"
VIF_TOO_HIGH: Final = "VIF_TOO_HIGH"
TOO_FEW_SAMPLES: Final = "SAMPLE_CT<=PREDICTOR_CT"
PERFECT_FIT: Final = "PERFECT_FIT"
ZERO_CELL: Final = "ZERO_CELL"
LOW_MAC: Final = "LOW_MAC"
FEW_CARRIERS: Final = "FEW_CARRIERS"
UNCORRECTED: Final = "UNCORRECTED"

SET_TESTS: Final = ("skat", "skato", "skato-acat", "acatv", "acato")  # of --vc-tests
MASK_REF: Final = "ref"  # REF of a row that is a mask of several variants, as regenie writes it

# Genetic models, by the word that TEST has for them: what a genotype counts, 0 or 1 of all but the first.
ADDITIVE: Final = "additive"
CODINGS: Final = {ADDITIVE: "ADD", "dominant": "DOM", "recessive": "REC", "hetonly": "HET"}
ADD: Final = CODINGS[ADDITIVE]

MISSING_TEXT: Final = "NA"
MISSING_INPUT: Final = frozenset({"na", "nan", "-nan", ".", ""})  # lower case; and -9 in any spelling of the number
MISSING_NUMBER: Final = -9.0
MISSING_CATEGORY: Final = "none"  # plink2's word, beside those above
# Words of spreadsheets and data bases for "no value". plink2 has another meaning or none for them: they are refused.
LIKE_MISSING: Final = frozenset({"n/a", "n.a.", "<na>", "null", "nil", "nat", "#n/a", "none"})
# More of them where a number is expected; in a column of categories they may be a category.
NO_NUMBER: Final = frozenset(
    {
        "-",
        "--",
        "?",
        "*",
        "missing",
        "unknown",
        "undefined",
        "na_real_",
        "nan(ind)",
        "+nan",
        "1.#qnan",
        "1.#ind",
        "-1.#ind",
    }
)
Z95: Final = 1.959964  # of L95 and U95
DEFAULT_ENCRYPTOR: Final = "own"  # docs/explanation/encryptor.md; the other is "seal"


def is_missing(text: str, *, number: bool = True) -> bool:
    """Whether a cell holds no value: NA or nan in any case, a point, nothing, or (number) -9 as any program writes it.

    >>> [is_missing(t) for t in ("Na", "-9", "-9.0", "-9e0", "", "9", "N/A")]
    [True, True, True, True, True, False, False]
    """
    if text.lower() in MISSING_INPUT:
        return True
    if not number or not text.startswith("-") or "9" not in text and "0" not in text:
        return False
    try:
        return float(text) == MISSING_NUMBER and "_" not in text
    except ValueError:
        return False


_OTHER_NAMES: Final = {"23": "X", "24": "Y", "25": "XY", "26": "MT", "M": "MT"}


def canonical_chromosome(name: str) -> str:
    """One name for one chromosome, by which names are compared: without chr and leading zeros, in capitals, and plink's
    numbers as letters. Tables print the name as the input wrote it.

    >>> [canonical_chromosome(c) for c in ("chrX", "7", "chr07", "0X", "23", "chrM", "25", "par1", "0", "NC_000023.11")]
    ['X', '7', '7', 'X', 'X', 'MT', 'XY', 'PAR1', '0', 'NC_000023.11']
    """
    bare = (name[3:] if name[:3].lower() == "chr" else name).upper()
    known = AUTOSOMES | SEX_AND_MITOCHONDRIAL | PSEUDOAUTOSOMAL | {UNPLACED, *_OTHER_NAMES}
    if bare.startswith("0") and (bare.lstrip("0") or UNPLACED) in known:
        bare = bare.lstrip("0") or UNPLACED
    return _OTHER_NAMES.get(bare, bare)


def canonical_allele(allele: str) -> str:
    """A sequence of A, C, G and T in capitals; anything else as written, since D and d may be two alleles.

    >>> canonical_allele("aC"), canonical_allele("d"), canonical_allele("<del>")
    ('AC', 'd', '<del>')
    """
    upper = allele.upper()
    return upper if set(upper) <= _BASES else allele


_BASES: Final = frozenset("ACGT")


BUILDS: Final = {
    "ncbi36": "NCBI36", "hg18": "NCBI36",
    "grch37": "GRCh37", "hg19": "GRCh37", "b37": "GRCh37", "hs37d5": "GRCh37",
    "grch38": "GRCh38", "hg38": "GRCh38", "b38": "GRCh38",
}  # fmt: skip


def normalise_build(name: str | None) -> str | None:
    """The Genome Reference Consortium's name of a build; None where a file does not report one.

    >>> normalise_build("hg19"), normalise_build("NR")
    ('GRCh37', None)
    """
    if name is None or name.strip().lower() in ("", "nr", "na", "not reported"):
        return None
    return BUILDS.get(name.strip().lower(), name.strip())
