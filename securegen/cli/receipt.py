"""securegen receipt"""

from __future__ import annotations

import click

from securegen.cli import passphrases
from securegen.cli.command import Group, common_options, json_option, rehearses, report, stop_rehearsal

RUN = click.argument("prefix", metavar="PREFIX")


@click.group(cls=Group)
def command() -> None:
    """Signed receipts of finished runs: what was computed, on which files, who learned what, by which policy."""


@command.command()
@RUN
@json_option
def show(prefix: str) -> None:
    """What a receipt says, without verifying it.

    PREFIX is what the run was given as --out, or its PREFIX.receipt.json.
    """
    from securegen.record import receipt_steps

    found = receipt_steps.show(prefix)
    signed = [f"signed with the key {mark}" for mark in found.signers] or ["no signature of a key that it names"]
    report(
        [*found.statement.lines(), *signed, "not verified: securegen receipt verify"],
        statement=found.statement.to_json(), signers=found.signers, verified=False,
    )  # fmt: skip


@command.command()
@RUN
@click.option(
    "--key", multiple=True, metavar="FILE", help="Verify key of who must have signed it; several: all of them."
)
@click.option("--fingerprint", multiple=True, help="Or its fingerprint, as heard from its owner; several: all of them.")
@json_option
def verify(prefix: str, key: tuple[str, ...], fingerprint: tuple[str, ...]) -> None:
    """Whether the named keys signed a receipt, and the files beside it are those that were signed.

    Every file that was changed or is gone is named, and so is a record of another run (exit code 7).
    """
    from securegen.record import receipt_steps

    found = receipt_steps.verify(prefix, key=key, fingerprint=fingerprint)
    files = len(found.statement.subjects)
    lines = [f"{found.path}: {files} file{'s' * (files != 1)} and the record are as signed"]
    lines += [f"signed with the key {mark}" for mark in found.signers]
    lines += [f"beside it, and not in the receipt: {', '.join(found.beside)}"] if found.beside else []
    report(lines, statement=found.statement.to_json(), signers=found.signers, beside=found.beside, verified=True)


@command.command()
@RUN
@click.option("--key", required=True, metavar="FILE", help="The signing key.")
@passphrases.passphrase_options
@common_options
@rehearses
def sign(prefix: str, key: str, passphrase_file: str | None) -> None:
    """Sign the receipt of a finished run, or add a signature to one that is signed.

    A receipt that is there is first held against the files beside it.
    """
    from securegen.record import receipt_steps

    path = receipt_steps.planned(prefix)
    stop_rehearsal([path])
    secret = passphrases.passphrase_for(key, passphrase_file)
    found = receipt_steps.sign(prefix, key, passphrase=secret)
    report(f"wrote {path}, signed with {', '.join(found.signers)}", outputs=[path], signers=found.signers)
