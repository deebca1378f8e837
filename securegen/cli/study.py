"""securegen study"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from securegen.catalogue import CORRECTIONS, NONE, models
from securegen.cli import former, passphrases
from securegen.cli import options as opt
from securegen.cli.asking import asking_from, opening_options
from securegen.cli.command import Function, Group, common_options, json_option, report, writes
from securegen.cli.mask_options import mask_options
from securegen.cli.site import passphrase as site_passphrase
from securegen.cli.site import private_folder, shared_folder
from securegen.cli.study_leaving import continue_command, leave_command, two_sites_option
from securegen.cli.study_terms import record_of, terms
from securegen.engines.federated.studyfile import KINDS
from securegen.errors import UsageError
from securegen.governance.openings import FEW_MISSING, LEVELS, STRICT, WITHHOLD
from securegen.study.inputs import STATISTICS


@click.group(cls=Group)
def command() -> None:
    """A federated study: set it up or continue it as its coordinator, join or leave it as a site, see how far it is."""


def _pairs(values: tuple[str, ...], what: str) -> dict[str, str]:
    out: dict[str, str] = {}
    for text in values:
        name, equals, value = text.partition("=")
        if not (name and equals and value):
            raise UsageError(f"{what} {text!r}: write NAME=VALUE")
        if name in out:
            raise UsageError(f"{what} {text!r}: {name} is given twice")
        out[name] = value
    return out


def _openings(command: Function) -> Function:
    """What several parties may open of each other's people."""
    return opt.apply_options(
        [
            click.option(
                "--openings", type=click.Choice(LEVELS),
                help="What sums may show of few people: strict; consortium also opens variants that few tell apart; all has no "
                "such rule, for rehearsals on one owner's data [strict; all beside --compare-plain].",
            ),
            click.option(
                "--few-missing", type=click.Choice(FEW_MISSING),
                help="Variants whose call few people of a site lack: NA, or rounded, which moves T by about 1e-5 [withhold].",
            ),
            click.option(
                "--consent-openings", is_flag=True,
                help="Accept more columns and leverage per person than the rules allow; every site's own sums may then be read.",
            ),
        ]
    )(command)  # fmt: skip


