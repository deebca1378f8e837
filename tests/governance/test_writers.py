"""Whoever writes a file of results passes the door first: every function that opens one is named here, or this fails."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import securegen

PACKAGE = Path(securegen.__file__).parent
OPENERS = {
    "atomic",
    "write_table_file",
    "write_text",
    "write_json",
    "write_table",
    "copy_file",
    "write_bytes",
    "savez",
    "save",
}
# Rooms whose files are tables, scores and people's numbers. What else writes there, and why no door is in it.
ROOMS = ("results", "scores", "structure", "noisy")
DOOR = {
    "results/write.py": {"write_tables", "write_qc"},
    "results/projected.py": {"_write"},
    "results/meta_table.py": {"write_meta"},
    "results/sets.py": {"write_sets"},
    "scores/sscore.py": {"write_sscore"},
    "noisy/release.py": {"write_noisy"},
    "scores/parts.py": {"write_sums"},
    "structure/ld_files.py": {"write_matrix", "write_variants", "_write_rows"},
    "structure/people_tables.py": {
        "write_kin0", "write_people", "write_numbers", "write_eigenvalues", "write_loadings", "write_loco", "write_score_file",
    },
}  # fmt: skip
BEHIND = {  # a finished table in another form, which passed when it was written; or nothing of a person
    "results/gwas_ssf.py": {"write_gwas_ssf"},
    "results/regenie.py": {"write_regenie"},
    "results/chosen_columns.py": {"keep_columns"},
    "results/join.py": {"join_tables"},
    "scores/parts.py": {"write_joined"},  # of parts that passed
    "results/rows.py": {"write_table"},
    "structure/people_tables.py": {"write_prediction_list"},
    "scores/sscore.py": {"write_match_log"},
    "scores/ledger.py": {"_locked", "_open_lock"},
    "scores/released_table.py": {"write_scores"},  # by write_sscore
}
MADE = {"governance/gate.py"}  # where a gate is made without a policy


def functions(path: Path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef):
            yield node


def opens(node: ast.AST) -> bool:
    """Whether it calls something that makes a file, or opens one for writing."""
    for call in (n for n in ast.walk(node) if isinstance(n, ast.Call)):
        name = ast.unparse(call.func).split(".")[-1]
        modes = [str(a.value) for a in call.args[-1:] if isinstance(a, ast.Constant)]
        if name in OPENERS or (name == "open" and any("w" in mode for mode in modes)):
            return True
    return False


def writers() -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for room in ROOMS:
        for path in sorted((PACKAGE / room).glob("*.py")):
            for f in functions(path):
                if opens(f):
                    found.setdefault(path.relative_to(PACKAGE).as_posix(), set()).add(f.name)
    return found


def test_every_writer_of_results_is_named_here():
    named: dict[str, set[str]] = {}
    for table in (DOOR, BEHIND):
        for file, names in table.items():
            named.setdefault(file, set()).update(names)
    assert writers() == named


@pytest.mark.parametrize("file", DOOR)
def test_it_takes_a_gate_and_passes_it_before_its_first_byte(file):
    source = {f.name: f for f in functions(PACKAGE / file)}
    for name in DOOR[file]:
        f = source[name]
        if name == "_write":  # its one caller passes the door for all analyses at once
            callers = [
                g for g in source.values() if any(isinstance(n, ast.Name) and n.id == "_write" for n in ast.walk(g))
            ]
            (f,) = (g for g in callers if g.name != "_write")
        arguments = {a.arg: a for a in f.args.kwonlyargs}
        assert "gate" in arguments, f"{file}: {name} takes no gate"
        place = f.args.kwonlyargs.index(arguments["gate"])
        assert f.args.kw_defaults[place] is None, f"{file}: the gate of {name} may be left out"
        passes = [
            n.lineno for n in ast.walk(f)
            if isinstance(n, ast.Call) and ast.unparse(n.func) in ("gate.release", "gate.passed")
        ]  # fmt: skip
        writes = [n.lineno for n in ast.walk(f) if isinstance(n, ast.Call)
                  and ast.unparse(n.func).split(".")[-1] in OPENERS | {"_write"}]  # fmt: skip
        assert passes and min(passes) < min(writes), f"{file}: {name} writes before it passes the door"


def test_the_check_sees_a_writer_that_goes_round(tmp_path):
    path = tmp_path / "x.py"
    path.write_text("def sneak(path, text):\n    with atomic(path) as s:\n        s.write(text)\n")
    assert [f.name for f in functions(path) if opens(f)] == ["sneak"]


def test_only_one_place_makes_a_gate():
    """A gate without a policy lets all through; who could make one would go round the door."""
    made, free = set(), set()
    for path in PACKAGE.rglob("*.py"):
        for call in (n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call)):
            name = ast.unparse(call.func).split(".")[-1]
            if name == "Gate":
                made.add(path.relative_to(PACKAGE).as_posix())
            if name == "ungoverned":
                free.add(path.relative_to(PACKAGE).as_posix())
    assert made == MADE
    assert free == set()  # of parties without results, a default that is not called for writers


def test_results_leave_the_engines_by_these_writers_alone():
    """No engine, command or page opens a table for writing by itself: it hands sums to the writers, or copies what they
    wrote."""
    allowed = {
        "python/run.py": {"copy_file"}, "engines/federated/engine.py": {"copy_file"}, "engines/mpc/engine.py": {"copy_file"},
        "engines/mpc/run_scores.py": {"copy_file"}, "engines/key_files.py": {"copy_file"}, "engines/scores.py": {"atomic"},
        "engines/ckks/scores/run_hidden.py": {"copy_file"}, "engines/ckks/scores/vendor_model.py": {"copy_file"},
        "local/example_cohort.py": {"copy_file"},  # simulated people
    }  # fmt: skip
    found: dict[str, set[str]] = {}
    for room in ("engines", "python", "local"):
        for path in (PACKAGE / room).rglob("*.py"):
            for call in (n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call)):
                name = ast.unparse(call.func).split(".")[-1]
                if name in {"copy_file", "write_table_file", "write_table"} or (
                    name == "atomic" and path.relative_to(PACKAGE).as_posix() == "engines/scores.py"
                ):
                    found.setdefault(path.relative_to(PACKAGE).as_posix(), set()).add(name)
    hidden = {"engines/ckks/scores/run_hidden.py"}
    for file, names in found.items():
        assert names <= allowed.get(file, set()) | ({"write_table"} if file in hidden else set()), f"{file}: {names}"
