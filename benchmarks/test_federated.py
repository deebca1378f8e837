"""Sums over three sites by pairwise masks: against slot-packed CKKS through SEAL, a site's cost against its people, a study.

`test_secure_sum`: one site masks K sums for each of 2,048 variants, adds three sites' rows and reads the totals; exact
integers here, floating point there. `test_site_segment`: all that a site does for 512 variants, by number of people: the
sums over people grow, masks and bytes do not. `test_study`: 100,000 variants, three sites of 1,000 people, 5 covariates,
half a percent of the calls missing; every site a process, from files to the pooled table. `test_study_with_model`: the first
20,000 of them with a whole-genome model of all sites; its bytes beside their formula.
"""

from __future__ import annotations

import math
import secrets
from pathlib import Path

import numpy as np
import pytest

from securegen.engines.federated import rehearsal
from securegen.engines.federated.fields import Layout, field_bits
from securegen.engines.federated.pair_keys import derive
from securegen.engines.plain.sums import block_sums
from securegen.model import Columns, GenotypeBlock
from securegen.randomness import keystream
from securegen.stats.qc import Filters
from securegen.study.genotypes import open_genotypes
from securegen.study.inputs import Inputs

SITES, VARIANTS, COLUMNS = 3, 2048, 8
WIDTH = field_bits(1 << 30)
STUDY = {"variants": 100_000, "people": 1_000, "covariates": 5}
CODES = np.array([3, 2, 0, 1], np.uint8)  # of 0, 1, 2 copies of A1 and missing


@pytest.fixture(autouse=True)
def one_thread():
    import numba

    before = numba.get_num_threads()
    numba.set_num_threads(1)
    yield
    numba.set_num_threads(before)


def own_sums() -> np.ndarray:
    return np.random.default_rng(1).integers(-(1 << 28), 1 << 28, (VARIANTS, COLUMNS))


@pytest.mark.parametrize("name", ["securegen-K8-t1", "seal_slots-K8-t1"])
def test_secure_sum(benchmark, name):
    values = own_sums()
    step = _masked(values) if name.startswith("securegen") else _seal(values)
    totals = benchmark(step)
    exact = name.startswith("securegen")
    assert np.array_equal(np.rint(totals), SITES * values) or not exact
    benchmark.extra_info["work"] = values.size
    benchmark.extra_info["wrong_integers"] = int((np.rint(totals) != SITES * values).sum())


def _cover(layout: Layout, values: np.ndarray, me: int, keys: dict[frozenset[int], bytes]) -> np.ndarray:
    words = layout.encode(values)
    for other in range(SITES):
        if other != me:
            mask = layout.unpack(keystream(derive(keys[frozenset((me, other))], "mask", b"step"), 0, layout.size))
            words = (layout.add if me < other else layout.subtract)(words, mask)
    return words


def _masked(values: np.ndarray):
    """One site's work, with the two others' rows given."""
    layout = Layout(VARIANTS, (WIDTH,) * COLUMNS)
    keys = {frozenset((i, j)): secrets.token_bytes(32) for i in range(SITES) for j in range(i)}
    others = [layout.pack(_cover(layout, values, i, keys)) for i in range(1, SITES)]

    def step() -> np.ndarray:
        total = layout.unpack(layout.pack(_cover(layout, values, 0, keys)))
        for other in others:
            total = layout.add(total, layout.unpack(other))
        return layout.decode(total)

    return step


def _seal(values: np.ndarray):
    """The same sums in the slots of SEAL's CKKS ciphertexts, one key holder."""
    import tenseal as ts

    context = ts.context(ts.SCHEME_TYPE.CKKS, 8192, coeff_mod_bit_sizes=[60, 40, 60], n_threads=1)
    context.global_scale = 2.0**40
    slots = values.reshape(-1, 4096).astype(float)
    others = [[ts.ckks_vector(context, row) for row in slots] for _ in range(SITES - 1)]

    def step() -> np.ndarray:
        total = [ts.ckks_vector(context, row) for row in slots]
        for other in others:
            total = [t + o for t, o in zip(total, other, strict=True)]
        return np.array([t.decrypt() for t in total]).reshape(values.shape)

    return step


@pytest.mark.parametrize("people", [1_000, 4_000, 16_000], ids="people{}-t1".format)
def test_site_segment(benchmark, people):
    rng = np.random.default_rng(2)
    block = GenotypeBlock(0, rng.integers(0, 3, (512, people), dtype=np.int8), None)
    values = rng.integers(-(1 << 15), 1 << 15, (people, COLUMNS))
    columns = Columns(tuple(map(str, range(COLUMNS))), values, (True,) + (False,) * (COLUMNS - 1))
    layout = Layout(512, (field_bits(1 << 40),) * (COLUMNS + 1))
    keys = {frozenset((i, j)): secrets.token_bytes(32) for i in range(SITES) for j in range(i)}

    def site() -> int:
        sums = block_sums(block, columns)
        return len(layout.pack(_cover(layout, np.concatenate([sums.g, sums.q], axis=1), 0, keys)))

    sent = benchmark(site)
    benchmark.extra_info["work"] = 512 * (COLUMNS + 1)
    benchmark.extra_info["bytes_sent"] = sent


