"""The steps of a study as Python functions: open, plan, generate a key, encrypt, associate, decrypt, compare.

>>> import securegen as sg, tempfile
>>> folder = tempfile.TemporaryDirectory()
>>> study = sg.open_study("examples/cohort", pheno="examples/cohort.pheno.tsv", pheno_name=("QT",),
...                       covar="examples/cohort.covar.tsv", chr=("1",), to_bp=400_000)
>>> key = sg.generate_key(sg.plan(study))
>>> encrypted = sg.encrypt(study, key, f"{folder.name}/study")
>>> results = sg.associate(encrypted.cohort, encrypted.design, f"{folder.name}/results")  # the server: no key
>>> sg.decrypt(results, key, encrypted.owner).equals(sg.run_plain(study))
True
>>> folder.cleanup()
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from securegen.design.linear import Design
from securegen.errors import ArtefactError, DesignError, StorageError, UsageError
from securegen.io.output import PRIVATE
from securegen.model import GenotypeReader, Progress, SelectableReader, Sums, no_progress, variants_with_missing
from securegen.results.write import Summary, qc_analysis, write_qc, write_tables
from securegen.stats.qc import Filters
from securegen.study.build import Inputs, Log, build_design, build_qc, open_genotypes, read_traits, silent
from securegen.vocabulary import DEFAULT_ENCRYPTOR

if TYPE_CHECKING:
    import pandas as pd

    from securegen.engines.ckks.owner.design_secrets import DesignSecrets
    from securegen.engines.ckks.owner.secret_key import SecretKey
    from securegen.engines.ckks.planner import Plan, PlannedDesign


Genotypes = str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | SelectableReader


@dataclass(frozen=True)
class Study:
    """Genotypes (read later, block by block) and the integer design of every phenotype."""

    inputs: Inputs
    reader: GenotypeReader
    design: Design


def open_study(bfile: Genotypes = "", *, log: Log = silent, **options) -> Study:
    """Open genotypes and build the design. bfile: prefix of a PLINK1 fileset (@: one of each chromosome), a list of them, or
    a reader (`from_arrays`, `read_vcf`, …);
    options: the fields of `study.Inputs` (pheno, pheno_name, covar, …; pfile, vcf or bgen in place of bfile).

    Raises InputError, DesignError or UsageError, each saying which file, line or column and what to do.
    """
    inputs, reader = _opened(bfile, log, options)
    return Study(inputs, reader, build_design(inputs, reader, log))


def _opened(genotypes: Genotypes, log: Log, options: dict) -> tuple[Inputs, GenotypeReader]:
    if isinstance(genotypes, str | os.PathLike | list | tuple):
        inputs = Inputs(genotypes, **options)  # type: ignore[arg-type]  # paths become text there
        return inputs, open_genotypes(inputs, log)
    if not hasattr(genotypes, "select"):
        raise UsageError(f"genotypes are a prefix of files or a reader, not {genotypes!r}")
    inputs = Inputs("", **options)
    return inputs, open_genotypes(inputs, log, genotypes)  # type: ignore[arg-type]


def plan(study: Study, *, squares: bool | None = None) -> Plan:
    """CKKS parameters for this study. Counts, precision and the dosage grid enter, and how many blocks of variants have
    missing calls, which the encrypted cohort shows too. Raises PlanError.

    squares: store a stream of squared dosages; None when the design needs it (weights that differ by sample).
    """
    from securegen.engines.ckks.planner import Workload, choose

    columns = study.design.columns
    squares = study.design.weights_squared if squares is None else squares
    bits = max(a.model.bits for a in study.design.analyses)
    encrypted = sum(not columns.is_ones(j) for j in range(len(columns.names)))
    made = choose(
        Workload(
            len(study.reader.samples), len(study.reader.variants), max(encrypted, 1), bits, streams=1 + squares,
            dosage_max=study.reader.dosage_max, squares=squares,
        ),
        variants_with_missing(study.reader),
    )  # fmt: skip
    return replace(made, design=_names(study.design))


def _names(design: Design) -> PlannedDesign:
    """What a design is called: phenotypes, covariates and tests, in order."""
    from securegen.engines.ckks.planner import PlannedDesign

    tests = [a for a in design.analyses if a.test != "qc"]
    covariates = dict.fromkeys(name for a in tests for name in a.model.covariates)
    return PlannedDesign(
        tuple(a.phenotype for a in tests), tuple(covariates), tuple(dict.fromkeys(a.test for a in tests))
    )


def generate_key(plan: Plan) -> SecretKey:
    """A fresh secret key for a plan. It stays with the owner."""
    from securegen.engines.ckks.owner import secret_key

    return secret_key.generate(plan.parameters, plan.design)


@dataclass(frozen=True)
class Encrypted:
    """Folders of an encrypted study: `cohort` and `design` go to the server, `owner` stays with the key."""

    cohort: Path
    design: Path
    owner: Path


def encrypted_paths(prefix: str | os.PathLike[str]) -> Encrypted:
    return Encrypted(*(Path(f"{os.fspath(prefix)}.{part}") for part in ("cohort", "design", "owner")))


def encrypt(
    study: Study,
    key: SecretKey,
    prefix: str | os.PathLike[str],
    *,
    encryptor: str = DEFAULT_ENCRYPTOR,
    squares: bool | None = None,
    overwrite: bool = False,
    other_covariates: bool = False,
    progress: Progress | None = None,
    log: Log = silent,
) -> Encrypted:
    """Encrypt cohort and design into PREFIX.cohort and PREFIX.design; PREFIX.owner keeps what verification needs.

    squares: as in `plan`; overwrite: replace a study that is complete, whose results can then no longer be read;
    other_covariates: although a covariate that was planned is left out. Raises StorageError and DesignError otherwise.
    """
    squares = study.design.weights_squared if squares is None else squares
    paths = encrypted_paths(prefix)
    refuse_complete(paths.owner, design=True, overwrite=overwrite)
    compare_with_plan(study.design, key, log, other_covariates=other_covariates)
    paths = encrypt_cohort(
        study.reader, key, prefix, encryptor=encryptor, squares=squares, overwrite=True, progress=progress
    )
    encrypt_design(study, key, paths.owner, paths.design, encryptor=encryptor, overwrite=True, other_covariates=True)
    return paths


def refuse_complete(owner: Path, *, design: bool, overwrite: bool) -> None:
    """Raise StorageError when the study of an owner's folder is complete: with a design, or, if only a cohort is to be
    encrypted, the cohort. Its results, which may be on their way, could not be read any more."""
    complete = (owner / "cohort.box").exists() and (not design or any(owner.glob("design-*.box")))
    if complete and not overwrite:
        raise StorageError(
            f"{owner} has a complete {'study' if design else 'cohort'}, which is not overwritten: results of it could not "
            "be read any more. Choose another --out, or --overwrite"
        )


def compare_with_plan(design: Design, key: SecretKey, log: Log, *, other_covariates: bool = False) -> None:
    """Hold a design against the one that its key was planned for, and log differences by name.

    Raises DesignError when it lacks a covariate that was planned, unless told by name.
    """
    if key.planned is None:
        return
    now, then = _names(design), key.planned
    forgotten = [name for name in then.covariates if name not in now.covariates]
    if forgotten and now.phenotypes and not other_covariates:
        raise DesignError(
            f"the key was planned with {len(then.covariates)} covariates; this design lacks {', '.join(forgotten)}: give "
            "--covar as in the plan, or say --other-covariates"
        )
    for what, a, b in (
        ("phenotypes", now.phenotypes, then.phenotypes), ("covariates", now.covariates, then.covariates),
        ("tests", now.models, then.models),
    ):  # fmt: skip
        if set(a) != set(b):
            log(f"WARNING: {what} {', '.join(a) or 'none'}; the key was planned for {', '.join(b) or 'none'}")


def encrypt_cohort(
    reader: GenotypeReader,
    key: SecretKey,
    prefix: str | os.PathLike[str],
    *,
    encryptor: str = DEFAULT_ENCRYPTOR,
    squares: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Encrypted:
    """Encrypt the genotypes alone into PREFIX.cohort; designs may come later (with squares, without the genotypes).

    overwrite: replace a cohort that is complete. Raises StorageError otherwise.
    """
    from securegen.engines.ckks.owner import encrypt_cohort as cohorts
    from securegen.engines.ckks.owner.encryption import make_encryptor
    from securegen.engines.ckks.owner.state import OwnerState

    paths = encrypted_paths(prefix)
    refuse_complete(paths.owner, design=False, overwrite=overwrite)
    state = OwnerState(paths.owner, key)
    make = make_encryptor(encryptor, key)
    report = progress or no_progress
    cohorts.encrypt_cohort(reader, key, paths.cohort, state, encryptor=make, squares=squares, progress=report)
    return paths


def encrypt_design(
    study: Study,
    key: SecretKey,
    owner: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    *,
    encryptor: str = DEFAULT_ENCRYPTOR,
    overwrite: bool = False,
    other_covariates: bool = False,
    log: Log = silent,
) -> Path:
    """Encrypt the design of `study` into `folder`, for the cohort whose owner's folder is `owner`.

    overwrite: replace the design that was encrypted into that folder before; other_covariates: as in `encrypt`. Raises
    StorageError and DesignError otherwise.
    """
    from securegen.engines.ckks.owner import encrypt_design as designs
    from securegen.engines.ckks.owner.design_secrets import is_known
    from securegen.engines.ckks.owner.encryption import make_encryptor
    from securegen.engines.ckks.owner.state import CohortInfo, OwnerState, read_info

    state = OwnerState(Path(owner), key)
    compare_with_plan(study.design, key, log, other_covariates=other_covariates)
    info = read_info(state)
    reader = None if isinstance(study.reader, CohortInfo) else study.reader
    if not overwrite and is_known(state, Path(folder)):
        raise StorageError(
            f"{folder} has a design of {owner}, which is not overwritten: its results could not be read any more. Choose "
            "another --out, or --overwrite"
        )
    if reader is not None and not info.same_people_and_variants(reader):
        raise ArtefactError("these are not the genotypes that were encrypted: give the same files and filters")
    make = make_encryptor(encryptor, key)
    designs.encrypt_design(study.design, key, info, state, Path(folder), encryptor=make, reader=reader)
    return Path(folder)


def open_later_study(owner: str | os.PathLike[str], key: SecretKey, *, log: Log = silent, **options) -> Study:
    """A study on a cohort encrypted earlier, from the owner's folder: people and variants, no genotypes."""
    from securegen.engines.ckks.owner.state import OwnerState, read_info

    info = read_info(OwnerState(Path(owner), key))
    inputs = Inputs("", **options)
    return Study(inputs, info, build_design(inputs, info, log))


