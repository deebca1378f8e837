"""run-local and the commands of a deployment: each party a process; tables, records and refusals."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner
from support import left

from securegen.cli.main import main
from securegen.engines.mpc.loopback import free_ports, loopback_study
from securegen.errors import KeyFileError, PolicyError, SecuregenError, UsageError
from securegen.local.processes import start

pytestmark = pytest.mark.usefixtures("forked_roles")

EXAMPLES = Path(__file__).parents[3] / "examples"
COHORT = [
    "--bfile", EXAMPLES / "cohort", "--pheno", EXAMPLES / "cohort.pheno.tsv", "--covar", EXAMPLES / "cohort.covar.tsv",
    "--chr", "1",
]  # fmt: skip
AGREED = ["--reveal", "aggregates", "--consent-aggregates"]
SPLITS = {"vertical": AGREED, "outsourced": []}


def run(*words):
    result = CliRunner().invoke(main, [str(w) for w in words])
    if result.exception is not None:
        raise result.exception
    return result


@pytest.mark.parametrize("split", SPLITS)
def test_tables_equal_plain_and_the_record_is_whole(tmp_path, split):
    out = tmp_path / "r"
    run("run-local", "gwas", "--engine", "mpc", "--split", split, *SPLITS[split], *COHORT, "--threads", "2",
        "--compare-plain", "--quiet", "--out", out)  # fmt: skip
    assert "identical to the plain engine: yes" in Path(f"{out}.log").read_text()
    record = json.loads(Path(f"{out}.run.json").read_text())
    assert {"plan", "offline", "online", "total"} <= record["seconds"].keys()
    assert record["split"] == split and record["phenotypes"] == ["QT", "CC"] and record["samples_stored"] == 500
    sent = record["bytes"]["sent"]
    assert set(sent) == {
        "vertical": {"genotypes", "phenotypes"},
        "outsourced": {"genotypes", "phenotypes", "server-one", "server-two"},
    }[split]  # fmt: skip
    assert all(sent.values()) and record["bytes"]["rounds"] > 0
    assert record["bytes"]["dealer"] > 0
    assert record["receipt"]["parties"] and any("phenotypes" in w for w in record["receipt"]["warnings"])
    assert not list(tmp_path.glob("*.parties*")), "keys were left behind"


def test_hits_by_default_and_the_receipt_says_what_was_opened(tmp_path):
    out = tmp_path / "r"
    run("run-local", "gwas", "--engine", "mpc", "--split", "vertical", *COHORT, "--pheno-name", "QT", "--threshold",
        "1e-5", "--quiet", "--out", out)  # fmt: skip
    run("run-local", "gwas", "--engine", "plain", *COHORT, "--pheno-name", "QT", "--quiet", "--out", tmp_path / "plain")
    plain = pd.read_csv(tmp_path / "plain.QT.glm.linear", sep="\t")
    hits = pd.read_csv(f"{out}.QT.hits", sep="\t")
    assert hits["ID"].tolist() == plain.loc[plain["P"] <= 1e-5, "ID"].tolist() and len(hits) > 2
    record = json.loads(Path(f"{out}.run.json").read_text())
    assert record["reveal"] == "hits" and "not of others" in record["receipt"]["parties"][1]["learns"]
    assert record["promise"]["dchisq_promised"] <= 1e-6
    assert record["variants"] == len(plain), "of the cohort, not of the hits"
    said = Path(f"{out}.log").read_text()
    assert hits.loc[hits["P"].idxmin(), "ID"] in said and "nan" not in said and "online" in said
    run("report", out)
    assert "engines do not differ at all" not in Path(f"{out}.report.html").read_text(), "fixed point on shares does"


def test_uv_equal_the_plain_engines_table_also_of_noisy_values(tmp_path):
    """The phenotype owner has the one draw of each person; plain has the same one, from beside the table of phenotypes."""
    shutil.copy(EXAMPLES / "cohort.pheno.tsv", tmp_path / "pheno.tsv")
    noise = ["--dp-epsilon", "2", "--dp-bounds", "0,60"]
    given = [
        *COHORT[:2],
        "--pheno",
        tmp_path / "pheno.tsv",
        *COHORT[4:],
        "--pheno-name",
        "QT",
        "--reveal",
        "uv",
        "--quiet",
    ]
    run(
        "run-local",
        "gwas",
        "--engine",
        "mpc",
        "--split",
        "vertical",
        *given,
        *noise,
        "--compare-plain",
        "--out",
        tmp_path / "r",
    )
    assert "identical to the plain engine: yes" in (tmp_path / "r.log").read_text()
    run("run-local", "gwas", "--engine", "plain", *given, *noise, "--out", tmp_path / "p")
    assert (tmp_path / "p.QT.uv").read_bytes() == (tmp_path / "r.QT.uv").read_bytes()
    record = json.loads((tmp_path / "r.run.json").read_text())
    assert record["label_noise"]["epsilon"] == 2 and any("noise: each" in d for d in record["receipt"]["decisions"])
    with pytest.raises(PolicyError, match=r"noise\.exact"):
        run("run-local", "gwas", "--engine", "mpc", "--split", "vertical", *given, "--out", tmp_path / "exact")


@pytest.mark.parametrize("pheno", ["QT", "CC"])
def test_chisq_alone_is_that_of_the_plain_engine(tmp_path, pheno):
    for engine in (["plain"], ["mpc", "--split", "vertical"]):
        run("run-local", "gwas", "--engine", *engine, "--reveal", "chi2", *COHORT, "--pheno-name", pheno, "--quiet",
            "--out", tmp_path / engine[0])  # fmt: skip
    plain, mpc = (pd.read_csv(tmp_path / f"{e}.{pheno}.chi2", sep="\t", dtype=str) for e in ("plain", "mpc"))
    numbers = ["CHISQ", "P", "LOG10_P"]
    assert plain.drop(columns=numbers).equals(mpc.drop(columns=numbers))
    want, found = plain["CHISQ"].astype(float), mpc["CHISQ"].astype(float)
    record = json.loads((tmp_path / "mpc.run.json").read_text())
    assert ((found - want).abs() / want.clip(lower=1)).max() <= record["promise"]["dchisq_certain"] <= 1e-6
    assert "χ² of every variant, and nothing else" in record["receipt"]["parties"][1]["learns"]


def test_private_weights_give_the_plain_scores_and_small_models_need_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # OUT is relative, as most people give it
    cohort = ["--bfile", EXAMPLES / "cohort", "--score", EXAMPLES / "cohort.score.tsv", "--quiet"]
    for engine, what in (("plain", "score"), ("mpc", "model")):
        run("run-local", "prs", "--engine", engine, *cohort, f"--allow-small-{what}", "SCORE1", "--out", engine)
    plain, mpc = (pd.read_csv(tmp_path / f"{e}.sscore", sep="\t", dtype=str) for e in ("plain", "mpc"))
    for column in ("#FID", "IID", "SCORE1_AVG", "SCORE1_SUM"):
        assert plain[column].tolist() == mpc[column].tolist()
    assert mpc["NAMED_ALLELE_DOSAGE_SUM"].isna().all()  # it would tell which variants have weights
    record = json.loads((tmp_path / "mpc.run.json").read_text())
    assert set(record["bytes"]["sent"]) == {"genotypes", "model"} and record["seconds"]["online"] > 0
    with pytest.raises(SecuregenError, match="--allow-small-model SCORE1") as caught:
        run("run-local", "prs", "--engine", "mpc", *cohort, "--out", tmp_path / "refused")
    assert caught.value.exit_code == PolicyError.exit_code and [p.name for p in tmp_path.glob("refused*")] == [
        "refused.log"
    ]


def test_a_deployment_by_hand_three_commands_and_one_file(tmp_path):
    """Certificates, parties.toml and the three commands of docs/howto/mpc.md, each party with a folder of its own."""
    names = ["hospital", "registry", "dealer"]
    run("certs", "init-ca", "--dir", tmp_path / "ca")
    ports, rows = free_ports(3), []
    for rank, (name, role) in enumerate(zip(names, ("genotypes", "phenotypes", "dealer"), strict=True)):
        keys = tmp_path / name
        run("certs", "request", "--dir", keys, "--name", name)
        out = keys / f"{name}.pem"
        issue = ["--ca", tmp_path / "ca", "--csr", keys / f"{name}.csr", "--name", name, "--rank", rank, "--out", out]
        pin = run("certs", "issue", *issue).output.split("pin ")[1].strip()
        (keys / "ca.pem").write_bytes((tmp_path / "ca" / "ca.pem").read_bytes())
        rows.append(
            f'[[party]]\nname = "{name}"\nrole = "{role}"\naddress = "127.0.0.1:{ports[rank]}"\npin = "{pin}"\n'
        )
    for name in names:
        (tmp_path / name / "parties.toml").write_text('study = "by hand"\ntimeout_seconds = 300\n\n' + "\n".join(rows))
    files = {COHORT[i]: str(COHORT[i + 1]) for i in range(0, len(COHORT), 2)}
    own = {
        "hospital": ["party", "--role", "genotypes", "--column-limit", "9", *words(files, "--bfile", "--chr")],
        "registry": ["party", "--role", "phenotypes", "--pheno-name", "QT", *words(files, "--pheno", "--covar")],
        "dealer": ["dealer"],
    }
    calls = {}
    for name in names:
        config = [
            "--parties",
            str(tmp_path / name / "parties.toml"),
            "--out",
            str(tmp_path / name / "result"),
            "--quiet",
        ]
        reveal = ["--reveal", "uv"] if name != "dealer" else []
        calls[name] = start([sys.executable, "-m", "securegen", *own[name], *reveal, *config])
    said = {name: call.communicate(timeout=300)[1] for name, call in calls.items()}
    assert not any(call.returncode for call in calls.values()), said
    run("run-local", "gwas", "--engine", "plain", "--reveal", "uv", *COHORT, "--pheno-name", "QT", "--quiet", "--out",
        tmp_path / "p")  # fmt: skip
    assert (tmp_path / "p.QT.uv").read_bytes() == (tmp_path / "registry" / "result.QT.uv").read_bytes()
    assert (tmp_path / "hospital" / "hospital.state.json").stat().st_mode & 0o777 == 0o600
    limits = {name: json.loads((tmp_path / name / "result.run.json").read_text())["receipt"] for name in names[:2]}
    assert "this cohort: 9)" in str(limits["hospital"]) or "limit: 9)" in str(limits["hospital"])
    assert "a hundredth" not in str(limits["registry"]), (
        "the limit is the genotype owner's, the registry does not know it"
    )


def test_a_rehearsal_checks_what_needs_no_other_party_and_writes_nothing(tmp_path):
    loopback_study(tmp_path, {"a": "genotypes", "b": "phenotypes", "c": "dealer"})
    before = sorted(p.name for p in tmp_path.iterdir())
    place = ["--parties", tmp_path / "parties.toml", "--out", tmp_path / "r", "--dry-run"]
    own = ["party", "--role", "genotypes", *COHORT[:2], *place]
    assert "would write" in run(*own).output and "would write" in run("dealer", *place).output
    with pytest.raises(PolicyError, match="--consent-aggregates"):
        run(*own, "--reveal", "aggregates")
    for key in ("a", "c"):
        (tmp_path / f"{key}.key").chmod(0o644)
    for call in (own, ["dealer", *place]):
        with pytest.raises(KeyFileError, match="chmod 600"):
            run(*call)
    assert sorted(p.name for p in tmp_path.iterdir()) == before
    gwas = ["run-local", "gwas", "--engine", "mpc", *COHORT, "--pheno-name", "QT", "--out", tmp_path / "r", "--dry-run"]
    assert "r.QT.hits" in run(*gwas, "--split", "vertical").output
    assert "r.QT.glm.linear" in run(*gwas, "--split", "outsourced").output
    with pytest.raises(UsageError, match="needs a --split"):
        run(*gwas)


def words(files, *flags):
    return [part for flag in flags for part in (flag, files[flag])]


def test_a_horizontal_split_is_the_federated_engine(tmp_path):
    run("run-local", "gwas", "--engine", "mpc", "--split", "horizontal", "--model", "trend", "--pheno-name", "CC", *COHORT,
        "--maf", "0.1", "--compare-plain", "--quiet", "--out", tmp_path / "r")  # fmt: skip
    assert "identical to the plain engine: yes" in (tmp_path / "r.log").read_text()
    record = json.loads((tmp_path / "r.run.json").read_text())
    assert record["engine"] == "federated" and set(record["bytes"]["sent"]) == {"site1", "site2", "site3"}


@pytest.mark.parametrize(
    ("more", "error", "text"),
    [
        (["--split", "vertical", "--reveal", "aggregates"], PolicyError, "--consent-aggregates"),
        (["--split", "vertical", "--pheno-name", "CC", "--model", "trend"], UsageError, "CC has the test trend"),
        (["--split", "vertical", "--reveal", "chi2", "--compare-plain"], UsageError, "whole tables"),
        (["--split", "vertical", "--reveal", "uv", "--threshold", "1e-6"], UsageError, "threshold is for"),
        (["--split", "outsourced", "--reveal", "hits"], UsageError, "is for --split vertical"),
        ([], UsageError, "needs a --split"),
        (["--split", "vertical", "--maf", "0.1"], UsageError, "filters"),
        (["--split", "horizontal", "--threshold", "0.1"], UsageError, "option of engine mpc"),
        (["--split", "vertical", *AGREED, "--sites", "3"], UsageError, "option of engine federated"),
        (["--split", "horizontal", "--sites", "2"], PolicyError, "--two-sites-learn-each-other"),
        (["--split", "horizontal", "--apply-rint"], UsageError, "not a sum over sites"),
    ],
)
def test_what_does_not_go_together_is_refused_and_nothing_is_written(tmp_path, more, error, text):
    with pytest.raises(error, match=text) as caught:
        run("run-local", "gwas", "--engine", "mpc", *more, *COHORT, "--quiet", "--out", tmp_path / "r")
    if error is SecuregenError:  # from a party's process, with its exit code
        assert caught.value.exit_code in (UsageError.exit_code, PolicyError.exit_code)
    assert left(tmp_path) == []


def test_certificates_of_a_deployment_by_command(tmp_path):
    ca, keys = tmp_path / "authority", tmp_path / "keys"
    run("certs", "init-ca", "--dir", ca)
    run("certs", "request", "--dir", keys, "--name", "hospital")
    said = run("certs", "issue", "--ca", ca, "--csr", keys / "hospital.csr", "--name", "hospital", "--rank", "0").output
    assert run("certs", "pin", ca / "hospital.pem").output.strip() in said
    assert (keys / "hospital.key").stat().st_mode & 0o777 == (ca / "ca.key").stat().st_mode & 0o777 == 0o600
