"""securegen party"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from securegen.cli import former, passphrases
from securegen.cli import options as opt
from securegen.cli.command import dry_run, rehearses, stop_rehearsal, writes
from securegen.cli.form_options import form_from, format_options
from securegen.cli.mask_options import mask_options
from securegen.cli.runlog import CommandLog
from securegen.cli.score_options import ScoreCommand, numbers
from securegen.cli.site import passphrase as site_passphrase
from securegen.cli.site import take_part
from securegen.engines.mpc.net.parties import Parties, read_parties
from securegen.engines.protocol import strata_facts
from securegen.errors import UsageError
from securegen.governance.openings import LEVELS, STRICT
from securegen.record.run_log import RunLog, print_end
from securegen.results.forms import TableForm, convert
from securegen.results.summary import coding_facts, covariate_facts, print_summaries, promises, summary_json
from securegen.scores.release import DIGITS
from securegen.stats.qc import Filters
from securegen.study.genotypes import held_genotypes
from securegen.study.inputs import Inputs

if TYPE_CHECKING:
    from securegen.engines.mpc.outcome import Outcome

PARTIES = click.option(
    "--parties", cls=former.Option, former="--config", required=True, metavar="FILE",
    help="parties.toml, the same at every party.",
)  # fmt: skip
KEYS = click.option(
    "--keys", metavar="FOLDER", help="Folder of NAME.pem, NAME.key and ca.pem [the folder of --parties]."
)
NAME = click.option("--name", metavar="NAME", help="Which party this is, where several have the role.")


def write_record(log: RunLog, name: str, outcome: Outcome, **record: Any) -> None:
    """run.json of one party."""
    log.seconds |= outcome.seconds
    sent = {"sent": {name: outcome.traffic.total}, "rounds": outcome.traffic.rounds}
    log(
        f"sent {outcome.traffic.total / 1e6:.3f} MB, {outcome.traffic.rounds} rounds, {outcome.seconds['online']:.2f} s"
    )
    log.write(engine="mpc", party=name, bytes=sent, **record)


@click.command(cls=ScoreCommand)
@PARTIES
@click.option(
    "--role",
    type=click.Choice(["genotypes", "phenotypes", "server", "site", "model"]),
    required=True,
    help="The role that this machine plays.",
)
@NAME
@KEYS
@opt.genotype_options()
@opt.design_options(required=False)
@mask_options
@click.option(
    "--state",
    metavar="PATH",
    help="Where this party keeps used masks and limits [KEYS/NAME.state.json], or a site's private folder; do not delete it.",
)
@click.option(
    "--cohort", default="cohort", show_default=True, help="Name of this party's genotypes, or model, in the state file."
)
@click.option(
    "--masked",
    metavar="FOLDER",
    help="Keep masked genotypes here (--role phenotypes), so that later runs need not send them again.",
)
@click.option("--column-limit", type=click.IntRange(1), metavar="N", help="Columns ever answered [samples/100].")
@click.option(
    "--reveal",
    type=click.Choice(["hits", "chi2", "uv", "aggregates"]),
    default="hits",
    show_default=True,
    help="What a vertical split opens to the phenotype owner.",
)
@click.option("--threshold", type=float, default=5e-8, show_default=True, metavar="P", help="Largest p-value of a hit.")
@click.option("--consent-aggregates", is_flag=True, help="Agree to open all sums.")
@click.option(
    "--openings",
    type=click.Choice(LEVELS),
    default=STRICT,
    show_default=True,
    help="What sums may show of few people (--role genotypes); sites take it from study.toml.",
)
@click.option(
    "--dir",
    "folder",
    metavar="FOLDER",
    help="The folder that all sites share, of which this site has a copy (--role site).",
)
@click.option("--score", multiple=True, metavar="FILE [i j k]", help="Scoring files of this party (--role model).")
@click.option("--score-col-nums", multiple=True, callback=numbers, metavar="i,j,k", help="The same columns as numbers.")
@click.option(
    "--allow-small-model", cls=former.Option, former="--allow-small-score", multiple=True, metavar="NAME",
    help="Answer for this score with fewer than 20 non-zero weights per person.",
)  # fmt: skip
@click.option(
    "--reply-cap", cls=former.Option, former="--reply-limit", type=click.IntRange(1), metavar="N", default=1000,
    show_default=True, help="Replies in the model's life: a score of a person each.",
)  # fmt: skip
@click.option("--digits", type=click.IntRange(1, 17), help="Significant digits [17 of tables, 6 of scores].")
@format_options
@passphrases.passphrase_options
@opt.run_options_beside_parties
@rehearses
@writes("{out}.<PHENO>.<TEST> or {out}.sscore, of the party that learns the result", "{out}.log", "{out}.run.json")
def command(
    parties: str, role: str, name: str | None, keys: str | None, state: str | None, cohort: str, masked: str | None,
    column_limit: int | None, reveal: str, threshold: float, consent_aggregates: bool, openings: str,
    folder: str | None, score: tuple[str, ...], score_col_nums: tuple[int, ...] | None, allow_small_model: tuple[str, ...],
    reply_cap: int, digits: int | None, passphrase_file: str | None, out: str, threads: int | None,
    memory: int | None, quiet: bool, **options: Any,
) -> None:  # fmt: skip
    """Take part in a run as one party, over mutual TLS. All parties must start within the timeout."""
    from securegen.engines.mpc.deployment import AGGREGATES, VERTICAL, ScoreTask, split_of
    from securegen.engines.mpc.steps import party_of, run_party
    from securegen.record.association_receipts import mpc_receipt

    opt.use_threads(threads)
    group = read_parties(Path(parties))
    me = party_of(group, role, name)
    own = Path(keys or Path(parties).parent)
    inputs, form = opt.inputs_from(options), form_from(options, digits or 17)
    log = CommandLog(out, f"party {me}", quiet=quiet, party=me)
    if role == "site":
        _take_part(group, me, own, folder, state, inputs, form, passphrase_file, log)
        return
    form.check(options["model"], projected=role == "phenotypes" and reveal != "aggregates")
    outcome = run_party(
        group, me, inputs, out, keys=own, passphrase=passphrases.passphrase_for(own / f"{me}.key", passphrase_file),
        state=state, cohort=cohort, masked=masked, reveal=reveal, threshold=threshold, consent_aggregates=consent_aggregates,
        openings=openings, column_limit=column_limit, digits=form.digits, threads=threads, check_only=dry_run(), log=log,
        score=ScoreTask(tuple(score), score_col_nums, tuple(allow_small_model), digits or DIGITS, reply_cap),
    )  # fmt: skip
    if dry_run():
        stop_rehearsal([*log.files, Path(state or own / f"{me}.state.json")], split=split_of(group), party=me)
    convert(outcome.tables, out, form, log)
    outcome.files = form.finish(outcome.files)
    print_summaries(outcome.tables, log)
    split = split_of(group)
    wrote = [*outcome.files, *(t.path for t in outcome.tables)]
    reveal = reveal if split == VERTICAL else AGGREGATES
    counted = (column_limit or "a hundredth of the samples") if role == "genotypes" else None
    made = mpc_receipt(split, wrote, reveal=reveal, threshold=threshold, column_limit=counted, several=outcome.several)
    tests = [t.analysis for t in outcome.tables]
    made = made.of_model(tests[0].coding if tests else inputs.coding).with_decisions(outcome.gate.lines())
    log.note(made.lines())
    sizes: dict[str, Any] = {"variants": outcome.variants_stored} if outcome.variants_stored else {}
    sizes |= {
        "samples": max(a.model.samples for a in tests), "variants": outcome.variants_stored or outcome.tables[0].variants,
        **covariate_facts(a.model for a in tests), "phenotypes": [a.phenotype for a in tests],
        "promise": promises(outcome.tables), "missing": inputs.missing,
        "parameters": {"bits": max(a.model.bits for a in tests)}, **coding_facts(tests[0].coding),
    } if tests else {}  # fmt: skip
    if outcome.study is not None:
        sizes |= strata_facts(outcome.study.strata)
    write_record(
        log, me, outcome, inputs=inputs.told_digests(), split=split, reveal=reveal, receipt=made.to_json(),
        samples_stored=outcome.samples_stored, files=outcome.files, **outcome.gate.record(),
        summaries=[summary_json(t) for t in outcome.tables], **sizes,
    )  # fmt: skip
    print_end(log, wrote)


def _take_part(
    parties: Parties, me: str, keys: Path, folder: str | None, state: str | None, inputs: Inputs, form: TableForm,
    passphrase_file: str | None, log: CommandLog,
) -> None:  # fmt: skip
    """A site of a federated study, over TLS."""
    from securegen.engines.federated import steps
    from securegen.engines.mpc.steps import site_links

    if not (folder and state):
        raise UsageError(
            "--role site needs --dir FOLDER, with the study that it joined, and --state FOLDER, its private one"
        )
    connect = site_links(
        parties, me, keys=keys, passphrase=passphrases.passphrase_for(keys / f"{me}.key", passphrase_file)
    )
    if dry_run():
        steps.site_of(steps.open_folder(folder)[0], state, passphrase=site_passphrase(state, passphrase_file))
        steps.check_inputs(inputs)
        held_genotypes(inputs, log, haploid=True)
        stop_rehearsal([*log.files, Path(state)], split="horizontal", party=me)
    take_part(Path(folder), Path(state), inputs, log.out, log, form, Filters(), passphrase_file, connect=connect)
