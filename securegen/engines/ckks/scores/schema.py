"""What every message of the scores' protocols must look like: one pass over it before anything is allocated.

Sizes of arrays are bounded by the bytes that are there. Messages come from another party, or from the owner's own disk.
"""

from __future__ import annotations

import math
import os
from typing import Any

import numpy as np

from securegen.engines.ckks import artefact
from securegen.engines.ckks.keys import PublicKey
from securegen.engines.ckks.parameters import Parameters
from securegen.engines.ckks.scores.blinding import Blinding
from securegen.engines.ckks.scores.parameters import SUM_LIMIT
from securegen.errors import ArtefactError, PlanError, SecuregenError
from securegen.io.folders import Place, folder_of
from securegen.io.schema import (
    Check,
    Refused,
    hex_bytes,
    hex_text,
    integer,
    list_of,
    map_of,
    number,
    one_of,
    optional,
    record,
    score_name,
    text,
)

MAXIMUM_SAMPLES = 1 << 22
MOST_SCORES = 1 << 12
MOST_VARIANTS = 1 << 28
MOST_TEXT = 1 << 16  # characters of an id or allele

ENTRY = record(name=text(255, least=1), blake3=hex_text(32), size=integer(0, 1 << 44), may_have={"seed": text(64)})
_SHAPE = list_of(integer(0, MOST_VARIANTS), 1, 2)
NAMES = list_of(score_name, 1, MOST_SCORES)
EXPONENTS = list_of(integer(-1023, 1023), 1, MOST_SCORES)


def whole(low: int, high: int) -> Check:
    """A whole number written as text, since it may pass what other readers of JSON keep."""
    inner, most = integer(low, high), len(str(high)) + 1

    def check(value: object, where: str) -> int:
        if type(value) is not str or not value.lstrip("-").isdecimal() or not value.isascii() or len(value) > most:
            raise Refused(f"{where} is not a whole number from {low} to {high}")
        found: int = inner(int(value), where)
        return found

    return check


def dtype(value: object, where: str) -> str:
    """int64, or text of a fixed width."""
    if value == "<i8":
        return "<i8"
    width = value[2:] if isinstance(value, str) and value.startswith("<U") else ""
    if not (width.isdecimal() and width.isascii() and len(width) < 6 and 1 <= int(width) <= MOST_TEXT):
        raise Refused(f"{where} is not <i8 or <U1 to <U{MOST_TEXT}")
    return f"<U{int(width)}"


def parameters(value: object, where: str) -> Parameters:
    """`Parameters`, proven again."""
    try:
        return Parameters.from_json(value)
    except (SecuregenError, ArithmeticError, AttributeError, RecursionError) as error:
        raise Refused(f"{where}: {error}") from None


def public_key(value: object, where: str) -> PublicKey:
    """The public part of a key."""
    try:
        return PublicKey.from_json(value)
    except (SecuregenError, ArithmeticError, AttributeError, RecursionError) as error:
        raise Refused(f"{where}: {error}") from None


_BLINDING = record(
    scale=whole(1, 1023), flooding=whole(0, 1 << 1023), blur=whole(0, SUM_LIMIT), noise=whole(0, 1 << 1023)
)


def blinding(value: object, where: str) -> Blinding:
    """What is added to a reply, and rounds away."""
    try:
        return Blinding(**_BLINDING(value, where))
    except PlanError as error:
        raise Refused(f"{where}: {error}") from None


def _array(*dtypes: str) -> Check:
    """The entry of an array file, with its shape and, where it may be one of several, its dtype."""
    inner = record(
        name=text(255, least=1), blake3=hex_text(32), size=integer(0, 1 << 44), shape=_SHAPE,
        may_have={"seed": text(64), "dtype": dtype},
    )  # fmt: skip

    def check(value: object, where: str) -> dict[str, Any]:
        entry = inner(value, where)
        found = entry.setdefault("dtype", "<i8")
        if not found.startswith(dtypes):
            raise Refused(f"{where} has dtype {found}, expected {' or '.join(dtypes)}")
        whole: dict[str, Any] = entry
        return whole

    return check


_ROWS = record(variant=_array("<i8"), second=_array("<i8"))
_TEXT = _array("<U")
_ABOUT = {
    "names": NAMES, "exponent": EXPONENTS, "imputation": one_of("cohort", "file", "none"), "digits": integer(1, 17),
    "bound": whole(0, SUM_LIMIT - 1), "cap": integer(0, 1 << 53), "files": _ROWS,
}  # fmt: skip


def halves(value: object, where: str) -> list[dict[str, Any]]:
    """The files of ciphertexts: both halves, or the first and the seed of the second."""
    entries = list_of(ENTRY, 1, 2)(value, where)
    if len(entries) == 1:
        hex_bytes(16)(entries[0].get("seed"), f"{where}[0].seed")
    found: list[dict[str, Any]] = entries
    return found


FINGERPRINT = hex_text(32)
NONCE = hex_bytes(32)
_PLAN_ARRAYS = record(
    variant=_array("<i8"), dosage_weight=_array("<i8"), missing_weight=_array("<i8"), constant=_array("<i8"),
    may_have={"second_weight": _array("<i8")},
)  # fmt: skip

