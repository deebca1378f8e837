"""The key holder: encrypted results -> verified integer sums.

Nothing decrypted leaves this module before its block passed all checks: the right cohort, design and nonce; every
coefficient within the planned noise of an integer; every sum in its range; the linear check of `verify`. Which check
failed, where, and the measured noise stay here: the error is one fixed sentence, and the key is retired before it leaves.
The owner says which design is opened; results that name another are refused, however honest they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from securegen.engines.ckks import artefact, bodies, codec
from securegen.engines.ckks.ciphertexts import shares_public_half
from securegen.engines.ckks.column_digits import joined
from securegen.engines.ckks.layout import BlockLayout, Output, block_layout, products
from securegen.engines.ckks.owner import verify
from securegen.engines.ckks.owner.absent import summed
from securegen.engines.ckks.owner.design_secrets import AGAIN, DesignSecrets, all_designs
from securegen.engines.ckks.owner.encryption import keys_at, strand_keys
from securegen.engines.ckks.owner.retirement import guarded
from securegen.engines.ckks.owner.secret_key import SecretKey
from securegen.engines.ckks.owner.state import CohortInfo, OwnerState, block_arrays
from securegen.engines.ckks.parameters import Parameters
from securegen.errors import ArtefactError, VerificationError
from securegen.io.folder import FilePart, Folder
from securegen.io.folders import Place, folder_of
from securegen.kernels.crt import unpack_sums
from securegen.kernels.fold import open_products
from securegen.kernels.ntt import inverse
from securegen.model import Sums
from securegen.rlwe.residues import ring_tables


def results_layout(
    key: SecretKey, info: CohortInfo, secrets: DesignSecrets, index: int
) -> tuple[list[Output], BlockLayout]:
    """The outputs of a block and where they lie in its file."""
    p = key.public.parameters
    wanted = secrets.sets.outputs(secrets.sets.of(index), info.streams(index))
    return wanted, block_layout(
        p, wanted, info.blocks[index], shared_genotypes=shares_public_half(info.encryptor),
        shared_columns=shares_public_half(secrets.encryptor),
    )  # fmt: skip


def insecure_decrypt_unverified(
    array: np.ndarray, key: SecretKey, info: CohortInfo, secrets: DesignSecrets, index: int
) -> tuple[np.ndarray, np.ndarray]:
    """Decrypt the results of one block WITHOUT verification: (outputs, V) int64 sums, and (outputs,) largest noise.

    array: (k, words) as `layout` has it. A crafted result makes these numbers spell the secret key: never let them leave.
    """
    p = key.public.parameters
    if (array >= np.array(p.ring.primes, np.uint32)[:, None]).any():
        raise ArtefactError("a result holds residues that are not below their prime")
    wanted, layout = results_layout(key, info, secrets, index)
    parts = layout.split(array)
    variants = info.blocks[index]
    number, found = secrets.sets.of(index), dict[tuple[str, int], tuple[np.ndarray, float]]()
    for stream in ("g", "m", "q"):
        if (stream, "sums") not in parts:
            continue
        hidden = products(wanted, stream)
        sums, right, left, both = (parts[stream, name] for name in ("sums", "right", "left", "both"))
        strands, columns = sums.shape[1:3]
        strand_keys_, column_keys = (
            strand_keys(info.encryptor, key, strands),
            _column_keys(key, secrets, number, hidden),
        )
        opened = open_products(
            sums, right, left, both, strand_keys_, column_keys, p.pack, p.ring.primes
        )  # (S, J, k, n/b)
        scales = [p.result_scale] * len(hidden) + [p.genotype_scale] * (columns - len(hidden))
        for j, scale in enumerate(scales):
            values, noise = _rounded(opened[:, j], scale, p, p.widths, variants)
            used = (
                [hidden[j]]
                if j < len(hidden)
                else [o.column for o in wanted if (o.stream, o.kind) == (stream, "addition")]
            )
            found |= {(stream, column): (values, noise) for column in used}
    if ("o", "values") in parts:
        owner = [o.column for o in wanted if o.kind == "owner"]
        values, noise = _open_values(parts["o", "values"], parts["o", "halves"], key, secrets, len(owner) * variants)
        found |= {
            ("o", column): (row, noise) for column, row in zip(owner, values.reshape(len(owner), -1), strict=True)
        }
    values = np.array([found[o.stream, o.column][0] for o in wanted], np.int64).reshape(len(wanted), variants)
    return values, np.array([found[o.stream, o.column][1] for o in wanted])


def _column_keys(key: SecretKey, secrets: DesignSecrets, number: int, columns: Sequence[int]) -> np.ndarray:
    """Keys of these columns of a set, (J, k, n): a column's strand is its place among all that are encrypted."""
    strand = np.cumsum([not one for one in secrets.sets.public_ones]) - 1
    strands = [int(strand[secrets.sets.sets[number][i]]) for i in columns]
    return np.ascontiguousarray(keys_at(secrets.encryptor, key, strands))


def _rounded(
    messages: np.ndarray, scale: int, p: Parameters, widths: Sequence[int], used: int
) -> tuple[np.ndarray, float]:
    """(C, k, X) residues of coefficients, each of digits of these widths -> the first `used` of the integers, and the largest
    noise; 1 if the rest is not zero."""
    flat = np.ascontiguousarray(messages.transpose(1, 0, 2)).reshape(len(p.ring.primes), -1)
    digits, distance = unpack_sums(flat, p.ring.primes, scale, widths)
    values = codec.in_file_order(digits, p) if len(widths) > 1 else digits[:, 0]
    return values[:used], 1.0 if values[used:].any() else float(distance.max(initial=0))


