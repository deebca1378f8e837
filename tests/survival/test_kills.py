"""kill -9 in short: two kills a role of the commands that keep promises, at times of a fixed seed. `make test-long` does twenty
of every role, at random times, as processes that users start."""

from __future__ import annotations

import random

import pytest
from kill_steps import KEY, STUDY, THEN, Step, deployments, parties
from kill_trial import attempt
from kill_world import World, halves
from support import simulate

SPLIT = {"genotypes": "genotypes", "phenotypes": "phenotypes", "dealer": "dealer"}
# In the order of a study; each leaves what the next needs.
STEPS = {
    s.name: s
    for s in (
        Step("plan", {"": f"plan {STUDY} --out study"}),
        Step("keygen", {"": "keygen --plan study.plan.json --passphrase-file pass.txt --out key"}),
        Step("encrypt", {"": f"encrypt {KEY} {STUDY} --out study"}, then=THEN["encrypt"]),
        Step("server", {"": "gwas --cohort study.cohort --design study.design --public key.public --out study"}),
        Step("decrypt", {"": f"decrypt {KEY} --owner study.owner --results study.results --out result"}),
        Step("in the clear", {"": f"gwas {STUDY} --out clear"}),
        Step("merge", {"": "merge part"}, before=tuple(f"gwas {STUDY} --blocks {i}/2 --out part" for i in (1, 2))),
        Step("authority", {"": "certs init-ca --dir ca"}),
        Step("steward", {"": "policy init --name Biobank --key rules/steward.secret --out rules/policy.toml"}),
    )
}
SITES = [s for s in deployments() if s.name in ("site run, site1", "party, dealer")]


@pytest.fixture(scope="module")
def world(warm_nursery, tmp_path_factory) -> World:
    world = World(tmp_path_factory.mktemp("kills"), warm_nursery)
    simulate(world.folder, samples=60, variants=260)
    for name in ("pheno", "covar"):
        (world.folder / f"{name}.tsv").rename(world.folder / f"cohort.{name}.tsv")
    (world.folder / "pass.txt").touch(0o600)
    (world.folder / "pass.txt").write_text("correct horse battery staple\n")
    return world


@pytest.mark.parametrize("name", STEPS)
def test_a_killed_role_leaves_nothing_half_and_goes_on(name, world):
    report = attempt(world, STEPS[name], 2, random.Random(name), real=False)
    assert report.kills == 2 and not report.wrong, report


@pytest.mark.parametrize("step", SITES, ids=lambda s: s.name)
def test_a_killed_party_ends_the_others_in_order_and_all_go_on(step, world):
    prepare = step.prepare or parties("two", SPLIT)
    again = Step(step.name, step.lines, victim=step.victim, prepare=prepare)
    report = attempt(world, again, 2, random.Random(step.name), real=False)
    assert report.kills == 2 and not report.wrong, report


def test_a_half_file_is_seen():
    """What the kills are judged by."""
    whole = {"table": b"1234", "a.json": b"{}", "key": b"x"}
    assert halves({"table": b"12", ".table.0011aabb": b"1", "log.log": b""}, {}, whole, {"table"}) == [
        "table is neither the old nor the new one"
    ]
    assert halves({"a.json": b"{", "key": b"", "n.npy": b"\x93NUMPY"}, {}, whole, set()) == [
        f"{n} is cut" for n in ("a.json", "key", "n.npy")
    ]
    assert not halves({"table": b"old"}, {"table": b"old"}, whole, {"table"})
