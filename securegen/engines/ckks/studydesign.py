"""The encrypted design as the server reads it: PREFIX.design, checked and signed (`owner.encrypt_design` writes it).

The columns of a group of samples are strands (see `strands`): with the own encryptor they share their public half. What
the server returns for every block is in `layout`: products of a stream and a column of the block's set (`column_sets`),
additions of a stream where a column is 1 for every stored sample (public), and the owner's own Σ g², as they were sent.

Who learns what: the server learns how many columns each set has, which blocks have which set, and which columns are 1 for
everybody; nothing about a value.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from securegen.engines.ckks import artefact, bodies
from securegen.engines.ckks.ciphertexts import Ciphertexts, read_ciphertexts, shares_public_half
from securegen.engines.ckks.codec import chunks, ciphertext_shape
from securegen.engines.ckks.column_sets import ColumnSets
from securegen.engines.ckks.keys import PublicKey
from securegen.engines.ckks.slices import HalvesInSlices
from securegen.io.folder import Folder
from securegen.io.folders import Place, folder_of


@dataclass(frozen=True)
class EncryptedDesign:
    """Server side: a checked, signed design."""

    folder: Folder
    body: dict[str, Any]
    public: PublicKey
    digest: str

    @cached_property
    def columns(self) -> ColumnSets:
        return ColumnSets.from_body(self.body)

    @property
    def shared(self) -> bool:
        """Whether the columns of a group share their public half."""
        return shares_public_half(self.body["encryptor"])

    def in_slices(self, chunk: int, number: int) -> list[HalvesInSlices]:
        """The encrypted columns of a set for one chunk, part by part; where all share their public half it is that of every
        part."""
        p, files, parts = self.public.parameters, 1 if self.shared else 2, self.columns.parts_of(number)
        entries = self.body["columns"][chunk] if parts else []
        return [
            HalvesInSlices(
                self.folder, entries[i * files : (i + 1) * files], p.ring, chunks(p)[chunk][1],
                len(self.columns.parts[i]), shared=self.shared,
            )
            for i in parts
        ]  # fmt: skip

    def read_squares(self, block: int, count: int) -> Ciphertexts:
        """The owner's Σ g² of one block, `count` ciphertexts: (k, T, 1, C, L) and (k, T, 1, 1 or C, L)."""
        p, entries = self.public.parameters, self.body["squares"][block]
        c0, c1 = (
            np.empty(ciphertext_shape(p, 1, halves), np.uint32) for halves in (count, 1 if self.shared else count)
        )
        read_ciphertexts(self.folder, entries, p.ring, c0, c1)
        return Ciphertexts(c0, c1)


def open_design(folder: Place, public: PublicKey) -> EncryptedDesign:
    """Open a design that the cohort's owner sent. Raises ArtefactError unless it is whole and signed by that key."""
    folder = folder_of(folder)
    found = artefact.open_manifest(folder, "design")
    body = found.checked(bodies.DESIGN)
    found.require_signature(public)
    with artefact.found_in(folder):
        bodies.check_design(body, public.parameters)
    return EncryptedDesign(folder, body, public, found.digest)
