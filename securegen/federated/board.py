"""Signed messages as files in a folder that all sites can reach, by any share or by mail.

A message is FOLDER/<site>/<step>.json: a body that names study, site and step, and the site's Ed25519 signature of it.
Arrays lie beside it as .npy files whose SHA-256 the body holds. Files are written whole, arrays first, so the order in
which they arrive does not matter. A message is read only after signature, names and digests were checked; whatever does
not pass is refused, naming the site under whose name it lies there.

Who learns what: whoever reads the folder sees who has posted what and when, and every byte in it; whoever writes to it
can delay, and is caught when altering.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from securegen.ckks.artefact import parse_array
from securegen.errors import ArtefactError, PeerError, ProtocolError, StorageError
from securegen.federated.identity import Identity, canonical, sha256, verifies
from securegen.federated.studyfile import Site, Study
from securegen.io.output import FOR_OTHERS, atomic, write_text

DOMAIN = b"securegen federated message "
STOPPED = "stopped"
LARGEST_MESSAGE = 1 << 24


@dataclass(frozen=True)
class Message:
    """A checked message. digest: of the signed body."""

    site: str
    step: str
    body: dict[str, Any]
    digest: str
    folder: Path

    def array(self, index: int, shape: tuple[int, ...]) -> np.ndarray:
        """Attached array, uint32 of that shape. Raises ProtocolError naming the site when it is not what was signed."""
        try:
            entry = self.body["arrays"][index]
            path = self.folder / f"{self.step}.{index:04d}.npy"
            raw = path.read_bytes()
            if hashlib.sha256(raw).hexdigest() != entry:
                raise ProtocolError(f"site {self.site}: {path} is not the file that the site signed")
            return parse_array(raw, path, shape, "<u4")
        except OSError as error:
            raise ProtocolError(f"site {self.site}: cannot read {path}: {error.strerror}") from None
        except (ArtefactError, LookupError, TypeError) as error:
            raise ProtocolError(f"site {self.site} sent something malformed in {self.step}: {error}") from None


def sign_message(study: Study, site: str, step: str, body: dict[str, Any], identity: Identity) -> str:
    """The text of a message file."""
    full = {**body, "study": study.digest, "site": site, "step": step}
    return json.dumps({"body": full, "signature": identity.sign(DOMAIN + canonical(full)).hex()}, sort_keys=True)


@dataclass(frozen=True)
class Board:
    """The folder as one participant sees it. wait: seconds without a message before a silent site is named."""

    folder: Path
    study: Study
    wait: float = 0.0

    def _path(self, site: str, step: str) -> Path:
        return self.folder / site / f"{step}.json"

    def post(self, site: str, step: str, text: str, arrays: Sequence[Path] = ()) -> None:
        """Put a signed message and its arrays there; the same again changes nothing.

        Raises ProtocolError when another message of the same name lies there.
        """
        for index, source in enumerate(arrays):
            target = self.folder / site / f"{step}.{index:04d}.npy"
            if not (target.is_file() and target.stat().st_size == source.stat().st_size):
                with atomic(target, mode=FOR_OTHERS) as stream:
                    stream.write(source.read_bytes())
        path = self._path(site, step)
        if path.is_file():
            if path.read_text() != text:
                raise ProtocolError(f"{path} is not the message that this site signed: somebody altered the folder")
            return
        write_text(path, text, mode=FOR_OTHERS)

    def read(self, site: Site, step: str) -> Message | None:
        """The checked message, None when it has not arrived. Raises ProtocolError naming the site."""
        path = self._path(site.name, step)
        try:
            if path.stat().st_size > LARGEST_MESSAGE:
                raise ProtocolError(f"site {site.name}: {path} is too large to be a message")
            content = json.loads(path.read_text())
            body, signature = content["body"], bytes.fromhex(content["signature"])
            signed = verifies(site.verify_key, DOMAIN + canonical(body), signature)
            named = (body["study"], body["site"], body["step"])
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StorageError(f"cannot read {path}: {error.strerror}") from None
        except (ValueError, KeyError, TypeError):
            raise ProtocolError(f"site {site.name}: {path} is not a message, or it is damaged") from None
        if not signed:
            raise ProtocolError(f"site {site.name}: {path} is not signed by that site: it was altered")
        if named != (self.study.digest, site.name, step):
            raise ProtocolError(f"site {site.name}: {path} is a message of another study, site or step")
        arrays = body.get("arrays", [])
        if not isinstance(arrays, list):
            raise ProtocolError(f"site {site.name}: {path} is malformed")
        if not all((path.parent / f"{step}.{i:04d}.npy").is_file() for i in range(len(arrays))):
            return None
        return Message(site.name, step, body, sha256(canonical(body)), path.parent)

    def collect(self, step: str) -> dict[str, Message]:
        """Every site's message of a step, in the order of the study file.

        Raises PeerError naming the sites that have stopped, or are silent for `wait` seconds.
        """
        found: dict[str, Message] = {}
        patience, pause = time.monotonic() + self.wait, 0.005
        while True:
            for site in self.study.sites:
                if site.name not in found and (message := self.read(site, step)) is not None:
                    found[site.name] = message
                    patience, pause = time.monotonic() + self.wait, 0.005
            absent = [s for s in self.study.sites if s.name not in found]
            if not absent:
                return {s.name: found[s.name] for s in self.study.sites}
            for site in absent:
                if (stopped := self.read(site, STOPPED)) is not None:
                    raise PeerError(
                        f"site {site.name} stopped with {stopped.body.get('reason')}: ask there, then run again"
                    )
            if time.monotonic() >= patience:
                names = ", ".join(s.name for s in absent)
                raise PeerError(f"waiting for {step} of site {names}: nothing is lost, run the same command again")
            time.sleep(pause)
            pause = min(2 * pause, 0.25)

    def announce_stop(self, site: str, reason: str, identity: Identity) -> None:
        """Tell the others that this site cannot go on. `reason` is a kind of error, never its text."""
        text = sign_message(self.study, site, STOPPED, {"reason": reason}, identity)
        write_text(self._path(site, STOPPED), text, mode=FOR_OTHERS)

    def withdraw_stop(self, site: str) -> None:
        self._path(site, STOPPED).unlink(missing_ok=True)