def associate(
    cohort: str | os.PathLike[str],
    design: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    progress: Progress | None = None,
    memory_bytes: int | None = None,
) -> Path:
    """The server's step: encrypted sums of an encrypted cohort and design, without any key. Returns the folder."""
    from securegen.engines.ckks.cohort import open_cohort
    from securegen.engines.ckks.server import associate
    from securegen.engines.ckks.studydesign import open_design

    opened = open_cohort(Path(cohort))
    associate.associate(
        opened,
        open_design(Path(design), opened.public),
        Path(out),
        progress=progress or no_progress,
        batch_bytes=memory_bytes or associate.WORKING_BYTES,
    )
    return Path(out)


def read_design(
    key: SecretKey, owner: str | os.PathLike[str], design: str | os.PathLike[str] | None = None
) -> DesignSecrets:
    """The owner's record of the design to open: `design` is its folder or digest, None where there is one only."""
    from securegen.engines.ckks.owner.design_secrets import read_secrets
    from securegen.engines.ckks.owner.state import OwnerState

    return read_secrets(OwnerState(Path(owner), key), design)


def decrypt_tables(
    results: str | os.PathLike[str],
    key: SecretKey,
    owner: str | os.PathLike[str],
    out: str,
    *,
    design: str | os.PathLike[str] | None = None,
    still_trusted: bool = False,
    digits: int = 17,
    filters: Filters | None = None,
    progress: Progress | None = None,
) -> list[Summary]:
    """Decrypt, verify and write OUT.<PHENO>.<TEST> for every analysis, readable by the owner alone.

    design: the folder or digest of the design that is opened; it may be left out where the owner's folder has one only.
    Raises VerificationError, writes nothing and retires the key when a result was not computed from this cohort and
    design; KeyFileError when the key is retired (still_trusted: decrypt all the same); UsageError when the design must be
    named.
    """
    from securegen.engines.ckks.owner import decrypt
    from securegen.engines.ckks.owner.design_secrets import read_secrets
    from securegen.engines.ckks.owner.state import OwnerState, read_info

    state = OwnerState(Path(owner), key)
    info, secrets = read_info(state), read_secrets(state, design)
    sums = decrypt.decrypt(Path(results), state, info, secrets, still_trusted=still_trusted)
    blocks = _counted(sums, len(info.variants), progress)
    return write_tables(
        out,
        info.variants,
        blocks,
        secrets.analyses,
        grid=info.dosage_grid,
        digits=digits,
        filters=filters,
        mode=PRIVATE,
    )


