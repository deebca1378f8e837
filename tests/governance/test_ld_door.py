"""Correlations under a policy: which variants are left out, since their r would be a person's genotypes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from policy_tools import Ruled
from support import write_plink

import securegen as sg
from securegen.structure import fine_mapping, run, step1

FLOOR, N, WHO = 3, 90, 7
GONE = range(14)  # of whom WHO is one


def drawn(rows: int) -> np.ndarray:
    """(V, N) int8 of common variants."""
    return np.random.default_rng(12).binomial(2, 0.4, (rows, N)).astype(np.int8)


def variables(g: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Σg and Σg² of each row, as tables of frequencies say them."""
    return g.sum(axis=1), (g.astype(int) ** 2).sum(axis=1)


def correlated(ruled: Ruled, keep: Path | None = None) -> dict[tuple[str, str], float]:
    r = sg.ld(sg.Inputs(bfile=ruled.cohort.bfile, purpose="HMB", keep=None if keep is None else str(keep)))
    return {(a, b): r.loc[a, b] for a in r.index for b in r.columns}


@pytest.mark.parametrize("protected", [True, False])
def test_a_call_that_one_person_lacks_has_that_persons_genotypes_in_its_row(ruled, monkeypatch, protected):
    """r of that variant with another one goes over the others: of the three totals that these can have, one makes Σgh whole."""
    g = drawn(6)
    g[0, WHO] = -127  # no call
    write_plink(ruled.folder / "cohort", g)
    ruled.write(limits__minor_alleles=FLOOR)
    if not protected:
        monkeypatch.setattr(fine_mapping, "withheld", lambda *_: [])
        monkeypatch.setattr(fine_mapping, "lacking_apart", lambda reader, allowed, floor: allowed)
    r = correlated(ruled)
    assert (("rs0", "rs1") in r) is not protected
    if protected:
        return
    n, (total, square) = N - 1, variables(g[1:])
    (first,), (first2,) = variables(np.delete(g[:1], WHO, axis=1))
    for j in range(1, 6):
        whole = []
        for x in range(3):
            own, own2 = total[j - 1] - x, square[j - 1] - x * x
            spread = float(n * first2 - first**2) * float(n * own2 - own**2)
            both = (r["rs0", f"rs{j}"] * spread**0.5 + first * own) / n
            if abs(both - round(both)) < 1e-6:
                whole.append(x)
        assert whole == [g[j, WHO]]


@pytest.mark.parametrize("protected", [True, False])
def test_people_without_a_call_who_differ_by_one_person_are_that_person(ruled, monkeypatch, protected):
    """Two variants of one failed plate, and one person more: each is lacked by many."""
    g = drawn(6)
    g[0, 20:40] = g[1, 20:40] = g[1, WHO] = -127
    write_plink(ruled.folder / "cohort", g)
    ruled.write(limits__minor_alleles=FLOOR)
    if not protected:
        monkeypatch.setattr(fine_mapping, "lacking_apart", lambda reader, allowed, floor: allowed)
    found = {a for a, _ in correlated(ruled)}
    assert found == {f"rs{i}" for i in range(6)} - ({"rs1"} if protected else set())


def carried_by_one(ruled: Ruled) -> tuple[np.ndarray, Path]:
    """A first variant that of GONE only WHO carries, and a list without them."""
    g = drawn(6)
    g[0, GONE] = 0
    g[0, WHO] = 1
    write_plink(ruled.folder / "cohort", g)
    fam = [line.split()[:2] for line in (ruled.folder / "cohort.fam").read_text().splitlines()]
    less = ruled.folder / "less.txt"
    less.write_text("".join(f"{f}\t{i}\n" for n, (f, i) in enumerate(fam) if n not in GONE))
    ruled.write(limits__minor_alleles=FLOOR, budgets__releases_per_day=50, budgets__columns_share=0.16)
    return g, less


@pytest.mark.parametrize("protected", [True, False])
def test_two_matrices_whose_people_are_far_apart_are_not_the_carrier_among_them(ruled, monkeypatch, protected):
    """14 people left out, of whom one carries a variant: Σgh of all less Σgh of the others is her copies of each h."""
    g, less = carried_by_one(ruled)
    if not protected:
        monkeypatch.setattr(fine_mapping, "withheld", lambda *_: [])
    first, second = correlated(ruled), correlated(ruled, less)
    assert ("rs0", "rs1") in first and (("rs0", "rs1") in second) is not protected
    if protected:
        assert correlated(ruled) == first  # what was shown stays as it was
        return
    both = []
    for r, people in ((first, np.ones(N, bool)), (second, ~np.isin(np.arange(N), GONE))):
        total, square = variables(g[:, people])
        n = int(people.sum())
        spread = n * square - total**2
        both.append(
            [(r["rs0", f"rs{j}"] * np.sqrt(spread[0] * spread[j]) + total[0] * total[j]) / n for j in range(1, 6)]
        )
    assert np.round(np.subtract(*both), 6).tolist() == g[1:, WHO].tolist()


@pytest.mark.parametrize("protected", [True, False])
def test_loadings_of_other_people_have_no_frequency_of_a_variant_that_one_left_out_carries(
    ruled, monkeypatch, protected
):
    _, less = carried_by_one(ruled)
    if not protected:
        monkeypatch.setattr(run, "hidden_rows", lambda gate, what, variants: np.zeros(variants, bool))
    found = []
    for name, keep in (("a", None), ("b", str(less))):
        inputs = sg.Inputs(bfile=ruled.cohort.bfile, purpose="HMB", identity=ruled.key("steward"), keep=keep)
        made = run.write_components(inputs, str(ruled.folder / name), pcs=2)
        lines = Path(made.paths[2]).read_text().splitlines()[1:]
        found.append({line.split("\t")[2]: float(line.split("\t")[5]) for line in lines})
    assert "rs0" in found[0] and ("rs0" in found[1]) is not protected
    if not protected:
        assert round(found[0]["rs0"] * 2 * N - found[1]["rs0"] * 2 * (N - len(GONE))) == 1


@pytest.mark.parametrize("protected", [True, False])
def test_weights_of_a_model_of_other_people_have_no_variant_that_one_left_out_carries(ruled, monkeypatch, protected):
    _, less = carried_by_one(ruled)
    if not protected:
        monkeypatch.setattr(step1, "hidden_rows", lambda gate, what, variants: np.zeros(variants, bool))
    found = []
    for name, keep in (("a", None), ("b", str(less))):
        inputs = sg.Inputs(
            bfile=ruled.cohort.bfile, purpose="HMB", identity=ruled.key("steward"), keep=keep,
            pheno=ruled.cohort.pheno, pheno_name="QT",
        )  # fmt: skip
        made = step1.write_step1(inputs, str(ruled.folder / name), write_score=True)
        found.append(Path(next(p for p in made.paths if p.endswith(".score.txt"))).read_text())
    assert "\nrs0\t" in found[0] and ("\nrs0\t" in found[1]) is not protected
