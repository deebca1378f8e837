"""A public seed is never used for two blocks: killed and resumed runs, forked, spawned and copied workers."""

from __future__ import annotations

import json
import multiprocessing
import threading
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from securegen.engines.ckks import artefact
from securegen.engines.ckks.ciphertexts import Ciphertexts
from securegen.engines.ckks.codec import CHUNK_GROUPS
from securegen.engines.ckks.owner.encrypt_cohort import encrypt_cohort
from securegen.engines.ckks.owner.encryption import OwnEncryptor, strand_keys
from securegen.engines.ckks.owner.secret_key import generate
from securegen.engines.ckks.owner.state import OwnerState
from securegen.engines.ckks.parameters import Parameters
from securegen.engines.ckks.planner import Workload, choose
from securegen.io.arrays import ArrayReader
from securegen.model import Samples, Variants
from securegen.rlwe import encryptor
from securegen.rlwe.ring import Ring

SAMPLES, VARIANTS, STRANDS = 4100, 150, 3


@pytest.fixture(scope="module")
def key():
    """64 samples and 64 variants a ciphertext: one block of three strands, and 65 groups, so two chunks."""
    plan = choose(Workload(SAMPLES, VARIANTS, 1, 10), whole=True).parameters
    p = Parameters(plan.ring, 64, plan.genotype_scale, plan.design_scale, plan.dosage_max, plan.norm, SAMPLES, STRANDS)
    assert p.groups == CHUNK_GROUPS + 1 and p.strand_variants * (STRANDS - 1) < VARIANTS <= p.block_variants
    return generate(p)


def reader(units: np.ndarray) -> ArrayReader:
    text = lambda prefix, n: np.array([f"{prefix}{i}" for i in range(n)], object)
    m, n = units.shape
    samples = Samples(text("F", n), text("I", n), np.ones(n, bool))
    variants = Variants(
        np.array(["1"] * m, object),
        np.arange(m),
        text("v", m),
        np.array(["A"] * m, object),
        np.array(["G"] * m, object),
    )
    return ArrayReader(units, samples, variants)


def genotypes(random_state: int) -> np.ndarray:
    return np.random.default_rng(random_state).integers(0, 3, (VARIANTS, SAMPLES)).astype(np.int8)


class Killed(Exception):
    """Stands for the signal that ends a run."""


class Recording:
    """The own encryptor; remembers seeds, and dies after `lives` calls, as a killed run does."""

    name = "own"

    def __init__(self, key, lives: int = 1 << 30) -> None:
        self.encrypt, self.lives, self.seeds, self.lock = OwnEncryptor(key), lives, [], threading.Lock()

    def __call__(self, messages: np.ndarray, scale_log2: int) -> Ciphertexts:
        return self._recorded(self.encrypt, messages, scale_log2)

    def strands(self, messages: np.ndarray, scale_log2: int) -> Ciphertexts:
        return self._recorded(self.encrypt.strands, messages, scale_log2)

    def digits(self, messages: np.ndarray, widths: Sequence[int], scale_log2: int) -> Ciphertexts:
        return self._recorded(self.encrypt.digits, messages, widths, scale_log2)

    def written(self, made: Ciphertexts) -> None:
        self.encrypt.written(made)

    def _recorded(self, encrypt, *arguments) -> Ciphertexts:
        with self.lock:  # `lives` is the same for every order of the threads
            if self.lives == 0:
                raise Killed
            self.lives -= 1
        out = encrypt(*arguments)
        self.seeds.append(out.seed.hex())
        return out


def encrypt(units: np.ndarray, key, folder: Path, lives: int = 1 << 30) -> list[str]:
    """Seeds that a run draws, killed or not."""
    recording = Recording(key, lives)
    state = OwnerState(folder / "owner", key)
    try:
        encrypt_cohort(reader(units), key, folder / "cohort", state, encryptor=recording)
    except Killed:
        assert not (folder / "cohort" / artefact.MANIFEST).exists()
    return recording.seeds


def stored_seeds(folder: Path) -> dict[str, str]:
    """File name -> seed, for files that are there."""
    body = json.loads((folder / "cohort" / artefact.MANIFEST).read_text())["body"]
    entries = [e for part in body["blocks"] for stream in part["streams"].values() for chunk in stream for e in chunk]
    assert {e["name"] for e in entries} == {f.name for f in (folder / "cohort").glob("*.npy")}
    return {e["name"]: e["seed"] for e in entries}