def decrypt_qc(
    results: str | os.PathLike[str],
    key: SecretKey,
    owner: str | os.PathLike[str],
    out: str,
    *,
    design: str | os.PathLike[str] | None = None,
    still_trusted: bool = False,
) -> list[str]:
    """Decrypt, verify and write OUT.afreq, OUT.vmiss and OUT.hardy; arguments and errors as `decrypt_tables`. Raises
    UsageError when the design has no QC sums."""
    from securegen.engines.ckks.owner import decrypt
    from securegen.engines.ckks.owner.design_secrets import read_secrets
    from securegen.engines.ckks.owner.state import OwnerState, read_info

    state = OwnerState(Path(owner), key)
    info, secrets = read_info(state), read_secrets(state, design)
    analysis = qc_analysis(secrets.analyses)
    if analysis is None:
        raise UsageError("this design has no sums for quality control: encrypt with --qc")
    blocks = decrypt.decrypt(Path(results), state, info, secrets, still_trusted=still_trusted)
    return write_qc(out, info.variants, blocks, analysis, grid=info.dosage_grid, mode=PRIVATE)


def _counted(blocks: Iterable[Sums], variants: int, progress: Progress | None) -> Iterable[Sums]:
    """The same blocks, with progress in variants."""
    done = 0
    for sums in blocks:
        yield sums
        done += len(sums)
        if progress is not None:
            progress(done, variants)


