"""securegen encrypt"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from securegen.cli import options as opt
from securegen.cli import passphrases
from securegen.cli.command import dry_run, rehearses, stop_rehearsal
from securegen.cli.filter_options import qc_options
from securegen.cli.mask_options import mask_options
from securegen.cli.part_options import over_workers, part_options, part_out, remove_parts
from securegen.cli.progress import progress
from securegen.cli.runlog import CommandLog
from securegen.cli.stores import stores
from securegen.errors import DesignError, UsageError
from securegen.io.folder import Folder
from securegen.io.genotypes import genotypes_given
from securegen.io.store_urls import is_url
from securegen.model import GenotypeReader
from securegen.record.run_log import folder_bytes

if TYPE_CHECKING:
    from securegen.engines.ckks.owner.secret_key import SecretKey
    from securegen.study.inputs import Inputs


@click.command()
@click.option("--key", "key_file", required=True, metavar="FILE", help="KEY.secret of securegen keygen.")
@passphrases.passphrase_options
@opt.genotype_options()
@opt.design_options(required=False)
@mask_options
@qc_options
@click.option("--owner", metavar="FOLDER", help="Add a design to the cohort encrypted earlier with this OUT.owner.")
@click.option("--append", is_flag=True, help="Add the genotypes, a chromosome that came later, to OUT.cohort.")
@click.option("--squares", is_flag=True, help="Also encrypt squared dosages, which designs that come later need.")
@click.option("--overwrite", is_flag=True, help="Replace a complete study, whose results are then lost.")
@click.option("--other-covariates", is_flag=True, help="Go on although covariates that were planned are left out.")
@opt.encryptor_option
@part_options
@opt.run_options
@rehearses
@stores("out")
def command(
    key_file: str, passphrase_file: str | None, owner: str | None, append: bool, squares: bool, overwrite: bool,
    other_covariates: bool, encryptor: str, blocks: str | None, executor: str | None,
    workers: int | None, out: str, threads: int | None, memory: int | None,
    quiet: bool, **options: Any,
) -> None:  # fmt: skip
    """Encrypt a cohort and its design (the owner's side).

    OUT.cohort and OUT.design go to the server; OUT.owner stays with the key. Without --pheno only the cohort is
    encrypted; with --owner only a design, for a cohort encrypted earlier; with --append only genotypes, behind those of
    OUT.cohort, whose designs are then encrypted again. A killed run goes on where it stopped: run the
    same command again. A complete study is overwritten only by --overwrite.
    """
    from securegen.engines.ckks import steps
    from securegen.engines.ckks.owner import secret_key
    from securegen.governance.policy_file import beside
    from securegen.study.cohort_rows import open_cohort, open_rows
    from securegen.study.held import governing
    from securegen.study.inputs import silent

    if not genotypes_given(options) and not owner:
        raise UsageError("give genotypes (--bfile …), or --owner to add a design to a cohort encrypted earlier")
    if append:
        _refuse_with_append(options, owner=owner, squares=squares, overwrite=overwrite)
    if (blocks is not None or executor is not None) and (append or owner or overwrite):
        raise UsageError(
            "--blocks and --executor belong to a cohort's first encryption: leave out --append, --owner and --overwrite"
        )
    if executor is not None and passphrase_file is None:
        raise UsageError("--executor needs --passphrase-file: its processes cannot ask for a passphrase")
    opt.use_threads(threads)
    log = CommandLog(part_out(out, blocks), "encrypt", quiet=quiet)
    remove_parts(out, over_workers(executor, workers, blocks, log))  # then what is left: the manifest, and the design
    inputs = opt.inputs_from(options)
    _refuse_masks(inputs, elsewhere=not genotypes_given(options))
    paths = steps.encrypted_paths(out)
    with log.stage("encrypt"):
        key = secret_key.read_secret(key_file, passphrase=passphrases.passphrase_for(key_file, passphrase_file))
        # the door is `decrypt`: where a policy governs, nothing is said of people here
        free = key.policy is None and governing(inputs) is None and not beside([key_file, owner or out])
        said = log if free else silent
        if append:
            later = open_rows(inputs, said)
            _rehearsed(free, later, key, [paths.cohort, paths.owner, *log.files])
            with progress("encrypting", quiet=quiet) as report:
                steps.append_cohort(
                    later, key, out, name=inputs.genotypes.name, xchr_model=inputs.xchr_model, progress=report, log=log
                )
            written: list[Path | Folder] = [paths.cohort]
        elif owner:
            again = genotypes_given(options)  # where the cohort has no squares, the design needs them
            study = opt.open_study(inputs, said) if again else steps.later_study_of(inputs, owner, key, said)
            steps.compare_with_plan(study.analyses, key.planned, log, other_covariates=other_covariates)
            stop_rehearsal([paths.design, *log.files])
            steps.warn_of_begun_append(owner, key, log)
            written = [
                steps.encrypt_design(
                    study, key, owner, paths.design, encryptor=encryptor, overwrite=overwrite, other_covariates=True
                )
            ]
        elif not inputs.pheno and not inputs.qc:
            steps.refuse_complete(paths.owner, design=False, overwrite=overwrite)
            reader = open_cohort(inputs, said)
            _rehearsed(free, reader, key, [paths.cohort, paths.owner, *log.files])
            with progress("encrypting", quiet=quiet) as report:
                steps.encrypt_cohort(
                    reader, key, out, encryptor=encryptor, squares=squares, overwrite=overwrite, progress=report,
                    inputs=inputs, blocks=blocks,
                )  # fmt: skip
            written = [paths.cohort]
        else:
            steps.refuse_complete(paths.owner, design=True, overwrite=overwrite)
            study = opt.open_study(inputs, said, qc_only=not inputs.pheno)
            steps.compare_with_plan(study.analyses, key.planned, log, other_covariates=other_covariates)
            _rehearsed(free, study.reader, key, [paths.cohort, paths.design, paths.owner, *log.files])
            with progress("encrypting", quiet=quiet) as report:
                steps.encrypt(
                    study, key, out, encryptor=encryptor, squares=squares or None, overwrite=overwrite,
                    other_covariates=other_covariates, blocks=blocks, progress=report,
                )  # fmt: skip
            written = [paths.cohort, paths.design]
    if blocks is not None:
        log(f"part {blocks} of {paths.cohort} is encrypted; when all are, the same command without --blocks ends it")
        log.write(inputs=inputs.told_digests(), key=key.public.fingerprint, blocks=blocks)
        return
    sizes = {path.name.rpartition(".")[2]: folder_bytes(path) for path in written}
    log.stored = [os.fspath(path) for path in written if is_url(path)]
    log(" and ".join(f"{p} ({size / 1e6:.1f} MB)" for p, size in zip(written, sizes.values(), strict=True))
        + (" are where the server may read them" if log.stored else " may travel to the server"))  # fmt: skip
    public = f"{key_file.removesuffix('.secret')}.public"
    if append:
        log("the server needs the manifest and the new blocks beside what it has; then the design is encrypted "
            f"again: securegen encrypt --owner {paths.owner}, with all genotypes")  # fmt: skip
        log.write(bytes=sizes, inputs=inputs.told_digests(), key=key.public.fingerprint)
        return
    cohort = Path(owner).with_suffix(".cohort") if owner else paths.cohort
    at, of = ((str(p) if p in written and log.stored else p.name) for p in (cohort, paths.design))
    log(f"{owner or paths.owner} stays with the key; next, on the server, which also needs {public}: securegen gwas --cohort "
        f"{at} --design {of} --public {Path(public).name} --out {Path(out).name}")  # fmt: skip
    made = steps.read_design(key, owner or paths.owner, paths.design) if paths.design in written else None
    if made is not None:
        log(made.line() if free else f"design {made.digest[:16]}")
    hidden = () if free else ("samples",)
    record = {} if made is None else {"design": {k: v for k, v in made.record().items() if k not in hidden}}
    log.write(bytes=sizes, inputs=inputs.told_digests(), key=key.public.fingerprint, **record)


def _refuse_masks(inputs: Inputs, *, elsewhere: bool) -> None:
    """Raise UsageError for masks that cannot be made, or not again. elsewhere: the genotypes are encrypted already."""
    if inputs.masks is not None and elsewhere:
        raise UsageError("masks are made of genotypes: give them (--bfile …), or leave --anno-file, --set-list and --mask-def "
                         "out for a cohort of masks that is encrypted already")  # fmt: skip
    if inputs.vc_tests:
        raise UsageError(
            "--vc-tests are done where genotypes are in the clear: securegen gwas --bfile …, beside this study"
        )
    if inputs.masks is not None and inputs.corrects:
        raise UsageError(f"--correction {inputs.correction} of masks is for engine plain, or from Python: decrypt does not make "
                         "masks again")  # fmt: skip


def _refuse_with_append(options: dict[str, Any], **others: Any) -> None:
    """Raise UsageError for what --append does not do: a design, or another form of the cohort."""
    typed = click.get_current_context().get_parameter_source("encryptor") == ParameterSource.COMMANDLINE
    given = {**{name: options.get(name) for name in ("pheno", "covar", "qc")}, **others, "encryptor": typed}
    wrong = [f"--{name}" for name, value in given.items() if value]
    if wrong:
        raise UsageError(
            f"--append adds genotypes to a cohort as it was encrypted: leave out {', '.join(wrong)}; its designs are encrypted "
            "again afterwards, with --owner"
        )
    if not genotypes_given(options):
        raise UsageError("--append needs the genotypes that came later (--bfile …)")


def _rehearsed(free: bool, reader: GenotypeReader, key: SecretKey, paths: Sequence[str | os.PathLike[str]]) -> None:
    """End a dry run here. free: no policy governs, and people may be counted. Raises DesignError when the key was planned for
    another number of people."""
    planned = key.public.parameters.samples
    if dry_run() and len(reader.samples) != planned:
        found = f"has {len(reader.samples)}" if free else "has another number"
        raise DesignError(f"the key was planned for {planned} samples, this cohort {found}: plan again")
    counted = {"samples": len(reader.samples)} if free else {}
    stop_rehearsal(paths, variants=len(reader.variants), **counted)
