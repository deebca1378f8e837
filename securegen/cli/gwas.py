"""securegen gwas"""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from securegen.cli import options as opt
from securegen.cli.command import check_input, dry_run, folder_there, rehearses, stop_rehearsal
from securegen.cli.filter_options import filter_options, filters_from
from securegen.cli.form_options import form_from, table_options
from securegen.cli.mask_options import mask_options
from securegen.cli.part_options import JOIN, part_options, part_out, spread
from securegen.cli.progress import progress
from securegen.cli.public_option import public_option, warn_without
from securegen.cli.runlog import CommandLog
from securegen.cli.stores import refuse_store, stores
from securegen.errors import ArtefactError, UsageError
from securegen.io.folders import place_of
from securegen.io.genotypes import genotypes_given
from securegen.io.store_urls import is_url
from securegen.record.run_log import RunLog, folder_bytes
from securegen.results.forms import TableForm
from securegen.study.parts import part_of

if TYPE_CHECKING:
    from securegen.engines.ckks.cohort import EncryptedCohort
    from securegen.engines.ckks.studydesign import EncryptedDesign


@click.command()
@click.option("--cohort", metavar="FOLDER", help="Encrypted cohort (server side).")
@click.option("--design", metavar="FOLDER", help="Encrypted design for that cohort.")
@public_option
@opt.genotype_options()
@opt.design_options(required=False)
@mask_options
@filter_options
@click.option("--hwe-controls", is_flag=True, help="Test --hwe in controls only.")
@table_options
@part_options
@opt.run_options
@rehearses
@stores("cohort", "design", "out")
def command(
    cohort: str | None, design: str | None, public: str | None, out: str, threads: int | None, memory: int | None,
    quiet: bool, **options: Any,
) -> None:  # fmt: skip
    """Association: on genotypes in the clear or, as the server, on an encrypted cohort.

    As the server it reads --cohort and --design, needs no key and can use none, and writes OUT.results for the owner.
    """
    opt.use_threads(threads)
    if bool(cohort) == genotypes_given(options):
        raise UsageError("give either genotypes (--bfile …: in the clear) or --cohort and --design (as the server)")
    if cohort and not design:
        raise UsageError("--cohort needs --design")
    if not cohort:
        refuse_store(out)
    log = CommandLog(part_out(out, options["blocks"]), "gwas", quiet=quiet)
    if spread(options, log):
        return
    if cohort and design:
        _serve(cohort, design, public, log, memory, options["blocks"])
    else:
        _plain(options, log.out, form_from(options), log)


def _serve(
    cohort: str, design: str, public: str | None, log: CommandLog, memory: int | None, blocks: str | None
) -> None:
    from securegen.engines.ckks.cohort import cohort_of
    from securegen.engines.ckks.server.associate import associate, load_kernels
    from securegen.engines.ckks.server.pass_memory import WORKING_BYTES
    from securegen.engines.ckks.studydesign import open_design

    cohort, design = folder_there(cohort, "cohort"), folder_there(design, "design")
    warn_without(public, log)
    opened = cohort_of(cohort, public)  # once: a store may show another one to the next look
    sent = open_design(design, opened.public)
    if dry_run():
        _check(opened, sent)
        stop_rehearsal([f"{log.place}.results", *log.files])
    load_kernels()
    _say_memory(opened, sent, memory, log)
    results = place_of(f"{log.place}.results")
    with log.stage("gwas"), progress("associating", unit="chunks", quiet=log.quiet) as report:
        associate(
            opened, sent, results, progress=report, batch_bytes=memory << 20 if memory else WORKING_BYTES,
            part=None if blocks is None else part_of(blocks),
        )  # fmt: skip
    size = folder_bytes(results)
    log.stored = [os.fspath(results)] if is_url(results) else []
    if blocks is not None:
        log(f"wrote {results} ({size / 1e6:.1f} MB); {JOIN}")
        log.write(engine="ckks", role="server", bytes={"results": size}, blocks=blocks)
        return
    back = results.name if isinstance(results, Path) else str(results)
    log(f"wrote {results} ({size / 1e6:.1f} MB), which goes back to the owner; next, there: securegen decrypt --key "
        f"KEY.secret --owner OUT.owner --results {shlex.quote(back)} --out RESULT")  # fmt: skip
    log.write(engine="ckks", role="server", bytes={"results": size})


def _say_memory(cohort: EncryptedCohort, design: EncryptedDesign, memory: int | None, log: RunLog) -> None:
    """What the pass will take, before it begins."""
    from securegen.engines.ckks.server.associate import memory_of
    from securegen.engines.ckks.server.pass_memory import WORKING_BYTES

    limit = memory << 20 if memory else WORKING_BYTES
    planned = memory_of(cohort, design, limit)
    if planned.working > limit:
        log(
            f"WARNING: {planned.working / 2**20:.0f} MB of working memory are the least for this design, more than --memory "
            f"{limit >> 20}; fewer --threads need less"
        )
    log(
        f"memory: {planned.working / 2**20:.0f} MB for results, sums, columns and buffers, beside it up to "
        f"{planned.mapped / 2**20:.0f} MB of mapped files and the program itself"
    )


def _check(cohort: EncryptedCohort, design: EncryptedDesign) -> None:
    """Whole folders that belong together. Raises ArtefactError."""
    for folder in (cohort.folder, design.folder):
        if isinstance(place := place_of(folder), Path):
            check_input(place)
    if design.body["cohort"] != cohort.digest:
        raise ArtefactError("the design was made for another cohort, or for another version of this one")


def _plain(options: dict[str, Any], out: str, form: TableForm, log: RunLog) -> None:
    from securegen.cli.engine_run import run_engine
    from securegen.engines.plain.engine import Plain

    if not options["pheno"]:
        raise UsageError("association needs --pheno")
    filters = filters_from(options)
    run_engine(Plain(), [opt.inputs_from(options, qc=filters.active)], out, form, log, filters)
