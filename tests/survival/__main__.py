"""python tests/survival: kill -9 of every role at random times, then the same command again; exit code 1 where anything is
lost, cut, left behind or different from an undisturbed run.

--kills N: of each role. --seed S: what chooses the times; printed. --only WORDS: roles whose name has one of them (a comma
between). --without WORD: no role whose name has it. --real: processes as users start them, else forks of one that has
imported the package. --every: in place of --kills, once before each change of files of a role that is one process.
--share i/n: every n-th role.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import secrets
import sys
import tempfile
from pathlib import Path

os.environ |= {"NUMBA_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[1])]
from forked_roles import Nursery  # noqa: E402
from kill_steps import begin, every  # noqa: E402
from kill_trial import Unfit, attempt  # noqa: E402
from kill_world import World  # noqa: E402


def main() -> int:
    parser = argparse.ArgumentParser(prog="python tests/survival", description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", default=secrets.token_hex(4))
    parser.add_argument("--only", default="")
    parser.add_argument("--without", default=None)
    parser.add_argument("--real", action="store_true")
    parser.add_argument("--every", action="store_true")
    parser.add_argument("--share", default="1/1")
    given = parser.parse_args()
    share, shares = map(int, given.share.split("/"))
    print(json.dumps({"seed": given.seed, "kills": given.kills, "real": given.real, "share": given.share}), flush=True)
    failed = 0
    os.environ["_NURSERY_WARM"] = str(Path(__file__).with_name("kill_warm.py"))
    nursery = Nursery()
    with tempfile.TemporaryDirectory(prefix="survival-") as base:
        world = World(Path(base), nursery)
        begin(world.folder)
        for number, step in enumerate(every()):
            mine = number % shares == share - 1 and any(w in step.name for w in given.only.split(","))
            mine = mine and not (given.without and given.without in step.name)
            rng = random.Random(f"{given.seed} {step.name}")
            try:
                report = attempt(
                    world, step, given.kills if mine else 0, rng, real=given.real and mine, every=given.every
                )
            except Unfit as error:
                print(json.dumps({"step": step.name, "unfit": str(error)}), flush=True)
                failed += 1
                continue
            if mine:
                failed += bool(report.wrong) or (report.kills < given.kills and not report.reads and not given.every)
                print(json.dumps(vars(report)), flush=True)
    nursery.close()
    print(
        f"seed {given.seed}: {failed} roles failed" if failed else f"seed {given.seed}: every role went on", flush=True
    )
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