@command.command("init")
@shared_folder
@click.option("--key", required=True, metavar="FILE", help="The coordinator's signing key; made when absent.")
@click.option("--name", default="study", show_default=True, metavar="TEXT", help="What the study is called.")
@click.option("--site", "sites", multiple=True, required=True, metavar="NAME=FILE", help="A site and its public key.")
@click.option(
    "--variants", "lists", multiple=True, required=True, metavar="FILE",
    help="Variant list or .bim of a site; of several the variants that all have, with the alleles of the first.",
)  # fmt: skip
@click.option(
    "--phenotype", "traits", multiple=True, required=True, metavar="NAME=KIND", help=f"Kinds: {', '.join(KINDS)}."
)
@click.option("--covariate", "covariates", multiple=True, metavar="NAME", help="A covariate that every site has.")
@click.option("--model", type=click.Choice(models()), help="Test [linear, or logistic for cases and controls].")
@click.option(
    "--missing", type=click.Choice(["mean", "complete"]), default="mean", show_default=True, help="Missing calls."
)
@click.option(
    "--statistic", type=click.Choice(STATISTICS),
    help="Linear models: t (plink2), or χ² with the null model's variance (regenie) [plink2, regenie with --predictions].",
)  # fmt: skip
@click.option("--predictions", is_flag=True, help="Every site has predictions by chromosome of a whole-genome model.")
@opt.x_option
@opt.par_option
@opt.genetic_models
@mask_options
@opt.interaction_option
@click.option(
    "--correction",
    type=click.Choice([NONE, *CORRECTIONS]),
    default=NONE,
    show_default=True,
    help="Correct score tests of small P, in rounds among all sites.",
)
@opt.p_thresh_option
@opt.bits_option
@click.option(
    "--dosage-grid", type=click.IntRange(1), default=1, show_default=True, metavar="D",
    help="Every site rounds dosages to steps of 1/D; 1 is for hard calls.",
)  # fmt: skip
@click.option("--site-indicators", is_flag=True, help="A covariate for each site but the first.")
@click.option("--loadings", metavar="FILE", help="Public loadings: every site projects its own people.")
@click.option(
    "--pcs", cls=former.Option, former="--components", type=click.IntRange(0), metavar="K", default=0,
    help="Components as covariates: on --loadings, or else of all sites, which compute them together.",
)  # fmt: skip
@click.option(
    "--pc-variants", metavar="FILE", help="Ids of the variants of these components, one per line [all that pass]."
)
@click.option(
    "--ld-prune-on", metavar="SITE", help="Leave out variants in linkage disequilibrium (r² above 0.2) at this site."
)
@click.option(
    "--step1",
    is_flag=True,
    help="The sites fit a whole-genome model together, whose predictions correct each chromosome.",
)
@click.option("--block", type=click.IntRange(1), metavar="B", help="Variants per block of that model [√(5M)].")
@click.option("--write-score", is_flag=True, help="Every site also writes that model as a polygenic score.")
@click.option(
    "--qc", is_flag=True, help="Also compute frequencies, missingness and Hardy–Weinberg tests of the pooled cohort."
)
@click.option(
    "--smallest-cohort", cls=former.Option, former="--minimum-cohort", type=click.IntRange(1), metavar="N", default=20,
    show_default=True, help="Smallest number of people of a site.",
)  # fmt: skip
@two_sites_option
@click.option(
    "--commit", is_flag=True, help="Sites commit to each sum before any of them shows it: one more exchange per sum."
)
@_openings
@click.option(
    "--common-samples/--own-samples",
    default=None,
    help="Analyse a phenotype in the people who have every phenotype, or in all who have it [common; own with --openings all].",
)
@click.option(
    "--fewest-people",
    type=click.IntRange(10),
    default=10,
    show_default=True,
    help="Smallest number of people who may stand out.",
)
@click.option("--aim", metavar="TEXT", help="Text for study.toml: what the study is for.")
@click.option("--controller", metavar="TEXT", help="Text for study.toml: who answers for the data.")
@click.option("--contact", metavar="TEXT", help="Text for study.toml: whom to ask.")
@click.option("--expires", metavar="YYYY-MM-DD", help="The last day on which a site takes part.")
@passphrases.passphrase_options
@common_options
@writes("{folder}/study.toml", "{folder}/study.sig", "{folder}/variants.tsv", makes=["folder", "key"])
def init_command(
    folder: str, key: str, sites: tuple[str, ...], lists: tuple[str, ...], traits: tuple[str, ...],
    openings: str | None, few_missing: str | None, passphrase_file: str | None, **more: Any,
) -> None:  # fmt: skip
    """Write study.toml, its signature and the variant list into the shared folder."""
    from securegen.engines.federated.steps import init

    secret = (
        passphrases.passphrase_for(key, passphrase_file)
        if Path(key).exists()
        else passphrases.given_passphrase(passphrase_file)
    )
    study, dropped = init(
        folder, key, sites=_pairs(sites, "--site"), variant_lists=lists, phenotypes=_pairs(traits, "--phenotype"),
        openings=openings or STRICT, few_missing=few_missing or WITHHOLD, passphrase=secret,
        log=lambda line: click.echo(line, err=True), **more,
    )  # fmt: skip
    lines = [
        f"study {study.digest[:16]}: {len(study.sites)} sites, {study.variants} variants, in {folder}",
        *terms(study),
    ]
    if dropped:
        lines.insert(0, f"{dropped} variants of {lists[0]} are not in every list, or with other alleles: left out")
    report(lines, study=study.digest, left_out=dropped, **record_of(study))


