"""What anybody with the shared folder can do and no key is needed for: accept a study, see how far the sites are, check.

A hub is this folder and whoever keeps it. It learns who takes part, sizes and times; what the sites sum and open is encrypted
to the sites. It can delay; altering is caught by the sites.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from securegen.engines.federated.leaving import agrees
from securegen.engines.federated.message_folder import SUFFIX, MessageFolder
from securegen.engines.federated.messages import ACCEPT, FINISHED, LEFT, STOPPED, write_message
from securegen.engines.federated.study_toml import read_study
from securegen.engines.federated.studyfile import STUDY, VARIANTS, StudyFile
from securegen.engines.federated.variants import read_variants
from securegen.errors import ProtocolError, StorageError
from securegen.governance.signing import SigningIdentity
from securegen.io.schema import printable
from securegen.model import Variants


def open_folder(folder: Path, study_file: Path | None = None) -> tuple[StudyFile, Variants]:
    """The signed study of a folder and its variant list. Raises ArtefactError or ProtocolError when they do not match."""
    study = read_study(study_file or folder / STUDY)
    path = folder / VARIANTS
    if not path.is_file():
        raise StorageError(f"there is no variant list {path}")
    with path.open("rb") as stream:
        plain = stream.read(1) == b"#"  # neither a bim nor compressed
    variants = read_variants(path) if plain else None
    if variants is None or variants.digest() != study.variants_digest:
        raise ProtocolError(f"{path} is not the variant list that the study names: it was altered")
    return study, variants


def join(folder: Path, identity: SigningIdentity, *, may_leave: bool = False) -> str:
    """Accept the study of a folder with this key; returns the site's name in it. Raises PolicyError for a stranger.

    may_leave: signed into the acceptance: this site's own sums may be read beside the totals of another study.
    """
    study, _ = open_folder(folder)
    study.refuse_expired()
    site = study.site_of(identity.verify_key).name
    value = {"accepts": study.digest} | ({"may_leave": True} if may_leave else {})
    raw = write_message(study.digest, site, ACCEPT, study.digest, value, None, identity)
    MessageFolder(folder, study, site).post(ACCEPT, raw)
    return site


@dataclass(frozen=True)
class SiteProgress:
    """How far a site is. last: its newest step; messages, bytes: what it has posted; age: seconds since then, None before;
    may_leave: it agreed that its own sums may be read; left: it has left the study."""

    site: str
    accepted: bool
    finished: bool
    stopped: str
    last: str
    messages: int
    bytes: int
    age: float | None
    may_leave: bool = False
    left: bool = False


def progress(folder: Path, study: StudyFile) -> list[SiteProgress]:
    """Read and check every message of every site. Raises ProtocolError naming a site whose message is not genuine."""
    message_folder, out = MessageFolder(folder, study), []
    for site in study.sites:
        files = sorted((folder / site.name).glob(f"*{SUFFIX}"), key=lambda p: (p.lstat().st_mtime_ns, p.name))
        steps = [p.name.removesuffix(SUFFIX) for p in files]
        found = {step: message_folder.read(site, step) for step in steps}
        stopped = found.pop(STOPPED, None)
        size = sum(p.stat().st_size for p in (folder / site.name).glob("*") if p.is_file())
        age = time.time() - files[-1].lstat().st_mtime if files else None
        reason = printable(stopped.value.get("reason", ""), 40) if stopped else ""
        last = next((s for s in reversed(steps) if s != STOPPED), "")
        accept = found.get(ACCEPT)
        out.append(
            SiteProgress(
                site.name, accept is not None, FINISHED in found, reason, last, len(found), size, age,
                accept is not None and agrees(accept), LEFT in found,
            )
        )  # fmt: skip
    return out
