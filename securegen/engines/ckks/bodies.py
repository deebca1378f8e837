"""What the manifests of cohorts, designs and results may say: one pass over a body before a byte of memory follows from it.

The owner signs cohort and design, but anybody can be an owner to a server, and results are written by a server. So types,
ranges and the lengths that belong together (blocks and variants, chunks and samples, halves and seeds, sizes of files and
shapes) are checked here; what is behind it may address memory by them. A size is compared with the file before
anything of that size is allocated, so that memory follows from bytes that really came.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

from securegen.engines.ckks import keys
from securegen.engines.ckks.artefact import array_bytes
from securegen.engines.ckks.blocks import MOST_BLOCKS
from securegen.engines.ckks.ciphertexts import ENCRYPTOR_NAMES, shares_public_half
from securegen.engines.ckks.codec import chunks, ciphertext_shape, strands_of
from securegen.engines.ckks.column_sets import ColumnSets
from securegen.engines.ckks.parameters import MOST_GRID, MOST_SAMPLES, Parameters
from securegen.errors import ArtefactError
from securegen.io.schema import boolean, hex_text, integer, list_of, map_of, one_of, record, shown, text

MOST_VARIANTS = 1 << 32
MOST_CHUNKS = 1 << 16  # of 64 groups of samples
MOST_COLUMNS = 1 << 14
MOST_SETS = 1 << 6  # of columns: a chromosome has one
MOST_FILE = 1 << 40

_HEAD: dict[str, Any] = {"magic": text(32), "version": integer(0, 1 << 16), "role": text(64), "key": hex_text(32)}
_FILE = record(name=text(255, least=1), blake3=hex_text(32), size=integer(0, MOST_FILE), seed=one_of(""))
_HALF = record(name=text(255, least=1), blake3=hex_text(32), size=integer(0, MOST_FILE), seed=text(32))
_CHUNK = list_of(_HALF, 1, 2)
_STREAM = one_of("g", "m", "q")

COHORT = record(
    may_have={"earlier": list_of(hex_text(32), 1, MOST_BLOCKS)},  # digests of the cohort before it was appended to
    **_HEAD,
    public=keys.PUBLIC,
    cohort_id=hex_text(32),
    samples=integer(1, MOST_SAMPLES),
    variants=integer(1, MOST_VARIANTS),
    dosage_grid=integer(1, MOST_GRID),
    squares=boolean,
    encryptor=one_of(*ENCRYPTOR_NAMES),
    blocks=list_of(
        record(variants=integer(1, MOST_VARIANTS), streams=map_of(list_of(_CHUNK, 1, MOST_CHUNKS), 3, name=_STREAM)),
        1,
        MOST_BLOCKS,
    ),
)
DESIGN = record(
    may_have={
        "sets": list_of(list_of(integer(0, MOST_COLUMNS - 1), 0, MOST_COLUMNS), 2, MOST_SETS),
        "set_of": list_of(integer(0, MOST_SETS - 1), 1, MOST_BLOCKS),
    },
    **_HEAD,
    cohort=hex_text(32),
    nonce=hex_text(16),
    samples=integer(1, MOST_SAMPLES),
    public_ones=list_of(boolean, 1, MOST_COLUMNS),
    squared=list_of(boolean, 1, MOST_COLUMNS),
    columns=list_of(list_of(_HALF, 1, 2 * MOST_COLUMNS), 0, MOST_CHUNKS),
    squares=list_of(list_of(_HALF, 0, 2), 0, MOST_BLOCKS),
    encryptor=one_of(*ENCRYPTOR_NAMES),
)
_SUMS: dict[str, Any] = {
    "cohort": hex_text(32), "design": hex_text(32), "nonce": hex_text(16),
    "streams": list_of(list_of(_STREAM, 1, 3), 1, MOST_BLOCKS), "blocks": list_of(_FILE, 1, MOST_BLOCKS),
}  # fmt: skip
_PART: dict[str, Any] = {
    "part": integer(1, MOST_BLOCKS), "of": integer(1, MOST_BLOCKS), "first": integer(0, MOST_BLOCKS),
}  # fmt: skip
RESULTS = record(**_HEAD, **_SUMS)
RESULTS_PART = record(**_HEAD, **_SUMS, **_PART)
SCORES_PART = record(
    **_HEAD, **_PART, cohort=hex_text(32), model=hex_text(32), chunks=list_of(_FILE, 1, MOST_SAMPLES),
    all_chunks=integer(1, MOST_SAMPLES),
)  # fmt: skip


def check_cohort(body: dict[str, Any], p: Parameters) -> None:
    """Raise ArtefactError unless the numbers of a COHORT belong together, and every file has the size of its shape."""
    _check_samples(body, p)
    top = 2 * body["dosage_grid"]
    if (top * top if body["squares"] else top) > p.dosage_max:
        raise ArtefactError(f"the cohort's dosages may reach beyond {p.dosage_max}, which its parameters allow")
    blocks, width = body["blocks"], p.block_variants
    _equal(sum(block["variants"] for block in blocks), body["variants"], "variants in its blocks")
    needed = {"g", *(["q"] if body["squares"] else [])}
    for index, block in enumerate(blocks):
        if block["variants"] > width:
            raise ArtefactError(f"the manifest has {block['variants']} variants in block {index}, {width} fit a block")
        if set(block["streams"]) - {"m"} != needed:
            raise ArtefactError(f"block {index} has the streams {', '.join(block['streams'])}: others than its cohort")
        strands = strands_of(block["variants"], p)
        for stream, stored in block["streams"].items():
            _check_chunks(stored, strands, body["encryptor"], p, f"stream {stream} of block {index}")
    _check_distinct(chunk for block in blocks for stored in block["streams"].values() for chunk in stored)


def check_design(body: dict[str, Any], p: Parameters) -> None:
    """The same of a DESIGN, but for what depends on the cohort."""
    _check_samples(body, p)
    _equal(len(body["squared"]), len(body["public_ones"]), "marks of squared columns")
    _check_sets(body)
    parts, each = ColumnSets.from_body(body).parts, 1 if shares_public_half(body["encryptor"]) else 2
    _equal(len(body["columns"]), len(chunks(p)) if parts else 0, "chunks in the columns")
    for entries, (_, groups) in zip(body["columns"], chunks(p), strict=False):
        _equal(len(entries), each * len(parts), "files for the ciphertexts in the columns")
        for i, part in enumerate(parts):
            own = entries[i * each : (i + 1) * each]
            _check_halves(own, (groups, len(part)), body["encryptor"], p, "the columns")
            if own[0]["seed"] != entries[0]["seed"]:
                raise ArtefactError("columns that are multiplied with the same blocks have different seeds")
    _check_distinct([*body["columns"], *body["squares"]])


def _check_samples(body: dict[str, Any], p: Parameters) -> None:
    """Raise ArtefactError for more people than the parameters are for; where some withdrew there are fewer."""
    if body["samples"] > p.samples:
        raise ArtefactError(f"the manifest has {body['samples']} samples, its parameters are for {p.samples}")


def _check_sets(body: dict[str, Any]) -> None:
    """Raise ArtefactError unless sets are columns in order, every column and every set is used, and blocks name sets."""
    if ("sets" in body) != ("set_of" in body):
        raise ArtefactError("the manifest has sets of columns without the set of each block, or these without sets")
    if "sets" not in body:
        return
    sets, count = body["sets"], len(body["public_ones"])
    for number, columns in enumerate(sets):
        if any(a >= b for a, b in itertools.pairwise(columns)) or (columns and columns[-1] >= count):
            raise ArtefactError(f"set {number} does not name columns of the manifest in order")
    _equal(len(set().union(*sets)), count, "columns in sets")
    _equal(len(set(body["set_of"])), len(sets), "sets that blocks have")
    if max(body["set_of"]) >= len(sets):
        raise ArtefactError(f"a block has set {max(body['set_of'])}, the manifest has {len(sets)}")


def check_pair(cohort: dict[str, Any], design: dict[str, Any], p: Parameters) -> None:
    """The rest: whether the design has a set and the owner's Σ g² for every block of this cohort, where they are needed."""
    columns, squares, blocks = ColumnSets.from_body(design), design["squares"], cohort["blocks"]
    _equal(design["samples"], cohort["samples"], "samples")
    if columns.set_of:
        _equal(len(columns.set_of), len(blocks), "blocks with a set of columns")
    counts = [len(columns.squares(number)) for number in range(len(columns.sets))]
    _equal(len(squares), len(blocks) if any(counts) and not cohort["squares"] else 0, "blocks of squares")
    for index, (entries, block) in enumerate(zip(squares, blocks, strict=False)):
        squared = counts[columns.of(index)]
        if squared:
            count = -(-squared * block["variants"] // p.ring.n)
            _check_halves(entries, (1, count), design["encryptor"], p, f"the squares of block {index}")
        else:
            _equal(len(entries), 0, f"files for the squares of block {index}")


def _check_chunks(stored: Sequence[Any], each: int, encryptor: str, p: Parameters, where: str) -> None:
    _equal(len(stored), len(chunks(p)), f"chunks in {where}")
    for entries, (_, groups) in zip(stored, chunks(p), strict=True):
        _check_halves(entries, (groups, each), encryptor, p, where)


def _check_halves(
    entries: list[dict[str, Any]], middle: tuple[int, int], encryptor: str, p: Parameters, where: str
) -> None:
    """Own ciphertexts are one file and the seed of the half that they share; SEAL's are two files."""
    shared = shares_public_half(encryptor)
    _equal(len(entries), 1 if shared else 2, f"files for the ciphertexts in {where}")
    for i, entry in enumerate(entries):
        _equal(entry["size"], array_bytes(ciphertext_shape(p, *middle)), f"bytes for a file in {where}")
        seed = entry["seed"]
        if len(seed) != (32 if shared and i == 0 else 0) or set(seed) - set("0123456789abcdef"):
            raise ArtefactError(f"the seed of {where} is not what its encryptor, {encryptor}, writes")


def _check_distinct(chunks: Iterable[list[dict[str, Any]]]) -> None:
    """Raise ArtefactError when a file is named twice: one small file in the place of many would cost work without bound."""
    seen: set[str] = set()
    for entry in (entry for entries in chunks for entry in entries):
        if entry["name"] in seen:
            raise ArtefactError(f"the manifest names {shown(entry['name'], 80)} twice")
        seen.add(entry["name"])


def _equal(found: int, expected: int, what: str) -> None:
    if found != expected:
        raise ArtefactError(f"the manifest has {found} {what}, {expected} expected")
