"""`python -O` strips assert statements: nothing that guards against a file or a peer may be one.

pytest writes the asserts of test modules anew, so that they hold under -O as well; a test that must fail shows it.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import securegen

PACKAGE, TESTS = Path(securegen.__file__).parent, Path(__file__).parent
CANARY = """
def test_the_interpreter_strips_asserts():
    exec("assert False")
    if __debug__:
        raise RuntimeError

def test_that_must_fail():
    assert 1 + 1 == 3
"""
SUBSET = (
    "foreign/test_foreign_manifests.py", "foreign/test_foreign_files.py", "engines/ckks/test_attacks.py",
    "engines/ckks/test_artefacts.py", "engines/ckks/test_append_attacks.py",
    "governance/test_audit_note.py", "governance/test_audit_attacks.py",
    "governance/test_consent_steps.py::test_an_edited_register_names_its_line",
    "governance/test_consent_steps.py::test_an_older_register_another_one_and_one_that_is_gone_are_refused",
    "governance/test_pseudonyms.py::test_the_key_is_a_file_of_its_own_kind",
    "governance/test_pseudonyms.py::test_what_names_people_beside_the_ids_does_not_leave",
    "governance/test_dsse.py", "governance/test_policy_file.py", "governance/test_visas.py",
    "noisy/test_accountant.py::test_other_words_for_a_question_are_charged_until_nothing_is_left",
    "kernels/test_residue_matmul.py::test_refuses_what_could_overflow_or_does_not_fit",
    "kernels/test_residue_mac.py::test_refuses_what_could_overflow", "engines/mpc/test_hostile_frames.py",
    "io/test_attackers_stores.py::test_nobody_is_sent_elsewhere",
    "io/test_attackers_stores.py::test_a_size_that_is_none_is_refused",
    "engines/ckks/test_in_stores.py::test_other_bytes_at_the_second_look_are_found",
)  # fmt: skip


def test_attacks_and_foreign_bytes_fail_alike_under_O(tmp_path):
    canary = tmp_path / "test_canary.py"
    canary.write_text(CANARY)
    environment = {
        k: v for k, v in os.environ.items() if k not in ("PYTEST_ADDOPTS", "PYTHONOPTIMIZE", "SECUREGEN_FUZZ")
    }
    environment["PYTHONPATH"] = os.pathsep.join([str(PACKAGE.parent), str(TESTS)])
    words = [
        sys.executable, "-O", "-m", "pytest", "-q", "-rf", "-p", "no:cacheprovider",
        "-W", "ignore:assertions not in test modules", f"--basetemp={tmp_path / 't'}",
    ]  # fmt: skip
    done = subprocess.run(
        [*words, str(canary), *(str(TESTS / name) for name in SUBSET)],
        capture_output=True, text=True, cwd=PACKAGE.parent, env=environment,
    )  # fmt: skip
    failed = re.findall(r"^FAILED (\S+)", done.stdout, re.M)
    assert len(failed) == 1 and failed[0].endswith("::test_that_must_fail"), done.stdout[-3000:]
    counts = re.search(r"^1 failed, (\d+) passed", done.stdout, re.M)
    assert counts and int(counts[1]) > 100, done.stdout[-3000:]


FOREIGN_ROOMS = (
    "engines", "rlwe", "kernels", "io", "inspection", "record", "report", "governance", "scores", "study",
)  # fmt: skip
FOREIGN_MODULES = ("randomness", "design/fixedpoint", "model")
# Modules whose asserts are about the program alone.
INVARIANTS: set[str] = set()


def asserts(path: Path) -> list[int]:
    return [node.lineno for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Assert)]


@pytest.mark.parametrize("room", [*FOREIGN_ROOMS, *FOREIGN_MODULES])
def test_no_assert_stands_where_foreign_bytes_are_read(room):
    paths = sorted((PACKAGE / room).rglob("*.py")) or [PACKAGE / f"{room}.py"]
    found = {f"{p.relative_to(PACKAGE)}:{line}" for p in paths for line in asserts(p)}
    assert {f for f in found if f.partition(":")[0] not in INVARIANTS} == set()
    assert paths[0].is_file()


def test_the_check_sees_an_assert(tmp_path):
    (tmp_path / "a.py").write_text("def f(x):\n    if x:\n        assert x > 1\n")
    assert asserts(tmp_path / "a.py") == [3]