def _open_values(
    values: np.ndarray, halves: np.ndarray, key: SecretKey, secrets: DesignSecrets, used: int
) -> tuple[np.ndarray, float]:
    """The owner's own ciphertexts, (k, C, n) and (k, A, n) -> integers, one after the other."""
    p = key.public.parameters
    modulus = np.array(p.ring.primes, np.uint64)[:, None]
    keys = strand_keys(secrets.encryptor, key, values.shape[1])
    c0, c1 = (np.moveaxis(part, 0, 1).astype(np.uint64) for part in (values, halves))
    messages = np.ascontiguousarray((c0 + c1 * keys % modulus) % modulus)
    inverse(messages, ring_tables(p.ring))
    return _rounded(messages, p.genotype_scale, p, (62,), used)


def decrypt_block(
    array: np.ndarray, index: int, key: SecretKey, info: CohortInfo, secrets: DesignSecrets,
    absent: dict[str, np.ndarray] | None = None,
) -> Sums:  # fmt: skip
    """Verified sums of one block. absent: its missing calls, where the owner keeps them. Raises VerificationError (fixed text)
    when any check fails."""
    p = key.public.parameters
    number = secrets.sets.of(index)
    wanted = secrets.sets.outputs(number, info.streams(index))
    sums, noise = insecure_decrypt_unverified(array, key, info, secrets, index)
    variants = sums.shape[1]
    largest = np.array([_bound(o, number, secrets, info) for o in wanted], dtype=object)
    in_range = all(
        -top <= int(row.min(initial=0)) and int(row.max(initial=0)) <= top
        for row, top in zip(sums, largest, strict=True)
    )
    r = verify.block_secrets(key, info.cohort_id, index, variants)
    checked = verify.passes(r, np.ascontiguousarray(sums.T), secrets.checks[index])
    # all checks are made before any is looked at
    if not (in_range and checked and bool((noise <= p.noise_bound).all())):
        raise VerificationError
    own, columns = secrets.sets.sets[number], secrets.strata[number].design.columns
    g, m, q = (np.zeros((variants, len(own)), np.int64) for _ in range(3))
    for o, row in zip(wanted, sums, strict=True):
        {"g": g, "m": m, "q": q, "o": q}[o.stream][:, o.column] = row
    if secrets.columns is not None and (found := summed(absent or {}, secrets.columns[list(own)])) is not None:
        m = found
    place = [own.index(j) for j in secrets.places[number]]
    g, m, q = (joined(sums, place, secrets.digits[number], p) for sums in (g, m, q))
    return Sums(int(info.starts[index]), g, m, np.ascontiguousarray(q[:, list(columns.squared_index)]))


def _bound(o: Output, number: int, secrets: DesignSecrets, info: CohortInfo) -> int:
    """Largest |sum| that honest data can give."""
    column = secrets.sets.sets[number][o.column]
    return verify.largest_sum(secrets.sum_abs[column], o.stream, info.dosage_max)


def decrypt(
    folder: Place, state: OwnerState, info: CohortInfo, secrets: DesignSecrets, *, key_still_trusted: bool = False
) -> Iterator[Sums]:
    """Yield the verified sums of every block, in file order. secrets: of the design that the owner names.

    Raises ArtefactError when files are damaged or the results are not of this cohort and design, PlanError when sums of
    the design are too large to be verified, VerificationError when a block fails verification (the key is then retired),
    KeyFileError when the key is retired; key_still_trusted: decrypt all the same.
    """
    key = state.key
    verify.check_bounds(secrets.sum_abs, secrets.sets.squared, info.dosage_max)
    with guarded(key, state.folder, str(folder), key_still_trusted=key_still_trusted):
        yield from _decrypt(folder_of(folder), key, info, secrets, state)


def _decrypt(
    folder: Folder, key: SecretKey, info: CohortInfo, secrets: DesignSecrets, state: OwnerState
) -> Iterator[Sums]:
    body = artefact.read_manifest(folder, "results", None, bodies.RESULTS)
    if body["key"] != key.public.fingerprint:
        raise ArtefactError(f"{folder} belongs to another key")
    bound_to = (body["cohort"], body["design"], body["nonce"])
    # the cohort as it is now: results of an earlier version of it are old, although its design is still known
    if bound_to != (info.digest, secrets.digest, secrets.nonce):
        if (before := info.before(body["cohort"])) is not None:
            raise ArtefactError(f"{folder} was computed from {before.line()}. {AGAIN}")
        if info.without and body["cohort"] != info.digest:
            raise ArtefactError(
                f"{folder} was computed from another cohort than the one of {state.folder}: people who withdrew "
                f"were taken out of it on {info.without[-1]}. {AGAIN}"
            )
        raise ArtefactError(
            f"{folder} was computed from another cohort or design than the one to open here: {secrets.line()}"
            + _instead(state, body["design"])
        )
    blocks = body["blocks"]
    if len(blocks) != len(secrets.checks):
        raise ArtefactError(f"{folder} has {len(blocks)} blocks, {len(secrets.checks)} expected")
    sizes = (artefact.array_bytes(results_layout(key, info, secrets, i)[1].shape) for i in range(len(blocks)))
    order = (FilePart(entry["name"], size, 0, size) for entry, size in zip(blocks, sizes, strict=True))
    with folder.ahead(order):
        for index, entry in enumerate(blocks):
            _, layout = results_layout(key, info, secrets, index)
            array = artefact.load_array(folder, entry, layout.shape)
            absent = None if secrets.columns is None else block_arrays(state, info, index)
            yield decrypt_block(array, index, key, info, secrets, absent)


def _instead(state: OwnerState, named: object) -> str:
    """Which other design the results name, where the owner knows it."""
    found = [s for s in all_designs(state) if s.digest == named]
    return (
        f". They are of {found[0].line()}: if that is what you want, give `design` {found[0].folder}" if found else ""
    )
