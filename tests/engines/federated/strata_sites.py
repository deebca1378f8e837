"""Three sites over one cohort with X, Y, MT or predictions, without messages."""

from __future__ import annotations

import secrets
from dataclasses import replace
from pathlib import Path

import numpy as np

from securegen.engines.federated.admission import admit, charge, guard_of_study
from securegen.engines.federated.association import federated_sums
from securegen.engines.federated.closed import closed_strata
from securegen.engines.federated.cohort import federated_strata, places_at, plan_analyses, sample_sets
from securegen.engines.federated.studyfile import TraitColumn
from securegen.engines.federated.withheld import Withheld
from securegen.governance import signing
from securegen.governance.gate import ungoverned
from securegen.governance.guard import guarded
from securegen.io.loco import Offsets
from securegen.results.write import write_qc, write_tables
from securegen.study import people as align
from securegen.study.ploidy import AUTOSOMAL, NAMES, PloidyReader, kinds_of
from securegen.study.traits import Traits

from .conftest import make_study
from .local_sums import at_every_site

SITES = 3
KEYS = {name: signing.generate() for name in ("anna", "bert", "cora")}


def kinds_named(variants) -> tuple[str, ...]:
    return tuple(NAMES[k] for k in np.unique(kinds_of(variants)).tolist() if k != AUTOSOMAL)


def strata_study(traits: Traits, variants, **changes):
    """A study of these phenotypes, strict unless it says otherwise."""
    columns = tuple(TraitColumn(p.name, "case-control-01" if p.binary else "quantitative") for p in traits.phenotypes)
    changes = {"openings": "strict", "digest": secrets.token_hex(32), "strata": kinds_named(variants)} | changes
    return make_study(KEYS, signing.generate(), phenotypes=columns, **changes)


class StrataRun:
    """All steps of three sites after the keys. dealt: site of each person, round robin if None; offsets: phenotype ->
    (23, N); opened: totals by step; strata, blocks, logs, closed: of each site."""

    def __init__(
        self, reader, traits: Traits, study, folder: Path, *, dealt=None, offsets=None, alter=None, rules=True
    ):
        self.study, self.variants = study, reader.variants
        n = len(reader.samples)
        self.dealt = np.arange(n) % SITES if dealt is None else np.asarray(dealt)
        self.logs, self.strata, self.closed = [[] for _ in range(SITES)], [()] * SITES, [None] * SITES
        kinds, model = kinds_of(reader.variants), study.xchr_model or 2
        self.grid = reader.dosage_grid

        def part(secure, site):
            rows = np.flatnonzero(self.dealt == site)
            log, own = self.logs[site].append, reader.select(rows, np.arange(len(reader.variants)))
            mine = Traits(
                tuple(align.Phenotype(p.name, p.values[rows], p.binary) for p in traits.phenotypes),
                traits.covariates[rows], traits.covariate_names, (0, 0),
            )  # fmt: skip
            found = None
            if offsets is not None:
                found = {name: Offsets(Path(), values[:, rows], 0) for name, values in offsets.items()}
                lack = {name: np.isnan(o.values).any(axis=0) for name, o in found.items()}
                people = (replace(p, values=np.where(lack[p.name], np.nan, p.values)) for p in mine.phenotypes)
                mine = replace(mine, phenotypes=tuple(people))
            state, guard = folder / str(site), guard_of_study(study, log, secure.refuse)
            planned = plan_analyses(study, study.sites[site].name, mine, own.samples, log)
            sets = sample_sets(study, planned, own.samples)
            admit(study, sets, own.samples, state, guard)
            self.closed[site] = closed = closed_strata(
                study, study.sites[site].name, planned, mine, own.samples, sets, secure.total, state, log
            )
            admit(study, [*sets, *closed.sets], own.samples, state, guard)
            places = places_at(study, mine, found, own.variants)
            self.strata[site] = strata = federated_strata(
                study, planned, mine, places, own.samples, guarded(secure.total, guard), bytes([site]) * 32, closed.reasons,
                log,
            )  # fmt: skip
            charge(study, strata, own.samples, state, guard)
            counted = PloidyReader(own, kinds, model) if kinds.any() else own
            return list(
                federated_sums(
                    secure, counted, strata, name="variants", level=study.openings, fewest=study.fewest_people,
                    few_missing=study.few_missing, complete=study.missing == "complete", withheld=Withheld(),
                )
            )  # fmt: skip

        self.blocks, self.opened = at_every_site(SITES, part, alter)

    @property
    def design_steps(self) -> int:
        return sum(name.startswith("design-") for name in self.opened)

    def tables(self, folder: Path) -> dict[str, bytes]:
        """Tables of the first site, by the end of their names; those of the others are the same."""
        out: list[dict[str, bytes]] = []
        for site, (strata, blocks) in enumerate(zip(self.strata, self.blocks, strict=True)):
            prefix = str(folder / f"site{site}")
            order = {(a.test, a.phenotype): a for s in reversed(strata) for a in s.design.analyses}
            analyses = list(order.values())
            found = [
                t.path
                for t in write_tables(
                    prefix, self.variants, iter(blocks), analyses, gate=ungoverned(), strata=strata, grid=self.grid
                )
            ]
            if self.study.qc:
                found += write_qc(prefix, self.variants, iter(blocks), gate=ungoverned(), strata=strata, grid=self.grid)
            out.append({path.removeprefix(prefix): Path(path).read_bytes() for path in found})
        assert out[0] == out[1] == out[2]
        return out[0]
