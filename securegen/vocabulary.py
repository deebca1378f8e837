"""Every name that appears in a file or table, written once: columns, formats, error codes, units."""

from __future__ import annotations

from typing import Final

# Result tables (order = order in the file).
VARIANT_COLUMNS: Final = ("#CHROM", "POS", "ID", "REF", "ALT", "A1")
LINEAR_COLUMNS: Final = (
    *VARIANT_COLUMNS, "A1_FREQ", "TEST", "OBS_CT", "BETA", "SE", "L95", "U95", "T_STAT", "P", "LOG10_P", "ERRCODE",
)  # fmt: skip
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

# Suffix of the table of each test, after PREFIX.<PHENO>.
TABLE_SUFFIX: Final = {
    "linear": "glm.linear",
    "logistic": "glm.logistic.score",
    "trend": "trend",
    "allelic": "allelic",
}
TABLE_COLUMNS: Final = {
    "linear": LINEAR_COLUMNS,
    "logistic": SCORE_TEST_COLUMNS,
    "trend": TREND_COLUMNS,
    "allelic": ALLELIC_COLUMNS,
}
MODELS: Final = tuple(TABLE_SUFFIX)

# Quality control files (plink2's names and columns) and the files they go to.
QC_COLUMNS: Final = {
    "afreq": ("#CHROM", "ID", "REF", "ALT", "ALT_FREQS", "OBS_CT"),
    "vmiss": ("#CHROM", "ID", "MISSING_CT", "OBS_CT", "F_MISS"),
    "hardy": (
        "#CHROM", "ID", "A1", "AX", "HOM_A1_CT", "HET_A1_CT", "TWO_AX_CT", "O(HET_A1)", "E(HET_A1)", "P",
    ),
}  # fmt: skip
# Chromosomes on which the dosage of a male means something else; they are counted and left out.
SEX_AND_MITOCHONDRIAL: Final = frozenset({"X", "Y", "XY", "M", "MT", "23", "24", "25", "26", "PAR1", "PAR2"})

# Error codes of a row. The first three words are plink2's; docs/tables.md explains each.
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

MISSING_TEXT: Final = "NA"
MISSING_INPUT: Final = frozenset({"NA", "na", "Na", "nan", "NaN", "NAN", "-nan", ".", "", "-9"})
Z95: Final = 1.959964  # of L95 and U95
DEFAULT_ENCRYPTOR: Final = "own"  # docs/encryptor.md; the other is "seal"


def bare_chromosome(name: str) -> str:
    """Without chr, in capitals.

    >>> bare_chromosome("chrX"), bare_chromosome("7")
    ('X', '7')
    """
    return name[3:].upper() if name.lower().startswith("chr") else name.upper()
