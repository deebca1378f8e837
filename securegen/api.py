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
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from securegen.design import Design
from securegen.errors import UsageError
from securegen.model import GenotypeReader, SelectableReader, Sums, variants_with_missing
from securegen.stats.qc import Filters
from securegen.stats.tables import Summary, qc_analysis, write_qc, write_tables
from securegen.study import Inputs, Log, build_design, build_qc, open_genotypes, read_traits, silent
from securegen.vocabulary import DEFAULT_ENCRYPTOR

if TYPE_CHECKING:
    import pandas as pd

    from securegen.ckks.cohort import Progress
    from securegen.ckks.keys import SecretKey
    from securegen.ckks.planner import Plan


Genotypes = str | os.PathLike[str] | SelectableReader


@dataclass(frozen=True)
class Study:
    """Genotypes (read later, block by block) and the integer design of every phenotype."""

    inputs: Inputs
    reader: GenotypeReader
    design: Design


def open_study(bfile: Genotypes = "", *, log: Log = silent, **options) -> Study:
    """Open genotypes and build the design. bfile: prefix of a PLINK1 fileset, or a reader (`from_arrays`, `read_vcf`, …);
    options: the fields of `study.Inputs` (pheno, pheno_name, covar, …; pfile, vcf or bgen in place of bfile).

    Raises InputError, DesignError or UsageError, each saying which file, line or column and what to do.
    """
    inputs, reader = _opened(bfile, log, options)
    return Study(inputs, reader, build_design(inputs, reader, log))


def _opened(genotypes: Genotypes, log: Log, options: dict) -> tuple[Inputs, GenotypeReader]:
    if isinstance(genotypes, str | os.PathLike):
        inputs = Inputs(os.fspath(genotypes), **options)
        return inputs, open_genotypes(inputs, log)
    if not hasattr(genotypes, "select"):
        raise UsageError(f"genotypes are a prefix of files or a reader, not {genotypes!r}")
    inputs = Inputs("", **options)
    return inputs, open_genotypes(inputs, log, genotypes)


def plan(study: Study, *, squares: bool | None = None) -> Plan:
    """CKKS parameters for this study. Counts, precision and the dosage grid enter, and how many blocks of variants have
    missing calls, which the encrypted cohort shows too. Raises PlanError.

    squares: store a stream of squared dosages; None when the design needs it (weights that differ by sample).
    """
    from securegen.ckks.planner import Workload, choose

    columns = study.design.columns
    squares = study.design.weights_squared if squares is None else squares
    bits = max(a.model.bits for a in study.design.analyses)
    encrypted = sum(not columns.is_ones(j) for j in range(len(columns.names)))
    return choose(
        Workload(
            len(study.reader.samples), len(study.reader.variants), max(encrypted, 1), bits, streams=1 + squares,
            grid=study.reader.dosage_grid, squares=squares,
        ),
        variants_with_missing(study.reader),
    )  # fmt: skip


def generate_key(plan: Plan) -> SecretKey:
    """A fresh secret key for a plan. It stays with the owner."""
    from securegen.ckks import keys

    return keys.generate(plan.parameters)


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
    progress: Progress | None = None,
) -> Encrypted:
    """Encrypt cohort and design into PREFIX.cohort and PREFIX.design; PREFIX.owner keeps what verification needs.

    squares: as in `plan`.
    """
    squares = study.design.weights_squared if squares is None else squares
    paths = encrypt_cohort(study.reader, key, prefix, encryptor=encryptor, squares=squares, progress=progress)
    encrypt_design(study, key, paths.owner, paths.design, encryptor=encryptor)
    return paths


def encrypt_cohort(
    reader: GenotypeReader,
    key: SecretKey,
    prefix: str | os.PathLike[str],
    *,
    encryptor: str = DEFAULT_ENCRYPTOR,
    squares: bool = False,
    progress: Progress | None = None,
) -> Encrypted:
    """Encrypt the genotypes alone into PREFIX.cohort; designs may come later (with squares, without the genotypes)."""
    from securegen.ckks import cohort
    from securegen.ckks.encryption import make_encryptor

    paths = encrypted_paths(prefix)
    state = cohort.OwnerState(paths.owner, key)
    make = make_encryptor(encryptor, key)
    report = progress or cohort.no_progress
    cohort.encrypt_cohort(reader, key, paths.cohort, state, encryptor=make, squares=squares, progress=report)
    return paths


def encrypt_design(
    study: Study,
    key: SecretKey,
    owner: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    *,
    encryptor: str = DEFAULT_ENCRYPTOR,
) -> Path:
    """Encrypt the design of `study` into `folder`, for the cohort whose owner's folder is `owner`."""
    from securegen.ckks import cohort, studydesign
    from securegen.ckks.encryption import make_encryptor

    state = cohort.OwnerState(Path(owner), key)
    info = cohort.read_info(state)
    reader = None if isinstance(study.reader, cohort.CohortInfo) else study.reader
    make = make_encryptor(encryptor, key)
    studydesign.encrypt_design(study.design, key, info, state, Path(folder), encryptor=make, reader=reader)
    return Path(folder)


