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
from securegen.engines.ckks.ciphertexts import Ciphertexts, read_second_halves, shares_public_half
from securegen.engines.ckks.codec import chunks, ciphertext_shape
from securegen.engines.ckks.column_sets import ColumnSets
from securegen.engines.ckks.keys import PublicKey
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

    def read_columns(self, chunk: int, number: int) -> list[Ciphertexts]:
        """The encrypted columns of a set for one chunk, part by part: c0 (k, T, G, J_i, L), and c1 likewise; where all share
        their public half the first alone has it, (k, T, G, 1, L)."""
        groups, files = chunks(self.public.parameters)[chunk][1], 1 if self.shared else 2
        out: list[Ciphertexts] = []
        for i in self.columns.parts_of(number):
            own = self.body["columns"][chunk][i * files : (i + 1) * files]
            count = len(self.columns.parts[i])
            if out and self.shared:
                out.append(Ciphertexts(self._first_halves(own, groups, count), None))
            else:
                out.append(self._read(own, groups, count))
        return out

    def read_squares(self, block: int, count: int) -> Ciphertexts:
        """The owner's Σ g² of one block, `count` ciphertexts: (k, T, 1, C, L) and (k, T, 1, 1 or C, L)."""
        return self._read(self.body["squares"][block], 1, count)

    def _first_halves(self, entries: list[dict[str, Any]], groups: int, count: int) -> np.ndarray:
        return artefact.map_array(self.folder, entries[0], ciphertext_shape(self.public.parameters, groups, count))

    def _read(self, entries: list[dict[str, Any]], groups: int, count: int) -> Ciphertexts:
        p = self.public.parameters
        c0 = self._first_halves(entries, groups, count)
        if len(entries) == 2:
            c1 = artefact.map_array(self.folder, entries[1], ciphertext_shape(p, groups, 1 if self.shared else count))
            return Ciphertexts(c0, c1)
        c1 = np.empty(ciphertext_shape(p, groups, 1 if self.shared else count), np.uint32)
        read_second_halves(self.folder, entries, p.ring, c1)
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
