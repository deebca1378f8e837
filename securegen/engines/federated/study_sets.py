"""What a study says of sets of variants: public files of the shared folder, and which masks and tests are made of them.

Who learns what: sets, annotations and frequencies are public to everybody who can read the folder; nothing in them is of a
person of the study.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from securegen.errors import UsageError
from securegen.governance.openings import CONSORTIUM
from securegen.io.output import write_text
from securegen.io.schema import hex_text, list_of, one_of, record, text
from securegen.io.text import read_text
from securegen.io.variant_sets import read_frequencies, read_masks
from securegen.model import Variants
from securegen.study.inputs import REGENIE, Inputs, Log
from securegen.study.mask_options import RULES, SUM, MaskOptions, parse_bins
from securegen.study.mask_rows import found_sets
from securegen.vocabulary import ADDITIVE, SET_TESTS

ANNOTATIONS, SETS, MASKS, FREQUENCIES = FILES = ("anno.txt", "sets.txt", "masks.txt", "frequencies.txt")


@dataclass(frozen=True)
class StudySets:
    """files: name of `FILES` in the shared folder -> SHA-256; bins: the largest frequencies of masks, ascending, as text; rule:
    what a person counts; tests: of sets, in place of masks."""

    files: tuple[tuple[str, str], ...]
    bins: tuple[str, ...]
    rule: str
    tests: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if [name for name, _ in self.files] not in (list(FILES), list(FILES[:3])):
            raise UsageError(
                "sets of a study are files of annotations, sets and masks, and of frequencies where there is one"
            )
        parse_bins(self.bins)

    def check(
        self, *, openings: str, statistic: str, qc: bool, interaction: str | None, genetic_model: str, several: bool
    ) -> None:
        """Raise UsageError for what else the study says that does not go with them."""
        if openings == CONSORTIUM:
            raise UsageError(f"`openings` {CONSORTIUM} shows masks of a set that few people tell apart: strict")
        for given, what in (
            (genetic_model != ADDITIVE, f"`{genetic_model}` needs genotypes of two alleles, and masks count several variants"),
            (interaction is not None and self.rule == SUM, "`interaction` needs two copies: `build_mask` max or comphet"),
            (qc and self.rule == SUM, "`qc` counts the alleles of one variant: `build_mask` max or comphet, not sum"),
            (bool(self.tests) and (qc or interaction is not None), "`vc_tests` of sites have no table beside: no qc"),
            (bool(self.tests) and statistic != REGENIE, "`vc_tests` have the `statistic` regenie"),
            (bool(self.tests) and several, "`vc_tests` of sites take people who have every phenotype: `common_samples`"),
        ):  # fmt: skip
            if given:
                raise UsageError(what)

    @property
    def public(self) -> bool:
        """Whether a file has the frequencies."""
        return len(self.files) == len(FILES)

    @contextmanager
    def options(self, read: Callable[[str, str], bytes]) -> Iterator[MaskOptions]:
        """What makes the masks, of files that are there meanwhile. read: the bytes of a file of the folder with this digest."""
        with tempfile.TemporaryDirectory(prefix="securegen.") as folder:
            for name, digest in self.files:
                write_text(Path(folder) / name, read(name, digest).decode(errors="surrogateescape"))
            anno, sets, masks, aaf = (f"{folder}/{name}" for name in FILES)
            yield MaskOptions(anno, sets, masks, aaf if self.public else None, parse_bins(self.bins) or (), self.rule)

    def to_toml(self) -> dict[str, Any]:
        """The lines of its part of study.toml."""
        tests = {"tests": list(self.tests)} if self.tests else {}
        names = {name.removesuffix(".txt"): digest for name, digest in self.files}
        return {**names, "aaf_bins": list(self.bins), "build_mask": self.rule, **tests}


_DIGEST = hex_text(32)
IN_FILE = record(
    anno=_DIGEST, sets=_DIGEST, masks=_DIGEST, aaf_bins=list_of(text(40, least=1), 1, 20), build_mask=one_of(*RULES),
    may_have={"frequencies": _DIGEST, "tests": list_of(one_of(*SET_TESTS), 1, len(SET_TESTS))},
)  # fmt: skip


def from_toml(value: Mapping[str, Any]) -> StudySets:
    """What `to_toml` wrote and `IN_FILE` passed. Raises UsageError for values that do not fit together."""
    names = [(name, name.removesuffix(".txt")) for name in FILES]
    files = tuple((name, value[key]) for name, key in names if key in value)
    return StudySets(files, tuple(value["aaf_bins"]), value["build_mask"], tuple(value.get("tests", ())))


def sets_of(inputs: Inputs, common: Variants, log: Log) -> tuple[StudySets | None, dict[str, bytes]]:
    """What a coordinator's inputs name, and the files; None where they name no masks. common: the variants of the study.

    Raises InputError for a file that does not fit, UsageError where no mask has a variant.
    """
    options = inputs.masks
    if options is None:
        return None, {}
    found = found_sets(options, read_masks(options.mask_def), common, log)
    if options.aaf_file is not None:
        read_frequencies(options.aaf_file, {common.id[j] for s in found for j in s.index.tolist()})
    paths = (options.anno_file, options.set_list, options.mask_def, options.aaf_file)
    files = {
        name: read_text(path).encode(errors="surrogateescape")
        for name, path in zip(FILES, paths, strict=True)
        if path is not None
    }
    digests = tuple((name, hashlib.sha256(raw).hexdigest()) for name, raw in files.items())
    tests = tuple(name for name in SET_TESTS if name in (inputs.vc_tests or ()))
    bins = (inputs.widest,) if tests else options.bins
    return StudySets(digests, tuple(map(repr, bins)), options.rule, tests), files
