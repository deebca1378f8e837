"""Phenotype and covariate tables as plink2 (`#FID IID …`, `#IID …`) and regenie (`FID IID …`) write them."""

from __future__ import annotations

import contextlib
import gzip
import io
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zstandard

from securegen.errors import InputError, UsageError
from securegen.model import Samples
from securegen.vocabulary import MISSING_INPUT

GZIP, ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"


@dataclass(frozen=True)
class Table:
    """Rows of people. fid: (R,) object array or None when the file has no FID column; iid: (R,) object array;
    columns: name -> (R,) object array of text as written; line: (R,) line numbers."""

    path: str
    fid: np.ndarray | None
    iid: np.ndarray
    columns: dict[str, np.ndarray]
    line: np.ndarray

    def select(self, names: Sequence[str] | None) -> Table:
        """Keep the named columns, in the order given. Raises UsageError for an unknown name."""
        if names is None:
            return self
        for name in names:
            if name not in self.columns:
                raise UsageError(f"{self.path} has no column {name}; it has {', '.join(self.columns)}")
        return Table(self.path, self.fid, self.iid, {n: self.columns[n] for n in names}, self.line)


def beside(path: str | Path) -> Path:
    """The file itself, or the same name with .gz or .zst where only that is there."""
    return next((Path(f"{path}{end}") for end in ("", ".gz", ".zst") if Path(f"{path}{end}").exists()), Path(path))


def iterate_lines(path: str | Path) -> Iterator[str]:
    """Lines of a plain, gzip or zstd file without their ends, one at a time. Raises InputError naming the file."""
    with _readable(path), Path(path).open("rb") as raw:
        head = raw.read(4)
        raw.seek(0)
        stream: Any = raw
        if head[:2] == GZIP:
            stream = gzip.GzipFile(fileobj=raw)
        elif head == ZSTD:
            stream = zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True)
        for line in io.TextIOWrapper(stream, "utf-8-sig"):
            yield line.rstrip("\r\n")


def unique_samples(fid: np.ndarray, iid: np.ndarray, founder: np.ndarray, path: Path) -> Samples:
    """A sample table. Raises InputError naming an id that appears twice."""
    seen: set[tuple[str, str]] = set()
    for key in zip(fid, iid, strict=True):
        if key in seen:
            raise InputError(f"{path}: {' '.join(key)} appears more than once")
        seen.add(key)
    return Samples(fid, iid, founder)


def read_text(path: str | Path) -> str:
    """Text of a plain, gzip or zstd file. Raises InputError naming the file."""
    with _readable(path):
        raw = Path(path).read_bytes()
        if raw[:2] == GZIP:
            raw = gzip.decompress(raw)
        elif raw[:4] == ZSTD:
            raw = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(raw), read_across_frames=True).read()
        return raw.decode("utf-8-sig")


@contextlib.contextmanager
def _readable(path: str | Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise InputError(f"{path} is a folder, not a file") from None
    except (OSError, EOFError, UnicodeDecodeError, zlib.error, zstandard.ZstdError) as error:
        raise InputError(f"{path} cannot be read: {error}") from None


def read_table(path: str | Path) -> Table:
    """Read a phenotype or covariate table.

    Fields are separated by tabs or blanks. The header line starts with `#FID IID`, `#IID`, `FID IID` or `IID`.
    Raises InputError (file, line, what was expected) for a missing header, ragged rows and duplicate ids.
    """
    lines = read_text(path).splitlines()
    rows = [(i, line.split()) for i, line in enumerate(lines, 1) if line.strip() and not line.startswith("##")]
    if not rows:
        raise InputError(f"{path} is empty")
    (_, header), body = rows[0], rows[1:]
    first = header[0].lstrip("#").upper()
    if first == "FID" and len(header) > 1 and header[1].upper() == "IID":
        id_columns = 2
    elif first == "IID":
        id_columns = 1
    else:
        raise InputError(f"{path}, line {rows[0][0]}: the header must start with '#FID IID', '#IID' or 'FID IID'")
    names = header[id_columns:]
    repeated = {n for n in names if names.count(n) > 1}
    if repeated:
        raise InputError(f"{path}: column {', '.join(sorted(repeated))} appears more than once")
    for line, fields in body:
        if len(fields) != len(header):
            raise InputError(f"{path}, line {line}: {len(fields)} fields, the header has {len(header)}")
    cells = np.array([fields for _, fields in body], dtype=object).reshape(len(body), len(header))
    numbers = np.array([line for line, _ in body], dtype=np.int64)
    seen: dict[tuple[str, ...], int] = {}
    for line, fields in body:
        key = tuple(fields[:id_columns])
        if key in seen:
            raise InputError(f"{path}: {' '.join(key)} is on line {seen[key]} and again on line {line}")
        seen[key] = line
    columns = {name: cells[:, id_columns + i] for i, name in enumerate(names)}
    fid = cells[:, 0] if id_columns == 2 else None
    return Table(str(path), fid, cells[:, id_columns - 1], columns, numbers)


def read_ids(path: str | Path) -> list[tuple[str, ...]]:
    """Rows of a `--keep` or `--remove` file: (FID, IID) or (IID,); a header line starting with # is skipped."""
    rows = [line.split() for line in read_text(path).splitlines() if line.strip() and not line.startswith("##")]
    if not rows:
        return []
    header = rows[0][0].lstrip("#").upper()
    wide = header == "FID" or (header != "IID" and len(rows[0]) > 1)
    return [tuple(fields[: 2 if wide else 1]) for fields in (rows[1:] if header in ("FID", "IID") else rows)]


def read_names(path: str | Path) -> list[str]:
    """First field of each line of an `--extract` or `--exclude` file."""
    return [line.split()[0] for line in read_text(path).splitlines() if line.strip()]


def parse_numbers(table: Table, name: str) -> np.ndarray:
    """(R,) float64 of a column, NaN where missing (NA, nan, ., -9). Raises InputError naming line and text."""
    texts = table.columns[name].tolist()
    with contextlib.suppress(ValueError):  # the whole column at once, where nothing is wrong
        missing = [text in MISSING_INPUT for text in texts]
        out = np.array([np.nan if m else float(text) for text, m in zip(texts, missing, strict=True)], np.float64)
        if (np.isfinite(out) | missing).all() and "_" not in "".join(texts):
            return out
    out = np.empty(len(table.iid), np.float64)
    for i, text in enumerate(texts):
        if text in MISSING_INPUT:
            out[i] = np.nan
            continue
        try:
            if "_" in text:  # Python's own notation
                raise ValueError
            out[i] = float(text)
        except ValueError:
            hint = "; use --covar-categorical for a column of categories" if not text[:1].isdigit() else ""
            raise InputError(
                f"{table.path}, line {table.line[i]}: column {name} holds {text!r}, expected a number or NA{hint}"
            ) from None
        if not np.isfinite(out[i]):
            raise InputError(f"{table.path}, line {table.line[i]}: column {name} holds {text!r}, expected a number")
    return out
