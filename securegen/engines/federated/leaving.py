"""A site that leaves a study for good: what it agreed to when it joined, and what it signs when it goes.

| message | says |
|---|---|
| accept | `may_leave`: this site's own sums may be read, as a difference of this study's totals and another's |
| left | in how many sums this site had sent its part; its part has ended and its keys are deleted |

A site that left before its first sum was in no total, and never will be. Who learns what: whoever reads the folder sees
who agreed and who left.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from securegen.engines.federated.message_folder import SUFFIX, MessageFolder
from securegen.engines.federated.messages import ACCEPT, FINISHED, LEFT, STOPPED, Message, read_signed, write_message
from securegen.engines.federated.own_purpose import ASKED
from securegen.engines.federated.pair_keys import CONFIRM, HELLO, KEYS, READY
from securegen.engines.federated.state import SiteState, open_state
from securegen.engines.federated.studyfile import Site, StudyFile
from securegen.errors import PolicyError, ProtocolError
from securegen.governance.signing import SigningIdentity
from securegen.io.schema import Refused, integer, record

ENDED, PARTED = "ended", "parted"
COMMITMENT = ".commit"
_NO_SUM = {ACCEPT, HELLO, KEYS, CONFIRM, READY, FINISHED, STOPPED, LEFT}
_LEFT = record(sums=integer(0, 1 << 32))
_PARTED = record(sums=integer(0, 1 << 32), totals=integer(0, 1 << 32))


@dataclass(frozen=True)
class OwnPart:
    """What a site did in a study. sums: it sent its part of; totals: it opened."""

    sums: int
    totals: int


def agrees(accept: Message) -> bool:
    """Whether the site that signed this acceptance lets its own sums be read."""
    return accept.value.get("may_leave") is True


def say_once(state: Path, study: StudyFile, may_leave: bool) -> None:
    """Keep what this site says when it joins. Raises PolicyError where it said otherwise, or its part has ended: a second
    acceptance beside the first lets whoever carries messages choose."""
    words = b"may leave" if may_leave else b"stays"
    with open_state(state, study) as memory:
        ended = memory.get(ENDED)
        if ended is not None:
            raise PolicyError(ended.decode())
        if memory.once("accepted", lambda: words) != words:
            before = "without" if may_leave else "with"
            raise PolicyError(
                f"this site has joined the study {before} `may_leave`, others may have read that: it stays"
            )


def sums_among(steps: Iterable[str]) -> int:
    """How many of these steps are sums: all that are not known to be something else."""
    return sum(step not in _NO_SUM and not step.endswith(COMMITMENT) for step in steps)


def end_part(memory: SiteState, reason: str, posted: Iterable[str] = ()) -> OwnPart:
    """End this site's part in a study for good and delete all it kept of it: keys, masked messages, totals.

    posted: other steps that it has sent. Returns what it had done, the same at every call.
    """
    memory.once(ENDED, reason.encode)  # from here on no further sum is made
    memory.remember(PARTED, lambda: asdict(_done(memory, posted)), _PARTED)
    memory.forget_all(but=(ENDED, PARTED, *ASKED))
    return part_of(memory)


def part_of(memory: SiteState) -> OwnPart:
    """What this site has done in a study, also where its part has ended."""
    told = memory.recall(PARTED, _PARTED)
    return _done(memory) if told is None else OwnPart(**told)


def _done(memory: SiteState, posted: Iterable[str] = ()) -> OwnPart:
    sent = {name.removeprefix("sent.") for name in memory.names("sent.")}
    return OwnPart(sums_among(sent | set(posted)), len(memory.names("total.")))


def leave(folder: Path, state: Path, study: StudyFile, identity: SigningIdentity) -> tuple[str, int]:
    """Leave a study: end this site's part, delete its keys, and tell the others. Returns its name, and in how many sums it was.

    Raises PolicyError for a stranger, and when the site has finished; StorageError while another process of it runs.
    """
    site = study.site_of(identity.verify_key)
    message_folder = MessageFolder(folder, study, site.name)
    with open_state(state, study) as memory:
        if memory.get("finished") is not None:
            raise PolicyError(
                f"site {site.name} has finished the study: there is nothing to leave, its keys are deleted"
            )
        posted = [p.name.removesuffix(SUFFIX) for p in (folder / site.name).glob(f"*{SUFFIX}")]
        part = end_part(
            memory, "this site has left the study (securegen study leave)",
            (step for step in posted if message_folder.own(step) is not None),
        )  # fmt: skip
        message_folder.withdraw_stop()
        value = {"sums": part.sums}
        message_folder.post(LEFT, write_message(study.digest, site.name, LEFT, study.digest, value, None, identity))
    return site.name, part.sums


def sums_of_left(digest: str, site: Site, line: str) -> int:
    """What a site that left the study of this digest signed. Raises ProtocolError where it is not what that site signed."""
    try:
        value = read_signed(line.encode() + b"\n", digest, site, LEFT).value
        return int(_LEFT(value, "")["sums"])
    except (ProtocolError, Refused) as error:
        raise ProtocolError(f"the study file says that site {site.name} left: {error}") from None
