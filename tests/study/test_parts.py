"""Runs of parts (`blocks`): joined in any order they are the one run, to the byte; what is no part of it is refused."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path

import pytest
from reference_data import GOLD
from support import securegen

import securegen as sg
from securegen.errors import InputError, UsageError

PREDICTIONS = GOLD / "sim_500x5k" / "gold_regenie"


@pytest.fixture(scope="module")
def cohort(reference):
    return reference("sim_500x5k")


def opened(cohort, blocks=None, **options) -> sg.Study:
    told = {"pheno": cohort.pheno, "pheno_name": "QT", "covar": cohort.covar}
    return sg.open_study(cohort.bfile, blocks=blocks, **told | options)


def tables(paths) -> list[bytes]:
    return [Path(p).read_bytes() for p in sorted(paths, key=lambda p: Path(p).name[1:])]


def joined(study, folder: Path, count: int = 3, **layout) -> list[bytes]:
    """Tables of all parts, the last first, joined."""
    for i in range(count, 0, -1):
        sg.run(study(f"{i}/{count}"), out=folder / "p", **layout)
    return tables(sg.merge(folder / "p").paths)


@pytest.mark.parametrize(
    "name, options, layout",
    [
        ("sim_500x5k", {"to_bp": 400_000, "chr": "1", "pheno_name": ("QT", "CC")}, {"gzip": True}),
        ("sim_500x5k", {"chr": ("1", "2"), "pred": PREDICTIONS / "qt1_pred.list"}, {"format": "regenie"}),
        ("sim_500x5k", {"chr": "1", "to_bp": 900_000, "condition": "@first"}, {"digits": 6, "cols": "+a1freq,-ci"}),
        ("sexes", {"split_par": "b38"}, {}),  # a part holds X alone, another Y and MT
    ],
)
def test_tables_of_parts_are_the_table_of_one_run(name, options, layout, reference, tmp_path):
    cohort = reference(name)
    if "condition" in options:
        options = options | {"condition": str(opened(cohort, **options | {"condition": None}).reader.variants.id[0])}
    whole = sg.run(opened(cohort, **options), out=tmp_path / "w", **layout)
    ours = joined(lambda blocks: opened(cohort, blocks, **options), tmp_path, **layout)
    assert ours == tables(whole.paths.values())
    record = json.loads((tmp_path / "p.1of3.run.json").read_text())
    assert record["part"]["number"] == 1 and record["samples"] == whole.record["samples"]
    if "strata" in whole.record:
        assert sg.merge(tmp_path / "p").facts["strata"] == whole.record["strata"]


def test_written_tables_of_parts_do_not_take_the_name_of_the_whole(cohort, tmp_path):
    for i in (1, 2):
        sg.run(opened(cohort, f"{i}/2", chr="1", to_bp=300_000)).write(tmp_path / "p")
    names = [f"p.{i}of2.QT.glm.linear" for i in (1, 2)]
    assert sorted(p.name for p in tmp_path.iterdir()) == names
    with pytest.raises(UsageError, match="from Python: with `out`"):
        sg.merge(tmp_path / "p")


def test_quality_control_of_parts(cohort, tmp_path):
    for i in (1, 2):
        sg.qc(sg.open_qc(cohort.bfile, chr="1", to_bp=400_000, blocks=f"{i}/2"), out=tmp_path / "p")
    whole = sg.qc(sg.open_qc(cohort.bfile, chr="1", to_bp=400_000), out=tmp_path / "w")
    assert tables(sg.merge(tmp_path / "p").paths) == tables(whole.paths.values())


@pytest.fixture(scope="module")
def parts(cohort, tmp_path_factory) -> Path:
    """Three parts from the command line."""
    folder = tmp_path_factory.mktemp("parts")
    for i in (2, 3, 1):
        done = securegen(
            "gwas", *cohort.options(), "--chr", 1, "--to-bp", 300_000, "--out", folder / "p", "--blocks", f"{i}/3", "--gzip"
        )  # fmt: skip
        assert done.code == 0 and "securegen merge" in done.err
    return folder


def test_the_command_joins_them_and_keeps_a_record(parts, cohort, tmp_path):
    shutil.copytree(parts, tmp_path, dirs_exist_ok=True)
    done = securegen("merge", tmp_path / "p")
    assert done.code == 0 and "3 parts joined" in done.err
    whole = tmp_path / "w"
    assert securegen("gwas", *cohort.options(), "--chr", 1, "--to-bp", 300_000, "--out", whole, "--gzip").code == 0
    assert (tmp_path / "p.QT.glm.linear.gz").read_bytes() == (tmp_path / "w.QT.glm.linear.gz").read_bytes()
    record, one = (json.loads((tmp_path / f"{name}.run.json").read_text()) for name in ("p", "w"))
    alike = ("variants", "samples", "covariate_names", "inputs", "promise", "parameters")
    assert all(record[name] == one[name] for name in alike) and record["parts"] == 3
    assert record["receipt"]["released"] == [str(tmp_path / "p.QT.glm.linear.gz")]
    assert securegen("merge", tmp_path / "p", "--dry-run").code == 0


def changed_table(folder: Path) -> None:
    path = folder / "p.2of3.QT.glm.linear.gz"
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()).replace(b"\tADD\t", b"\tDOM\t", 1), mtime=0))


def another_model(folder: Path) -> None:
    path = folder / "p.3of3.run.json"
    record = json.loads(path.read_text())
    record["call"]["options"]["digits"] = 6
    path.write_text(json.dumps(record))


def renamed(folder: Path) -> None:
    (folder / "p.3of3.run.json").write_bytes((folder / "p.2of3.run.json").read_bytes())


def moved(folder: Path) -> None:
    path = folder / "p.3of3.run.json"
    record = json.loads(path.read_text())
    record["part"]["first"] -= 1
    path.write_text(json.dumps(record))


def elsewhere(folder: Path) -> None:
    """A record that would have a table written outside of the prefix."""
    for path in folder.glob("p.*of3.run.json"):
        record = json.loads(path.read_text())
        (name,), (digest,) = record["part"]["tables"].keys(), record["part"]["tables"].values()
        record["part"]["tables"] = {f"/../{path.name[:6]}{name}": digest}
        path.write_text(json.dumps(record))


@pytest.mark.parametrize(
    "damage, message",
    [
        (lambda f: (f / "p.2of3.run.json").unlink(), "1 of 3 parts are not there, or did not end: 2/3"),
        (lambda f: (f / "p.2of3.QT.glm.linear.gz").unlink(), "p.2of3.QT.glm.linear.gz is not there: run its part again"),
        (lambda f: (f / "p.1of3.QT.glm.linear.gz").write_bytes(b"x"), "is not what its run wrote"),
        (changed_table, "is not what its run wrote"),
        (another_model, "differ in --digits: they are not parts of one run"),
        (elsewhere, "names a table '/../p.1of3"), (renamed, "is not the record of part 3 of 3"),
        (moved, "begins at variant"),
        (lambda f: shutil.copy(f / "p.2of3.run.json", f / "p.2of4.run.json"), "is not the record of part 2 of 4"),
    ],
)  # fmt: skip
def test_what_is_no_part_of_the_run_is_refused(parts, damage, message, tmp_path):
    shutil.copytree(parts, tmp_path, dirs_exist_ok=True)
    damage(tmp_path)
    done = securegen("merge", tmp_path / "p")
    assert done.code and message in done.err
    assert not list(tmp_path.glob("p.QT*")) and not list(tmp_path.glob("p.run.json"))


def test_parts_of_two_runs_are_told_apart(parts, cohort, tmp_path):
    shutil.copytree(parts, tmp_path, dirs_exist_ok=True)
    sg.run(opened(cohort, "1/2", chr="1", to_bp=300_000), out=tmp_path / "p")
    with pytest.raises(UsageError, match=r"parts of several runs \(1 of 2 and 3 of 3\)"):
        sg.merge(tmp_path / "p")
    with pytest.raises(UsageError, match="no part of .*other is here"):
        sg.merge(tmp_path / "other")


@pytest.mark.parametrize("blocks", ["0/3", "4/3", "3", "1/0", "-1/3", "1/3/3", "１/3", "1/99999999"])
def test_what_is_no_part(cohort, blocks):
    with pytest.raises(UsageError, match="the third of 22 parts is 3/22"):
        opened(cohort, blocks)


def test_parts_where_there_are_none(cohort, tmp_path):
    with pytest.raises(UsageError, match="at most as many parts"):
        opened(cohort, "1/60000")
    with pytest.raises(UsageError, match="gwas-ssf sorts its rows"):
        sg.run(opened(cohort, "1/2", chr="1"), format="gwas-ssf", genome_build="GRCh38")
    with pytest.raises(UsageError, match="is for engine plain, not for ckks"):
        sg.run(opened(cohort, "1/2", chr="1"), engine="ckks")
    with pytest.raises(InputError, match="other columns"):
        from securegen.results.join import join_tables

        for name, text in (("a", "x\ty\n1\t2\n"), ("b", "x\tz\n1\t2\n")):
            (tmp_path / name).write_text(text)
        join_tables(tmp_path / "out", [tmp_path / "a", tmp_path / "b"], check=lambda: None)
