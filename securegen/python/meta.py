"""Meta-analysis of finished tables: of this program, plink2, regenie or GWAS-SSF, aligned by the matcher of scores.

>>> import securegen as sg, tempfile
>>> study = sg.open_study("examples/cohort", pheno="examples/cohort.pheno.tsv", pheno_name="QT", chr="1", to_bp=400_000)
>>> folder = tempfile.TemporaryDirectory()
>>> paths = [sg.run(study, out=f"{folder.name}/{name}").paths["QT"] for name in ("a", "b")]
>>> found = sg.meta(paths, f"{folder.name}/both")
>>> found
Meta(2 studies, 73 variants)
>>> bool((found.frame["STUDY_CT"] == 2).all())
True
>>> folder.cleanup()
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from securegen.errors import InputError, UsageError
from securegen.governance.gate import Asking, gate_of
from securegen.governance.history import PeopleFacts
from securegen.governance.signing import digest_of
from securegen.io.digests import sha256
from securegen.model import Samples, Variants
from securegen.python.aligned import matched, read_effects, variants_of
from securegen.results.forms import TableForm
from securegen.results.meta_table import write_meta
from securegen.results.read import read_frame
from securegen.results.rows import FULL_DIGITS
from securegen.scores.match import NOT_FOUND, REFUSED, Match
from securegen.stats.meta import Studies, controlled, inflation, meta_analysis
from securegen.study import checks
from securegen.study.inputs import Log, silent

if TYPE_CHECKING:
    import pandas as pd

PathLike = str | os.PathLike[str]
BY = ("auto", "id", "position")


@dataclass(frozen=True)
class StudyTable:
    """What a meta-analysis read of one table. inflation: genomic λ; rows: of the file; used: with an effect, of these;
    left_out: by the matcher's word."""

    path: str
    rows: int
    used: int
    inflation: float
    left_out: dict[str, int]

    def line(self) -> str:
        lost = ", ".join(f"{count} {word}" for word, count in self.left_out.items())
        return f"{self.path}: {self.used} of {self.rows} rows, λ_GC {self.inflation:.4f}" + (
            f" ({lost})" if lost else ""
        )


@dataclass(frozen=True, repr=False)
class Meta:
    """A finished meta-analysis. path: of its table; studies: what each gave; facts: for run.json; decisions: of the door."""

    path: str
    studies: tuple[StudyTable, ...]
    variants: int
    facts: dict[str, Any]
    decisions: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"Meta({len(self.studies)} studies, {self.variants} variants)"

    @property
    def frame(self) -> pd.DataFrame:
        """The table, as `sg.run` returns those of studies."""
        return read_frame(self.path)


def meta(
    tables: Sequence[PathLike], out: PathLike, *, genomic_control: bool = False, match_by: str = "auto",
    keep_ambiguous: bool = False, digits: int = FULL_DIGITS, gzip: bool = False, asking: Asking | None = None,
    log: Log = silent,
) -> Meta:  # fmt: skip
    """Write OUT.meta of two tables or more, every variant that any has, with A1 of the first that has it.

    genomic_control: errors of a study √λ times as large where its λ is above 1; match_by: variants by id, position, or auto, id
    first; keep_ambiguous: use A/T and C/G that are matched by position alone as labelled; asking: who asks, of a policy that
    stands beside the tables or is named. Raises UsageError, InputError naming the table, PolicyError.
    """
    checks.flag("genomic_control", genomic_control)
    checks.flag("keep_ambiguous", keep_ambiguous)
    checks.choice("match_by", match_by, BY)
    form = TableForm(digits, gzip=gzip)
    paths = [os.fspath(t) for t in tables]
    if len(paths) < 2:
        raise UsageError(f"a meta-analysis needs two tables or more, and there {'is one' if paths else 'are none'}")
    if len({os.path.realpath(p) for p in paths}) < len(paths):
        raise UsageError("a table is named twice: its people would be counted twice")
    gate = gate_of("plain", asking or Asking(), [*paths, out], log=log, consent=False)
    # sums of these people left with the tables: nothing of them is opened anew
    options = {"genomic_control": genomic_control, "match_by": match_by, "keep_ambiguous": keep_ambiguous}
    asked = {f"table{i}": sha256(p) for i, p in enumerate(paths, 1)} | {"options": digest_of(options)}
    gate = gate.of(PeopleFacts(_nobody()), asked)
    variants, named, parts, studies = _aligned(paths, match_by, keep_ambiguous=keep_ambiguous, log=log)
    if genomic_control:
        parts = controlled(parts, np.array([s.inflation for s in studies]))
    if gate.minor_alleles:
        parts = parts.of_carriers(gate.minor_alleles)
    columns = named | meta_analysis(parts)
    path = f"{os.fspath(out)}.meta"
    write_meta(path, variants, columns, digits, fewest=parts.fewest, gate=gate)
    (path,) = form.finish([path])
    facts = {
        "inputs": {p: sha256(p) for p in paths}, "variants": len(variants), "genomic_control": genomic_control,
        "studies": [{k: v for k, v in vars(s).items() if k != "path"} for s in studies], **gate.record(),
    }  # fmt: skip
    return Meta(path, tuple(studies), len(variants), facts, tuple(gate.lines()))


