"""The encrypted design: phenotype and covariate columns for one cohort, and the owner's key to reading the sums.

PREFIX.design/ goes to the server: ciphertexts of the columns, and of Σ g² where the owner knows the sample set and the
cohort has no g² stream. Its manifest is signed and names the cohort and a nonce. What the sums mean (scales, Gram
matrix, expected checks) stays with the owner.

The columns of a group of samples are strands (see `strands`): with the own encryptor they share their public half. What
the server returns for every block is in `layout`: products of a stream and a column, additions of a stream where a column
is 1 for every stored sample (public), and the owner's own Σ g², as they were sent.

Results are read with the design that the owner names: by its folder or the digest that `encrypt` printed. What a server
returns never chooses it.

Who learns what: the server learns how many columns there are, and which are 1 for everybody; nothing about a value.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from securegen.design.binary import CountModel, QcModel, ScoreModel
from securegen.design.linear import Analysis, Design, LinearModel
from securegen.engines.ckks import artefact, bodies, codec, cohort
from securegen.engines.ckks.codec import chunks, ciphertext_shape
from securegen.engines.ckks.cohort import CohortInfo, OwnerState, Progress, no_progress
from securegen.engines.ckks.encryption import Ciphertexts, Encryptor, shares_public_half
from securegen.engines.ckks.keys import PublicKey, SecretKey
from securegen.engines.ckks.layout import Output, outputs
from securegen.engines.ckks.owner import verify
from securegen.engines.ckks.owner.retirement import refuse_retired
from securegen.engines.ckks.parameters import Parameters
from securegen.errors import ArtefactError, DesignError, UsageError
from securegen.kernels.integer_sums import squared_sums
from securegen.kernels.threads import in_threads
from securegen.model import GenotypeReader, iterate_blocks

MODELS = {m.__name__: m for m in (LinearModel, ScoreModel, CountModel, QcModel)}


@dataclass(frozen=True)
class DesignSecrets:
    """What the owner needs to read results: the analyses, bounds of the sums, and the checks of every block's outputs.

    sum_abs: (J,) int64, Σ_i |c_ik|; checks: for every block, (outputs,) uint64 in the order of `outputs`; folder: where it
    was written; encrypted: when, local time.
    """

    digest: str
    cohort_digest: str
    nonce: str
    analyses: tuple[Analysis, ...]
    public_ones: tuple[bool, ...]
    squared: tuple[bool, ...]
    sum_abs: np.ndarray
    checks: list[np.ndarray]
    encryptor: str
    folder: str
    encrypted: str

    def record(self) -> dict[str, Any]:
        """What log, run.json and receipt say of the design."""
        tests = [a for a in self.analyses if a.test != "qc"]
        covariates = dict.fromkeys(name for a in tests for name in a.model.covariates)
        return {
            "digest": self.digest, "phenotypes": [a.phenotype for a in tests], "samples": [a.model.samples for a in tests],
            "covariates": list(covariates), "encrypted": self.encrypted,
        }  # fmt: skip

    def line(self) -> str:
        """The same in one line."""
        r = self.record()
        counts = zip(r["phenotypes"], r["samples"], strict=True)
        traits = ", ".join(f"{name} ({n} samples)" for name, n in counts) or "quality control"
        covariates = ", ".join(r["covariates"]) or "none"
        return f"design {self.digest[:16]}, {traits}, covariates {covariates}, encrypted {self.encrypted}"


def encrypt_design(
    design: Design,
    key: SecretKey,
    info: CohortInfo,
    state: OwnerState,
    folder: Path,
    *,
    encryptor: Encryptor,
    reader: GenotypeReader | None = None,
    progress: Progress = no_progress,
) -> DesignSecrets:
    """Encrypt the columns of `design` into `folder`; keep what reads the results in `state`.

    reader: the genotypes, needed where Σ g² is and the cohort was encrypted without squares.
    Raises DesignError when the columns do not fit the planned parameters, PlanError when a sum would be too large to be
    verified, ArtefactError when `reader` does not have the genotypes that were encrypted, KeyFileError when the key is
    retired.
    """
    refuse_retired(key, state.folder)
    _check_columns(design.columns.values, key.public.parameters)
    verify.check_bounds(np.abs(design.columns.values).sum(0), design.columns.squared, info.dosage_max)
    with state.alone():
        return _encrypt(design, key, info, state, folder, encryptor, reader, progress)


def _encrypt(
    design: Design, key: SecretKey, info: CohortInfo, state: OwnerState, folder: Path, encryptor: Encryptor,
    reader: GenotypeReader | None, progress: Progress,
) -> DesignSecrets:  # fmt: skip
    p = key.public.parameters
    columns = design.columns
    _forget(state, str(folder.resolve()))
    cohort._make_folder(folder, 0o755)
    for stale in (folder / artefact.MANIFEST, *folder.glob("*.npy"), *folder.glob(".*.npy.*")):
        stale.unlink(missing_ok=True)
    ones = tuple(columns.is_ones(j) for j in range(len(columns.names)))
    encrypted = [j for j, public in enumerate(ones) if not public]
    owner_squares = any(columns.squared) and not info.squares
    if owner_squares and reader is None:
        raise UsageError("the cohort was encrypted without --squares: give the genotypes (--bfile) with the design")

    def encrypt(c: int) -> list[dict[str, Any]]:
        first, count = chunks(p)[c]
        block = encryptor.strands(codec.design_messages(columns.values[:, encrypted], first, count, p), p.design_scale)
        return cohort.write_ciphertexts(folder, f"columns-{c:04d}", block)

    entries = in_threads(encrypt, range(len(chunks(p)))) if encrypted else []
    progress(len(entries), len(chunks(p)))
    squares, checks = [], []
    blocks = -(-len(info.variants) // p.block_variants)
    parts = iterate_blocks(reader, p.block_variants) if owner_squares and reader is not None else None
    for index in range(blocks):
        own = None
        if parts is not None:
            block = next(parts)
            if info.identities and state.identity(info.cohort_id, index, block) != info.identities[index]:
                raise ArtefactError("these are not the genotypes that were encrypted: give the same files and filters")
            own = squared_sums(block.dosage, columns.values[:, columns.squared_index]).T
            # at the scale of one factor: a sum of weighted squares may exceed what a product is planned for
            made = encryptor.strands(codec.value_messages(own, p)[None], p.genotype_scale)
            squares.append(cohort.write_ciphertexts(folder, f"squares-{index:06d}", made))
        checks.append(_expected(key, info, state, index, columns.values, ones, columns.squared, own, p))
    nonce = secrets.token_hex(16)
    body = {
        "key": key.public.fingerprint, "cohort": info.digest, "nonce": nonce, "samples": p.samples,
        "public_ones": list(ones), "squared": list(columns.squared), "columns": entries, "squares": squares,
        "encryptor": encryptor.name,
    }  # fmt: skip
    digest = artefact.write_manifest(folder, "design", body, key)
    hidden = DesignSecrets(
        digest, info.digest, nonce, design.analyses, ones, columns.squared, np.abs(columns.values).sum(0), checks,
        encryptor.name, str(folder.resolve()), time.strftime("%Y-%m-%d %H:%M:%S"),
    )  # fmt: skip
    _save(state, hidden)
    return hidden


def _check_columns(values: np.ndarray, p: Parameters) -> None:
    if len(values) != p.samples:
        raise DesignError(f"the design has {len(values)} samples, the plan {p.samples}")
    norms = np.sqrt((values.astype(np.float64) ** 2).sum(0))
    if (norms > p.norm).any():
        raise DesignError(
            f"a design column has norm 2^{np.log2(norms.max()):.1f}, the plan allows 2^{np.log2(p.norm):.1f}: plan again "
            "with this design"
        )


def _expected(key, info, state, index, values, ones, squared, own, p) -> np.ndarray:
    """Check of every output of one block, (outputs,) uint64."""
    h = cohort.block_check(state, info, index)
    per_stream = {s: verify.expected_check(h[i], values) for i, s in enumerate(("g", "m", "q"))}
    if own is not None:
        size = own.shape[1]
        r = verify.block_secrets(key, info.cohort_id, index, size)
        owner = dict(zip((j for j, s in enumerate(squared) if s), verify.dot(r, own.T.copy()), strict=True))
    wanted = outputs(ones, squared, info.streams(index))
    return np.array([owner[o.column] if o.kind == "owner" else per_stream[o.stream][o.column] for o in wanted], "u8")


def _state_name(digest: str) -> str:
    return f"design-{digest[:32]}"


def _forget(state: OwnerState, folder: str) -> None:
    """Forget the design that was in the same folder before, and so its results."""
    for name in state.designs():
        with contextlib.suppress(ArtefactError):  # of an earlier key
            if state.read(name)[0]["folder"] == folder:
                (state.folder / f"{name}.box").unlink()


def _save(state: OwnerState, s: DesignSecrets) -> None:
    """Keep the record of a design."""
    analyses = [{**asdict(a), "kind": type(a.model).__name__} for a in s.analyses]
    header = {
        "digest": s.digest, "cohort": s.cohort_digest, "nonce": s.nonce, "analyses": analyses,
        "public_ones": list(s.public_ones), "squared": list(s.squared), "blocks": [len(c) for c in s.checks],
        "folder": s.folder, "encryptor": s.encryptor, "encrypted": s.encrypted,
    }  # fmt: skip
    state.write(
        _state_name(s.digest), header, {"sum_abs": s.sum_abs, "checks": np.concatenate(s.checks).astype(np.uint64)}
    )


def _tuples(value: Any) -> Any:
    return tuple(_tuples(v) for v in value) if isinstance(value, list) else value


def all_designs(state: OwnerState) -> list[DesignSecrets]:
    """Every design of the owner's folder that this key can read."""
    found = []
    for name in state.designs():
        with contextlib.suppress(ArtefactError):
            found.append(_read(state, name))
    return found


