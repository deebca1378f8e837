"""Masked genotype blocks kept on disk by whoever received them, so that they are sent once in a study's life.

A masked block is uniform and tells its holder nothing without the mask. Plain .npy files, written whole or not at all,
named by stream, first variant and a hash of the mask's key: a block whose mask changed is not found, and one that
is damaged is refused.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from securegen.engines.mpc.net.session import Session
from securegen.errors import ArtefactError, ProtocolError, StorageError
from securegen.io.kept_arrays import keep_array, kept_array


@dataclass(frozen=True)
class MaskedStore:
    """A directory of masked blocks, made on first use."""

    directory: Path

    def put(self, stream: str, start: int, mark: str, block: np.ndarray) -> None:
        """Keep one block; `mark` names its mask."""
        keep_array(self._path(stream, start, mark), block)

    def get(self, stream: str, start: int, mark: str, *, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        """The block kept before, memory-mapped; ProtocolError when there is none of this mask, shape and dtype, or it has
        changed since."""
        path = self._path(stream, start, mark)  # its folder stays here: peers are told protocol errors
        try:
            block = kept_array(path, mapped=True)
        except ArtefactError as error:
            raise ProtocolError(
                f"{path.name}: the masked block of stream {stream!r} at variant {start} was not kept, has changed, or has "
                "another mask; remove the folder of masked blocks, and they are sent again (resend)"
            ) from error
        if block.shape != tuple(shape) or block.dtype != dtype:
            raise ProtocolError(f"{path.name} holds {block.dtype} {block.shape}, expected {dtype} {tuple(shape)}")
        return block

    def finish(self, what: str) -> None:
        """All blocks of `what` are here."""
        try:
            self._whole(what).touch()
        except OSError as error:
            raise StorageError(f"{self.directory}: cannot be written: {error}") from error

    def _whole(self, what: str) -> Path:
        return Path(self.directory) / f"whole-{hashlib.sha256(what.encode()).hexdigest()[:40]}"

    def _path(self, stream: str, start: int, mark: str) -> Path:
        # the names come from a peer: hashed, they cannot leave the directory
        name = hashlib.sha256(f"{stream}\0{start}\0{mark}".encode()).hexdigest()[:40]
        return Path(self.directory) / f"masked-{start:09d}-{name}.npy"


def ask_for_blocks(session: Session, owner: str, directory: Path | None, what: str) -> tuple[MaskedStore | None, bool]:
    """The store in `directory`, if any, and whether masked blocks must be sent: not where all of `what` are in it.

    The genotype owner is told, which learns that they were kept.
    """
    store = None if directory is None else MaskedStore(directory)
    resend = store is None or not store._whole(what).exists()
    session.send_json(owner, "resend", resend)
    return store, resend


def hear_of_blocks(session: Session, receiver: str) -> bool:
    """Whether masked blocks must be sent. ProtocolError when the receiver does not say."""
    resend = session.receive_json(receiver, "resend")
    if not isinstance(resend, bool):
        raise ProtocolError(f"party {receiver!r} does not say whether blocks must be sent")
    return resend
