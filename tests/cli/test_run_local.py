"""A whole study in one command: every role a process of its own, the record of the contract, reference results."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support import left, securegen

from securegen.engines.ckks.owner.secret_key import retired_marker

PROMISED = {
    "engine", "version", "parameters", "inputs", "samples", "samples_stored", "variants", "covariates", "phenotypes",
    "seconds", "bytes", "peak_rss_bytes", "planned_noise_margin_bits", "promise",
}  # fmt: skip
STAGES = {"plan", "keygen", "encrypt", "gwas", "decrypt", "total"}


def check_record(record: dict, table: Path) -> None:
    """Names and plausibility of everything that docs/reference/run-json.md promises of an encrypted association."""
    assert PROMISED <= set(record) and record["engine"] == "ckks"
    assert STAGES <= set(record["seconds"])
    assert record["seconds"]["total"] >= max(v for k, v in record["seconds"].items() if k != "total") > 0
    assert set(record["bytes"]) == {"cohort", "design", "results", "public_key"} and min(record["bytes"].values()) > 100
    assert set(record["inputs"]) == {"bed", "bim", "fam", "pheno", "covar"}
    assert all(len(v) == 64 and int(v, 16) for v in record["inputs"].values())
    assert record["variants"] == len(table.read_text().splitlines()) - 1
    assert record["planned_noise_margin_bits"] > 0 and record["parameters"]["bits"] >= 16
    assert {"dt_promised", "dt_certain", "dt_expected"} <= set(record["promise"])


@pytest.fixture(scope="module")
def local(small, tmp_path_factory):
    """run-local on the simulated cohort, with what the server process was given."""
    out = tmp_path_factory.mktemp("local") / "run"
    seen: list[dict] = []
    original = subprocess.Popen

    def spy(call, **options):
        seen.append({"call": call, "files": sorted(p.name for p in Path(options["cwd"]).rglob("*")), **options})
        return original(call, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subprocess, "Popen", spy)
        done = securegen(
            "run-local", "gwas", "--engine", "ckks", *small.options(), "--compare-plain", "--out", out,
            environment={"SECUREGEN_PASSPHRASE": "not for the server"},
        )  # fmt: skip
    assert done.code == 0, done.err
    return out, done, seen


def test_it_ends_with_hits_and_identical_tables(local):
    out, done, _ = local
    assert "identical to the plain engine: yes" in done.err and "top hits of QT:" in done.err
    hits = done.err.split("top hits of QT:")[1].splitlines()[2:7]
    assert hits[0].split()[0] == "rs650"
    assert sorted(p.name for p in out.parent.iterdir()) == ["run.QT.glm.linear", "run.log", "run.run.json"]


def test_the_record_is_that_of_the_contract(local):
    out, _, _ = local
    record = json.loads(out.with_name("run.run.json").read_text())
    check_record(record, out.with_name("run.QT.glm.linear"))
    assert (record["samples"], record["samples_stored"], record["covariates"]) == (85, 90, 3)
    assert record["phenotypes"] == ["QT"] and record["missing"] == "mean"


def test_the_server_is_a_process_without_key_or_environment(local):
    _, _, (server,) = local
    assert server["call"][:5] == [sys.executable, "-P", "-m", "securegen", "gwas"]
    assert not any(name.startswith("SECUREGEN_") for name in server["env"])
    assert server["stdin"] == subprocess.DEVNULL
    names = server["files"]
    assert {"study.cohort", "study.design"} <= set(names)
    assert not [n for n in names if "secret" in n or "owner" in n or n.endswith(".box")]
    assert not [part for part in server["call"][1:] if "key" in part or "owner" in part]


def test_a_dishonest_server_is_refused(small, tmp_path, monkeypatch):
    """The server process returns block files of zeros with a manifest that fits: exit code 8, nothing is left."""
    from securegen.engines.ckks import artefact
    from securegen.local import processes

    original = processes.run_together

    def cheat(calls, **options):
        original(calls, **options)
        folder = options["folder"] / "study.results"
        body = artefact.read_manifest(folder, "results", None)
        for i, entry in enumerate(body["blocks"]):
            array = np.load(folder / entry["name"])
            body["blocks"][i] = vars(artefact.write_entry(folder, entry["name"], np.zeros_like(array)))
        artefact.write_manifest(folder, "results", body, None)

    monkeypatch.setattr(processes, "run_together", cheat)
    done = securegen("run-local", "gwas", "--engine", "ckks", *small.options(), "--quiet", "--out", tmp_path / "run")
    assert done.code == 8 and done.err.startswith("Error: the result failed verification")
    assert left(tmp_path) == []


def test_kept_files_hold_no_key(small, tmp_path):
    done = securegen(
        "run-local", "gwas", "--engine", "ckks", *small.options(), "--keep-files", "--quiet", "--out", tmp_path / "run"
    )
    assert done.code == 0, done.err
    (kept,) = tmp_path.glob("run.parties.*")
    assert (kept / "server" / "study.results" / "manifest.json").exists()
    assert not list(kept.rglob("*.secret")) and not retired_marker(kept / "owner" / "key.secret").exists()


def test_the_plain_engine_leaves_the_same_kind_of_record(small, tmp_path):
    done = securegen("run-local", "gwas", "--engine", "plain", *small.options(), "--quiet", "--out", tmp_path / "run")
    assert done.code == 0, done.err
    record = json.loads((tmp_path / "run.run.json").read_text())
    assert (
        PROMISED <= set(record) and record["engine"] == "plain" and {"plan", "gwas", "total"} <= set(record["seconds"])
    )


def test_complete_cases_need_genotypes_in_the_clear(small, tmp_path):
    call = ["run-local", "gwas", *small.options(), "--missing", "complete", "--quiet", "--out", tmp_path / "run"]
    refused = securegen(*call, "--engine", "ckks")
    assert refused.code == 2 and "engine plain" in refused.err and list(tmp_path.iterdir()) == []
    assert securegen(*call, "--engine", "plain").code == 0
    table = pd.read_csv(tmp_path / "run.QT.glm.linear", sep="\t")
    assert table["OBS_CT"].nunique() > 1 and table["OBS_CT"].max() == 85
    assert json.loads((tmp_path / "run.run.json").read_text())["missing"] == "complete"


def test_the_simulated_reference_cohort_end_to_end(reference, tmp_path):
    """As a user types it, in processes of their own: 500 people, 12 covariates, the whole cohort where it is here."""
    cohort = reference("sim_500x5k", whole=True)
    gold = pd.read_csv(cohort.gold / "np_qt_linear_cov_meanimp.tsv.gz", sep="\t")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(p or os.getcwd() for p in sys.path)}
    call = [sys.executable, "-m", "securegen", "run-local", "gwas", "--engine", "ckks", *cohort.options(), "--compare-plain",
            "--threads", "2", "--out", str(tmp_path / "run")]  # fmt: skip
    done = subprocess.run(call, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "identical to the plain engine: yes" in done.stderr and done.stdout == ""
    record = json.loads((tmp_path / "run.run.json").read_text())
    check_record(record, tmp_path / "run.QT.glm.linear")
    assert (record["samples"], record["samples_stored"], record["variants"], record["covariates"]) == (
        496,
        500,
        len(gold),
        12,
    )

    table = pd.read_csv(tmp_path / "run.QT.glm.linear", sep="\t")
    assert table["ID"].tolist() == gold["ID"].tolist() and len(table) in (1401, 5000)
    known = gold["T"].notna()
    assert (table["T_STAT"].notna() == known).all()
    df = 496 - 12 - 2
    error = (table["T_STAT"] - gold["T"]).abs() / (1 + gold["T"] ** 2 / df)
    print(f"largest |ΔT|/(1 + T²/df): {error.max():.2e}, certain bound {record['promise']['dt_certain']:.2e}")
    assert error.max() <= record["promise"]["dt_certain"] <= 1e-3
    certain = record["promise"]["dt_certain"] * (1 + gold["T"] ** 2 / df)
    angle = 2 * gold["SE"] * certain / (1 - certain / df**0.5)
    assert ((table["BETA"] - gold["BETA"]).abs() <= angle)[known].all()
    assert ((table["SE"] - gold["SE"]).abs() <= angle / df**0.5)[known].all()


def test_a_part_in_the_clear_loads_no_other_engine():
    """Each of hundreds of parts would."""
    code = (
        "import sys, securegen.cli.gwas, securegen.cli.engine_run, securegen.engines.plain.engine\n"
        "print(*(m for m in sys.modules if m.startswith('securegen.engines.')))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "securegen.engines.plain.engine" in said
    assert not [name for name in said if name.split(".")[2] in ("ckks", "federated", "mpc")]