PLAN = record(
    names=NAMES, dosage_grid=integer(1, 1 << 14), imputation=one_of("cohort", "file", "none"), exponent=EXPONENTS,
    bound=list_of(whole(0, (1 << 63) - 1), 1, 3 * MOST_SCORES), error=list_of(number(0, 1e308), 1, MOST_SCORES),
    file_of=list_of(integer(0, MOST_SCORES), 1, MOST_SCORES),
    variants_of=list_of(integer(0, MOST_VARIANTS), 1, MOST_SCORES), left_out=integer(0, MOST_VARIANTS),
)  # fmt: skip


def record_of_plan(value: object, where: str) -> object:
    """Checked by `PLAN` where the plan is made, with its arrays."""
    PLAN(value, where)
    return value


MESSAGES: dict[str, dict[str, Check]] = {
    "score request": {
        "samples": integer(1, MAXIMUM_SAMPLES), "dosage_grid": integer(1, 1 << 14),
        "files": record(
            chromosome=_TEXT, id=_TEXT, effect_allele=_TEXT, other_allele=_TEXT, position=_array("<i8"),
            may_have={"counts": _array("<i8")},
        ),
    },
    "score invitation": {**_ABOUT, "parameters": parameters, "blinding": blinding, "nonce": NONCE},
    "score offer": {
        **_ABOUT, "blur": whole(0, SUM_LIMIT - 1), "rows": integer(1, MOST_VARIANTS),
        "batches": list_of(halves, 1, MAXIMUM_SAMPLES),
    },
    "blinded scores": {"batches": list_of(record(top=ENTRY, c1=ENTRY), 1, MAXIMUM_SAMPLES)},
    "rounded scores": {"rounded": ENTRY},
    "score replies": {
        "key": FINGERPRINT, "cohort": FINGERPRINT, "nonce": NONCE, "columns": integer(1, MOST_SCORES),
        "chunks": list_of(list_of(ENTRY, 2, 3), 1, MAXIMUM_SAMPLES),
    },
    "encryption key": {"key": FINGERPRINT, "public": public_key, "nonce": NONCE, "b": ENTRY},
    "encrypted model": {
        "files": map_of(ENTRY, 1 << 20), "columns": integer(1, MOST_SCORES), "rows": integer(1, MOST_VARIANTS),
        "nonce": NONCE, "own_nonce": NONCE, "blinding": blinding, "parameters": parameters,
    },
    "score model": {
        "key": FINGERPRINT, "plan": record_of_plan, "files": _PLAN_ARRAYS, "cohort_variants": optional(integer(1, MOST_VARIANTS)),
    },
    "scores": {
        "key": FINGERPRINT, "cohort": FINGERPRINT, "model": FINGERPRINT,
        "chunks": list_of(ENTRY, 1, MAXIMUM_SAMPLES),
    },
}  # fmt: skip


def open_message(folder: Place, role: str, key: PublicKey | None = None) -> tuple[dict[str, Any], str]:
    """The checked body of a message, and its digest; fields that a schema converts (nonces, parameters) are converted.

    Raises ArtefactError saying which field is not what it should be.
    """
    opened = artefact.open_manifest(folder, role)
    if key is not None:
        opened.require_signature(key)
    fields = {name: value for name, value in opened.body.items() if name not in ("magic", "version", "role")}
    try:
        return record(may_have=None, **MESSAGES[role])(fields, ""), opened.digest
    except Refused as problem:
        raise ArtefactError(f"{folder} is not a {role}: {problem}") from None


def read_message(folder: Place, role: str, key: PublicKey | None = None) -> dict[str, Any]:
    """The body alone. Raises as `open_message`."""
    return open_message(folder, role, key)[0]


def read_arrays(folder: Place, files: dict[str, dict[str, Any]]) -> dict[str, np.ndarray]:
    """The arrays of a message, text as objects: printable, as it may stand in a table. Raises ArtefactError.

    A file must be as large as its array before memory is taken for it.
    """
    out = {}
    folder = folder_of(folder)
    for name, entry in files.items():
        shape, stored, kind = tuple(entry["shape"]), artefact.name_of(folder, entry), np.dtype(entry["dtype"])
        path = folder.at(stored)
        if os.path.islink(path) or math.prod(shape) * kind.itemsize > (folder.size(stored) or 0):
            raise ArtefactError(f"{path} is not a {kind} array of shape {shape}")
        array = artefact.load_array(folder, entry, shape, entry["dtype"])
        if kind.kind == "U":
            if array.size and int(array.view("<u4").max()) > 0x10FFFF:
                raise ArtefactError(f"{path} holds text that is not Unicode")
            array = array.astype(object)
            if not all(map(str.isprintable, array.ravel())):
                raise ArtefactError(f"{path} holds text with control characters")
        out[name] = array
    return out


def refuse_residues(array: np.ndarray, primes: tuple[int, ...], what: str) -> None:
    """Raise ArtefactError unless every residue of (k, …) lies below its prime: what hides them assumes it."""
    for row, prime in zip(array, primes, strict=True):
        if row.size and int(row.max()) >= prime:
            raise ArtefactError(f"{what} holds residues that are not below their prime")
