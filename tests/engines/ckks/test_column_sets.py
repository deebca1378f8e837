"""Sets of columns: what a server may do with them, what a manifest may say of them, and what a plan counts."""

from __future__ import annotations

import json

import numba
import numpy as np
import pytest
from ckks_tools import rewrite_manifest
from hypothesis import given
from hypothesis import strategies as st
from support import MemoryReader, text_array

from securegen.design.columns import Design
from securegen.design.strata import Stratum
from securegen.engines.ckks import artefact, bodies, cohort, studydesign
from securegen.engines.ckks.column_pool import pooled, strata_of
from securegen.engines.ckks.column_sets import ColumnSets
from securegen.engines.ckks.owner import decrypt, retirement, verify
from securegen.engines.ckks.owner.encrypt_cohort import encrypt_cohort
from securegen.engines.ckks.owner.encrypt_design import encrypt_design
from securegen.engines.ckks.owner.encryption import ENCRYPTORS
from securegen.engines.ckks.owner.secret_key import generate
from securegen.engines.ckks.owner.state import OwnerState
from securegen.engines.ckks.planner import Plan, Workload, choose
from securegen.engines.ckks.server import associate, packed_design
from securegen.engines.plain import sums
from securegen.errors import ArtefactError, VerificationError
from securegen.io.envelope import canonical
from securegen.kernels.memory import Rooms
from securegen.model import Columns, Variants

SAMPLES, RUN = 70, 90
RUNS = (("1", 0, RUN), ("2", RUN, 2 * RUN), ("X", 2 * RUN, 3 * RUN), ("1", 3 * RUN, 3 * RUN + 5))


class ByChromosome(MemoryReader):
    """Variants of three chromosomes, one of which comes twice."""

    @property
    def variants(self) -> Variants:
        v = super().variants
        names = [name for name, start, stop in RUNS for _ in range(stop - start)]
        return Variants(text_array(names), v.position, v.id, v.effect_allele, v.other_allele)


def columns(seed: int, squared: tuple[bool, ...], shared: np.ndarray) -> Columns:
    """Ones, two columns that every seed has, and two of its own."""
    own = np.random.default_rng(seed).integers(-200, 200, (SAMPLES, 2))
    values = np.column_stack([np.ones(SAMPLES, np.int64), own[:, 0], shared, own[:, 1]])
    return Columns(tuple("oasbt"), values, squared)


def three_strata() -> tuple[Stratum, ...]:
    shared = np.random.default_rng(0).integers(-200, 200, (SAMPLES, 2))
    first, second = (columns(seed, (True, False, False, seed == 2, False), shared) for seed in (1, 2))
    nothing = Columns((), np.zeros((SAMPLES, 0), np.int64), ())
    return (
        Stratum("a", ((0, RUN), (3 * RUN, 3 * RUN + 5)), Design(first, ())), Stratum("b", ((RUN, 2 * RUN),), Design(second, ())),
        Stratum("c", ((2 * RUN, 3 * RUN),), Design(nothing, ())),
    )  # fmt: skip


class Study:
    """Owner and server of the three strata; squares: a stored stream or the owner's."""

    def __init__(self, folder, encryptor: str, *, squares: bool = False) -> None:
        rng = np.random.default_rng(3)
        dosage = rng.integers(0, 3, (RUNS[-1][2], SAMPLES)).astype(np.int8)
        dosage[RUN + 3, 5] = dosage[3, 7] = -1
        self.reader, self.strata, self.folder = ByChromosome(dosage), three_strata(), folder
        self.key = generate(choose(Workload(SAMPLES, len(dosage), 4, 10, squares=squares)).parameters)
        self.state, make = OwnerState(folder / "owner", self.key), ENCRYPTORS[encryptor](self.key)
        self.info = encrypt_cohort(
            self.reader, self.key, folder / "cohort", self.state, encryptor=make, squares=squares
        )
        self.secrets = encrypt_design(
            self.strata,
            self.key,
            self.info,
            self.state,
            folder / "design",
            encryptor=make,
            reader=self.reader,
            keep=str,
        )
        self.opened = cohort.open_cohort(folder / "cohort")
        self.design = studydesign.open_design(folder / "design", self.opened.public)

    def served(self, name: str = "results"):
        associate.associate(self.opened, self.design, self.folder / name)
        return self.folder / name

    def opened_sums(self, results):
        return list(decrypt.decrypt(results, self.state, self.info, self.secrets))


@pytest.fixture(scope="module", params=[("own", False), ("own", True), ("seal", False)], ids=["own", "squares", "seal"])
def study(request, tmp_path_factory) -> Study:
    encryptor, squares = request.param
    return Study(tmp_path_factory.mktemp("sets"), encryptor, squares=squares)


