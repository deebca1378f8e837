"""A study whose sites compute their components: end to end, over restarts, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support import securegen, write_plink

import securegen as sg
from securegen.engines.federated import steps
from securegen.engines.federated.chosen_variants import component_ids, ids_of
from securegen.errors import ArtefactError, PolicyError, ProtocolError, UsageError
from securegen.model import Variants

pytestmark = pytest.mark.usefixtures("forked_roles")

PEOPLE, VARIANTS = 1500, 300


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """Three populations of different means of a trait that no variant has."""
    folder = tmp_path_factory.mktemp("pcs")
    rng = np.random.default_rng(7)
    population = np.arange(PEOPLE) // 3 % 3  # sites are dealt by turns
    f = np.clip(rng.uniform(0.2, 0.5, VARIANTS)[:, None] + rng.normal(0, 0.1, (VARIANTS, 3)), 0.05, 0.95)
    g = rng.binomial(2, f[:, population]).astype(np.int8)
    base = folder / "cohort"
    write_plink(base, g)
    names = [line.split()[:2] for line in Path(f"{base}.fam").read_text().splitlines()]
    y = 2.0 * population + rng.normal(size=PEOPLE)
    rows = "".join(f"{a}\t{b}\t{v:.5f}\n" for (a, b), v in zip(names, y, strict=True))
    (folder / "pheno.tsv").write_text("#FID\tIID\tQT\n" + rows)
    return base, folder / "pheno.tsv"


def run(cohort, out, *more):
    base, pheno = cohort
    return securegen(
        "run-local", "gwas", "--engine", "federated", "--bfile", base, "--pheno", pheno, "--pheno-name", "QT", "--out", out,
        *more,
    )  # fmt: skip


def inflation(path) -> float:
    t = pd.read_csv(path, sep="\t")["T_STAT"].dropna()
    return float((t**2).median() / 0.4549)


def test_components_of_all_sites_take_structure_out(cohort, tmp_path):
    """λ of variants without an effect: far above 1 without components, about 1 with them, the same as with plain's own."""
    assert run(cohort, tmp_path / "without").code == 0
    done = run(cohort, tmp_path / "with", "--pcs", "2", "--consent-openings")
    assert done.code == 0, done.err
    record = json.loads((tmp_path / "with.run.json").read_text())
    assert record["covariate_names"] == ["PC1", "PC2"]
    assert "loadings of 2 components" in json.dumps(record["receipt"])
    assert inflation(tmp_path / "without.QT.glm.linear") > 1.4
    assert inflation(tmp_path / "with.QT.glm.linear") < 1.2
    assert any(r["name"].startswith("components-03-products") for r in record["opened"]["rounds"])
    own = sg.pca(sg.Inputs(bfile=str(cohort[0])), pcs=2)
    own.to_csv(tmp_path / "covar.tsv", sep="\t", index=False)
    plain = sg.run(sg.open_study(cohort[0], pheno=cohort[1], pheno_name="QT", covar=tmp_path / "covar.tsv"))["QT"]
    ours = pd.read_csv(tmp_path / "with.QT.glm.linear", sep="\t")
    both = ours["T_STAT"].notna().to_numpy()
    assert both.mean() > 0.8 and np.corrcoef(ours["T_STAT"][both], plain["T_STAT"][both])[0, 1] > 0.995


def test_small_sites_refuse_without_consent(cohort, tmp_path):
    """Of 500 people somebody holds more than a fiftieth of a column's squares."""
    done = run(cohort, tmp_path / "x", "--pcs", "2")
    assert done.code == PolicyError.exit_code and "components" in (tmp_path / "x.log").read_text()
    assert not list(tmp_path.glob("x.QT*"))


