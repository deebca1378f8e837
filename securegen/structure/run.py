"""Kinship and components of one owner's cohort: from its files to tables.

Who learns what: whoever runs these has the genotypes, and learns everything. Tables have a row per person, and are readable by
their owner alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from securegen.errors import DesignError, UsageError
from securegen.governance import releases
from securegen.governance.door import LD, PEOPLE, OutputFacts
from securegen.governance.fingerprint import Fingerprints
from securegen.governance.gate import Gate, gate_of
from securegen.governance.history import PeopleFacts
from securegen.governance.noise_rules import exact_reasons
from securegen.governance.signing import digest_of
from securegen.io.text import count
from securegen.model import GenotypeReader, Progress, SelectableReader, no_progress
from securegen.results.outputs import hidden_rows
from securegen.structure import components as pc
from securegen.structure import kinship
from securegen.structure.people_tables import (
    write_eigenvalues,
    write_kin0,
    write_loadings,
    write_numbers,
    write_people,
)
from securegen.structure.totals import OwnTotals
from securegen.study.genotypes import chosen_genotypes, everybody_in
from securegen.study.held import governing, held
from securegen.study.inputs import Inputs, Log, silent
from securegen.vocabulary import AUTOSOMES, canonical_chromosome

OWN_ROUNDS, OWN_TOLERANCE = 20, 1e-3  # of components of one owner, who opens nothing


@dataclass(frozen=True, repr=False)
class Made:
    """What was written: paths; and facts, for run.json."""

    paths: tuple[str, ...]
    facts: dict[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"Made({', '.join(self.paths)})"


def open_autosomes(inputs: Inputs, log: Log) -> SelectableReader:
    """The genotypes that inputs name, of chromosomes 1 to 22. Raises UsageError where none is left, or for a part of them."""
    return chosen_autosomes(inputs, log)[0]


def chosen_autosomes(inputs: Inputs, log: Log) -> tuple[SelectableReader, GenotypeReader | None]:
    """As `open_autosomes`, and the same variants of everybody in the files whose use is allowed, `keep` and `remove` aside; None
    where no policy governs."""
    if inputs.blocks is not None:
        raise UsageError(
            f"`blocks` {inputs.blocks} is a part of an association: here all variants are looked at together"
        )
    reader, others = chosen_genotypes(inputs, log, None, haploid=False, parts=False)
    known = np.array([canonical_chromosome(c) in AUTOSOMES for c in reader.variants.chromosome], bool)
    if not known.any():
        raise UsageError("no variant lies on chromosomes 1 to 22, which alone are used here")
    if not known.all():
        log(f"{count(int((~known).sum()), 'variant')} on no chromosome from 1 to 22: not used")
        reader = reader.select(None, np.flatnonzero(known))
        others = None if others is None else others.select(None, np.flatnonzero(known))
    if governing(inputs) is None:
        return reader, None
    return reader, reader if others is None else everybody_in(inputs, others)


def pass_door(
    inputs: Inputs, reader: SelectableReader, kind: str, out: str, log: Log, *,
    options: Mapping[str, object], people: Mapping[str, np.ndarray] | None = None, exact: Sequence[str] = (),
    columns: int = 0, analysed: np.ndarray | None = None, everybody: GenotypeReader | None = None,
) -> Gate:  # fmt: skip
    """The door of tables with a row per person, before they are computed. kind: of `releases.ANALYSES`; options: of this
    work, by name; people: (N,) bool of each of several tables, by name; everybody in one; exact: phenotypes without noise of
    which these tell; columns: sums a variant that leave beside these rows; analysed: (N,) bool, those of whom they are, None for
    `people`; everybody: as of `PeopleFacts`. Raises PolicyError where a policy refuses, or consent does."""
    sets = {kind: np.ones(len(reader.samples), bool)} if people is None else people
    gate = gate_of("plain", inputs.asking, inputs.files().values(), log=log, consent=bool(inputs.consent))
    if (policy := gate.policy) is not None:
        asked = inputs.asked_for() | {f"options.{kind}": digest_of(options)}
        gate = replace(gate, inputs=asked, extra=partial(exact_reasons, policy, exact))
        whose = ((f"{kind} {digest_of(options)} of {reader.variants.digest()}", columns),) if columns else ()
        family = releases.ANALYSES[kind].family
        place = "" if family == releases.SUMS else family  # rows of pairs alone are told by no sum of others
        members = tuple((name, place, mask if analysed is None else analysed) for name, mask in sets.items())
        prints = Fingerprints(reader)
        gate = gate.of(PeopleFacts(reader.samples, members, products=whose, genotypes=prints, everybody=everybody))
    gate.release([OutputFacts(PEOPLE, name, len(reader.samples), len(reader.variants)) for name in sets])
    claimed = [(releases.analysis_of(kind, name), members) for name, members in sets.items()]
    gate.claim(reader.samples, claimed, Path(out).name)
    return gate


def ask_door(
    inputs: Inputs, reader: SelectableReader, log: Log, kind: str = PEOPLE, *, everybody: GenotypeReader | None = None
) -> Gate:
    """Before the work, and in a rehearsal: raise PolicyError where the policy would refuse such tables of these people; enters
    nothing. kind: of `door.KINDS`; everybody: as of `chosen_autosomes`. Returns the gate, which knows what rows are withheld."""
    gate = gate_of("plain", inputs.asking, inputs.files().values(), log=log, consent=bool(inputs.consent))
    people = people_of_ld(reader, everybody) if kind == LD else PeopleFacts(reader.samples)
    gate = gate.of(people)
    gate.check([OutputFacts(kind, "all", len(reader.samples), 0)], early=True)
    return gate


def people_of_ld(
    reader: SelectableReader, everybody: GenotypeReader | None, products: tuple[tuple[str, int], ...] = ()
) -> PeopleFacts:
    """Whose correlations leave. everybody: as of `chosen_autosomes`; products: as of `PeopleFacts`."""
    sets = ((LD, "", np.ones(len(reader.samples), bool)),)
    return PeopleFacts(reader.samples, sets, products=products, genotypes=Fingerprints(reader), everybody=everybody)


def facts_of(inputs: Inputs, reader: SelectableReader, gate: Gate) -> dict[str, Any]:
    """What run.json says of any of these."""
    return {
        "engine": "plain", "inputs": inputs.told_digests(), "samples": len(reader.samples),
        "variants": len(reader.variants), **gate.record(),
    }  # fmt: skip


def write_kinship(
    inputs: Inputs, out: str, log: Log = silent, *, king_table_filter: float | None = None, king_cutoff: float | None = None,
    progress: Progress = no_progress,
) -> Made:  # fmt: skip
    """OUT.kin0: pairs with at least that kinship (None: all). king_cutoff: also OUT.king.cutoff.in.id, the samples of whom no two
    are closer, and OUT.king.cutoff.out.id, the others."""
    with held(inputs, log) as waiting:
        reader = open_autosomes(inputs, waiting)
    told = {"king_table_filter": king_table_filter, "king_cutoff": king_cutoff}
    gate = pass_door(inputs, reader, releases.KINSHIP, out, log, options=told)
    waiting.tell()
    related: list[kinship.Pairs] = []
    every = _watched(kinship.pairs(reader, progress=progress), king_cutoff, related)
    written = write_kin0(
        f"{out}.kin0",
        reader.samples,
        every if king_table_filter is None else (p.at_least(king_table_filter) for p in every),
        gate=gate,
    )
    log(f"{count(written, 'pair')} of {count(len(reader.samples), 'sample')}")
    paths = [f"{out}.kin0"]
    facts: dict[str, Any] = {"pairs": written}
    if king_cutoff is not None:
        chosen = kinship.unrelated(len(reader.samples), related)
        for name, which in (("in", chosen), ("out", ~chosen)):
            paths.append(f"{out}.king.cutoff.{name}.id")
            write_people(paths[-1], reader.samples.take(np.flatnonzero(which)), gate=gate)
        log(f"--king-cutoff {king_cutoff:g}: {int((~chosen).sum())} samples left out, {int(chosen.sum())} remain")
        facts["unrelated"] = int(chosen.sum())
    return Made(tuple(paths), facts_of(inputs, reader, gate) | facts)


def _watched(
    found: Iterator[kinship.Pairs], king_cutoff: float | None, related: list[kinship.Pairs]
) -> Iterator[kinship.Pairs]:
    """The same pairs; those above the cutoff are kept in `related`."""
    for part in found:
        if king_cutoff is not None:
            close = part.at_least(np.nextafter(king_cutoff, 2))
            if len(close):
                related.append(close)
        yield part


def write_components(
    inputs: Inputs, out: str, log: Log = silent, *, pcs: int = 10, unrelated: bool = False,
    king_cutoff: float = kinship.SECOND_DEGREE, rounds: int = OWN_ROUNDS, tolerance: float = OWN_TOLERANCE,
    progress: Progress = no_progress,
) -> Made:  # fmt: skip
    """OUT.eigenvec (#FID IID PC1 …), OUT.eigenval and OUT.loadings.tsv.

    unrelated: of samples of whom no two have that kinship; the others are projected, and divided by 1 − 1/eigenvalue, by which
    projections shrink. Raises DesignError for too few samples or variants.
    """
    with held(inputs, log) as waiting:
        reader, everybody = chosen_autosomes(inputs, waiting)
    told = {"pcs": pcs, "unrelated": unrelated, "king_cutoff": king_cutoff, "rounds": rounds, "tolerance": tolerance}
    chosen = None
    if unrelated:  # who is in the sums, which are compared with others, is known after kinship
        ask_door(inputs, reader, log)
        close = [p.at_least(np.nextafter(king_cutoff, 2)) for p in kinship.pairs(reader, progress=progress)]
        chosen = kinship.unrelated(len(reader.samples), close)
    gate = pass_door(
        inputs, reader, releases.COMPONENTS, out, log, options=told, columns=pcs, analysed=chosen, everybody=everybody
    )
    waiting.tell()
    if chosen is not None:
        log(
            f"components of {int(chosen.sum())} samples, kinship up to {king_cutoff:g}; {int((~chosen).sum())} are projected"
        )
    found = pc.components(
        OwnTotals(reader, chosen), pcs, reader.variants.digest().encode(), grid=reader.dosage_grid, rounds=rounds,
        tolerance=tolerance, say=log,
    )  # fmt: skip
    if (settled := found.converged(tolerance)) < pcs:
        log(f"WARNING: {pcs - settled} of {pcs} components have not converged to {tolerance:g} after "
            f"{count(found.rounds, 'round')}: their eigenvalues are nearly equal to others, so only the space that they span "
            "together is determined")  # fmt: skip
    s = pc.standardised(found.counts, reader.dosage_grid)
    values = pc.scores(found, OwnTotals(reader).project(*s.loadings(found.loadings)))
    if chosen is not None and not chosen.all():
        if (found.eigenvalues <= 1).any():
            raise DesignError("an eigenvalue is 1 or less: projections on such a component have no size; fewer `pcs`")
        values[~chosen] /= 1 - 1 / found.eigenvalues
    names = [f"PC{i + 1}" for i in range(pcs)]
    paths = (f"{out}.eigenvec", f"{out}.eigenval", f"{out}.loadings.tsv")
    write_numbers(paths[0], reader.samples, names, values, gate=gate)
    write_eigenvalues(paths[1], found.eigenvalues, gate=gate)
    theta = found.eigenvalues * found.variants
    frequency = found.counts.dosage / (2 * reader.dosage_grid * np.maximum(found.counts.called, 1))
    shown = (s.scale > 0) & (found.counts.carriers(reader.dosage_grid) >= gate.minor_alleles)
    shown &= ~hidden_rows(gate, releases.COMPONENTS, len(shown))
    write_loadings(paths[2], reader.variants, frequency, found.loadings / np.sqrt(theta), names, shown, gate=gate)
    facts = {"rounds": found.rounds, "residuals": found.residuals.tolist(), "eigenvalues": found.eigenvalues.tolist()}
    return Made(paths, facts_of(inputs, reader, gate) | facts)
