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
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from securegen.engines.ckks.folders import Encrypted, encrypted_paths, refuse_complete, refuse_others
from securegen.engines.ckks.later_study import later_study_of, open_later_study, refuse_other_copies, refuse_other_sexes
from securegen.engines.ckks.study_plan import compare_with_plan, plan, stored_squares
from securegen.engines.ckks.tables import (
    corrector,
    decrypt,
    decrypt_qc,
    decrypt_sums,
    decrypt_tables,
    gate_of_results,
    read_design,
)
from securegen.engines.governed import refuse_forged
from securegen.errors import ArtefactError, StorageError, UsageError
from securegen.governance.gate import Asking, gate_of
from securegen.governance.pin import Pin
from securegen.io.folder import Folder
from securegen.io.folders import folder_of, place_of
from securegen.io.store_urls import local_prefix
from securegen.model import GenotypeReader, Progress, SelectableReader, no_progress
from securegen.study.consented import claim_release
from securegen.study.inputs import Inputs, Log, silent
from securegen.study.opening import Study
from securegen.study.parts import part_of
from securegen.study.ploidy import counting_copies
from securegen.vocabulary import DEFAULT_ENCRYPTOR

if TYPE_CHECKING:
    from securegen.engines.ckks.owner.secret_key import SecretKey
    from securegen.engines.ckks.planner import Plan

PathLike = str | os.PathLike[str]
__all__ = [
    "Encrypted", "append_cohort", "associate", "compare_with_plan", "corrector", "decrypt", "decrypt_qc", "decrypt_sums",
    "decrypt_tables", "encrypt", "encrypt_cohort", "encrypt_design", "encrypted_paths", "gate_of_results", "generate_key",
    "later_study_of", "open_later_study", "pin_of_cohort", "plan", "read_design", "refuse_complete", "take_out_withdrawn",
    "warn_of_begun_append",
]  # fmt: skip


def generate_key(plan: Plan, *, policy: PathLike | None = None, beside: PathLike | None = None) -> SecretKey:
    """A fresh secret key for a plan. It stays with the owner.

    policy: a signed policy.toml, by default one that stands beside `beside`: the key names it, and nothing is decrypted
    without. Raises PolicyError for a policy that is not signed.
    """
    from securegen.engines.ckks.owner import secret_key

    gate = gate_of("ckks", Asking(policy), [] if beside is None else [beside])
    return replace(secret_key.generate(plan.parameters, plan.design), policy=gate.pin)


def pin_of_cohort(key: SecretKey, inputs: Inputs | None, prefix: PathLike, reader: GenotypeReader | None) -> Pin | None:
    """The policy that governs a cohort which is encrypted: beside its files, the key or what is written, or named.

    reader: of its genotypes; its people are entered into the ledger of that policy. None enters nobody. Raises PolicyError
    where the key names a policy that is not here.
    """
    files = [*([] if inputs is None else inputs.files().values()), *([] if key.file is None else [key.file]), prefix]
    asking, consent = (Asking(), False) if inputs is None else (inputs.asking, bool(inputs.consent))
    gate = gate_of("ckks", asking, files, pins=[("the key", key.policy)], log=silent, consent=consent)
    if reader is not None:
        gate.enrol(reader)
    return gate.pin


def encrypt(
    study: Study,
    key: SecretKey,
    prefix: PathLike,
    *,
    encryptor: str = DEFAULT_ENCRYPTOR,
    squares: bool | None = None,
    overwrite: bool = False,
    other_covariates: bool = False,
    blocks: str | None = None,
    progress: Progress | None = None,
    log: Log = silent,
) -> Encrypted:
    """Encrypt cohort and design into PREFIX.cohort and PREFIX.design; PREFIX.owner keeps what verification needs.

    blocks: as in `encrypt_cohort`, with which no design is made;
    squares: as in `plan`; overwrite: replace a study that is complete, whose results can then no longer be read;
    other_covariates: although a covariate that was planned is left out. Raises StorageError and DesignError otherwise.
    """
    squares = stored_squares(study.strata) if squares is None else squares
    paths = encrypted_paths(prefix)
    refuse_complete(paths.owner, design=True, overwrite=overwrite)
    compare_with_plan(study.analyses, key.planned, log, other_covariates=other_covariates)
    refuse_others(paths, overwrite=overwrite)
    paths = encrypt_cohort(
        study.reader, key, prefix, encryptor=encryptor, squares=squares, overwrite=overwrite or blocks is None,
        progress=progress, inputs=study.inputs, blocks=blocks,
    )  # fmt: skip
    if blocks is not None:
        return paths
    encrypt_design(study, key, paths.owner, paths.design, encryptor=encryptor, overwrite=True, other_covariates=True)
    return paths


