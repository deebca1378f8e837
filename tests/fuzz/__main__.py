"""python tests/fuzz: changes of a valid sample for every parser of foreign bytes; exit code 1 where one is not refused cleanly.

--changes N: the first N of seed 0, the same every time. --seconds S: fresh seeds until then. What fails is printed once a place,
and its bytes are kept in the folder --keep. --only WORD: targets whose name has it. --file FILE: run these bytes (with --only).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import secrets
import sys
import tempfile
import time
from pathlib import Path

# One thread and one arena: what a child adds is then what its parser asked for.
os.environ |= {"NUMBA_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1", "OMP_NUM_THREADS": "1"}
sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[1])]
from every import every  # noqa: E402
from target import Finding, Target, attempt, changes_of, findings  # noqa: E402

SAMPLES = Path(__file__).resolve().parent / "samples"
ROUND = 200  # changes of a target before the next has its turn


def regressions(target: Target) -> list[bytes]:
    """What went wrong once, of targets whose samples hold no key."""
    return [p.read_bytes() for p in sorted(SAMPLES.glob(f"{target.name}.*"))]


def told(found: Finding, keep: Path | None, known: set[tuple[str, str]]) -> bool:
    """Print a finding of a new place."""
    if (found.target, found.place) in known:
        return False
    known.add((found.target, found.place))
    where = ""
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        path = keep / f"{found.target}.{hashlib.sha256(found.place.encode()).hexdigest()[:8]}"
        path.write_bytes(found.data)
        where = str(path)
    print(json.dumps([found.target, found.place, found.told, where]), flush=True)
    return True


def main() -> int:
    parser = argparse.ArgumentParser(prog="python tests/fuzz", description=__doc__)
    parser.add_argument("--changes", type=int, default=60)
    parser.add_argument("--seconds", type=float, default=0.0)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--only", default="")
    parser.add_argument("--file", type=Path)
    parser.add_argument(
        "--coverage", action="store_true", help="let atheris choose the changes (one target, by --only)"
    )
    given = parser.parse_args()
    known: set[tuple[str, str]] = set()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_STATE_HOME"] = f"{folder}/state"  # where retired keys are remembered
        targets = [t for t in every(Path(folder)) if given.only in t.name]
        if given.file is not None:
            found = [attempt(t, given.file.read_bytes()) for t in targets if given.only == t.name]
            print(*found, sep="\n")
            return int(any(found))
        if given.coverage:
            return coverage_guided(targets)
        for target in targets:
            spent = time.monotonic()
            old = regressions(target)
            for found in findings(target, lambda n, old=old: old[n], range(len(old))):
                told(found, None, known)
            for found in findings(target, changes_of(target, 0), range(given.changes)):
                told(found, given.keep, known)
            print(json.dumps([target.name, given.changes + len(old), round(time.monotonic() - spent, 2)]), flush=True)
        until, tried = time.monotonic() + given.seconds, 0
        while time.monotonic() < until:
            seed = secrets.token_hex(8)
            for target in targets:
                if time.monotonic() >= until:
                    break
                for found in findings(target, changes_of(target, seed), range(ROUND)):
                    told(found, given.keep, known)
                tried += ROUND
        if given.seconds:
            print(f"{tried:,} changes of fresh seeds, {len(known)} findings", file=sys.stderr)
    return int(bool(known))


def coverage_guided(targets: list[Target]) -> int:
    """The same target, its changes chosen by what they reach: a crash of atheris is a finding."""
    import atheris

    (target,) = targets

    def one(data: bytes) -> None:
        if (problem := attempt(target, data)) is not None:
            raise RuntimeError(f"{problem}")

    corpus = Path(tempfile.mkdtemp())
    (corpus / "sample").write_bytes(target.sample)
    atheris.instrument_all()
    atheris.Setup([sys.argv[0], str(corpus)], one)
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
