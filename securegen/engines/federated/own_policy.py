"""A site's own door: its policy, when it joins and before it sends anything.

Who learns what: nobody but this site, whose log names the rule; the others see that it stopped.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from securegen.design.columns import AppliedNoise
from securegen.engines.federated.admission import LEDGER
from securegen.engines.federated.chosen_variants import autosomes
from securegen.engines.federated.components import ROUNDS
from securegen.engines.federated.studyfile import Site, StudyFile
from securegen.engines.governed import gate_of_inputs
from securegen.errors import PolicyError
from securegen.governance import openings, signing
from securegen.governance.door import ASSOCIATION, PEOPLE, QUALITY, OutputFacts
from securegen.governance.gate import Asking, Gate
from securegen.governance.history import PeopleFacts
from securegen.governance.pin import Pin, pinned
from securegen.governance.set_rules import TOGETHER
from securegen.governance.signing import SigningIdentity
from securegen.model import GenotypeReader, Samples, Variants
from securegen.results.outputs import NO_EXPOSED, NO_MASKS
from securegen.structure import ridge
from securegen.structure.components import EXTRA
from securegen.structure.whole_genome import blocks_of
from securegen.study.build import Planned
from securegen.study.inputs import Inputs, Log, silent
from securegen.vocabulary import canonical_chromosome


def gate_of_site(
    study: StudyFile, site: str, key: SigningIdentity, inputs: Inputs, places: Sequence[Path], log: Log
) -> Gate:
    """This site's own door: its policy stands beside its files or in its private folder; its signing key and the study file may
    name it. Raises PolicyError where it is not there, or another one."""
    named = study.site(site).policy
    pins = [
        (f"the signing key of site {site}", pinned(key.policy)),
        (f"site {site} of the study file", None if named is None else Pin.from_text(named)),
    ]
    return gate_of_inputs("federated", inputs, log, more=places, pins=pins)


def check_site(
    gate: Gate, study: StudyFile, planned: Sequence[Planned], samples: Samples, variants: Variants, state: Path
) -> None:
    """Before anything is sent: raise PolicyError where this site's policy refuses what the study opens. Enters nothing."""
    _refuse_interaction(gate, study)
    if study.sets is not None and gate.minor_alleles:
        raise PolicyError(NO_MASKS.format(gate.minor_alleles))
    wanted = [
        OutputFacts(
            ASSOCIATION, p.phenotype.name, int(p.mask.sum()), study.variants, columns=len(study.covariates) + 1,
            minor=fewest_opened(study), noise=p.phenotype.noise,
        )
        for p in planned
    ]  # fmt: skip
    if study.qc:
        wanted.append(
            OutputFacts(QUALITY, "QC", max(o.samples for o in wanted), study.variants, minor=fewest_opened(study))
        )
    wanted += predicted_outputs(study, len(samples))
    sets = tuple((p.phenotype.name, "", p.mask) for p in planned)
    gate.of(PeopleFacts(samples, sets, beside=(state / LEDGER,))).check(wanted)
    if gate.policy is not None:
        facts = products_of(study, planned, samples, variants, state)
        gate.of(facts).check(opened_first(study, planned, len(samples)))


def enter_products(
    gate: Gate, study: StudyFile, planned: Sequence[Planned], reader: GenotypeReader, variants: Variants, commitment: str,
    state: Path,
) -> None:  # fmt: skip
    """Before products of genotypes are opened, which components and whole-genome models need: enter their columns in the ledger
    of this site's policy. Nothing where a study has neither. commitment: of `same_inputs`. Raises PolicyError."""
    wanted = opened_first(study, planned, len(reader.samples))
    if gate.policy is None or not wanted:
        return
    gate.enrol(reader)
    facts = products_of(study, planned, reader.samples, variants, state)
    gate.of(facts, {"study": study.digest, "inputs": commitment}).release(wanted)


