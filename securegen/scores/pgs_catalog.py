"""What the PGS Catalog adds to a table of weights: header lines, genome builds, rows that are not one variant.

Format: Lambert et al. 2021 (Nature Genetics 53:420), versions 1 (`# PGS ID = …`) and 2 (`#pgs_id=…`), as downloaded or
harmonised (`hm_chr`, `hm_pos`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from securegen.errors import UsageError
from securegen.io.schema import printable, shown
from securegen.vocabulary import BUILDS, normalise_build

TRUE: Final = frozenset({"true", "1", "t", "yes"})

# Column of the file that marks a row as something else than one variant -> the word it is refused with.
FLAGS: Final = {"is_haplotype": "haplotype", "is_diplotype": "diplotype", "is_interaction": "interaction"}

# Header key -> its name for people: what a report says of a scoring file.
DESCRIBED: Final = {
    "pgs_id": "score", "pgs_name": "name", "trait_reported": "trait", "trait_mapped": "mapped trait", "trait_efo": "ontology",
    "genome_build": "genome build", "hmpos_build": "harmonised to", "variants_number": "variants", "weight_type": "weights are",
    "pgp_id": "publication", "citation": "citation", "license": "licence",
}  # fmt: skip
_LONGEST = 600  # characters of a field that a record keeps


def described(header: Mapping[str, str]) -> dict[str, str]:
    """The fields of a header that say what a score is.

    >>> described({"pgs_id": "PGS000001", "trait_reported": "Breast cancer", "other": "x"})
    {'pgs_id': 'PGS000001', 'trait_reported': 'Breast cancer'}
    """
    return {key: printable(header[key], _LONGEST) for key in DESCRIBED if header.get(key)}


def refuse_unknown_build(name: str | None) -> None:
    """Raise UsageError for a cohort's genome build that no scoring file can be on."""
    if not (name is None or isinstance(name, str)):
        raise UsageError(f"`genome_build` takes a name as text, not {name!r}")
    build = normalise_build(name)
    if build is not None and build not in BUILDS.values():
        raise UsageError(
            f"`genome_build`: genome build {shown(name)} is not known: {', '.join(sorted(set(BUILDS.values())))} are"
        )


def parse_header(lines: Sequence[str]) -> dict[str, str]:
    """Keys (lower case, blanks as `_`) and values of the comment lines of a scoring file, version 1 or 2.

    >>> parse_header(["#pgs_id=PGS000001", "# Original Genome Build = hg19"])
    {'pgs_id': 'PGS000001', 'genome_build': 'hg19'}
    """
    header: dict[str, str] = {}
    for line in lines:
        key, equals, value = line.strip().lstrip("#").partition("=")
        if equals:
            name = "_".join(key.split()).lower()
            header["genome_build" if name == "original_genome_build" else name] = value.strip()
    return header


def refusal(row: Mapping[str, str]) -> str | None:
    """The word that a row is refused with, or None for a row about one variant. row: lower-case column -> text."""
    variant_type = row.get("variant_type", "").upper()
    labels = (row.get("effect_allele", "").upper(), row.get("rsid", "").upper(), variant_type)
    for column, word in FLAGS.items():
        if row.get(column, "").strip().lower() in TRUE:
            return "HLA" if any(label.startswith("HLA") for label in labels) else word
    for word in ("HLA", "APOE"):
        if any(label.startswith(word) for label in labels):
            return word
    if variant_type.startswith(("CNV", "HAPLOTYPE", "DIPLOTYPE", "INTERACTION")):
        return variant_type.lower()
    return None
