"""One role killed many times: what lies there then, the same command again, and its files against an undisturbed run's."""

from __future__ import annotations

import os
import random
import re
import signal
import time
from dataclasses import dataclass, field

from kill_steps import SOON, WAIT, WORKER, Step
from kill_world import LOGS, STATE, Ended, World, halves, is_left

TRIES = 6  # of those for which a random time came too late
HEARD = (10, 11)  # exit codes of parties that lost another
# What a command that had ended before it was killed says of what it wrote.
THERE = re.compile(
    r"exists and is not overwritten|has a complete study|has a design of|exists already|wrong passphrase"
)
# What happens once, so that a kill may spend it: an answer that was charged, a nonce, a key that answers one time.
ONCE = re.compile(r"no such invitation outstanding|was used already|cannot read the passphrase of several keys")
CODES = (6, 7, 9)  # of these two


class Unfit(Exception):
    """A step does not run undisturbed."""


@dataclass
class Report:
    """Kills by how they met the role, what was left, how it went on, and what was wrong."""

    step: str
    kills: int = 0
    late: int = 0
    early: int = 0  # nothing was written yet
    left: int = 0  # times that files of a dead writer lay there
    there: int = 0  # times that all was written, and the second run said so
    spent: int = 0  # times that what happens once had begun, and the second run said so
    reads: bool = False  # it writes nothing
    wrong: list[str] = field(default_factory=list)
    seconds: float = 0.0


def attempt(world: World, step: Step, kills: int, rng: random.Random, *, real: bool, every: bool = False) -> Report:
    """Run a step undisturbed and leave it finished; between, kill it `kills` times. real: processes as users start them;
    every: once before each of its changes of files, in place of `kills`."""
    begun = time.monotonic()
    report = Report(step.name)
    for line in step.before:
        _well(world, {"": line})
    if step.prepare is not None:
        step.prepare(world.folder)
    if not kills:
        _well(world, step.lines)
        return report
    world.keep()
    before = world.files()
    _well(world, step.lines)
    whole = world.files()
    told = _then(world, step)
    world.restore()
    time.sleep(1.01)  # what tells the time is not the same twice
    done = _well(world, step.lines)
    again = world.files()
    same = {name for name, data in whole.items() if again.get(name) == data and not name.endswith(LOGS)}
    world.restore()
    if (
        kills
        and len(step.lines) == 1
        and {n for n in whole if whole[n] != before.get(n)} <= {n for n in whole if n.endswith(".log")}
    ):
        report.reads = True
        kills = 0
    lasts = max(e.seconds for e in done.values())
    really = max(e.seconds for e in _well(world, step.lines, forked=False).values()) if real else lasts
    changes = done[step.victim].changes if len(step.lines) == 1 and step.victim != WORKER else 0
    for number in range(changes if every else TRIES * kills):
        if not every and report.kills == kills:
            break
        world.restore()
        if every:
            how = {"kill_before": number + 1}
        elif number % 2 and changes:
            how = {"kill_before": rng.randint(1, changes)}
        else:
            how = {"after": rng.uniform(0.05, 1.0) * (really if real else lasts), "forked": not real}
        late = report.late
        wrong = _one(world, step, how, before, whole, again, same, told, report)
        if report.late > late and "after" in how:  # the machine was slower when it was timed
            lasts, really = lasts * 0.7, really * 0.7
        report.wrong += [f"{how}: {w}" for w in wrong]
    world.restore()
    _well(world, step.lines)
    report.seconds = time.monotonic() - begun
    return report


def _well(world: World, lines: dict[str, str], **how) -> dict[str, Ended]:
    done = world.run_together(lines, **how)
    for name, end in done.items():
        if end.code:
            raise Unfit(f"{lines[name]}: exit code {end.code}, {end.said[-400:]}")
    return done


def _then(world: World, step: Step) -> dict[str, bytes]:
    """Tables made of what the step left."""
    for line in step.then:
        _well(world, {"": line})
    return (
        {n: d for n, d in world.files().items() if n.startswith("told.") and not n.endswith(LOGS)} if step.then else {}
    )