def is_known(state: OwnerState, folder: Path) -> bool:
    """Whether a design was encrypted into this folder, or one lies there."""
    return (folder / artefact.MANIFEST).exists() or any(s.folder == str(folder.resolve()) for s in all_designs(state))


def read_secrets(state: OwnerState, design: str | os.PathLike[str] | None = None) -> DesignSecrets:
    """The owner's record of a design. design: its folder, or its digest or the start of it; None where there is one only.

    Raises UsageError when there are several and none is named, ArtefactError when the owner's folder does not know it.
    """
    known, names = all_designs(state), state.designs()
    listed = "".join(f"\n  --design {s.folder}: {s.line()}" for s in known)
    if design is None:
        if len(names) > 1:
            raise UsageError(f"{state.folder} knows {len(names)} designs: say with --design which one to open{listed}")
        if names and not known:
            _read(state, names[0])  # says what is wrong with it
        if not known:
            raise ArtefactError(f"{state.folder} knows no design: encrypt one first")
        return known[0]
    found = [s for s in known if _is(s, design, state.key.public)]
    if len(found) != 1:
        which = "several designs" if found else "no such design; it knows" + (listed or " none")
        raise ArtefactError(f"--design {os.fspath(design)}: {state.folder} has {which}")
    written = _written(known, Path(design))
    if written is not None and written.digest != found[0].digest:
        raise ArtefactError(
            f"--design {os.fspath(design)}: there lies {found[0].line()}; what was encrypted into this folder is "
            f"{written.line()}. Whoever can write there must not choose: name the one you want by its digest"
        )
    return found[0]


