"""The steps of a study outsourced under CKKS, as Python functions: plan, generate a key, encrypt, associate, decrypt.

Who learns what: whoever runs `associate` sees ciphertexts and the shape of the study; every other step is its owner's.

>>> import securegen as sg, tempfile
>>> folder = tempfile.TemporaryDirectory()
>>> study = sg.open_study("examples/cohort", pheno="examples/cohort.pheno.tsv", pheno_name=("QT",),
...                       covar="examples/cohort.covar.tsv", chr=("1",), to_bp=400_000)
>>> key = sg.ckks.generate_key(sg.ckks.plan(study))
>>> encrypted = sg.ckks.encrypt(study, key, f"{folder.name}/study")
>>> results = sg.ckks.associate(encrypted.cohort, encrypted.design, f"{folder.name}/results")  # the server: no key
>>> sg.ckks.decrypt(results, key, encrypted.owner).equals(sg.run(study).frame)
True
>>> folder.cleanup()
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from securegen.design.strata import alone
from securegen.engines.ckks.study_plan import compare_with_plan, plan, stored_squares
from securegen.engines.ckks.tables import decrypt, decrypt_qc, decrypt_sums, decrypt_tables, read_design
from securegen.errors import ArtefactError, StorageError, UsageError
from securegen.io.genotypes import FIELDS
from securegen.model import GenotypeReader, Progress, SelectableReader, no_progress
from securegen.study.build import build_design
from securegen.study.checks import names, path
from securegen.study.inputs import Inputs, Log, silent
from securegen.study.opening import Study
from securegen.vocabulary import DEFAULT_ENCRYPTOR

if TYPE_CHECKING:
    from securegen.engines.ckks.owner.secret_key import SecretKey
    from securegen.engines.ckks.planner import Plan

PathLike = str | os.PathLike[str]
__all__ = [
    "Encrypted", "append_cohort", "associate", "compare_with_plan", "decrypt", "decrypt_qc", "decrypt_sums",
    "decrypt_tables", "encrypt", "encrypt_cohort", "encrypt_design", "encrypted_paths", "generate_key",
    "later_study_of", "open_later_study", "plan", "read_design", "refuse_complete",
]  # fmt: skip

OF_GENOTYPES = (
    *FIELDS, "keep", "remove", "extract", "exclude", "chr", "from_bp", "to_bp", "condition", "condition_list",
    "dominant", "recessive", "hetonly",
)  # fmt: skip


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


def encrypted_paths(prefix: PathLike) -> Encrypted:
    return Encrypted(*(Path(f"{os.fspath(prefix)}.{part}") for part in ("cohort", "design", "owner")))


def encrypt(
    study: Study,
    key: SecretKey,
    prefix: PathLike,
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
    squares = stored_squares(study.design) if squares is None else squares
    paths = encrypted_paths(prefix)
    refuse_complete(paths.owner, design=True, overwrite=overwrite)
    compare_with_plan(study.design, key.planned, log, other_covariates=other_covariates)
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
            "be read any more. Choose another --out, or `overwrite`"
        )


def encrypt_cohort(
    reader: GenotypeReader,
    key: SecretKey,
    prefix: PathLike,
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


def append_cohort(
    genotypes: SelectableReader,
    key: SecretKey,
    prefix: PathLike,
    *,
    name: str = "these genotypes",
    progress: Progress | None = None,
    log: Log = silent,
) -> Encrypted:
    """Encrypt genotypes that came later (a chromosome) behind those of PREFIX.cohort, whose blocks stay as they are.

    The same people, in any order; the encryptor and squares of the cohort. name: of the genotypes in messages. Designs and
    results of before are refused from then on: encrypt the designs again. What is there already, with the same genotypes, is
    left out. Raises as `owner.append_cohort.append_cohort`.
    """
    from securegen.engines.ckks.owner import append_cohort as cohorts
    from securegen.engines.ckks.owner.state import OwnerState

    paths, report = encrypted_paths(prefix), progress or no_progress
    state = OwnerState(paths.owner, key)
    cohorts.append_cohort(genotypes, key, paths.cohort, state, name=name, progress=report, log=log)
    return paths


def encrypt_design(
    study: Study,
    key: SecretKey,
    owner: PathLike,
    folder: PathLike,
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
    compare_with_plan(study.design, key.planned, log, other_covariates=other_covariates)
    info = read_info(state)
    reader = None if isinstance(study.reader, CohortInfo) else study.reader
    if not overwrite and is_known(state, Path(folder)):
        raise StorageError(
            f"{folder} has a design of {owner}, which is not overwritten: its results could not be read any more. Choose "
            "another --out, or `overwrite`"
        )
    if reader is not None and not info.same_people_and_variants(reader):
        raise ArtefactError(
            "these are not the genotypes that were encrypted: give the same files, filters and genetic model"
            + info.other_order(reader.variants)
        )
    make = make_encryptor(encryptor, key)
    designs.encrypt_design(study.design, key, info, state, Path(folder), encryptor=make, reader=reader)
    return Path(folder)


def open_later_study(
    owner: PathLike,
    key: SecretKey,
    *,
    pheno: PathLike | None = None,
    pheno_name: str | Sequence[str] | None = None,
    covar: PathLike | None = None,
    covar_name: str | Sequence[str] | None = None,
    covar_categorical: str | Sequence[str] | None = None,
    model: str | None = None,
    missing: str = "mean",
    bits: int | None = None,
    force_01: bool = False,
    apply_rint: bool = False,
    no_input_missing_phenotype: bool = False,
    common_samples: bool | None = None,
    qc: bool = False,
    hwe_controls: bool = False,
    log: Log = silent,
) -> Study:
    """A study on a cohort encrypted earlier, from the owner's folder: people and variants, no genotypes.

    Keywords and errors as `open_study`, without those that name or choose genotypes.
    """
    inputs = Inputs(
        pheno=path("pheno", pheno), pheno_name=names("pheno_name", pheno_name), covar=path("covar", covar),
        covar_name=names("covar_name", covar_name), covar_categorical=names("covar_categorical", covar_categorical),
        model=model, missing=missing, bits=bits, force_01=force_01, apply_rint=apply_rint,
        no_input_missing_phenotype=no_input_missing_phenotype, common_samples=common_samples, qc=qc,
        hwe_controls=hwe_controls,
    )  # fmt: skip
    return later_study_of(inputs, owner, key, log)


def later_study_of(inputs: Inputs, owner: PathLike, key: SecretKey, log: Log = silent) -> Study:
    """As `open_later_study`. Raises UsageError for inputs that name or choose genotypes: people and variants are those that
    were encrypted."""
    from securegen.engines.ckks.owner.state import OwnerState, read_info

    ordinary = Inputs()
    chosen = [name for name in OF_GENOTYPES if getattr(inputs, name) != getattr(ordinary, name)]
    if chosen:
        raise UsageError(
            f"{', '.join(chosen)}: the people and variants of a design for an earlier cohort are those that were encrypted; "
            "leave it out, or give the genotypes as well"
        )
    info = read_info(OwnerState(Path(owner), key))
    return Study(inputs, info, alone(build_design(inputs, info, log), len(info.variants)))


def associate(
    cohort: PathLike,
    design: PathLike,
    out: PathLike,
    *,
    progress: Progress | None = None,
    memory_bytes: int | None = None,
) -> Path:
    """The server's step: encrypted sums of an encrypted cohort and design, without any key. Returns the folder."""
    from securegen.engines.ckks.cohort import open_cohort
    from securegen.engines.ckks.server import associate
    from securegen.engines.ckks.server.pass_memory import WORKING_BYTES
    from securegen.engines.ckks.studydesign import open_design

    opened = open_cohort(Path(cohort))
    associate.associate(
        opened,
        open_design(Path(design), opened.public),
        Path(out),
        progress=progress or no_progress,
        batch_bytes=memory_bytes or WORKING_BYTES,
    )
    return Path(out)