@pytest.mark.parametrize("lives", [0, 1, 2])
def test_killed_and_resumed_with_changed_data(lives, key, tmp_path):
    """Killed in the middle of a block or after it; the second run has other genotypes and shares no seed."""
    before = encrypt(genotypes(1), key, tmp_path, lives=lives)
    after = encrypt(genotypes(2), key, tmp_path)
    assert len(after) == 2 and max(Counter(before + after).values()) == 1
    assert sorted(stored_seeds(tmp_path).values()) == sorted(after)


def test_killed_and_resumed_with_the_same_data(key, tmp_path):
    """Nothing of a partial block is continued, even when the data are the same."""
    before = encrypt(genotypes(1), key, tmp_path, lives=1)
    after = encrypt(genotypes(1), key, tmp_path)
    assert len(before) == 1 and len(after) == 2 and not set(before) & set(after)
    assert sorted(stored_seeds(tmp_path).values()) == sorted(after)


def test_a_whole_block_is_kept_as_it_is(key, tmp_path):
    """Unchanged data and files: nothing is encrypted again, so its seeds still stand for one message."""
    encrypt(genotypes(1), key, tmp_path)
    files = {f.name: f.read_bytes() for f in (tmp_path / "cohort").glob("*.npy")}
    assert encrypt(genotypes(1), key, tmp_path) == []
    assert files == {f.name: f.read_bytes() for f in (tmp_path / "cohort").glob("*.npy")}


def test_a_changed_value_changes_every_seed_of_its_block(key, tmp_path):
    encrypt(genotypes(1), key, tmp_path)
    before = stored_seeds(tmp_path)
    changed = genotypes(1)
    changed[3, 5] = 2 - changed[3, 5] if changed[3, 5] != 1 else 0
    encrypt(changed, key, tmp_path)
    assert not set(before.values()) & set(stored_seeds(tmp_path).values())


def test_a_seed_serves_one_ciphertext_a_key(key, tmp_path):
    """All files together: for no seed, group and secret key is there a second message."""
    encrypt(genotypes(1), key, tmp_path)
    secrets = strand_keys("own", key, STRANDS)
    used: Counter = Counter()
    for name, seed in stored_seeds(tmp_path).items():
        groups, strands = np.load(tmp_path / "cohort" / name, mmap_mode="r").shape[2:4]
        used.update((seed, g, secrets[s].tobytes()) for g in range(groups) for s in range(strands))
    assert used.total() == key.public.parameters.groups * STRANDS and max(used.values()) == 1


def _worker(connection) -> None:
    """Encrypts the same message twice; runs in a process of its own."""
    ring = Ring.standard(4096, 3)
    message = np.zeros((1, ring.n), np.int64)
    key = np.ones((3, ring.n), np.uint64)
    drawn = [encryptor.encrypt_block(key, message, 20, ring) for _ in range(2)]
    connection.send_bytes(json.dumps([(seed.hex(), int(c0.sum(dtype=np.uint64))) for seed, c0 in drawn]).encode())
    connection.close()


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_copies_of_a_process_draw_different_seeds(method):
    """Workers that are copies of one process (fork is the copy of all its memory) repeat neither seed nor error."""
    ring = Ring.standard(4096, 3)
    mine, _ = encryptor.encrypt_block(np.ones((3, ring.n), np.uint64), np.zeros((1, ring.n), np.int64), 20, ring)
    context = multiprocessing.get_context(method)
    drawn = []
    for _ in range(3 if method == "fork" else 2):
        receive, send = context.Pipe(duplex=False)
        process = context.Process(target=_worker, args=(send,))
        process.start()
        send.close()
        drawn += json.loads(receive.recv_bytes())
        process.join()
        assert process.exitcode == 0
    seeds, sums = zip(*drawn, strict=True)
    assert len({mine.hex(), *seeds}) == len(seeds) + 1
    assert len(set(sums)) == len(sums)


def test_the_draw_is_the_operating_systems(monkeypatch):
    """Both keys of a call are draws of their own, and the first is the seed."""
    ring = Ring.standard(4096, 3)
    draws = []
    real = encryptor.fresh_key
    monkeypatch.setattr(encryptor, "fresh_key", lambda: draws.append(real()) or draws[-1])
    seed, _ = encryptor.encrypt_block(np.ones((3, ring.n), np.uint64), np.zeros((1, ring.n), np.int64), 20, ring)
    assert len(draws) == 2 and seed == draws[0] and draws[0] != draws[1]
