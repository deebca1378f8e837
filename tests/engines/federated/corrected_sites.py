"""Three sites that correct score tests over one cohort, without messages, and the plain engine on all of it."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from securegen.design.strata import alone
from securegen.engines.federated import corrections
from securegen.engines.federated.admission import admit, charge, guard_of_study
from securegen.engines.federated.association import federated_sums
from securegen.engines.federated.cohort import federated_strata, places_at, plan_analyses, sample_sets
from securegen.engines.federated.site_corrections import open_corrections
from securegen.engines.federated.studyfile import TraitColumn
from securegen.engines.plain.sums import sums
from securegen.governance import signing
from securegen.governance.guard import guarded
from securegen.io.arrays import ArrayReader
from securegen.model import Samples
from securegen.results.block_columns import result_columns
from securegen.results.corrections import Corrector, flagged
from securegen.study import people as align
from securegen.study.build import designs, joined, plan
from securegen.study.inputs import Inputs, silent
from securegen.study.traits import Traits

from .conftest import make_study, variant_list
from .local_sums import at_every_site

SITES = 3
KEYS = {name: signing.generate() for name in ("anna", "bert", "cora")}


@dataclass
class People:
    """dosage: (V, N), 3 without a call; age, cases: (N,)."""

    dosage: np.ndarray
    age: np.ndarray
    cases: np.ndarray
    trait: np.ndarray | None = None

    @property
    def reader(self) -> ArrayReader:
        names = np.array([f"p{i}" for i in range(self.dosage.shape[1])], object)
        samples = Samples(names, names, np.ones(len(names), bool))
        return ArrayReader(
            np.where(self.dosage == 3, -1, self.dosage).astype(np.int8), samples, variant_list(len(self.dosage))
        )

    @property
    def traits(self) -> Traits:
        found = [align.Phenotype("CC", self.cases.astype(float), True)]
        if self.trait is not None:
            found.append(align.Phenotype("QT", self.trait, False))
        return Traits(tuple(found), self.age[:, None], ("AGE",), (0, 0))


def people(
    n: int, variants: int, *, seed: int = 1, low: float = 0.02, high: float = 0.5, missing: float = 0.02
) -> People:
    """A disease of which age says a little, and the first variant a lot."""
    rng = np.random.default_rng(seed)
    frequency = np.exp(rng.uniform(np.log(low), np.log(high), variants))
    dosage = rng.binomial(2, frequency[:, None], (variants, n))
    age = rng.uniform(40, 60, n)
    eta = -2 + 0.03 * (age - 50) + 0.8 * dosage[0]
    cases = rng.random(n) < 1 / (1 + np.exp(-eta))
    dosage[::2][rng.random((len(dosage[::2]), n)) < missing] = 3
    return People(dosage, np.round(age, 3), cases, None)


class Corrected:
    """All steps of three sites. rows: variant -> correction, None where it is uncorrected; opened: totals by step."""

    def __init__(self, cohort: People, folder: Path, *, dealt=None, alter=None, keep=None, logs=None, **terms) -> None:
        traits, reader = cohort.traits, cohort.reader
        columns = tuple(
            TraitColumn(p.name, "case-control-01" if p.binary else "quantitative") for p in traits.phenotypes
        )
        terms = {"openings": "all", "digest": secrets.token_hex(32), "covariates": ("AGE",), "variants": len(cohort.dosage),
                 "correction": "spa", "p_thresh": 0.5, "common_samples": True} | terms  # fmt: skip
        self.study = study = make_study(KEYS, signing.generate(), phenotypes=columns, **terms)
        self.dealt = np.arange(len(reader.samples)) % SITES if dealt is None else np.asarray(dealt)
        self.logs = logs or [[] for _ in range(SITES)]
        self.strata = [()] * SITES
        self.columns = {}

        def part(secure, site):
            rows = np.flatnonzero(self.dealt == site)
            own = reader.select(rows, np.arange(len(reader.variants)))
            mine = replace(
                traits, covariates=traits.covariates[rows],
                phenotypes=tuple(align.Phenotype(p.name, p.values[rows], p.binary) for p in traits.phenotypes),
            )  # fmt: skip
            log, state, secret = self.logs[site].append, folder / str(site), bytes([site]) * 32
            planned = plan_analyses(study, study.sites[site].name, mine, own.samples, log)
            guard = guard_of_study(study, log, secure.refuse)
            admit(study, sample_sets(study, planned, own.samples), own.samples, state, guard)
            places = places_at(study, mine, None, own.variants)
            self.strata[site] = strata = federated_strata(
                study, planned, mine, places, own.samples, guarded(secure.total, guard), secret
            )
            charge(study, strata, own.samples, state, guard)
            blocks = list(federated_sums(
                secure, own, strata, name="variants", level=study.openings, fewest=study.fewest_people,
                few_missing=study.few_missing,
            ))  # fmt: skip
            if site == 0:
                for a in strata[0].design.analyses:
                    parts = [result_columns(a, b) for b in blocks]
                    self.columns[a.phenotype] = {n: np.concatenate([p[n] for p in parts]) for n in parts[0]}
            told = study if keep is None else keep(study, site)
            return open_corrections(told, secure, own, strata, blocks, guard, secret, state, log)

        found, self.opened = at_every_site(SITES, part, alter)
        assert all(f.rows == found[0].rows for f in found)
        self.rows = found[0].rows.get(("autosomes", "logistic", "CC"), {})

    def of(self, step: str) -> np.ndarray:
        return self.opened[f"{corrections.NAME}-{step}"]

    @property
    def rounds(self) -> int:
        return sum(name.startswith(corrections.NAME) and name.endswith("-sums") for name in self.opened)

    def say(self, words: str) -> bool:
        return any(words in line for log in self.logs for line in log)


def at_one_owner(cohort: People, *, correction: str = "spa", p_thresh: float = 0.5, few: bool = False):
    """What the plain engine makes of all people: variant -> correction."""
    reader, traits = cohort.reader, cohort.traits
    planned = plan(Inputs(correction=correction, p_thresh=p_thresh, common_samples=True), traits, silent)
    design = joined(designs(planned, traits, bits=None, correction=correction), planned, share=True)
    strata = alone(design, len(reader.variants))
    correct = Corrector(correction, p_thresh, False, strata, reader.read, 1, few)
    analysis, out = strata[0].analysis("logistic", "CC"), {}
    for block in sums(reader, design.columns):
        rows = flagged(result_columns(analysis, block), p_thresh)
        out |= dict(zip((block.start + rows).tolist(), correct.found(strata[0], analysis, block, rows), strict=True))
    return out