def test_chosen_variants_are_those_of_the_list(cohort, tmp_path):
    """The study names the file by its digest; another one ends it."""
    base, pheno = cohort
    half = [line.split()[1] for line in Path(f"{base}.bim").read_text().splitlines()[::2]]
    (tmp_path / "few.txt").write_text("".join(f"{name}\n" for name in half))
    keys = {}
    for site in ("a", "b", "c"):
        steps.keygen(tmp_path / site, tmp_path / f"{site}.public")
        keys[site] = tmp_path / f"{site}.public"
    steps.variant_list(sg.Inputs(bfile=str(base)), tmp_path / "variants.tsv")
    shared = tmp_path / "shared"
    more = {
        "sites": keys, "variant_lists": [tmp_path / "variants.tsv"], "phenotypes": {"QT": "quantitative"}, "pcs": 2,
    }  # fmt: skip
    study, _ = steps.init(shared, tmp_path / "coordinator", pc_variants=tmp_path / "few.txt", **more)
    assert study.pcs == 2 and len((shared / "pc-variants.txt").read_text().split()) == VARIANTS // 2
    assert steps.open_folder(shared)[0] == study
    for site in keys:
        steps.join(shared, tmp_path / site, fingerprints={}, trust_study_file=True)
    (shared / "pc-variants.txt").write_text("rs1\n")
    inputs = sg.Inputs(bfile=str(base), pheno=str(pheno))
    with pytest.raises((ProtocolError, ArtefactError), match="variants of components that the study names"):
        for _ in range(8):
            for site in keys:
                try:
                    steps.run_site(shared, tmp_path / site, inputs, tmp_path / f"{site}.out")
                except sg.errors.PeerError:
                    continue
    with pytest.raises(UsageError, match="0 of its 1 variant"):
        (tmp_path / "none.txt").write_text("nothing\n")
        steps.init(tmp_path / "other", tmp_path / "coordinator", pc_variants=tmp_path / "none.txt", **more)
    with pytest.raises(UsageError, match="need hard calls"):
        steps.init(tmp_path / "other", tmp_path / "coordinator", dosage_grid=256, **more)
    with pytest.raises(UsageError, match="both called PC1"):
        steps.init(tmp_path / "other", tmp_path / "coordinator", covariates=["PC1"], **more)
    assert not (tmp_path / "other").exists() or not list((tmp_path / "other").iterdir())


@pytest.mark.parametrize("listed, said", [
    ("v0\r\nv1\r\nv1\r\n#v2\r\n\r\nv2 A G\r\n", None), ("x0\nx1\nx2\n", "0 of its 3 variants"),
    ("v0\nx1\nx2\n", "1 of its 3 variants"),
    ("".join(f"n{i}\n" for i in range(200_000)), "0 of its 200,000 variants"), ("1\tv0\t0\t1\tA\tG\n", "0 of its 1 variant"),
    (None, None),
])  # fmt: skip
def test_lists_of_variants_are_looked_at_before_anybody_joins(tmp_path, listed, said):
    """Names on X, names that nobody has, a bim for a list: refused where the study is written, with nothing left behind."""
    rows = [f"1\tv{j}\t0\t{j + 1}\tA\tG\n" for j in range(4)] + [f"X\tx{j}\t0\t{j + 1}\tA\tG\n" for j in range(4)]
    bim, path = tmp_path / "all.bim", tmp_path / "list.txt"
    bim.write_text("".join(rows))
    keys = {}
    for site in ("a", "b", "c"):
        steps.keygen(tmp_path / site, tmp_path / f"{site}.public")
        keys[site] = tmp_path / f"{site}.public"
    if listed is not None:
        path.write_bytes(listed.encode())
    told: list[str] = []

    def init(pcs: int, lists: Path = bim):
        return steps.init(
            tmp_path / "shared", tmp_path / "coordinator", sites=keys, variant_lists=[lists], log=told.append,
            phenotypes={"QT": "quantitative"}, pcs=pcs, pc_variants=None if listed is None else path,
        )  # fmt: skip

    with pytest.raises(UsageError, match=said or "too few for 5 components"):
        init(2 if said else 5)
    assert not (tmp_path / "shared").exists() and any("WARNING" in line for line in told) == (said is not None)
    if said is None:
        init(3)
        kept = tmp_path / "shared" / "pc-variants.txt"
        assert kept.read_text().split() == ["v0", "v1", "v2"] if listed else not kept.exists()
    if listed is None:
        bim.write_text("".join(rows[4:]))
        with pytest.raises(UsageError, match="no variant there"):
            init(1)


def test_ids_of_chosen_variants_are_whole(tmp_path):
    """A blank of another script, or what some call a line's end, is a letter of an id."""
    names, other = ["rs\u00a01", "rs\u20282", "rs\x853", "rs4"], np.array(["A"] * 4, object)
    common = Variants(np.array(["1"] * 4, object), np.arange(1, 5), np.array(names, object), other, other)
    (tmp_path / "few.txt").write_text("\n".join(names) + "\n")
    content = component_ids(tmp_path / "few.txt", common, 2, print)
    assert ids_of(content, tmp_path / "x") == set(names)
