"""securegen certs"""

from __future__ import annotations

from pathlib import Path

import click


@click.group()
def command() -> None:
    """Keys and certificates of the parties of a multi-party run."""


@command.command("init-ca", epilog="Example:  securegen certs init-ca --dir authority")
@click.option("--dir", "folder", required=True, metavar="FOLDER", help="Where ca.pem and ca.key are written.")
def init_ca(folder: str) -> None:
    """Make the study authority: ca.pem is for every party, ca.key stays."""
    from securegen.mpc import certs

    click.echo(f"wrote {certs.init_ca(Path(folder))} (for everybody) and ca.key (keep)")


@command.command(epilog="Example:  securegen certs request --dir keys --name hospital")
@click.option("--dir", "folder", required=True, metavar="FOLDER", help="Where NAME.key and NAME.csr are written.")
@click.option("--name", required=True, metavar="NAME", help="The party, as parties.toml calls it.")
def request(folder: str, name: str) -> None:
    """Make a party's key on its own machine, and the request that goes to the authority."""
    from securegen.mpc import certs

    click.echo(f"wrote {certs.request(Path(folder), name)} (for the authority) and {name}.key (keep)")


@command.command(epilog="Example:  securegen certs issue --ca authority --csr hospital.csr --name hospital --rank 0")
@click.option("--ca", required=True, metavar="FOLDER", help="Folder of ca.pem and ca.key.")
@click.option("--csr", required=True, metavar="FILE", help="The party's request.")
@click.option("--name", required=True, metavar="NAME", help="The party's name.")
@click.option("--rank", required=True, type=click.IntRange(0), help="Its place in parties.toml, from 0.")
@click.option("--out", metavar="FILE", help="The certificate [FOLDER/NAME.pem].")
def issue(ca: str, csr: str, name: str, rank: int, out: str | None) -> None:
    """Sign a party's request, bound to its name and rank."""
    from securegen.mpc import certs

    path = certs.issue(Path(ca), Path(csr), name=name, rank=rank, out=Path(out) if out else None)
    click.echo(f"wrote {path}, pin {certs.pin(path)}")


@command.command(epilog="Example:  securegen certs pin keys/hospital.pem")
@click.argument("certificate", metavar="FILE")
def pin(certificate: str) -> None:
    """The pin of a certificate, as parties.toml writes it; compare it by telephone."""
    from securegen.mpc import certs

    click.echo(certs.pin(Path(certificate)))
