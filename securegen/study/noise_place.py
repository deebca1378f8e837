"""Where draws of noise on phenotypes stand, and what a record may say of the files that hold exact values.

Whoever knows every value of a file but one finds that one by its digest. So with noise on phenotypes neither records nor
receipts have a digest of a table of people, and a request has one under the key of the draws.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from securegen.governance import policy_file
from securegen.governance.noise_store import open_draws
from securegen.governance.policy import Policy
from securegen.io.digests import sha256

if TYPE_CHECKING:
    from securegen.study.inputs import Inputs

OF_PEOPLE = frozenset(
    {"fam", "psam", "sample", "pheno", "covar", "keep", "remove", "pred", "consent"}
)  # files, by name


def place_of(inputs: Inputs) -> tuple[Path, Policy | None]:
    """The folder of the draws, and the policy that stands there."""
    policy, folder = policy_file.governing(inputs.policy, policy_file.beside(inputs.files().values()))
    return folder if policy is not None else Path(os.path.realpath(inputs.pheno or ".")).parent, policy


def is_told(name: str, path: str | os.PathLike[str]) -> bool:
    """Whether a record has the digest of a file of this name, as bed.2 or pred.QT, where phenotypes have noise."""
    return not ({name.partition(".")[0], *(end[1:].lower() for end in Path(path).suffixes)} & OF_PEOPLE)


def told_digests(inputs: Inputs) -> dict[str, str]:
    """SHA-256 of every input file that records may name."""
    noisy = inputs.label_noise is not None
    return {name: sha256(path) for name, path in inputs.files().items() if not noisy or is_told(name, path)}


def asked_digests(inputs: Inputs, but: Collection[str] = ()) -> dict[str, str]:
    """What a request says of files, `but` some: `told_digests`, and one word for all others, which only the key of the draws
    leads to."""
    every = {name: digest for name, digest in inputs.digests().items() if name not in but}
    if inputs.label_noise is None:
        return every
    told = {name: digest for name, digest in told_digests(inputs).items() if name not in but}
    others = {name: digest for name, digest in every.items() if name not in told}
    with open_draws(place_of(inputs)[0]) as entries:
        entries.begun = entries.begun or not entries.traits  # so that the key stays
        return told | {"people": entries.question(json.dumps(others, sort_keys=True))}
