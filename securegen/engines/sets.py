"""Set tests of a study in the clear, by whoever has its genotypes: engine plain, and the owner under CKKS."""

from __future__ import annotations

from securegen.engines.governed import people_of
from securegen.engines.set_sums import results_of_sets
from securegen.governance.gate import Gate
from securegen.governance.signing import digest_of
from securegen.results import outputs
from securegen.results.forms import TableForm
from securegen.results.sets import write_sets
from securegen.study.opening import Study


def gate_of_sets(gate: Gate, study: Study) -> Gate:
    """The same door for the people and columns of the set tests. Raises PolicyError where it would refuse them now."""
    sets = study.sets
    if sets is None or gate.policy is None:
        return gate
    asked = study.inputs.asked_for() | {"options.sets": digest_of({"tests": sorted(sets.tests)})}
    own = gate.joined(gate.of(people_of(sets.reader.samples, sets.strata), asked))
    outputs.refuse_masks(sets.table, own.minor_alleles)
    own.check(outputs.associations(sets.analyses, sets.strata, len(sets.chosen), floor=own.minor_alleles))
    return own


def write_study_sets(study: Study, out: str, form: TableForm, gate: Gate) -> list[str]:
    """Write OUT.<PHENO>.sets where the study asks for set tests; returns the names. gate: of `gate_of_sets`."""
    sets = study.sets
    if sets is None:
        return []
    paths = write_sets(
        out, sets.table, results_of_sets(sets), sets.strata, sets.tests, gate=gate, count=len(sets.chosen),
        digits=form.digits,
    )  # fmt: skip
    return form.finish(paths)
