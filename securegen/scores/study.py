"""Scores as their user names them: genotypes, scoring files, matching rules -> a plan.

The same steps serve every engine, so that tables are equal text. Who learns what: whoever opens a score study sees the
variants, the weights and, for mean imputation with the cohort's frequencies, allele counts of the genotypes.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from securegen.errors import UsageError
from securegen.governance.signing import digest_of
from securegen.io.digests import sha256
from securegen.io.genotypes import genotypes_given
from securegen.io.table_files import GZ
from securegen.model import IntArray, SelectableReader, Variants
from securegen.scores.copies import CopiesReader, count_copies
from securegen.scores.files import read_scorings
from securegen.scores.integers import MAXIMUM_BITS, MINIMUM_BITS
from securegen.scores.match import MIN_OVERLAP, Match, TooFewMatchesError, match_variants
from securegen.scores.pgs_catalog import described, refuse_unknown_build
from securegen.scores.plan import AlleleCounts, ScorePlan, plan_scores, used_variants
from securegen.scores.release import DIGITS, refuse_few_variants, refuse_small_models
from securegen.scores.sscore import write_match_log
from securegen.scores.sums import count_alleles
from securegen.study import checks
from securegen.study.genotypes import open_genotypes
from securegen.study.inputs import Inputs, Log, silent
from securegen.study.parts import RunPart, part_of
from securegen.study.ploidy import MT, NAMES, X, Y, kinds_of

MOST_COLUMNS = 1 << 20  # of a scoring file


@dataclass(frozen=True)
class ScoreInputs:
    """What names a score run.

    score: scoring files; score_col_nums: 1-based numbers of id, effect allele and weights, or None: by header names;
    match_by: auto, id or position; imputation: cohort, file or none; weight_bits: of a score's largest weight, None for
    as many as its digits need; digits: significant digits released; min_variants: fewest of a score, None for
    `minimum_variants`; allow_small_score: scores that may have fewer; reference: a .sscore file to compare with;
    risk_intercept, risk_slope: of the logistic link, where risks are wanted; gzip: write OUT.sscore.gz.

    One name or path may be given as text. Raises UsageError for a value that a field does not take.
    """

    score: tuple[str, ...]
    score_col_nums: tuple[int, ...] | None = None
    genome_build: str | None = None
    match_by: str = "auto"
    keep_ambiguous: bool = False
    strand_flips: bool = True
    min_overlap: float = MIN_OVERLAP
    imputation: str = "cohort"
    weight_bits: int | None = None
    digits: int = DIGITS
    min_variants: int | None = None
    allow_small_score: tuple[str, ...] = ()
    reference: str | None = None
    risk_intercept: float | None = None
    risk_slope: float = 1.0
    gzip: bool = False

    def table(self, out: str) -> str:
        """The file that the scores are written to."""
        return f"{out}.sscore{GZ * self.gzip}"

    def __post_init__(self) -> None:
        for name in ("score", "allow_small_score"):
            given = _text(getattr(self, name))
            object.__setattr__(
                self, name, checks.names(name, given if isinstance(given, str) else tuple(map(_text, given))) or ()
            )
        if self.score_col_nums is not None:
            object.__setattr__(self, "score_col_nums", tuple(self.score_col_nums))
            for number in self.score_col_nums:
                checks.whole("score_col_nums", number, 1, MOST_COLUMNS)
            if len(self.score_col_nums) < 3:
                raise UsageError("`score_col_nums` are three numbers or more: of variant id, effect allele and weight")
        refuse_unknown_build(self.genome_build)
        checks.choice("match_by", self.match_by, ("auto", "id", "position"))
        checks.choice("imputation", self.imputation, ("cohort", "file", "none"))
        checks.flag("keep_ambiguous", self.keep_ambiguous)
        checks.flag("strand_flips", self.strand_flips)
        checks.number("min_overlap", self.min_overlap, 0, 1)
        checks.whole("weight_bits", self.weight_bits, MINIMUM_BITS, MAXIMUM_BITS)
        checks.whole("digits", self.digits, 1, 17)
        checks.whole("min_variants", self.min_variants, 1, None)
        object.__setattr__(self, "reference", checks.path("reference", self.reference))
        if self.risk_intercept is not None:
            checks.number("risk_intercept", self.risk_intercept, -1e300, 1e300)
        checks.number("risk_slope", self.risk_slope, -1e300, 1e300)
        if self.risk_intercept is None and self.risk_slope != 1.0:
            raise UsageError(
                "`risk_slope` is given without `risk_intercept`, which no scoring file carries: give both or none"
            )
        checks.flag("gzip", self.gzip)

    def digests(self) -> dict[str, str]:
        """SHA-256 of every file, by the name it has in run.json."""
        files = {"score" if len(self.score) == 1 else f"score{i}": p for i, p in enumerate(self.score, 1)}
        if self.reference:
            files["reference"] = self.reference
        return {name: sha256(path) for name, path in files.items()}


@dataclass(frozen=True)
class ScoreStudy:
    """Genotypes (read later, block by block), where the weights go, and the integers they became."""

    genotypes: Inputs
    inputs: ScoreInputs
    reader: SelectableReader | CopiesReader
    matches: tuple[Match, ...]
    plan: ScorePlan

    @property
    def part(self) -> RunPart | None:
        """Which of how many parts of the variants this is; None where it is of all."""
        return None if self.genotypes.blocks is None else part_of(self.genotypes.blocks)

    @property
    def span(self) -> tuple[int, int]:
        """First and last + 1 of the variants."""
        count = len(self.reader.variants)
        return (0, count) if self.part is None else self.part.span(count)

    @property
    def two_copies(self) -> SelectableReader:
        """The genotypes, where every variant scored has two copies in everybody. Raises UsageError for X, Y and MT."""
        if isinstance(self.reader, CopiesReader):
            raise UsageError(
                "this model has weights on X, Y or MT, which only engine plain scores: leave them out "
                "(`chr` 1-22), or use engine plain"
            )
        return self.reader

    def record(self) -> dict[str, Any]:
        """The keys of run.json that describe the study, whatever the engine."""
        plan = self.plan
        return {
            "inputs": digests(self.genotypes, self.inputs),
            "samples": len(self.reader.samples),
            "samples_stored": len(self.reader.samples),
            "variants": len(plan.variant),
            "covariates": 0,
            "phenotypes": [],
            "scores": {name: plan.score_variants(s) for s, name in enumerate(plan.names)},
            "match": {m.scoring.path: m.counts() for m in self.matches},
            "catalog": {m.scoring.path: about for m in self.matches if (about := described(m.scoring.header))},
            "missing": plan.imputation,
            "promise": promise(plan),
        }


def digests(genotypes: Inputs, inputs: ScoreInputs) -> dict[str, str]:
    """SHA-256 of every file of a run, by the name it has in run.json; genotypes in memory have none."""
    named = genotypes_given(vars(genotypes))
    return (genotypes.digests() if named else {}) | inputs.digests()


def asked_for(genotypes: Inputs, inputs: ScoreInputs) -> dict[str, str]:
    """What a policy is asked for: `digests`, and those of every option that names no file."""
    of_scores = digest_of({k: v for k, v in vars(inputs).items() if k not in ("score", "reference")})
    return digests(genotypes, inputs) | {"options": genotypes.asked_for()["options"], "options.scores": of_scores}


def _text(value: Any) -> Any:
    """A path object as text."""
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def promise(plan: ScorePlan) -> dict[str, Any]:
    """Printed error bounds: of the sums, in weight units, against weights that are not rounded."""
    return {name: {"sum_error": plan.error[s], "exponent": plan.exponent[s]} for s, name in enumerate(plan.names)}


def match_scores(
    inputs: ScoreInputs, variants: Variants, log: Log = silent, *, out: str | None = None
) -> tuple[Match, ...]:
    """Read the scoring files and find their variants; write OUT.match.tsv, also where too few are found.

    Raises InputError or UsageError, naming file and line.
    """
    if not inputs.score:
        raise UsageError("`score` names no scoring file: give one or several")
    matches: list[Match] = []
    refusals: list[TooFewMatchesError] = []
    for scoring in read_scorings(inputs.score, inputs.score_col_nums, genome_build=inputs.genome_build):
        try:
            match = match_variants(
                scoring, variants, by=inputs.match_by, keep_ambiguous=inputs.keep_ambiguous,  # type: ignore[arg-type]
                strand_flips=inputs.strand_flips, min_overlap=inputs.min_overlap,
            )  # fmt: skip
            log(match.summary())
        except TooFewMatchesError as error:
            match = error.match
            refusals.append(error)
        matches.append(match)
    if out is not None:
        write_match_log(f"{out}.match.tsv", matches, variants)
        log(f"wrote {out}.match.tsv, which says how every row of the scoring files was matched")
    if refusals:
        raise refusals[0]
    return tuple(matches)


def make_plan(
    inputs: ScoreInputs,
    matches: Sequence[Match],
    counts: AlleleCounts | None,
    *,
    grid: int = 1,
    log: Log = silent,
    copies: IntArray | None = None,
    on_y: np.ndarray | None = None,
    within: tuple[int, int] | None = None,
) -> ScorePlan:
    """Integer weights of every score; refuses models that are too small to be released (PolicyError). within: as of
    `plan_scores`; who adds the parts up knows how many variants they have together, and refuses then."""
    plan = plan_scores(
        matches, dosage_grid=grid, imputation=inputs.imputation, counts=counts, bits=inputs.weight_bits,  # type: ignore[arg-type]
        digits=inputs.digits, copies=copies, on_y=on_y, within=within,
    )  # fmt: skip
    for line in plan.describe():
        log(line)
    if plan.left_out:
        log(f"WARNING: {plan.left_out} variants have no called genotype and are left out")
    rules: dict[str, Any] = {"digits": inputs.digits, "min_variants": inputs.min_variants}
    rules["allow_small_score"] = inputs.allow_small_score
    if within is None:
        refuse_small_models(plan, **rules)
    else:
        refuse_few_variants({name: len(m) for m in matches for name in m.scoring.names}, **rules)
    return plan


def open_scores(
    genotypes: Inputs, inputs: ScoreInputs, *, log: Log = silent, opened: SelectableReader | None = None,
    out: str | None = None, haploid: bool = True,
) -> ScoreStudy:  # fmt: skip
    """Open genotypes and scoring files, match them, turn weights into integers.

    opened: genotypes in memory in place of genotypes.bfile; out: write OUT.match.tsv, whatever comes of it; haploid: with the
    variants on X, Y and MT. Allele counts are taken over all samples that are scored. Raises InputError, UsageError,
    PlanError or PolicyError, each saying which file, line or score and what to do.
    """
    reader = open_genotypes(genotypes, log, opened, haploid=haploid, parts=True)
    matches = match_scores(inputs, reader.variants, log, out=out)
    within = None if genotypes.blocks is None else part_of(genotypes.blocks).span(len(reader.variants))
    used, kinds = used_variants(matches, within), kinds_of(reader.variants)
    if within is not None:
        log(f"--blocks {genotypes.blocks}: variants {within[0] + 1:,} to {within[1]:,}, {len(used):,} of them scored")
    if not kinds[used_variants(matches)].any():  # in no part
        counts = count_alleles(reader, used)
        plan = make_plan(inputs, matches, counts, grid=reader.dosage_grid, log=log, within=within)
        return ScoreStudy(genotypes, inputs, reader, matches, plan)
    told = ", ".join(f"{int((kinds[used] == kind).sum())} on {NAMES[kind]}" for kind in (X, Y, MT))
    log(f"of the variants scored, {told}: males have 2 copies of X and 1 of Y, others none of Y, everybody 1 of MT")
    unknown = int((reader.samples.sex == 0).sum())
    if unknown and (kinds[used] == Y).any():
        log(
            f"WARNING: {unknown:,} of {len(reader.samples):,} people have no sex in the genotype file: scored without Y"
        )
    recoded = CopiesReader(reader, kinds, log=log)
    plan = make_plan(
        inputs, matches, count_copies(recoded, used), grid=recoded.dosage_grid, log=log, copies=recoded.copies(used),
        on_y=kinds[used] == Y, within=within,
    )  # fmt: skip
    return ScoreStudy(genotypes, inputs, recoded, matches, plan)
