"""Null models of a design whose score tests are to be corrected, kept beside it, and the genotypes that were encrypted.

What corrects a row needs genotypes in the clear: the owner's own, after verification. They are matched by people and variants,
and a block is read only if its genotypes are those that were encrypted.

Who learns what: nobody; the box is the owner's, under the key.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from securegen.catalogue import CORRECTIONS, NONE
from securegen.design.columns import Design
from securegen.design.null_people import NullPeople
from securegen.design.strata import Stratum
from securegen.engines.ckks.owner.state import CohortInfo, OwnerState, names_of
from securegen.errors import ArtefactError, UsageError
from securegen.model import GenotypeBlock, GenotypeReader, Variants
from securegen.results.corrections import Corrector
from securegen.study.coding import Coded
from securegen.study.inputs import Inputs
from securegen.study.ploidy import PloidyReader, counting_copies, kinds_of
from securegen.study.relabelled import Relabelled
from securegen.vocabulary import ADDITIVE


def _name(digest: str) -> str:
    return f"null-{digest[:32]}"


def keep_null_models(state: OwnerState, digest: str, inputs: Inputs, strata: Sequence[Stratum]) -> None:
    """Keep the null models of every stratum; nothing where no correction is asked for."""
    if not inputs.corrects:
        return
    arrays: dict[str, np.ndarray] = {}
    kept: dict[tuple[str, bytes], str] = {}

    def put(kind: str, values: np.ndarray | None) -> str | None:
        if values is None:
            return None
        place = kept.setdefault((kind, np.ascontiguousarray(values).tobytes()), f"{kind}-{len(kept)}")
        arrays[place] = values
        return place

    models = [
        {
            "stratum": s.name, "phenotype": a.phenotype, "people": put("people", a.null.people),
            "cases": put("cases", a.null.cases), "centred": put("centred", a.null.centred),
            "mean": put("mean", a.null.mean), "firth": put("firth", a.null.firth),
        }
        for s in strata for a in s.design.analyses if a.null is not None
    ]  # fmt: skip
    header = {"correction": inputs.correction, "p_thresh": inputs.p_thresh, "fast": inputs.fast, "models": models}
    state.write(_name(digest), header, arrays)


def correction_of(state: OwnerState, digest: str) -> str:
    """The correction that a design was encrypted for."""
    if not (state.folder / f"{_name(digest)}.box").exists():
        return NONE
    return str(state.read(_name(digest))[0]["correction"])


def corrector_of(
    state: OwnerState, digest: str, strata: Sequence[Stratum], info: CohortInfo, genotypes: GenotypeReader | None
) -> Corrector | None:
    """What corrects the tables of a design; None where it was encrypted for none. strata: of the design; genotypes: the files.

    Raises UsageError where there are no genotypes, or there are and no design that needs them; ArtefactError for others.
    """
    if (chosen := correction_of(state, digest)) not in CORRECTIONS:
        if genotypes is not None:
            raise UsageError("genotypes are for a design with a `correction`, and this one was encrypted without")
        return None
    if genotypes is None:
        raise UsageError(
            f"this design was encrypted with `correction` {chosen}, which needs the genotypes here: give `bfile` (or `pfile`, …) "
            "as they were encrypted"
        )
    header, arrays = state.read(_name(digest))
    nulls = {(m["stratum"], m["phenotype"]): _null(m, arrays) for m in header["models"]}
    own = [
        replace(s, design=Design(s.design.columns, tuple(
            replace(a, null=nulls.get((s.name, a.phenotype))) for a in s.design.analyses
        )))
        for s in strata
    ]  # fmt: skip
    read = encrypted_genotypes(state, info, genotypes).read
    return Corrector(chosen, header["p_thresh"], header["fast"], own, read, info.dosage_grid)


class EncryptedGenotypes:
    """The genotypes of a cohort, by the blocks that were encrypted: others are refused when they are read."""

    def __init__(self, reader: GenotypeReader, state: OwnerState, info: CohortInfo) -> None:
        self._reader, self._state, self._info = reader, state, info
        self._blocks = {int(s): i for i, s in enumerate(info.starts[:-1])}
        self.samples, self.variants = info.samples, info.variants
        self.dosage_grid, self.dosage_max = reader.dosage_grid, reader.dosage_max

    def read(self, start: int, stop: int) -> GenotypeBlock:
        block, info = self._reader.read(start, stop), self._info
        index = self._blocks[start]
        if info.identities and self._state.identity(info.cohort_id, index, block) != info.identities[index]:
            raise ArtefactError(
                f"the genotypes of variants {start + 1} to {stop} are not those that were encrypted: nothing was written; give "
                "the same files"
            )
        return block


class EverybodysGenotypes:
    """Those of everybody in the owner's files, at the variants that were encrypted; refused as `EncryptedGenotypes`."""

    def __init__(self, encrypted: EncryptedGenotypes, whole: GenotypeReader) -> None:
        self._encrypted, self._whole = encrypted, whole
        self.samples, self.variants = whole.samples, encrypted.variants
        self.dosage_grid, self.dosage_max = whole.dosage_grid, whole.dosage_max

    def read(self, start: int, stop: int) -> GenotypeBlock:
        self._encrypted.read(start, stop)
        return self._whole.read(start, stop)


