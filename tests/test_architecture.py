"""Rooms import in one direction, the server cannot name a secret key, nothing is pickled, no generator of NumPy or torch."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import securegen

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
    "stats": NOUNS | {"design", "kernels"},
    "governance": NOUNS | {"io", "randomness", "kernels", "design"},
    "study": STUDY,
    "results": NOUNS | {"io", "design", "stats", "catalogue"},
    "record": NOUNS | {"io", "governance"},
    "scores": STUDY | {"study"},
    "engines": ENGINE,
    "engines.plain": ENGINE,
    "engines.ckks": ENGINE | {"rlwe"},
    "engines.federated": ENGINE | {"local", "engines.plain"},
    "engines.mpc": ENGINE | {"engines.plain", "engines.federated"},
    "local": ENGINE,
    "plot": NOUNS | {"io", "stats", "results"},
    "report": NOUNS | {"rlwe", "io", "study", "scores", "results", "record", "plot"},
    "inspection": ENGINE | {"rlwe", "engines.ckks", "engines.federated", "engines.mpc"},
}
ENGINES = {"plain", "ckks", "federated", "mpc"}
TOP = {"api", "cli", "__main__", ""}


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """Every module that a file imports, inside functions too, with its line."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports are absolute"
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


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


@pytest.mark.parametrize("module", sorted(m for m in MODULES if room(m) == "kernels"))
def test_kernels_import_numpy_and_numba_only(module):
    allowed = sys.stdlib_module_names | {"securegen", "numpy", "numba", "llvmlite"}  # llvmlite is Numba's own
    assert {name.split(".")[0] for name, _ in imports(MODULES[module])} <= allowed


def identifiers(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    named = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)}
    named |= {n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute)}
    return named | {a.name for n in ast.walk(tree) if isinstance(n, ast.Import | ast.ImportFrom) for a in n.names}


def test_the_server_names_no_secret_key():
    """The server's module cannot be handed a secret key: it knows neither the type nor a function that reads one."""
    server = identifiers(MODULES["securegen.engines.ckks.server.associate"])
    assert not server & {"SecretKey", "read_secret", "generate", "keys", "OwnerState", "decrypt", "verify"}
    assert {"SecretKey", "verify"} <= identifiers(
        MODULES["securegen.engines.ckks.owner.decrypt"]
    )  # the test sees such names


@pytest.mark.parametrize("module", sorted(MODULES))
def test_nothing_is_pickled_and_no_generator_protects_data(module):
    forbidden = {"pickle", "cPickle", "cloudpickle", "dill", "marshal", "shelve", "random", "joblib"}
    assert not {name.split(".")[0] for name, _ in imports(MODULES[module])} & forbidden
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
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
        if path.read_text().strip() and not ast.get_docstring(ast.parse(path.read_text()))
    }
    assert empty <= {"securegen.version", "securegen.__main__"}


def test_errors_have_exit_codes_of_their_own():
    from securegen import errors

    classes = [c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, errors.SecuregenError)]
    codes = [c.exit_code for c in classes]
    assert len(set(codes)) == len(codes) and 0 not in codes


def test_commands_do_not_import_each_other_in_a_circle():
    """Of the command line, imports inside functions too."""
    here = {m: path for m, path in MODULES.items() if room(m) == "cli"}
    graph = {
        m: {other for name, _ in imports(path) for other in here if f"{name}.".startswith(f"{other}.") and other != m}
        - {"securegen.cli"}
        for m, path in here.items()
    }
    while free := [m for m, needs in graph.items() if not needs & set(graph)]:
        for m in free:
            del graph[m]
    assert not graph, f"a circle among {sorted(graph)}"
