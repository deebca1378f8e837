"""Cuts a simulated cohort with its reference results to fewer variants: `python tests/gold/cut.py WHOLE/NAME tests/gold/NAME`.

Kept are the variants of the scoring file (a score sums over them, so that its results stay true), those that a
table is conditioned on, and every tenth of the others. Rows of the tables do not depend on one another.
"""

from __future__ import annotations

import gzip
import shutil
import sys
from pathlib import Path

import numpy as np

SCORES = ("np_prs_prs.tsv", "prs.sscore.gz", "prs_noimp.sscore.gz")  # a row per person
TABLES = (
    "np_qt_linear_cov.tsv", "np_qt_linear_cov_meanimp.tsv", "np_qt_linear_nocov.tsv", "np_cc_score_cov_meanimp.tsv",
    "np_cc_allelic.tsv", "np_cc_trend.tsv", "np_qc.tsv", "qc.afreq", "qc.hardy", "qc.vmiss", "cc_model.model",
    "qt_linear_cov.QT.glm.linear", "qt_linear_nocov.QT.glm.linear",
)  # fmt: skip
REGENIE = (
    "qt_nopred_QT", "qt_pred_QT", "qt_dominant_QT", "qt_condition_QT", "cc_nopred_CC", "cc_pred_CC", "cc_spa_CC",
    "cc_spa_exact_CC", "cc_firth_CC", "cc_firth_exact_CC",
)  # fmt: skip
WHOLE = ("king.kin0.gz", "pca.eigenvec.gz", "pca.eigenval")  # of all variants together
PREDICTIONS = ("qt1_pred.list", "qt1_1.loco", "cc1_pred.list", "cc1_1.loco", "cond.txt")


def pack(path: Path, data: bytes) -> None:
    path.write_bytes(gzip.compress(data, 9, mtime=0))


def cut_table(source: Path, target: Path, kept: set[str]) -> None:
    """The header and the rows in which a column ID or SNP names a kept variant."""
    header, *rows = gzip.decompress(source.read_bytes()).decode().splitlines(keepends=True)
    column = next(i for i, name in enumerate(header.split()) if name in ("ID", "SNP"))
    pack(target, "".join([header, *(row for row in rows if row.split()[column] in kept)]).encode())


def cut(source: Path, target: Path) -> None:
    name = source.name
    bim = gzip.decompress((source / f"{name}.bim.gz").read_bytes()).decode().splitlines(keepends=True)
    ids = [line.split()[1] for line in bim]
    named = {line.split()[0] for line in (source / f"{name}.prs.tsv").read_text().splitlines()}
    named |= set((source / "gold_regenie" / "cond.txt").read_text().split())
    others = [i for i in ids if i not in named]
    kept = named & set(ids) | set(others[::10])
    rows = np.array([i in kept for i in ids])

    for folder in ("gold", "gold_regenie"):
        (target / folder).mkdir(parents=True, exist_ok=True)
    bed = gzip.decompress((source / f"{name}.bed.gz").read_bytes())
    body = np.frombuffer(bed, np.uint8, offset=3).reshape(len(ids), -1)
    pack(target / f"{name}.bed.gz", bed[:3] + body[rows].tobytes())
    pack(target / f"{name}.bim.gz", "".join(line for line, keep in zip(bim, rows, strict=True) if keep).encode())
    (target / "whole").mkdir(exist_ok=True)
    pack(target / "whole" / f"{name}.bed.gz", bed)
    pack(target / "whole" / f"{name}.bim.gz", "".join(bim).encode())
    for file in WHOLE:
        data = (source / "gold" / file).read_bytes()
        if file.endswith(".gz"):
            pack(target / "whole" / file, gzip.decompress(data))
        else:
            (target / "whole" / file).write_bytes(data)
    for suffix in ("fam", "pheno.tsv", "covar.tsv", "prs.tsv"):
        shutil.copyfile(source / f"{name}.{suffix}", target / f"{name}.{suffix}")
    for file in SCORES:
        shutil.copyfile(source / "gold" / file, target / "gold" / file)
    for table in TABLES:
        cut_table(source / "gold" / f"{table}.gz", target / "gold" / f"{table}.gz", kept)
    for table in REGENIE:
        file = Path("gold_regenie", f"{table}.regenie.gz")
        cut_table(source / file, target / file, kept)
    for file in PREDICTIONS:
        shutil.copyfile(source / "gold_regenie" / file, target / "gold_regenie" / file)
    print(f"{rows.sum()} of {len(ids)} variants kept")


if __name__ == "__main__":
    cut(Path(sys.argv[1]), Path(sys.argv[2]))
