"""A study opened: its inputs, a genotype reader and the integer design of every phenotype.

>>> from securegen.study.opening import open_study
>>> open_study("examples/cohort", pheno="examples/cohort.pheno.tsv", pheno_name="QT", chr="1", to_bp=400_000)
Study(500 samples, 73 variants, QT: linear)
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from securegen.catalogue import has_copies
from securegen.design.columns import Analysis, Design
from securegen.design.strata import AUTOSOMES, Stratum, analyses_of
from securegen.errors import UsageError
from securegen.model import GenotypeReader, SelectableReader
from securegen.study.checks import paths
from securegen.study.genotypes import chosen_genotypes, everybody_in
from securegen.study.held import Held, held
from securegen.study.inputs import Inputs, Log, silent
from securegen.study.mask_rows import with_masks
from securegen.study.masks import MaskReader
from securegen.study.parts import RunPart, part_between, part_of
from securegen.study.ploidy import as_genotypes
from securegen.study.predictions import with_rows
from securegen.study.set_study import SetStudy, set_study_of
from securegen.study.strata import build_strata
from securegen.study.unchanged import Marks, marks_of

Path = str | os.PathLike[str]
Names = str | Sequence[str]
Genotypes = Path | Sequence[Path] | SelectableReader


@dataclass(frozen=True, repr=False)
class Study:
    """Genotypes (read later, block by block) and the integer design of every phenotype. sets: of `vc_tests`, beside them;
    held: what the log says of people once the door allows something; everybody: whom a policy looks at, at the same variants,
    where `keep` or `remove` leaves people out of the files that it governs, see `everybody_of`; marks: of its files, as they were
    when it was opened."""

    inputs: Inputs
    reader: GenotypeReader
    strata: tuple[Stratum, ...]
    sets: SetStudy | None = None
    held: Held = field(default_factory=Held, compare=False)
    everybody: SelectableReader | None = field(default=None, compare=False)
    marks: Marks = field(default_factory=dict, compare=False)

    @property
    def design(self) -> Design:
        """The one design of all variants. Raises UsageError where there are several, or people with one copy."""
        if [s.name for s in self.strata] != [AUTOSOMES]:
            names = ", ".join(s.name for s in self.strata)
            raise UsageError(f"these chromosomes have designs of their own, in `strata` of the study: {names}")
        return self.strata[0].design

    @property
    def part(self) -> RunPart | None:
        """Which part of the variants it has, None for all."""
        return None if self.inputs.blocks is None else part_of(self.inputs.blocks)

    @property
    def analyses(self) -> tuple[Analysis, ...]:
        """One analysis a table, quality control last: that of the first stratum which has it."""
        return analyses_of(self.strata)

    def __repr__(self) -> str:
        tests = ", ".join(f"{a.phenotype}: {a.test}" for a in self.analyses)
        return f"Study({len(self.reader.samples)} samples, {len(self.reader.variants)} variants, {tests})"


def open_study(
    genotypes: Genotypes = "",
    /,
    *,
    pheno: Path | None = None,
    pheno_name: Names | None = None,
    covar: Path | None = None,
    covar_name: Names | None = None,
    covar_categorical: Names | None = None,
    model: str | None = None,
    missing: str = "mean",
    keep: Path | None = None,
    remove: Path | None = None,
    extract: Path | None = None,
    exclude: Path | None = None,
    chr: Names | None = None,
    from_bp: int | None = None,
    to_bp: int | None = None,
    bits: int | None = None,
    force_01: bool = False,
    apply_rint: bool = False,
    no_input_missing_phenotype: bool = False,
    common_samples: bool | None = None,
    xchr_model: int | None = None,
    split_par: str | None = None,
    sex_name: str | None = None,
    condition: Names | None = None,
    condition_list: Path | None = None,
    pred: Path | None = None,
    statistic: str | None = None,
    dominant: bool = False,
    recessive: bool = False,
    hetonly: bool = False,
    interaction: str | None = None,
    correction: str = "none",
    p_thresh: float = 0.05,
    fast: bool = False,
    anno_file: Path | None = None,
    set_list: Path | None = None,
    mask_def: Path | None = None,
    aaf_file: Path | None = None,
    aaf_bins: str | float | Sequence[str | float] | None = None,
    build_mask: str | None = None,
    vc_tests: Names | None = None,
    vc_max_aaf: float | None = None,
    purpose: str | None = None,
    consent: Path | None = None,
    mondo: Path | None = None,
    generalise: Names | None = None,
    policy: Path | None = None,
    identity: Path | None = None,
    visa: Names | None = None,
    second_signature: Names | None = None,
    dp_epsilon: float | None = None,
    dp_delta: float | None = None,
    dp_bounds: str | tuple[float, float] | None = None,
    blocks: str | None = None,
    qc: bool = False,
    hwe_controls: bool = False,
    bfile: Path | Sequence[Path] = "",
    pfile: Path | Sequence[Path] = "",
    vcf: Path | Sequence[Path] = "",
    bgen: Path | Sequence[Path] = "",
    bfile_list: Path | None = None,
    pfile_list: Path | None = None,
    vcf_list: Path | None = None,
    bgen_list: Path | None = None,
    sample: Path = "",
    ref_last: bool = False,
    vcf_field: str | None = None,
    multiallelic: str | None = None,
    dosage_grid: int | None = None,
    log: Log = silent,
) -> Study:
    """Open genotypes and build the design of every phenotype.

    genotypes: prefix of a PLINK1 fileset (@: one of each chromosome), a list of them, or a reader
    (`from_arrays`, `read_vcf`, …); or name files by bfile, pfile, vcf or
    bgen. The other keywords are the fields of `study.inputs.Inputs`, which says what each takes.

    Raises InputError, DesignError or UsageError, each saying which file, line or column and what to do.
    """
    inputs, reader = inputs_of(dict(locals()))
    return study_of(inputs, log, reader)


def inputs_of(given: dict[str, Any], **more: Any) -> tuple[Inputs, SelectableReader | None]:
    """Of the arguments of `open_study` or `open_qc`, by name: the inputs, and the reader that was given in place of files."""
    prefix, reader = named(given.pop("genotypes"), given.pop("bfile"))
    del given["log"]
    return Inputs(bfile=prefix, **given, **more), reader


def study_of(inputs: Inputs, log: Log = silent, genotypes: SelectableReader | None = None) -> Study:
    """The study that inputs name, on a reader in place of their files where one is given. Raises as `open_study`."""
    marks = marks_of(inputs)
    with held(inputs, log) as waiting:
        reader, everybody = chosen_genotypes(inputs, waiting, genotypes, haploid=has_copies(inputs.model), parts=True)
        if inputs.pred:
            reader = with_rows(reader, waiting)
            everybody = None if everybody is None else with_rows(everybody, silent)
        rows = with_masks(inputs, reader, waiting)
        found = part_between(inputs.blocks, *build_strata(inputs, rows, waiting), waiting)
        sets = set_study_of(inputs, rows) if inputs.vc_tests and isinstance(rows, MaskReader) else None
    return Study(inputs, *found, sets, waiting, None if rows is not reader else everybody, marks)


def qc_of(inputs: Inputs, log: Log = silent, genotypes: SelectableReader | None = None) -> Study:
    """As `study_of`, for quality control alone."""
    marks = marks_of(inputs)
    with held(inputs, log) as waiting:
        reader, everybody = chosen_genotypes(inputs, waiting, genotypes, haploid=True, parts=True)
        if reader.dosage_grid > 1:
            waiting("WARNING: fractional dosages have no genotype counts: no Hardy–Weinberg test, no .hardy file")
        found = part_between(inputs.blocks, *build_strata(inputs, reader, waiting, qc_only=True), waiting)
    return Study(inputs, *found, held=waiting, everybody=everybody, marks=marks)


def everybody_of(study: Study) -> GenotypeReader:
    """The genotypes of everybody in the files of a study whose use is allowed, `keep` and `remove` aside, at its variants."""
    if study.everybody is None:
        return as_genotypes(study.reader)
    return part_between(study.inputs.blocks, everybody_in(study.inputs, study.everybody), (), silent)[0]


def named(genotypes: Genotypes, bfile: Path | Sequence[Path]) -> tuple[str | tuple[str, ...], SelectableReader | None]:
    """Prefixes of PLINK1 filesets, or a reader of genotypes in memory."""
    if isinstance(genotypes, str | os.PathLike | list | tuple):
        if genotypes and bfile:
            raise UsageError("genotypes are named twice: give the prefix alone, or bfile")
        return paths("genotypes", genotypes or bfile), None
    if not isinstance(genotypes, str | os.PathLike | Sequence) and hasattr(genotypes, "select"):
        return paths("bfile", bfile), genotypes
    raise UsageError(f"genotypes are a prefix of files or a reader, not {genotypes!r}")
