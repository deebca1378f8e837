"""What a site takes part for, remembered from when it joined, or from its first run that named it: a run without a purpose is for
that one, and one for another purpose, or with another register of consent, is refused.

So whoever withdrew is not summed because a purpose was left out. Who learns what: nobody; it stays in the site's memory.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from securegen.engines.federated.state import SiteState, open_memory, open_state, study_folder
from securegen.engines.federated.studyfile import StudyFile
from securegen.errors import PolicyError
from securegen.governance.consent_steps import purpose_of
from securegen.governance.gate import Asking
from securegen.io.schema import text
from securegen.study.inputs import Inputs

PURPOSE, REGISTER, DISEASES = ASKED = ("purpose", "register", "diseases")
_WORDS: Final = {PURPOSE: "the purpose", REGISTER: "the register of consent", DISEASES: "the table of diseases"}
_OPTIONS: Final = {PURPOSE: "purpose", REGISTER: "consent", DISEASES: "mondo"}
_TEXT = text(1 << 12)


def keep_asked(state: Path, study: StudyFile, asking: Asking) -> None:
    """Remember what this site takes part for, as far as it is named, before it says that it does. Raises PolicyError where it was
    something else, here or in the study that goes on as this one."""
    known = _known(state, study)
    now = known | _named(asking, known)
    if now:
        with open_state(state, study) as memory:
            for name, said in now.items():
                memory.remember(name, lambda said=said: said, _TEXT)  # type: ignore[misc]


def for_what_was_asked(state: Path, study: StudyFile, inputs: Inputs) -> Inputs:
    """A site's inputs, for the purpose and with the register that it takes part with. Raises PolicyError where they name
    others."""
    known = _known(state, study)
    now = known | _named(inputs.asking, known)
    typed: Any = {_OPTIONS[name]: said for name, said in now.items()}
    return replace(inputs, **typed)


def _known(state: Path, study: StudyFile) -> dict[str, str]:
    """What the memory of a study has, and of the one that goes on as it."""
    out: dict[str, str] = {}
    for digest in filter(None, (study.continues, study.digest)):
        if study_folder(state, digest).exists():
            with open_memory(state, digest) as memory:
                out |= _entries(memory)
    return out


def _entries(memory: SiteState) -> dict[str, str]:
    found = {name: memory.recall(name, _TEXT) for name in ASKED}
    return {name: said for name, said in found.items() if said is not None}


def _named(asking: Asking, known: Mapping[str, str]) -> dict[str, str]:
    """What is named now. Raises PolicyError for something else than is known."""
    files = {REGISTER: asking.consent, DISEASES: asking.mondo}
    out = {name: os.path.abspath(path) for name, path in files.items() if path is not None}
    if asking.purpose is not None:
        out[PURPOSE] = str(purpose_of(asking.purpose))
    for name, said in out.items():
        if known.get(name, said) != said:
            raise PolicyError(
                f"consent.purpose: this site takes part with {_WORDS[name]} {known[name]}, not {said}: leave "
                f"`{_OPTIONS[name]}` out, or start another study"
            )
    return out


__all__ = ["ASKED", "for_what_was_asked", "keep_asked"]
