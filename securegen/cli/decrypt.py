"""securegen decrypt"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click

from securegen.cli import options as opt
from securegen.cli import passphrases
from securegen.cli.asking import asking_from, opening_options
from securegen.cli.command import check_input, dry_run, folder_there, rehearses, stop_rehearsal, there
from securegen.cli.filter_options import filter_options, filters_from
from securegen.cli.form_options import form_from, table_options
from securegen.cli.progress import progress
from securegen.cli.runlog import CommandLog
from securegen.cli.stores import stores
from securegen.engines.protocol import strata_facts
from securegen.errors import ArtefactError, UsageError
from securegen.io.genotypes import FIELDS, GenotypeFiles, genotypes_given
from securegen.io.store_urls import is_url
from securegen.model import SelectableReader
from securegen.record.association_receipts import outsourced_receipt
from securegen.record.run_log import print_end
from securegen.results.outputs import associations, quality
from securegen.results.summary import coding_facts, covariate_facts, print_summaries, promises
from securegen.results.write import Summary


@click.command()
@click.option("--key", "key_file", required=True, metavar="FILE", help="KEY.secret.")
@passphrases.passphrase_options
@click.option("--owner", required=True, metavar="FOLDER", help="OUT.owner of securegen encrypt.")
@click.option("--results", required=True, metavar="FOLDER", help="The results that the server returned.")
@click.option(
    "--design", metavar="FOLDER", help="OUT.design of the design to open, or its digest [the only one of --owner]."
)
@click.option("--key-still-trusted", is_flag=True, help="Decrypt although a result failed verification under this key.")
@partial(filter_options, needs="needs encrypt --qc")
@click.option(
    "--qc-tables",
    is_flag=True,
    help="Also write OUT.afreq, OUT.vmiss, OUT.hardy and, for X, OUT.hardy.x (encrypt --qc).",
)
@opt.apply_options(opt.genotype_files())
@opening_options
@table_options
@opt.run_options
@rehearses
@stores("results", "design")
def command(
    key_file: str, passphrase_file: str | None, owner: str, results: str, design: str | None,
    key_still_trusted: bool, qc_tables: bool, out: str, threads: int | None, memory: int | None,
    quiet: bool, **options: Any,
) -> None:  # fmt: skip
    """Decrypt, verify and write the tables (the owner's side).

    Nothing is written before every block is verified. If one fails, the key is retired: docs/explanation/verification.md. Where
    the owner's folder knows several designs, --design says which one to open: the results may not choose it. A design that was
    encrypted with --correction needs the genotypes again (--bfile …): they never left. So does a policy that withholds rare
    rows, where earlier tables are of other people.
    """
    from securegen.engines.ckks import steps
    from securegen.engines.ckks.owner import secret_key
    from securegen.engines.ckks.owner.retirement import refuse_retired
    from securegen.engines.ckks.owner.state import OwnerState, read_info
    from securegen.results.write import qc_analysis

    os.umask(0o077)  # what is decrypted is for its owner alone
    opt.use_threads(threads)
    form, asking = form_from(options), asking_from(options)
    log = CommandLog(out, "decrypt", quiet=quiet, private=True)
    results = folder_there(results, "results")
    if not list(there(Path(owner), "owner's folder").glob("*.box")):
        raise ArtefactError(f"{owner} is not an owner's folder: give OUT.owner of securegen encrypt")
    with log.stage("decrypt"):
        key = secret_key.read_secret(key_file, passphrase=passphrases.passphrase_for(key_file, passphrase_file))
        filters = filters_from(options)
        opened = steps.read_design(key, owner, design)
        log(opened.line())
        if (filters.active or qc_tables) and qc_analysis(opened.analyses) is None:
            raise UsageError(
                "--maf, --mac, --geno, --hwe and --qc-tables need the sums of quality control, which this design does not have: "
                "encrypt with --qc"
            )
        genotypes = _genotypes(options, log)
        info = read_info(OwnerState(Path(owner), key))
        filters.check(info.dosage_grid)
        if dry_run():
            refuse_retired(key, Path(owner), key_still_trusted=key_still_trusted)
            if not is_url(results):
                check_input(Path(results))
        gate = steps.gate_of_results(key, owner, opened.digest, asking, log=log, genotypes=genotypes)
        correct = steps.corrector(key, owner, opened.digest, genotypes, governed=gate.policy is not None)
        gate.check(associations(opened.analyses, opened.strata, len(info.variants), floor=gate.minor_alleles))
        of_quality = gate
        if qc_tables:
            of_quality = gate.joined(
                steps.gate_of_results(key, owner, opened.digest, asking, qc_only=True, log=log, genotypes=genotypes)
            )
            of_quality.check(quality(opened.strata, len(info.variants), gate.minor_alleles))
        paths = [form.path(out, a.test, a.phenotype) for a in opened.analyses if a.association]
        stop_rehearsal([*paths, *log.files], design=opened.record())
        chosen: dict[str, Any] = {"design": opened.digest, "key_still_trusted": key_still_trusted}
        with progress("decrypting", unit="variants", quiet=quiet) as report:
            tables = steps.decrypt_tables(
                results, key, owner, out, filters=filters, progress=report, log=log, gate=gate, correct=correct,
                **vars(form), **chosen,
            )  # fmt: skip
        paths = []
        if qc_tables:
            paths = steps.decrypt_qc(results, key, owner, out, gzip=form.gzip, gate=of_quality, **chosen)
    print_summaries(tables, log, filters)
    paths += [t.path for t in tables]
    parameters = key.public.parameters
    receipt = outsourced_receipt(
        paths, "the encryptor of the encrypt step", opened.line(), strata=len(opened.strata), packed=parameters.packed
    )
    receipt = receipt.with_decisions(gate.lines())
    if correct is not None:
        receipt = receipt.corrected(correct.line())
    log.write(
        engine="ckks", design=opened.record(), planned_noise_margin_bits=parameters.margin_bits, promise=promises(tables),
        receipt=receipt.to_json(), parameters=parameters.to_json(), phenotypes=[t.analysis.phenotype for t in tables],
        bytes={}, **({} if correct is None else correct.record()), **gate.record(), **strata_facts(opened.strata),
        **(_people(tables) if tables else {}),
    )  # fmt: skip
    print_end(log, paths)


def _genotypes(options: dict[str, Any], log: CommandLog) -> SelectableReader | None:
    """Take the files of genotypes out of the options, and open them; None where none is named."""
    given = {name: options.pop(name) for name in FIELDS}
    return GenotypeFiles(**given).open(log) if genotypes_given(given) else None


def _people(tables: Sequence[Summary]) -> dict[str, Any]:
    """What the owner's design says of the study, for run.json."""
    models = [t.analysis.model for t in tables]
    variants = max(t.variants + t.dropped for t in tables)
    return {"samples": max(m.samples for m in models), "variants": variants, **covariate_facts(models)} | coding_facts(
        tables[0].analysis.coding
    )
