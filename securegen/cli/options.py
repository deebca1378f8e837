"""Options that several commands share, in plink2's words, and what is done with them."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from securegen.catalogue import CORRECTIONS, NONE, models
from securegen.cli.asking import policy_options, purpose_options
from securegen.cli.command import Function, check_writable, common_options
from securegen.cli.noise_options import noise_options
from securegen.cli.runlog import logs, signs
from securegen.cli.stores import check_store
from securegen.errors import UsageError
from securegen.io.formats import FormatOption
from securegen.io.genotypes import FIELDS, FORMATS, OPTIONS, cohorts_of
from securegen.io.store_urls import is_url, local_prefix
from securegen.results.forms import FORMATS as TABLE_FORMATS
from securegen.study.inputs import BUILDS, P_THRESH, REGENIE, STATISTICS, XCHR_MODELS, Inputs, Log

if TYPE_CHECKING:
    from securegen.study.opening import Study

STUDY_FIELDS = tuple(f.name for f in fields(Inputs))


def names_of(_: click.Context, parameter: click.Parameter, value: tuple[str, ...]) -> tuple[str, ...] | None:
    names = dict.fromkeys(n for part in value for n in part.replace(" ", ",").split(",") if n)
    if value and not names:  # an empty variable of a shell would mean "all of them"
        raise UsageError(f"{parameter.opts[0]} names nothing: leave it out for all of them")
    return tuple(names) or None


def prefix(ctx: click.Context, _: click.Parameter, value: str) -> str:
    """A prefix that files can be written under, found out before anything is read or computed."""
    if not os.path.basename(value) or os.path.basename(value) in (".", ".."):
        raise UsageError(f"--out {value!r}: a prefix of files is expected, as results/run1, not a folder")
    if is_url(value):
        check_store(ctx, "out", value)
    if not ctx.resilient_parsing:
        check_writable(Path(f"{local_prefix(value)}.run.json"))
    return value


def genotype_files(*, several: bool = False) -> list[Function]:
    """The files of genotypes, of every format that is registered. several: they may be repeated, one per site."""
    more = " Several: one per site." if several else ""
    default = None if several else ""

    def named(flag: str, metavar: str, text: str) -> Function:
        return click.option(f"--{flag}", default=default, multiple=several, metavar=metavar, help=text + more)

    def option(o: FormatOption) -> Function:
        if o.metavar:
            return named(o.flag.lstrip("-"), o.metavar, o.help)
        return click.option(f"{o.flag}/--{o.off}" if o.off else o.flag, type=click.Choice(o.choices) if o.choices else None,
                            help=o.help)  # fmt: skip

    files = [named(f.flag, f.metavar, f"{f.help} @ in the name: one file per chromosome.") for f in FORMATS.values()]
    lists = [named(f"{f.flag}-list", "FILE", f"One {f.metavar} of --{f.flag} per line.") for f in FORMATS.values()]
    grid = click.option("--dosage-grid", type=click.IntRange(1), metavar="D",
                        help="Round dosages to steps of 1/D [1 where all are hard calls, else 256].")  # fmt: skip
    return [*files, *lists, *map(option, OPTIONS.values()), grid]


def cohorts_from(options: dict[str, Any]) -> list[dict[str, Any]]:
    """Take the repeated files of genotypes out of the options: the fields of `Inputs` that name each cohort."""
    cohorts = cohorts_of(options)
    for name in FIELDS:
        if isinstance(options.get(name), tuple):
            del options[name]
    return cohorts


pred_option = click.option("--pred", metavar="FILE", help="Predictions of step 1: PREFIX_pred.list, ours or regenie's.")
par_option = click.option(
    "--split-par", type=click.Choice(BUILDS), help="Treat the ends of X as PAR1 and PAR2 of this build."
)
x_option = click.option(
    "--xchr-model", type=click.Choice(XCHR_MODELS),
    help="Code males on X as 0 and 2 (2) or 0 and 1 (1), or leave X out (0) [2, or as regenie does].",
)  # fmt: skip

bits_option = click.option(
    "--bits", type=click.IntRange(14, 24), help="Bits per design column [as many as the error bound needs]."
)
interaction_option = click.option(
    "--interaction", metavar="NAME", help="Also test the interaction with this covariate (linear)."
)
p_thresh_option = click.option(
    "--p-thresh", type=float, default=P_THRESH, show_default=True, metavar="P",
    help="Largest P of a row that --correction corrects.",
)  # fmt: skip
minus_nine_option = click.option(
    "--no-input-missing-phenotype", is_flag=True, help="Read -9 as a number, not as a missing value."
)


def genotype_options(*, several: bool = False) -> Function:
    """The files of genotypes and the filters of samples and variants."""
    options: list[Function] = [
        *genotype_files(several=several),
        click.option("--keep", metavar="FILE", help="Only these samples (FID IID or IID per line)."),
        click.option("--remove", metavar="FILE", help="Leave these samples out."),
        purpose_options,
        click.option("--extract", metavar="FILE", help="Only these variant ids."),
        click.option("--exclude", metavar="FILE", help="Leave these variant ids out."),
        click.option("--chr", multiple=True, callback=names_of, metavar="A,B", help="Only these chromosomes, as 1-4,7."),
        click.option("--from-bp", type=click.IntRange(0), metavar="BP", help="Only from this position (with --chr)."),
        click.option("--to-bp", type=click.IntRange(0), metavar="BP", help="Only up to this position (with --chr)."),
        par_option,
        policy_options,
    ]  # fmt: skip
    return apply_options(options)


def site_genotypes(command: Function) -> Function:
    """The files of genotypes of one site, and who asks."""
    return apply_options([*genotype_files(), policy_options])(command)


sex_option = click.option(
    "--sex-name", metavar="NAME", help="Column of --pheno or --covar with the sex: 1 or M, 2 or F."
)


def site_options(command: Function) -> Function:
    """Files of a site's own people beside its genotypes and tables."""
    return apply_options([sex_option, pred_option])(command)


