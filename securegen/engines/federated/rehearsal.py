"""A federated study with every site as a process of its own on this machine, through the files of a deployment.

The caller holds everybody's data, so nothing is hidden from it: this shows and tests a study, it protects nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from securegen.engines.federated import steps
from securegen.engines.federated.message_folder import SUFFIX
from securegen.engines.federated.site import run_site
from securegen.engines.federated.studyfile import CASE_CONTROL_01, CASE_CONTROL_12, QUANTITATIVE, StudyFile
from securegen.engines.federated.variants import write_variants
from securegen.errors import PeerError, SecuregenError, UsageError
from securegen.governance.guard import REFUSED
from securegen.governance.openings import STRICT, WITHHOLD
from securegen.governance.signing import read_identity
from securegen.io.genotypes import FIELDS, GenotypeFiles
from securegen.io.output import write_text
from securegen.io.tables import read_header
from securegen.local.answers import read_answer
from securegen.local.launcher import Role, given, launch
from securegen.model import GenotypeReader, OpenedSums, Samples
from securegen.stats.qc import Filters
from securegen.study import people
from securegen.study.genotypes import open_genotypes
from securegen.study.inputs import ASKING, GENETIC_MODELS, NOISE, PLINK2, REGENIE, Inputs, Log, silent
from securegen.study.set_fields import SetFields
from securegen.study.traits import read_used, used_columns

SET_FIELDS = tuple(f.name for f in fields(SetFields) if f.name not in FIELDS)
WAIT = 600  # seconds until a silent site is named


@dataclass(frozen=True)
class LocalSite:
    """A site of a rehearsal: its name, its genotypes, and who of them belong to it (None: all)."""

    name: str
    genotypes: GenotypeFiles
    keep: Samples | None


def deal(reader: GenotypeReader, genotypes: GenotypeFiles, sites: int) -> list[LocalSite]:
    """Deal the samples of one cohort to sites, round robin in file order."""
    if sites > len(reader.samples):
        raise UsageError(f"{len(reader.samples)} samples cannot be dealt to {sites} sites")
    rows = np.arange(len(reader.samples))
    return [LocalSite(f"site{i + 1}", genotypes, reader.samples.take(rows[i::sites])) for i in range(sites)]


def trait_kinds(inputs: Inputs, cohorts: Sequence[Samples]) -> dict[str, str]:
    """How each phenotype is coded, by its name, from everybody's values: what a coordinator knows beforehand."""
    if inputs.pheno is None:
        raise UsageError("`pheno` is needed")
    table = read_used(inputs.pheno, inputs.pheno_name, inputs.sex_name, silent, "phenotype")
    out = {}
    for name in table.columns:
        values = np.concatenate([people.column_values(table, name, people.join(s, table)) for s in cohorts])
        binary = people.interpret_phenotype(name, values, force_01=inputs.force_01).binary
        coding = CASE_CONTROL_12 if (values == 2).any() else CASE_CONTROL_01
        out[name] = coding if binary else QUANTITATIVE
    return out


def refuse(inputs: Inputs) -> None:
    """Raise UsageError for what is not a sum over sites."""
    for name, chosen, why in (
        ("apply_rint", inputs.apply_rint, "ranks over all people are not a sum over sites"),
        ("covar_categorical", bool(inputs.covar_categorical), "give indicator columns, the same at every site"),
        ("no_input_missing_phenotype", inputs.no_input_missing_phenotype, "-9 is missing at every site"),
        ("fast", inputs.fast, "sums over carriers alone are not opened"),
        ("hwe_controls", inputs.hwe_controls, "the tests are over founders"),
    ):
        if chosen:
            raise UsageError(f"`{name}` does not go with a federated study: {why}")


def set_up(
    work: Path, inputs: Inputs, sites: Sequence[LocalSite], log: Log, *, two_sites_learn_each_other: bool = False,
    openings: str = STRICT, few_missing: str = WITHHOLD, consent_openings: bool = False,
    pcs: int = 0, step1: bool = False, block: int | None = None, write_score: bool = False,
) -> StudyFile:  # fmt: skip
    """Make keys, the study file and the private folders below `work`, and let every site accept."""
    refuse(inputs)
    cohorts: list[Samples] = []
    lists: list[Path] = []
    grid = 1
    for genotypes in dict.fromkeys(s.genotypes for s in sites):
        reader = open_genotypes(replace(inputs, **vars(genotypes)), log, haploid=True)
        grid = max(grid, reader.dosage_grid)
        cohorts.append(reader.samples)
        lists.append(work / f"variants{len(lists) + 1}.tsv")
        write_variants(lists[-1], reader.variants)
    covariates: tuple[str, ...] = ()
    if inputs.covar:
        names, path = read_header(inputs.covar), inputs.covar
        covariates = tuple(used_columns(names, path, inputs.covar_name, inputs.sex_name, silent, "covariate"))
    shared = work / "shared"
    keys = {site.name: work / site.name / "site.public" for site in sites}
    for i, site in enumerate(sites):
        steps.keygen(work / site.name / "private", keys[site.name])
        samples = site.keep if site.keep is not None else cohorts[i]
        rows = "".join(f"{f}\t{p}\n" for f, p in zip(samples.fid, samples.iid, strict=True))
        write_text(work / site.name / "keep.txt", "#FID\tIID\n" + rows, mode=0o600)
    study, dropped = steps.init(
        shared, work / "coordinator.secret", sites=keys, variant_lists=lists, phenotypes=trait_kinds(inputs, cohorts),
        covariates=covariates, name="rehearsal", model=inputs.model, missing=inputs.missing, bits=inputs.bits,
        dosage_grid=grid, qc=inputs.qc, smallest_cohort=1, two_sites_learn_each_other=two_sites_learn_each_other,
        openings=openings, few_missing=few_missing, consent_openings=consent_openings, common_samples=inputs.common_samples,
        statistic=REGENIE if inputs.as_regenie or step1 or inputs.vc_tests else PLINK2,
        xchr_model=inputs.xchr_model, split_par=inputs.split_par,
        predictions=bool(inputs.pred), interaction=inputs.interaction, pcs=pcs, step1=step1, block=block,
        write_score=write_score, correction=inputs.correction, p_thresh=inputs.p_thresh, log=log,
        **{name: getattr(inputs, name) for name in SET_FIELDS},
        **{name: getattr(inputs, name) for name in GENETIC_MODELS},
    )  # fmt: skip
    if dropped:
        log(f"{dropped} variants of the first site are not in every file, or with other alleles: left out")
    for site in sites:
        steps.join(shared, work / site.name / "private", fingerprints={}, trust_study_file=True)
    return study