def _written(known: Sequence[DesignSecrets], folder: Path) -> DesignSecrets | None:
    """The design that was encrypted into a folder of this name, whatever lies or is linked there now."""
    here = str(folder.parent.resolve() / folder.name)
    return next((s for s in known if s.folder == here), None)


def _is(s: DesignSecrets, design: str | os.PathLike[str], public: PublicKey) -> bool:
    """Whether this is the design in a folder; of one that is no longer here, by the folder's name; or by its digest."""
    folder = Path(design)
    if (folder / artefact.MANIFEST).exists():  # it may have been moved here
        artefact.read_manifest(folder, "design", public, bodies.DESIGN)
        return artefact.manifest_digest(folder) == s.digest
    named = os.fspath(design)
    return s.folder == str(folder.resolve()) or (len(named) >= 16 and s.digest.startswith(named))


def _read(state: OwnerState, name: str) -> DesignSecrets:
    header, a = state.read(name)
    analyses = tuple(
        Analysis(
            x["test"], x["phenotype"], tuple(x["columns"]), tuple(x["squares"]),
            MODELS[x["kind"]](**{k: _tuples(v) for k, v in x["model"].items()}),
        )
        for x in header["analyses"]
    )  # fmt: skip
    ends = np.cumsum(header["blocks"])[:-1]
    return DesignSecrets(
        header["digest"], header["cohort"], header["nonce"], analyses, tuple(header["public_ones"]),
        tuple(header["squared"]), a["sum_abs"], np.split(a["checks"], ends), header["encryptor"],
        header["folder"], header.get("encrypted", "at a time that was not recorded"),
    )  # fmt: skip