generalise_option = click.option(
    "--generalise", multiple=True, callback=names_of, metavar="COL:k",
    help="Coarsen a column: numbers to bins of width k, categories to their first k characters.",
)  # fmt: skip


def _traits(required: bool) -> list[Function]:
    """Phenotypes and covariates."""
    return [
        click.option("--pheno", required=required, metavar="FILE", help="Phenotypes (#FID IID …, #IID … or FID IID …)."),
        click.option(
            "--pheno-name", multiple=True, callback=names_of, metavar="A,B", help="Columns to analyse, also A-C [all of them]."
        ),
        click.option("--covar", metavar="FILE", help="Covariates, in the same form."),
        click.option(
            "--covar-name", multiple=True, callback=names_of, metavar="A,B", help="Covariates to use, as AGE,PC1-PC4 [all]."
        ),
        click.option(
            "--covar-categorical", multiple=True, callback=names_of, metavar="A,B",
            help="Covariates that are categories: one indicator column per level.",
        ),
        click.option(
            "--model", type=click.Choice(models()),
            help="Test [linear for a quantitative trait, logistic (score test) for cases and controls].",
        ),
        click.option("--apply-rint", is_flag=True, help="Rank-based inverse normal transform of quantitative traits."),
        click.option(
            "--common-samples/--own-samples", default=None,
            help="Analyse a phenotype in people who have all phenotypes, or in all who have it [federated: common, else own].",
        ),
        click.option("--1", "force_01", is_flag=True, help="Phenotypes are 0/1 even if only one of them occurs."),
        generalise_option,
        *noise_options,
        minus_nine_option,
    ]  # fmt: skip


def trait_options(command: Function) -> Function:
    """Phenotypes and covariates of a model that has no genotypes in it yet."""
    return apply_options(_traits(True))(command)