def everybodys_genotypes(state: OwnerState, info: CohortInfo, genotypes: GenotypeReader) -> GenotypeReader:
    """The genotypes of a cohort and of who else is in the owner's files. Raises as `as_encrypted`."""
    encrypted = encrypted_genotypes(state, info, genotypes)
    if (select := getattr(genotypes, "select", None)) is None or len(genotypes.samples) == len(info.samples):
        return encrypted
    variants = _places(_rows(genotypes.variants), _rows(info.variants), "variants")
    chosen = select(None, variants).on_grid(info.dosage_grid)
    return EverybodysGenotypes(encrypted, chosen if info.coding == ADDITIVE else Coded(chosen, info.coding))


def encrypted_genotypes(state: OwnerState, info: CohortInfo, genotypes: GenotypeReader) -> EncryptedGenotypes:
    """The genotypes of a cohort from the owner's files. Raises as `as_encrypted`."""
    return EncryptedGenotypes(as_encrypted(genotypes, info), state, info)


def _null(model: dict[str, Any], arrays: dict[str, np.ndarray]) -> NullPeople:
    if "centred" not in model:
        raise ArtefactError(
            "this design was encrypted for a correction by another version of securegen: encrypt it again"
        )
    people, cases, centred, mean = (arrays[model[name]] for name in ("people", "cases", "centred", "mean"))
    return NullPeople(people, cases, centred, mean, None if model["firth"] is None else arrays[model["firth"]])


def as_encrypted(genotypes: GenotypeReader, info: CohortInfo) -> GenotypeReader:
    """The people and variants that were encrypted, in their order, counted as they were. genotypes: files, or the very reader
    that was encrypted. Raises ArtefactError for people or variants that are not here."""
    counted = isinstance(genotypes, PloidyReader) or not kinds_of(info.variants).any()
    if counted and info.same_people_and_variants(genotypes):
        return genotypes
    if (select := getattr(genotypes, "select", None)) is None:
        raise ArtefactError("these are not the genotypes that were encrypted: give the files")
    people = _places(names_of(genotypes.samples), names_of(info.samples), "people")
    variants = _places(_rows(genotypes.variants), _rows(info.variants), "variants")
    chosen = Relabelled(select(people, variants).on_grid(info.dosage_grid), info.samples, info.variants)
    coded: GenotypeReader = chosen if info.coding == ADDITIVE else Coded(chosen, info.coding)
    return counting_copies(coded, 2 if info.xchr_model is None else info.xchr_model)


def _rows(v: Variants) -> list[tuple[Any, ...]]:
    return list(zip(v.position.tolist(), v.id, v.effect_allele, v.other_allele, strict=True))


def _places(here: Sequence[tuple[Any, ...]], wanted: Sequence[tuple[Any, ...]], what: str) -> np.ndarray:
    """Where each of `wanted` is; of rows that are alike the first is the first."""
    places: dict[tuple[Any, ...], list[int]] = {}
    for i, row in enumerate(here):
        places.setdefault(row, []).append(i)
    turns = {row: iter(found) for row, found in places.items()}
    found = [next(turns.get(row, iter(())), -1) for row in wanted]
    if lost := found.count(-1):
        raise ArtefactError(
            f"these genotypes lack {lost} of {len(wanted)} {what} that were encrypted: give the same files, of all chromosomes"
        )
    return np.array(found, np.int64)
