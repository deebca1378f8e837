"""The folder that the sites share, as a coordinator writes it: the study, signed, its variants and other files that it names.

Who learns what: whoever reads the folder sees all of these; nothing in them is of a person.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from securegen.engines.federated import study_toml, studyfile, variants
from securegen.engines.federated.studyfile import StudyFile
from securegen.errors import StorageError
from securegen.governance.signing import SigningIdentity
from securegen.io.output import atomic
from securegen.model import Variants


def refuse_written(folder: Path) -> None:
    """Raises StorageError where a study is."""
    if os.path.lexists(folder / studyfile.STUDY):
        raise StorageError(f"{folder / studyfile.STUDY} exists already: a study is never written over")


def write_folder(
    folder: Path, study: StudyFile, coordinator: SigningIdentity, listed: Variants, files: Mapping[str, bytes]
) -> StudyFile:
    """Write a study, its variants, and other files by name where they are not empty. Returns the study with its digest.

    study.toml is last: where a run was killed before, the next one writes all of it. Raises StorageError where one is there.
    """
    refuse_written(folder)
    variants.write_variants(folder / studyfile.VARIANTS, listed)
    for file, content in files.items():
        if content:
            with atomic(folder / file) as stream:
                stream.write(content)
    return study_toml.write_study(folder, study, coordinator)