def site_role(
    work: Path, inputs: Inputs, site: LocalSite, filters: Filters, *, wait: float = WAIT, **more: Any
) -> Role:
    """One site as its owner would start it. more: options of its table."""
    private = work / site.name
    options: dict[str, Any] = {
        "dir": work / "shared", "state": private / "private", **site.genotypes.options(private),
        "keep": private / "keep.txt", "pheno": Path(inputs.pheno or ""), "covar": Path(inputs.covar) if inputs.covar else None,
        "sex_name": inputs.sex_name, "generalise": inputs.generalise, "pred": Path(inputs.pred) if inputs.pred else None,
        **given(filters), **given(inputs, *ASKING, *NOISE), "wait": wait,
        "threads": 1, "out": private / "result", **more,
    }  # fmt: skip
    return Role(f"site {site.name.removeprefix('site')}", ("site", "run"), options, private)


def run_sites(roles: Sequence[Role]) -> None:
    """Run all sites side by side. Raises SecuregenError with the message and exit code of the first that fails."""
    launch(roles)


def run_here(work: Path, inputs: Inputs, sites: Sequence[LocalSite], seen: Callable[[OpenedSums], None]) -> None:
    """Run all sites in this process, in turn, until each has finished. seen: is shown what is opened, once."""
    left = list(sites)
    while left:
        waiting: PeerError | None = None
        before = messages_of(work / "shared")
        for site in list(left):
            own = replace(inputs, **vars(site.genotypes), keep=str(work / site.name / "keep.txt"))
            key = read_identity(work / site.name / "private" / "site.secret")
            try:
                run_site(
                    work / "shared", work / site.name / "private", key, own, str(work / site.name / "result"),
                    seen=seen if site is sites[0] else None,
                )  # fmt: skip
                left.remove(site)
            except PeerError as error:
                waiting = error
        if waiting is not None and messages_of(work / "shared") == before:
            raise waiting


def messages_of(shared: Path) -> int:
    """How many messages were posted."""
    return sum(1 for _ in shared.rglob(f"*{SUFFIX}"))


def refusals(work: Path, sites: Sequence[LocalSite]) -> list[str]:
    """What the sites' logs say of rules that refused: each site's own secret, and here one owner's."""
    found = []
    for site in sites:
        path = work / site.name / "result.log"
        lines = path.read_bytes().decode(errors="replace").split("\n") if path.is_file() else []
        found += [f"{site.name}: {line[line.index(REFUSED) :]}" for line in lines if REFUSED in line]
    return found


def results(work: Path, sites: Sequence[LocalSite]) -> list[dict[str, Any]]:
    """run.json of every site. Raises SecuregenError when two sites wrote different tables."""
    records: list[dict[str, Any]] = [read_answer(work / s.name / "result", s.name) for s in sites]
    for paths in zip(*map(written, records), strict=True):
        if len({Path(path).read_bytes() for path in paths}) > 1:
            raise SecuregenError("two sites wrote different tables: this must never happen, please report it")
    return records


def written(record: Mapping[str, Any]) -> list[str]:
    """What a site wrote that every site has: tables, and scores of a whole-genome model."""
    return [*(t["path"] for t in record["summaries"]), *record["files"]]


def message_table(shared: Path, study: StudyFile) -> list[tuple[str, int, int]]:
    """(step, messages, bytes) of everything that was posted, in the order in which steps began."""
    steps: dict[str, list[float]] = {}
    for site in study.sites:
        for path in (shared / site.name).glob(f"*{SUFFIX}"):
            status = path.stat()
            row = steps.setdefault(path.name.removesuffix(SUFFIX), [status.st_mtime_ns, 0, 0])
            row[0] = min(row[0], status.st_mtime_ns)
            row[1] += 1
            row[2] += status.st_size
    ordered = sorted(steps.items(), key=lambda item: (item[1][0], item[0]))
    return [(step, int(row[1]), int(row[2])) for step, row in ordered]
