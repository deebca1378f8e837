"""Who computes on ciphertexts cannot be handed a secret key: not in its own modules, nor in anything that they import."""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import securegen

PACKAGE = Path(securegen.__file__).parent
MODULES = {
    ".".join(("securegen", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__"): path
    for path in PACKAGE.rglob("*.py")
}
CKKS = "securegen.engines.ckks"
KEYLESS = sorted(
    {m for m in MODULES if m.startswith(f"{CKKS}.server.")}
    | {f"{CKKS}.scores.{role}" for role in ("server", "evaluator", "modeller", "stream")}
)
OF_KEYS = {
    "SecretKey", "read_secret", "write_secret", "new_secret_key", "secret_key", "OwnerState", "OwnEncryptor",
    "SealEncryptor", "make_encryptor", "strand_secrets", "seal_box", "open_box",
    "open_replies", "insecure_decrypt_unverified",
}  # fmt: skip


@cache
def imports(module: str) -> frozenset[str]:
    """What a module imports of this package, inside functions and for its types too."""
    wanted: set[str] = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.Import):
            wanted |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names = (f"{node.module}.{alias.name}" for alias in node.names)
            wanted |= {name if name in MODULES else str(node.module) for name in names}
    return frozenset(wanted & MODULES.keys())


def closure(module: str) -> set[str]:
    """A module and all that it imports. What the packages run that they lie in, a process of the server tells."""
    found, todo = set(), {module}
    while todo:
        one = todo.pop()
        found.add(one)
        todo |= imports(one) - found
    return found


@cache
def identifiers(module: str) -> frozenset[str]:
    tree = ast.parse(MODULES[module].read_text())
    named = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)}
    named |= {n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute)}
    named |= {n.name for n in ast.walk(tree) if isinstance(n, ast.ClassDef | ast.FunctionDef)}
    named |= {a.name for n in ast.walk(tree) if isinstance(n, ast.Import | ast.ImportFrom) for a in n.names}
    return frozenset(named)


def keys_within(module: str) -> dict[str, frozenset[str]]:
    """Modules that a module reaches and that belong to the owner or name what belongs to a secret key."""
    reached = closure(module)
    owners = {m: frozenset({"owner"}) for m in reached if f"{m}.".startswith(f"{CKKS}.owner.")}
    return owners | {m: found for m in reached if (found := identifiers(m) & OF_KEYS)}


@pytest.mark.parametrize("module", KEYLESS)
def test_nothing_that_it_imports_names_a_secret_key(module):
    assert {f"{CKKS}.cohort", f"{CKKS}.studydesign", f"{CKKS}.artefact"} & closure(module), "the test follows imports"
    assert not keys_within(module)


def test_the_test_sees_names_of_keys_however_far_away():
    assert f"{CKKS}.owner.decrypt" in keys_within(f"{CKKS}.owner.decrypt")
    assert "SecretKey" in keys_within(f"{CKKS}.owner.decrypt")[f"{CKKS}.owner.secret_key"]
    assert "SecretKey" in keys_within("securegen.inspection.doctor")[f"{CKKS}.owner.secret_key"]  # inside a function


def test_what_both_roles_import_names_no_secret_key():
    """In the engine's folder itself only the steps, which are of every role, and the engine may."""
    shared = {m for m in MODULES if m.rsplit(".", 1)[0] == CKKS and m.count(".") == 3} - {
        f"{CKKS}.owner",
        f"{CKKS}.server",
    }
    assert {m for m in shared if keys_within(m)} <= {
        f"{CKKS}.{name}" for name in ("steps", "tables", "engine", "later_study")
    }


def loaded(module: str) -> set[str]:
    """Modules of the owner's that are there when a process has imported `module`."""
    code = f"import sys, {module}\nprint(*(m for m in sys.modules if m.startswith('{CKKS}.owner')))"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


def test_a_process_of_the_server_loads_no_module_of_the_owner():
    assert not loaded(", ".join(KEYLESS))
    assert f"{CKKS}.owner.secret_key" in loaded(f"{CKKS}.owner.decrypt")
