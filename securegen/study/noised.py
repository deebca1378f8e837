"""Phenotypes with noise: the one draw that each person has of a trait in this place, said aloud with what it costs.

Draws stand beside the policy, or else beside the table of phenotypes: every role and every run there has the same ones, so
that tables of two engines are equal, and repeating a run averages nothing out.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from securegen.design.columns import AppliedNoise
from securegen.design.strata import Stratum
from securegen.errors import PolicyError
from securegen.governance.gate import LEDGER
from securegen.governance.label_noise import LabelNoise, in_units
from securegen.governance.ledger_file import open_ledger
from securegen.governance.noise_ledger import DEFAULT_DELTA, DEFAULT_EPSILON, EXACT_RULE
from securegen.governance.noise_store import has_draws, open_draws
from securegen.governance.policy import Policy
from securegen.model import Samples
from securegen.study.inputs import Inputs, Log
from securegen.study.noise_place import place_of
from securegen.study.people import Phenotype


def noised(inputs: Inputs, samples: Samples, phenotypes: Sequence[Phenotype], log: Log) -> tuple[Phenotype, ...]:
    """Phenotypes as they are analysed: with noise where `inputs.dp_epsilon` asks for it, else as they are.

    Raises UsageError where bounds lack, PolicyError where a budget is spent, values changed, exact statistics have left, or
    exact ones are asked of what has noise; StorageError where the draws are not as they were written.
    """
    noise, (folder, policy) = inputs.label_noise, place_of(inputs)
    if noise is None and not has_draws(folder):
        return tuple(phenotypes)
    if noise is not None:
        for p in phenotypes:
            noise.mechanism(binary=p.binary)
        if inputs.pred:
            if policy is not None and policy["noise.required"]:
                raise PolicyError(
                    "policy.noise: predictions (`pred`) may be of exact values of the phenotype, which this policy refuses: "
                    "leave them out"
                )
            log("WARNING: predictions are used as they are: those of exact values tell them, noise or not")
        log(
            "noise protects each person's value of a phenotype: not genotypes, covariates, who takes part, or who has no value"
        )
    out = []
    with open_draws(folder, log) as entries:
        if noise is None and not entries.traits:  # summaries with noise of whole people are there alone
            return tuple(phenotypes)
        for p in phenotypes:
            known = ~np.isnan(p.values)
            places = entries.places(samples, known)
            if noise is None:
                entries.refuse_exact(p.name, places, p.values[known])
                out.append(p)
                continue
            if not entries.knows(p.name):
                refuse_left(folder, policy, p.name, samples, known)
            draws = entries.draw(p.name, places, p.values[known], noise, binary=p.binary, most=most_of(policy))
            values = p.values.copy()
            values[known] = in_units(noise, draws, binary=p.binary)
            out.append(replace(p, values=values, noise=applied(noise, binary=p.binary)))
    if noise is not None:
        for p in out:
            log(cost_line(noise, p))
    return tuple(out)


def enter_made(inputs: Inputs, strata: Sequence[Stratum]) -> None:
    """Enter, beside the draws, which columns were built of phenotypes with noise: by these every door believes it."""
    noisy = [(s, a) for s in strata for a in s.design.analyses if a.noise is not None]
    if noisy and inputs.label_noise is not None:
        with open_draws(place_of(inputs)[0]) as entries:
            for s, a in noisy:
                if a.noise is not None:
                    entries.enter_made(a.phenotype, a.noise, s.design.mark_of(a))


def applied(noise: LabelNoise, *, binary: bool) -> AppliedNoise:
    """What a phenotype with these draws carries to every door."""
    return AppliedNoise(noise.epsilon, noise.delta, noise.mechanism(binary=binary))


def most_of(policy: Policy | None) -> tuple[float, float]:
    """ε and δ that a person may spend."""
    if policy is None:
        return DEFAULT_EPSILON, DEFAULT_DELTA
    return float(policy["noise.epsilon"]), float(policy["noise.delta"])


def refuse_left(folder: Path, policy: Policy | None, name: str, samples: Samples, known: np.ndarray) -> None:
    """Raise PolicyError where the ledger of these people has exact tables of a phenotype: noise would be a false comfort."""
    if policy is None or not os.path.lexists(folder / LEDGER):
        return
    with open_ledger(folder / LEDGER, audited=False) as ledger:
        asked = {ledger.person(str(samples.fid[i]), str(samples.iid[i])) for i in np.flatnonzero(known)}
        rows = [row for person, row in ledger.people.items() if person in asked]
        for what, members in ledger.sets:
            if (
                re.fullmatch(rf"\[[^]]*\] policy, {re.escape(name)}", what)
                and members[[r for r in rows if r < len(members)]].any()
            ):
                raise PolicyError(
                    f"{EXACT_RULE}: exact statistics of phenotype {name} of these people have left: noise on it "
                    "now would protect nothing"
                )


def cost_line(noise: LabelNoise, phenotype: Phenotype) -> str:
    """What noise does to a phenotype and its table, from the noisy values alone.

    The share of true cases is (share − (1 − f)/2)/f, of f the factor; the effective sample size is N·f²·variance before over
    variance after, and for a quantitative phenotype N·(variance after − that of the noise)/variance after.
    """
    values = phenotype.values[~np.isnan(phenotype.values)]
    head = f"phenotype {phenotype.name}: {noise.mechanism(binary=phenotype.binary)}, ε = {noise.epsilon:g}"
    if noise.delta is not None:
        head += f", δ = {noise.delta:g}"
    effective = effective_samples(noise, values, binary=phenotype.binary)
    of = f"{effective:,.0f} of {len(values):,} people in effect"
    if phenotype.binary:
        f = noise.factor
        return f"{head}: BETA is {f:.6g} times that of the true values, divide BETA and SE by it; {of}"
    low, high = noise.checked_bounds
    deviation = noise.variance() ** 0.5
    return f"{head}, bounds {low:g} to {high:g}, noise of deviation {deviation:.6g}: BETA is unbiased but for clipping; {of}"


def effective_samples(noise: LabelNoise, values: np.ndarray, *, binary: bool) -> float:
    """As in `cost_line`. values: (n,) noisy ones."""
    if not len(values):
        return 0.0
    if binary:
        f, share = noise.factor, float(values.mean())
        true = min(max((share - (1 - f) / 2) / f, 0.0), 1.0)
        after = share * (1 - share)
        return len(values) * f * f * true * (1 - true) / after if after else 0.0
    after = float(values.var())
    return len(values) * max(after - noise.variance(), 0.0) / after if after else 0.0