def test_each_block_has_the_sums_of_its_stratum(study):
    found = study.opened_sums(study.served())
    plain = list(sums.strata_sums(study.reader, study.strata, block=study.key.public.parameters.block_variants))
    assert [b.start for b in found] == [b.start for b in plain] and len(found) >= 4
    for a, b in zip(found, plain, strict=True):
        for stream in ("g", "m", "q"):
            np.testing.assert_array_equal(getattr(a, stream), getattr(b, stream))


def test_what_several_need_is_stored_once(study):
    body = study.design.body
    assert body["public_ones"].count(False) == 6 and [len(s) for s in body["sets"]] == [5, 5, 0]
    assert body["set_of"] == [0, 1, 2, 0] and [len(p) for p in study.design.columns.parts] == [2, 2, 2]
    assert len(list((study.folder / "design").glob("columns-0000-*.c0.npy"))) == 3


@pytest.mark.parametrize("threads_and_memory", [(1, 1), (2, 1), (2, 1 << 28)])
def test_results_do_not_depend_on_threads_or_batches_with_several_sets(threads_and_memory, study):
    threads, memory = threads_and_memory
    digests = lambda folder: [entry["blake3"] for entry in artefact.read_manifest(folder, "results", None)["blocks"]]  # noqa: E731
    whole, before = digests(study.served("whole")), numba.get_num_threads()
    try:
        numba.set_num_threads(min(threads, before))
        associate.associate(study.opened, study.design, study.folder / "cut", batch_bytes=memory)
    finally:
        numba.set_num_threads(before)
    assert digests(study.folder / "cut") == whole


@pytest.fixture
def alone(tmp_path) -> Study:
    """SEAL's ciphertexts have one key: what a server does with the wrong ones is no noise."""
    return Study(tmp_path, "seal")


def another_stratum(monkeypatch) -> None:
    """The server multiplies the blocks of the first stratum with the columns of the second, which has as many."""
    real = packed_design.PackedDesign
    monkeypatch.setattr(associate, "packed_designs", lambda design: [real(design, n, Rooms()) for n in (1, 1, 2)])


def swapped_blocks(victim: Study, results) -> None:
    """Honest sums of block 1 (the second stratum) in the place of block 0's."""
    entries = artefact.read_manifest(results, "results", None)["blocks"]
    rewrite_manifest(results, blocks=[entries[1], *entries[1:]])


@pytest.mark.parametrize("attack", ["columns of another stratum", "results of another stratum"])
def test_sums_with_the_columns_of_another_stratum_are_refused(attack, alone, monkeypatch):
    honest = alone.opened_sums(alone.served())
    if attack.startswith("columns"):
        with monkeypatch.context() as server:
            another_stratum(server)
            results = alone.served("dishonest")
    else:
        results = alone.served("dishonest")
        swapped_blocks(alone, results)
    with monkeypatch.context() as without:  # the check off: plausible numbers of another phenotype
        without.setattr(verify, "passes", lambda *_: True)
        believed = alone.opened_sums(results)
        assert believed[0].g.shape == honest[0].g.shape and (believed[0].g != honest[0].g).any()
        if attack.startswith("columns"):
            np.testing.assert_array_equal(believed[0].g[:, 0], honest[0].g[:, 0])  # the ones, which both have
    with monkeypatch.context() as memory:
        memory.setattr(retirement, "_retire", lambda *_: None)
        with pytest.raises(VerificationError):
            alone.opened_sums(results)


def test_with_the_own_encryptor_the_wrong_columns_are_noise_already(tmp_path, monkeypatch):
    """Every column has a key of its own: without the linear check, what is opened is far from integers."""
    study = Study(tmp_path, "own")
    another_stratum(monkeypatch)
    results = study.served()
    monkeypatch.setattr(verify, "passes", lambda *_: True)
    monkeypatch.setattr(retirement, "_retire", lambda *_: None)
    with pytest.raises(VerificationError):
        study.opened_sums(results)


