"""securegen run-local: every role of a study on this machine, through the files of a deployment."""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from pathlib import Path

import click

from securegen.catalogue import uses_missing
from securegen.cli import options as opt
from securegen.cli.command import Group, dry_run, rehearses, stop_rehearsal
from securegen.cli.progress import progress
from securegen.cli.run_local_parties import parties, run_party
from securegen.cli.run_local_prs import prs
from securegen.cli.runlog import CommandLog
from securegen.cli.summary import covariate_facts, print_end, print_summaries, promises
from securegen.cli.table_form import TableForm, convert, form_from, gzip_option, table_options
from securegen.errors import SecuregenError, UsageError
from securegen.governance.openings import ALL, STRICT, WITHHOLD
from securegen.local.folders import PARTIES, working_folder
from securegen.record.receipt import outsourced_receipt, plain_receipt
from securegen.record.run_log import RunLog, folder_bytes, peak_rss_bytes
from securegen.results.write import Summary
from securegen.stats.qc import Filters
from securegen.study.build import close_samples
from securegen.study.inputs import Inputs, silent
from securegen.vocabulary import QC_COLUMNS


@click.group(cls=Group)
def command() -> None:
    """Run every role of a study on this machine, each as a process of its own."""


command.add_command(prs)


def record_of(study) -> dict:
    """The keys of run.json that describe the study, whatever the engine."""
    tests = [a for a in study.design.analyses if a.association] or study.design.analyses
    return {
        "inputs": study.inputs.digests(),
        "samples": max(a.model.samples for a in tests),
        "samples_stored": len(study.reader.samples),
        "variants": len(study.reader.variants),
        **covariate_facts(a.model for a in tests),
        "phenotypes": [a.phenotype for a in tests if a.association],
        "missing": study.inputs.missing,
    }


def _rehearsed(study, out: str, form: TableForm, *, reveal: str | None = None) -> None:
    """End a dry run here, with the names of the tables. reveal: what is opened, when it is less than whole tables."""
    analyses = study.design.analyses
    tables = [form.path(out, reveal or a.test, a.phenotype) for a in analyses if a.association] or [
        form.packed(f"{out}.{n}") for n in QC_COLUMNS
    ]
    stop_rehearsal([*tables, f"{out}.log", f"{out}.run.json"], **record_of(study))


def run_plain(
    inputs: Inputs, out: str, form: TableForm, log: RunLog, filters: Filters | None = None, *, qc_only: bool = False,
    reveal: str | None = None,
):  # fmt: skip
    """The plain engine, with its log and record. reveal: uv or chi2 instead of whole tables."""
    from securegen import api

    with log.stage("plan"):
        study = opt.open_study(inputs, log, qc_only=qc_only)
    _rehearsed(study, out, form, reveal=reveal)
    tables: list[Summary] = []
    with log.stage("gwas"):
        if reveal:
            from securegen.results.projected import plain_projected

            tables = plain_projected(study.reader, study.design, out, reveal=reveal, digits=form.digits)
            convert(tables, out, form, log)
        elif not qc_only:
            with progress("associating", unit="variants", quiet=log.quiet) as report:
                tables = api.plain_tables(study, out, digits=form.digits, filters=filters, progress=report)
            convert(tables, out, form, log)
        paths = form.finish(api.plain_qc(study, out)) if qc_only else []
    print_summaries(tables, log, filters)
    paths += [t.path for t in tables]
    receipt = plain_receipt(paths, close_samples(study.design))
    log.write(
        receipt=receipt.to_json(),
        engine="plain", parameters={"bits": max(a.model.bits for a in study.design.analyses)}, bytes={},
        planned_noise_margin_bits=None, promise=promises(tables), **record_of(study),
    )  # fmt: skip
    print_end(log, paths)
    return tables


