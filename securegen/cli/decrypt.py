"""securegen decrypt"""

from __future__ import annotations

import time

import click

from securegen.cli import options as opt
from securegen.cli.encrypt import _passphrase
from securegen.cli.summary import print_summaries, promises
from securegen.errors import VerificationError
from securegen.governance.receipt import outsourced_receipt
from securegen.provenance import RunLog


@click.command(
    epilog="Example:  securegen decrypt --key study-key.secret --owner enc.owner --results results.results --out mystudy"
)
@click.option("--key", "key_file", required=True, metavar="FILE", help="KEY.secret.")
@opt.passphrase_options
@click.option("--owner", required=True, metavar="FOLDER", help="OUT.owner of securegen encrypt.")
@click.option("--results", required=True, metavar="FOLDER", help="What the server returned.")
@click.option("--key-still-trusted", is_flag=True, help="Decrypt although a result failed verification under this key.")
@opt.filter_options
@click.option("--qc-tables", is_flag=True, help="Also write OUT.afreq, OUT.vmiss and OUT.hardy (encrypt --qc).")
@click.option("--digits", type=click.IntRange(3, 17), default=17, show_default=True, help="Significant digits.")
@opt.run_options
def command(
    key_file,
    passphrase_file,
    owner,
    results,
    key_still_trusted,
    digits,
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
    log = RunLog(out, "decrypt", quiet=quiet)
    keys.refuse_retired(key_file, still_trusted=key_still_trusted)
    with log.stage("decrypt"):
        key = keys.read_secret(key_file, passphrase=_passphrase(key_file, passphrase_file))
        filters = opt.filters_from(options)
        try:
            tables = api.decrypt_tables(results, key, owner, out, digits=digits, filters=filters)
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