CRAFTED = {
    "a set of an unknown column": lambda b: b["sets"][0].append(len(b["public_ones"])),
    "a column twice in a set": lambda b: b["sets"][0].append(b["sets"][0][-1]),
    "columns out of order": lambda b: b["sets"].__setitem__(0, b["sets"][0][::-1]),
    "a column in no set": lambda b: b.update(sets=[[j for j in s if j != 1] for s in b["sets"]]),
    "a block less": lambda b: b["set_of"].pop(),
    "a block more": lambda b: b["set_of"].append(0),
    "a million blocks more": lambda b: b["set_of"].extend([0] * 10**6),
    "a set that is not there": lambda b: b["set_of"].__setitem__(0, 3),
    "a set that no block has": lambda b: b["sets"].append([0]),
    "one set": lambda b: b.update(sets=b["sets"][:1], set_of=[0] * len(b["set_of"])),
    "more sets than chromosomes": lambda b: b.update(sets=[[0]] * 65),
    "sets without blocks": lambda b: b.pop("set_of"),
    "blocks without sets": lambda b: b.pop("sets"),
    "no sets and no blocks": lambda b: [b.pop("sets"), b.pop("set_of")],
    "negative": lambda b: b["sets"][0].__setitem__(0, -1),
    "another set's squares": lambda b: b.update(set_of=[2, 1, 0, 0]),
    "other files in a chunk": lambda b: b["columns"][0].pop(),
    "a seed for each part": lambda b: b["columns"][0][1].update(seed="0" * 32),
    "squares for nothing": lambda b: b["squares"].__setitem__(2, b["squares"][1]),
}


@pytest.mark.parametrize("name", CRAFTED)
def test_crafted_sets_are_refused_before_work(name, crafted_study, tmp_path):
    """Signed by whoever made them: a design is foreign to the server."""
    study = crafted_study
    body = json.loads(json.dumps(study.design.body))
    CRAFTED[name](body)
    folder = tmp_path / "design"
    folder.mkdir()
    (folder / artefact.MANIFEST).write_text(
        json.dumps({"body": body, "signature": study.key.sign(canonical(body)).hex()})
    )
    with pytest.raises(ArtefactError):
        made = studydesign.open_design(folder, study.opened.public)
        bodies.check_pair(study.opened.body, made.body, study.opened.parameters)
    with pytest.raises(ArtefactError):
        associate.associate(study.opened, studydesign.open_design(folder, study.opened.public), tmp_path / "results")
    assert not (tmp_path / "results").exists()


@pytest.fixture(scope="module")
def crafted_study(tmp_path_factory) -> Study:
    return Study(tmp_path_factory.mktemp("crafted"), "own")


def test_an_older_cohorts_block_across_chromosomes_is_refused():
    strata = three_strata()
    assert strata_of(strata, [0, 40, RUN, 2 * RUN, 3 * RUN, 3 * RUN + 5]) == (0, 0, 1, 2, 0)
    for starts in ([0, 2 * RUN, 3 * RUN], [0, RUN - 1, RUN + 1], [4 * RUN, 4 * RUN + 1]):
        with pytest.raises(ArtefactError, match="encrypt the cohort again"):
            strata_of(strata, starts)


some_sets = st.lists(st.lists(st.integers(0, 5), unique=True, max_size=6).map(sorted), min_size=1, max_size=5)


@given(some_sets, st.lists(st.booleans(), min_size=6, max_size=6))
def test_parts_are_whole_for_every_set(sets, ones):
    found = ColumnSets(tuple(ones), (False,) * 6, tuple(map(tuple, sets)))
    assert [j for part in found.parts for j in part] == [j for j in range(6) if not ones[j]]
    for number in range(len(sets)):
        assert [j for i in found.parts_of(number) for j in found.parts[i]] == found.hidden(number)


def test_one_stratum_has_the_manifest_that_it_had():
    strata = three_strata()[:1]
    body = pooled(strata).sets.to_body()
    assert body == {"public_ones": [True] + [False] * 4, "squared": [True] + [False] * 4}
    assert ColumnSets.from_body(body).parts == [(1, 2, 3, 4)]


def test_a_plan_counts_each_set_with_its_own_columns():
    """The largest set decides what a result is, the different columns what is sent."""
    runs, most = (500,) * 22, 9
    one = choose(Workload(400, 11_000, most, 16, runs=runs))
    by = {"runs": runs, "set_of": tuple(range(22))}
    many = Plan(one.parameters, Workload(400, 11_000, most, 16, sets=(most,) * 22, stored=29, **by))
    assert many.bytes()["results"] == one.bytes()["results"] and many.products == one.products
    assert many.bytes()["design"] * most == one.bytes()["design"] * 29
    few = Plan(one.parameters, Workload(400, 11_000, most, 16, sets=(most, *(2,) * 21), stored=20, **by))
    assert few.bytes()["results"] < one.bytes()["results"] and few.products < one.products / 2
    assert Plan.from_json(json.loads(json.dumps(many.to_json()))) == many
    for change in ({"set_of": [0] * 21}, {"set_of": [22] * 22}, {"sets": [most + 1] * 22}, {"sets": []}):
        body = many.to_json()
        with pytest.raises(ArtefactError, match="sets of columns"):
            Plan.from_json(body | {"workload": body["workload"] | change})