def made_up(folder: Path, variants: int = STUDY["variants"]) -> Inputs:
    """A pooled cohort as PLINK1 files: random genotypes, half a percent missing, one trait."""
    rng = np.random.default_rng(7)
    people = SITES * STUDY["people"]
    with (folder / "pooled.bed").open("wb") as bed:
        bed.write(b"\x6c\x1b\x01")
        for start in range(0, variants, 2000):
            size = min(2000, variants - start)
            frequency = rng.uniform(0.05, 0.5, (size, 1)).astype(np.float32)
            dosage = (rng.random((2, size, people), np.float32) < frequency).sum(0, dtype=np.uint8)
            dosage[rng.random((size, people), np.float32) < 0.005] = 3
            codes = np.pad(CODES[dosage], ((0, 0), (0, -people % 4)))
            bed.write((codes[:, 0::4] | codes[:, 1::4] << 2 | codes[:, 2::4] << 4 | codes[:, 3::4] << 6).tobytes())
    (folder / "pooled.bim").write_text("".join(f"1\trs{j}\t0\t{j + 1}\tA\tG\n" for j in range(variants)))
    (folder / "pooled.fam").write_text("".join(f"p{i}\tp{i}\t0\t0\t0\t-9\n" for i in range(people)))
    names = [f"C{k}" for k in range(STUDY["covariates"])]
    for path, columns in (("pheno.tsv", ["Y"]), ("covar.tsv", names)):
        rows = ["\t".join([f"p{i}", *(f"{v:.4f}" for v in rng.normal(size=len(columns)))]) for i in range(people)]
        (folder / path).write_text("\n".join(["\t".join(["#IID", *columns]), *rows]) + "\n")
    return Inputs(str(folder / "pooled"), pheno=str(folder / "pheno.tsv"), covar=str(folder / "covar.tsv"))


@pytest.mark.parametrize("name", ["securegen-t1"])
def test_study(benchmark, name, tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    inputs = made_up(folder)
    sites = rehearsal.deal(open_genotypes(inputs), inputs.genotypes, SITES)
    number = iter(range(100))

    def prepare():
        work = folder / f"run{next(number)}"
        rehearsal.set_up(work, inputs, sites, lambda line: None)
        return ([rehearsal.site_role(work, inputs, s, Filters()) for s in sites],), {}

    benchmark.pedantic(rehearsal.run_sites, setup=prepare, rounds=1, iterations=1)
    records = rehearsal.results(folder / "run0", sites)
    sent = [record["bytes"]["sent"][record["site"]] for record in records]
    benchmark.extra_info["work"] = STUDY["variants"]
    benchmark.extra_info["bytes_sent"] = max(sent)
    benchmark.extra_info["field_bytes"] = records[0]["opened"]["field_bytes"]
    benchmark.extra_info["exchanges"] = len(records[0]["opened"]["rounds"])
    assert max(sent) <= 12e6 and max(sent) <= 1.15 * records[0]["opened"]["field_bytes"]


def model_bytes(variants: int, people: int, block: int, columns: int) -> int:
    """What a site sends for a whole-genome model, by its formula: products of a block's pairs, and of each variant with
    covariates and phenotype; then the same of five predictors a block."""
    row = lambda widths: -(-sum(widths) // 8)  # noqa: E731
    square, blocks = people * 2048**2, -(-variants // block)
    beside = row([field_bits(math.isqrt(square * people) << 16)] * columns)  # columns of a variance near 1
    predictors, wide = 5 * blocks, people << 36
    first = variants * (block + 1) // 2 * row([field_bits(square)]) + variants * beside
    return first + predictors * (predictors + 1) // 2 * row([field_bits(wide)])


@pytest.mark.parametrize("name", ["securegen-t1"])
def test_study_with_model(benchmark, name, tmp_path_factory):
    folder, variants, block = tmp_path_factory.mktemp("model"), 20_000, 316
    inputs = made_up(folder, variants)
    sites = rehearsal.deal(open_genotypes(inputs), inputs.genotypes, SITES)
    number = iter(range(100))

    def prepare():
        work = folder / f"run{next(number)}"
        rehearsal.set_up(work, inputs, sites, lambda line: None, step1=True, block=block, openings="all")
        return ([rehearsal.site_role(work, inputs, s, Filters()) for s in sites],), {}

    benchmark.pedantic(rehearsal.run_sites, setup=prepare, rounds=1, iterations=1)
    records = rehearsal.results(folder / "run0", sites)
    sent = {r["name"]: r["numbers"] for r in records[0]["opened"]["rounds"] if r["name"].startswith("step1-")}
    planned = model_bytes(variants, SITES * STUDY["people"], block, STUDY["covariates"] + 2)
    benchmark.extra_info["work"] = sum(sent.values())
    benchmark.extra_info["bytes_sent"] = max(record["bytes"]["sent"][record["site"]] for record in records)
    benchmark.extra_info["bytes_planned"] = planned
    benchmark.extra_info["exchanges"] = len(records[0]["opened"]["rounds"])
    assert planned <= benchmark.extra_info["bytes_sent"] <= planned + 12e6
