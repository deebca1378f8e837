"""The example cohort is what the README says, the demo's path works on it, and the scenario files run."""

import hashlib
import importlib.util
import itertools
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import securegen as sg
from securegen.cli.main import main
from securegen.engines.ckks.keys import read_public
from securegen.engines.plain.engine import write_plain
from securegen.stats.linear import expected_t_error

ROOT = Path(__file__).resolve().parent.parent
COHORT = ROOT / "examples" / "cohort"


def load(path: Path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def study():
    return sg.open_study(COHORT, pheno=f"{COHORT}.pheno.tsv", pheno_name=("QT",), covar=f"{COHORT}.covar.tsv")


@pytest.fixture(scope="module")
def dosage(study):
    """(M, N) float64 with NaN where missing."""
    block = study.reader.read(0, len(study.reader.variants))
    return np.where(block.missing, np.nan, block.dosage.astype(float))


def test_cohort_is_as_described(study, dosage):
    assert dosage.shape == (5000, 500)
    assert 0.004 < np.isnan(dosage).mean() < 0.006
    variants = study.reader.variants
    assert len(set(variants.id)) == 5000 and set(variants.chromosome) == set("12345")
    rows = zip(variants.chromosome, variants.position, strict=True)
    for _, same in itertools.groupby(rows, key=lambda row: row[0]):
        positions = [p for _, p in same]
        assert positions == sorted(set(positions))
    table = pd.read_csv(f"{COHORT}.pheno.tsv", sep="\t")
    assert list(table) == ["#FID", "IID", "QT", "CC"] and set(table["CC"].dropna()) == {1, 2}
    assert 0 < table["QT"].isna().sum() < 15 and 0 < table["CC"].isna().sum() < 15


def test_scoring_file_names_variants_of_the_cohort(study):
    scores = pd.read_csv(f"{COHORT}.score.tsv", sep="\t")
    variants = study.reader.variants
    alleles = {i: {a, b} for i, a, b in zip(variants.id, variants.effect_allele, variants.other_allele, strict=True)}
    counted = dict(zip(variants.id, variants.effect_allele, strict=True))
    flipped = 0
    for row in scores.itertuples():
        assert {row.effect_allele, row.other_allele} == alleles[row.ID]
        flipped += row.effect_allele != counted[row.ID]
    assert 0 < flipped < len(scores)


def least_squares_t(dosage: np.ndarray, y: np.ndarray, covariates: np.ndarray) -> np.ndarray:
    """T of every variant by float64 regression, missing dosages at their mean: (M, n), (n,), (n, K) -> (M,)."""
    g = np.where(np.isnan(dosage), np.nanmean(dosage, axis=1, keepdims=True), dosage)
    basis, _ = np.linalg.qr(covariates)
    g, y = g - (g @ basis) @ basis.T, y - basis @ (basis.T @ y)
    v, u = (g * g).sum(1), g @ y
    return u / np.sqrt((y @ y - u * u / v) / (len(y) - covariates.shape[1] - 1) * v)


def test_linear_table_is_within_its_printed_precision_of_float64(study, dosage, tmp_path):
    """The certain bound of docs/explanation/precision.md, on every variant; and the errors it names."""
    (summary,) = write_plain(study, str(tmp_path / "t"))
    table = pd.read_csv(summary.path, sep="\t")
    pheno = pd.read_csv(f"{COHORT}.pheno.tsv", sep="\t")
    covar = pd.read_csv(f"{COHORT}.covar.tsv", sep="\t")
    assert (pheno["IID"] == covar["IID"]).all()
    used = pheno["QT"].notna().to_numpy()
    covariates = np.column_stack([np.ones(used.sum()), covar.iloc[:, 2:].to_numpy(float)[used]])
    t = least_squares_t(dosage[:, used], pheno["QT"].to_numpy()[used], covariates)
    df = used.sum() - covariates.shape[1] - 1
    error = np.abs(table["T_STAT"].to_numpy() - t) / (1 + t * t / df)
    assert (table["ERRCODE"] == ".").all()
    assert error.max() <= summary.promise["dt_certain"] <= 1e-3
    page = (ROOT / "docs" / "explanation" / "precision.md").read_text()
    named = (summary.promise["dt_certain"], expected_t_error(study.design.analyses[0].model), error.max())
    for value in named:
        assert f"{value:.1e}".replace("e-0", "e-") in page


def test_demo_command_agrees_with_the_plain_engine(tmp_path, capsys):
    """`make demo` on one chromosome, through the same command."""
    words = ["run-local", "gwas", "--engine", "ckks", "--bfile", str(COHORT), "--pheno", f"{COHORT}.pheno.tsv"]
    words += ["--pheno-name", "QT", "--covar", f"{COHORT}.covar.tsv", "--chr", "2", "--compare-plain"]
    main([*words, "--out", str(tmp_path / "demo")], standalone_mode=False)
    said = capsys.readouterr().err
    assert "identical to the plain engine: yes" in said and "top hits of QT:" in said
    record = json.loads((tmp_path / "demo.run.json").read_text())
    assert record["variants"] == 1000 and record["samples_stored"] == 500
    with open(f"{COHORT}.bed", "rb") as bed:
        assert record["inputs"]["bed"] == hashlib.file_digest(bed, "sha256").hexdigest()
    assert set(record["seconds"]) >= {"plan", "keygen", "encrypt", "gwas", "decrypt", "total"}
    assert set(record["bytes"]) == {"cohort", "design", "results", "public_key"}
    left = {p.name for p in tmp_path.iterdir()}
    assert left == {"demo.QT.glm.linear", "demo.log", "demo.run.json"}, "no key and no ciphertext is left behind"


def test_documented_numbers_of_the_example_are_those_of_a_run(tmp_path):
    example = (ROOT / "docs" / "reference" / "run-json.md").read_text().split("```json\n")[1].split("```")[0]
    words = ["run-local", "gwas", "--engine", "plain", "--bfile", str(COHORT), "--pheno", f"{COHORT}.pheno.tsv"]
    words += ["--pheno-name", "QT", "--covar", f"{COHORT}.covar.tsv", "--quiet", "--out", str(tmp_path / "p")]
    main(words, standalone_mode=False)
    record = json.loads((tmp_path / "p.run.json").read_text())
    assert json.loads(example).items() <= record.items()


def test_kernels_compile_from_the_script():
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "compile_kernels.py")], cwd=ROOT, env={"PYTHONPATH": str(ROOT)},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0 and "kernels are compiled" in done.stdout, done.stderr