def _nobody() -> Samples:
    none = np.array([], dtype=object)
    return Samples(none, none, np.zeros(0, bool))


def _aligned(
    paths: Sequence[str], by: str, *, keep_ambiguous: bool, log: Log
) -> tuple[Variants, dict[str, np.ndarray], Studies, list[StudyTable]]:
    """Every variant of any table, its REF and ALT, and each table's numbers on them."""
    known: Variants | None = None
    named: dict[str, np.ndarray] = {}
    found: list[tuple[np.ndarray, dict[str, np.ndarray]]] = []
    studies = []
    for path in paths:
        frame = read_effects(path, "a meta-analysis adds")
        table, numbers = variants_of(frame, path), _numbers(frame)
        alleles = {name: frame[name].to_numpy(object) for name in ("REF", "ALT")}
        place, turned, left = np.arange(len(table)), np.zeros(len(table), bool), dict[str, int]()
        if known is None:
            known, named = table, alleles
        else:
            place, turned, left, fresh = _on(known, path, table, by, keep_ambiguous=keep_ambiguous)
            known = _joined(known, table.take(fresh))
            named = {name: np.concatenate([named[name], values[fresh]]) for name, values in alleles.items()}
        numbers["beta"] = np.where(turned, -numbers["beta"], numbers["beta"])
        numbers["frequency"] = np.where(turned, 1 - numbers["frequency"], numbers["frequency"])
        kept = place >= 0
        found.append((place[kept], {name: values[kept] for name, values in numbers.items()}))
        used = int((kept & np.isfinite(numbers["beta"]) & np.isfinite(numbers["se"])).sum())
        studies.append(StudyTable(path, len(frame), used, inflation(numbers["beta"], numbers["se"]), left))
        log(studies[-1].line())
    if known is None:
        raise UsageError("a meta-analysis needs two tables or more")
    shape = len(paths), len(known)
    parts = {name: np.full(shape, np.nan) for name in ("beta", "se", "log10p", "people", "frequency")}
    for s, (place, numbers) in enumerate(found):
        for name, values in numbers.items():
            parts[name][s, place] = values
    return known, named, Studies(**parts), studies


def _numbers(frame: pd.DataFrame) -> dict[str, np.ndarray]:
    names = {"beta": "BETA", "se": "SE", "log10p": "LOG10_P", "people": "OBS_CT", "frequency": "A1_FREQ"}
    nothing = np.full(len(frame), np.nan)
    return {own: frame[name].to_numpy(float) if name in frame else nothing for own, name in names.items()}


def _on(
    known: Variants, path: str, table: Variants, by: str, *, keep_ambiguous: bool
) -> tuple[np.ndarray, np.ndarray, dict[str, int], np.ndarray]:
    """Place of each row among the known variants and the new ones behind them, −1 where it is left out; whether the other
    allele is counted there; how many are left out, by word; and which rows are new."""
    m = matched(path, table, known, by, keep_ambiguous=keep_ambiguous)
    if not len(m):
        raise InputError(f"{path} has no variant in common with the tables before it: are they of one genome build?")
    place, turned = np.full(len(table), -1, np.int64), np.zeros(len(table), bool)
    place[m.row], turned[m.row] = m.variant, m.swapped
    fresh = _fresh(m)
    place[fresh] = len(known) + np.arange(len(fresh))
    lost = place < 0
    left = dict(Counter(str(word) for word in m.word[lost]))
    return place, turned, left, fresh


def _fresh(m: Match) -> np.ndarray:
    """Rows of variants that no table before has; those of X, Y and MT have a word of their own."""
    new = [word == NOT_FOUND or word.startswith(f"{REFUSED}:") for word in m.word]
    return np.flatnonzero(np.array(new, bool))


def _joined(first: Variants, more: Variants) -> Variants:
    return replace(first, **{n: np.concatenate([getattr(first, n), getattr(more, n)]) for n in vars(first)})


def planned(out: PathLike, *, gzip: bool = False) -> list[str]:
    """What `meta` writes."""
    return [TableForm(gzip=gzip).packed(f"{os.fspath(out)}.meta")]
