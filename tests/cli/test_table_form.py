"""--format where a party finishes its own tables: the owner who decrypts, a site of a federated study."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

import numpy as np
from support import securegen, write_plink, write_tsv

from securegen.design.columns import Analysis
from securegen.engines.federated import rehearsal
from securegen.io.plink1 import read_plink
from securegen.results.forms import TableForm, convert
from securegen.results.layout import TableLayout
from securegen.results.regenie import write_regenie
from securegen.results.rows import read_sumstats
from securegen.results.write import Summary
from securegen.stats.qc import Filters
from securegen.study.genotypes import open_genotypes
from securegen.study.inputs import Inputs
from securegen.vocabulary import LINEAR_COLUMNS


def test_the_owner_decrypts_to_another_format(steps, tmp_path):
    owner, out = steps.owner, tmp_path / "final"
    done = securegen(
        "decrypt", *steps.key, "--owner", owner / "study.owner", "--results", steps.server / "study.results",
        "--format", "gwas-ssf", "--genome-build", "GRCh38", "--out", out,
    )  # fmt: skip
    assert done.code == 0, done.err
    for name in ("QT", "QT2"):
        whole = read_sumstats(owner / f"final.{name}.glm.linear")
        got = read_sumstats(f"{out}.{name}.gwas-ssf.tsv")
        known = whole[whole["SE"].notna()].reset_index(drop=True)
        assert (got["BETA"] == known["BETA"]).all() and (got["LOG10_P"] == known["LOG10_P"]).all()
        assert '  - "AGE"' in Path(f"{out}.{name}.gwas-ssf.tsv-meta.yaml").read_text()
    assert not list(tmp_path.glob("*.glm.linear"))


def test_every_site_writes_its_format_and_says_so(small, tmp_path):
    reader = read_plink(small.bfile)
    block = reader.read(0, 12)
    missing = np.zeros(block.dosage.shape, bool) if block.missing is None else block.missing
    write_plink(tmp_path / "c", np.where(missing, np.int8(-127), block.dosage))
    inputs = Inputs(str(tmp_path / "c"), pheno=small.pheno, pheno_name=("QT",), covar=small.covar)
    sites = rehearsal.deal(open_genotypes(inputs), inputs.genotypes, 3)
    rehearsal.set_up(tmp_path, inputs, sites, print, openings="all")
    forms = ({}, {"gzip": True}, {"format": "regenie"})
    rehearsal.run_sites(
        [rehearsal.site_role(tmp_path, inputs, s, Filters(), wait=60, **f) for s, f in zip(sites, forms, strict=True)]
    )
    plain, packed = (tmp_path / s.name / "result" for s in (sites[0], sites[2]))
    write_regenie(str(tmp_path / "expected"), f"{plain}.QT.glm.linear", TableLayout(17))
    assert Path(f"{packed}_QT.regenie").read_bytes() == (tmp_path / "expected").read_bytes()
    small_file = Path(f"{tmp_path / sites[1].name / 'result'}.QT.glm.linear.gz").read_bytes()
    assert gzip.decompress(small_file) == Path(f"{plain}.QT.glm.linear").read_bytes()
    record = json.loads(Path(f"{packed}.run.json").read_text())
    assert f"{packed}_QT.regenie" in record["receipt"]["released"]
    assert not any(re.search(r"glm\.linear$", line) for line in record["receipt"]["released"])


def test_a_table_without_columns_there_stays_with_a_warning(tmp_path):
    path = tmp_path / "x.CC.trend"
    path.write_text("#CHROM\tPOS\n")
    table = Summary(Analysis("trend", "CC", (), (), None), str(path), 0, 0, {}, {}, float("nan"), [])
    lines: list[str] = []
    convert([table], str(tmp_path / "x"), TableForm(17, "regenie"), lines.append)
    assert table.path == str(path) and path.exists()
    assert lines == [f"WARNING: {path} stays in plink2's columns: regenie has none for it"]


def test_a_blank_in_an_id_does_not_make_a_column(tmp_path):
    """Regenie's columns are separated by blanks; a BGEN and a pvar may have them in ids."""
    rows = [
        ("PAR1", "7", name, "A", "G", "G", "0.5", "ADD", "9", "1", "1", "0", "2", "1", "0.3", "0.5", ".")
        for name in ("rs 1 x", "")
    ]
    write_tsv(tmp_path / "t", LINEAR_COLUMNS, rows)
    write_regenie(str(tmp_path / "o"), str(tmp_path / "t"), TableLayout(17))
    frame = read_sumstats(tmp_path / "o")
    assert (
        frame["ID"].tolist() == ["rs_1_x", "."] and set(frame["#CHROM"]) == {"23"} and frame["BETA"].tolist() == [1, 1]
    )
