"""A crate has the study and nothing of its people: tables, record, receipt; digests of the rest."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import sys

import pytest
from support import securegen

import securegen as sg
from securegen.errors import ArtefactError, InputError, MissingExtraError, StorageError
from securegen.governance.signing import generate

pytest.importorskip("rocrate")
BASE = "examples/cohort"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A signed run with a crate beside it."""
    folder = tmp_path_factory.mktemp("crate")
    study = sg.open_study(BASE, pheno=f"{BASE}.pheno.tsv", pheno_name="QT", chr="1", to_bp=300_000)
    sg.run(study, out=folder / "a", sign=(key := generate()))
    (folder / "a.crate.key").write_bytes(key.verify_key)
    sg.crate(folder / "a", project="Height", people="A. Analyst", organisation="Hospital", licence="CC-BY-4.0")
    return folder


def graph(folder) -> dict[str, dict]:
    return {e["@id"]: e for e in json.loads((folder / "ro-crate-metadata.json").read_text())["@graph"]}


def ids_of_samples() -> set[str]:
    return {word for line in open_lines(f"{BASE}.fam") for word in line.split()[:2]}


def open_lines(path) -> list[str]:
    with open(path) as stream:
        return stream.read().splitlines()


def nobody_in(folder) -> None:
    text = " ".join(p.read_text() for p in folder.rglob("*") if p.is_file())
    words = set(re.findall(r"\w+", text))
    assert len(ids_of_samples()) > 400 and not ids_of_samples() & words


def test_its_metadata_are_whole(made):
    """Every reference has its entity, every file of the folder is described with its digest."""
    folder = made / "a.crate"
    found = graph(folder)
    files = {p.name for p in folder.iterdir()} - {"ro-crate-metadata.json"}
    assert files == {"a.QT.glm.linear", "a.run.json", "a.receipt.json"}
    for name in files:
        assert found[name]["@type"] == "File"
        assert found[name]["sha256"] == hashlib.sha256((folder / name).read_bytes()).hexdigest()
    about = found["ro-crate-metadata.json"]
    assert about["about"] == {"@id": "./"} and about["conformsTo"]["@id"] == "https://w3id.org/ro/crate/1.2"
    root = found["./"]
    assert {p["@id"] for p in root["hasPart"]} == files
    assert all(root[k] for k in ("name", "description", "datePublished", "license"))

    def references(value):
        if isinstance(value, dict):
            yield from [value["@id"]] if set(value) == {"@id"} else [r for v in value.values() for r in references(v)]
        for inner in value if isinstance(value, list) else ():
            yield from references(inner)

    loose = {r for e in found.values() for v in e.values() for r in references(v)} - set(found)
    assert all(r.startswith("https://") for r in loose)


def test_the_five_safes_are_said(made):
    found = graph(made / "a.crate")
    (action,) = (e for e in found.values() if e["@type"] == "CreateAction")
    assert found[found["./"]["sourceOrganization"]["@id"]]["name"] == "Height"
    agent = action["agent"] if isinstance(action["agent"], dict) else action["agent"][0]
    assert found[agent["@id"]]["name"] == "A. Analyst"
    record = json.loads((made / "a.run.json").read_text())
    assert {e["sha256"] for i, e in found.items() if i.startswith("#input-")} == set(record["inputs"].values())
    assert found["#engine"]["value"] == "plain" and "owner: holds genotypes" in found["#who-learned-what"]["value"]
    assert {r["@id"] for r in action["result"]} == {"a.QT.glm.linear", "#log"}
    assert found["#log"]["sha256"] == hashlib.sha256((made / "a.log").read_bytes()).hexdigest()


def test_the_receipt_holds_inside_it(made):
    assert sg.receipt.verify(made / "a.crate" / "a", key=(made / "a.crate.key").read_bytes())


def test_no_person_is_in_it(made):
    nobody_in(made / "a.crate")


def test_tables_with_a_row_a_person_stay(tmp_path):
    done = securegen("prs", "--bfile", BASE, "--score", f"{BASE}.score.tsv", "--out", tmp_path / "s", "--quiet")
    assert done.code == 0, done.err
    for ending in ("QT.glm.linear", "afreq"):  # a table of people under the name of one of variants
        shutil.copy(tmp_path / "s.sscore", tmp_path / f"s.{ending}")
    record = json.loads((tmp_path / "s.run.json").read_text())
    record["outputs"] += ["s.QT.glm.linear", "s.afreq"]
    (tmp_path / "s.run.json").write_text(json.dumps(record))
    done = securegen("crate", tmp_path / "s", "--json")
    assert done.code == 0 and json.loads(done.out)["outputs"] == [f"{tmp_path}/s.crate"]
    files = {p.name for p in (tmp_path / "s.crate").iterdir()}
    assert files == {"ro-crate-metadata.json", "s.run.json", "s.match.tsv"}
    kept = {e["name"] for i, e in graph(tmp_path / "s.crate").items() if i.startswith("#kept-")}
    assert kept == {"s.sscore", "s.QT.glm.linear", "s.afreq"}
    nobody_in(tmp_path / "s.crate")


def test_decisions_of_a_policy_are_in_it(made, tmp_path):
    shutil.copytree(made, tmp_path / "g", ignore=shutil.ignore_patterns("*.crate", "*.receipt.json"))
    path = tmp_path / "g" / "a.run.json"
    reason = {"rule": "policy.purpose", "allowed": True, "text": "HMB is among the purposes", "line": 4}
    said = {"who": "anna", "role": "analyst", "purpose": "HMB", "decisions": [{"allowed": True, "reasons": [reason]}]}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"governance": said}))
    found = graph(tmp_path / "g" / "a.crate" if sg.crate(tmp_path / "g" / "a") else tmp_path)
    assert (
        found["#decision-1"]["name"] == "allowed by policy" and "policy.purpose" in found["#decision-1"]["description"]
    )
    assert found["#identity"]["name"] == "anna" and "HMB" in found["#project"]["description"]


def test_what_is_not_as_signed_is_not_packaged(made, tmp_path):
    shutil.copytree(made, tmp_path / "g", ignore=shutil.ignore_patterns("*.crate"))
    (tmp_path / "g" / "a.QT.glm.linear").write_text("edited\n")
    with pytest.raises(ArtefactError, match="changed since they were signed: a.QT.glm.linear"):
        sg.crate(tmp_path / "g" / "a")
    with pytest.raises(StorageError, match="not overwritten"):
        sg.crate(made / "a")
    with pytest.raises(InputError, match="run.json"):
        sg.crate(made / "none")
    assert not list(tmp_path.glob("g/*crate")) and not list(made.glob(".a.crate*"))


def test_without_the_extra_the_error_names_it(made, monkeypatch):
    monkeypatch.setitem(sys.modules, "rocrate.rocrate", None)
    with pytest.raises(MissingExtraError, match=r"securegen\[gov\]"):
        sg.crate(made / "a", made / "b")
