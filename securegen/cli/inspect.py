"""securegen inspect"""

from __future__ import annotations

import click

from securegen.cli.command import json_option, report
from securegen.errors import ArtefactError


@click.command()
@click.argument("paths", metavar="FILE...", nargs=-1, required=True)
@click.option("--public", metavar="FILE", help="KEY.public of the owner: check the signature under this key.")
@click.option("--no-digests", is_flag=True, help="Do not read the files to check their SHA-256.")
@json_option
def command(paths: tuple[str, ...], public: str | None, no_digests: bool) -> None:
    """Say what files and folders are, without any key.

    Artefacts, owner's folders, keys, plans, records, tables, studies, certificates: role, version, parameters, bits of
    security, fingerprint, shapes and sizes, and whether digests and signature hold. Of secret files only what is public
    in them is shown. Exit code 7 when something does not hold.
    """
    from securegen.ckks.keys import read_public
    from securegen.inspection import inspect

    key = read_public(public) if public else None
    found = [inspect(path, public=key, digests=not no_digests) for path in paths]
    report([line for one in found for line in one.lines()], found=[one.to_json() for one in found])
    bad = [one for one in found if one.problems]
    if bad:
        raise ArtefactError(f"{bad[0].path}: {bad[0].problems[0]}")