def genetic_models(command: Function) -> Function:
    """What a genotype counts, where it is not its copies."""
    return apply_options(
        [
            click.option(
                "--dominant", is_flag=True, help="Count a genotype as 1 with one or two copies of A1, else as 0."
            ),
            click.option("--recessive", is_flag=True, help="Count a genotype as 1 with two copies of A1, else as 0."),
            click.option("--hetonly", is_flag=True, help="Count a genotype as 1 with one copy of A1, else as 0."),
        ]
    )(command)


def design_options(required: bool = True) -> Function:
    """Phenotypes, covariates and how they are analysed."""
    options: list[Function] = [
        *_traits(required),
        click.option(
            "--missing", type=click.Choice(["mean", "complete"]), default="mean", show_default=True,
            help="Missing genotypes: mean dosage (as regenie) or complete cases (as plink; plain engine).",
        ),
        x_option,
        sex_option,
        pred_option,
        click.option(
            "--statistic", type=click.Choice(STATISTICS),
            help="Linear models: t (plink2), or χ² with the null model's variance (regenie) [regenie with --pred or --format "
            "regenie].",
        ),
        bits_option,
        click.option("--condition", multiple=True, callback=names_of, metavar="ID,ID",
                     help="Variants whose dosages become covariates."),
        click.option("--condition-list", metavar="FILE", help="A file of such variant ids, one per line."),
        genetic_models,
        interaction_option,
        click.option(
            "--correction", type=click.Choice([NONE, *CORRECTIONS]), default=NONE, show_default=True,
            help="Correct score tests with P below --p-thresh: saddlepoint approximation, or Firth's likelihood.",
        ),
        p_thresh_option,
        click.option("--fast", is_flag=True, help="Approximate --correction from carriers alone, as regenie does."),
    ]  # fmt: skip
    return apply_options(options)


def encryptor_option(command: Function) -> Function:
    """Which implementation encrypts."""
    choice = click.Choice(["own", "seal"])
    text = "Encryptor: own (half of the bytes, from a seed) or Microsoft SEAL."
    return click.option("--encryptor", type=choice, default="own", show_default=True, help=text)(command)


def run_options(command: Function, *, config: str = "--config") -> Function:
    """--out, --threads, --memory, --quiet, and what every command has. config: the flag of the file of options."""
    return apply_options(
        [
            click.option("--out", default="securegen", show_default=True, metavar="PREFIX", callback=prefix,
                         help="Prefix of what is written."),
            click.option("--threads", type=click.IntRange(1), metavar="N", help="Threads [all cores]."),
            click.option(
                "--memory", type=click.IntRange(64), metavar="MB",
                help="Working memory of the server, mapped files not counted [512].",
            ),
            click.option("--quiet", is_flag=True, help="Print nothing on stderr but errors."),
        ]
    )(common_options(logs(signs(command)), config=config))  # fmt: skip


def run_options_beside_parties(command: Function) -> Function:
    """As `run_options` where --config is taken by parties.toml."""
    return run_options(command, config="--run-config")


def apply_options(options: list[Function]) -> Callable[[Function], Function]:
    def decorate(command: Function) -> Function:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def inputs_from(options: dict[str, Any], **more: Any) -> Inputs:
    """The inputs that the options of a command name. Tables in regenie's form have regenie's statistic."""
    given = {name: options[name] for name in STUDY_FIELDS if name in options} | more
    form = click.get_current_context().params.get("format")
    if "statistic" in given and form in TABLE_FORMATS and TABLE_FORMATS[form].chisq:
        given["statistic"] = given["statistic"] or REGENIE
    return Inputs(**given)


def open_study(inputs: Inputs, log: Log, *, qc_only: bool = False) -> Study:
    """Open the study that the options name."""
    from securegen.study.opening import qc_of, study_of

    return (qc_of if qc_only else study_of)(inputs, log)


def use_threads(threads: int | None) -> None:
    """Limit the kernels' threads."""
    if threads is not None:
        import numba

        numba.set_num_threads(min(threads, numba.get_num_threads()))
