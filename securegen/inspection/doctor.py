"""Is this installation in order: versions, extras, processor, memory, caches, and SEAL put to the proof."""

from __future__ import annotations

import contextlib
import importlib
import os
import platform
import re
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from securegen.version import VERSION

OK, ADVICE, BROKEN = "ok", "advice", "BROKEN"
LEAST_MEMORY = 1 << 30
LEAST_DISK = 1 << 30
SCALE = 36  # log2, of the self test


@dataclass(frozen=True)
class Check:
    """One line of the examination. state: ok, advice (something is slower or absent) or BROKEN."""

    name: str
    state: str
    found: str
    advice: str = ""


def examine() -> list[Check]:
    """Every check. Nothing is changed but a Numba cache that has to be made anyway."""
    checks: list[Callable[[], list[Check]]] = [
        _versions, _core, _extras, _processor, _memory, _numba_cache, _seal, _disk
    ]  # fmt: skip
    out: list[Check] = []
    for check in checks:
        try:
            out += check()
        except Exception as error:  # an examination reports, whatever is broken
            name = check.__name__.strip("_").replace("_", " ")
            out.append(Check(name, BROKEN, f"{type(error).__name__}: {error}", "install securegen again"))
    return out


def _versions() -> list[Check]:
    new = tuple(map(int, platform.python_version_tuple()[:2])) >= (3, 11)
    python = f"{platform.python_version()} ({platform.machine()}, {platform.system()})"
    return [
        Check("securegen", OK, f"{VERSION}, in {Path(__file__).parent}"),
        Check("python", OK if new else BROKEN, python, "" if new else "use Python 3.11 or later"),
    ]


def requirements() -> dict[str, list[str]]:
    """Extra -> its packages, from the installed metadata; '' is the core."""
    out: dict[str, list[str]] = {}
    for line in metadata.requires("securegen") or []:
        name = re.match(r"[A-Za-z0-9._-]+", line)
        extra = re.search(r"extra\s*==\s*[\"']([^\"']+)[\"']", line)
        if name and name[0] != "securegen":
            out.setdefault(extra[1] if extra else "", []).append(name[0])
    return out


def _core() -> list[Check]:
    found, missing = [], []
    for package in requirements().get("", []):
        try:
            importlib.import_module(package.replace("-", "_"))
            found.append(f"{package} {metadata.version(package)}")
        except Exception as error:
            missing.append(f"{package} ({type(error).__name__}: {error})")
    if missing:
        advice = "pip install --force-reinstall securegen"
        return [Check("packages", BROKEN, "cannot be imported: " + ", ".join(missing), advice)]
    return [Check("packages", OK, ", ".join(found))]


def _extras() -> list[Check]:
    out = []
    for extra, packages in sorted(requirements().items()):
        if not extra:
            continue
        absent = [p for p in packages if not _installed(p)]
        if absent:
            advice = f"pip install 'securegen[{extra}]'"
            out.append(Check(f"extra [{extra}]", ADVICE, f"absent: {', '.join(absent)}", advice))
        else:
            out.append(Check(f"extra [{extra}]", OK, ", ".join(f"{p} {metadata.version(p)}" for p in packages)))
    return out


def _installed(package: str) -> bool:
    try:
        metadata.version(package)
    except metadata.PackageNotFoundError:
        return False
    return True


def _processor() -> list[Check]:
    import llvmlite.binding as llvm
    import numba

    from securegen.kernels.emit import vector_words

    threads = f"{numba.get_num_threads()} threads by default (--threads)"
    features = llvm.get_host_cpu_features()
    level = next((n for f, n in (("avx512f", "AVX-512"), ("avx2", "AVX2"), ("neon", "NEON")) if features.get(f)), None)
    use = f"{level or 'neither AVX2 nor AVX-512'}; kernels are compiled for vectors of {vector_words()} × 64 bits"
    return [
        Check("cores", OK, f"{len(os.sched_getaffinity(0))} for this process, {threads}"),
        Check("vectors", OK if level else ADVICE, use, "" if level else "expect several times the planned seconds"),
    ]


def _memory() -> list[Check]:
    text = Path("/proc/meminfo").read_text()
    total, free = (int(re.search(rf"^{n}:\s+(\d+) kB", text, re.M)[1]) << 10 for n in ("MemTotal", "MemAvailable"))  # type: ignore[index]
    for limit in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with contextlib.suppress(OSError, ValueError):
            total = min(total, int(Path(limit).read_text()))
    free = min(total, free)
    enough = free >= LEAST_MEMORY
    advice = "" if enough else "lower --memory and --threads"
    return [Check("memory", OK if enough else ADVICE, f"{free / 2**30:.1f} of {total / 2**30:.1f} GiB free", advice)]


def _numba_cache() -> list[Check]:
    from numba.core.caching import FunctionCache

    from securegen.kernels import residue_mac

    compiled = next(f.py_func for f in vars(residue_mac).values() if hasattr(f, "py_func"))
    advice = "set NUMBA_CACHE_DIR to a folder of yours, or kernels are compiled at every start (a minute)"
    try:
        folder = Path(FunctionCache(compiled).cache_path)  # type: ignore[no-untyped-call]  # what Numba itself would use
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder):
            pass
    except (OSError, RuntimeError) as error:
        return [Check("numba cache", ADVICE, f"cannot be written: {error}", advice)]
    return [Check("numba cache", OK, f"{folder} can be written; {len(list(folder.glob('*.nbi')))} kernels in it")]


def _seal() -> list[Check]:
    """A key of SEAL, messages encrypted by SEAL and by our encryptor, both decrypted and compared."""
    import numpy as np

    from securegen.engines.ckks.owner.encryption import ENCRYPTORS
    from securegen.engines.ckks.owner.interop import decrypt_with_seal
    from securegen.engines.ckks.owner.secret_key import generate
    from securegen.engines.ckks.parameters import Parameters
    from securegen.rlwe.residues import from_tiles
    from securegen.rlwe.ring import Ring
    from securegen.rlwe.uniform import expand_uniform

    ring = Ring.standard(4096, 3)
    key = generate(Parameters(ring, 16, SCALE, 28, 2, 100.0, 16))
    message = np.arange(ring.n, dtype=np.int64)[None] % 1000 - 500
    for name, make in ENCRYPTORS.items():
        made = make(key)(message, SCALE)
        c1 = made.c1 if made.c1 is not None else expand_uniform(made.seed or b"", 1, ring)
        pair = np.stack([from_tiles(half, ring)[0] for half in (made.c0, c1)])
        found = decrypt_with_seal(pair, key, SCALE)
        if not np.array_equal(found, message[0]):
            advice = "pip install --force-reinstall tenseal securegen"
            return [Check("self test", BROKEN, f"what the encryptor {name!r} wrote decrypts to something else", advice)]
    return [
        Check("self test", OK, f"{ring.n} numbers encrypted by {' and '.join(ENCRYPTORS)}, decrypted by SEAL: equal")
    ]


def _disk() -> list[Check]:
    out = []
    for name, folder in (("disk", Path.cwd()), ("temporary", Path(tempfile.gettempdir()))):
        free = shutil.disk_usage(folder).free
        writable = os.access(folder, os.W_OK)
        state = OK if writable and free >= LEAST_DISK else ADVICE
        text = f"{free / 2**30:.1f} GiB free in {folder}{'' if writable else ', which cannot be written'}"
        out.append(Check(name, state, text, "" if state == OK else "choose another folder (--out, TMPDIR)"))
    return out