def _killed(world: World, step: Step, how: dict) -> dict[str, Ended]:
    if step.victim != WORKER:
        lines = {
            n: x if n == step.victim else x.replace(f"--wait {WAIT} ", f"--wait {SOON} ") for n, x in step.lines.items()
        }
        return world.run_together(lines, victim=step.victim, **how)
    begun = time.monotonic()
    process = world.start(step.lines[""], forked=how.get("forked", True))
    hit = False
    while process.poll() is None and not hit:
        time.sleep(0.01)
        children = (
            [pid for pid in world.living() if pid != process.pid] if time.monotonic() - begun >= how["after"] else []
        )
        for pid in children[:1]:
            os.kill(pid, signal.SIGKILL)
            hit = True
    said = process.stderr.read()
    process.stderr.close()
    # the command itself lives and must end well: its worker was killed
    code = process.wait(120)
    return {WORKER: Ended(-signal.SIGKILL if hit else 0, said, 0.0), "": Ended(code, said, 0.0)}


def _one(
    world: World, step: Step, how: dict, before: dict[str, bytes], whole: dict[str, bytes], again: dict[str, bytes],
    same: set[str], told: dict[str, bytes], report: Report,
) -> list[str]:  # fmt: skip
    wrong = []
    ended = _killed(world, step, how)
    if ended[step.victim].code != -signal.SIGKILL:
        report.late += 1
        code = ended[step.victim].code
        return [f"it ended with {code}: {ended[step.victim].said[-300:]}"] if code else []
    report.kills += 1
    for name, end in ended.items():
        if name == step.victim:
            continue
        if end.code not in ((0,) if step.victim == WORKER else (0, *HEARD)):
            wrong.append(f"{name} ended with {end.code}: {end.said[-300:]}")
        elif end.code and ("Error: " not in end.said or "Traceback" in end.said):
            wrong.append(f"{name} said {end.said[-300:]}")
    until = time.monotonic() + 60
    while (alive := world.living()) and time.monotonic() < until:
        time.sleep(0.01)
    if alive:
        wrong.append(f"processes live on: {alive}")
    now = world.files()
    report.early += now == before
    report.left += any(is_left(name) and name not in before for name in now)
    wrong += halves(now, before, whole, same)
    second = world.run_together(step.lines)
    for name, end in second.items():
        if end.code in CODES and ONCE.search(end.said):
            report.spent += 1
            return wrong
        if end.code in CODES and THERE.search(end.said):
            report.there += 1
        elif end.code:
            wrong.append(f"again: {name} ended with {end.code}: {end.said[-300:]}")
    return wrong + _compared(world, step, before, whole, again, same, told, any(e.code for e in second.values()))


def _compared(world, step, before, whole, again, same, told, there) -> list[str]:
    now, wrong = world.files(), []
    passing = lambda n: n.startswith(STATE) or n.endswith((*LOGS, ".lock")) or "audit/" in n  # noqa: E731
    expected, found = set(whole), {n for n in now if not (there and is_left(n))}
    if set(again) != expected:  # names drawn at random: their number counts
        expected, found = set(map(_shape, whole)), set(map(_shape, found))
    record = {n for n in expected if n.endswith(".run.json")} if there else set()  # that of a run that had ended
    if missing := {n for n in expected - found - record if not passing(n) or n.endswith(".run.json")}:
        wrong.append(f"missing at the end: {sorted(missing)[:5]}")
    if surplus := {n for n in found - expected if not (passing(n) and not n.endswith(".lock"))}:
        wrong.append(f"left at the end: {sorted(surplus)[:5]}")
    wrong += [
        f"{n} differs from an undisturbed run's"
        for n in sorted(same & set(now))
        if now[n] != whole[n] and not passing(n)
    ][:5]
    wrong += halves(now, before, whole, same)
    if not wrong and step.then:
        try:
            if (ours := _then(world, step)) != told:
                wrong.append(f"what follows differs: {sorted(n for n in told if ours.get(n) != told[n])}")
        except Unfit as error:
            wrong.append(f"what follows fails: {error}")
    return wrong


def _shape(name: str) -> str:
    return re.sub(r"[0-9a-f]{8,}", "*", name)
