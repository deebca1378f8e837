"""Manifests, keys and plans with anything in any place: refused in one line before memory is taken, or the same result."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from mutations import EVERY, Outcome, mutations

import securegen as sg
from securegen.cli.keygen import read_plan
from securegen.engines.ckks import artefact, bodies, keys
from securegen.engines.ckks.cohort import open_cohort
from securegen.engines.ckks.owner import secret_key
from securegen.engines.ckks.planner import Plan
from securegen.engines.ckks.studydesign import open_design
from securegen.errors import ArtefactError, SecuregenError
from securegen.inspection import inspect
from securegen.io import schema
from securegen.io.envelope import canonical


class Hostile:
    """An owner that signs whatever it likes, and the files of an honest one."""

    def __init__(self, made: sg.ckks.Encrypted, key: secret_key.SecretKey, folder: Path) -> None:
        self.key, self.folders = key, {}
        for role, source in (("cohort", made.cohort), ("design", made.design)):
            self.folders[role] = folder / f"x.{role}"
            self.folders[role].mkdir()
            for file in source.iterdir():
                os.symlink(file, self.folders[role] / file.name)
        self.honest = {role: artefact.open_manifest(path).body for role, path in self.folders.items()}

    def write(self, role: str, body: dict) -> None:
        """Sign a body; the design follows the cohort, and both the key that the cohort shows."""
        cohort, design = (body if role == r else dict(self.honest[r]) for r in ("cohort", "design"))
        if role == "cohort":
            if isinstance(cohort.get("public"), dict) and cohort["public"] != self.honest["cohort"]["public"]:
                cohort["key"] = design["key"] = hashlib.sha256(canonical(cohort["public"])).hexdigest()
            design["cohort"] = hashlib.sha256(canonical(cohort)).hexdigest()
        for name, value in (("cohort", cohort), ("design", design)):
            path = self.folders[name] / artefact.MANIFEST
            path.unlink(missing_ok=True)
            path.write_text(json.dumps({"body": value, "signature": self.key.sign(canonical(value)).hex()}))

    def open(self) -> None:
        found = open_cohort(self.folders["cohort"])
        design = open_design(self.folders["design"], found.public)
        if design.body["cohort"] != found.digest:
            raise ArtefactError("another cohort")
        bodies.check_pair(found.body, design.body, found.parameters)


@pytest.fixture(scope="module")
def hostile(small_encrypted, small_key, tmp_path_factory) -> Hostile:
    return Hostile(small_encrypted, small_key, tmp_path_factory.mktemp("hostile"))


# Names and marks that say nothing about where anything lies: any value of the right form is as good. `strands` is the most
# that a block may have; how many it has follows from its variants.
FREE = {
    "m", "cohort_id", "nonce", "key_id", "verify_key", "blake3", "seed", "name", "dosage_grid", "norm", "public_ones",
    "squared", "strands",
}  # fmt: skip


@pytest.mark.parametrize("role", ["cohort", "design"])
def test_a_signed_manifest_with_anything_anywhere(role, hostile):
    """Whatever is refused is refused when it is opened; what is not has the right form, and only names differ."""
    outcome = Outcome()
    for what, body in mutations(hostile.honest[role]):
        hostile.write(role, body)

        def attempt(what: str = what, body: dict = body) -> bool:
            hostile.open()
            return body == hostile.honest[role] or any(f"'{name}'" in what for name in FREE)

        outcome.take(what, attempt)
    assert not outcome.bad, outcome.bad[:5]
    assert outcome.refused * EVERY > 700 and outcome.same < outcome.refused / 10


def test_without_the_schema_the_same_manifests_end_in_tracebacks(hostile, monkeypatch):
    """The protection off: what is opened then is believed."""
    for name in ("check_cohort", "check_design", "check_pair"):
        monkeypatch.setattr(bodies, name, lambda *_: None)
    monkeypatch.setattr(bodies, "COHORT", schema.anything)
    body = hostile.honest["cohort"]
    entry = body["blocks"][0]["streams"]["g"][0][0]
    hostile.write("cohort", body | {"blocks": [{"variants": 10**12, "streams": {"g": [[entry, entry]]}}]})
    found = open_cohort(hostile.folders["cohort"])
    assert found.strands(0) > 10**8
    hostile.write("cohort", body | {"blocks": []})
    assert open_cohort(hostile.folders["cohort"]).blocks == []


CASES = {
    "two halves where strands share one": lambda c, d: c["blocks"][0]["streams"]["g"][0].append(
        dict(c["blocks"][0]["streams"]["g"][0][0])
    ),
    "seal's, with seeds": lambda c, d: c.update(encryptor="seal"),
    "other variants": lambda c, d: c["blocks"][0].update(variants=10**7),
    "an unknown stream": lambda c, d: c["blocks"][0].update(streams={"zz": c["blocks"][0]["streams"]["g"]}),
    "no chunks": lambda c, d: c["blocks"][0]["streams"].update(g=[]),
    "no blocks": lambda c, d: c.update(blocks=[]),
    "a short seed": lambda c, d: c["blocks"][0]["streams"]["g"][0][0].update(seed="aabb"),
    "a million columns": lambda c, d: d.update(public_ones=[False] * 10**6, squared=[False] * 10**6),
    "as many columns as may be": lambda c, d: d.update(public_ones=[False] * (1 << 14), squared=[True] * (1 << 14)),
    "marks of other columns": lambda c, d: d.update(public_ones=d["public_ones"][:1]),
    "no columns": lambda c, d: d.update(columns=[]),
    "no squares": lambda c, d: d.update(squares=[]),
    "deep": lambda c, d: c.update(blocks=json.loads("[" * 200 + "]" * 200)),
}
PARAMETERS = {
    "no lanes": {"ring": {"lanes": 0}}, "few lanes": {"ring": {"lanes": 8}}, "negative lanes": {"ring": {"lanes": -16}},
    "a scale of a million": {"genotype_scale": 10**6}, "people without end": {"samples": 10**15, "norm": 1.0},
    "a norm of 400 digits": {"norm": 10**400}, "nobody": {"samples": 0}, "a pack of 0": {"pack": 0},
    "a prime of 31 bits": {"ring": {"primes": [2147377153, 2147352577]}},
}  # fmt: skip


@pytest.mark.parametrize("name", [*CASES, *PARAMETERS])
def test_what_once_ended_in_a_traceback(name, hostile, tmp_path):
    c, d = json.loads(json.dumps([hostile.honest["cohort"], hostile.honest["design"]]))
    if name in CASES:
        CASES[name](c, d)
    else:
        given = c["public"]["parameters"]
        change = PARAMETERS[name]
        given |= {k: given[k] | v if isinstance(v, dict) else v for k, v in change.items()}
    hostile.honest, before = {"cohort": c, "design": d}, hostile.honest
    try:
        hostile.write("cohort", c)
    finally:
        hostile.honest = before
    outcome = Outcome()
    outcome.take(name, lambda: bool(sg.ckks.associate(*hostile.folders.values(), tmp_path / "out")) and False)
    assert not outcome.bad and outcome.refused, outcome.bad
    assert not (tmp_path / "out").exists()
    for folder in hostile.folders.values():
        try:
            lines = inspect(folder).lines()
        except SecuregenError:
            continue
        assert all(line.isprintable() for line in lines)


def test_results_with_anything_anywhere(small_results, small_encrypted, small_key, tmp_path):
    folder = shutil.copytree(small_results, tmp_path / "r")
    original = artefact.open_manifest(folder).body
    sg.ckks.decrypt_tables(folder, small_key, small_encrypted.owner, str(tmp_path / "right"))
    right = {p.name.removeprefix("right"): p.read_bytes() for p in tmp_path.glob("right*")}
    outcome = Outcome()
    for what, body in mutations(original):
        (folder / artefact.MANIFEST).write_text(json.dumps({"body": body, "signature": ""}))

        def attempt() -> bool:
            sg.ckks.decrypt_tables(folder, small_key, small_encrypted.owner, str(tmp_path / "table"))
            return {p.name.removeprefix("table"): p.read_bytes() for p in tmp_path.glob("table*")} == right

        outcome.take(what, attempt)
    assert not outcome.bad, outcome.bad[:5]
    assert outcome.refused * EVERY > 350


@pytest.mark.parametrize("what", ["key.public", "plan.json"])
def test_keys_and_plans_with_anything_anywhere(what, small_key, small_study, tmp_path):
    path = tmp_path / what
    if what == "plan.json":
        original = json.loads(json.dumps(sg.ckks.plan(small_study).to_json()))
        read, same = read_plan, lambda found, body: found.to_json() == Plan.from_json(body).to_json()
    else:
        original = small_key.public.to_json()
        read, same = keys.read_public, lambda found, body: found.to_json() == body
    outcome = Outcome()
    for name, body in mutations(original):
        path.write_text(json.dumps(body))

        def attempt(body: dict = body) -> bool:
            inspect(path).lines()
            return same(read(path), body)

        outcome.take(name, attempt)
    assert not outcome.bad, outcome.bad[:5]
    assert outcome.refused * EVERY > 350


def test_sizes_are_held_against_the_file_before_memory_is_taken(tmp_path):
    entry = artefact.write_entry(tmp_path, "a.npy", np.zeros(4, np.uint32))
    outcome = Outcome()
    for shape in ((10**12,), (1 << 20, 1 << 20), (5,)):
        for size in (entry.size, 4 * 10**12 + 128):
            outcome.take(
                str(shape),
                lambda shape=shape, size=size: artefact.load_array(tmp_path, {**vars(entry), "size": size}, shape),
            )
    assert not outcome.bad and outcome.refused == 6, outcome.bad


@pytest.mark.parametrize("place", ["block", "manifest", "columns"])
def test_a_named_pipe_keeps_nobody_waiting(place, small_encrypted, tmp_path):
    c, d = (
        shutil.copytree(small_encrypted.cohort, tmp_path / "c"),
        shutil.copytree(small_encrypted.design, tmp_path / "d"),
    )
    path = {
        "block": next(c.glob("g-000001-*")), "manifest": c / "manifest.json", "columns": next(d.glob("columns-*")),
    }[place]  # fmt: skip
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(ArtefactError, match="not a regular file"):
        sg.ckks.associate(c, d, tmp_path / "out")


def test_one_file_in_the_place_of_many_is_refused(hostile, monkeypatch):
    """A cohort of 2^20 blocks that all name one file would cost its sender nothing, and the server a year."""
    body = json.loads(json.dumps(hostile.honest["cohort"]))
    first, second = (body["blocks"][i]["streams"]["g"][0] for i in (0, 2))  # as many variants
    second[0] = dict(first[0])
    hostile.write("cohort", body)
    with pytest.raises(ArtefactError, match=r"the manifest names '.*\.npy' twice"):
        hostile.open()
    monkeypatch.setattr(bodies, "_check_distinct", lambda chunks: None)
    hostile.open()


@pytest.mark.parametrize("role", [[], {}, [[]], None, 1, True])
def test_a_role_that_is_no_text_is_refused(hostile, role):
    hostile.write("cohort", hostile.honest["cohort"] | {"role": role})
    with pytest.raises(ArtefactError, match="not a securegen manifest: its role is"):
        inspect(hostile.folders["cohort"])
