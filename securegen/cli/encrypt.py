"""securegen encrypt"""

from __future__ import annotations

import click

from securegen.cli import options as opt
from securegen.cli.command import dry_run, rehearses, stop_rehearsal
from securegen.cli.progress import progress
from securegen.cli.runlog import CommandLog
from securegen.errors import DesignError, KeyFileError, UsageError
from securegen.provenance import folder_bytes


@click.command()
@click.option("--key", "key_file", required=True, metavar="FILE", help="KEY.secret of securegen keygen.")
@opt.passphrase_options
@opt.genotype_options()
@opt.design_options(required=False)
@opt.qc_options
@click.option("--owner", metavar="FOLDER", help="Add a design to the cohort encrypted earlier with this OUT.owner.")
@click.option("--squares", is_flag=True, help="Also a stream of squared dosages, for designs that come later.")
@opt.encryptor_option
@opt.run_options
@rehearses
def command(key_file, passphrase_file, owner, squares, encryptor, out, threads, memory, quiet, **options) -> None:
    """Encrypt a cohort and its design (the owner's side).

    OUT.cohort and OUT.design go to the server; OUT.owner stays with the key. Without --pheno only the cohort is
    encrypted; with --owner only a design, for a cohort encrypted earlier. A killed run goes on where it stopped: run the
    same command again.
    """
    from securegen import api
    from securegen.ckks import keys

    if not opt.genotypes_given(options) and not owner:
        raise UsageError("give genotypes (--bfile …), or --owner to add a design to a cohort encrypted earlier")
    keys.lock_down_process()
    opt.use_threads(threads)
    log = CommandLog(out, "encrypt", quiet=quiet)
    inputs = opt.inputs_from(options)
    paths = api.encrypted_paths(out)
    with log.stage("encrypt"):
        key = keys.read_secret(key_file, passphrase=_passphrase(key_file, passphrase_file))
        if owner:
            study = opt.open_later(inputs, owner, key, log)
            stop_rehearsal([paths.design, *log.files])
            written = [api.encrypt_design(study, key, owner, paths.design, encryptor=encryptor)]
        elif not inputs.pheno and not inputs.qc:
            reader = api.open_genotypes(inputs, log)
            _rehearsed(reader, key, [paths.cohort, paths.owner, *log.files])
            with progress("encrypting", quiet=quiet) as report:
                api.encrypt_cohort(reader, key, out, encryptor=encryptor, squares=squares, progress=report)
            written = [paths.cohort]
        else:
            study = opt.open_study(inputs, log, qc_only=not inputs.pheno)
            _rehearsed(study.reader, key, [paths.cohort, paths.design, paths.owner, *log.files])
            with progress("encrypting", quiet=quiet) as report:
                api.encrypt(study, key, out, encryptor=encryptor, squares=squares or None, progress=report)
            written = [paths.cohort, paths.design]
    sizes = {path.suffix[1:]: folder_bytes(path) for path in written}
    log(" and ".join(f"{p} ({sizes[p.suffix[1:]] / 1e6:.1f} MB)" for p in written) + " may travel to the server")
    log(f"{owner or paths.owner} stays with the key; next, on the server: securegen gwas --cohort … --design … --out …")
    log.write(bytes=sizes, inputs=inputs.digests(), key=key.public.fingerprint)


def _rehearsed(reader, key, paths) -> None:
    """End a dry run here. Raises DesignError when the key was planned for another number of people."""
    planned = key.public.parameters.samples
    if dry_run() and len(reader.samples) != planned:
        raise DesignError(
            f"the key was planned for {planned} samples, this cohort has {len(reader.samples)}: plan again"
        )
    stop_rehearsal(paths, samples=len(reader.samples), variants=len(reader.variants))


def _passphrase(key_file: str, passphrase_file: str | None) -> bytes | None:
    """Ask for a passphrase only when the key file is protected."""
    try:
        with open(key_file, "rb") as stream:
            start = stream.read(1 << 16)
        protected = b'"protection":"none"' not in start.partition(b"\n")[0]
    except OSError:
        return None  # read_secret says what is wrong with the file
    if b'"magic": "securegen public key' in start[:200]:
        raise KeyFileError(f"{key_file} is the public half of a key: give KEY.secret")
    return opt.passphrase(passphrase_file) if protected else None
