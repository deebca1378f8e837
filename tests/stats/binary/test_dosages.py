"""Fractional dosages on a public grid, from arrays: exact in both engines, per copy in every table, refused where counts
of genotypes are needed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import securegen as sg
from securegen.design.columns import Design
from securegen.engines.ckks import steps
from securegen.engines.plain.engine import write_plain, write_plain_qc
from securegen.errors import InputError, PlanError, UsageError
from securegen.model import Columns, iterate_blocks
from securegen.stats.qc import Filters
from securegen.study.build import check_dosages
from securegen.study.opening import Study, open_study
from securegen.study.opening_qc import open_qc

N, M = 150, 20


def variants(count: int) -> dict:
    return {"chromosome": ["1"] * count, "position": range(count), "id": [f"v{j}" for j in range(count)],
            "effect_allele": ["A"] * count, "other_allele": ["C"] * count}  # fmt: skip


def people(count: int) -> list[str]:
    return [f"P{i}" for i in range(count)]


@pytest.fixture(scope="module")
def dosages() -> np.ndarray:
    """(M, N) imputed dosages, 2 % missing, the first variant hard calls."""
    rng = np.random.default_rng(9)
    calls = rng.binomial(2, rng.uniform(0.1, 0.9, M)[:, None], (M, N)).astype(float)
    out = np.clip(calls + rng.normal(0, 0.15, (M, N)), 0, 2)
    out[0] = calls[0]
    out[rng.random((M, N)) < 0.02] = np.nan
    return out


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> str:
    rng = np.random.default_rng(10)
    rows = [f"P{i}\t{1 + rng.integers(2)}\t{rng.normal():.4f}\t{rng.normal(50, 9):.1f}" for i in range(N)]
    path = tmp_path_factory.mktemp("table") / "p.tsv"
    path.write_text("#IID\tCC\tQT\tAGE\n" + "\n".join(rows) + "\n")
    return str(path)


@pytest.fixture
def studies(table):
    """(reader, bits) -> studies of the linear, score, trend and allelic test."""

    def make(reader, bits=None) -> list[Study]:
        named = {"pheno": table, "covar": table, "covar_name": ("AGE",), "bits": bits}
        return [
            open_study(reader, pheno_name=("QT",), **named),
            *(open_study(reader, pheno_name=("CC",), model=m, **named) for m in ("logistic", "trend", "allelic")),
        ]

    return make


@pytest.mark.parametrize(("grid", "bits"), [(16, None), (256, None), (4096, 16)])
def test_engines_agree_on_fractions(grid, bits, dosages, studies, together, same_as_plain):
    reader = sg.from_arrays(dosages, people(N), variants=variants(M), grid=grid)
    assert reader.dosage_grid == grid
    study = together(*studies(reader, bits))
    assert study.design.weights_squared, "the score test brings the stream of squares"
    plan = steps.plan(study)
    assert plan.parameters.dosage_max == (2 * grid) ** 2
    assert plan.parameters.ring.n == (8192 if grid == 4096 else 4096)
    same_as_plain(study)


@pytest.mark.parametrize("grid", [256, 4096])
@pytest.mark.parametrize("test", [0, 2, 3])
def test_engines_agree_without_the_stream_of_squares(grid, test, dosages, studies, same_as_plain):
    """Σg² is the owner's: the plan must hold 4D²N beside the products."""
    reader = sg.from_arrays(dosages, people(N), variants=variants(M), grid=grid)
    study = studies(reader)[test]
    assert not study.design.weights_squared
    same_as_plain(study)


def test_integers_are_hard_calls_whatever_the_grid(dosages, studies, tmp_path, frame):
    """The same calls as int8, as float and as fractions of a grid: one table."""
    calls = np.rint(dosages)
    texts = {}
    integers = np.where(np.isnan(calls), 0, calls).astype(np.int8)
    for name, array in (("float", np.nan_to_num(calls)), ("int", integers)):
        reader = sg.from_arrays(array, people(N), variants=variants(M), grid=256)
        assert reader.dosage_grid == 1 and reader.units.dtype == np.int8
        texts[name] = [Path(write_plain(s, str(tmp_path / name))[0].path).read_text() for s in studies(reader)]
    assert texts["float"] == texts["int"]


