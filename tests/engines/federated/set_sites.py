"""Set tests of sites without messages: three sites of one cohort, everything that they open, and the rows they speak of."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

import numpy as np

from securegen.engines.federated import own_masks
from securegen.engines.federated.admission import guard_of_study
from securegen.engines.federated.cohort import federated_strata, places_at, plan_analyses
from securegen.engines.federated.own_inputs import OwnInputs
from securegen.engines.federated.own_sets import own_sets
from securegen.engines.federated.set_totals import results_of_sites
from securegen.engines.federated.study_sets import FILES, StudySets
from securegen.engines.federated.studyfile import TraitColumn
from securegen.governance import signing
from securegen.governance.guard import guarded
from securegen.study import people as align
from securegen.study.mask_options import MaskOptions
from securegen.study.mask_rows import masks_of, matched_sets
from securegen.study.set_study import SetStudy
from securegen.study.traits import Traits
from securegen.vocabulary import SET_TESTS

from .conftest import make_study
from .local_sums import at_every_site
from .test_openings import in_memory

SITES = 3
KEYS = {name: signing.generate() for name in ("anna", "bert", "cora")}


class SetRun:
    """rows: (dosage of each opened row over everybody, its opened Σ g x), as whoever sees the totals has them; results: of all
    masks, by name and phenotype."""

    def __init__(
        self, dosage: np.ndarray, age: np.ndarray, trait: np.ndarray, names: dict[str, str], tmp_path: Path, *,
        binary: bool = False, alter: Any = None, **terms: Any,
    ) -> None:  # fmt: skip
        kind = "case-control-01" if binary else "quantitative"
        said = StudySets(tuple((name, "00" * 32) for name in FILES[:3]), ("1.0",), "max", tuple(SET_TESTS))
        study = make_study(
            KEYS, signing.generate(), phenotypes=(TraitColumn("Y", kind),), digest=secrets.token_hex(32), sets=said,
            statistic="regenie", bits=24, common_samples=True, **({"openings": "strict"} | terms),
        )  # fmt: skip
        self.logs: list[list[str]] = [[] for _ in range(SITES)]
        options = MaskOptions(names["anno_file"], names["set_list"], names["mask_def"], None, (1.0,), "max")

        def part(secure, site):
            log, rows = self.logs[site].append, slice(site, None, SITES)
            reader = in_memory(dosage[:, rows].astype(np.int8))
            mine = Traits((align.Phenotype("Y", trait[rows], binary),), age[rows, None], ("AGE",), (0, 0))
            planned = plan_analyses(study, study.sites[site].name, mine, reader.samples, log)
            own = OwnInputs(reader, reader, mine, planned, [], lambda strata: None)
            guard = guard_of_study(study, log, secure.refuse)
            matched = matched_sets(options, reader, log)
            index = np.concatenate([s.index for s in matched.sets])
            unique, place = np.unique(index, return_inverse=True)
            found = own_masks._classes(own, reader.select(None, unique), (1.0,), secure, guard, log)
            classes = own_masks._taken(found, place)
            masks = masks_of(matched, classes.rarity, "", log)
            strata = federated_strata(
                study, planned, mine, places_at(study, mine, None, masks.source.variants), reader.samples,
                guarded(secure.total, guard), bytes([site]) * 32,
            )  # fmt: skip
            sets = SetStudy(masks.source, strata, masks, np.arange(len(masks.table)), frozenset(SET_TESTS))
            all_of = own_sets(study, own, sets, classes, guard)
            results = [r for some in results_of_sites(secure, all_of, strata, tmp_path / str(site), log) for r in some]
            return all_of, results, strata[0].design.columns.values, masks.table.id.tolist()

        try:
            out, self.opened = at_every_site(SITES, part, alter)
        except Exception:
            print(self.logs)
            raise
        self.sets, found, _, ids = out[0]
        self.results = {ids[r.row]: r for r in found}
        self.columns = np.zeros((dosage.shape[1], out[0][2].shape[1]), np.int64)
        for site, (_, _, values, _) in enumerate(out):
            self.columns[site::SITES] = values

    @property
    def lines(self) -> np.ndarray:
        """(rows, columns) totals Σ g x of the first batch, in the order of rows that are opened."""
        return self.opened["sets-rows-00000"].astype(np.int64)
