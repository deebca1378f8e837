"""The owner's files beside the key, PREFIX.owner: encrypted and authenticated under the key's master, never sent.

They hold the check of every block (see `verify`), the record of the encrypted cohort (people, variants, streams) and one
of every design. Until the last block is done the folder has no record of a cohort, so that nothing is made for, or read
with, blocks of two versions; and one process at a time writes in it.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import io
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from securegen.engines.ckks.blocks import block_name, block_sizes, starts_of
from securegen.engines.ckks.owner.secret_key import SecretKey
from securegen.errors import ArtefactError, PolicyError, UsageError
from securegen.governance.pin import Pin, pinned
from securegen.io.claims import writer_in
from securegen.io.envelope import canonical
from securegen.io.kept_arrays import read_npz
from securegen.io.locks import only_one
from securegen.io.output import atomic, delete_abandoned, private_folder
from securegen.io.store_urls import refuse_url
from securegen.io.strict_json import parse_json, read_regular
from securegen.io.text import count
from securegen.model import GenotypeBlock, GenotypeReader, IntArray, Samples, TextArray, Variants, coding_of
from securegen.vocabulary import ADDITIVE

LEAVING = "leaving"  # the record of a cohort from which people are being taken out
MOST_BOX = 1 << 36  # bytes: read whole, and authenticated before they are parsed


def names_of(samples: Samples) -> list[tuple[str, str]]:
    """(FID, IID) of everybody, in order."""
    return list(zip(samples.fid.astype(str), samples.iid.astype(str), strict=True))


@dataclass(frozen=True)
class Version:
    """A cohort as it was until variants were appended. until: local time."""

    digest: str
    variants: int
    until: str

    def line(self) -> str:
        """What is of it, in words."""
        return f"this cohort as it was until {self.until}, with {count(self.variants, 'variant')}"


class OwnerState:
    """The owner's files for one cohort: encrypted and authenticated under the key, named by block."""

    def __init__(self, folder: Path, key: SecretKey) -> None:
        refuse_url(folder, "the owner's folder")
        self.folder, self.key = folder, key

    def make_folder(self) -> None:
        """Make the folder, or make it private, and delete what killed writers left in it. Raises StorageError naming it."""
        private_folder(self.folder)
        delete_abandoned(self.folder, r"[^/]+\.box")

    def writer(self) -> str:
        """Who writes for this folder, where a store has no locks."""
        return writer_in(self.folder)

    def alone(self, *, wait: float = 0.0) -> contextlib.AbstractContextManager[Path]:
        """Keep other processes from writing in this folder. Raises StorageError when one does."""
        return only_one(self.folder / ".lock", str(self.folder), wait=wait)

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Keep others from encrypting the part of this name, and from ending the cohort. Raises StorageError when one does."""
        with contextlib.ExitStack() as held:
            with self.alone(wait=10):  # nobody ends it now; parts that begin together hold it for a moment each
                held.enter_context(only_one(self.folder / f".part-{name}.lock", f"part {name} of {self.folder}"))
            yield

    def refuse_parts(self) -> None:
        """Raise StorageError while processes encrypt parts."""
        for lock in sorted(self.folder.glob(".part-*.lock")):
            with only_one(lock, f"{lock.name[1:-5]} of {self.folder}"):
                pass

    def one_block(self, index: int) -> contextlib.AbstractContextManager[Path]:
        """Keep other processes from encrypting a block. Raises StorageError when one does."""
        return only_one(self.folder / f".block-{block_name(index)}.lock", f"block {index} of {self.folder}")

    def _label(self, name: str) -> str:
        return f"{self.key.public.fingerprint}/{name}"

    def write(self, name: str, header: Any, arrays: dict[str, np.ndarray] | None = None) -> None:
        stream = io.BytesIO()
        head = canonical(header)
        stream.write(len(head).to_bytes(8, "little") + head)
        named = arrays or {}
        if any(array.dtype.hasobject for array in named.values()):  # NumPy would pickle it, or its older versions
            raise ValueError("an owner's file holds arrays of numbers and text of one width")
        np.savez(stream, **named)  # type: ignore[arg-type]
        with atomic(self.folder / f"{name}.box", mode=0o600) as out:
            out.write(self.key.seal_box(self._label(name), stream.getvalue()))

    def read(self, name: str) -> tuple[Any, dict[str, np.ndarray]]:
        """Raises ArtefactError when the file is absent, altered or under another key."""
        path = self.folder / f"{name}.box"
        try:
            raw = read_regular(path, "a file of the owner's", most=MOST_BOX)
        except FileNotFoundError as error:
            raise ArtefactError(f"the owner's file {path} cannot be read: {error.strerror}") from None
        stream = io.BytesIO(self.key.open_box(self._label(name), raw))
        header = parse_json(
            stream.read(min(len(raw), int.from_bytes(stream.read(8), "little"))), f"the owner's file {path}"
        )
        return header, read_npz(stream, f"the owner's file {path}")

    def identity(self, cohort_id: str, index: int, block: GenotypeBlock) -> str:
        """A digest of the genotypes of one block that says nothing to whoever lacks the key."""
        digest = hmac.new(self.key.derive("resume"), canonical([cohort_id, index]), hashlib.sha256)
        coded = () if block.alleles is None else (block.alleles,)
        for part in (block.dosage, np.zeros(0, bool) if block.missing is None else block.missing, *coded):
            digest.update(canonical([part.dtype.str, part.shape]))
            digest.update(np.ascontiguousarray(part).reshape(-1).view(np.uint8).data)
        return digest.hexdigest()

    def designs(self) -> list[str]:
        """Names of the records of designs, readable or not."""
        return sorted(box.stem for box in self.folder.glob("design-*.box"))

    def has_block(self, index: int) -> bool:
        """Whether a block of that number was encrypted."""
        return (self.folder / f"block-{block_name(index)}.box").exists()

    def cohort_digest(self) -> str | None:
        """Digest of the cohort that is recorded; None where there is none, or none under this key."""
        try:
            return str(self.read("cohort")[0]["digest"])
        except ArtefactError:
            return None

    def earlier(self) -> dict[str, Version]:
        """What the cohort was before variants were appended, by digest."""
        try:
            found = self.read("cohort")[0].get("earlier", ())
        except ArtefactError:
            return {}
        return {version["digest"]: Version(**version) for version in found}

    def forget_others(self, digest: str, earlier: str | None) -> None:
        """Remove what was recorded for another cohort than the one of this digest; earlier: what was here before."""
        for box in self.folder.glob("*.box"):
            if box.stem.startswith("design-"):
                with contextlib.suppress(ArtefactError):  # else of another key
                    if self.read(box.stem)[0]["cohort"] == digest:
                        continue
            elif box.stem.startswith("block-") or digest == earlier:
                continue
            box.unlink()


@dataclass(frozen=True)
class CohortInfo:
    """What the owner knows of its encrypted cohort: digest of the manifest, id, people, variants, blocks and streams.

    blocks: variants of each, in order; identities: of the blocks, none where an earlier version wrote the record; earlier:
    what it was before variants were appended; xchr_model: how males on X count, None where nothing is on X;
    policy: the one that governs it; without: when people were taken out who withdrew, local times.
    It stands for the genotypes when a design is made later: samples, variants and grid, but no dosages to read.
    """

    digest: str
    cohort_id: str
    samples: Samples
    variants: Variants
    dosage_grid: int
    dosage_max: int
    missing_blocks: tuple[int, ...]
    squares: bool
    encryptor: str
    blocks: tuple[int, ...]
    identities: tuple[str, ...] = ()
    coding: str = ADDITIVE
    earlier: tuple[Version, ...] = ()
    xchr_model: int | None = None
    policy: Pin | None = None
    without: tuple[str, ...] = ()

    @cached_property
    def starts(self) -> IntArray:
        """(B + 1,) first variant of every block, and how many variants there are."""
        return starts_of(self.blocks)

    def before(self, digest: object) -> Version | None:
        """The earlier version of that digest, if it is one."""
        return next((version for version in self.earlier if version.digest == digest), None)

    def streams(self, block: int) -> list[str]:
        """Streams that a block stores."""
        return ["g", *(["m"] if block in self.missing_blocks else []), *(["q"] if self.squares else [])]

    def same_people(self, samples: Samples) -> bool:
        """Whether these are the people that were encrypted, in the same order."""
        return names_of(self.samples) == names_of(samples)

    def same_people_and_variants(self, reader: GenotypeReader) -> bool:
        """Whether genotypes have the people, variants, order, grid and genetic model of what was encrypted."""
        facts = (reader.dosage_grid, reader.dosage_max, coding_of(reader))
        alike = facts == (self.dosage_grid, self.dosage_max, self.coding) and self.same_people(reader.samples)
        return alike and self.variants.digest() == reader.variants.digest()

    def other_people(self, samples: Samples) -> str:
        """What to add to a refusal of these people: in counts, how they are others than those that are stored."""
        stored, here = set(names_of(self.samples)), set(names_of(samples))
        if stored == here:
            return "" if self.same_people(samples) else "; the people are the same in another order"
        more, fewer, said = len(here - stored), len(stored - here), ""
        if more:
            said = (
                f"; {count(more, 'sample')} of these files were not encrypted: leave them out with `keep`, or give the "
            )
            said += "`purpose` and `consent` by which they were left out"
        return said + (f"; {count(fewer, 'sample')} who were encrypted are not here" if fewer else "")

    def other_order(self, variants: Variants) -> str:
        """What to add to a refusal of these variants: that they are those which are stored, in another order."""
        tables = [sorted(zip(*vars(v).values(), strict=True)) for v in (self.variants, variants)]
        if tables[0] != tables[1] or self.variants.digest() == variants.digest():
            return ""
        order = dict.fromkeys(map(str, self.variants.chromosome))
        return f"; the variants are the same in another order, here they come as {', '.join(order)}: name the files so in a list"

    def read(self, start: int, stop: int) -> GenotypeBlock:
        raise UsageError("only the encrypted genotypes are here: give `bfile` as well")


def read_info(state: OwnerState) -> CohortInfo:
    """The owner's record of a cohort encrypted earlier. Raises ArtefactError when it was not encrypted to the end, PolicyError
    while people are being taken out of it."""
    if (state.folder / f"{LEAVING}.box").exists():
        raise PolicyError(
            f"consent.withdrawn: people withdrew from the cohort of {state.folder}, and taking them out did not end: nothing is "
            "read with it or encrypted for it until `securegen consent apply` has run to its end"
        )
    if not (state.folder / "cohort.box").exists() and any(state.folder.glob("block-*.box")):
        raise ArtefactError(f"the encryption of the cohort of {state.folder} was not finished: run it again")
    return read_record(state, "cohort")


def read_record(state: OwnerState, name: str) -> CohortInfo:
    """The record of a cohort by its name, whole or not. Raises ArtefactError."""
    header, a = state.read(name)

    def text(name: str) -> TextArray:
        return a[name].astype(object)

    variants = Variants(text("chromosome"), a["position"], text("id"), text("effect_allele"), text("other_allele"))
    sex = a.get("sex", np.zeros(len(a["founder"]), np.int8))  # an earlier version wrote none
    samples = Samples(text("fid"), text("iid"), a["founder"], sex)
    # an earlier version let only the last block be shorter
    blocks = header.get("blocks") or block_sizes((len(variants),), state.key.public.parameters.block_variants)
    return CohortInfo(
        header["digest"], header["cohort_id"], samples, variants, header["dosage_grid"],
        header.get("dosage_max", 2 * header["dosage_grid"]), tuple(header["missing"]),
        header["squares"], header["encryptor"], tuple(blocks), tuple(header.get("identities", ())),
        coding=header.get("coding", ADDITIVE), earlier=tuple(Version(**version) for version in header.get("earlier", ())),
        xchr_model=header.get("xchr_model"), policy=pinned(header.get("policy")), without=tuple(header.get("without", ())),
    )  # fmt: skip


def write_info(state: OwnerState, info: CohortInfo, name: str = "cohort") -> None:
    """Keep the record of a cohort that is encrypted to its end. name: LEAVING while people are taken out of it."""
    header = {
        "digest": info.digest, "cohort_id": info.cohort_id, "dosage_grid": info.dosage_grid,
        "dosage_max": info.dosage_max, "missing": list(info.missing_blocks), "squares": info.squares,
        "encryptor": info.encryptor, "identities": list(info.identities), "blocks": list(info.blocks), "coding": info.coding,
        "xchr_model": info.xchr_model, "policy": None if info.policy is None else info.policy.to_json(),
        "earlier": [asdict(version) for version in info.earlier], "without": list(info.without),
    }  # fmt: skip
    v, s = info.variants, info.samples
    text = {n: getattr(v, n).astype(str) for n in ("chromosome", "id", "effect_allele", "other_allele")}
    people = {"fid": s.fid.astype(str), "iid": s.iid.astype(str), "founder": s.founder, "sex": s.sex}
    state.write(name, header, {"position": v.position, **text, **people})


def block_arrays(state: OwnerState, info: CohortInfo, index: int) -> dict[str, np.ndarray]:
    """h of one block of this cohort, (3, N) uint64, and the lists of `absent`. Raises ArtefactError for one that is newer."""
    header, arrays = state.read(f"block-{block_name(index)}")
    if info.identities and header["identity"] != info.identities[index]:
        raise ArtefactError(f"{state.folder}: block {index} was encrypted again since: run the encryption to its end")
    return arrays
