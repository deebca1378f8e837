"""The governed study of protocols/: six processes, and what each step of the story must say."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "protocols" / "governed_study.py"
STORY = {
    "steward": ["signed policy version 1"],
    "analyst": [
        "a study for POA would be refused: policy.purpose", "a study for HMB would be allowed", "study1: receipt of oslo holds",
        "no second table", "study3: receipt of oslo holds",
    ],
    "oslo": ["refused: .*policy.differing_people: fewer than 10 people", "60 people have withdrawn"],
    "tartu": [
        "refused: .*policy.granularity", "refused: noise.exact: phenotype HEIGHT has noise here",
        "stopped after 2 of 12 tables: .*audit.second_signature: audit.bulk_rows",
    ],
    "auditor": [
        "log of oslo, study1: consistent with 2 witnesses", "log of tartu, study3: consistent with 1 witness",
        "alert at tartu, .*refus", "does not sign", "tartu's log is not the one that was seen",
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    root = tmp_path_factory.mktemp("governed")
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--directory", str(root)], capture_output=True, text=True, timeout=900, check=False
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return root, done.stdout


def test_every_party_does_its_part(told):
    _, said = told
    missing = []
    for name, steps in STORY.items():
        own = [line.partition(": ")[2] for line in said.splitlines() if line.strip().startswith(f"{name}:")]
        missing += [f"{name}: {step}" for step in steps if not any(re.search(step, line) for line in own)]
    assert not missing, said + "\n".join(missing)
    assert "no more left than the policy allows" in said


def test_the_later_table_is_of_those_who_stayed(told):
    root, _ = told
    counts = {}
    for study in ("study1", "study3"):
        (table,) = (root / "shared" / f"{study}.release").glob("*.glm.linear")
        header, *rows = (line.split("\t") for line in table.read_text().splitlines())
        counts[study] = {row[header.index("OBS_CT")] for row in rows}
    assert counts == {"study1": {"876"}, "study3": {"817"}}
    assert not (root / "oslo" / "study2").exists() or not list((root / "oslo" / "study2").glob("*.glm.linear"))


def test_no_person_is_in_what_travels_or_is_logged(told):
    root, _ = told
    person = re.compile(rb"S[123]P\d")
    places = [root / "shared", *(root / site / "data" / "audit" for site in ("oslo", "tartu", "turku"))]
    files = [f for place in places for f in place.rglob("*") if f.is_file()]
    assert len(files) > 40 and person.search((root / "oslo" / "data" / "people.tsv").read_bytes())
    assert not [str(f) for f in files if person.search(f.read_bytes())]