def plain_tables(
    study: Study, out: str, *, digits: int = 17, filters: Filters | None = None, progress: Progress | None = None
) -> list[Summary]:
    """The plain engine: the same tables from genotypes in the clear."""
    from securegen.engines.plain import sums

    variants, grid, design = study.reader.variants, study.reader.dosage_grid, study.design
    if study.inputs.missing == "complete" and any(a.test == "linear" for a in design.analyses):
        if filters and filters.active:
            raise UsageError(
                "the filters of quality control need --missing mean; filter the variants first (--extract)"
            )
        tests = [a for a in design.analyses if a.test != "qc"]
        return [
            write_tables(out, variants, blocks, [alone], grid=grid, digits=digits)[0]
            for alone, blocks in (sums.complete_case_sums(study.reader, design.columns, a) for a in tests)
        ]
    blocks = _counted(sums.sums(study.reader, design.columns), len(variants), progress)
    return write_tables(out, variants, blocks, design.analyses, grid=grid, digits=digits, filters=filters)


def plain_qc(study: Study, out: str) -> list[str]:
    """Quality control on genotypes in the clear: OUT.afreq, OUT.vmiss and OUT.hardy."""
    from securegen.engines.plain import sums

    analysis = qc_analysis(study.design.analyses)
    assert analysis is not None
    blocks = sums.sums(study.reader, study.design.columns)
    return write_qc(out, study.reader.variants, blocks, analysis, grid=study.reader.dosage_grid)


def open_qc(bfile: Genotypes = "", *, log: Log = silent, **options) -> Study:
    """Open genotypes for quality control alone; options as `open_study`, phenotypes only for hwe_controls."""
    inputs, reader = _opened(bfile, log, options)
    if reader.dosage_grid > 1:
        log("WARNING: fractional dosages have no genotype counts: no Hardy–Weinberg test, no .hardy file")
    phenotypes = read_traits(inputs, reader).phenotypes if inputs.pheno else ()
    return Study(inputs, reader, build_qc(inputs, reader, phenotypes=phenotypes))


def _frame(write, *arguments, **options) -> pd.DataFrame:
    import pandas as pd

    from securegen.results.read import read_frame

    with tempfile.TemporaryDirectory() as folder:
        tables = write(*arguments, f"{folder}/t", **options)
        frames = {t.analysis.phenotype: read_frame(t.path) for t in tables}
    return frames[next(iter(frames))] if len(frames) == 1 else pd.concat(frames, names=["PHENO"])


def decrypt(
    results: str | os.PathLike[str],
    key: SecretKey,
    owner: str | os.PathLike[str],
    *,
    design: str | os.PathLike[str] | None = None,
    still_trusted: bool = False,
) -> pd.DataFrame:
    """Verified result table as a pandas frame (several phenotypes: first index level PHENO).

    Arguments and errors as `decrypt_tables`: nothing is returned before everything is verified.
    """
    return _frame(decrypt_tables, results, key, owner, design=design, still_trusted=still_trusted)


def run_plain(study: Study) -> pd.DataFrame:
    """Result table of the plain engine as a pandas frame."""
    return _frame(plain_tables, study)


def plain_sums(study: Study) -> Iterable[Sums]:
    """The exact integers of the plain engine, block by block."""
    from securegen.engines.plain import sums

    return sums.sums(study.reader, study.design.columns)
