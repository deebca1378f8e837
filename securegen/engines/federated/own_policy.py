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
from securegen.engines.federated.studyfile import Site, StudyFile
from securegen.engines.governed import gate_of_inputs
from securegen.errors import PolicyError
from securegen.governance import openings, signing
from securegen.governance.door import ASSOCIATION, PEOPLE, QUALITY, OutputFacts
from securegen.governance.gate import Asking, Gate
from securegen.governance.history import PeopleFacts
from securegen.governance.pin import Pin, pinned
from securegen.governance.signing import SigningIdentity
from securegen.model import Samples
from securegen.results.outputs import NO_EXPOSED
from securegen.study.build import Planned
from securegen.study.inputs import Inputs, Log, silent


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


def check_site(gate: Gate, study: StudyFile, planned: Sequence[Planned], samples: Samples, state: Path) -> None:
    """Before anything is sent: raise PolicyError where this site's policy refuses what the study opens. Enters nothing."""
    _refuse_interaction(gate, study)
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
        policy=asking.policy, identity=asking.identity, purpose=asking.purpose, second_signature=asking.second or None
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