def run_ckks(
    inputs: Inputs, out: str, form: TableForm, log: RunLog, filters: Filters | None = None, *, encryptor: str, keep_files: bool,
    qc_only: bool = False, limits: Sequence[str] = (),
):  # fmt: skip
    """Owner in this process, server in another that is given two folders and no key."""
    from securegen.cli.plan import describe
    from securegen.engines.ckks import keys, steps
    from securegen.engines.ckks.owner import secret_key
    from securegen.io.envelope import DRAWN_COST

    os.umask(0o077)  # what is decrypted is for its owner alone
    with log.stage("plan"):
        study = opt.open_study(inputs, log, qc_only=qc_only)
        plan = steps.plan(study)
        describe(plan, study.design, log)
    _rehearsed(study, out, form)
    with parties(out, "owner", "server", keep=keep_files, log=log) as at:
        owner, server = at["owner"], at["server"]
        with log.stage("keygen"):
            passphrase = secrets.token_bytes(32).hex().encode()
            secret_key.write_secret(
                owner / "key.secret", steps.generate_key(plan), passphrase=passphrase, cost=DRAWN_COST
            )
            key = secret_key.read_secret(owner / "key.secret", passphrase=passphrase)
            keys.write_public(owner / "key.public", key.public)
        with log.stage("encrypt"), progress("encrypting", quiet=log.quiet) as report:
            made = steps.encrypt(study, key, owner / "study", encryptor=encryptor, progress=report)
            for folder in (made.cohort, made.design):
                folder.rename(server / folder.name)
        served = run_party(
            server, "gwas", "--cohort", "study.cohort", "--design", "study.design", "--out", "study", *limits
        )
        with log.stage("decrypt"):
            results = server / "study.results"
            tables = steps.decrypt_tables(results, key, made.owner, out, digits=form.digits, filters=filters)
            convert(tables, out, form, log)
            paths = form.finish(steps.decrypt_qc(results, key, made.owner, out)) if qc_only else []
            opened = steps.read_design(key, made.owner)
        print_summaries(tables, log, filters)
        paths += [t.path for t in tables]
        sizes = {n: folder_bytes(server / f"study.{n}") for n in ("cohort", "design", "results")}
        sizes["public_key"] = (owner / "key.public").stat().st_size
        log.seconds["gwas"] = served["seconds"]["gwas"]
        receipt = outsourced_receipt(paths, encryptor, opened.line(), close_samples(study.design))
        log.note(receipt.lines())
        log.write(
            receipt=receipt.to_json(), design=opened.record(),
            engine="ckks", parameters=key.public.parameters.to_json() | {"bits": plan.workload.bits}, bytes=sizes,
            planned_noise_margin_bits=plan.parameters.margin_bits, promise=promises(tables),
            peak_rss_bytes=max(peak_rss_bytes(), served["peak_rss_bytes"]),
            encryptor=encryptor, **record_of(study),
        )  # fmt: skip
        print_end(log, paths)
        return tables


ENGINE = click.option("--engine", type=click.Choice(["plain", "ckks"]), required=True, help="How sums are computed.")
KEEP = click.option("--keep-files", is_flag=True, help="Keep the encrypted files (the key is deleted all the same).")


def _limits(threads: int | None, memory: int | None) -> list[str]:
    """The same limits for the server process."""
    given = (("--threads", threads), ("--memory", memory))
    return [part for flag, value in given if value is not None for part in (flag, str(value))]


