"""Messages as files in a folder that all sites can reach: FOLDER/<site>/<step>.msg, by any share or by mail.

Files are written whole, so the order in which they arrive does not matter. Whoever writes to the folder can delay; what it
alters or puts there itself carries no signature of a site, is refused by its readers and replaced by its owner.

Who learns what: whoever reads the folder sees who has posted what, when and how many bytes.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from securegen.engines.federated.messages import (
    LEFT,
    MOST_HEAD,
    MOST_PAYLOAD,
    STOPPED,
    Message,
    read_message,
    write_message,
)
from securegen.engines.federated.studyfile import Site, StudyFile
from securegen.errors import PeerError, ProtocolError, StorageError
from securegen.governance.signing import SigningIdentity
from securegen.io.output import FOR_OTHERS, atomic
from securegen.io.schema import printable
from securegen.io.strict_json import read_regular
from securegen.study.inputs import Log, silent

SUFFIX = ".msg"
SAY_SECONDS = 10.0  # between two lines about a site that is waited for


@dataclass(frozen=True)
class MessageFolder:
    """The folder as site `me` sees it. wait: seconds without a message before a silent site is named."""

    folder: Path
    study: StudyFile
    me: str = ""
    wait: float = 0.0
    log: Log = silent
    forgets: ClassVar[bool] = False

    def path(self, site: str, step: str) -> Path:
        return self.folder / site / f"{step}{SUFFIX}"

    def read(self, site: Site, step: str) -> Message | None:
        """The checked message, None when it has not arrived. Raises ProtocolError naming the file and the site."""
        path = self.path(site.name, step)
        try:
            raw = read_regular(path, "a message", most=MOST_HEAD + MOST_PAYLOAD, error=ProtocolError)
            return read_message(raw, self.study, site, step)
        except FileNotFoundError:
            return None
        except ProtocolError as error:
            raise ProtocolError(f"site {site.name}: {path}: {error}") from None

    def post(self, step: str, raw: bytes) -> None:
        path = self.path(self.me, step)
        try:
            if read_regular(path, "a message", error=ProtocolError, most=len(raw)) == raw:
                return
        except (FileNotFoundError, ProtocolError):
            pass  # absent, or put there by somebody else
        with atomic(path, mode=FOR_OTHERS) as stream:
            stream.write(raw)

    def own(self, step: str) -> Message | None:
        try:
            return self.read(self.study.site(self.me), step)
        except ProtocolError:
            return None  # it has not this site's signature

    def collect(self, step: str) -> dict[str, Message]:
        found: dict[str, Message] = {}
        others = [s for s in self.study.sites if s.name != self.me]
        said = started = time.monotonic()
        patience, pause = started + self.wait, 0.005
        while True:
            for site in others:
                if site.name not in found and (message := self.read(site, step)) is not None:
                    found[site.name] = message
                    patience, pause = time.monotonic() + self.wait, 0.005
            absent = [s for s in others if s.name not in found]
            if not absent:
                return found
            self.refuse_left(absent)
            for site in absent:
                if (stopped := self.read(site, STOPPED)) is not None:
                    reason = printable(stopped.value.get("reason", ""), 40)
                    raise PeerError(f"site {site.name} stopped with {reason}: ask there, then run again")
            names, now = ", ".join(s.name for s in absent), time.monotonic()
            if now >= patience:
                raise PeerError(f"waiting for {step} of site {names}: nothing is lost, run the same command again")
            if now >= said + SAY_SECONDS:
                self.log(f"waiting for {step} of site {names}, {now - started:.0f} s so far")
                said = now
            time.sleep(pause)
            pause = min(2 * pause, 0.25)

    def leave(self) -> None:
        """Nothing: the folder keeps what was posted."""

    def refuse_left(self, sites: Sequence[Site]) -> None:
        """Raises PeerError naming one of these sites that has left the study."""
        for site in sites:
            if self.read(site, LEFT) is not None:
                raise PeerError(
                    f"site {site.name} left the study, which has ended: the coordinator continues it without {site.name} as a "
                    "new one (securegen study continue)"
                )

    def announce_stop(self, reason: str, identity: SigningIdentity) -> None:
        """Tell the others that this site cannot go on. `reason` is a kind of error, never its text."""
        digest = self.study.digest
        with contextlib.suppress(StorageError):  # what stopped the site is the error to show
            self.post(STOPPED, write_message(digest, self.me, STOPPED, digest, {"reason": reason}, None, identity))

    def withdraw_stop(self) -> None:
        path = self.path(self.me, STOPPED)
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise StorageError(f"cannot remove {path}: {error.strerror}") from None
