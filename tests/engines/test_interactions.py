"""Tables of interactions are the plain engine's, byte for byte; designs that come after the genotypes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import securegen as sg
from securegen.errors import DesignError

pytestmark = pytest.mark.usefixtures("forked_roles")

MPC = sg.Mpc(split="vertical", reveal="aggregates", consent_aggregates=True, openings="all")
ENGINES = {
    "ckks": sg.Ckks(), "federated": sg.Federated(sites=3, openings="all"), "vertical": MPC,
    "outsourced": sg.Mpc(split="outsourced", openings="all"),
}  # fmt: skip
CHOSEN = {
    "pheno": "examples/cohort.pheno.tsv", "pheno_name": "QT", "covar": "examples/cohort.covar.tsv",
    "covar_name": ("AGE", "SEX", "PC1"), "chr": "1", "to_bp": 400_000,
}  # fmt: skip


@pytest.fixture(scope="module")
def study():
    return sg.open_study("examples/cohort", **CHOSEN, interaction="AGE")


@pytest.fixture(scope="module")
def plain(study, tmp_path_factory) -> bytes:
    out = tmp_path_factory.mktemp("plain")
    return Path(sg.run(study, out=out / "t").paths["QT"]).read_bytes()


@pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)
def test_every_engine_writes_the_same_bytes(study, plain, engine, tmp_path):
    found = sg.run(study, engine, out=tmp_path / "t")
    assert found.paths["QT"].endswith("t.QT.glm.linear.interaction")
    assert Path(found.paths["QT"]).read_bytes() == plain
    if isinstance(engine, sg.Ckks):
        assert found.record["interaction"] == "AGE"


@pytest.mark.parametrize("squares", [False, True])
def test_a_design_that_comes_later(study, plain, tmp_path, squares):
    """On a cohort without a stream of g² the owner brings Σ g²·x; both give the same bytes."""
    key = sg.ckks.generate_key(sg.ckks.plan(study, squares=squares))
    linear = sg.open_study("examples/cohort", **CHOSEN)
    first = sg.ckks.encrypt(linear, key, tmp_path / "study", squares=squares)
    design = sg.ckks.encrypt_design(study, key, first.owner, tmp_path / "later")
    results = sg.ckks.associate(first.cohort, design, tmp_path / "results")
    (table,) = sg.ckks.decrypt_tables(results, key, first.owner, str(tmp_path / "t"), design=design)
    assert Path(table.path).read_bytes() == plain


def test_a_key_that_was_planned_for_less_is_refused(study, tmp_path):
    linear = sg.open_study("examples/cohort", **CHOSEN, bits=15)
    key = sg.ckks.generate_key(sg.ckks.plan(linear))
    with pytest.raises(DesignError, match="plan again"):
        sg.ckks.encrypt(study, key, tmp_path / "study")


def test_two_traits_share_their_products(tmp_path):
    """Of the same people; the columns are summed once."""
    rows = [line.split("\t") for line in Path("examples/cohort.pheno.tsv").read_text().splitlines()]
    twice = [
        [*row[:3], "QT2" if i == 0 else row[2] if row[2] == "NA" else str(float(row[2]) ** 2)]
        for i, row in enumerate(rows)
    ]
    table = tmp_path / "pheno.tsv"
    table.write_text("\n".join("\t".join(row) for row in twice) + "\n")
    study = sg.open_study("examples/cohort", **(CHOSEN | {"pheno": table, "pheno_name": None}), interaction="AGE")
    assert len(study.design.columns.names) == 4 + 2 + 3 + 2
    both = sg.run(study)
    alone = sg.run(
        sg.open_study("examples/cohort", **(CHOSEN | {"pheno": table, "pheno_name": "QT2"}), interaction="AGE")
    )
    ours = both["QT2"]
    ok = (alone["QT2"]["ERRCODE"] == ".").to_numpy()
    np.testing.assert_allclose(ours["T_OR_F_STAT"][ok], alone["QT2"]["T_OR_F_STAT"][ok], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("engine", [ENGINES["ckks"], ENGINES["federated"]], ids=["ckks", "federated"])
def test_x_y_and_mt_have_the_same_bytes_too(reference, engine, tmp_path):
    cohort = reference("sexes")
    study = sg.open_study(
        cohort.bfile, pheno=cohort.pheno, pheno_name="QT", covar=cohort.covar, interaction="AGE", split_par="b38"
    )
    ours, theirs = (sg.run(study, e, out=tmp_path / name) for name, e in (("a", engine), ("b", "plain")))
    assert Path(ours.paths["QT"]).read_bytes() == Path(theirs.paths["QT"]).read_bytes()
    assert {"1", "X", "Y", "MT", "PAR1"} <= set(ours["QT"]["#CHROM"])
