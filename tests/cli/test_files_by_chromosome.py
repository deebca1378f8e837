"""Genotypes by chromosome through the commands: 22 files give the bytes of the merged file, in every format and engine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from genotype_parts import parted
from support import securegen

from securegen.io.genotypes import FORMATS

pytestmark = pytest.mark.usefixtures("forked_roles")


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return parted(tmp_path_factory.mktemp("parts"))


def run(out: Path, *words: object) -> dict[str, bytes]:
    """Tables by name without the prefix."""
    done = securegen(*words, "--out", out)
    assert done.code == 0, done.err
    names = (p for p in out.parent.iterdir() if p.name.startswith(f"{out.name}."))
    return {p.name[len(out.name) :]: p.read_bytes() for p in names if p.suffix not in (".json", ".log") and p.is_file()}


@pytest.fixture(scope="module")
def merged(cohort, tmp_path_factory):
    """Tables of the merged file, by format: ids differ, as FID_IID, where a format has no families."""
    folder = tmp_path_factory.mktemp("merged")
    return run(folder / "r", "gwas", *cohort.words("bfile", "all"), *cohort.traits("QT", "CC"))


@pytest.mark.parametrize("form", FORMATS)
def test_association_in_the_clear(cohort, merged, tmp_path, form):
    assert run(tmp_path / "r", "gwas", *cohort.words(form, "chr@"), *cohort.traits("QT", "CC")) == merged
    log, record = (tmp_path / "r.log").read_text(), json.loads((tmp_path / "r.run.json").read_text())
    assert "chr@" in log and "22 files, chromosomes 1, 2," in log and "no file of X, Y, MT" in log
    role = FORMATS[form].ends[0] if FORMATS[form].ends else form
    assert {f"{role}.{c}" for c in range(1, 23)} < set(record["inputs"])
    digests = record["call"]["digests"]
    assert digests[str(cohort.folder / f"chr7.{role}")] == record["inputs"][f"{role}.7"]


@pytest.mark.parametrize("engine", [
    ("ckks",), ("federated", "--openings", "all"), ("mpc", "--split", "outsourced", "--openings", "all"),
    ("mpc", "--split", "vertical", "--reveal", "aggregates", "--consent-aggregates", "--openings", "all"),
])  # fmt: skip
def test_two_files_on_every_engine(cohort, tmp_path, engine):
    listed = tmp_path / "two.txt"
    listed.write_text(f"{cohort.folder}/chr2\n{cohort.folder}/chr3\n")
    words = ["--bfile-list", listed, *cohort.traits("QT")]
    expected = run(tmp_path / "p", "gwas", *words)
    assert len(expected[".QT.glm.linear"].splitlines()) == 11
    assert run(tmp_path / "e", "run-local", "gwas", "--engine", *engine, *words) == expected


def test_two_sites_with_files_by_chromosome(cohort, tmp_path):
    """Each --bfile of sites may have an @ of its own; here both sites would hold the same people, which is refused."""
    name = str(cohort.folder / "chr@")
    done = securegen("run-local", "gwas", "--engine", "federated", "--bfile", name, "--bfile", str(cohort.folder / "all"),
                     *cohort.traits("QT"), "--out", tmp_path / "r")  # fmt: skip
    assert done.code == 3 and "person 1 of" in done.err and "too: nobody may" in done.err


def test_quality_control_scores_and_lists_of_variants(cohort, tmp_path):
    weights = tmp_path / "w.tsv"
    weights.write_text("ID\tA1\tWEIGHT\n" + "".join(f"rs{j}\tA\t{(j % 7 - 3) / 8}\n" for j in range(0, 110, 2)))
    for words in (("qc",), ("prs", "--score", weights)):
        parts, whole = (
            run(tmp_path / f"{words[0]}{stem[0]}", *words, *cohort.words("bfile", stem)) for stem in ("chr@", "all")
        )
        assert parts == whole and parts
    parts, whole = (
        run(tmp_path / f"v{stem[0]}", "site", "variants", *cohort.words("pfile", stem)) for stem in ("chr@", "all")
    )
    assert parts == whole


def test_scores_on_hidden_genotypes(cohort, tmp_path):
    weights = tmp_path / "w.tsv"
    weights.write_text("ID\tA1\tWEIGHT\n" + "".join(f"rs{j}\tA\t{(j % 7 - 3) / 8}\n" for j in range(0, 110, 2)))
    words = ("run-local", "prs", "--score", weights, "--engine")
    plain = run(tmp_path / "p", *words, "plain", *cohort.words("bfile", "all"))
    assert run(tmp_path / "c", *words, "ckks", *cohort.words("bfile", "chr@"))[".sscore"] == plain[".sscore"]


def test_chromosomes_are_chosen_and_a_run_is_rehearsed_and_repeated(cohort, tmp_path):
    words = ["gwas", *cohort.words("bfile", "chr@"), *cohort.traits("QT")]
    some = run(tmp_path / "a", *words, "--chr", "5-7")
    assert some == run(tmp_path / "b", "gwas", *cohort.words("bfile", "all"), *cohort.traits("QT"), "--chr", "5-7")
    done = securegen(*words, "--out", tmp_path / "d", "--dry-run")
    assert done.code == 0 and f"would write {tmp_path}/d.QT.glm.linear" in done.out
    again = securegen("rerun", tmp_path / "a.run.json", "--out", tmp_path / "again")
    assert again.code == 0, again.err
    assert (tmp_path / "again.QT.glm.linear").read_bytes() == some[".QT.glm.linear"]


def test_plan_and_encrypt_take_them(cohort, tmp_path, monkeypatch):
    monkeypatch.setenv("SECUREGEN_PASSPHRASE", "correct horse battery staple 9")
    words = [*cohort.words("pfile", "chr@"), *cohort.traits("QT")]
    assert securegen("plan", *words, "--out", tmp_path / "s").code == 0
    assert securegen("keygen", "--plan", tmp_path / "s.plan.json", "--out", tmp_path / "k").code == 0
    done = securegen("encrypt", "--key", tmp_path / "k.secret", *words, "--out", tmp_path / "s")
    assert done.code == 0, done.err
    record = json.loads((tmp_path / "s.run.json").read_text())
    assert record["inputs"]["pgen.22"]


def test_files_that_are_not_there_are_named_before_work(cohort, tmp_path):
    done = securegen("gwas", "--bfile", cohort.folder / "none@", *cohort.traits("QT"), "--out", tmp_path / "r")
    assert done.code == 3 and "no file is named so with 1 to 22, X, Y or MT" in done.err
    assert not list(tmp_path.glob("r.*glm*"))
