"""securegen inspect"""

from __future__ import annotations

import click

from securegen.cli.command import json_option, report
from securegen.errors import ArtefactError, SecuregenError


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
    from securegen.engines.ckks.keys import read_public
    from securegen.inspection import Inspection, inspect

    key = read_public(public) if public else None
    found: list[Inspection] = []
    failed: list[SecuregenError] = []
    for path in paths:
        try:
            found.append(inspect(path, public=key, digests=not no_digests))
        except SecuregenError as error:
            failed.append(error)
    report([line for one in found for line in one.lines()], found=[one.to_json() for one in found])
    failed += [ArtefactError(f"{one.path}: {one.problems[0]}") for one in found if one.problems]
    if failed:
        raise failed[0]
