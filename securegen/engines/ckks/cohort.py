"""The encrypted cohort as the server reads it: PREFIX.cohort, checked and signed (`owner.encrypt_cohort` writes it)."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from securegen.engines.ckks import artefact, bodies, codec
from securegen.engines.ckks.blocks import starts_of
from securegen.engines.ckks.ciphertexts import shares_public_half
from securegen.engines.ckks.codec import chunks
from securegen.engines.ckks.keys import PublicKey, read_public
from securegen.engines.ckks.parameters import Parameters
from securegen.engines.ckks.slices import HalvesInSlices, Slice, parts_of_slice
from securegen.errors import ArtefactError
from securegen.io.folder import Folder
from securegen.io.folders import Place, folder_of
from securegen.model import IntArray

OTHERS = 1 << 16  # files that may lie beside those of a cohort, as of an append that runs


@dataclass(frozen=True)
class EncryptedCohort:
    """Server side: a checked, signed cohort. There is no way from here to a secret key."""

    folder: Folder
    body: dict[str, Any]
    public: PublicKey
    digest: str

    @property
    def parameters(self) -> Parameters:
        return self.public.parameters

    @property
    def blocks(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.body["blocks"]
        return found

    @property
    def shared(self) -> bool:
        """Whether the strands of a group share their public half."""
        return shares_public_half(self.body["encryptor"])

    @cached_property
    def starts(self) -> IntArray:
        """(B + 1,) first variant of every block, and how many variants there are."""
        return starts_of([block["variants"] for block in self.blocks])

    def strands(self, block: int) -> int:
        """How many strands a block has: as many as its variants need."""
        return codec.strands_of(self.blocks[block]["variants"], self.parameters)

    def in_slices(self, block: int, stream: str, chunk: int) -> HalvesInSlices:
        """The strands of one chunk of one block and their public halves."""
        p = self.parameters
        entries, groups = self.blocks[block]["streams"][stream][chunk], chunks(p)[chunk][1]
        return HalvesInSlices(self.folder, entries, p.ring, groups, self.strands(block), shared=self.shared)

    def require_files(self) -> None:
        """Raise ArtefactError naming the first file that is not there, before hours of work on those before it."""
        names = [artefact.name_of(self.folder, entry) for entry in self.stored()]
        there = self.folder.sizes(2 * len(names) + OTHERS)
        for name in names:
            if name not in there and self.folder.size(name) is None:
                raise ArtefactError(
                    f"{self.folder.at(name)} cannot be read: No such file or directory: copy all that its owner sent; "
                    "what was appended belongs beside the blocks before"
                )

    def ahead(self, order: Iterable[tuple[int, str, int, Slice]]) -> contextlib.AbstractContextManager[None]:
        """Meanwhile slices of (block, stream, chunk) are read in this order."""
        p = self.parameters
        return self.folder.ahead(
            part
            for block, stream, chunk, piece in order
            for part in parts_of_slice(
                self.blocks[block]["streams"][stream][chunk], p.ring, chunks(p)[chunk][1], self.strands(block), piece,
                shared=self.shared,
            )
        )  # fmt: skip

    def stored(self) -> Iterator[dict[str, Any]]:
        for part in self.blocks:
            for stream in part["streams"].values():
                for chunk in stream:
                    yield from chunk


def cohort_of(folder: Place, public: str | os.PathLike[str] | None) -> EncryptedCohort:
    """As `open_cohort`. public: file with the key of its owner."""
    return open_cohort(folder, None if public is None else read_public(Path(public)))


def open_cohort(folder: Place, owner: PublicKey | None = None) -> EncryptedCohort:
    """Open a folder that an owner sent. Raises ArtefactError unless it is complete, whole and signed: by
    `owner`, or where that is None by the key that it names."""
    folder = folder_of(folder)
    found = artefact.open_manifest(folder, "cohort")
    with artefact.found_in(folder):
        public = PublicKey.from_json(found.body.get("public"))
    body = found.checked(bodies.COHORT)
    found.require_signature(owner or public)
    with artefact.found_in(folder):
        bodies.check_cohort(body, public.parameters)
    return EncryptedCohort(folder, body, public, found.digest)
