"""securegen audit"""

from __future__ import annotations

from typing import Any

import click

from securegen.cli.command import Group, common_options, json_option, rehearses, report, stop_rehearsal
from securegen.errors import UsageError

LOG = click.argument("log", metavar="FOLDER")
SEEN = click.option(
    "--seen", multiple=True, metavar="FILE",
    help="A receipt, record, checkpoint or proof that witnessed the log; several.",
)  # fmt: skip
RULES = click.option(
    "--rules", metavar="FILE", help="Changes to the rules of alerts: a TOML file with [alerts.NAME] tables."
)


@click.group(cls=Group)
def command() -> None:
    """The audit log of a policy: whether it is whole, what it says, proofs for others, what is unusual."""


@command.command()
@click.argument("log", metavar="FOLDER|PROOF")
@SEEN
@click.option("--auditor", metavar="FILE", help="The auditor's own file: compared, then it remembers this log.")
@click.option(
    "--key", metavar="FILE", help="The log's key, obtained from its owner: the file `key` of its folder, or its text."
)
@click.option("--fingerprint", help="The fingerprint of the log's key, as heard from its owner.")
@json_option
def verify(log: str, seen: tuple[str, ...], auditor: str | None, key: str | None, fingerprint: str | None) -> None:
    """Check that a log is whole, and that it is the one its witnesses saw.

    An edited, cut or re-ordered log is named with its place. Whether it was put back to an earlier day, or shown in two
    versions, only a witness can tell: what receipts and records say of the log, or the auditor's own file. A proof of
    securegen audit prove is checked without the log.
    """
    from securegen.governance import audit_steps as steps

    if steps.is_proof_file(log):
        if auditor or fingerprint:
            raise UsageError(
                "--auditor and --fingerprint are for a log's folder: a proof is checked with --key and --seen"
            )
        shown = steps.verify_proof(log, seen=seen, key=key)
        lines = [
            steps.told(shown.entry),
            f"in the log of {shown.checkpoint.size} entries, root {shown.checkpoint.root.hex()}",
        ]
        lines.append(f"consistent with {shown.witnesses} witnesses" if shown.witnesses else "consistent, no witness")
        report(lines, entry=shown.entry.to_json(), checkpoint=shown.checkpoint.to_json(), witnesses=shown.witnesses)
        return
    state = steps.verify(log, seen=seen, auditor=auditor, key=key, fingerprint=fingerprint)
    report(
        steps.summary(state), entries=len(state.entries), checkpoint=state.checkpoint.to_json(), verdict=state.verdict,
        fingerprint=state.key.fingerprint, witnesses=state.witnesses, beyond=state.beyond, torn=state.torn,
    )  # fmt: skip


@command.command()
@LOG
@click.option("--kind", metavar="KIND", help="Only run, release, refusal, key, policy, consent, export or ledger.")
@click.option("--since", metavar="DATE", help="Only from this day or time on, in UTC, as 2026-11-29.")
@click.option("--last", type=click.IntRange(1), metavar="N", help="Only the last N.")
@json_option
def show(log: str, kind: str | None, since: str | None, last: int | None) -> None:
    """The entries of a log that is whole: what was run, released and refused."""
    from securegen.governance import audit_steps as steps

    state = steps.verify(log)
    entries = steps.chosen(state.entries, kind=kind, since=since, last=last)
    report([steps.told(e) for e in entries], entries=[e.to_json() for e in entries], verdict=state.verdict)


@command.command()
@LOG
@click.option(
    "--entry",
    type=click.IntRange(0),
    required=True,
    metavar="N",
    help="Number of the entry, as `audit show` prints it.",
)
@click.option("--from", "sizes", type=click.IntRange(0), multiple=True, metavar="SIZE",
              help="Also prove that the log only grew since it had SIZE entries; may be repeated.")  # fmt: skip
@SEEN
@click.option("--out", required=True, metavar="FILE", help="The proof to write, as a rule NAME.tlog-proof.")
@common_options
@rehearses
def prove(log: str, entry: int, sizes: tuple[int, ...], seen: tuple[str, ...], out: str) -> None:
    """Write a proof that an entry is in the log, for somebody who has the log's key and not the log.

    With --from or --seen it also shows that the log only grew since then: nothing was changed or taken out.
    """
    from securegen.governance import audit_steps as steps

    stop_rehearsal([out], log=str(steps.require_folder(log)))
    state = steps.prove(log, entry, out, sizes=sizes, seen=seen)
    report(
        f"wrote {out}: entry {entry} of {state.checkpoint.size}", outputs=[out], entry=entry, size=state.checkpoint.size
    )


@command.command()
@LOG
@click.option("--html", is_flag=True, help="One page for stewards and auditors, that loads nothing.")
@click.option("--tiles", is_flag=True, help="A folder in the layout of C2SP tlog-tiles, for other tools.")
@SEEN
@RULES
@click.option("--out", required=True, metavar="FILE", help="The page or the folder to write.")
@click.option("--overwrite", is_flag=True, help="Replace a page that is there.")
@common_options
@rehearses
def export(
    log: str, html: bool, tiles: bool, seen: tuple[str, ...], rules: str | None, out: str, overwrite: bool
) -> None:
    """Write a log as one web page, or as a folder that other tools of transparency logs read."""
    from securegen.governance import audit_steps as steps

    if html == tiles:
        raise UsageError("give one of --html and --tiles")
    stop_rehearsal([out], log=str(steps.require_folder(log)))
    found: dict[str, Any] = {}
    if tiles:
        state = steps.export_tiles(log, out)
    else:
        from securegen.report.audit_page import write_audit_page

        state = steps.verify(log, seen=seen)
        applied = steps.rules_for(log, rules)
        alerts = steps.alerts(state, rules=applied)
        write_audit_page(out, state, alerts, rules=applied, overwrite=overwrite)
        found["alerts"] = len(alerts)
    report(
        f"wrote {out}: {len(state.entries)} entries; {state.verdict}",
        outputs=[out],
        entries=len(state.entries),
        **found,
    )


@command.command("alerts")
@LOG
@RULES
@json_option
def alerts_command(log: str, rules: str | None) -> None:
    """What is unusual in a log, and why: bulk export, bursts, near-identical questions, budgets, new askers, odd hours."""
    from securegen.governance import audit_steps as steps

    found = steps.alerts(log, rules=rules)
    lines = [
        f"{a.number:>6}  {a.at}  audit.{a.rule}{' (needs a second signature)' if a.second else ''}: {a.why}"
        for a in found
    ]
    report(lines or ["nothing unusual"], alerts=[a.to_json() for a in found])
