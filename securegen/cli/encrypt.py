"""securegen encrypt"""

from __future__ import annotations

import click

from securegen.cli import options as opt
from securegen.cli.progress import progress
from securegen.provenance import RunLog, folder_bytes


@click.command(
    epilog="Example:  securegen encrypt --key study-key.secret --bfile cohort --pheno p.tsv --pheno-name QT --out enc"
)
@click.option("--key", "key_file", required=True, metavar="FILE", help="KEY.secret of securegen keygen.")
@opt.passphrase_options
@opt.genotype_options()
@opt.design_options()
@opt.qc_options
@click.option("--squares", is_flag=True, help="Also a stream of squared dosages, for designs that come later.")
@click.option("--encryptor", type=click.Choice(["seal"]), default="seal", show_default=True, help="Who encrypts.")
@opt.run_options
def command(key_file: str, passphrase_file: str | None, squares: bool, encryptor: str, out: str, threads: int | None,
            quiet: bool, **options) -> None:  # fmt: skip
    """Encrypt a cohort and its design (the owner's side).

    OUT.cohort and OUT.design go to the server; OUT.owner stays with the key. A killed run goes on where it stopped:
    run the same command again.
    """
    from securegen import api
    from securegen.ckks import keys

    keys.lock_down_process()
    opt.use_threads(threads)
    log = RunLog(out, "encrypt", quiet=quiet)
    with log.stage("encrypt"):
        key = keys.read_secret(key_file, passphrase=_passphrase(key_file, passphrase_file))
        inputs = opt.inputs_from(options)
        study = opt.open_study(inputs, log)
        with progress("encrypting", quiet=quiet) as report:
            paths = api.encrypt(study, key, out, encryptor=encryptor, squares=squares or None, progress=report)
    sizes = {"cohort": folder_bytes(paths.cohort), "design": folder_bytes(paths.design)}
    log(
        f"{paths.cohort} ({sizes['cohort'] / 1e6:.1f} MB) and {paths.design} ({sizes['design'] / 1e6:.1f} MB) may travel"
    )
    log(f"{paths.owner} stays with the key; next, on the server: securegen gwas --cohort {paths.cohort} "
        f"--design {paths.design} --out RESULTS")  # fmt: skip
    log.write(bytes=sizes, inputs=inputs.digests(), key=key.public.fingerprint)


def _passphrase(key_file: str, passphrase_file: str | None) -> bytes | None:
    """Ask for a passphrase only when the key file is protected."""
    try:
        with open(key_file, "rb") as stream:
            protected = b'"protection":"none"' not in stream.readline(1 << 16)
    except OSError:
        protected = False  # read_secret says what is wrong with the file
    return opt.passphrase(passphrase_file) if protected else None
