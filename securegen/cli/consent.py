"""securegen consent"""

from __future__ import annotations

from typing import Any

import click

from securegen.cli import options as opt
from securegen.cli import passphrases
from securegen.cli.command import Group, common_options, report, writes

REGISTER = click.option(
    "--register", required=True, metavar="FILE", help="The register; its ledger and key lie beside it."
)


@click.group(cls=Group)
def command() -> None:
    """A register of consent: who allows what, who withdrew. It holds no names, and commands print counts."""


@command.command("import")
@REGISTER
@click.option(
    "--table", required=True, metavar="FILE", help="FID, IID, DUO, MODIFIERS, DATE, EVIDENCE, separated by tabs."
)
@common_options
@writes("{register}", "{register}.ledger", makes=["register"])
def import_command(register: str, table: str) -> None:
    """Enter the consents of a table, all or none; the register is made where there is none.

    Entries that exist are not entered twice. A later consent replaces an earlier one, or an earlier withdrawal.
    """
    from securegen.governance.consent_steps import import_table

    made = import_table(register, table)
    report(made.lines(), **vars(made))


@command.command()
@REGISTER
@click.option("--people", required=True, metavar="FILE", help="People who withdraw: FID IID, or IID, per line.")
@common_options
@writes("{register}", "{register}.ledger")
def withdraw(register: str, people: str) -> None:
    """Enter that people withdrew: no run uses them from now on. What was released before is listed: it cannot be recalled."""
    from securegen.governance import consent_steps

    new, released = consent_steps.withdraw(register, people)
    lines = [f"{new} people withdrew: no run with this register uses them from now on"]
    report(
        [*lines, *(f"released before, not to be recalled: {what}" for what in released)],
        withdrew=new,
        released=released,
    )


@command.command()
@REGISTER
@click.option("--key", "key_file", required=True, metavar="FILE", help="KEY.secret of the encrypted cohort.")
@passphrases.passphrase_options
@opt.genotype_options()
@click.option("--out", required=True, metavar="PREFIX", help="OUT.cohort and OUT.owner, as `encrypt` wrote them.")
@common_options
@writes("{out}.cohort", "{out}.owner")
def apply(register: str, key_file: str, passphrase_file: str | None, out: str, **options: Any) -> None:
    """Encrypt a cohort again without whoever withdrew, under the same key.

    Give the genotypes and filters with which it was encrypted; they may lack who withdrew. Every block is new; the old
    checks, designs and digests are deleted, and earlier results are refused before they are decrypted. A killed run goes on
    when it runs again.
    """
    from securegen.engines.ckks import steps
    from securegen.engines.ckks.owner import secret_key
    from securegen.study.genotypes import open_genotypes

    inputs = opt.inputs_from(options)
    key = secret_key.read_secret(key_file, passphrase=passphrases.passphrase_for(key_file, passphrase_file))
    said: list[str] = []
    reader = open_genotypes(inputs, lambda line: None, haploid=True)
    gone = steps.take_out_withdrawn(reader, key, out, register, log=said.append)
    if gone:
        said.append(
            f"replace what the server has by {out}.cohort, have its old files deleted, and encrypt the designs again: "
            f"securegen encrypt --owner {out}.owner"
        )
    report(said, taken_out=gone)


@command.command()
@REGISTER
@click.option("--purpose", required=True, metavar="DUO", help="HMB, DS:MONDO:0005148,IRB …")
@click.option("--mondo", metavar="FILE", help="Disease terms: child and parent per line [a built-in table].")
@opt.site_genotypes
@common_options
def check(register: str, purpose: str, mondo: str | None, **options: Any) -> None:
    """How many samples of a genotype file have consent for a purpose, and its obligations."""
    from securegen.governance import consent_steps
    from securegen.study.genotypes import open_genotypes

    reader = open_genotypes(opt.inputs_from(options), lambda line: None, haploid=True)
    found = consent_steps.check(register, reader.samples, purpose, mondo=mondo)
    lines = found.lines(consent_steps.purpose_of(purpose))
    report(lines, samples=len(found.people), covered=int(found.people.sum()), left_out=dict(found.why),
           obligations=dict(found.obligations), reason=found.reason.to_json())  # fmt: skip


@command.command("list")
@REGISTER
@common_options
def list_command(register: str) -> None:
    """What people allow, who withdrew and what was released, in counts; and the last mark, to check the register by later."""
    from securegen.governance.consent_steps import listing

    found = listing(register)
    report(found.text(), **vars(found))
