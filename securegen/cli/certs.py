"""securegen certs"""

from __future__ import annotations

from pathlib import Path

import click

from securegen.cli import passphrases
from securegen.cli.command import Group, common_options, json_option, report, writes

DAYS = click.option(
    "--days",
    type=click.IntRange(1, 3650),
    default=365,
    show_default=True,
    help="How many days the certificate is valid.",
)


@click.group(cls=Group)
def command() -> None:
    """Keys and certificates of the parties of a multi-party run."""


@command.command("init-ca")
@click.option("--dir", "folder", required=True, metavar="FOLDER", help="Where ca.pem and ca.key are written.")
@DAYS
@passphrases.passphrase_options
@common_options
@writes("{folder}/ca.pem", "{folder}/ca.key", makes=["folder"])
def init_ca(folder: str, days: int, passphrase_file: str | None) -> None:
    """Make the study authority: ca.pem is for every party, ca.key stays.

    ca.key is encrypted where a passphrase is given (--passphrase-file or SECUREGEN_PASSPHRASE).
    """
    from securegen.engines.mpc.net import certs

    path = certs.init_ca(Path(folder), days=days, passphrase=passphrases.given_passphrase(passphrase_file))
    report(f"wrote {path} (for everybody) and ca.key (keep)", certificate=path)


@command.command()
@click.option("--dir", "folder", required=True, metavar="FOLDER", help="Where NAME.key and NAME.csr are written.")
@click.option("--name", required=True, metavar="NAME", help="The party, as parties.toml calls it.")
@passphrases.passphrase_options
@common_options
@writes("{folder}/{name}.key", "{folder}/{name}.csr", makes=["folder"])
def request(folder: str, name: str, passphrase_file: str | None) -> None:
    """Make a party's key on its own machine, and the request that goes to the authority.

    NAME.key is encrypted where a passphrase is given (--passphrase-file or SECUREGEN_PASSPHRASE).
    """
    from securegen.engines.mpc.net import certs

    path = certs.request(Path(folder), name, passphrase=passphrases.given_passphrase(passphrase_file))
    report(f"wrote {path} (for the authority) and {name}.key (keep)", request=path)


@command.command()
@click.option("--ca", required=True, metavar="FOLDER", help="Folder of ca.pem and ca.key.")
@click.option("--csr", required=True, metavar="FILE", help="The party's request.")
@click.option("--name", required=True, metavar="NAME", help="The party's name.")
@click.option("--rank", required=True, type=click.IntRange(0), help="The party's place in parties.toml, from 0.")
@click.option("--out", metavar="FILE", help="The certificate [FOLDER/NAME.pem].")
@DAYS
@passphrases.passphrase_options
@common_options
@writes("the certificate")
def issue(ca: str, csr: str, name: str, rank: int, out: str | None, days: int, passphrase_file: str | None) -> None:
    """Sign a party's request, bound to its name and rank.

    Before the certificate expires, sign the same request again into another file, and replace the old one by it. The key
    does not change, so the pin and parties.toml stay as they are.
    """
    from securegen.engines.mpc.net import certs, pem

    secret = passphrases.passphrase_for(Path(ca) / "ca.key", passphrase_file)
    where = Path(out) if out else None
    path = certs.issue(Path(ca), Path(csr), name=name, rank=rank, out=where, days=days, passphrase=secret)
    report(f"wrote {path}, pin {pem.pin(path)}", certificate=path, pin=pem.pin(path))


@command.command()
@click.argument("certificate", metavar="FILE")
@json_option
def pin(certificate: str) -> None:
    """The pin of a certificate, as parties.toml writes it; compare it by telephone."""
    from securegen.engines.mpc.net import pem

    found = pem.pin(Path(certificate))
    report(found, pin=found)
