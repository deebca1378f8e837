"""securegen decrypt"""

from __future__ import annotations

import time
from pathlib import Path

import click

from securegen.cli import options as opt
from securegen.cli.command import check_input, dry_run, rehearses, stop_rehearsal, there
from securegen.cli.encrypt import _passphrase
from securegen.cli.progress import progress
from securegen.cli.runlog import CommandLog
from securegen.cli.summary import print_summaries, promises
from securegen.cli.table_form import convert, form_from, table_options
from securegen.errors import ArtefactError, UsageError, VerificationError
from securegen.governance.receipt import outsourced_receipt
from securegen.stats.qc import Filters


@click.command()
@click.option("--key", "key_file", required=True, metavar="FILE", help="KEY.secret.")
@opt.passphrase_options
@click.option("--owner", required=True, metavar="FOLDER", help="OUT.owner of securegen encrypt.")
@click.option("--results", required=True, metavar="FOLDER", help="What the server returned.")
@click.option("--key-still-trusted", is_flag=True, help="Decrypt although a result failed verification under this key.")
@opt.filter_options
@click.option("--qc-tables", is_flag=True, help="Also write OUT.afreq, OUT.vmiss and OUT.hardy (encrypt --qc).")
@table_options
@opt.run_options
@rehearses
def command(
    key_file,
    passphrase_file,
    owner,
    results,
    key_still_trusted,
    qc_tables,
    out,
    threads,
    memory,
    quiet,
    **options,
):
    """Decrypt, verify and write the tables (the owner's side).

    Nothing is written before every block is verified. If one fails, the key is retired: docs/verification.md.
    """
    from securegen import api
    from securegen.ckks import keys

    keys.lock_down_process()
    opt.use_threads(threads)
    form = form_from(options)
    log = CommandLog(out, "decrypt", quiet=quiet)
    there(Path(results), "results")
    if not list(there(Path(owner), "owner's folder").glob("*.box")):
        raise ArtefactError(f"{owner} is not an owner's folder: give OUT.owner of securegen encrypt")
    keys.refuse_retired(key_file, still_trusted=key_still_trusted)
    with log.stage("decrypt"):
        key = keys.read_secret(key_file, passphrase=_passphrase(key_file, passphrase_file))
        filters = opt.filters_from(options)
        stop_rehearsal([*_tables(Path(results), Path(owner), key, out, filters, qc_tables), *log.files])
        try:
            with progress("decrypting", unit="variants", quiet=quiet) as report:
                tables = api.decrypt_tables(
                    results, key, owner, out, digits=form.digits, filters=filters, progress=report
                )
            convert(tables, out, form, log)
            paths = api.decrypt_qc(results, key, owner, out) if qc_tables else []
        except VerificationError:
            keys.retire(key_file, f"{time.strftime('%Y-%m-%d %H:%M:%S')} {results} failed verification")
            raise
    print_summaries(tables, log, filters)
    for path in paths:
        log(f"wrote {path}")
    margin = key.public.parameters.margin_bits
    receipt = outsourced_receipt([*(t.path for t in tables), *paths], "the encryptor of the encrypt step")
    log.write(
        engine="ckks", planned_noise_margin_bits=margin, promise=promises(tables), receipt=receipt.to_json(),
        parameters=key.public.parameters.to_json(), phenotypes=[t.analysis.phenotype for t in tables],
    )  # fmt: skip


def _tables(results: Path, owner: Path, key, out: str, filters: Filters, qc_tables: bool) -> list[str]:
    """The tables that these results give. Raises ArtefactError when a folder is not whole, or of another key or design,
    UsageError for what needs the sums of quality control where the design has none."""
    from securegen.ckks import cohort
    from securegen.ckks.studydesign import read_secrets
    from securegen.stats.tables import qc_analysis, table_path

    if dry_run():
        check_input(results)
    state = cohort.OwnerState(owner, key)
    analyses = read_secrets(state, results).analyses
    if (filters.active or qc_tables) and qc_analysis(analyses) is None:
        raise UsageError(
            "--maf, --mac, --geno, --hwe and --qc-tables need the sums of quality control, which this design has not: "
            "encrypt with --qc"
        )
    filters.check(cohort.read_info(state).dosage_grid)
    return [table_path(out, a) for a in analyses if a.test != "qc"]
