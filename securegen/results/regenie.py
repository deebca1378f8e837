"""Tables in the columns of regenie's step 2: PREFIX_<PHENO>.regenie, blank separated, NA where there is no number.

Columns: https://rgcgithub.github.io/regenie/options/ (Mbatchou et al. 2021, Nature Genetics 53:1097). EXTRA holds the
ERRCODE where there is one; a blank in an id becomes _, no id a point.
"""

from __future__ import annotations

from typing import Final

from securegen.io.table_files import write_table_file
from securegen.io.text import iterate_lines
from securegen.results.layout import TableFormat, TableLayout
from securegen.vocabulary import MISSING_TEXT, OK, canonical_chromosome

COLUMNS: Final = (
    "CHROM", "GENPOS", "ID", "ALLELE0", "ALLELE1", "A1FREQ", "N", "TEST", "BETA", "SE", "CHISQ", "LOG10P", "EXTRA",
)  # fmt: skip
NUMBERS: Final = {"X": "23", "Y": "24", "XY": "23", "PAR1": "23", "PAR2": "23", "MT": "26"}


def write_regenie(path: str, table: str, layout: TableLayout) -> dict[str, int]:
    """Write a table of ours (linear or score test) as regenie's, every row. Raises StorageError."""
    lines = iterate_lines(table)
    names = next(lines).split("\t")
    with write_table_file(path, mode=layout.mode) as stream:
        stream.write((" ".join(COLUMNS) + "\n").encode())
        for line in lines:
            row = dict(zip(names, line.split("\t"), strict=True))
            stream.write((" ".join(_cells(row, layout.digits)) + "\n").encode())
    return {}


FORMAT: Final = TableFormat("regenie", "{out}_{phenotype}.regenie", write_regenie, chisq=True)


def _cells(row: dict[str, str], digits: int) -> tuple[str, ...]:
    chromosome = canonical_chromosome(row["#CHROM"])
    if "CHISQ" in row:
        chisq = row["CHISQ"]
    else:
        t = row["T_STAT"]
        chisq = t if t == MISSING_TEXT else f"{float(t) ** 2:.{digits}g}"
    return (
        NUMBERS.get(chromosome, chromosome), row["POS"], row["ID"].replace(" ", "_") or ".", row["REF"], row["A1"],
        row["A1_FREQ"], row["OBS_CT"], row["TEST"], row["BETA"], row["SE"], chisq, row["LOG10_P"],
        MISSING_TEXT if row["ERRCODE"] == OK else row["ERRCODE"],
    )  # fmt: skip
