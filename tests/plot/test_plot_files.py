"""Pictures are written, hold something, are the same twice, and say which extra is missing."""

from __future__ import annotations

import builtins
import io
import json
import sys

import numpy as np
import pandas as pd
import pytest
from support import securegen

from securegen.errors import MissingExtraError, UsageError
from securegen.plot import canvas
from securegen.plot.association import Associations, manhattan, qq
from securegen.plot.run import cost_bars, noise_margin
from securegen.plot.scores import Scores, calibration, score_density
from securegen.report.gather import Run
from securegen.report.pictures import pictures

pytestmark = pytest.mark.usefixtures("forked_roles")

pytest.importorskip("matplotlib", reason="needs securegen[plot]")
ODD = "$\\frac{ <script> 日本"  # neither mathematics nor markup


def associations_of(count: int = 4000, *, strongest: float = 400.0) -> Associations:
    rng = np.random.default_rng(7)
    log10p = -np.log10(rng.random(count))
    log10p[count // 3], log10p[count // 2] = np.nan, strongest
    chromosome = np.array([str(1 + 22 * i // count) for i in range(count)])
    return Associations(
        ODD, chromosome, rng.integers(1, 10**8, count), np.array([f"${ODD}{i}" for i in range(count)]), log10p
    )


def scores_of() -> Scores:
    rng = np.random.default_rng(8)
    total, case = rng.normal(size=400), (rng.random(400) < 0.4).astype(float)
    case[5] = np.nan
    return Scores(ODD, total + case, rng.normal(size=900), case, ODD, 1 / (1 + np.exp(-total)))


RECORD = {
    "seconds": {"plan": 0.1, "encrypt": 4.0, "total": 5.0}, "bytes": {"sent": {ODD: 10, "b": 10**7}, "dealer": 3, "rounds": 2},
    "planned_noise_margin_bits": 9.1,
}  # fmt: skip
PICTURES = {
    "manhattan": lambda w: manhattan(associations_of(), width=w),
    "manhattan of one variant": lambda w: manhattan(associations_of(1, strongest=3.0), width=w),
    "qq": lambda w: qq(associations_of(), width=w),
    "density": lambda w: score_density(scores_of(), width=w),
    "calibration": lambda w: calibration(scores_of(), width=w),
    "cost": lambda w: cost_bars(RECORD, width=w),
    "noise": lambda w: noise_margin(RECORD, width=w),
    "small margin": lambda w: noise_margin({"planned_noise_margin_bits": 0.4}, width=w),
}


def pixels(png: bytes) -> np.ndarray:
    """(height, width, 4) of a PNG, values 0 to 1."""
    from matplotlib.image import imread

    return imread(io.BytesIO(png))


@pytest.mark.parametrize("width", [400, 1600])
@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_has_its_width_and_is_not_blank(name, width):
    image = pixels(canvas.encode(PICTURES[name](width), "png"))
    assert image.shape[1] == width
    ink = (image[..., :3] < 0.9).any(axis=2)
    assert 0.002 < ink.mean() < 0.7
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    assert np.ptp(rows) > 0.6 * image.shape[0] and np.ptp(columns) > 0.6 * width
    assert rows[0] > 0 and columns[0] > 0 and columns[-1] < width - 1, "nothing is cut off at the edges"


@pytest.mark.parametrize("kind", canvas.FORMATS)
def test_the_same_figure_is_the_same_file(kind, tmp_path):
    first, second = (canvas.encode(cost_bars(RECORD), kind) for _ in range(2))
    assert first == second
    canvas.write(tmp_path / f"a.{kind}", cost_bars(RECORD))
    assert (tmp_path / f"a.{kind}").read_bytes() == first
    assert first.startswith({"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}[kind])


def test_the_strongest_variant_is_drawn_and_named():
    """p = 1e-400 is a point, inside the axes, with its id."""
    tests = associations_of()
    (axes,) = manhattan(tests).axes
    assert axes.get_ylim()[1] > 400
    highest = max(float(c.get_offsets()[:, 1].max()) for c in axes.collections if len(c.get_offsets()))
    assert highest == 400.0
    assert any(t.get_text() == canvas.shorten(str(tests.id[2000]), 26) for t in axes.texts)
    (axes,) = qq(tests).axes
    assert max(float(c.get_offsets()[:, 1].max()) for c in axes.collections if len(c.get_offsets()) > 10) == 400.0


def test_names_do_not_overlap():
    tests = associations_of(strongest=9.0)
    tests.log10p[1990:2010:2] = np.linspace(8, 9, 10)
    figure = manhattan(tests, width=900)
    figure.draw_without_rendering()
    ids = [t for t in figure.axes[0].texts if t.get_text().startswith("$$")]
    boxes = [t.get_window_extent() for t in ids]
    assert len(boxes) > 3
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_a_name_is_as_wide_as_it_was_measured():
    """Else it covers the point that it stands beside. Text with a halo is drawn as outlines, whose width no hint changes."""
    from matplotlib.textpath import TextPath

    name = "chr19:23509535:A:G"
    tests = Associations("height", np.array(["19"]), np.array([5]), np.array([name]), np.array([4.5]))
    with canvas.style(400):
        figure = manhattan(tests, width=400)
        figure.draw_without_rendering()
        (label,) = [t for t in figure.axes[0].texts if t.get_text() == name]
        drawn = TextPath((0, 0), name, size=label.get_fontsize() * figure.dpi / 72).get_extents().width
        assert abs(label.get_window_extent().width - drawn) < 2


def test_no_plan_no_picture_of_noise():
    assert noise_margin({"planned_noise_margin_bits": None}) is None and noise_margin({}) is None


def test_another_ending_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"ends in .png, .svg, .pdf"):
        canvas.write(tmp_path / "a.gif", cost_bars(RECORD))
    assert not list(tmp_path.iterdir())


@pytest.fixture
def without_matplotlib(monkeypatch):
    """A Python that has no matplotlib."""
    real = builtins.__import__

    def refuse(name, *rest, **more):
        if name.split(".")[0] == "matplotlib":
            raise ImportError(name)
        return real(name, *rest, **more)

    for module in [m for m in sys.modules if m.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setattr(builtins, "__import__", refuse)


def test_absence_names_the_extra(without_matplotlib, small, tmp_path):
    with pytest.raises(MissingExtraError, match=r"pip install 'securegen\[plot\]'"):
        manhattan(associations_of())
    (tmp_path / "a.run.json").write_text("{}")
    for words in (["plot", tmp_path / "a"], ["report", tmp_path / "a"]):
        done = securegen(*words)
        assert done.code == MissingExtraError.exit_code and "securegen[plot]" in done.err
    done = securegen("prs", "--bfile", small.bfile, "--score", "absent.tsv", "--plot", "--out", tmp_path / "s")
    assert done.code == MissingExtraError.exit_code, "said before anything is computed"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.run.json"]


@pytest.fixture(scope="module")
def score_file(small, tmp_path_factory):
    bim = pd.read_csv(f"{small.bfile}.bim", sep="\t", header=None).iloc[10:60]
    weights = np.round(np.random.default_rng(9).normal(size=len(bim)), 4)
    path = tmp_path_factory.mktemp("weights") / "w.tsv"
    frame = pd.DataFrame({"ID": bim[1], "effect_allele": bim[4], "other_allele": bim[5], "effect_weight": weights})
    frame.to_csv(path, sep="\t", index=False)
    return path


def test_a_margin_that_no_modulus_has_is_refused(small, tmp_path):
    """A picture with a tick for each bit of it would take all memory."""
    path = tmp_path / "r.run.json"
    assert securegen("plan", *small.options(), "--out", tmp_path / "r").code == 0
    record = json.loads(path.read_text()) | {"planned_noise_margin_bits": 10**9}
    path.write_text(json.dumps(record))
    done = securegen("plot", tmp_path / "r", "--only", "noise")
    assert done.code == 3 and "planned_noise_margin_bits is 1000000000, expected a number" in done.err


def test_a_record_without_stages_has_no_picture_of_them():
    """Only the total is known: nothing to draw."""
    run = Run("r", {"command": "gwas", "seconds": {"total": 2.0}, "bytes": {}})
    assert [name for name, _ in pictures(run, ("cost",), None)] == []


def test_scores_draw_their_density(small, score_file, tmp_path):
    base = ["prs", "--bfile", small.bfile, "--score", score_file, "--quiet"]
    assert securegen(*base, "--out", tmp_path / "panel").code == 0
    done = securegen(*base, "--out", tmp_path / "s", "--reference", tmp_path / "panel.sscore", "--plot",
                     "--risk-intercept", "0")  # fmt: skip
    assert done.code == 0, done.err
    assert (pixels((tmp_path / "s.SCORE1.density.png").read_bytes())[..., :3] < 0.9).any()
    *_, drawn, ended = (tmp_path / "s.log").read_text().splitlines()
    assert drawn == f"wrote {tmp_path / 's'}.SCORE1.density.png" and ended.startswith("ended ")
    done = securegen(
        "plot", tmp_path / "s", "--pheno", small.pheno, "--pheno-name", "CC", "--format", "svg", "--width", "500"
    )
    assert done.code == 0, done.err
    assert [line.rpartition("/")[2] for line in done.out.split()] == [
        "s.SCORE1.density.svg", "s.SCORE1.calibration.svg", "s.cost.svg",
    ]  # fmt: skip


def test_plot_of_a_run_and_of_a_lone_table(small, tmp_path):
    run = ["run-local", "gwas", "--engine", "plain", *small.options("QT"), "--chr", "2", "--quiet"]
    assert securegen(*run, "--out", tmp_path / "r").code == 0
    for words in (["plot"], ["report"], ["check", tmp_path / "r.QT.glm.linear"]):
        before = set(tmp_path.iterdir())
        more = ["--plot", tmp_path / "c.png"] if words[0] == "check" else []
        last = tmp_path / ("r.QT.glm.linear" if words[0] == "check" else "r")
        found = json.loads(securegen(*words, last, *more, "--dry-run", "--json").out)
        assert found["dry_run"] and found["would_write"] and set(tmp_path.iterdir()) == before
        made = json.loads(securegen(*words, last, *more, "--json").out)
        assert made["outputs"] == found["would_write"] and set(map(str, tmp_path.iterdir())) >= set(made["outputs"])
    done = securegen("plot", tmp_path / "r")
    assert [line.rpartition("/")[2] for line in done.out.split()] == ["r.QT.manhattan.png", "r.QT.qq.png", "r.cost.png"]
    lone = tmp_path / "alone"
    lone.mkdir()
    (lone / "t.QT.glm.linear").write_bytes((tmp_path / "r.QT.glm.linear").read_bytes())
    done = securegen("plot", lone / "t.QT.glm.linear", "--only", "qq", "--out", lone / "x")
    assert done.code == 0 and done.out.strip() == str(lone / "x.QT.qq.png")
    assert (lone / "x.QT.qq.png").read_bytes() == (tmp_path / "r.QT.qq.png").read_bytes()
    for words, said in (
        (["plot", tmp_path / "r", "--only", "density"], "has nothing for density"),
        (["plot", tmp_path / "nothing"], "nothing.run.json: no such file"),
        (["plot", tmp_path / "r", "--format", "gif"], "choose from png, svg, pdf"),
        (["plot", small.pheno], "is not a table of results"),
    ):
        done = securegen(*words)
        assert done.code in (2, 3) and said in done.err, done.err
    assert json.loads((tmp_path / "r.run.json").read_text())["planned_noise_margin_bits"] is None


def test_pictures_of_two_tables_of_a_phenotype_have_names_of_their_own(small, tmp_path):
    """Two runs, in columns of regenie and of plink2, under one prefix: neither's pictures replace the other's."""
    run = ["gwas", *small.options("QT"), "--chr", "2", "--quiet", "--out", tmp_path / "r"]
    assert securegen(*run, "--format", "regenie").code == 0
    assert securegen("plot", tmp_path / "r", "--only", "qq").out.split() == [f"{tmp_path / 'r'}.QT.qq.png"]
    first = (tmp_path / "r.QT.qq.png").read_bytes()
    assert securegen(*run).code == 0
    named = [f"{tmp_path / 'r'}.QT.{table}.qq.png" for table in ("glm.linear", "regenie")]
    assert securegen("plot", tmp_path / "r", "--only", "qq").out.split() == named
    for name, table in zip(named, ("r.QT.glm.linear", "r_QT.regenie"), strict=True):
        assert securegen("plot", tmp_path / table, "--only", "qq").out.split() == [name]
    assert (tmp_path / "r.QT.qq.png").read_bytes() == first