@command.command()
@shared_folder
@private_folder
@click.option(
    "--coordinator", metavar="FINGERPRINT", help="The coordinator's fingerprint, as heard from the coordinator."
)
@click.option(
    "--site",
    "sites",
    multiple=True,
    metavar="NAME=FINGERPRINT",
    help="Another site's, as heard from that site; for each.",
)
@click.option(
    "--trust-study-file", is_flag=True, help="Accept the keys in the study file without comparing fingerprints."
)
@click.option(
    "--may-leave", is_flag=True,
    help="Agree that the study may go on without this site after totals were opened: their difference is its own sums.",
)  # fmt: skip
@opening_options
@passphrases.passphrase_options
@common_options
@writes("the acceptance, signed, in {folder}")
def join(
    folder: str, state: str, coordinator: str | None, sites: tuple[str, ...], trust_study_file: bool,
    may_leave: bool, passphrase_file: str | None, **options: Any,
) -> None:  # fmt: skip
    """Accept the study of a folder for this site: prints what will be opened, and whose keys take part.

    Whoever writes a study file could put their own keys under the names of all other sites, and read this site's sums.
    So compare the fingerprints of the coordinator and of every other site by telephone before joining.
    """
    from securegen.engines.federated import steps

    study, _ = steps.open_folder(folder)
    secret = site_passphrase(state, passphrase_file)
    own = steps.site_of(study, state, passphrase=secret)
    click.echo("\n".join([f"study {study.name} {study.digest[:16]}, for site {own}", *terms(study)]), err=True)
    told = _pairs(sites, "--site") | ({steps.COORDINATOR: coordinator} if coordinator else {})
    absent = steps.unheard(study, own, told)
    if absent and not trust_study_file and sys.stdin.isatty():
        click.confirm(
            f"Were the fingerprints of {', '.join(absent)} compared with what each of them says?", abort=True, err=True
        )
        trust_study_file = True
    site = steps.join(
        folder, state, fingerprints=told, trust_study_file=trust_study_file, may_leave=may_leave, passphrase=secret,
        asking=asking_from(options),
    )  # fmt: skip
    lines = [
        f"site {site} accepts study {study.digest[:16]} of coordinator {steps.fingerprints(study)[steps.COORDINATOR]}"
    ]
    if may_leave:
        lines.append(
            f"site {site} agrees, for all to see: where other sites open totals with it and without it, the difference is its "
            "own sums, and whoever has the tables can read them"
        )
    report(
        lines,
        site=site,
        study=study.digest,
        may_leave=may_leave,
        **{k: v for k, v in record_of(study).items() if k != "sites"},
    )


@command.command()
@shared_folder
@json_option
def status(folder: str) -> None:
    """How far every site is; checks every message on the way."""
    from securegen.engines.federated import steps

    study, variants = steps.open_folder(folder)
    marks = steps.fingerprints(study)
    coordinator = marks[steps.COORDINATOR]
    lines = [
        f"study {study.name} {study.digest[:16]}: {len(study.sites)} sites, {len(variants)} variants, coordinator "
        f"{coordinator}"
    ]
    found = steps.progress(folder)
    for p in found:
        state = (
            "left the study" if p.left
            else f"stopped with {p.stopped}" if p.stopped
            else "finished" if p.finished
            else f"at {p.last or 'nothing yet'}"
        )  # fmt: skip
        joined = ", may leave" if p.may_leave else "" if p.accepted else ", has not accepted"
        when = "never" if p.age is None else f"{p.age:.0f} s ago"
        lines.append(
            f"  {p.site:<20} {marks[p.site]} {state}{joined}; {p.messages} messages, {p.bytes / 1e6:.1f} MB, {when}"
        )
    rows = [{**vars(p), "fingerprint": marks[p.site]} for p in found]
    report(lines, study=study.digest, variants=len(variants), coordinator=coordinator, sites=rows)


command.add_command(continue_command)
command.add_command(leave_command)
