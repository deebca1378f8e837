"""Files of linkage disequilibrium, in the forms that fine-mapping reads; clumps and credible sets.

PREFIX.ld: r of every two variants as text, for SuSiE, FINEMAP and LDstore; PREFIX.r2: its squares. PREFIX.z: its variants,
for these. PREFIX.npz and PREFIX.gz: the same for PolyFun, which adds a matrix to its transpose, so its diagonal is ½. Each is
a part of what passed the door (`Gate.passed`).
"""

from __future__ import annotations

import contextlib
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

import numpy as np

from securegen.governance.gate import Gate
from securegen.io.output import atomic
from securegen.io.table_files import write_table_file
from securegen.model import Variants
from securegen.results.rows import FULL_DIGITS, lines_text, table_text
from securegen.structure.ld import Strip
from securegen.vocabulary import VARIANT_COLUMNS

PLACE: Final = ("rsid", "chromosome", "position", "allele1", "allele2")
CLUMPS: Final = (
    "#CHROM", "POS", "ID", "P", "LOG10_P", "TOTAL", "NONSIG", "S0.05", "S0.01", "S0.001", "S0.0001", "SP2",
)  # fmt: skip
CREDIBLE: Final = (*VARIANT_COLUMNS, "REGION", "BETA", "SE", "LOG10_P", "LN_BF", "PIP", "PIP_SUM")
NOBODY: Final = "."  # a clump of one


def write_matrix(
    prefix: str, variants: int, strips: Iterable[Strip], digits: int, *, squares: bool = False, gate: Gate
) -> int:
    """Write PREFIX.ld and PREFIX.npz, and with squares PREFIX.r2; returns of how many pairs r is not defined, which are written
    as 0. Raises StorageError."""
    gate.passed()
    undefined = 0
    with (
        atomic(f"{prefix}.ld") as text,
        atomic(f"{prefix}.r2") if squares else contextlib.nullcontext() as second,
        atomic(f"{prefix}.npz") as packed,
        zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        with archive.open(_member("data"), "w", force_zip64=True) as data:
            _header(cast(BinaryIO, data), np.dtype("<f8"), variants * (variants + 1) // 2)
            for strip in strips:
                r = np.nan_to_num(strip.r)
                for stream, values in ((text, r), (second, r * r)):
                    if stream is not None:
                        stream.write(lines_text(list(np.ascontiguousarray(values.T)), digits).replace(b"\t", b" "))
                for i, row in enumerate(r, strip.start):
                    undefined += int(np.isnan(strip.r[i - strip.start, :i]).sum())
                    data.write(np.append(row[:i], 0.5).astype("<f8").tobytes())
        with archive.open(_member("indices"), "w", force_zip64=True) as places:
            _header(cast(BinaryIO, places), np.dtype("<i4"), variants * (variants + 1) // 2)
            for i in range(variants):
                places.write(np.arange(i + 1, dtype="<i4").tobytes())
        ends = np.cumsum(np.arange(variants + 1, dtype="<i8"))
        for name, array in (("indptr", ends), ("shape", np.array([variants] * 2)), ("format", np.array(b"csr"))):
            with archive.open(_member(name), "w") as member:
                np.lib.format.write_array(member, np.asarray(array), allow_pickle=False)
    return undefined


def _member(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(f"{name}.npy")  # of 1980, so that equal matrices are equal files
    info.compress_type = zipfile.ZIP_DEFLATED
    return info


def _header(stream: BinaryIO, dtype: np.dtype[Any], size: int) -> None:
    np.lib.format.write_array_header_1_0(
        stream, {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": (size,)}
    )


def write_variants(
    prefix: str, variants: Variants, more: dict[str, np.ndarray], digits: int, *, gate: Gate
) -> tuple[str, str]:
    """Write PREFIX.z and PREFIX.gz, allele1 the one that is counted. more: further columns of PREFIX.z. Raises StorageError."""
    gate.passed()
    place = [variants.id, variants.chromosome, variants.position, variants.effect_allele, variants.other_allele]
    paths = f"{prefix}.z", f"{prefix}.gz"
    for path, names, columns in ((paths[0], (*PLACE, *more), [*place, *more.values()]), (paths[1], PLACE, place)):
        with write_table_file(path) as stream:
            stream.write((" ".join(names) + "\n").encode())
            stream.write(lines_text(columns, digits).replace(b"\t", b" "))
    return paths


def write_clumps(path: str | Path, variants: Variants, columns: dict[str, np.ndarray], *, gate: Gate) -> None:
    """Write a row an index variant, in plink2's columns. Raises StorageError."""
    _write_rows(path, variants, columns, CLUMPS, gate=gate)


def write_credible(path: str | Path, variants: Variants, columns: dict[str, np.ndarray], *, gate: Gate) -> None:
    """Write a row per variant of a credible set. Raises StorageError."""
    _write_rows(path, variants, columns, CREDIBLE, gate=gate)


def _write_rows(
    path: str | Path, variants: Variants, columns: dict[str, np.ndarray], names: Sequence[str], *, gate: Gate
) -> None:
    gate.passed()
    with atomic(path) as stream:
        stream.write(("\t".join(names) + "\n").encode())
        stream.write(table_text(variants, columns, names, FULL_DIGITS))
