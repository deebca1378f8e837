"""securegen study continue, securegen study leave"""

from __future__ import annotations

import click

from securegen.cli import passphrases
from securegen.cli.command import common_options, report, writes
from securegen.cli.site import passphrase as site_passphrase
from securegen.cli.site import private_folder, shared_folder
from securegen.cli.study_terms import record_of, terms

two_sites_option = click.option(
    "--two-sites-learn-each-other", is_flag=True, help="Allow only two sites, which can hide nothing from each other."
)


@click.command("continue")
@click.option("--dir", "folder", required=True, metavar="FOLDER", help="The folder of the study that a site leaves.")
@click.option("--key", required=True, metavar="FILE", help="The coordinator's signing key of that study.")
@click.option("--without", multiple=True, required=True, metavar="SITE", help="The site that leaves.")
@click.option("--out", required=True, metavar="FOLDER", help="The folder of the new study.")
@two_sites_option
@passphrases.passphrase_options
@common_options
@writes("{out}/study.toml", "{out}/study.sig", "{out}/variants.tsv", makes=["out"])
def continue_command(
    folder: str, key: str, without: tuple[str, ...], out: str, two_sites_learn_each_other: bool,
    passphrase_file: str | None,
) -> None:  # fmt: skip
    """Write the study that goes on without a site: a new one, with new keys, which every site joins and runs.

    A site can join it where no total with the leaving site can be open: it sent no sum itself, or the other left before
    its first sum. Otherwise the difference of two totals is the leaving site's own sums, so that site must have agreed to
    this by joining with --may-leave.
    """
    from securegen.engines.federated.steps import continue_study

    study = continue_study(
        folder, out, key, without=without, two_sites_learn_each_other=two_sites_learn_each_other,
        passphrase=passphrases.passphrase_for(key, passphrase_file),
    )  # fmt: skip
    lines = [
        f"study {study.digest[:16]}: {len(study.sites)} sites, {study.variants} variants, in {out}",
        *terms(study),
    ]
    report(lines, study=study.digest, continues=study.continues, without=list(without), **record_of(study))


@click.command("leave")
@shared_folder
@private_folder
@passphrases.passphrase_options
@common_options
@writes("that the site left, signed, in {folder}")
def leave_command(folder: str, state: str, passphrase_file: str | None) -> None:
    """Leave a study for good: this site's part ends, its keys for the study are deleted, and the others are told.

    What others opened stays open. Before its first sum nothing of a site is in any total, and the others may go on without it.
    """
    from securegen.engines.federated.steps import leave

    site, sums = leave(folder, state, passphrase=site_passphrase(state, passphrase_file))
    said = (
        f"it had sent its part of {sums} sums" if sums else "it had sent no sum: nothing of it was opened, nor can be"
    )
    report(f"site {site} left the study; {said}", site=site, sums=sums)
