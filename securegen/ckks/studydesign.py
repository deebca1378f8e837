"""The encrypted design: phenotype and covariate columns for one cohort, and the owner's key to reading the sums.

PREFIX.design/ goes to the server: ciphertexts of the columns, and of Σ g² where the owner knows the sample set and the
cohort has no g² stream. Its manifest is signed and names the cohort and a nonce. What the sums mean (scales, Gram
matrix, expected checks) stays with the owner.

The columns of a group of samples are strands (see `strands`): with the own encryptor they share their public half. What
the server returns for every block is in `layout`: products of a stream and a column, additions of a stream where a column
is 1 for every stored sample (public), and the owner's own Σ g², as they were sent.

Who learns what: the server learns how many columns there are, and which are 1 for everybody; nothing about a value.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from securegen.ckks import artefact, bodies, codec, cohort, verify
from securegen.ckks.codec import chunks, ciphertext_shape
from securegen.ckks.cohort import CohortInfo, OwnerState, Progress, no_progress
from securegen.ckks.encryption import Ciphertexts, Encryptor, shares_public_half
from securegen.ckks.keys import PublicKey, SecretKey
from securegen.ckks.layout import Output, outputs
from securegen.ckks.parameters import Parameters
from securegen.design import Analysis, Design, LinearModel
from securegen.design_binary import CountModel, QcModel, ScoreModel
from securegen.errors import ArtefactError, DesignError, UsageError
from securegen.kernels.integer_sums import squared_sums
from securegen.kernels.threads import in_threads
from securegen.model import GenotypeReader, iterate_blocks

MODELS = {m.__name__: m for m in (LinearModel, ScoreModel, CountModel, QcModel)}


@dataclass(frozen=True)
class DesignSecrets:
    """What the owner needs to read results: the analyses, bounds of the sums, and the checks of every block's outputs.

    sum_abs: (J,) int64, Σ_i |c_ik|; checks: for every block, (outputs,) uint64 in the order of `outputs`.
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
    Raises DesignError when the columns do not fit the planned parameters.
    """
    p = key.public.parameters
    columns = design.columns
    _check_columns(columns.values, p)
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
            own = squared_sums(next(parts).dosage, columns.values[:, columns.squared_index]).T
            # at the scale of one factor: a sum of weighted squares may exceed what a product is planned for
            block = encryptor.strands(codec.value_messages(own, p)[None], p.genotype_scale)
            squares.append(cohort.write_ciphertexts(folder, f"squares-{index:06d}", block))
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
        encryptor.name,
    )  # fmt: skip
    _save(state, hidden, str(folder.resolve()))
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
    h = cohort.block_check(state, index)
    per_stream = {s: verify.expected_check(h[i], values) for i, s in enumerate(("g", "m", "q"))}
    if own is not None:
        size = own.shape[1]
        r = verify.block_secrets(key, info.cohort_id, index, size)
        owner = dict(zip((j for j, s in enumerate(squared) if s), verify.dot(r, own.T.copy()), strict=True))
    wanted = outputs(ones, squared, info.streams(index))
    return np.array([owner[o.column] if o.kind == "owner" else per_stream[o.stream][o.column] for o in wanted], "u8")


def _state_name(digest: str) -> str:
    return f"design-{digest[:32]}"


def _save(state: OwnerState, s: DesignSecrets, folder: str) -> None:
    """Keep the record of a design; the one that was in the same folder before is forgotten, and so are its results."""
    analyses = [{**asdict(a), "kind": type(a.model).__name__} for a in s.analyses]
    header = {
        "digest": s.digest, "cohort": s.cohort_digest, "nonce": s.nonce, "analyses": analyses,
        "public_ones": list(s.public_ones), "squared": list(s.squared), "blocks": [len(c) for c in s.checks],
        "folder": folder, "encryptor": s.encryptor,
    }  # fmt: skip
    for box in state.folder.glob("design-*.box"):
        with contextlib.suppress(ArtefactError):  # of an earlier key
            if state.read(box.stem)[0]["folder"] == folder:
                box.unlink()
    state.write(
        _state_name(s.digest), header, {"sum_abs": s.sum_abs, "checks": np.concatenate(s.checks).astype(np.uint64)}
    )


def _tuples(value: Any) -> Any:
    return tuple(_tuples(v) for v in value) if isinstance(value, list) else value


def read_secrets(state: OwnerState, results: Path) -> DesignSecrets:
    """The owner's record of the design that a results folder names. Raises ArtefactError when there is none."""
    digest = artefact.read_manifest(results, "results", None, bodies.RESULTS)["design"]
    if not (state.folder / f"{_state_name(digest)}.box").is_file():
        raise ArtefactError(f"{results} was computed from another cohort or design than those encrypted here")
    header, a = state.read(_state_name(digest))
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
        return self._read(self.body["columns"][chunk], chunks(self.public.parameters)[chunk][1], self.encrypted)

    def read_squares(self, block: int, count: int) -> Ciphertexts:
        """The owner's Σ g² of one block, `count` ciphertexts: (k, T, 1, C, L) and (k, T, 1, 1 or C, L)."""
        return self._read(self.body["squares"][block], 1, count)

    def _read(self, entries: list[dict[str, Any]], groups: int, count: int) -> Ciphertexts:
        p = self.public.parameters
        c0 = artefact.load_array(self.folder, entries[0], ciphertext_shape(p, groups, count))
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
