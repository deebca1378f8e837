"""Rooms import in one direction, the server cannot name a secret key, nothing is pickled, no generator of NumPy or torch."""

from __future__ import annotations

import ast
import functools
import sys
from pathlib import Path

import pytest

import securegen
from securegen.engines import ENGINES

PACKAGE = Path(securegen.__file__).parent
MODULES = {
    ".".join(("securegen", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__"): path
    for path in PACKAGE.rglob("*.py")
}
GROUND = {"errors", "vocabulary", "version"}
NOUNS = GROUND | {"model"}
STUDY = NOUNS | {"io", "design", "catalogue", "governance"}
ENGINE = STUDY | {"randomness", "kernels", "stats", "results", "study", "scores", "record"}

# What a room may import of this package, itself aside. A room that is not here may import nothing.
ALLOWED = {
    "errors": set(),
    "vocabulary": set(),
    "version": set(),
    "randomness": set(),
    "kernels": set(),
    "model": GROUND,
    "rlwe": GROUND | {"kernels", "randomness", "io"},
    "io": NOUNS,
    "design": NOUNS | {"kernels"},
    "catalogue": NOUNS | {"design", "stats"},
    "stats": NOUNS | {"design", "kernels"},
    "governance": NOUNS | {"io", "randomness", "kernels", "design"},
    "study": STUDY,
    "results": NOUNS | {"kernels", "io", "design", "stats", "catalogue", "governance"},  # tables pass the door
    "record": NOUNS | {"io", "governance"},
    "scores": STUDY | {"study"},
    "structure": STUDY | {"kernels", "stats", "study", "results"},
    "noisy": STUDY | {"study", "results", "record"},
    "engines": ENGINE | {"local", "engines.plain", "engines.ckks", "engines.mpc"},
    "engines.plain": ENGINE | {"engines"},
    "engines.ckks": ENGINE | {"engines", "local", "rlwe"},
    "engines.federated": ENGINE | {"engines", "local", "engines.plain", "structure"},
    "engines.mpc": ENGINE | {"engines", "local", "engines.plain", "engines.federated"},
    "local": ENGINE,
    "python": ENGINE | {"engines", "plot", "report", "structure", "noisy"},
    "plot": NOUNS | {"io", "stats", "results"},
    "report": NOUNS | {"catalogue", "rlwe", "io", "study", "scores", "results", "record", "plot", "governance"},
    "inspection": ENGINE | {"rlwe", "engines.ckks", "engines.federated", "engines.mpc"},
}
TOP = {"cli", "__main__", ""}


@functools.cache
def imports(path: Path) -> list[tuple[str, int]]:
    """Every module that a file imports, inside functions too, with its line."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [(alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports are absolute"
            found += [(f"{node.module}.{alias.name}", node.lineno) for alias in node.names]
    return found


def parsed_where(path: Path, *words: str) -> ast.Module:
    """A file's tree, or an empty one if it has none of these words."""
    text = path.read_text()
    return ast.parse(text if any(word in text for word in words) else "")


def room(module: str) -> str:
    """The folder of a module, or of engines one engine; of a loose file its name."""
    parts = module.split(".")[1:]
    return (
        ".".join(parts[:2])
        if parts[:1] == ["engines"] and len(parts) > 1 and parts[1] in ENGINES
        else (parts or [""])[0]
    )


def test_every_room_has_its_rule():
    """A room that is not in the table fails: nothing is allowed by default."""
    rooms = {room(m) for m in MODULES}
    assert rooms - TOP == set(ALLOWED)


@pytest.mark.parametrize("module", sorted(MODULES))
def test_arrows_point_one_way(module):
    here = room(module)
    if here in TOP:
        return
    for name, line in imports(MODULES[module]):
        if name.split(".")[0] == "securegen":
            assert room(name) in ALLOWED[here] | {here}, f"{module}:{line} imports {name}"


@pytest.mark.parametrize("part, allowed", [("net", {"net"}), ("shares", {"net", "shares"})])
def test_arrows_of_mpc_point_from_protocols_to_shares_to_the_net(part, allowed):
    """What carries bytes knows no shares, what computes on shares no protocol."""
    folders = {f"securegen.engines.mpc.{name}" for name in allowed}
    for m in (m for m in MODULES if m.startswith(f"securegen.engines.mpc.{part}.")):
        for name, line in imports(MODULES[m]):
            inside = name.startswith("securegen.engines.mpc.")
            assert not inside or ".".join(name.split(".")[:4]) in folders, f"{m}:{line} imports {name}"


@pytest.mark.parametrize("module", sorted(m for m in MODULES if room(m) == "kernels"))
def test_kernels_import_numpy_and_numba_only(module):
    allowed = sys.stdlib_module_names | {"securegen", "numpy", "numba", "llvmlite"}  # llvmlite is Numba's own
    assert {name.split(".")[0] for name, _ in imports(MODULES[module])} <= allowed


@pytest.mark.parametrize("module", sorted(MODULES))
def test_nothing_is_pickled_and_no_generator_protects_data(module):
    forbidden = {"pickle", "cPickle", "cloudpickle", "dill", "marshal", "shelve", "random", "joblib"}
    assert not {name.split(".")[0] for name, _ in imports(MODULES[module])} & forbidden
    for node in ast.walk(parsed_where(MODULES[module], "random", "torch", "allow_pickle")):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            owner, name = node.value.id, node.attr
            assert (owner, name) not in {("np", "random"), ("numpy", "random")}, f"{module}:{node.lineno}"
            assert not (owner == "torch" and name.startswith(("rand", "manual_seed"))), f"{module}:{node.lineno}"
            assert (owner, name) not in {("torch", "load"), ("torch", "save")}, f"{module}:{node.lineno}"
        if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            assert isinstance(node.value, ast.Constant) and node.value.value is False, f"{module}:{node.value.lineno}"


def test_every_module_says_what_it_is_for():
    empty = {
        m
        for m, path in MODULES.items()
        if (text := path.read_text()).strip()
        and not text.startswith('"""')  # else its first statement is a docstring
        and not ast.get_docstring(ast.parse(text))
    }
    assert empty <= {"securegen.version", "securegen.__main__"}


def test_errors_have_exit_codes_of_their_own():
    from securegen import errors

    classes = [c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, errors.SecuregenError)]
    codes = [c.exit_code for c in classes]
    assert len(set(codes)) == len(codes) and 0 not in codes


def of_types_alone(tree: ast.AST) -> set[ast.AST]:
    """What a file imports for its annotations, under TYPE_CHECKING."""
    blocks = [n for n in ast.walk(tree) if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING"]
    return {inner for block in blocks for statement in block.body for inner in ast.walk(statement)}


def needs(path: Path) -> set[str]:
    """The modules of this package that a file imports, inside functions too."""
    if "TYPE_CHECKING" not in (text := path.read_text()):
        found = {name if name in MODULES else name.rpartition(".")[0] for name, _ in imports(path)}
        return found & set(MODULES)
    tree = ast.parse(text)
    typed, found = of_types_alone(tree), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node not in typed:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in MODULES else node.module for name in names}
        elif isinstance(node, ast.Import) and node not in typed:
            found |= {alias.name for alias in node.names}
    return found & set(MODULES)


def in_circles(graph: dict[str, set[str]]) -> set[str]:
    """Modules of a graph that import one another in a circle, or are between two circles."""
    left = dict(graph)
    while True:
        wanted = {name for others in left.values() for name in others}
        gone = {m for m, others in left.items() if not others & set(left) or m not in wanted}
        if not gone:
            return set(left)
        left = {m: others - gone for m, others in left.items() if m not in gone}


def test_no_modules_import_one_another_in_a_circle():
    assert in_circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}) == {"b", "c"}  # the test sees one
    assert not in_circles({m: needs(path) - {m} for m, path in MODULES.items()})


