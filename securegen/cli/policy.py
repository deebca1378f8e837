"""securegen policy"""

from __future__ import annotations

from typing import Any

import click

from securegen.cli import passphrases
from securegen.cli.command import Group, common_options, json_option, report, writes
from securegen.errors import UsageError
from securegen.governance.door import ASSOCIATION, KINDS
from securegen.governance.policy import FULL, REVEALS, ROLES


@click.group(cls=Group)
def command() -> None:
    """What a data steward allows: write a policy, sign it, check it, ask what it would decide."""


@command.command("init")
@click.option("--out", default="policy.toml", show_default=True, metavar="FILE", help="The policy to write.")
@click.option("--name", required=True, metavar="TEXT", help="Name of the policy.")
@click.option("--key", required=True, metavar="FILE", help="The steward's signing key; made when absent.")
@click.option("--identity", "people", multiple=True, metavar="NAME=ROLE=FILE", help="Who may ask: role and verify key.")
@click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="A setting in place of its default, as TOML."
)
@click.option(
    "--issuer",
    "issuers",
    multiple=True,
    metavar="NAME=ISS=FILE",
    help="Whose visas count, and the issuer's keys (JWKS).",
)
@passphrases.passphrase_options
@common_options
@writes("{out}", "{key}", makes=["key", "out"])
def init_command(
    out: str, name: str, key: str, people: tuple[str, ...], settings: tuple[str, ...], issuers: tuple[str, ...],
    passphrase_file: str | None,
) -> None:  # fmt: skip
    """Write a policy with every setting and what it does. Edit it, then sign it."""
    from pathlib import Path

    from securegen.governance import policy_steps as steps

    secret = (
        passphrases.passphrase_for(key, passphrase_file)
        if Path(key).exists()
        else passphrases.given_passphrase(passphrase_file)
    )
    made = steps.init(
        out, name, key=key, identities=_people("--identity NAME=ROLE=FILE", people), settings=_settings(settings),
        passphrase=secret, issuers=_people("--issuer NAME=ISS=FILE", issuers),
    )  # fmt: skip
    report(
        f"wrote {out}, not signed yet; next: securegen policy sign {out} --key {key}", file=out, steward=made.steward
    )


@command.command()
@click.argument("file")
@click.option("--key", required=True, metavar="FILE", help="The steward's signing key.")
@click.option("--ledger-here", is_flag=True, help="Accept the ledger beside the policy, which was moved or restored.")
@passphrases.passphrase_options
@common_options
@writes("{file}.sig")
def sign(file: str, key: str, ledger_here: bool, passphrase_file: str | None) -> None:
    """Sign a policy: writes FILE.sig. A changed text needs a higher version."""
    from securegen.governance import policy_steps as steps

    secret = passphrases.passphrase_for(key, passphrase_file)
    made = steps.sign(file, key, passphrase=secret, ledger_here=ledger_here)
    report(
        f"signed {file}, version {made.version}, digest {made.digest[:16]}",
        file=file,
        version=made.version,
        digest=made.digest,
    )


@command.command()
@click.option("--request", required=True, metavar="DIGEST", help="What a refusal by policy.second_signature names.")
@click.option("--key", required=True, metavar="FILE", help="Signing key of the second person.")
@click.option("--out", required=True, metavar="FILE", help="The signature, for --second-signature.")
@passphrases.passphrase_options
@common_options
@writes("{out}")
def countersign(request: str, key: str, out: str, passphrase_file: str | None) -> None:
    """Sign one request as the second person whom the policy asks for."""
    from securegen.governance import policy_steps as steps

    steps.countersign(request, key, out, passphrase=passphrases.passphrase_for(key, passphrase_file))
    report(f"wrote {out}, for --second-signature on request {request[:16]}", file=out, request=request)