@dataclass(frozen=True)
class EncryptedDesign:
    """Server side: a checked, signed design."""

    folder: Path
    body: dict[str, Any]
    public: PublicKey
    digest: str

    @property
    def encrypted(self) -> int:
        """How many columns are ciphertexts."""
        return sum(not one for one in self.body["public_ones"])

    def outputs(self, streams: Sequence[str]) -> list[Output]:
        return outputs(self.body["public_ones"], self.body["squared"], streams)

    @property
    def shared(self) -> bool:
        """Whether the columns of a group share their public half."""
        return shares_public_half(self.body["encryptor"])

    def read_columns(self, chunk: int) -> Ciphertexts:
        """Both halves of the columns of one chunk, (k, T, G, J, L) and (k, T, G, 1 or J, L)."""
        groups, entries = chunks(self.public.parameters)[chunk][1], self.body["columns"][chunk]
        return self._read(entries, groups, self.encrypted)

    def read_squares(self, block: int, count: int) -> Ciphertexts:
        """The owner's Σ g² of one block, `count` ciphertexts: (k, T, 1, C, L) and (k, T, 1, 1 or C, L)."""
        return self._read(self.body["squares"][block], 1, count)

    def _read(self, entries: list[dict[str, Any]], groups: int, count: int) -> Ciphertexts:
        p = self.public.parameters
        c0 = artefact.map_array(self.folder, entries[0], ciphertext_shape(p, groups, count))
        if len(entries) == 2:
            c1 = artefact.map_array(self.folder, entries[1], ciphertext_shape(p, groups, 1 if self.shared else count))
            return Ciphertexts(c0, c1)
        c1 = np.empty(ciphertext_shape(p, groups, 1 if self.shared else count), np.uint32)
        cohort.read_second_halves(self.folder, entries, p.ring, c1)
        return Ciphertexts(c0, c1)


def open_design(folder: Path, public: PublicKey) -> EncryptedDesign:
    """Open a design that the cohort's owner sent. Raises ArtefactError unless it is whole and signed by that key."""
    found = artefact.open_manifest(folder, "design")
    body = found.checked(bodies.DESIGN)
    found.require_signature(public)
    with artefact.found_in(folder):
        bodies.check_design(body, public.parameters)
    return EncryptedDesign(folder, body, public, found.digest)
