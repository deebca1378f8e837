"""Two tables of results side by side, and the receipt of a finished run, from Python.

>>> import securegen as sg, tempfile
>>> study = sg.open_study("examples/cohort", pheno="examples/cohort.pheno.tsv", pheno_name="QT", chr="1", to_bp=400_000)
>>> folder = tempfile.TemporaryDirectory()
>>> ours, theirs = (sg.run(study, out=f"{folder.name}/{name}").paths["QT"] for name in ("a", "b"))
>>> sg.compare(ours, theirs)
Comparison(agree)
>>> sg.read_receipt(f"{folder.name}/a").scenario
'in the clear'
>>> folder.cleanup()
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from securegen.errors import InputError, UsageError
from securegen.io.text import read_text
from securegen.record.receipt import Receipt
from securegen.record.run_log import read_records
from securegen.results.concordance import TOLERANCE, TOP, Concordance, first_difference
from securegen.results.concordance import compare as side_by_side
from securegen.results.read import read_results
from securegen.study import checks


@dataclass(frozen=True, repr=False)
class Comparison:
    """reasons: why the tables differ, none where they agree; concordance: every number of the comparison, None of text."""

    reasons: tuple[str, ...]
    concordance: Concordance | None

    @property
    def agree(self) -> bool:
        return not self.reasons

    def __repr__(self) -> str:
        return f"Comparison({'agree' if self.agree else '; '.join(self.reasons)})"


def compare(
    a: str | os.PathLike[str],
    b: str | os.PathLike[str],
    *,
    exact: bool = False,
    tolerance: float = TOLERANCE,
    match_by: str = "auto",
    common: bool = False,
    top: int = TOP,
    plot: str | os.PathLike[str] | None = None,
) -> Comparison:
    """Are two tables of results the same, and if not, where? Of this program, plink2, regenie or GWAS-SSF.

    exact: every character must be equal; tolerance: largest difference, in the units of `results.concordance`; match_by: rows
    by position, id, or auto; common: variants of one table alone are not a difference; top: hits whose membership is compared;
    plot: a scatter plot to write (.png, .svg, .pdf). Raises InputError and UsageError.
    """
    checks.number("tolerance", tolerance, 0, float("inf"))
    checks.choice("match_by", match_by, ("auto", "id", "position"))
    checks.whole("top", top, 1, None)
    if exact:
        if plot:
            raise UsageError("`exact` compares text: it goes without `plot`")
        where = first_difference(read_text(Path(a)), read_text(Path(b)))
        return Comparison((where,) if where else (), None)
    found = side_by_side(*(read_results(Path(path), every=True) for path in (a, b)), by=match_by, top=top)
    if plot:
        from securegen.plot.canvas import write
        from securegen.plot.comparison import scatter

        write(Path(plot), scatter(found, (Path(a).name, Path(b).name)))
    return Comparison(tuple(found.reasons(tolerance, common=common)), found)


def read_receipt(path: str | os.PathLike[str]) -> Receipt:
    """Who held what, who learned what and what had to be trusted, of a finished run: its prefix, or its run.json.

    Raises InputError where there is no record, or none of its commands left a receipt.
    """
    name = os.fspath(path)
    name = name if name.endswith(".run.json") else f"{name}.run.json"
    try:
        records = read_records(name)
    except FileNotFoundError:
        raise InputError(f"{name}: no such file; name what a finished run was given as out") from None
    found = next((r["receipt"] for r in records if r.get("receipt")), None)
    if found is None:
        raise InputError(f"{name}: no receipt; steps that compute or open results leave one")
    return Receipt.from_json(found)