def encrypt_cohort(
    reader: GenotypeReader,
    key: SecretKey,
    prefix: PathLike,
    *,
    encryptor: str = DEFAULT_ENCRYPTOR,
    squares: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
    inputs: Inputs | None = None,
    blocks: str | None = None,
) -> Encrypted:
    """Encrypt the genotypes alone into PREFIX.cohort; designs may come later (with squares, without the genotypes).

    reader: `study.cohort_rows.open_cohort` opens it, and says how males on X count; of one that was not opened so they count
    0 and 2. overwrite: replace a cohort that is complete; inputs: what names the genotypes, and a policy, which then governs
    the cohort for good, as one that stands beside them does; blocks: i/n, the i-th of n parts of the blocks alone, which may
    be encrypted at the same time: the same call without it then ends the cohort. Raises StorageError otherwise.
    """
    from securegen.engines.ckks.owner import encrypt_cohort as cohorts
    from securegen.engines.ckks.owner.encryption import make_encryptor
    from securegen.engines.ckks.owner.state import OwnerState

    paths = encrypted_paths(prefix)
    part = None if blocks is None else part_of(blocks)
    if part is not None and overwrite:
        raise UsageError("`blocks` and `overwrite`: remove what is to be replaced, parts run at the same time")
    refuse_complete(paths.owner, design=False, overwrite=overwrite)
    state = OwnerState(paths.owner, key)
    refuse_others(paths, overwrite=overwrite)
    make = make_encryptor(encryptor, key)
    report, reader = progress or no_progress, counting_copies(reader, 2)
    pin = pin_of_cohort(key, inputs, local_prefix(os.fspath(prefix)), reader=reader if part is None else None)
    if part is not None:
        cohorts.encrypt_part(reader, key, paths.cohort, state, part, encryptor=make, squares=squares, progress=report)
        return paths
    cohorts.encrypt_cohort(
        reader,
        key,
        paths.cohort,
        state,
        encryptor=make,
        squares=squares,
        policy=pin,
        asking=None if inputs is None else inputs.asking,
        progress=report,
    )
    return paths


def append_cohort(
    genotypes: SelectableReader,
    key: SecretKey,
    prefix: PathLike,
    *,
    name: str = "these genotypes",
    xchr_model: int | None = None,
    progress: Progress | None = None,
    log: Log = silent,
) -> Encrypted:
    """Encrypt genotypes that came later (a chromosome) behind those of PREFIX.cohort, whose blocks stay as they are.

    The same people, in any order; the encryptor and squares of the cohort. name: of the genotypes in messages; xchr_model:
    how males on X count, where nothing is on X yet. Earlier designs and results are refused from then on: encrypt the
    designs again. What is there already, with the same genotypes, is left out. Raises as `owner.append_cohort.append_cohort`.
    """
    from securegen.engines.ckks.owner import append_cohort as cohorts
    from securegen.engines.ckks.owner.state import OwnerState

    paths, report = encrypted_paths(prefix), progress or no_progress
    state = OwnerState(paths.owner, key)
    cohorts.append_cohort(
        genotypes, key, folder_of(paths.cohort), state, name=name, xchr_model=xchr_model, progress=report, log=log
    )
    return paths


def take_out_withdrawn(
    genotypes: SelectableReader, key: SecretKey, prefix: PathLike, consent: PathLike, *, progress: Progress | None = None,
    log: Log = silent,
) -> int:  # fmt: skip
    """Encrypt PREFIX.cohort again without whoever withdrew in the register `consent`. Returns how many those are.

    genotypes: with or without them, opened by `study.genotypes.open_genotypes`. Earlier designs and results are refused from
    the first write on; a killed run goes on when it runs again. Raises as `owner.leave_cohort.leave_cohort`.
    """
    from securegen.engines.ckks.owner import withdrawals

    paths, report = encrypted_paths(prefix), progress or no_progress
    return withdrawals.take_out_withdrawn(genotypes, key, paths.cohort, paths.owner, consent, progress=report, log=log)


