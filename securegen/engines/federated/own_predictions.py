"""What a whole-genome model of all sites predicts for one site's people: which variants, what it costs, and what is written.

Who learns what: `whole_genome` says it. Predictions stay at the site of the people; effects of variants are everybody's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from securegen.engines.federated.admission import charge_columns, charge_products
from securegen.engines.federated.chosen_variants import autosomes
from securegen.engines.federated.cohort import places_at
from securegen.engines.federated.common_variants import (
    CommonVariants,
    common_variants,
    pooled_people,
    withheld_by_nobody,
)
from securegen.engines.federated.own_inputs import OwnInputs
from securegen.engines.federated.rounds import SecureSum
from securegen.engines.federated.state import SiteState
from securegen.engines.federated.studyfile import StudyFile
from securegen.engines.federated.whole_genome import PooledModel
from securegen.errors import DesignError
from securegen.governance import openings, ridge_rules
from securegen.governance.gate import Gate
from securegen.governance.guard import SiteGuard, guarded
from securegen.governance.lattice import small_integers, withheld_for_lattice
from securegen.governance.ridge_rules import withheld_for_leverage
from securegen.governance.signing import canonical
from securegen.io.loco import Offsets
from securegen.io.text import count
from securegen.model import FloatArray, IntArray, Samples, Variants
from securegen.structure import ridge, whole_genome
from securegen.structure.people_tables import as_printed, write_loco, write_prediction_list, write_score_file
from securegen.structure.ridge_people import GRID, imputed, people_of
from securegen.structure.ridge_totals import product
from securegen.structure.whole_genome import VariantBlock, blocks_of
from securegen.study.inputs import Log
from securegen.vocabulary import canonical_chromosome

BESIDE = 1 << 20  # units of the largest of a column beside variants, in which leverage is computed


@dataclass(frozen=True)
class Predicted:
    """loco: phenotype -> (23, N) float64 of this site's samples, NaN for people who are not analysed; effects: phenotype -> of
    a copy of each of `variants`."""

    samples: Samples
    loco: dict[str, FloatArray]
    variants: Variants
    effects: dict[str, FloatArray]

    def write(self, out: str, gate: Gate) -> list[str]:
        """OUT_pred.list and OUT_k.loco, as `pred` reads them. gate: it was passed. Returns their paths."""
        paths = {name: f"{out}_{k}.loco" for k, name in enumerate(self.loco, 1)}
        for name, path in paths.items():
            write_loco(path, self.samples, self.loco[name], gate=gate)
        write_prediction_list(f"{out}_pred.list", {name: Path(path).name for name, path in paths.items()})
        return [f"{out}_pred.list", *paths.values()]

    def write_scores(self, out: str, gate: Gate) -> list[str]:
        """OUT.<PHENO>.score.txt, the same at every site. gate: it was passed. Returns their paths."""
        paths = {name: f"{out}.{name}.score.txt" for name in self.effects}
        for name, path in paths.items():
            write_score_file(path, self.variants, self.effects[name], name, gate=gate)
        return list(paths.values())


def with_predictions(
    study: StudyFile, own: OwnInputs, variants: Variants, secure: SecureSum, guard: SiteGuard, memory: SiteState,
    state: Path, log: Log,
) -> tuple[OwnInputs, Predicted | None]:  # fmt: skip
    """The same inputs with what a model of all sites predicts, and the predictions. variants: of the study.

    Raises PolicyError where a rule refuses, DesignError for too few people or variants.
    """
    if not study.step1:
        return own, None
    people, guard = own.planned[0].mask, guard.beside()
    pooled = pooled_people(secure, people)
    common, blocks = _blocks(study, own, people, pooled, secure, guard, log)
    block, predictors = max(len(b.rows) for b in blocks), len(ridge.HERITABILITY) * len(blocks) * len(study.phenotypes)
    _afford(study, guard, block, predictors, pooled, int(people.sum()))
    told = canonical({"variants": study.variants_digest, "blocks": [common.rows[b.rows].tolist() for b in blocks]})
    charge_products(study, own.aligned.samples, people, told, block, predictors, state, guard)
    totals = PooledModel(
        secure, guard, memory, people, pooled, guarded(secure.total, guard),
        charge_columns(study, own.aligned.samples, people, state, guard, "columns of a whole-genome model"),
    )  # fmt: skip
    traits, names = own.traits, tuple(p.phenotype.name for p in own.planned)
    values = np.stack([p.phenotype.values[people] for p in own.planned], axis=1)
    party = people_of(
        common.reader, common.counts, people, traits.covariates[people], traits.covariate_names, values, names, totals
    )
    level = whole_genome.level_0(party, blocks)
    loco, offsets, effects = {}, {}, {}
    for j, (name, planned) in enumerate(zip(names, own.planned, strict=True)):
        if planned.test.binary:
            fitted = whole_genome.binary(party, level, values[:, j], j)
        else:
            fitted = whole_genome.quantitative(party, level, j)
        log(f"phenotype {name}: heritability {fitted.heritability:g} chosen of {_listed(ridge.HERITABILITY)}")
        loco[name] = np.full((whole_genome.CHROMOSOMES + 1, len(people)), np.nan)
        loco[name][:, people] = as_printed(fitted.loco())
        offsets[name] = Offsets(Path(f"the model of study {study.name}"), loco[name], 0)
        effects[name] = whole_genome.effects_of(level, fitted, j)
    places = places_at(study, traits, offsets, variants)
    predicted = Predicted(own.aligned.samples, loco, party.reader.variants.take(level.rows), effects)
    return replace(own, places=places, offsets=offsets), predicted


def _listed(values: FloatArray) -> str:
    return ", ".join(f"{v:g}" for v in values)


def _blocks(
    study: StudyFile, own: OwnInputs, people: np.ndarray, pooled: int, secure: SecureSum, guard: SiteGuard, log: Log
) -> tuple[CommonVariants, list[VariantBlock]]:
    """The variants of the model, `rows` of the study's, and their blocks."""
    asked, strict, number = autosomes(own.aligned.variants), study.openings == openings.STRICT, 0
    common = common_variants(secure, own.aligned.select(None, asked), people, pooled, guard, "step1", strict=strict)
    planned, before = [p.phenotype.values[people] for p in own.planned], -1
    beside = np.column_stack([own.traits.covariates[people], *planned])
    while before != len(common.rows):  # blocks without a variant have others beside each other
        before, number = len(common.rows), number + 1
        few = _few_in_combination(common, _divided(common.reader.variants, study.step1), people, beside, guard, log)
        common = common.take(withheld_by_nobody(secure, f"step1-combinations-{number:02d}", few))
    blocks = _divided(common.reader.variants, study.step1)
    log(
        f"whole-genome model of {len(common.rows):,} of {count(len(asked), 'variant')} in {count(len(blocks), 'block')}, "
        f"{pooled:,} people"
    )
    return replace(common, rows=asked[common.rows]), blocks


