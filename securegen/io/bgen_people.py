"""People of a BGEN file: of its .sample file, which may name others than the BGEN does."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from securegen.errors import InputError
from securegen.io.tables import sex_codes, unique_samples
from securegen.io.text import fields_of, lines_of, read_text
from securegen.model import Samples


def read_sample(path: str | os.PathLike[str]) -> Samples:
    """People of a .sample file: ID_1 is the family, ID_2 the person (a single ID column: no family). Raises InputError."""
    lines = [(n, fields_of(line)) for n, line in enumerate(lines_of(read_text(Path(path))), 1) if line.strip()]
    if len(lines) < 3 or not lines[0][1][0].upper().startswith("ID") or lines[1][1][0] != "0":
        raise InputError(
            f"{path} is not a .sample file: a line of names (ID_1 ID_2 missing …), a line of types (0 0 0 …) and a line for "
            "each person are expected"
        )
    header, rows = lines[0][1], lines[2:]
    for number, row in rows:
        if len(row) != len(header):
            raise InputError(f"{path}, row {number}: {len(row)} fields, the header has {len(header)}")
    names = [name.upper() for name in header]
    if names[0] == "ID_2" or "ID_1" in names[1:] or "ID_2" in names[2:]:
        raise InputError(f"{path}: the header starts with ID_1 ID_2, not with {' '.join(header[:3])}")
    cells = np.array([row for _, row in rows], dtype=object)
    two = len(header) > 1 and names[1] == "ID_2"
    fid = cells[:, 0] if two else np.full(len(rows), "0", dtype=object)
    sex = sex_codes(cells[:, names.index("SEX")]) if "SEX" in names else None
    return unique_samples(fid, cells[:, int(two)], np.ones(len(rows), bool), Path(path), sex)


def refuse_other_order(samples: Samples, names: Sequence[str], sample: Path, path: Path) -> None:
    """Raise InputError where the BGEN holds the id of another person of the .sample file than the one in that place."""
    at: dict[str, set[int]] = {}
    for i, (fid, iid) in enumerate(zip(samples.fid, samples.iid, strict=True)):
        for name in (iid, f"{fid}_{iid}", f"{fid} {iid}"):
            at.setdefault(name, set()).add(i)
    for i, name in enumerate(names):
        if i not in at.get(name, {i}):
            raise InputError(
                f"{sample}, person {i + 1} is not the one whom {path} has in that place: the .sample "
                "file belongs to another BGEN, or is in another order"
            )


def sample_beside(path: str | os.PathLike[str], options: Mapping[str, Any]) -> dict[str, Path]:
    """The .sample file beside a BGEN that names nobody itself, where no other one is given."""
    near = Path(path).with_suffix(".sample")
    if options.get("sample") or not near.exists():
        return {}
    with contextlib.suppress(OSError), Path(path).open("rb") as stream:
        head = stream.read(8)
        stream.seek(int.from_bytes(head[4:], "little"))  # the last four bytes of the header are its flags
        if not stream.read(4)[-1:] >= b"\x80":
            return {"sample": near}
    return {}
