"""securegen site"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from securegen.cli import options as opt
from securegen.cli import passphrases
from securegen.cli.asking import purpose_options
from securegen.cli.command import Group, common_options, report, writes
from securegen.cli.filter_options import filter_options, filters_from
from securegen.cli.form_options import form_from, table_options
from securegen.cli.noise_options import noise_options
from securegen.cli.runlog import CommandLog
from securegen.engines.protocol import noise_facts, strata_facts
from securegen.errors import PolicyError
from securegen.record.run_log import print_end
from securegen.results.forms import TableForm, convert
from securegen.results.sets import SUFFIX
from securegen.results.summary import coding_facts, covariate_facts, print_summaries, promises, summary_json
from securegen.stats.qc import Filters
from securegen.study.inputs import Inputs

shared_folder = click.option(
    "--dir", "folder", required=True, metavar="FOLDER", help="The folder that all sites share."
)
private_folder = click.option("--state", required=True, metavar="FOLDER", help="This site's private folder.")


@click.group(cls=Group)
def command() -> None:
    """Take part in a federated study as one site: its key, its variant list, its run."""


@command.command("keygen")
@click.option("--state", required=True, metavar="FOLDER", help="The site's private folder; the key is written there.")
@click.option("--out", required=True, metavar="FILE", help="Where to write the public key, for the coordinator.")
@passphrases.passphrase_options
@common_options
@writes("{state}/site.secret", "{out}")
def keygen_command(state: str, out: str, passphrase_file: str | None) -> None:
    """Make this site's signing key. Its fingerprint is what all others compare by telephone.

    The key is unprotected on disk unless a passphrase is given.
    """
    from securegen.engines.federated.steps import SITE_KEY, keygen

    mark = keygen(state, out, passphrase=passphrases.given_passphrase(passphrase_file))
    report(
        f"fingerprint {mark}: {Path(state) / SITE_KEY} (keep), {out} (for the coordinator)",
        fingerprint=mark,
        public=out,
    )


@command.command()
@opt.genotype_options()
@click.option("--out", required=True, metavar="FILE", help="Variant list to write.")
@common_options
@writes("{out}")
def variants(out: str, **options: Any) -> None:
    """Write the variants of a genotype file (ids, positions, alleles; nothing of a person) for the coordinator."""
    from securegen.engines.federated.steps import variant_list

    count = variant_list(opt.inputs_from(options), out, log=lambda line: click.echo(line, err=True))
    report(f"wrote {out}: {count} variants", variants=count, file=out)


@command.command()
@shared_folder
@click.option("--study", "study_file", metavar="FILE", help="The study file [FOLDER/study.toml].")
@private_folder
@opt.site_genotypes
@opt.site_options
@click.option("--keep", metavar="FILE", help="Only these samples (FID IID or IID per line).")
@click.option("--remove", metavar="FILE", help="Leave these samples out.")
@purpose_options
@click.option("--pheno", required=True, metavar="FILE", help="This site's phenotypes.")
@click.option("--covar", metavar="FILE", help="This site's covariates.")
@opt.generalise_option
@opt.apply_options(noise_options)
@click.option(
    "--wait", type=click.FloatRange(0), default=0.0, metavar="SECONDS", help="How long to wait for a silent site [0]."
)
@table_options
@filter_options
@passphrases.passphrase_options
@opt.run_options
@writes("{out}.<PHENO>.<TEST>", "{out}.log", "{out}.run.json")
def run(
    folder: str, study_file: str | None, state: str, wait: float, passphrase_file: str | None, out: str,
    threads: int | None, memory: int | None, quiet: bool, **options: Any,
) -> None:  # fmt: skip
    """Go as far in the study as the other sites allow, and to the end when they are there.

    Run it again whenever it says that it waits for a site: it never repeats a step, and a killed run goes on.
    """

    opt.use_threads(threads)
    form, log = form_from(options), CommandLog(out, "site run", quiet=quiet)
    take_part(
        Path(folder), Path(state), opt.inputs_from(options), out, log, form, filters_from(options),
        passphrase_file, study_file=Path(study_file) if study_file else None, wait=wait,
    )  # fmt: skip


def passphrase(state: str | Path, passphrase_file: str | None) -> bytes | None:
    """Of this site's key; asked for only where it has one."""
    from securegen.engines.federated.steps import SITE_KEY

    return passphrases.passphrase_for(Path(state) / SITE_KEY, passphrase_file)


def take_part(
    folder: Path, state: Path, inputs: Inputs, out: str, log: CommandLog, form: TableForm, filters: Filters,
    passphrase_file: str | None, **more: Any,
) -> None:  # fmt: skip
    """One site's whole run, with tables, log and run.json. more: of `run_site`."""
    from securegen.engines.federated.steps import run_site

    secret = passphrase(state, passphrase_file)
    with log.stage("gwas"):
        try:
            result = run_site(
                folder, state, inputs, out, digits=form.digits, filters=filters, passphrase=secret, log=log, **more
            )
        except PolicyError:
            log.save_lines()  # names the rule that refused
            raise
    written = [t.path for t in result.tables]
    convert(result.tables, out, form, log)
    files = [form.finish([path])[0] if path.endswith(f".{SUFFIX}") else path for path in result.scores]
    renamed = dict(zip([*written, *result.scores], [*(t.path for t in result.tables), *files], strict=True))
    receipt = replace(result.receipt, released=tuple(renamed.get(r, r) for r in result.receipt.released))
    print_summaries(result.tables, log, filters)
    quality = form.finish(result.quality)
    tests = [a for a in result.analyses if a.association]
    log.write(
        engine="federated", study=result.study.digest, site=result.site, bytes={"sent": {result.site: result.bytes}},
        parameters={"bits": max(a.model.bits for a in tests), "commit": result.study.commit,
                    "openings": result.study.openings, "common_samples": result.study.common_samples,
                    "consent_openings": result.study.consent_openings, "few_missing": result.study.few_missing},
        samples=max(a.model.samples for a in tests), samples_stored=result.people,
        variants=result.study.variants, **covariate_facts(a.model for a in tests),
        phenotypes=[a.phenotype for a in tests], missing=result.study.missing, promise=promises(result.tables),
        files=files, planned_noise_margin_bits=None, receipt=receipt.to_json(), opened=result.opened,
        **result.governance, **result.correction, **noise_facts(inputs, result.analyses),
        summaries=[summary_json(t) for t in result.tables], **strata_facts(result.strata), **coding_facts(tests[0].coding),
    )  # fmt: skip
    print_end(log, [*result.predictions, *files, *quality, *(t.path for t in result.tables)])
