"""Cohorts on disk: small ones of our own with missing calls and every effect type."""

from __future__ import annotations

import contextlib
import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from bed_reader import to_bed
from click.testing import CliRunner

from securegen.cli.main import main
from securegen.kernels.ntt import inverse
from securegen.rlwe import encryptor
from securegen.rlwe.residues import from_tiles, ring_tables


@dataclass(frozen=True)
class Cohort:
    """Prefix of a fileset and a scoring file for it."""

    bfile: str
    score: str
    variants: int
    samples: int


def write_cohort(folder: Path, *, variants: int = 300, samples: int = 14, missing: float = 0.05, seed: int = 7,
                 effects: bool = True, zeros: int = 0) -> Cohort:  # fmt: skip
    """A random cohort; missing calls only in its first half; effects: dominant and recessive rows too."""
    rng = np.random.default_rng(seed)
    dosage = rng.binomial(2, rng.uniform(0.1, 0.9, variants), (samples, variants)).astype(float)
    dosage[:, : variants // 2][rng.random((samples, variants // 2)) < missing] = np.nan
    pairs = [("A", "C"), ("G", "T"), ("C", "A"), ("A", "T")]
    alleles = [pairs[i % 4] for i in range(variants)]
    prefix = str(folder / "cohort")
    to_bed(
        prefix + ".bed", dosage,
        properties={
            "iid": [f"P{i}" for i in range(samples)], "sid": [f"v{j}" for j in range(variants)],
            "chromosome": ["1"] * variants, "bp_position": list(range(1, variants + 1)),
            "allele_1": [a for a, _ in alleles], "allele_2": [b for _, b in alleles],
        },
    )  # fmt: skip
    weight = rng.normal(size=variants)
    weight[:zeros] = 0
    lines = ["ID\teffect_allele\tother_allele\teffect_weight\tis_dominant\tis_recessive"]
    for j, (a, b) in enumerate(alleles):
        effect, other = (a, b) if rng.random() < 0.6 else (b, a)
        kind = rng.integers(0, 6) if effects else 5
        lines.append(f"v{j}\t{effect}\t{other}\t{weight[j]:.8f}\t{kind == 0}\t{kind == 1}")
    score = folder / "score.tsv"
    score.write_text("\n".join(lines) + "\n")
    return Cohort(prefix, str(score), variants, samples)


@pytest.fixture(scope="session")
def small(tmp_path_factory) -> Cohort:
    return write_cohort(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="session")
def additive(tmp_path_factory) -> Cohort:
    """Nothing missing, additive, 20 variants a person and more."""
    return write_cohort(tmp_path_factory.mktemp("additive"), variants=400, samples=6, missing=0.0, effects=False)


@pytest.fixture(scope="session")
def known_seeds():
    """Here own ciphertexts have fixed seeds. Of fresh ones, some 1 in 2^15 holds a zero, by which no attack divides."""

    @contextlib.contextmanager
    def fixed():
        numbers = itertools.count()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(encryptor, "fresh_key", lambda: next(numbers).to_bytes(16))
            yield

    return fixed


@pytest.fixture(scope="session")
def bare():
    """`publickey.hide` without the encryption of zero."""

    def send(key, tiles, wanted):
        c0, c1 = (from_tiles(tiles[:, :, :, half], key.ring) for half in (0, 1))
        inverse(c0, ring_tables(key.ring))
        return c0[..., -wanted:], c1.astype(np.uint32)

    return send


@pytest.fixture
def securegen(tmp_path, monkeypatch):
    """Run the command line in an empty folder; returns click's result, re-raising what it does not know."""
    monkeypatch.chdir(tmp_path)

    def run(*words: str):
        return CliRunner().invoke(main, [*words], catch_exceptions=True)

    return run
