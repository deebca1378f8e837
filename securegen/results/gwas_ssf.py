"""GWAS-SSF v1.0, the GWAS Catalog's format: PREFIX.<PHENO>.gwas-ssf.tsv and its metadata, the same name and -meta.yaml.

Standard: Hayhurst et al. 2022, https://github.com/EBISPOT/gwas-summary-statistics-standard (version 1.0.2). Rows are sorted
by position; rows that the standard has no place for (no statistics, alleles other than ACGT, chromosomes outside 1 to 25)
are left out and counted.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import re
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from securegen.io.output import write_text
from securegen.io.table_files import write_table_file
from securegen.results.layout import TableFormat, TableLayout
from securegen.version import VERSION
from securegen.vocabulary import MISSING_TEXT, OK, canonical_chromosome

MANDATORY: Final = (
    "chromosome", "base_pair_location", "effect_allele", "other_allele", "beta", "standard_error",
    "effect_allele_frequency", "p_value",
)  # fmt: skip
ENCOURAGED: Final = ("variant_id", "rsid", "n")
OUR_OWN: Final = ("neg_log_10_p_value", "source_id", "errcode")
MISSING: Final = "#NA"
NUMBERS: Final = {"X": "23", "XY": "23", "PAR1": "23", "PAR2": "23", "Y": "24", "MT": "25"}
NOT_REPORTED: Final = "NR"
_ALLELE, _RS = re.compile(r"[ACGT]+"), re.compile(r"rs[0-9]+")
_STATISTICS: Final = ("BETA", "SE", "A1_FREQ", "P")


def write_gwas_ssf(path: str, table: str, layout: TableLayout) -> dict[str, int]:
    """Write a table of ours (linear or score test) and PATH-meta.yaml; returns how many rows were left out, by the reason.
    Raises StorageError."""
    left_out: dict[str, int] = {}
    chromosomes, positions, offsets = array("q"), array("q"), array("q")
    samples = cases = 0
    with Path(table).open("rb") as source:
        names = source.readline().decode().rstrip("\n").split("\t")
        offset = source.tell()
        for line in source:
            row = _row(names, line)
            reason = _reason(row)
            if reason:
                left_out[reason] = left_out.get(reason, 0) + 1
            else:
                for column, value in ((chromosomes, _chromosome(row)), (positions, row["POS"]), (offsets, offset)):
                    column.append(int(value))
            offset += len(line)
            samples, cases = max(samples, _people(row, "OBS_CT")), max(cases, _people(row, "CASE_CT"))
        interval = ("ci_lower", "ci_upper") if "L95" in names else ()
        with write_table_file(path, mode=layout.mode) as stream:

            def write(cells: Sequence[str]) -> None:
                stream.write(("\t".join(cells) + "\n").encode())

            write((*MANDATORY, *ENCOURAGED, *interval, *OUR_OWN))
            for j in np.lexsort((positions, chromosomes)).tolist():
                source.seek(offsets[j])
                write(_cells(_row(names, source.readline()), layout.frequency_floor))
    with Path(path).open("rb") as written:
        digest = hashlib.file_digest(written, lambda: hashlib.md5(usedforsecurity=False))
    counts = {"case_count": cases, "control_count": samples - cases} if "CASE_CT" in names else {}
    write_text(f"{path}-meta.yaml", metadata_text(Path(path).name, digest.hexdigest(), samples, counts, layout))
    return left_out


def _row(names: Sequence[str], line: bytes) -> dict[str, str]:
    return dict(zip(names, line.decode().rstrip("\n").split("\t"), strict=True))


def _people(row: dict[str, str], name: str) -> int:
    """A count of people; 0 where the table has none, or withholds it."""
    text = row.get(name, MISSING_TEXT)
    return 0 if text == MISSING_TEXT else int(text)


def _chromosome(row: dict[str, str]) -> str:
    bare = canonical_chromosome(row["#CHROM"])
    return NUMBERS.get(bare, bare)


def _reason(row: dict[str, str]) -> str:
    """Why the standard has no place for a row; empty when it has."""
    if any(row[name] == MISSING_TEXT for name in _STATISTICS):
        return "no statistics"
    chromosome = _chromosome(row)
    if not (chromosome.isdecimal() and 1 <= int(chromosome) <= 25 and int(row["POS"]) > 0):
        return "chromosome or position outside the standard"
    if not all(_ALLELE.fullmatch(row[name].upper()) for name in ("REF", "A1")):
        return "alleles other than ACGT"
    return ""


def _cells(row: dict[str, str], floor: float) -> tuple[str, ...]:
    chromosome, effect, other = _chromosome(row), row["A1"].upper(), row["REF"].upper()
    interval = (row["L95"], row["U95"]) if "L95" in row else ()
    return (
        chromosome, row["POS"], effect, other, row["BETA"], row["SE"], floored(row["A1_FREQ"], floor), row["P"],
        f"{chromosome}_{row['POS']}_{other}_{effect}", row["ID"] if _RS.fullmatch(row["ID"]) else MISSING, row["OBS_CT"],
        *interval, row["LOG10_P"], row["ID"], MISSING if row["ERRCODE"] == OK else row["ERRCODE"],
    )  # fmt: skip


def floored(frequency: str, floor: float) -> str:
    """A frequency as text, brought to `floor` or 1 − `floor` where the minor allele is rarer than that.

    >>> floored("0.004", 0.01), floored("0.996", 0.01), floored("0.25", 0.01)
    ('0.01', '0.99', '0.25')
    """
    value = float(frequency)
    if min(value, 1 - value) >= floor:
        return frequency
    return f"{floor if value < 0.5 else 1 - floor:.12g}"


def metadata_text(name: str, md5: str, samples: int, counts: dict[str, int], about: TableLayout) -> str:
    """The metadata file. What this program cannot know is NR, not reported: fill it in before a submission."""

    def quoted(text: str) -> str:
        return json.dumps(text, ensure_ascii=False)

    lines = [
        "# GWAS-SSF metadata. NR stands for what securegen cannot know: fill it in before a submission.",
        f"date_metadata_last_modified: {datetime.date.today().isoformat()}",
        "trait_description:", f"  - {quoted(about.trait)}",
        f"genome_assembly: {quoted(about.genome_build)}", "coordinate_system: 1-based",
        "genotyping_technology:", f"  - {NOT_REPORTED}",
        "samples:", "  - sample_ancestry_category:", f"      - {NOT_REPORTED}", f"    sample_size: {samples}",
        f"    case_control_study: {str(bool(counts)).lower()}", *(f"    {key}: {n}" for key, n in counts.items()),
        f"sex: {NOT_REPORTED}", f"data_file_name: {quoted(name)}", "file_type: GWAS-SSF v1.0", f"data_file_md5sum: {md5}",
        f"analysis_software: {quoted(f'securegen {VERSION}')}",
    ]  # fmt: skip
    if about.covariates:
        lines += ["adjusted_covariates:", *(f"  - {quoted(c)}" for c in about.covariates)]
    if about.frequency_floor:
        lines.append(f"minor_allele_freq_lower_limit: {about.frequency_floor:g}")
    return "\n".join([*lines, "is_harmonised: false", "is_sorted: true"]) + "\n"


FORMAT: Final = TableFormat(
    "gwas-ssf", "{out}.{phenotype}.gwas-ssf.tsv", write_gwas_ssf, options=frozenset({"genome_build", "frequency_floor"}),
    needs={"genome_build": "GRCh37 or GRCh38, as the standard demands"}, codings=False,
    sorts=True,
)  # fmt: skip
