"""--gzip: the same table, packed the same way each time, and read back by every command."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
from pathlib import Path

import pandas as pd
import pytest
from support import left, securegen

from securegen.errors import InputError
from securegen.report.gather import open_run
from securegen.results.read import read_results

pytestmark = pytest.mark.usefixtures("forked_roles")


def run(*words):
    done = securegen(*words, "--quiet")
    assert done.code == 0, done.err
    return done


@pytest.fixture(scope="module")
def both(small, tmp_path_factory):
    """The same run as text (p) and packed (z), in the folder that is returned."""
    folder = tmp_path_factory.mktemp("gzip")
    for name, more in (("p", []), ("z", ["--gzip"]), ("again", ["--gzip"])):
        run("gwas", *small.options("QT,CC"), *more, "--out", folder / name)
    return folder


def test_tables_are_packed_without_date_and_name(both):
    for table in ("QT.glm.linear", "CC.glm.logistic.score"):
        raw = (both / f"z.{table}.gz").read_bytes()
        assert gzip.decompress(raw) == (both / f"p.{table}").read_bytes()
        assert raw == (both / f"again.{table}.gz").read_bytes() and raw[3] == 0 and raw[4:8] == bytes(4)
    assert not [n for n in left(both) if n.startswith("z.") and n.endswith((".linear", ".score"))]
    record = json.loads((both / "z.run.json").read_text())
    assert any(p.endswith("QT.glm.linear.gz") for p in record["outputs"])
    assert all(p.endswith(".gz") for p in record["receipt"]["released"])


def test_every_command_reads_them(both, small, monkeypatch):
    pytest.importorskip("matplotlib", reason="needs securegen[plot]")
    monkeypatch.chdir(both)
    for how in ([], ["--exact"]):
        assert securegen("check", *how, "z.QT.glm.linear.gz", "p.QT.glm.linear").code == 0
    pd.testing.assert_frame_equal(read_results("z.QT.glm.linear.gz"), read_results("p.QT.glm.linear"))
    pictures = securegen("plot", "z", "--only", "qq", "--out", "drawn")
    assert sorted(pictures.out.split()) == ["drawn.CC.qq.png", "drawn.QT.qq.png"], pictures.err
    assert securegen("report", "z").code == 0 and "Association: QT, CC" in Path("z.report.html").read_text()
    assert securegen("report", "z.QT.glm.linear.gz").code == 0
    assert securegen("inspect", "z.QT.glm.linear.gz").code == 0
    assert run("rerun", "z.run.json", "--out", "third").code == 0
    assert Path("third.QT.glm.linear.gz").read_bytes() == Path("z.QT.glm.linear.gz").read_bytes()


def test_the_other_formats(small, both, tmp_path):
    for name, packed in (("p", []), ("z", ["--gzip"])):
        run("gwas", *small.options(), "--format", "regenie", *packed, "--out", tmp_path / name)
        ssf = ["--format", "gwas-ssf", "--genome-build", "GRCh38"]
        run("gwas", *small.options(), *ssf, *packed, "--out", tmp_path / name)
    for table in ("_QT.regenie", ".QT.gwas-ssf.tsv"):
        packed = (tmp_path / f"z{table}.gz").read_bytes()
        assert gzip.decompress(packed) == (tmp_path / f"p{table}").read_bytes()
    about = (tmp_path / "z.QT.gwas-ssf.tsv.gz-meta.yaml").read_text()
    assert hashlib.md5((tmp_path / "z.QT.gwas-ssf.tsv.gz").read_bytes()).hexdigest() in about
    assert 'data_file_name: "z.QT.gwas-ssf.tsv.gz"' in about


def test_the_owner_decrypts_to_gz(steps, tmp_path):
    run("decrypt", *steps.key, "--owner", steps.owner / "study.owner", "--results", steps.server / "study.results",
        "--gzip", "--out", tmp_path / "f")  # fmt: skip
    for name in ("QT", "QT2"):
        packed = (tmp_path / f"f.{name}.glm.linear.gz").read_bytes()
        assert gzip.decompress(packed) == (steps.owner / f"final.{name}.glm.linear").read_bytes()


def test_quality_control_and_every_engine(small, tmp_path):
    for name, more in (("p", []), ("z", ["--gzip"])):
        run("qc", "--bfile", small.bfile, *more, "--out", tmp_path / name)
        run("run-local", "qc", "--engine", "plain", "--bfile", small.bfile, *more, "--out", tmp_path / f"l{name}")
    for kind in ("afreq", "vmiss", "hardy"):
        text = (tmp_path / f"p.{kind}").read_bytes()
        assert gzip.decompress((tmp_path / f"z.{kind}.gz").read_bytes()) == text
        assert gzip.decompress((tmp_path / f"lz.{kind}.gz").read_bytes()) == text
    run("run-local", "gwas", "--engine", "plain", "--reveal", "uv", *small.options(), "--gzip", "--out", tmp_path / "u")
    assert read_results(tmp_path / "u.QT.uv.gz")["LOG10_P"].notna().any()


def test_scores(small, tmp_path):
    pytest.importorskip("matplotlib", reason="needs securegen[plot]")
    bim = pd.read_csv(f"{small.bfile}.bim", sep="\t", header=None).iloc[10:60]
    weights = pd.DataFrame({"ID": bim[1], "effect_allele": bim[4], "other_allele": bim[5], "effect_weight": 0.25})
    weights.to_csv(tmp_path / "w.tsv.gz", sep="\t", index=False)
    base = ["--bfile", small.bfile, "--score", tmp_path / "w.tsv.gz"]
    run("prs", *base, "--out", tmp_path / "p")
    run("prs", *base, "--gzip", "--plot", "--out", tmp_path / "z")
    assert gzip.decompress((tmp_path / "z.sscore.gz").read_bytes()) == (tmp_path / "p.sscore").read_bytes()
    assert (tmp_path / "z.sscore.gz").stat().st_mode & 0o077 == 0, "a row is a person"
    assert not (tmp_path / "z.sscore").exists() and (tmp_path / "z.SCORE1.density.png").exists()
    run("prs", *base, "--reference", tmp_path / "z.sscore.gz", "--out", tmp_path / "r")
    for what in ("z", "z.sscore.gz"):
        assert len(open_run(str(tmp_path / what)).scores) == 1
    run("run-local", "prs", "--engine", "ckks", *base, "--gzip", "--out", tmp_path / "c")
    assert (tmp_path / "c.sscore.gz").read_bytes() == (tmp_path / "z.sscore.gz").read_bytes()


def test_a_dry_run_names_what_would_be_written(small, tmp_path):
    done = securegen("gwas", *small.options(), "--gzip", "--format", "regenie", "--out", tmp_path / "d", "--dry-run")
    assert f"would write {tmp_path / 'd'}_QT.regenie.gz" in done.out
    done = securegen("qc", "--bfile", small.bfile, "--gzip", "--out", tmp_path / "d", "--dry-run")
    assert f"would write {tmp_path / 'd'}.afreq.gz" in done.out and os.listdir(tmp_path) == []


def test_two_forms_of_one_table_are_told_apart_by_the_record(small, tmp_path):
    """An earlier run packed its table; the later one did not. The report is of the later one."""
    out = tmp_path / "r"
    run("gwas", *small.options(), "--gzip", "--out", out)
    os.utime(f"{out}.QT.glm.linear.gz", (1, 1))
    run("gwas", *small.options(), "--out", out)
    assert open_run(str(out)).results[0].path == f"{out}.QT.glm.linear"
    record = json.loads(Path(f"{out}.run.json").read_text())
    Path(f"{out}.run.json").write_text(json.dumps(record | {"outputs": []}))
    with pytest.raises(InputError, match="which one is the run's"):
        open_run(str(out))