def open_later_study(owner: str | os.PathLike[str], key: SecretKey, *, log: Log = silent, **options) -> Study:
    """A study on a cohort encrypted earlier, from the owner's folder: people and variants, no genotypes."""
    from securegen.ckks import cohort

    info = cohort.read_info(cohort.OwnerState(Path(owner), key))
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
    from securegen.ckks import gwas
    from securegen.ckks.cohort import no_progress, open_cohort
    from securegen.ckks.studydesign import open_design

    opened = open_cohort(Path(cohort))
    gwas.associate(
        opened,
        open_design(Path(design), opened.public),
        Path(out),
        progress=progress or no_progress,
        batch_bytes=min(memory_bytes or gwas.BATCH_BYTES, gwas.BATCH_BYTES),
    )
    return Path(out)


def decrypt_tables(
    results: str | os.PathLike[str],
    key: SecretKey,
    owner: str | os.PathLike[str],
    out: str,
    *,
    digits: int = 17,
    filters: Filters | None = None,
    progress: Progress | None = None,
) -> list[Summary]:
    """Decrypt, verify and write OUT.<PHENO>.<TEST> for every analysis.

    Raises VerificationError, and writes nothing, when a result was not computed from this cohort and design; the caller
    then retires the key (`ckks.keys.retire`).
    """
    from securegen.ckks import cohort, decrypt, studydesign

    state = cohort.OwnerState(Path(owner), key)
    info, secrets = cohort.read_info(state), studydesign.read_secrets(state, Path(results))
    blocks = _counted(decrypt.decrypt(Path(results), key, info, secrets), len(info.variants), progress)
    return write_tables(
        out, info.variants, blocks, secrets.analyses, grid=info.dosage_grid, digits=digits, filters=filters
    )


def decrypt_qc(results: str | os.PathLike[str], key: SecretKey, owner: str | os.PathLike[str], out: str) -> list[str]:
    """Decrypt, verify and write OUT.afreq, OUT.vmiss and OUT.hardy. Raises UsageError when the design has no QC sums."""
    from securegen.ckks import cohort, decrypt, studydesign

    state = cohort.OwnerState(Path(owner), key)
    info, secrets = cohort.read_info(state), studydesign.read_secrets(state, Path(results))
    analysis = qc_analysis(secrets.analyses)
    if analysis is None:
        raise UsageError("this design has no sums for quality control: encrypt with --qc")
    blocks = decrypt.decrypt(Path(results), key, info, secrets)
    return write_qc(out, info.variants, blocks, analysis, grid=info.dosage_grid)


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
    from securegen.engines import plain

    variants, grid, design = study.reader.variants, study.reader.dosage_grid, study.design
    if study.inputs.missing == "complete" and any(a.test == "linear" for a in design.analyses):
        if filters and filters.active:
            raise UsageError(
                "the filters of quality control need --missing mean; filter the variants first (--extract)"
            )
        tests = [a for a in design.analyses if a.test != "qc"]
        return [
            write_tables(out, variants, blocks, [alone], grid=grid, digits=digits)[0]
            for alone, blocks in (plain.complete_case_sums(study.reader, design.columns, a) for a in tests)
        ]
    blocks = _counted(plain.sums(study.reader, design.columns), len(variants), progress)
    return write_tables(out, variants, blocks, design.analyses, grid=grid, digits=digits, filters=filters)


def plain_qc(study: Study, out: str) -> list[str]:
    """Quality control on genotypes in the clear: OUT.afreq, OUT.vmiss and OUT.hardy."""
    from securegen.engines import plain

    analysis = qc_analysis(study.design.analyses)
    assert analysis is not None
    blocks = plain.sums(study.reader, study.design.columns)
    return write_qc(out, study.reader.variants, blocks, analysis, grid=study.reader.dosage_grid)


def open_qc(bfile: Genotypes = "", *, log: Log = silent, **options) -> Study:
    """Open genotypes for quality control alone; options as `open_study`, phenotypes only for hwe_controls."""
    inputs, reader = _opened(bfile, log, options)
    if reader.dosage_grid > 1:
        log("WARNING: fractional dosages have no genotype counts: no Hardy–Weinberg test, no .hardy file")
    phenotypes = read_traits(inputs, reader).phenotypes if inputs.pheno else ()
    return Study(inputs, reader, build_qc(inputs, reader, phenotypes=phenotypes))


def _frame(write, *arguments) -> pd.DataFrame:
    import pandas as pd

    from securegen.io.results import read_frame

    with tempfile.TemporaryDirectory() as folder:
        tables = write(*arguments, f"{folder}/t")
        frames = {t.analysis.phenotype: read_frame(t.path) for t in tables}
    return frames[next(iter(frames))] if len(frames) == 1 else pd.concat(frames, names=["PHENO"])


def decrypt(results: str | os.PathLike[str], key: SecretKey, owner: str | os.PathLike[str]) -> pd.DataFrame:
    """Verified result table as a pandas frame (several phenotypes: first index level PHENO)."""
    return _frame(decrypt_tables, results, key, owner)


def run_plain(study: Study) -> pd.DataFrame:
    """Result table of the plain engine as a pandas frame."""
    return _frame(plain_tables, study)


def plain_sums(study: Study) -> Iterable[Sums]:
    """The exact integers of the plain engine, block by block."""
    from securegen.engines import plain

    return plain.sums(study.reader, study.design.columns)