def products_of(
    study: StudyFile, planned: Sequence[Planned], samples: Samples, variants: Variants, state: Path
) -> PeopleFacts:
    """The people of whom components and a whole-genome model are, and the most columns that each genotype of theirs meets: every
    round of components; a block of variants, and what each block and phenotype predicts at every heritability; rows of sets."""
    people = np.flatnonzero(analysed_everywhere(planned))
    free, most = study.consent_openings or study.openings == openings.ALL, int(openings.SITE_SHARE * len(people))
    out: list[tuple[str, int]] = []
    if study.pcs:
        width = study.pcs + EXTRA
        out.append((f"study {study.digest}, components", width * (ROUNDS if free else min(ROUNDS, most // width))))
    if study.step1:
        rows = autosomes(variants)
        blocks = blocks_of(np.array([int(canonical_chromosome(c)) for c in variants.chromosome[rows]]), study.step1)
        predictors = len(ridge.HERITABILITY) * len(blocks) * len(planned)
        out.append(
            (f"study {study.digest}, whole-genome model", max((len(b.rows) for b in blocks), default=0) + predictors)
        )
    if study.sets is not None and study.sets.tests:
        out.append((f"study {study.digest}, set tests", TOGETHER if free else min(TOGETHER, most)))
    return PeopleFacts(samples.take(people), products=tuple(out), beside=(state / LEDGER,))


def analysed_everywhere(planned: Sequence[Planned]) -> np.ndarray:
    """(N,) bool: analysed in every phenotype."""
    out: np.ndarray = np.logical_and.reduce([p.mask for p in planned])
    return out


def opened_first(study: StudyFile, planned: Sequence[Planned], people: int) -> list[OutputFacts]:
    """What is opened before the sums of variants, or beside them: loadings of components and products of rows of sets, at every
    site, and `predicted_outputs`."""
    out = predicted_outputs(study, people)
    made = ["components"] if study.pcs else []
    made += ["products of rows of sets"] if study.sets is not None and study.sets.tests else []
    number = int(analysed_everywhere(planned).sum())
    out += [OutputFacts(QUALITY, what, number, study.variants, minor=fewest_opened(study)) for what in made]
    return out


def fewest_opened(study: StudyFile) -> int:
    """Minor alleles of this site's people that a row has at least, where it has any and is opened: every other site has its sums,
    whatever this site's own table shows."""
    return 0 if study.openings == openings.ALL else study.fewest_people


def predicted_outputs(study: StudyFile, people: int) -> list[OutputFacts]:
    """Predictions of a whole-genome model that the sites make: a row for each of this site's people."""
    names = [p.name for p in study.phenotypes] if study.step1 else []
    return [OutputFacts(PEOPLE, f"predictions of {name}", people, study.variants) for name in names]


def site_of_key(name: str, public: str | Path) -> Site:
    """A site by its public key, with the policy that it is bound to."""
    found = signing.read_public(public)
    bound = pinned(found.get("policy"))
    return Site(name, found["key"], None if bound is None else bound.to_text())


def refuse_terms(study: StudyFile, key: SigningIdentity, asking: Asking, places: Sequence[Path]) -> None:
    """Before a site joins: raise PolicyError where its policy, beside `places` or named, refuses what the study asks."""
    typed: Any = Inputs
    own = typed(
        policy=asking.policy, identity=asking.identity, visa=asking.visa or None, purpose=asking.purpose,
        second_signature=asking.second_signature or None,
    )  # fmt: skip
    name = study.site_of(key.verify_key).name
    check_terms(gate_of_site(study, name, key, own, places, silent), study)


def check_terms(gate: Gate, study: StudyFile) -> None:
    """Before a site joins: as `check_site`, of as many people and with as much noise as may be; no phenotype is read yet."""
    _refuse_interaction(gate, study)
    p = gate.policy
    noise = None
    if p is not None and p["noise.required"]:
        noise = AppliedNoise(float(p["noise.epsilon"]), float(p["noise.delta"]), "")
    many, nobody = openings.LARGEST_SUM, np.zeros(0, object)
    gate.of(PeopleFacts(Samples(nobody, nobody, nobody.astype(bool), nobody.astype(np.int8)))).check(
        [
            OutputFacts(
                ASSOCIATION,
                t.name,
                many,
                study.variants,
                columns=len(study.covariates) + 1,
                minor=fewest_opened(study),
                noise=noise,
            )
            for t in study.phenotypes
        ]
    )


def _refuse_interaction(gate: Gate, study: StudyFile) -> None:
    if gate.minor_alleles and study.interaction is not None:
        raise PolicyError(NO_EXPOSED.format(gate.minor_alleles))
