"""Components of all sites as covariates of one site's people: who they are of, on which variants, and what they cost.

Who learns what: `components` says it. Which people are left out as relatives stays at their site.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from securegen.engines.federated.admission import charge_columns
from securegen.engines.federated.chosen_variants import autosomes, ids_of
from securegen.engines.federated.components import federated_components, unrelated_people
from securegen.engines.federated.own_inputs import OwnInputs, named_file
from securegen.engines.federated.rounds import SecureSum
from securegen.engines.federated.state import SiteState
from securegen.engines.federated.studyfile import PC_VARIANTS, StudyFile
from securegen.errors import ArtefactError, PolicyError
from securegen.governance import openings
from securegen.governance.guard import SiteGuard
from securegen.study.inputs import Log

LEFT_OUT = 16  # people a component and one more, where any are left out as relatives
NamedSets = list[tuple[str, np.ndarray]]


def component_people(study: StudyFile, own: OwnInputs, memory: SiteState, log: Log) -> NamedSets:
    """(N,) bool, of whom the components are: analysed in every phenotype, and of relatives one. Nothing without them.

    They are kept: the inputs do not change in a study, and a site that is begun again need not compare all pairs once more.
    Raises PolicyError where fewer are left than the study's smallest cohort.
    """
    if not study.pcs:
        return []
    everybody = _everybody(own)

    def find() -> bytes:
        reader = own.aligned.select(None, autosomes(own.aligned.variants))
        # sums over everybody less those over these are the others', in every component: enough people for their leverage
        fewest = max(study.fewest_people, LEFT_OUT * (study.pcs + 1))
        return np.packbits(unrelated_people(reader, everybody, fewest)).tobytes()

    raw = np.frombuffer(memory.once("component-people", find), np.uint8)
    people = np.unpackbits(raw, count=len(everybody)).astype(bool) & everybody
    if left := int((everybody & ~people).sum()):
        log(f"components: {left} relatives of {int(everybody.sum())} people are left out, and projected")
    if people.sum() < study.smallest_cohort:
        raise PolicyError(
            f"{int(people.sum())} people are left for components without relatives; the study takes no site with fewer than "
            f"{study.smallest_cohort}"
        )
    return [("components", people)]


def _everybody(own: OwnInputs) -> np.ndarray:
    out: np.ndarray = np.logical_and.reduce([p.mask for p in own.planned])
    return out


def with_components(
    study: StudyFile, own: OwnInputs, sets: NamedSets, secure: SecureSum, guard: SiteGuard, memory: SiteState, folder: Path,
    state: Path, log: Log,
) -> OwnInputs:  # fmt: skip
    """The same inputs with the columns PC1, PC2, … filled in. sets: of `component_people`.

    Raises PolicyError where a rule refuses, DesignError for too few people or variants.
    """
    if not study.pcs:
        return own
    ((_, people),) = sets
    chosen = autosomes(own.aligned.variants)
    if study.pc_variants_digest:
        raw = named_file(folder / PC_VARIANTS, study.pc_variants_digest, "variants of components")
        named = ids_of(raw, folder / PC_VARIANTS)
        chosen = chosen[np.array([v in named for v in own.aligned.variants.id[chosen]], bool)]
    charge = charge_columns(study, own.aligned.samples, people, state, guard, "columns of components")
    found = federated_components(
        secure, own.aligned.select(None, chosen), people, study.pcs, bytes.fromhex(study.digest), guard,
        charge, strict=study.openings == openings.STRICT,
        consent=study.consent_openings, prune=study.ld_prune_on == secure.site,
        others=_everybody(own) & ~people, say=log,
    )  # fmt: skip
    kept = np.frombuffer(memory.once("components", found.tobytes), np.float64)
    if kept.size != found.size:
        raise ArtefactError("the components of this site are not those that it began with: start another study")
    names = list(own.traits.covariate_names)
    covariates, first = own.traits.covariates.copy(), names.index("PC1")
    covariates[:, first : first + study.pcs] = kept.reshape(found.shape)
    return replace(own, traits=replace(own.traits, covariates=covariates))