def test_outsourced_scenario(tmp_path):
    """Messages stay within the docstring's formulas, nothing secret reaches post or server, the table is the plain one."""
    scenario = load(ROOT / "protocols" / "outsourced_ckks_gwas.py")
    root = tmp_path / "parties"
    messages = scenario.run(root, ("--chr", "3", "--to-bp", "900000"))
    assert [(m.sender, m.receiver, m.name) for m in messages] == [
        ("owner", "server", "key.public"),
        ("owner", "server", "study.cohort"),
        ("owner", "server", "study.design"),
        ("server", "owner", "study.results"),
    ]
    study = sg.open_study(
        COHORT, pheno=f"{COHORT}.pheno.tsv", pheno_name=("QT",), covar=f"{COHORT}.covar.tsv", chr=("3",), to_bp=900_000
    )
    write_plain(study, str(tmp_path / "plain"))
    expected = (tmp_path / "plain.QT.glm.linear").read_bytes()
    assert (root / "owner" / "result.QT.glm.linear").read_bytes() == expected

    p = read_public(root / "owner" / "key.public").parameters
    polynomial = 4 * len(p.ring.primes) * p.ring.n
    blocks, strands = (-(-len(study.reader.variants) // v) for v in (p.block_variants, p.strand_variants))
    columns, streams = p.column_digits * len(study.design.columns.names), 1 if p.packed else 2
    slack = 50_000  # manifests and array headers
    size = {m.name: m.size for m in messages}
    assert size["key.public"] < 1000
    assert size["study.cohort"] <= strands * streams * p.groups * polynomial + slack
    assert size["study.design"] <= (columns * p.groups + blocks) * polynomial + slack
    assert (
        size["study.results"]
        <= streams * (strands * (columns / p.pack + 1) + blocks * (columns + 2)) * polynomial + slack
    )

    secret = (root / "owner" / "key.secret").read_bytes()
    ids = {str(i).encode() for i in study.reader.samples.iid} | {str(v).encode() for v in study.reader.variants.id}
    for party in ("post", "server"):
        for file in (f for f in (root / party).rglob("*") if f.is_file()):
            content = file.read_bytes()
            assert file.suffix not in (".secret", ".box") and secret[-64:] not in content
            if file.suffix in (".json", ".log", ".public"):
                assert not any(i in content for i in ids), f"{file} names a person or a variant"