def private_imports(path: Path) -> set[str]:
    """`from m import _x`, and `m._x` of an imported module."""
    tree = ast.parse(path.read_text())
    modules, found = {}, set()
    for node in ast.walk(tree):
        for alias in node.names if isinstance(node, ast.Import | ast.ImportFrom) else []:
            full = f"{node.module}.{alias.name}" if isinstance(node, ast.ImportFrom) else alias.name
            if full in MODULES:
                modules[alias.asname or alias.name] = full
            elif full.startswith("securegen.") and alias.name.startswith("_"):
                found.add(full)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__"):
            owner = modules.get(ast.unparse(node.value))
            found |= {f"{owner}.{node.attr}"} if owner else set()
    return found


def test_private_names_stay_in_their_module(tmp_path):
    seen = tmp_path / "seen.py"
    seen.write_text("from securegen.rlwe.ring import _x\nfrom securegen.rlwe import ring\nring._y()\n")
    assert private_imports(seen) == {"securegen.rlwe.ring._x", "securegen.rlwe.ring._y"}
    assert {m: names for m, path in MODULES.items() if (names := private_imports(path))} == {}


def test_loose_modules_are_the_ground():
    loose = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__", "__main__"}
    assert loose <= {"errors", "vocabulary", "model", "randomness", "version", "catalogue"}


def test_commands_make_no_receipt_and_read_no_table():
    """What a command says of security comes from `record`, what it reads of tables from `results`."""
    found = set()
    for m in (m for m in MODULES if room(m) == "cli"):
        calls = [n.func for n in ast.walk(parsed_where(MODULES[m], "Receipt", "read_csv")) if isinstance(n, ast.Call)]
        found |= {m for call in calls if ast.unparse(call).split(".")[-1] in {"Receipt", "read_csv"}}
    assert not found


def test_commands_do_no_maths(tmp_path):
    """Neither arrays nor statistics: commands hand on the limits of quality control, and compute nothing."""

    def maths(path: Path) -> set[str]:
        found = {name for name, _ in imports(path)} - {"securegen.stats.qc.Filters"}
        return {
            name for name in found
            if name.split(".")[0] in {"numpy", "scipy", "pandas"}
            or (name.startswith("securegen.") and room(name) in {"design", "kernels", "rlwe", "stats"})
        }  # fmt: skip

    seen = tmp_path / "seen.py"
    seen.write_text("def command():\n    import numpy as np\n    from securegen.stats.pvalue import chisq_1\n")
    assert maths(seen) == {"numpy", "securegen.stats.pvalue.chisq_1"}
    assert {m: found for m, path in MODULES.items() if room(m) == "cli" and (found := maths(path))} == {}


def test_tables_of_results_are_read_by_two_modules():
    """Whoever else asked pandas would lose ids such as null and nan."""
    readers = {
        m
        for m, path in MODULES.items()
        for node in ast.walk(parsed_where(path, "read_csv"))
        if isinstance(node, ast.Attribute | ast.Name) and ast.unparse(node).split(".")[-1] == "read_csv"
    }
    assert readers == {"securegen.results.read", "securegen.results.rows"}


def test_a_public_class_has_a_name_of_its_own():
    """Two classes of one name in two modules are two things that a reader takes for one."""
    found: dict[str, list[str]] = {}
    for m, path in MODULES.items():
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found.setdefault(node.name, []).append(m)
    assert {name for name, places in found.items() if len(places) > 1} == set()


def test_a_file_is_one_idea():
    """300 lines at most."""
    assert {m for m, path in MODULES.items() if path.read_text().count("\n") > 300} == set()
