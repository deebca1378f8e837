"""What names masks of sets of variants: checked before anything is read."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

from securegen.errors import UsageError
from securegen.study import checks

MAX, SUM, COMPHET = RULES = ("max", "sum", "comphet")
ALL, EVERY = "all", 1.0
DEFAULT_BIN = 0.01  # regenie's
MOST_BINS = 12
FILES = ("anno_file", "set_list", "mask_def")


@dataclass(frozen=True)
class MaskOptions:
    """anno_file, set_list, mask_def, aaf_file: paths; bins: largest frequencies, ascending; rule: of `RULES`."""

    anno_file: str
    set_list: str
    mask_def: str
    aaf_file: str | None
    bins: tuple[float, ...]
    rule: str

    def __post_init__(self) -> None:
        for narrow, wide in itertools.pairwise(self.bins):
            if (name := name_of_bin(narrow)) == name_of_bin(wide):
                raise UsageError(
                    f"`aaf_bins`: rows of {narrow!r} and of {wide!r} are both written {name}: leave one out"
                )

    def to_json(self) -> dict[str, Any]:
        """What run.json says of it beside the digests of the files."""
        of = "aaf_file" if self.aaf_file else "analysed people"
        return {"rule": self.rule, "aaf_bins": list(self.bins), "frequencies": of}


def parse_bins(value: Any, what: str = "aaf_bins") -> tuple[float, ...] | None:
    """Frequencies from text or numbers, `all` for 1, ascending and each once; None stays None. Raises UsageError."""
    if value is None:
        return None
    given = value if isinstance(value, tuple | list) else (value,)
    out = set()
    for item in given:
        try:
            share = EVERY if item == ALL else float(item) if not isinstance(item, bool) else -1.0
        except (TypeError, ValueError):
            share = -1.0
        if not 0 < share <= 1:
            raise UsageError(f"`{what}` {item!r}: frequencies above 0 and up to 1 are expected, or all")
        out.add(share)
    if len(out) > MOST_BINS:
        raise UsageError(f"`{what}`: {len(out)} frequencies, at most {MOST_BINS} are taken")
    return tuple(sorted(out)) or None


def name_of_bin(share: float) -> str:
    """As regenie prints it.

    >>> [name_of_bin(share) for share in (0.01, 0.0005, 1.0)]
    ['0.01', '0.0005', 'all']
    """
    return ALL if share == EVERY else f"{share:g}"


def mask_options(
    anno_file: str | None, set_list: str | None, mask_def: str | None, aaf_file: str | None,
    aaf_bins: tuple[float, ...] | None, build_mask: str | None, wider: tuple[float, ...] = (),
) -> MaskOptions | None:  # fmt: skip
    """What the fields of `Inputs` say of masks; None where they name none. wider: further bins. Raises UsageError for a
    part of it."""
    given = dict(zip(FILES, (anno_file, set_list, mask_def), strict=True))
    named = [name for name, value in given.items() if value]
    more = {"aaf_file": aaf_file, "aaf_bins": aaf_bins, "build_mask": build_mask}
    beside = [name for name, value in more.items() if value]
    if wider:
        beside.append("vc_tests")
    if not named and not beside:
        return None
    if anno_file is None or set_list is None or mask_def is None or len(named) < len(FILES):
        lacking = ", ".join(f"`{name}`" for name in FILES if name not in named)
        raise UsageError(f"`{(named + beside)[0]}` belongs to masks of sets of variants: give {lacking} too")
    checks.choice("build_mask", build_mask, (None, *RULES))
    return MaskOptions(
        anno_file,
        set_list,
        mask_def,
        aaf_file,
        tuple(sorted({*(aaf_bins or (DEFAULT_BIN,)), *wider})),
        build_mask or MAX,
    )
