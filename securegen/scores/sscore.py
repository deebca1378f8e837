"""PREFIX.sscore in plink2's columns, the match log, and scores of a reference panel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from securegen.errors import InputError
from securegen.governance import releases
from securegen.governance.door import SCORES, OutputFacts
from securegen.governance.gate import Gate
from securegen.io.output import PRIVATE, write_text
from securegen.io.table_files import write_table_file
from securegen.io.tables import read_table
from securegen.model import FloatArray, Samples, Variants
from securegen.scores.match import REFUSED, USED, Match
from securegen.scores.release import ScoreTable
from securegen.vocabulary import MISSING_TEXT

SSCORE_COLUMNS: Final = ("#FID", "IID", "ALLELE_CT", "NAMED_ALLELE_DOSAGE_SUM")
MATCH_COLUMNS: Final = (
    "FILE", "LINE", "ID", "CHROM", "POS", "EFFECT_ALLELE", "OTHER_ALLELE", "STATUS", "USED", "BY", "MATCHED_ID",
    "MATCHED_POS", "A1", "A2",
)  # fmt: skip


def _number(value: float, digits: int) -> str:
    return MISSING_TEXT if np.isnan(value) else f"{value:.{digits}g}"


def sscore_text(samples: Samples, table: ScoreTable, extra: Mapping[str, FloatArray] | None = None) -> str:
    """The text of a .sscore file: one row per sample in file order, missing = NA.

    extra: further columns after the scores (percentile, z, risk), name -> (N,) float64, in the table's digits.
    """
    extra = extra or {}
    pairs = [name + suffix for name in table.names for suffix in ("_AVG", "_SUM")]
    lines = ["\t".join((*SSCORE_COLUMNS, *pairs, *extra))]
    for i in range(len(samples)):
        cells = [samples.fid[i], samples.iid[i]]
        cells.append(MISSING_TEXT if table.allele_count is None else str(table.allele_count[i]))
        cells.append(MISSING_TEXT if table.named_dosage is None else f"{table.named_dosage[i]:.10g}")
        for s in range(len(table.names)):
            cells += [_number(table.average[i, s], table.digits), _number(table.total[i, s], table.digits)]
        cells += [_number(column[i], table.digits) for column in extra.values()]
        lines.append("\t".join(cells))
    return "\n".join(lines) + "\n"


def write_sscore(
    path: str | Path, samples: Samples, table: ScoreTable, extra: Mapping[str, FloatArray] | None = None, *, gate: Gate
) -> None:
    """Write `sscore_text`, readable by its owner only: a row is a person. gate: the door.

    Raises StorageError, PolicyError where the policy refuses.
    """
    gate.release([OutputFacts(SCORES, name, len(samples), 0) for name in table.names])
    everybody = np.ones(len(samples), bool)
    claimed = [(releases.analysis_of(releases.SCORES, name), everybody) for name in table.names]
    gate.claim(samples, claimed, Path(path).name)
    with write_table_file(path, mode=PRIVATE) as stream:
        stream.write(sscore_text(samples, table, extra).encode(errors="surrogateescape"))


def match_log_text(matches: Sequence[Match], variants: Variants) -> str:
    """One row for each row of each scoring file, refused ones included. STATUS is the word, USED 1 where scored."""
    lines = ["\t".join(MATCH_COLUMNS)]
    for match in matches:
        file = match.scoring
        rows: list[tuple[int, str]] = []
        for r in range(len(file)):
            v = int(match.candidate[r])
            position = "" if file.position[r] < 0 else str(file.position[r])
            found = ("", "", "", "")
            if v >= 0:
                found = (
                    variants.id[v], str(variants.position[v]), variants.effect_allele[v], variants.other_allele[v],
                )  # fmt: skip
            cells = (
                file.path, str(file.line[r]), file.id[r], file.chromosome[r], position, file.effect_allele[r],
                file.other_allele[r], match.word[r], str(int(match.word[r] in USED)), match.by[r], *found,
            )  # fmt: skip
            rows.append((int(file.line[r]), "\t".join(cell or "." for cell in cells)))
        for line, name, word in file.refused:
            cells = (file.path, str(line), name, "", "", "", "", f"{REFUSED}:{word}", "0", "", "", "", "", "")
            rows.append((line, "\t".join(cell or "." for cell in cells)))
        lines += [text for _, text in sorted(rows)]
    return "\n".join(lines) + "\n"


def write_match_log(path: str | Path, matches: Sequence[Match], variants: Variants) -> None:
    """Write `match_log_text`. Raises StorageError."""
    write_text(path, match_log_text(matches, variants))


def read_reference(path: str | Path, score: str) -> FloatArray:
    """(N,) float64 sums of one score from a .sscore file, such as that of a reference panel.

    Raises InputError when the file has no column SCORE_SUM or a cell is not a number.
    """
    table = read_table(path)
    name = f"{score}_SUM"
    if name not in table.columns:
        raise InputError(f"{path} has no column {name}; it has {', '.join(table.columns)}")
    values = np.empty(len(table.iid), np.float64)
    for i, text in enumerate(table.columns[name]):  # -9 is a score here, not a missing value
        try:
            values[i] = float(text)
        except ValueError:
            values[i] = np.nan
        if not np.isfinite(values[i]):
            raise InputError(f"{path}, line {table.line[i]}: column {name} holds {text!r}, expected a number")
    return values