def test_effects_are_per_copy(dosages, studies, tmp_path, frame):
    """One fraction puts every variant on the grid: statistics of the hard calls stay what they are."""
    calls = np.rint(dosages)
    mixed = np.vstack([calls, np.full(N, 0.5)])
    mixed[-1, 0] = 1.25
    plain = sg.from_arrays(calls, people(N), variants=variants(M))
    fine = sg.from_arrays(mixed, people(N), variants=variants(M + 1), grid=64)
    assert (plain.dosage_grid, fine.dosage_grid) == (1, 64)
    for a, b in zip(studies(plain), studies(fine), strict=True):
        one, other = (frame(write_plain(s, str(tmp_path / n))[0].path) for s, n in ((a, "a"), (b, "b")))
        assert list(one.ERRCODE) == list(other.ERRCODE[:-1])
        for column in one.columns[5:]:
            if one[column].dtype.kind in "if":
                np.testing.assert_allclose(one[column], other[column][:-1], rtol=1e-10, atol=1e-12, err_msg=column)


def test_precision_of_a_grid(dosages, studies, tmp_path, frame):
    """Half a grid step a dosage is all that differs: z moves by at most ‖δ‖/‖g̃‖ on each side, to first order."""
    reference = frame(write_plain(_study(dosages, 8192, studies), str(tmp_path / "fine"))[0].path)
    for grid in (16, 256):
        ours = frame(write_plain(_study(dosages, grid, studies), str(tmp_path / f"g{grid}"))[0].path)
        moved = np.abs(ours.T_STAT - reference.T_STAT)
        step = 0.5 / grid + 0.5 / 8192
        spread = np.sqrt(N * np.nanvar(dosages, axis=1) * 0.5)  # the covariate and the mean take less than half
        x2 = reference.T_STAT**2 / (N - 3)
        limit = np.sqrt(N) * (1 + x2) * step * np.sqrt(N) / spread
        assert (moved <= limit).all() and moved.max() > 0


def _study(dosages, grid, studies):
    return studies(sg.from_arrays(dosages, people(N), variants=variants(M), grid=grid), 20)[0]


def test_hardy_weinberg_needs_hard_calls(dosages, table, tmp_path):
    reader = sg.from_arrays(dosages, people(N), variants=variants(M))
    study = open_study(reader, pheno=table, pheno_name=("QT",), qc=True)
    with pytest.raises(UsageError, match="`hwe` needs hard calls; these are fractional dosages, in steps of 1/256"):
        write_plain(study, str(tmp_path / "t"), filters=Filters(hwe=1e-6))
    assert not list(tmp_path.iterdir())
    (summary,) = write_plain(study, str(tmp_path / "t"), filters=Filters(maf=0.2, geno=0.02))
    frequency = np.nanmean(dosages, axis=1) / 2
    expected = (np.minimum(frequency, 1 - frequency) >= 0.2) & (np.isnan(dosages).mean(1) <= 0.02)
    assert summary.dropped == (~expected).sum() > 0
    log: list[str] = []
    paths = write_plain_qc(open_qc(reader, log=log.append), str(tmp_path / "q"))
    assert [p.rsplit(".")[-1] for p in paths] == ["afreq", "vmiss"] and not (tmp_path / "q.hardy").exists()
    assert any("no Hardy–Weinberg test" in line for line in log)