@command.command()
@click.option(
    "--engine",
    type=click.Choice(["plain", "ckks", "federated", "threshold", "mpc"]),
    required=True,
    help="How the sums are computed; threshold is an older name of federated.",
)
@opt.genotype_options(several=True)
@opt.design_options()
@opt.filter_options
@click.option("--hwe-controls", is_flag=True, help="--hwe over controls only.")
@click.option("--sites", type=click.IntRange(2), metavar="S", help="Sites the samples are dealt to (federated) [3].")
@click.option(
    "--split",
    type=click.Choice(["horizontal", "vertical", "outsourced"]),
    help="Who holds what (mpc); horizontal is --engine federated.",
)
@click.option(
    "--reveal",
    type=click.Choice(["hits", "chi2", "uv", "aggregates"]),
    help="What a vertical split opens to the phenotype owner (mpc) [hits]; chi2 and uv also for the plain engine.",
)
@click.option("--threshold", type=float, metavar="P", help="p-value of a hit (--reveal hits) [5e-8].")
@click.option("--consent-aggregates", is_flag=True, help="Both owners agree to open all sums (mpc).")
@opt.opening_options
@click.option("--two-sites-learn-each-other", is_flag=True, help="Allow two sites, which hide nothing from each other.")
@opt.encryptor_option
@table_options
@KEEP
@click.option("--compare-plain", is_flag=True, help="Also run the plain engine; say whether the tables are identical.")
@opt.run_options
@rehearses
def gwas(engine, sites, split, reveal, threshold, consent_aggregates, openings, few_missing, consent_openings,
         two_sites_learn_each_other, encryptor, keep_files, compare_plain, out, threads, memory, quiet,
         **options) -> None:  # fmt: skip
    """Association with every role as its own process, through the files of a deployment.

    It never prompts: its key is its own, under a random passphrase, and deleted at the end.
    """
    if engine == "threshold" or (engine, split) == ("mpc", "horizontal"):  # other names of the same engine
        engine, split = "federated", None
    opt.use_threads(threads)
    filters, form = opt.filters_from(options), form_from(options)
    form.check(options["model"], projected=reveal in ("uv", "chi2") or (split == "vertical" and reveal != "aggregates"))
    cohorts = opt.cohorts_from(options)
    inputs = opt.inputs_from(options | cohorts[0], qc=filters.active)
    members = [opt.inputs_from(options | c, qc=filters.active) for c in cohorts]
    if openings is None:
        openings = ALL if compare_plain else STRICT
    elif engine != "federated" and (engine, split, reveal) not in (
        ("mpc", "vertical", "aggregates"), ("mpc", "outsourced", None), ("mpc", "outsourced", "aggregates"),
    ):  # fmt: skip
        raise UsageError(
            "--openings is for parties who see sums of each other's people: --engine federated, or mpc with --split "
            "outsourced or --reveal aggregates"
        )
    if few_missing and engine != "federated":
        raise UsageError("--few-missing is for sites that sum their own people: --engine federated")
    if compare_plain and openings != ALL:
        raise UsageError(
            "--compare-plain compares whole tables of one owner's data: it goes with --openings all, its default"
        )
    if engine not in ("federated", "mpc") and (len(members) > 1 or sites):
        raise UsageError(
            f"several files of genotypes and --sites are for sites that share no data, not for --engine {engine}"
        )
    if engine != "mpc" and (split or threshold or consent_aggregates or reveal not in (None, "uv", "chi2")):
        raise UsageError("--split, --reveal, --threshold and --consent-aggregates are for --engine mpc")
    if reveal and engine not in ("plain", "mpc"):
        raise UsageError(f"--reveal {reveal} does not go with --engine {engine}")
    if compare_plain and len(members) > 1:
        raise UsageError("--compare-plain needs the pooled cohort as one file of genotypes")
    log = CommandLog(out, f"run-local gwas --engine {engine}", quiet=quiet)
    opened = None
    if engine == "mpc":
        from securegen.cli.run_mpc import Choices, check, run_mpc

        choices = Choices(
            split, sites, reveal, threshold, consent_aggregates, threads or os.cpu_count() or 1, openings
        )  # fmt: skip
        check(members, choices, filters)
        opened = choices.opened
        if compare_plain and opened in ("hits", "chi2"):
            raise UsageError("--compare-plain compares whole tables of equal text: --reveal uv or aggregates")
    if len(members) > 1 and sites not in (None, len(members)):
        raise UsageError(f"--sites {sites} with {len(members)} filesets: one fileset is one site")
    if engine in ("federated", "mpc") and (dry_run() or len(members) > 1):
        study = _pooled(members, log) if len(members) > 1 else opt.open_study(inputs, log)
        _rehearsed(study, out, form, reveal=opened)
    if engine == "federated":
        from securegen.cli.run_federated import run_federated

        tables = run_federated(
            members, sites, out, form, log, filters, keep_files=keep_files,
            two_sites_learn_each_other=two_sites_learn_each_other, openings=openings,
            few_missing=few_missing or WITHHOLD,            consent_openings=consent_openings,
        )  # fmt: skip
        if compare_plain:
            _compare(inputs, tables, form, log, filters)
        return
    if engine == "mpc":
        tables = run_mpc(members, choices, out, form, log, filters, keep_files=keep_files)
        if compare_plain:
            _compare(inputs, tables, form, log, filters, reveal="uv" if reveal == "uv" else None)
        return
    if engine == "plain":
        run_plain(inputs, out, form, log, filters, reveal=reveal)
        return
    if inputs.missing == "complete" and uses_missing(inputs.model):
        raise UsageError("--missing complete needs genotypes in the clear: --engine plain")
    tables = run_ckks(
        inputs, out, form, log, filters, encryptor=encryptor, keep_files=keep_files, limits=_limits(threads, memory)
    )
    if compare_plain:
        _compare(inputs, tables, form, log, filters)


