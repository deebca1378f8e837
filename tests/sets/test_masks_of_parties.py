"""Masks at the party with the genotypes: the plain engine's sums, the rules of rows between masks, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from support import simulate, write_plink

import securegen as sg
from securegen.engines.plain.engine import Plain
from securegen.errors import UsageError

VERTICAL = {"split": "vertical", "reveal": "aggregates", "consent_aggregates": True}
PEOPLE = 120


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """People 0 to 39 carry the first variant, 40 to 79 the second, 40 to 82 the third: masks that 3 people tell apart."""
    folder = tmp_path_factory.mktemp("parties")
    made = simulate(folder / "c", samples=PEOPLE, variants=12)
    dosage = np.zeros((12, PEOPLE), np.int8)
    dosage[0, :40] = dosage[1, 40:80] = dosage[2, 40:83] = dosage[3, 30:60] = 1
    write_plink(folder / "c" / "cohort", dosage)
    return made


@pytest.fixture
def masks(tmp_path):
    """A is 0 and 1, B is 0 and 2 (3 people more than A), C is 3, which nobody but its own carriers tell from nothing."""
    lines = {"anno": "rs0 G x\nrs1 G a\nrs2 G b\nrs3 G c\n", "sets": "G 1 1000 rs0,rs1,rs2,rs3\n"}
    lines |= {"defs": "A x,a\nB x,b\nC c\n", "freq": "rs0 0.001\nrs1 0.002\nrs2 0.002\nrs3 0.004\n"}
    for name, text in lines.items():
        (tmp_path / name).write_text(text)
    files = {"anno_file": "anno", "set_list": "sets", "mask_def": "defs", "aaf_file": "freq"}
    return {name: str(tmp_path / file) for name, file in files.items()} | {"aaf_bins": (0.003, 0.01)}


def opened(cohort, masks, **more) -> sg.Study:
    return sg.open_study(cohort.bfile, pheno=cohort.pheno, pheno_name="CC", **masks, **more)


@pytest.mark.parametrize("options", [VERTICAL, {"split": "outsourced"}], ids=["aggregates", "outsourced"])
def test_its_sums_are_the_plain_ones_and_few_people_are_withheld(cohort, masks, options):
    study = opened(cohort, masks)
    assert study.reader.variants.id.tolist() == [f"G.{m}" for m in ("A.0.003", "A.0.01", "B.0.003", "B.0.01", "C.0.01")]
    plain = list(Plain().sums(study))
    (free,) = sg.Mpc(**options, openings="all").sums(study)
    np.testing.assert_array_equal(free.g, plain[0].g)
    (held,) = sg.Mpc(**options, openings="strict").sums(study)
    assert held.withheld.tolist() == [
        False,
        False,
        True,
        True,
        False,
    ]  # B beside A; A beside itself is no one's difference
    np.testing.assert_array_equal(held.g[[0, 1, 4]], plain[0].g[[0, 1, 4]])


def test_through_the_processes_of_a_deployment(cohort, masks, forked_roles):
    study = opened(cohort, masks)
    done = sg.run(study, sg.Mpc(split="outsourced", openings="all"))
    assert done.frame.equals(sg.run(study).frame)


@pytest.mark.parametrize(("engine", "more", "match"), [
    ({"split": "outsourced"}, {"aaf_file": None}, "public frequencies"),
    ({"split": "outsourced"}, {"build_mask": "sum"}, "max or"), ({"split": "vertical"}, {}, "`reveal` hits"),
    ({"split": "outsourced", "openings": "consortium"}, {}, "`openings` consortium"),
    ({"split": "outsourced"}, {"vc_tests": "skat"}, "engine plain, ckks or federated, not mpc"),
])  # fmt: skip
def test_what_no_rule_holds_apart_is_refused(cohort, masks, engine, more, match):
    with pytest.raises(UsageError, match=match):
        sg.run(opened(cohort, {**masks, "aaf_bins": "all", **more}), sg.Mpc(**engine))