@given(st.data())
@settings(max_examples=50, deadline=None)
def test_rounding_to_the_grid(data):
    grid = 2 ** data.draw(st.integers(1, 13))
    rows = data.draw(st.lists(st.lists(st.floats(0, 2), min_size=3, max_size=3), min_size=1, max_size=6))
    array = np.vstack([rows, [0.5, 0.0, 2.0]])
    reader = sg.from_arrays(array, people(3), variants=variants(len(array)), grid=grid)
    block = reader.read(0, len(array))
    assert block.missing is None and reader.dosage_grid == grid
    assert (np.abs(block.dosage / grid - array) <= 0.5 / grid).all() and block.dosage.max() == 2 * grid


def test_blocks_and_selections(dosages):
    reader = sg.from_arrays(dosages, people(N), variants=variants(M))
    rows, columns = np.array([5, 1, 7]), np.array([3, 140, 9, 20])
    part = reader.select(columns, rows)
    assert list(part.samples.iid) == ["P3", "P140", "P9", "P20"] and list(part.variants.id) == ["v5", "v1", "v7"]
    blocks = list(iterate_blocks(part, 2))
    assert [len(b) for b in blocks] == [2, 1] and blocks[1].start == 2
    whole = np.concatenate([b.dosage for b in blocks])
    expected = np.nan_to_num(np.rint(dosages * 256))[np.ix_(rows, columns)]
    np.testing.assert_array_equal(whole, expected)
    np.testing.assert_array_equal(part.select().units, part.units)


@pytest.mark.parametrize(
    ("array", "options", "message"),
    [
        ([[0, 1, 3]], {}, "variant v0, sample 3: a dosage is outside"),
        ([[0, -9, 1]], {}, "variant v0, sample 2: a dosage is outside .* missing ones are NaN"),
        ([[0, 2.0001, 1]], {}, "outside"),
        ([[0, np.inf, 1]], {}, "outside"),
        ([[0, 1]], {}, r"shape \(1, 2\), \(1, 3\) expected"),
        ([["0", "1", "2"]], {}, "dtype"),
        ([[0, 1.5, 2]], {"grid": 1}, "grid 1 is for hard calls"),
        ([[0, 1.5, 2]], {"grid": 100}, "power of two from 1 to 8192"),
        ([[0, 1.5, 2]], {"grid": 16384}, "power of two from 1 to 8192"),
        ([[0, 1, 2]], {"samples": ["a", "b", "a"]}, "sample id appears more than once"),
        ([[0, 1, 2]], {"variants": {"id": ["v"]}}, "lack chromosome, position, effect_allele, other_allele"),
        ([[0, 1, 2]], {"variants": variants(1) | {"id": ["v", "w"]}}, "different lengths"),
    ],
)
def test_arrays_that_are_refused(array, options, message):
    named = {"variants": variants(1)} | {k: v for k, v in options.items() if k != "samples"}
    with pytest.raises(InputError, match=message):
        sg.from_arrays(np.array(array), options.get("samples", people(3)), **named)


def test_a_run_on_arrays_has_digests_of_its_tables_only(dosages, table):
    study = open_study(sg.from_arrays(dosages, people(N), variants=variants(M)), pheno=table, pheno_name=("QT",))
    assert set(study.inputs.digests()) == {"pheno"}


def test_sums_that_could_wrap_are_refused():
    """200,000 people on the finest grid: n·Σg² could pass 2^63, so nothing is summed."""
    columns = Columns(("INTERCEPT",), np.ones((200_000, 1), np.int64), (True,))
    check_dosages(Design(columns, ()), 2 * 4096)
    with pytest.raises(PlanError, match="the sums over dosages of up to 16384 units could reach 2\\^64"):
        check_dosages(Design(columns, ()), 2 * 8192)


def test_variants_from_a_pandas_frame(dosages):
    import pandas as pd

    frame = pd.DataFrame(variants(M) | {"position": np.arange(M)})
    reader = sg.from_arrays(dosages, people(N), variants=frame)
    assert list(reader.variants.id) == list(frame["id"]) and reader.variants.position.dtype == np.int64
