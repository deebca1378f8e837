"""Cohorts of several sites that one machine holds: refused where they overlap or do not fit, pooled for a check.

Who learns what: the caller holds every file already; nothing here hides anything from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from securegen.catalogue import has_copies
from securegen.errors import InputError, UsageError
from securegen.model import AnnouncedCohort, GenotypeReader, Samples, coding_of
from securegen.study.genotypes import open_genotypes
from securegen.study.inputs import Inputs, Log, silent
from securegen.study.opening import Study
from securegen.study.predictions import with_rows
from securegen.study.strata import build_strata


def refuse_same_file(members: Sequence[Inputs]) -> None:
    """Raise UsageError when one file of genotypes stands for two sites."""
    seen: set[str] = set()
    for member in members:
        name = member.genotypes.name
        if name in seen:
            raise UsageError(f"{name} is given twice: every site has its own people, in its own file")
        seen.add(name)


def pool(members: Sequence[Inputs], readers: Sequence[GenotypeReader]) -> AnnouncedCohort:
    """The cohorts as one. Raises InputError when a person is in two of them: phenotypes are found by these ids."""
    where: dict[tuple[str, str], str] = {}
    for member, reader in zip(members, readers, strict=True):
        name = member.genotypes.name
        for i, person in enumerate(zip(reader.samples.fid, reader.samples.iid, strict=True), 1):
            if person in where:
                raise InputError(
                    f"person {i} of {name} is in {where[person]}, too: nobody may count twice, and one phenotype table "
                    "serves all sites here. Leave the person out of one of them, or rename"
                )
            where[person] = name
    parts = [reader.samples for reader in readers]
    names = ("fid", "iid", "founder", "sex")
    fid, iid, founder, sex = (np.concatenate([getattr(p, n) for p in parts]) for n in names)
    grid, most = (max(getattr(reader, name) for reader in readers) for name in ("dosage_grid", "dosage_max"))
    return AnnouncedCohort(Samples(fid, iid, founder, sex), readers[0].variants, grid, most, coding_of(readers[0]))


@dataclass(frozen=True, repr=False)
class SitesStudy(Study):
    """The pooled study of several cohorts; members: the inputs of each, one per site."""

    members: tuple[Inputs, ...] = ()


def open_sites(members: Sequence[Inputs], log: Log = silent) -> SitesStudy:
    """Cohorts that share phenotype and covariate tables, as one study. Raises UsageError, InputError and DesignError."""
    refuse_same_file(members)
    first = members[0]
    readers = [open_genotypes(member, silent, haploid=has_copies(member.model)) for member in members]
    if first.pred:
        readers = [with_rows(reader, log if i == 0 else silent) for i, reader in enumerate(readers)]
    pooled = pool(members, readers)
    _, strata = build_strata(first, pooled, log)
    return SitesStudy(first, pooled, strata, members=tuple(members))
