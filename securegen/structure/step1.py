"""The whole-genome model of one owner's phenotypes: from files to the predictions that `pred` reads.

Who learns what: whoever runs it has the genotypes and phenotypes, and learns everything.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from securegen.errors import DesignError, UsageError
from securegen.governance import releases
from securegen.io.text import count
from securegen.model import FloatArray, Progress, SelectableReader, no_progress
from securegen.results.outputs import hidden_rows
from securegen.structure import whole_genome
from securegen.structure.people_tables import write_loco, write_prediction_list, write_score_file
from securegen.structure.ridge_people import People, people_of
from securegen.structure.run import Made, chosen_autosomes, facts_of, pass_door
from securegen.structure.totals import Counts, OwnTotals
from securegen.structure.whole_genome import Level0, Prediction
from securegen.study.build import Planned, plan
from securegen.study.held import held
from securegen.study.inputs import Inputs, Log, silent
from securegen.study.traits import Traits, read_traits
from securegen.vocabulary import canonical_chromosome


def write_step1(
    inputs: Inputs, out: str, log: Log = silent, *, block: int = whole_genome.BLOCK, write_score: bool = False,
    progress: Progress = no_progress,
) -> Made:  # fmt: skip
    """OUT_pred.list and OUT_1.loco, OUT_2.loco, … of each phenotype, as regenie's step 1 writes them: what `pred` reads.

    block: variants that are fitted together. write_score: also OUT.<PHENO>.score.txt, the same model as weights of a
    polygenic score; it is made of the values of these people, and a model of many weights may tell of them. Every phenotype is
    analysed in its own people.
    Raises UsageError for a test without a null model, DesignError for what cannot be fitted.
    """
    with held(inputs, log) as waiting:
        reader, everybody = chosen_autosomes(inputs, waiting)
        traits = read_traits(inputs, reader, waiting)
        planned = plan(inputs, traits, waiting)
    for p in planned:
        if not p.test.predictions:
            raise UsageError(f"a whole-genome model is for `model` linear or logistic, not for {p.test.name}")
    people = {p.phenotype.name: p.mask for p in planned}
    exact = [p.phenotype.name for p in planned if p.phenotype.noise is None]
    told = {"block": block, "write_score": write_score}
    gate = pass_door(
        inputs, reader, releases.PREDICTIONS, out, log, options=told, people=people, exact=exact, everybody=everybody
    )
    waiting.tell()
    sets: dict[bytes, list[int]] = {}
    for i, p in enumerate(planned):
        sets.setdefault(p.mask.tobytes(), []).append(i)
    loco: list[FloatArray] = [np.zeros(0)] * len(planned)
    heritability, scores = {}, {}
    for members in sets.values():
        group = _Group(reader, traits, [planned[i] for i in members], block, log)
        level = whole_genome.level_0(group.people, group.blocks, progress=progress)
        for j, i in enumerate(members):
            fitted, name = group.fit(level, j), planned[i].phenotype.name
            errors = ", ".join(f"{e:.4f}" for e in fitted.errors)
            log(
                f"phenotype {name}: heritability {fitted.heritability:g} chosen of 0.01, 0.25, 0.5, 0.75, 0.99, "
                f"whose errors in cross-validation are {errors}"
            )
            heritability[name] = fitted.heritability
            loco[i] = np.full((whole_genome.CHROMOSOMES + 1, len(reader.samples)), np.nan)
            loco[i][:, planned[i].mask] = fitted.loco()
            shown = group.carriers[level.rows] >= gate.minor_alleles  # of others an effect is who has the allele
            shown &= ~hidden_rows(gate, name, len(reader.variants))[group.kept[level.rows]]
            effects = whole_genome.effects_of(level, fitted, j)[shown]
            scores[name] = (group.people.reader.variants.take(level.rows[shown]), effects)
    names = [p.phenotype.name for p in planned]
    paths = [f"{out}_{i + 1}.loco" for i in range(len(names))]
    for path, values in zip(paths, loco, strict=True):
        write_loco(path, reader.samples, values, gate=gate)
    if write_score:
        for name, (variants, effects) in scores.items():
            paths.append(f"{out}.{name}.score.txt")
            write_score_file(paths[-1], variants, effects, name, gate=gate)
            log(
                f"WARNING: {paths[-1]} is not for the people that it was made of: it fits them better than anybody else"
            )
    listed = {name: f"{Path(out).name}_{i + 1}.loco" for i, name in enumerate(names)}
    write_prediction_list(f"{out}_pred.list", listed)
    facts: dict[str, Any] = {"phenotypes": names, "heritability": heritability, "block": block}
    return Made((f"{out}_pred.list", *paths), facts_of(inputs, reader, gate) | facts)


class _Group:
    """Phenotypes of the same people."""

    def __init__(
        self, reader: SelectableReader, traits: Traits, planned: Sequence[Planned], block: int, log: Log
    ) -> None:
        analysed = planned[0].mask
        counts = OwnTotals(reader, analysed).counts()
        varies = (counts.dosage > 0) & (counts.dosage < 2 * reader.dosage_grid * counts.called)
        if not varies.all():
            log(
                f"{count(int((~varies).sum()), 'variant')} without variation among the {int(analysed.sum())} people: not used"
            )
        if not varies.any():
            raise DesignError("no variant varies among the people who are analysed")
        self.kept = np.flatnonzero(varies)
        kept = reader.select(None, self.kept)
        counts = Counts(counts.called[varies], counts.dosage[varies], counts.samples)
        self.carriers = counts.carriers(reader.dosage_grid)
        chromosome = np.array([int(canonical_chromosome(c)) for c in kept.variants.chromosome])
        self.blocks = whole_genome.blocks_of(chromosome, block)
        self._planned = planned
        self._values = np.stack([p.phenotype.values[analysed] for p in planned], axis=1)
        self.people: People = people_of(
            kept, counts, analysed, traits.covariates[analysed], traits.covariate_names, self._values,
            tuple(p.phenotype.name for p in planned),
        )  # fmt: skip
        log(f"whole-genome model of {len(kept.variants):,} variants in {count(len(self.blocks), 'block')}, "
            f"{len(self._values):,} people")  # fmt: skip

    def fit(self, level: Level0, j: int) -> Prediction:
        if self._planned[j].test.binary:
            return whole_genome.binary(self.people, level, self._values[:, j], j)
        return whole_genome.quantitative(self.people, level, j)
