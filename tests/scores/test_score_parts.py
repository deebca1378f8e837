"""Scores of parts (`blocks`) add up to those of one run, to the byte; what is no part of it is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from support import genotypes, left, securegen, write_plink

import securegen as sg
from securegen.errors import InputError, PlanError, PolicyError, UsageError
from securegen.scores.parts import SUMS, join_scores


def scoring(folder: Path, name: str, rows: list[list[str]], rng, *, types=("additive",)) -> str:
    path = folder / name
    lines = ["rsID\teffect_allele\tother_allele\teffect_weight\tis_dominant\tis_recessive"]
    for k, r in enumerate(rows):
        a, b = (r[4], r[5]) if rng.random() < 0.6 else (r[5], r[4])  # some are swapped
        kind = types[k % len(types)]
        lines.append(f"{r[1]}\t{a}\t{b}\t{rng.normal():.5f}\t{kind == 'dominant'}\t{kind == 'recessive'}")
    path.write_text("\n".join(lines) + "\n")
    return str(path)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """60 people with both sexes; 120 variants of autosomes, X, Y and MT with missing calls, one called in nobody."""
    folder = tmp_path_factory.mktemp("scores")
    rng = np.random.default_rng(11)
    g = genotypes(rng, 120, 60, missing=0.04)
    g[17] = -127  # called in nobody
    write_plink(folder / "c", g)
    rows = [line.split() for line in (folder / "c.bim").read_text().splitlines()]
    people = [line.split() for line in (folder / "c.fam").read_text().splitlines()]
    (folder / "c.fam").write_text(
        "".join(" ".join([*p[:4], str(1 + k % 2), p[5]]) + "\n" for k, p in enumerate(people))
    )
    scoring(folder, "a.tsv", rows[:60], rng)
    scoring(folder, "b.tsv", rows[5:100], rng, types=("additive", "dominant", "recessive"))
    scoring(folder, "late.tsv", rows[90:], rng)
    shutil.copy(folder / "c.bed", folder / "x.bed")
    shutil.copy(folder / "c.fam", folder / "x.fam")
    chromosomes = ["1"] * 70 + ["X"] * 30 + ["Y"] * 15 + ["MT"] * 5
    (folder / "x.bim").write_text(
        "".join("\t".join([c, *r[1:]]) + "\n" for c, r in zip(chromosomes, rows, strict=True))
    )
    (folder / "reference.tsv").write_text("#IID\tSCORE1_SUM\n" + "".join(f"r{k}\t{k / 9 - 2}\n" for k in range(40)))
    return folder


def run(folder: Path, out: Path, *told: object, bfile: str = "c", scores=("a.tsv",)) -> None:
    files = [w for name in scores for w in ("--score", folder / name)]
    done = securegen("prs", "--bfile", folder / bfile, *files, "--allow-small-score", "late", *told, "--out", out)
    assert done.code == 0, done.err


CASES = {
    "additive": {},
    "two files, dominant and recessive": {"scores": ("b.tsv", "a.tsv")},
    "a file that most parts know nothing of": {"scores": ("late.tsv",)},
    "nothing imputed": {"told": ("--imputation", "none"), "scores": ("a.tsv", "b.tsv")},
    "X, Y and MT": {"bfile": "x", "scores": ("a.tsv", "late.tsv")},
    "packed, few digits, weight bits": {"told": ("--gzip", "--digits", 3, "--weight-bits", 20)},
    "risks": {"told": ("--risk-intercept", 0.25, "--risk-slope", 2)},
}


def test_run_local_makes_the_same_parts_in_the_clear_alone(cohort, tmp_path):
    words = ["run-local", "prs", "--bfile", cohort / "c", "--score", cohort / "a.tsv"]
    run(cohort, tmp_path / "p", "--blocks", "2/3")
    done = securegen(*words, "--engine", "plain", "--blocks", "2/3", "--out", tmp_path / "q")
    assert done.code == 0, done.err
    ours, theirs = (tmp_path / f"{name}.2of3{SUMS}" for name in "pq")
    assert ours.read_bytes() == theirs.read_bytes()
    for more, said in (
        (["--engine", "ckks", "--blocks", "2/3"], "for --engine plain, not for ckks"),
        (["--engine", "plain", "--blocks", "2/3", "--plot"], "parts are not drawn"),
    ):
        done = securegen(*words, *more, "--out", tmp_path / "r")
        assert done.code == 2 and said in done.err, done.err
    assert not [name for name in left(tmp_path) if name.startswith("r.")]


@pytest.mark.parametrize("case", CASES)
def test_parts_add_up_to_one_run(cohort, case, tmp_path):
    chosen = dict(CASES[case])
    told = chosen.pop("told", ())
    run(cohort, tmp_path / "one", *told, **chosen)
    for i in (3, 1, 4, 2):
        run(cohort, tmp_path / "p", *told, "--blocks", f"{i}/4", **chosen)
    done = securegen("merge", tmp_path / "p")
    assert done.code == 0 and "4 parts joined" in done.err, done.err
    table = "sscore.gz" if "--gzip" in told else "sscore"
    for name in (table, "match.tsv"):
        assert (tmp_path / f"p.{name}").read_bytes() == (tmp_path / f"one.{name}").read_bytes()
    ours, one = (json.loads((tmp_path / f"{name}.run.json").read_text()) for name in ("p", "one"))
    alike = ("variants", "samples", "scores", "match", "missing", "inputs", "engine")
    assert [ours[k] for k in alike] == [one[k] for k in alike] and ours["parts"] == 4
    assert ours["promise"].keys() == one["promise"].keys()
    for name, promised in one["promise"].items():
        assert ours["promise"][name]["exponent"] == promised["exponent"]
        assert promised["sum_error"] <= ours["promise"][name]["sum_error"] * (1 + 1e-9)
    for path in tmp_path.glob("p*"):
        assert path.name.endswith("match.tsv") or path.stat().st_mode & 0o77 == 0, f"{path.name} is of people"


def test_the_scale_does_not_depend_on_genotypes(cohort, tmp_path):
    """Variant 17, called in nobody, has the largest weight: parts that have never heard of it have its scale all the same."""
    rows = (cohort / "a.tsv").read_text().splitlines()
    cells = rows[18].split("\t")
    rows[18] = "\t".join([*cells[:3], "987.5", *cells[4:]])
    (tmp_path / "a.tsv").write_text("\n".join(rows) + "\n")
    for i in (1, 2, 3):
        sg.scores.run(sg.scores.open(bfile=cohort / "c", score=tmp_path / "a.tsv", blocks=f"{i}/3")).write(
            tmp_path / "p"
        )
    one = sg.scores.run(sg.scores.open(bfile=cohort / "c", score=tmp_path / "a.tsv"))
    (table, matches) = sg.merge(tmp_path / "p").paths
    assert Path(table).read_bytes() == one.files[".sscore"] and Path(matches).read_bytes() == one.files[".match.tsv"]


def test_percentiles_are_of_the_whole(cohort, tmp_path):
    told = ("--reference", cohort / "reference.tsv")
    run(cohort, tmp_path / "one", *told)
    for i in (1, 2):
        run(cohort, tmp_path / "p", *told, "--blocks", f"{i}/2")
    assert securegen("merge", tmp_path / "p").code == 0
    assert (tmp_path / "p.sscore").read_bytes() == (tmp_path / "one.sscore").read_bytes()


def test_one_command_over_workers(cohort, tmp_path, forked_roles):
    run(cohort, tmp_path / "one")
    run(cohort, tmp_path / "p", "--executor", "processes", "--workers", 2)
    assert (tmp_path / "p.sscore").read_bytes() == (tmp_path / "one.sscore").read_bytes()
    assert not [name for name in left(tmp_path) if "of2" in name], "parts stay behind"


@pytest.fixture(scope="module")
def parts(cohort, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("parts")
    for i in (1, 2):
        run(cohort, folder / "p", "--blocks", f"{i}/2")
    return folder


def changed(name: str, what):
    """A part whose owner changes it, and the digest beside it."""

    def change(folder: Path) -> None:
        from securegen.io.digests import sha256

        path, record = folder / f"p.2of2{name}", folder / "p.2of2.run.json"
        path.write_bytes(what(path.read_bytes()))
        told = json.loads(record.read_text())
        told["part"]["tables"][name] = sha256(path)
        record.write_text(json.dumps(told))

    return change


def facts(**values):
    def change(folder: Path) -> None:
        path = folder / "p.2of2.run.json"
        told = json.loads(path.read_text())
        told["score_part"] |= values
        path.write_text(json.dumps(told))

    return change


def second_row(cells):
    def change(data: bytes) -> bytes:
        rows = data.split(b"\n")
        rows[2] = b"\t".join(cells(rows[2].split(b"\t")))
        return b"\n".join(rows)

    return change


@pytest.mark.parametrize(
    "damage, message",
    [
        (lambda f: (f / f"p.2of2{SUMS}").unlink(), "is not there: run its part again"),
        (lambda f: (f / f"p.2of2{SUMS}").write_bytes(b"x\n"), "is not what its run wrote"),
        (changed(SUMS, lambda d: d[:-3]), "ends within a line"), (changed(SUMS, lambda d: d[:40]), "ends within a line"),
        (changed(SUMS, lambda d: d.split(b"\n")[0] + b"\n"), "has no row"),
        (changed(SUMS, lambda d: d.replace(b"SCORE1_SUM", b"b_SUM")), "has other columns than the sums of"),
        (changed(SUMS, second_row(lambda c: [*c[:-1], b"1.5"])), "line 3: two ids and 4 whole numbers were expected"),
        (changed(SUMS, second_row(lambda c: c[:-1])), "line 3: two ids and 4 whole numbers were expected"),
        (changed(SUMS, second_row(lambda c: [*c[:-1], b"9" * 18])), "line 3: a number is larger than its part can make"),
        (changed(SUMS, second_row(lambda c: [c[0], b"else", *c[2:]])), "hold different people"),
        (changed(".match.tsv", lambda d: d + b"x\n"), "matched other variants"),
        (facts(exponent=[3]), "differ in exponent"), (facts(grid=7), "differ in grid"),
        (facts(exponent=[3, 4]), "its lists differ in length"), (facts(bound=[-1]), "is not of a part of scores"),
    ],
)  # fmt: skip
def test_what_is_no_part_of_the_run_is_refused(parts, damage, message, tmp_path):
    shutil.copytree(parts, tmp_path, dirs_exist_ok=True)
    damage(tmp_path)
    done = securegen("merge", tmp_path / "p")
    assert done.code == InputError.exit_code and message in done.err, done.err
    assert not list(tmp_path.glob("p.sscore*")) and not (tmp_path / "p.run.json").exists()


def test_what_single_runs_refuse_is_refused_of_the_whole(cohort, parts, tmp_path):
    shutil.copytree(parts, tmp_path, dirs_exist_ok=True)
    paths = [tmp_path / f"p.{i}of2{SUMS}" for i in (1, 2)]
    told = [json.loads((tmp_path / f"p.{i}of2.run.json").read_text())["score_part"] for i in (1, 2)]
    assert join_scores(paths, told, {}).facts["variants"] == sum(t["scored"] for t in told)
    with pytest.raises(PlanError, match=r"sums of SCORE1 could reach 2\^64"):
        join_scores(paths, [t | {"bound": [(1 << 63) - 1]} for t in told], {})
    with pytest.raises(InputError, match="no sample has a called genotype"):
        join_scores(paths, [t | {"of_file": [0]} for t in told], {})
    with pytest.raises(PolicyError, match=r"fewer than 15 variants matched in SCORE1 \(14\)"):
        join_scores(paths, [t | {"variants": [7]} for t in told], {})
    gone = [t | {"release": t["release"] | {"reference": str(cohort / "reference.tsv")}} for t in told]
    with pytest.raises(InputError, match="it has changed"):
        join_scores(paths, gone, {"reference": "0" * 64})


def test_what_does_not_go_together(cohort, tmp_path):
    for told, message in (
        (("--plot", "--blocks", "1/2"), "leave --plot out"),
        (("--blocks", "1/500"), "at most as many parts"),
    ):
        done = securegen("prs", "--bfile", cohort / "c", "--score", cohort / "a.tsv", *told, "--out", tmp_path / "p")
        assert done.code == UsageError.exit_code and message in done.err
    with pytest.raises(UsageError, match="`blocks` 1/2 is for engine plain, not for ckks"):
        sg.scores.run(sg.scores.open(bfile=cohort / "c", score=cohort / "a.tsv", blocks="1/2"), "ckks")