def _divided(variants: Variants, size: int) -> list[VariantBlock]:
    return blocks_of(np.array([int(canonical_chromosome(c)) for c in variants.chromosome]), size)


def _few_in_combination(
    common: CommonVariants, blocks: Sequence[VariantBlock], people: np.ndarray, beside: FloatArray, guard: SiteGuard, log: Log
) -> IntArray:  # fmt: skip
    """(M,) 1 where this site withholds a variant: with others of its block, and with covariates and phenotypes (n, E) beside
    them, it singles few of its people out."""
    out = np.zeros(len(common.rows), np.int64)
    whole = small_integers(beside) * GRID
    scale = np.abs(beside - beside.mean(axis=0)).max(axis=0, initial=0.0) if len(beside) else np.ones(beside.shape[1])
    centred = (beside - beside.mean(axis=0)) / np.where(scale > 0, scale, 1) if len(beside) else beside
    fixed = np.concatenate([np.full((len(beside), 1), GRID), np.rint(centred * BESIDE)], axis=1).astype(np.int64)
    for block in blocks if guard.on else ():
        x = imputed(common.reader, common.counts, people, block.rows)
        integers = np.concatenate([fixed[:, :1], whole, x], axis=1)
        few = withheld_for_lattice(product(integers, integers), guard.fewest, GRID, whole.shape[1])
        left = np.concatenate([fixed, x[:, ~few]], axis=1)
        few[~few] = withheld_for_leverage(product(left, left), left, fixed.shape[1], guard.limit)
        out[block.rows] = few
    if out.any():
        log(f"{count(int(out.sum()), 'variant')} withheld here: with others of a block they single few people out")
    return out


def _afford(study: StudyFile, guard: SiteGuard, block: int, predictors: int, pooled: int, own: int) -> None:
    """Raises DesignError or PolicyError where the combinations of a person's genotypes that the totals hold, `block` and
    `predictors` of them, are too many for so few people. Consent lifts the shares, and not that of a block."""
    if not guard.on:
        return
    fault = ridge_rules.block_fault(block, own)
    if fault is not None:
        guard.refuse("whole-genome model", fault)
    if study.consent_openings:
        return
    width = block + predictors
    if width > openings.STRUCTURE_SHARE * pooled:
        raise DesignError(
            f"a whole-genome model of {width} columns is more than {openings.STRUCTURE_SHARE:.0%} of {pooled} people: fewer "
            f"variants, another `block` than {study.step1}, or `consent_openings`"
        )
    if width > openings.SITE_SHARE * own:
        guard.refuse("whole-genome model", f"{width} columns are more than {openings.SITE_SHARE:.0%} of the own people")
