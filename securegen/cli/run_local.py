"""securegen run-local: every role of a study on this machine, through the files of a deployment."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import click

from securegen.cli import options as opt
from securegen.cli.run_local_prs import prs
from securegen.cli.summary import print_summaries, print_top, promises
from securegen.errors import SecuregenError, UsageError
from securegen.governance.receipt import outsourced_receipt, plain_receipt
from securegen.io.output import make_working_folder
from securegen.provenance import RunLog, folder_bytes, peak_rss_bytes
from securegen.stats.qc import Filters
from securegen.stats.tables import Summary
from securegen.study import Inputs


@click.group()
def command() -> None:
    """Run every role of a study on this machine, each as a process of its own."""


command.add_command(prs)


def record_of(study) -> dict:
    """The keys of run.json that describe the study, whatever the engine."""
    tests = [a for a in study.design.analyses if a.test != "qc"] or study.design.analyses
    return {
        "inputs": study.inputs.digests(),
        "samples": max(a.model.samples for a in tests),
        "samples_stored": len(study.reader.samples),
        "variants": len(study.reader.variants),
        "covariates": max(len(a.model.covariates) for a in tests),
        "phenotypes": [a.phenotype for a in tests if a.test != "qc"],
        "missing": study.inputs.missing,
    }


def run_plain(
    inputs: Inputs, out: str, digits: int, log: RunLog, filters: Filters | None = None, *, qc_only: bool = False,
    reveal: str | None = None,
):  # fmt: skip
    """The plain engine, with its log and record. reveal: uv or chi2 instead of whole tables."""
    from securegen import api

    with log.stage("plan"):
        study = opt.open_study(inputs, log, qc_only=qc_only)
    tables: list[Summary] = []
    with log.stage("gwas"):
        if reveal:
            from securegen.stats.projected_tables import plain_projected

            tables = plain_projected(study.reader, study.design, out, reveal=reveal, digits=digits)
        elif not qc_only:
            tables = api.plain_tables(study, out, digits=digits, filters=filters)
        if qc_only:
            for path in api.plain_qc(study, out):
                log(f"wrote {path}")
    print_summaries(tables, log, filters)
    receipt = plain_receipt([t.path for t in tables])
    log.write(
        receipt=receipt.to_json(),
        engine="plain", parameters={"bits": max(a.model.bits for a in study.design.analyses)}, bytes={},
        planned_noise_margin_bits=None, promise=promises(tables), **record_of(study),
    )  # fmt: skip
    return tables


def run_ckks(
    inputs: Inputs, out: str, digits: int, log: RunLog, filters: Filters | None = None, *, encryptor: str, keep_files: bool,
    qc_only: bool = False, limits: Sequence[str] = (),
):  # fmt: skip
    """Owner in this process, server in another that is given two folders and no key."""
    from securegen import api
    from securegen.ckks import keys
    from securegen.cli.plan import describe
    from securegen.cli.progress import progress

    keys.lock_down_process()
    work = make_working_folder(f"{out}.parties")
    owner, server = work / "owner", work / "server"
    owner.mkdir(mode=0o700)
    server.mkdir()
    try:
        with log.stage("plan"):
            study = opt.open_study(inputs, log, qc_only=qc_only)
            plan = api.plan(study)
            describe(plan, study.design, log)
        with log.stage("keygen"):
            passphrase = secrets.token_bytes(32).hex().encode()
            keys.write_secret(owner / "key.secret", api.generate_key(plan), passphrase=passphrase)
            key = keys.read_secret(owner / "key.secret", passphrase=passphrase)
            keys.write_public(owner / "key.public", key.public)
        with log.stage("encrypt"), progress("encrypting", quiet=log.quiet) as report:
            made = api.encrypt(study, key, owner / "study", encryptor=encryptor, progress=report)
            for folder in (made.cohort, made.design):
                folder.rename(server / folder.name)
        served = _serve(server, limits)
        with log.stage("decrypt"):
            results = server / "study.results"
            tables = api.decrypt_tables(results, key, made.owner, out, digits=digits, filters=filters)
            paths = api.decrypt_qc(results, key, made.owner, out) if qc_only else []
        print_summaries(tables, log, filters)
        for path in paths:
            log(f"wrote {path}")
        sizes = {n: folder_bytes(server / f"study.{n}") for n in ("cohort", "design", "results")}
        sizes["public_key"] = (owner / "key.public").stat().st_size
        log.seconds["gwas"] = served["seconds"]["gwas"]
        receipt = outsourced_receipt([*(t.path for t in tables), *paths], encryptor)
        log.note(receipt.lines())
        log.write(
            receipt=receipt.to_json(),
            engine="ckks", parameters=key.public.parameters.to_json() | {"bits": plan.workload.bits}, bytes=sizes,
            planned_noise_margin_bits=plan.parameters.margin_bits, promise=promises(tables),
            peak_rss_bytes=max(peak_rss_bytes(), served["peak_rss_bytes"]),
            encryptor=encryptor, **record_of(study),
        )  # fmt: skip
        return tables
    finally:
        if keep_files:
            log(f"kept {work}")
            (owner / "key.secret").unlink(missing_ok=True)
        else:
            shutil.rmtree(work, ignore_errors=True)


def _serve(server: Path, limits: Sequence[str]) -> dict:
    """Run the server as its own process in its own folder, with no key and nothing of the owner's environment."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("SECUREGEN_")}
    environment["PYTHONPATH"] = os.pathsep.join(p or os.getcwd() for p in sys.path)
    call = [sys.executable, "-m", "securegen", "gwas", "--cohort", "study.cohort", "--design", "study.design"]
    run = subprocess.run(
        [*call, "--out", "study", "--quiet", *limits], cwd=server, env=environment, stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    if run.returncode:
        error = SecuregenError(f"the server process failed: {run.stderr.strip().removeprefix('Error: ')}")
        error.exit_code = run.returncode if run.returncode > 0 else 1
        raise error
    return json.loads((server / "study.run.json").read_text())


ENGINE = click.option("--engine", type=click.Choice(["plain", "ckks"]), required=True, help="How sums are computed.")
DIGITS = click.option("--digits", type=click.IntRange(3, 17), default=17, show_default=True, help="Significant digits.")
KEEP = click.option("--keep-files", is_flag=True, help="Keep the encrypted files (the key is deleted all the same).")


def _limits(threads: int | None, memory: int | None) -> list[str]:
    """The same limits for the server process."""
    given = (("--threads", threads), ("--memory", memory))
    return [part for flag, value in given if value is not None for part in (flag, str(value))]


@command.command(
    epilog="Example:  securegen run-local gwas --engine ckks --bfile cohort --pheno p.tsv --pheno-name QT "
    "--covar c.tsv --out result"
)
@click.option(
    "--engine",
    type=click.Choice(["plain", "ckks", "threshold", "mpc"]),
    required=True,
    help="How the sums are computed.",
)
@opt.genotype_options(several=True)
@opt.design_options()
@opt.filter_options
@click.option("--hwe-controls", is_flag=True, help="--hwe over controls only.")
@click.option(
    "--sites", type=click.IntRange(2), metavar="S", help="Sites the samples are dealt to (threshold, mpc) [3]."
)
@click.option("--split", type=click.Choice(["horizontal", "vertical", "outsourced"]), help="Who holds what (mpc).")
@click.option(
    "--reveal",
    type=click.Choice(["hits", "chi2", "uv", "aggregates"]),
    help="What a vertical split opens to the phenotype owner (mpc) [hits]; chi2 and uv also for the plain engine.",
)
@click.option("--threshold", type=float, metavar="P", help="p-value of a hit (--reveal hits) [5e-8].")
@click.option("--consent-aggregates", is_flag=True, help="Both owners agree to open all sums (mpc).")
@click.option("--two-sites-learn-each-other", is_flag=True, help="Allow two sites, which hide nothing from each other.")
@opt.encryptor_option
@DIGITS
@KEEP
@click.option("--compare-plain", is_flag=True, help="Also run the plain engine; say whether the tables are identical.")
@opt.run_options
def gwas(engine, sites, split, reveal, threshold, consent_aggregates, two_sites_learn_each_other, encryptor, digits,
         keep_files, compare_plain, out, threads, memory, quiet, bfile, **options) -> None:  # fmt: skip
    """Association with every role as its own process, through the files of a deployment.

    It never prompts: its key is its own, under a random passphrase, and deleted at the end.
    """
    opt.use_threads(threads)
    filters = opt.filters_from(options)
    inputs = opt.inputs_from(options, bfile=bfile[0], qc=filters.active)
    if engine not in ("threshold", "mpc") and (len(bfile) > 1 or sites):
        raise UsageError(f"several --bfile and --sites are for sites that share no data, not for --engine {engine}")
    if engine != "mpc" and (split or threshold or consent_aggregates or reveal not in (None, "uv", "chi2")):
        raise UsageError("--split, --reveal, --threshold and --consent-aggregates are for --engine mpc")
    if reveal and engine not in ("plain", "mpc"):
        raise UsageError(f"--reveal {reveal} does not go with --engine {engine}")
    if compare_plain and len(bfile) > 1:
        raise UsageError("--compare-plain needs the pooled cohort as one --bfile")
    log = RunLog(out, f"run-local gwas --engine {engine}", quiet=quiet)
    if engine == "threshold":
        from securegen.cli.run_threshold import run_threshold

        tables = run_threshold(
            inputs, bfile, sites, out, digits, log, filters, keep_files=keep_files,
            two_sites_learn_each_other=two_sites_learn_each_other,
        )  # fmt: skip
        if compare_plain:
            _compare(inputs, tables, digits, log, filters)
        return
    if engine == "mpc":
        from securegen.cli.run_mpc import Choices, run_mpc

        choices = Choices(
            split,
            sites,
            reveal,
            threshold,
            consent_aggregates,
            two_sites_learn_each_other,
            threads or os.cpu_count() or 1,
        )
        if compare_plain and split == "vertical" and reveal in (None, "hits", "chi2"):
            raise UsageError("--compare-plain compares whole tables of equal text: --reveal uv or aggregates")
        tables = run_mpc(inputs, bfile, choices, out, digits, log, filters, keep_files=keep_files)
        if compare_plain:
            _compare(inputs, tables, digits, log, filters, reveal="uv" if reveal == "uv" else None)
        return
    if engine == "plain":
        run_plain(inputs, out, digits, log, filters, reveal=reveal)
        return
    if inputs.missing == "complete" and inputs.model not in ("trend", "allelic"):
        raise UsageError("--missing complete needs genotypes in the clear: --engine plain")
    tables = run_ckks(
        inputs, out, digits, log, filters, encryptor=encryptor, keep_files=keep_files, limits=_limits(threads, memory)
    )
    if compare_plain:
        _compare(inputs, tables, digits, log, filters)


@command.command(epilog="Example:  securegen run-local qc --engine ckks --bfile cohort --out quality")
@ENGINE
@opt.genotype_options()
@click.option("--pheno", metavar="FILE", help="Phenotypes, for --hwe-controls.")
@click.option("--hwe-controls", is_flag=True, help="Hardy–Weinberg over controls only (first binary phenotype).")
@opt.encryptor_option
@KEEP
@opt.run_options
def qc(engine, encryptor, keep_files, out, threads, memory, quiet, **options) -> None:
    """Allele frequencies, missingness and Hardy–Weinberg tests, in the clear or encrypted."""
    opt.use_threads(threads)
    inputs = opt.inputs_from(options, qc=True)
    log = RunLog(out, f"run-local qc --engine {engine}", quiet=quiet)
    if engine == "plain":
        run_plain(inputs, out, 17, log, qc_only=True)
    else:
        limits = _limits(threads, memory)
        run_ckks(inputs, out, 17, log, encryptor=encryptor, keep_files=keep_files, qc_only=True, limits=limits)


def _compare(
    inputs: Inputs, tables, digits: int, log: RunLog, filters: Filters | None, *, reveal: str | None = None
) -> None:  # fmt: skip
    """Run the plain engine beside and compare the tables byte for byte. Raises SecuregenError when they differ."""
    from securegen import api

    with tempfile.TemporaryDirectory() as folder:
        study = opt.open_study(inputs, RunLog(f"{folder}/p", "compare", quiet=True))
        if reveal:
            from securegen.stats.projected_tables import plain_projected

            plain = plain_projected(study.reader, study.design, f"{folder}/p", reveal=reveal, digits=digits)
        else:
            plain = api.plain_tables(study, f"{folder}/p", digits=digits, filters=filters)
        same = all(Path(a.path).read_bytes() == Path(b.path).read_bytes() for a, b in zip(tables, plain, strict=True))
    for table in tables:
        print_top(table, log)
    log(f"identical to the plain engine: {'yes' if same else 'no'}")
    for stage, seconds in log.seconds.items():
        log(f"  {stage:<8} {seconds:8.2f} s")
    for what, size in log.record["bytes"].items():
        if what == "rounds":
            log(f"  {what:<10} {size:10d}")
            continue
        for name, count in (size if isinstance(size, dict) else {what: size}).items():
            log(f"  {name:<10} {count / 1e6:10.3f} MB")
    log("wrote " + ", ".join([*(t.path for t in tables), f"{log.out}.run.json", f"{log.out}.log"]))
    log.save_lines()
    if not same:
        raise SecuregenError("the encrypted and the plain table differ: this must never happen, please report it")