@command.command()
@ENGINE
@opt.genotype_options()
@click.option("--pheno", metavar="FILE", help="Phenotypes, for --hwe-controls.")
@click.option("--hwe-controls", is_flag=True, help="Hardy–Weinberg over controls only (first binary phenotype).")
@opt.encryptor_option
@gzip_option
@KEEP
@opt.run_options
@rehearses
def qc(engine, encryptor, gzip, keep_files, out, threads, memory, quiet, **options) -> None:
    """Allele frequencies, missingness and Hardy–Weinberg tests, in the clear or encrypted."""
    opt.use_threads(threads)
    inputs = opt.inputs_from(options, qc=True)
    log = CommandLog(out, f"run-local qc --engine {engine}", quiet=quiet)
    if engine == "plain":
        run_plain(inputs, out, TableForm(gzip=gzip), log, qc_only=True)
    else:
        limits = _limits(threads, memory)
        run_ckks(
            inputs,
            out,
            TableForm(gzip=gzip),
            log,
            encryptor=encryptor,
            keep_files=keep_files,
            qc_only=True,
            limits=limits,
        )


def _pooled(members: Sequence[Inputs], log: RunLog):
    """What all sites analyse together: everything that can be refused before a site starts."""
    from securegen.engines.federated.variants import common_variants
    from securegen.local import cohorts
    from securegen.study.build import build_design
    from securegen.study.genotypes import open_genotypes
    from securegen.study.opening import Study

    cohorts.refuse_same_file(members)
    readers = [open_genotypes(member, silent) for member in members]
    pooled = cohorts.pool(members, readers)
    common_variants([reader.variants for reader in readers])
    return Study(members[0], pooled, build_design(members[0], pooled, log if dry_run() else silent))


def _compare(
    inputs: Inputs, tables, form: TableForm, log: RunLog, filters: Filters | None, *, reveal: str | None = None
) -> None:  # fmt: skip
    """Run the plain engine beside and compare the tables byte for byte. Raises SecuregenError when they differ."""
    from securegen import api

    with working_folder(log.out, PARTIES, keep=False, log=log) as folder:
        study = opt.open_study(inputs, RunLog(f"{folder}/p", "compare", quiet=True))
        if reveal:
            from securegen.results.projected import plain_projected

            plain = plain_projected(study.reader, study.design, f"{folder}/p", reveal=reveal, digits=form.digits)
        else:
            plain = api.plain_tables(study, f"{folder}/p", digits=form.digits, filters=filters)
        convert(plain, f"{folder}/p", form, silent)
        same = all(Path(a.path).read_bytes() == Path(b.path).read_bytes() for a, b in zip(tables, plain, strict=True))
    log(f"identical to the plain engine: {'yes' if same else 'no'}")
    if not same:
        raise SecuregenError("the encrypted and the plain table differ: this must never happen, please report it")
