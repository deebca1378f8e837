"""The encrypted cohort: what the owner writes for the server, and the owner's local state beside the key.

PREFIX.cohort/ (to the server): manifest and ciphertexts of every block of variants, streams g (dosage), m (missing, only
for blocks where something is) and, on request, q (dosage²), in chunks of groups of samples. A chunk is (groups, strands)
ciphertexts; with the own encryptor the strands of a group share their public half.
PREFIX.owner/ (stays): the check of every block (see `verify`) and the variant table, encrypted under the key's master.

Who learns what: the server learns N, M, which blocks have missing calls, and nothing about a genotype (RLWE, 128 bits).
A killed run resumes: a block whose files, data, format and encryptor are unchanged is kept, anything else is encrypted
again, freshly. Until the last block is done the owner's folder has no record of a cohort, so that nothing is made for, or
read with, blocks of two versions; and one process at a time writes in it.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import io
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from securegen.engines.ckks import artefact, bodies, codec
from securegen.engines.ckks.codec import chunks, ciphertext_shape
from securegen.engines.ckks.encryption import Ciphertexts, Encryptor, shares_public_half
from securegen.engines.ckks.keys import PublicKey, SecretKey, canonical
from securegen.engines.ckks.owner import verify
from securegen.engines.ckks.owner.retirement import refuse_retired
from securegen.engines.ckks.parameters import Parameters
from securegen.errors import ArtefactError, DesignError, StorageError, UsageError
from securegen.io.locks import only_one
from securegen.io.output import FOLDER_FOR_OTHERS, PRIVATE_FOLDER, atomic, make_folder, require_space
from securegen.io.strict_json import parse_json, read_regular
from securegen.kernels.threads import in_threads
from securegen.model import GenotypeBlock, GenotypeReader, Samples, Variants, iterate_blocks
from securegen.rlwe.ring import Ring
from securegen.rlwe.uniform import expand_uniform

MOST_BOX = 1 << 36  # bytes: read whole, and authenticated before they are parsed
Progress = Callable[[int, int], None]


def no_progress(done: int, total: int) -> None:
    """Report nothing."""


def write_ciphertexts(folder: Path, name: str, block: Ciphertexts) -> list[dict[str, Any]]:
    """Write NAME.c0.npy (and NAME.c1.npy where it is stored); returns their manifest entries."""
    out = []
    for half, array in (("c0", block.c0), ("c1", block.c1)):
        if array is not None:
            seed = block.seed if half == "c0" else None
            out.append(vars(artefact.write_entry(folder, f"{name}.{half}.npy", array, seed)))
    return out


def read_ciphertexts(
    folder: Path, entries: list[dict[str, Any]], ring: Ring, c0: np.ndarray, c1: np.ndarray, threads: int | None = 1
) -> None:
    """Fill both halves of a chunk, (k, T, …, L) uint32; the second, which may have fewer ciphertexts, is read or expanded
    from its seed."""
    artefact.load_array(folder, entries[0], c0.shape, out=c0)
    read_second_halves(folder, entries, ring, c1, threads)


def read_second_halves(
    folder: Path, entries: list[dict[str, Any]], ring: Ring, c1: np.ndarray, threads: int | None = 1
) -> None:
    """The second half only."""
    if len(entries) == 2:
        artefact.load_array(folder, entries[1], c1.shape, out=c1)
        return
    k, tiles, *middle, lanes = c1.shape
    flat = c1.reshape(k, tiles, -1, lanes)
    expand_uniform(bytes.fromhex(entries[0]["seed"]), flat.shape[2], ring, out=flat, threads=threads)


class OwnerState:
    """The owner's files for one cohort: encrypted and authenticated under the key, named by block."""

    def __init__(self, folder: Path, key: SecretKey) -> None:
        self.folder, self.key = folder, key

    def alone(self) -> contextlib.AbstractContextManager[None]:
        """Keep other processes from writing in this folder. Raises StorageError when one does."""
        return only_one(self.folder / ".lock", str(self.folder))

    def _label(self, name: str) -> str:
        return f"{self.key.public.fingerprint}/{name}"

    def write(self, name: str, header: Any, arrays: dict[str, np.ndarray] | None = None) -> None:
        stream = io.BytesIO()
        head = canonical(header)
        stream.write(len(head).to_bytes(8, "little") + head)
        np.savez(stream, allow_pickle=False, **(arrays or {}))
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
        header = parse_json(stream.read(int.from_bytes(stream.read(8), "little")), f"the owner's file {path}")
        with np.load(stream, allow_pickle=False) as arrays:
            return header, {k: arrays[k] for k in arrays.files}

    def identity(self, cohort_id: str, index: int, block: GenotypeBlock) -> str:
        """A digest of the genotypes of one block that says nothing to whoever lacks the key."""
        digest = hmac.new(self.key.derive("resume"), canonical([cohort_id, index]), hashlib.sha256)
        for part in (block.dosage, np.zeros(0, bool) if block.missing is None else block.missing):
            digest.update(canonical([part.dtype.str, part.shape]))
            digest.update(np.ascontiguousarray(part).reshape(-1).view(np.uint8).data)
        return digest.hexdigest()

    def designs(self) -> list[str]:
        """Names of the records of designs, readable or not."""
        return sorted(box.stem for box in self.folder.glob("design-*.box"))

    def cohort_digest(self) -> str | None:
        """Digest of the cohort that is recorded; None where there is none, or none under this key."""
        try:
            return self.read("cohort")[0]["digest"]
        except ArtefactError:
            return None

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
    """What the owner knows of its encrypted cohort: digest of the manifest, id, people, variants and streams.

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
    identities: tuple[str, ...] = ()  # of the blocks, in order; none where an earlier version wrote the record

    def streams(self, block: int) -> list[str]:
        """Streams that a block stores."""
        return ["g", *(["m"] if block in self.missing_blocks else []), *(["q"] if self.squares else [])]

    def same_people(self, samples: Samples) -> bool:
        """Whether these are the people that were encrypted, in the same order."""
        names = lambda s: list(zip(s.fid.astype(str), s.iid.astype(str), strict=True))  # noqa: E731
        return names(self.samples) == names(samples)

    def same_people_and_variants(self, reader: GenotypeReader) -> bool:
        """Whether genotypes are of the people and variants that were encrypted, in the same order and grid."""
        return (
            self.same_people(reader.samples)
            and self.variants.digest() == reader.variants.digest()
            and (self.dosage_grid, self.dosage_max) == (reader.dosage_grid, reader.dosage_max)
        )

    def read(self, start: int, stop: int) -> GenotypeBlock:
        raise UsageError("only the encrypted genotypes are here: give --bfile as well")


def _block_name(index: int) -> str:
    return f"{index:06d}"


def _make_folder(folder: Path, mode: int) -> None:
    """A folder that is private, mode 0700, or for others, 0755 where the umask allows it."""
    make_folder(folder, PRIVATE_FOLDER if mode == PRIVATE_FOLDER else FOLDER_FOR_OTHERS)
    try:
        if mode == PRIVATE_FOLDER:
            os.chmod(folder, mode)
    except OSError as error:
        raise StorageError(f"cannot change the mode of {folder}: {error.strerror}") from None


def _encrypt_one(
    block: GenotypeBlock, index: int, key: SecretKey, encryptor: Encryptor, folder: Path, squares: bool
) -> dict[str, Any]:
    """Encrypt the streams of one block; returns its manifest part."""
    p = key.public.parameters
    streams = {"g": block.dosage}
    if block.missing is not None:
        streams["m"] = block.missing.view(np.int8)
    if squares:
        streams["q"] = block.dosage.astype(np.int32) ** 2  # 4D² needs 28 bits

    def encrypt(job: tuple[str, int]) -> list[dict[str, Any]]:
        stream, c = job
        first, count = chunks(p)[c]
        made = encryptor.strands(codec.genotype_messages(streams[stream], first, count, p), p.genotype_scale)
        return write_ciphertexts(folder, f"{stream}-{_block_name(index)}-{c:04d}", made)

    jobs = [(stream, c) for stream in streams for c in range(len(chunks(p)))]
    written: dict[str, list[Any]] = {stream: [] for stream in streams}
    for (stream, _), entries in zip(jobs, in_threads(encrypt, jobs), strict=True):
        written[stream].append(entries)
    return {"variants": len(block), "streams": written}


def _still_valid(folder: Path, part: dict[str, Any]) -> bool:
    for stream in part["streams"].values():
        for entry in (e for chunk in stream for e in chunk):
            path = folder / entry["name"]
            if not path.is_file() or path.stat().st_size != entry["size"]:
                return False
            if artefact.digest_file(path) != entry["blake3"]:
                return False
    return True


def encrypt_cohort(
    reader: GenotypeReader,
    key: SecretKey,
    folder: Path,
    state: OwnerState,
    *,
    encryptor: Encryptor,
    squares: bool = False,
    progress: Progress = no_progress,
) -> CohortInfo:
    """Encrypt every genotype of `reader` into `folder` and keep the checks in `state`.

    Raises DesignError when the cohort is not the one that was planned (samples, dosage range), KeyFileError when the key
    is retired, StorageError before anything is written when it cannot fit on the disk.
    """
    _check_planned(reader, key, squares)
    refuse_retired(key, state.folder)
    _make_folder(folder, 0o755)
    _make_folder(state.folder, 0o700)
    size = _least_bytes(reader, key.public.parameters, squares, encryptor)
    require_space(folder, size - sum(f.stat().st_size for f in folder.glob("*.npy")))
    with state.alone():
        return _encrypt_blocks(reader, key, folder, state, encryptor=encryptor, squares=squares, progress=progress)


def _check_planned(reader: GenotypeReader, key: SecretKey, squares: bool) -> None:
    p, planned = key.public.parameters, key.planned
    stored_max = reader.dosage_max**2 if squares else reader.dosage_max
    if len(reader.samples) == p.samples and stored_max <= p.dosage_max:
        return
    names = f" ({', '.join(planned.phenotypes)}: {', '.join(planned.models)})" if planned and planned.phenotypes else ""
    squared = ", since it stores squares: a score test (logistic) or --squares needs them" if squares else ""
    raise DesignError(
        f"the key was planned for {p.samples} samples and stored values up to {p.dosage_max}{names}; this cohort has "
        f"{len(reader.samples)} and {stored_max}{squared}: plan again with all phenotypes of this run"
    )


def _encrypt_blocks(
    reader: GenotypeReader, key: SecretKey, folder: Path, state: OwnerState, *, encryptor: Encryptor, squares: bool,
    progress: Progress,
) -> CohortInfo:  # fmt: skip
    p = key.public.parameters
    earlier = state.cohort_digest()
    for stale in (folder / artefact.MANIFEST, state.folder / "cohort.box"):
        stale.unlink(missing_ok=True)
    for left_by_a_kill in (*folder.glob(".*.npy.*"), *state.folder.glob(".*.box.*")):
        left_by_a_kill.unlink()
    cohort_id = hashlib.sha256(
        canonical([key.public.fingerprint, reader.variants.digest(), squares, encryptor.name, artefact.FORMAT_VERSION])
    ).hexdigest()
    total = -(-len(reader.variants) // p.block_variants)
    parts, identities = [], []
    for index, block in enumerate(iterate_blocks(reader, p.block_variants)):
        identity = state.identity(cohort_id, index, block)
        part = _resume(state, folder, index, identity)
        if part is None:
            for stale in folder.glob(f"?-{_block_name(index)}-*"):
                stale.unlink()
            part = _encrypt_one(block, index, key, encryptor, folder, squares)
            r = verify.block_secrets(key, cohort_id, index, len(block))
            h = verify.block_check(r, block.dosage, block.missing, squares)
            state.write(f"block-{_block_name(index)}", {"identity": identity, "part": part}, {"h": h})
        parts.append(part)
        identities.append(identity)
        progress(index + 1, total)
    body = {
        "key": key.public.fingerprint, "public": key.public.to_json(), "cohort_id": cohort_id, "samples": p.samples,
        "variants": len(reader.variants), "dosage_grid": reader.dosage_grid, "squares": squares,
        "encryptor": encryptor.name, "blocks": parts,
    }  # fmt: skip
    digest = artefact.write_manifest(folder, "cohort", body, key)
    with_missing = [i for i, part in enumerate(parts) if "m" in part["streams"]]
    v = reader.variants
    header = {
        "digest": digest, "cohort_id": cohort_id, "dosage_grid": reader.dosage_grid, "dosage_max": reader.dosage_max,
        "missing": with_missing, "squares": squares, "encryptor": encryptor.name, "identities": identities,
    }  # fmt: skip
    state.forget_others(digest, earlier)
    text = {name: getattr(v, name).astype(str) for name in ("chromosome", "id", "effect_allele", "other_allele")}
    people = {"fid": reader.samples.fid.astype(str), "iid": reader.samples.iid.astype(str)}
    state.write("cohort", header, {"position": v.position, "founder": reader.samples.founder, **text, **people})
    return CohortInfo(
        digest, cohort_id, reader.samples, v, reader.dosage_grid, reader.dosage_max, tuple(with_missing), squares, encryptor.name,
        tuple(identities),
    )  # fmt: skip


def _least_bytes(reader: GenotypeReader, p: Parameters, squares: bool, encryptor: Encryptor) -> int:
    """Of the files of a cohort without missing calls: those of their blocks come on top."""
    blocks, rest = divmod(len(reader.variants), p.block_variants)
    strands = blocks * codec.strands_of(p.block_variants, p) + (codec.strands_of(rest, p) if rest else 0)
    halves = 1 if shares_public_half(encryptor.name) else 2
    return strands * halves * (1 + squares) * p.groups * len(p.ring.primes) * p.ring.n * 4


def _resume(state: OwnerState, folder: Path, index: int, identity: str) -> dict[str, Any] | None:
    if not (state.folder / f"block-{_block_name(index)}.box").exists():
        return None
    try:
        header, _ = state.read(f"block-{_block_name(index)}")
    except ArtefactError:
        return None
    return header["part"] if header["identity"] == identity and _still_valid(folder, header["part"]) else None


def read_info(state: OwnerState) -> CohortInfo:
    """The owner's record of a cohort encrypted earlier. Raises ArtefactError when it was not encrypted to the end."""
    if not (state.folder / "cohort.box").exists() and any(state.folder.glob("block-*.box")):
        raise ArtefactError(f"the encryption of the cohort of {state.folder} was not finished: run it again")
    header, a = state.read("cohort")
    text = lambda name: a[name].astype(object)  # noqa: E731
    variants = Variants(
        text("chromosome"), a["position"], text("id"), text("effect_allele"), text("other_allele")
    )  # fmt: skip
    samples = Samples(text("fid"), text("iid"), a["founder"])
    return CohortInfo(
        header["digest"], header["cohort_id"], samples, variants, header["dosage_grid"],
        header.get("dosage_max", 2 * header["dosage_grid"]), tuple(header["missing"]),
        header["squares"], header["encryptor"], tuple(header.get("identities", ())),
    )  # fmt: skip


