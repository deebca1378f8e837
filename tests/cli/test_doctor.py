"""doctor says what is there and what is not, how to get it, and fails when the core is broken."""

from __future__ import annotations

import json
from importlib import metadata

import numpy as np
import pytest
from support import securegen

from securegen.inspection import doctor
from securegen.kernels.emit import vector_words


def lines(checks: list[doctor.Check]) -> dict[str, doctor.Check]:
    return {c.name: c for c in checks}


def test_a_healthy_installation():
    done = securegen("doctor", "--json")
    record = json.loads(done.out)
    found = {c["name"]: c for c in record["checks"]}
    assert done.code == 0 and record["healthy"] is True
    assert {"securegen", "python", "packages", "cores", "vectors", "memory", "numba cache", "self test", "disk"} <= set(
        found
    )
    assert f"tenseal {metadata.version('tenseal')}" in found["packages"]["found"]
    assert f"{vector_words()} × 64 bits" in found["vectors"]["found"]
    assert found["self test"]["state"] == "ok" and "own and seal" in found["self test"]["found"]
    text = securegen("doctor")
    assert text.code == 0 and all(name in text.out for name in found)


def test_an_absent_extra_comes_with_the_line_that_installs_it(monkeypatch):
    monkeypatch.setattr(metadata, "requires", lambda name: [
        "numpy>=1", 'no-such-package>=1; extra == "pictures"', 'numpy>=1; extra == "there"',
        'securegen[there,pictures]; extra == "all"', "also-absent[x]>=2; python_version > '3' and extra == 'pictures'",
    ])  # fmt: skip
    found = lines(doctor._extras())
    assert set(found) == {"extra [pictures]", "extra [there]"}
    absent = found["extra [pictures]"]
    assert absent.state == doctor.ADVICE and absent.found == "absent: no-such-package, also-absent"
    assert absent.advice == "pip install 'securegen[pictures]'" and found["extra [there]"].state == doctor.OK


def test_a_seal_that_decrypts_wrongly_is_broken(monkeypatch):
    from securegen.engines.ckks.owner import interop

    original = interop.decrypt_with_seal
    monkeypatch.setattr(interop, "decrypt_with_seal", lambda *a: original(*a) + np.eye(1, 4096, 7, dtype=np.int64)[0])
    done = securegen("doctor")
    assert done.code == 1 and "BROKEN  self test" in done.out and "decrypts to something else" in done.err


def test_a_package_that_does_not_import_is_broken(monkeypatch):
    monkeypatch.setattr(metadata, "requires", lambda name: ["numpy>=1", "no-such-module>=2"])
    done = securegen("doctor", "--json")
    assert done.code == 1 and json.loads(done.out)["error"]["class"] == "SecuregenError"
    assert "no-such-module" in done.err and "pip install" in done.err


def test_a_cache_that_cannot_be_written_is_advice(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr("numba.core.caching.FunctionCache.cache_path", str(tmp_path / "file" / "cache"))
    (check,) = doctor._numba_cache()
    assert check.state == doctor.ADVICE and "NUMBA_CACHE_DIR" in check.advice


def test_too_little_memory_or_disk_is_advice(monkeypatch):
    monkeypatch.setattr(doctor, "LEAST_MEMORY", 1 << 60)
    monkeypatch.setattr(doctor, "LEAST_DISK", 1 << 60)
    found = lines([*doctor._memory(), *doctor._disk()])
    assert {c.state for c in found.values()} == {doctor.ADVICE} and "--memory" in found["memory"].advice


def test_a_check_that_fails_is_a_line_and_not_a_traceback(monkeypatch):
    def broken():
        raise RuntimeError("no such thing")

    monkeypatch.setattr(doctor, "_memory", broken)
    monkeypatch.setattr(broken, "__name__", "_memory", raising=False)
    found = lines(doctor.examine())
    assert found["memory"].state == doctor.BROKEN and "no such thing" in found["memory"].found


@pytest.mark.parametrize("extra", ["mpc", "test", "bench"])
def test_the_extras_of_this_project_are_listed(extra):
    assert extra in doctor.requirements()