def warn_of_begun_append(owner: PathLike, key: SecretKey, log: Log) -> None:
    """Warn where an append to the cohort was killed: once it is finished, a design that is made now is refused."""
    from securegen.engines.ckks.owner.state import OwnerState, read_info

    state = OwnerState(Path(owner), key)
    if state.has_block(len(read_info(state).blocks)):
        log(
            f"WARNING: an append to the cohort of {owner} was begun and did not end: run it again, or the design ends with it"
        )


def encrypt_design(
    study: Study, key: SecretKey, owner: PathLike, folder: PathLike, *, encryptor: str = DEFAULT_ENCRYPTOR,
    overwrite: bool = False, other_covariates: bool = False, log: Log = silent,
) -> Path | Folder:  # fmt: skip
    """Encrypt the design of `study` into `folder`, for the cohort whose owner's folder is `owner`.

    overwrite: replace the design that was encrypted into that folder before; other_covariates: as in `encrypt`. Raises
    StorageError and DesignError otherwise.
    """
    from securegen.engines.ckks.owner import encrypt_design as designs
    from securegen.engines.ckks.owner.asked import keep_asked, refuse_left_out
    from securegen.engines.ckks.owner.design_secrets import is_known
    from securegen.engines.ckks.owner.encryption import make_encryptor
    from securegen.engines.ckks.owner.null_models import keep_null_models
    from securegen.engines.ckks.owner.state import CohortInfo, OwnerState, read_info

    state = OwnerState(Path(owner), key)
    compare_with_plan(study.analyses, key.planned, log, other_covariates=other_covariates)
    info = read_info(state)
    warn_of_begun_append(owner, key, log)
    reader = None if isinstance(study.reader, CohortInfo) else study.reader
    if reader is not None:
        refuse_other_copies(study.inputs, info)
        refuse_other_sexes(info, reader)
    if not overwrite and is_known(state, folder_of(folder)):
        raise StorageError(
            f"{folder} has a design of {owner}, which is not overwritten: its results could not be read any more. Choose "
            "another `out`, or `overwrite`"
        )
    if reader is not None and not info.same_people_and_variants(reader):
        raise ArtefactError(
            "these are not the genotypes that were encrypted: give the same files, filters and genetic model"
            + info.other_people(reader.samples)
            + info.other_order(reader.variants)
        )
    refuse_left_out(state, info.samples, study.strata, study.inputs.asking)
    refuse_forged(study)
    claim_release([study.inputs], study.reader.samples, study.strata, str(folder))
    make = make_encryptor(encryptor, key)

    def keep(digest: str) -> None:
        keep_asked(state, digest, study.inputs, study.strata)
        keep_null_models(state, digest, study.inputs, study.strata)

    designs.encrypt_design(study.strata, key, info, state, folder, encryptor=make, reader=reader, keep=keep)
    return place_of(folder)


def associate(
    cohort: PathLike, design: PathLike, out: PathLike, *, progress: Progress | None = None, memory_bytes: int | None = None,
    blocks: str | None = None, public: PathLike | None = None,
) -> Path | Folder:  # fmt: skip
    """The server's step: encrypted sums of an encrypted cohort and design, without any key. Returns the folder.

    Each of the three is a path, or the URL of a folder in an object store.
    blocks: i/n, the i-th of n parts of the cohort's blocks alone; PREFIX.1of22.results and so on are joined by `sg.merge`.
    public: KEY.public of the owner, where a cohort that anybody else signed is refused.
    """
    from securegen.engines.ckks.cohort import cohort_of
    from securegen.engines.ckks.server import associate
    from securegen.engines.ckks.server.pass_memory import WORKING_BYTES
    from securegen.engines.ckks.studydesign import open_design

    opened = cohort_of(cohort, public)
    associate.associate(
        opened,
        open_design(design, opened.public),
        out,
        progress=progress or no_progress,
        batch_bytes=memory_bytes or WORKING_BYTES,
        part=None if blocks is None else part_of(blocks),
    )
    return place_of(out)
