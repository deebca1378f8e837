"""What goes out with a version: the lock covers what pyproject.toml asks for, the bill of materials what is installed."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements.lock"


@pytest.fixture(scope="module")
def release():
    spec = importlib.util.spec_from_file_location("release_steps", ROOT / "release" / "release.py")
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def locked(text: str) -> dict[str, tuple[Version, int]]:
    """Version of every package, and how many hashes it has."""
    found = {}
    for entry in re.split(r"\n(?=[A-Za-z0-9])", text):
        if name := re.match(r"([A-Za-z0-9][\w.-]*)==(\S+)", entry):
            found[canonicalize_name(name[1])] = (
                Version(name[2]),
                len(re.findall(r"--hash=sha256:[0-9a-f]{64}\b", entry)),
            )
    return found


def lacking(text: str, asked: list[str]) -> list[str]:
    """What a lock does not give of what is asked for."""
    have = locked(text)
    wanted = [Requirement(line) for line in asked]
    absent = [str(r) for r in wanted if canonicalize_name(r.name) not in have]
    absent += [str(r) for r in wanted if (v := have.get(canonicalize_name(r.name))) and not r.specifier.contains(v[0])]
    return absent + [f"{name} without a hash" for name, (_, hashes) in have.items() if not hashes]


ASKED = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]


def test_the_lock_covers_the_dependencies_by_hash():
    assert lacking(LOCK.read_text(), ASKED) == []


@pytest.mark.parametrize(
    "change",
    [
        lambda t: re.sub(r"(?m)^scipy==.*\n( .*\n)*", "", t), lambda t: re.sub(r"(?m)^click==\S+", "click==7.0", t),
        lambda t: re.sub(r"(?m)^( +--hash=.*\n)+", "", t, count=1),
    ],
)  # fmt: skip
def test_the_check_sees_a_lock_that_lacks_something(change):
    text = LOCK.read_text()
    assert change(text) != text and lacking(change(text), ASKED)


def test_the_lock_names_no_index_and_no_place():
    text = LOCK.read_text()
    assert (
        not re.search(r"://|--(extra-)?index-url|--find-links|--trusted-host|^-[ef] ", text, re.M) and " @ " not in text
    )


@pytest.fixture(scope="module")
def bill(release, tmp_path_factory) -> dict:
    """Of this environment."""
    pytest.importorskip("cyclonedx_py", reason="needs securegen[release]: make release")
    release.DIST = tmp_path_factory.mktemp("dist")
    out = release.bill(Path(sys.executable), Path("securegen-9.8.7-py3-none-any.whl"), "--no-validate")
    assert [p.name for p in release.DIST.iterdir()] == [out.name] == ["securegen-9.8.7.cdx.json"]
    return json.loads(out.read_text())


def test_a_bill_of_materials_lists_what_is_installed_and_of_what_it_is(bill):
    listed = {canonicalize_name(c["name"]): c["bom-ref"] for c in bill["components"]}
    asked = {canonicalize_name(Requirement(line).name) for line in ASKED}
    assert asked <= set(listed)
    about = bill["metadata"]["component"]
    assert (about["name"], about["version"], about["type"]) == ("securegen", "9.8.7", "application")
    (uses,) = (d["dependsOn"] for d in bill["dependencies"] if d["ref"] == about["bom-ref"])
    assert {listed[name] for name in asked} <= set(uses)


def test_a_bill_of_materials_keeps_to_the_schema(bill):
    """Two of its components: `make release` holds all of them against it."""
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    validator = JsonStrictValidator(SchemaVersion.from_version(bill["specVersion"]))
    few = bill | {"components": bill["components"][:2]}
    assert validator.validate_str(json.dumps(few)) is None
    nameless = [{k: v for k, v in c.items() if k != "name"} for c in few["components"]]
    assert "'name' is a required property" in str(validator.validate_str(json.dumps(few | {"components": nameless})))


@pytest.mark.parametrize(
    "code, said, expected",
    [
        (0, "No known vulnerabilities found", "no known vulnerability"),
        (1, "requests.exceptions.ConnectionError: Max retries exceeded", "NOT AUDITED"),
        (1, "Found 1 known vulnerability in 1 package\nclick 8.1 ConnectionError", None),
        (2, "error: unrecognized arguments", None),
    ],
)
def test_an_audit_that_did_not_happen_is_said_and_one_that_found_something_fails(
    release, monkeypatch, tmp_path, code, said, expected
):
    release.DIST = tmp_path
    monkeypatch.setattr(release.subprocess, "run", lambda *a, **k: subprocess.CompletedProcess(a, code, said, ""))
    if expected is None:
        with pytest.raises(SystemExit, match="pip-audit:"):
            release.audit()
        assert not (tmp_path / "NOT-AUDITED").exists()
    else:
        assert expected in release.audit()
        assert (tmp_path / "NOT-AUDITED").exists() == (expected == "NOT AUDITED")
