"""--public: the owner's key, under which a cohort must be signed that a server takes from elsewhere."""

from __future__ import annotations

import click

from securegen.record.run_log import RunLog

public_option = click.option(
    "--public", metavar="FILE", help="KEY.public of the owner: refuse a cohort signed by anybody else."
)


def warn_without(public: str | None, log: RunLog) -> None:
    """Say what is not checked without it."""
    if not public:
        log("WARNING: without --public KEY.public the signature of the cohort is checked under the key that the cohort "
            "itself names, which anybody could have made")  # fmt: skip