def block_check(state: OwnerState, info: CohortInfo, index: int) -> np.ndarray:
    """h of one block of this cohort, (3, N) uint64. Raises ArtefactError when the block was encrypted anew since."""
    header, arrays = state.read(f"block-{_block_name(index)}")
    if info.identities and header["identity"] != info.identities[index]:
        raise ArtefactError(f"{state.folder}: block {index} was encrypted again since: run the encryption to its end")
    return arrays["h"]


@dataclass(frozen=True)
class EncryptedCohort:
    """Server side: a checked, signed cohort. There is no way from here to a secret key."""

    folder: Path
    body: dict[str, Any]
    public: PublicKey
    digest: str

    @property
    def parameters(self) -> Parameters:
        return self.public.parameters

    @property
    def blocks(self) -> list[dict[str, Any]]:
        return self.body["blocks"]

    @property
    def shared(self) -> bool:
        """Whether the strands of a group share their public half."""
        return shares_public_half(self.body["encryptor"])

    def strands(self, block: int) -> int:
        """How many strands a block has: the last may have fewer than the others."""
        return codec.strands_of(self.blocks[block]["variants"], self.parameters)

    def read_into(self, block: int, stream: str, chunk: int, c0: np.ndarray, c1: np.ndarray) -> None:
        """Ciphertexts of one chunk of one block into arrays c0 (k, T, G, S, L) and c1 (k, T, G, 1 or S, L) uint32.

        With one strand the axis S may be left out.
        """
        p, strands = self.parameters, self.strands(block)
        shape = ciphertext_shape(p, chunks(p)[chunk][1], strands)
        public = ciphertext_shape(p, chunks(p)[chunk][1], 1 if self.shared else strands)
        entries = self.blocks[block]["streams"][stream][chunk]
        read_ciphertexts(self.folder, entries, p.ring, c0.reshape(shape), c1.reshape(public))

    def rows(self, block: int, stream: str, chunk: int) -> tuple[np.ndarray, np.ndarray]:
        """What one chunk of one block is multiplied as: public halves (k, T, G, 1 or S, L), strands (k, T, G, S, L).

        Read-only maps of the files, where there are files.
        """
        p, strands = self.parameters, self.strands(block)
        groups, entries = chunks(p)[chunk][1], self.blocks[block]["streams"][stream][chunk]
        c0 = artefact.map_array(self.folder, entries[0], ciphertext_shape(p, groups, strands))
        if len(entries) == 2:
            return artefact.map_array(self.folder, entries[1], c0.shape), c0
        a = expand_uniform(bytes.fromhex(entries[0]["seed"]), groups, p.ring, threads=1)
        return a[:, :, :, None], c0

    def stored(self) -> Iterator[dict[str, Any]]:
        for part in self.blocks:
            for stream in part["streams"].values():
                for chunk in stream:
                    yield from chunk


def open_cohort(folder: Path) -> EncryptedCohort:
    """Open a folder that an owner sent. Raises ArtefactError unless it is complete, whole and signed."""
    found = artefact.open_manifest(folder, "cohort")
    with artefact.found_in(folder):
        public = PublicKey.from_json(found.body.get("public"))
    body = found.checked(bodies.COHORT)
    found.require_signature(public)
    with artefact.found_in(folder):
        bodies.check_cohort(body, public.parameters)
    return EncryptedCohort(folder, body, public, found.digest)
