"""Set tests in the clear beside reading the genotypes of their variants: wall and processor time, and their ratios.

10,000 people, 50 rare variants a set, SKAT, SKAT-O, ACAT-V and ACAT-O of each. Kernels are loaded and the file is in the page
cache. extra_info has the seconds of both; SETS=20000 in the environment is the size of an exome, two gigabytes of genotypes and
some minutes of simulation.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest

import securegen as sg
from securegen.engines.set_sums import results_of_sets
from securegen.study.masks import set_blocks
from securegen.study.opening import Study
from securegen.vocabulary import SET_TESTS

SETS, VARIANTS, PEOPLE = int(os.environ.get("SETS", 400)), 50, 10_000


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Variants of frequencies from 1e-4 to 1e-2, calls complete, twelve covariates."""
    folder = tmp_path_factory.mktemp("sets")
    return simulated(folder, SETS)


def simulated(folder: Path, sets: int) -> Study:
    """The cohort below `folder`; genotypes are written set by set, over and over the same 20 sets of them."""
    rng = np.random.default_rng(3)
    share = 10.0 ** rng.uniform(-4, -2, (20 * VARIANTS, 1))
    dosage = rng.binomial(2, share, (20 * VARIANTS, PEOPLE)).astype(np.uint8)
    codes = np.array([3, 2, 0], np.uint8)[dosage]
    packed = (codes[:, 0::4] | codes[:, 1::4] << 2 | codes[:, 2::4] << 4 | codes[:, 3::4] << 6).reshape(
        20, VARIANTS, -1
    )
    with open(folder / "c.bed", "wb") as stream:
        stream.write(b"\x6c\x1b\x01")
        for s in range(sets):
            stream.write(packed[s % 20].tobytes())
    ids = [[f"v{s}_{j}" for j in range(VARIANTS)] for s in range(sets)]
    place = [1 + s * 22 // sets for s in range(sets)]
    (folder / "c.bim").write_text("".join(
        f"{place[s]}\t{v}\t0\t{1000 * s + j + 1}\tA\tG\n" for s, mine in enumerate(ids) for j, v in enumerate(mine)
    ))  # fmt: skip
    (folder / "c.fam").write_text("".join(f"P{i}\tP{i}\t0\t0\t0\t-9\n" for i in range(PEOPLE)))
    x = rng.normal(size=(PEOPLE, 13))
    names = "\t".join(f"C{k}" for k in range(12))
    (folder / "pheno").write_text("#IID\tQT\n" + "".join(f"P{i}\t{v:.5f}\n" for i, v in enumerate(x[:, 12])))
    rows = ("\t".join(f"{v:.5f}" for v in row) for row in x[:, :12])
    (folder / "covar").write_text(f"#IID\t{names}\n" + "".join(f"P{i}\t{row}\n" for i, row in enumerate(rows)))
    (folder / "anno").write_text("".join(f"{v} G{s} x\n" for s, mine in enumerate(ids) for v in mine))
    (folder / "sets").write_text("".join(f"G{s} {place[s]} {s} {','.join(mine)}\n" for s, mine in enumerate(ids)))
    (folder / "masks").write_text("M x\n")
    (folder / "freq").write_text("".join(f"{v} 0.005\n" for mine in ids for v in mine))
    return sg.open_study(
        folder / "c", pheno=folder / "pheno", pheno_name="QT", covar=folder / "covar", anno_file=folder / "anno",
        set_list=folder / "sets", mask_def=folder / "masks", aaf_file=folder / "freq", vc_tests=SET_TESTS, vc_max_aaf=0.01,
    )  # fmt: skip


def read(study: Study) -> int:
    """Every dosage of the sets, read as the tests read them."""
    sets = study.sets
    return sum(int(block.dosage[0, 0]) for _, block in set_blocks(sets.reader, sets.masks.firsts, sets.sets))


def spent(act, study: Study) -> np.ndarray:
    """Wall and processor seconds."""
    before = time.perf_counter(), time.process_time()
    act(study)
    return np.array([time.perf_counter(), time.process_time()]) - before


def run_tests(study: Study) -> int:
    return sum(len(found) for found in results_of_sets(study.sets))


def test_set_tests_beside_reading(benchmark, study: Study) -> None:
    read(study)
    next(results_of_sets(study.sets))  # kernels
    times: list[tuple[np.ndarray, np.ndarray]] = []

    def both() -> None:
        times.append((spent(read, study), spent(run_tests, study)))

    benchmark.pedantic(both, rounds=1 if SETS > 1000 else 3)
    reading, testing = (np.median(np.array(t), axis=0) for t in zip(*times, strict=True))
    for k, clock in enumerate(("wall", "processor")):
        benchmark.extra_info |= {f"{clock}_read": round(reading[k], 3), f"{clock}_test": round(testing[k], 3)}
        print(f"\n{SETS:,} sets of {VARIANTS} variants in {PEOPLE:,} people, {clock} seconds: read {reading[k]:.2f}, "
              f"tested {testing[k]:.2f}, ratio {testing[k] / reading[k]:.2f}")  # fmt: skip
    assert testing[0] <= 2 * reading[0]
    benchmark.extra_info |= {"sets": SETS, "variants_of_a_set": VARIANTS, "people": PEOPLE}