@command.command()
@click.argument("file")
@click.option("--visa", multiple=True, metavar="FILE", help="Also what these visas give, and whose they are.")
@json_option
def check(file: str, visa: tuple[str, ...]) -> None:
    """Say what a policy is, by whom it is signed, and every setting with its line."""
    from securegen.governance.pin import Pin
    from securegen.governance.policy_draft import settings_of
    from securegen.governance.policy_steps import check as read
    from securegen.governance.policy_steps import check_visas
    from securegen.governance.signing import fingerprint

    policy = read(file)
    mark = fingerprint(bytes.fromhex(policy.steward))
    lines = [
        f"{policy['name']}, version {policy.version}, signed by {mark}",
        f"in parties.toml: policy = \"{Pin.of(policy).to_text()}\"",
        *settings_of(policy),
    ]  # fmt: skip
    said = {"visas": check_visas(policy, visa)} if visa else {}
    report([*lines, *said.get("visas", ())], name=policy["name"], fingerprint=mark, **Pin.of(policy).to_json(), **said)


@command.command()
@click.argument("file")
@click.option("--who", metavar="NAME", help="An identity that the policy names [nobody in particular].")
@click.option("--visa", multiple=True, metavar="FILE", help="Visas that this person shows.")
@click.option("--role", type=click.Choice(ROLES), help="The role in which they ask [their role in the policy].")
@click.option("--purpose", metavar="DUO", help="GRU, HMB, POA, DS:MONDO:0005148 …")
@click.option("--engine", default="plain", show_default=True, metavar="NAME", help="Engine that would run.")
@click.option(
    "--kind", type=click.Choice(KINDS), default=ASSOCIATION, show_default=True, help="What would be released."
)
@click.option(
    "--reveal",
    type=click.Choice(REVEALS),
    default=FULL,
    show_default=True,
    help="How much of an association would be opened.",
)
@click.option(
    "--samples", type=click.IntRange(0), metavar="N", help="Number of people in the request [those of --people]."
)
@click.option(
    "--people", metavar="FILE", help="The people in the request, FID IID per line; compared with earlier sets."
)
@click.option(
    "--variants", type=click.IntRange(0), required=True, metavar="M", help="Number of variants in the request."
)
@click.option("--cases", type=click.IntRange(0), metavar="N", help="Number of cases; the others are controls.")
@click.option(
    "--columns", type=click.IntRange(1), default=1, show_default=True, help="Columns of the model, with the intercept."
)
@click.option(
    "--spent", type=click.IntRange(0), help="Columns of these people that were used before [what the ledger says]."
)
@click.option("--releases", type=click.IntRange(0), help="Other releases today [what the ledger says].")
@click.option("--dp-epsilon", "epsilon", type=float, metavar="E", help="ε of the noise [no noise].")
@click.option("--dp-delta", "delta", type=float, metavar="D", help="δ of the noise.")
@json_option
def explain(file: str, **facts: Any) -> None:
    """Say what would be decided for a request, and by which line of the policy. Nothing runs, nothing is counted."""
    from securegen.governance import policy_steps as steps

    decision = steps.explain(file, **facts)
    lines = [f"{'allowed' if r.allowed else 'REFUSED':>8}  {r}" for r in decision.reasons]
    report([*lines, f"decision: {'allowed' if decision.allowed else 'refused'}"], decision=decision.to_json())


def _people(option: str, values: tuple[str, ...]) -> dict[str, tuple[str, str]]:
    """Name, and two more words, of each. option: with its form."""
    flag, _, form = option.partition(" ")
    out = {}
    for text in values:
        name, _, rest = text.partition("=")
        word, _, file = rest.rpartition("=") if flag == "--issuer" else rest.partition("=")  # a URL may have one
        if not all((name, word, file)) or name in out:
            raise UsageError(f"{flag} {text!r}: write {form}, each name once")
        out[name] = (word, file)
    return out


def _settings(values: tuple[str, ...]) -> dict[str, Any]:
    import tomllib

    out = {}
    for text in values:
        key, equals, value = text.partition("=")
        try:
            out[key] = tomllib.loads(f"v = {value}")["v"]
        except (ValueError, RecursionError):
            raise UsageError(f"--set {text!r}: write KEY=VALUE, the value as TOML: limits.smallest_cohort=20") from None
        if not equals:
            raise UsageError(f"--set {text!r}: write KEY=VALUE")
    return out
