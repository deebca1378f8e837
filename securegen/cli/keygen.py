"""securegen keygen"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from securegen.cli import passphrases
from securegen.cli.command import common_options, rehearses, stop_rehearsal
from securegen.cli.runlog import CommandLog, logs
from securegen.errors import ArtefactError, InputError, StorageError
from securegen.io.strict_json import read_json

if TYPE_CHECKING:
    from securegen.engines.ckks.planner import Plan


def read_plan(path: str) -> Plan:
    """A plan file. Raises InputError when it cannot be read, ArtefactError when it is not a plan."""
    from securegen.engines.ckks.planner import Plan

    try:
        return Plan.from_json(read_json(path, "a plan", error=InputError))
    except FileNotFoundError as error:
        raise InputError(f"cannot read the plan {path}: {error.strerror}; securegen plan makes one") from None
    except ArtefactError as error:
        raise ArtefactError(f"{path}: {error}; give OUT.plan.json of securegen plan") from None


@click.command()
@click.option("--plan", "plan_file", required=True, metavar="FILE", help="OUT.plan.json of securegen plan.")
@passphrases.passphrase_options
@click.option("--plain-secret-key", is_flag=True, help="Store the secret key without a passphrase (mode 0600 only).")
@click.option(
    "--policy", metavar="FILE", help="The policy that will always govern this key [the policy.toml beside KEY]."
)
@click.option("--out", required=True, metavar="KEY", help="Writes KEY.secret and KEY.public.")
@click.option("--quiet", is_flag=True, help="Print nothing on stderr but errors.")
@common_options
@logs
@rehearses
def command(
    plan_file: str, passphrase_file: str | None, plain_secret_key: bool, policy: str | None, out: str, quiet: bool
) -> None:
    """Make a key for a plan.

    KEY.secret stays with the owner (mode 0600, encrypted with the passphrase); KEY.public holds no secret. Existing keys
    are never overwritten; after a killed run, run it again. A key that names a policy decrypts nothing without it. securegen key
    changes a passphrase and makes a backup.
    """
    from securegen.engines.ckks import steps
    from securegen.engines.ckks.owner.begun_key import keep_key

    log = CommandLog(out, "keygen", quiet=quiet)
    with log.stage("keygen"):
        plan = read_plan(plan_file)
        begun = not os.path.lexists(f"{out}.public")  # a run that was killed between its halves is ended
        for path in [f"{out}.secret"] * (not begun) + [f"{out}.public"]:
            if os.path.lexists(path):
                raise StorageError(f"{path} exists and is not overwritten: choose another name or remove it")
        stop_rehearsal([f"{out}.secret", f"{out}.public", *log.files], parameters=plan.parameters.to_json())
        secret = None if plain_secret_key else passphrases.passphrase(passphrase_file, confirm=True)
        key = steps.generate_key(plan, policy=policy, beside=out)
        key = keep_key(out, key, passphrase=secret, begun=begun)
    if plain_secret_key:
        log(f"{out}.secret is NOT encrypted: whoever reads the file reads the genotypes")
    if key.policy is not None:
        log(f"{out}.secret names its policy, version {key.policy.version}: nothing is decrypted without it")
    log(f"key {key.public.fingerprint[:16]}: {out}.secret (keep), {out}.public (may travel)")
    log.write(key=key.public.fingerprint)
