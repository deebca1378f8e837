"""A study under governance: a steward, an analyst, an auditor and three sites, each a process with a folder of its own.

`python protocols/governed_study.py` makes three small simulated cohorts and starts six processes; `--directory D --party NAME` is
one of them. Only what is in the table travels, as files of one shared folder.

| message | from | to | holds |
|---|---|---|---|
| verify keys | analyst, auditor | steward | who may ask, and as what |
| policy and its signature | steward | all | purposes, tiers, limits; identities by key |
| verify key, variant list | sites | analyst | nothing of a person |
| study file | analyst | sites | phenotype, covariate, model, aim |
| masked sums | sites | sites | numbers that only their total says something with |
| table, record, signed receipt | oslo | analyst, auditor | the pooled table; who learned what; what was decided |
| copies of audit logs | sites | auditor | digests and counts |
| request for a second signature | tartu | auditor | the digest of a request |

The story. Consents are entered at each site, some for health research and some for none. The policy refuses exact statistics:
every site gives each person's height its noise, once. The analyst asks what would be decided, for a purpose that the policy
allows and for one that it does not; coordinates the study; receives the table, and verifies the receipt. One person withdraws at
oslo: the same study again would be that person, and oslo refuses before it sends anything. When sixty have withdrawn the study
runs again, without them. Somebody at tartu tries to export scores of people, is refused by the tier, tries an exact table, is
refused by the draws of noise, exports table after table with noise instead, and is stopped by an alert that asks for a second
signature. The auditor gives none. Then tartu shows the log of an earlier day in place of its own: the auditor's file finds it.

Who learns what: the sites and the analyst learn the pooled tables; the auditor learns digests and counts; the steward learns
nothing. Safe against whoever does not hold the genotypes. A site holds its people's genotypes in the clear and can use them
otherwise: for it a policy is a record and a brake.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import securegen as sg
from securegen.errors import ArtefactError, PolicyError
from securegen.io.plink1_writer import write_plink
from securegen.model import Samples, Variants

SITES = ("oslo", "tartu", "turku")
PEOPLE, VARIANTS, LEAVING = 300, 240, 60
NOISE = {"dp_epsilon": 4.0, "dp_delta": 1e-6, "dp_bounds": (-3, 13)}  # bounds that are known without the data
PATIENCE = 300  # seconds for another party
ALERTS = {
    "alerts.bulk_rows.limit": 1000, "alerts.bulk_rows.second_signature": True, "alerts.refusals.limit": 2,
    "alerts.odd_hours.on": False,
}  # fmt: skip


class Party:
    """A process: its own folder, the shared one, and what it says."""

    def __init__(self, root: Path, name: str):
        self.name, self.own, self.shared = name, root / name, root / "shared"

    def say(self, text: str) -> None:
        print(f"{self.name:>8}: {text}", flush=True)

    def wait(self, *names: str) -> list[Path]:
        """The shared files of these names, when they are there. Raises TimeoutError naming the one that is not."""
        until = time.monotonic() + PATIENCE
        for name in names:
            while not (self.shared / name).exists():
                if time.monotonic() > until:
                    raise TimeoutError(f"{self.name} waits for {name}")
                time.sleep(0.02)
        return [self.shared / name for name in names]

    def send(self, path: Path, name: str) -> None:
        """Put a file, or a folder, into the shared folder, whole."""
        part = self.shared / f".{name}.part"
        shutil.copytree(path, part) if path.is_dir() else shutil.copy(path, part)
        part.rename(self.shared / name)

    def mark(self, name: str, text: str = "") -> None:
        """A file without more than a word, for others to wait for."""
        (self.own / name).write_text(text)
        self.send(self.own / name, name)


def cohort(folder: Path, number: int) -> None:
    """Simulated people of a site: common variants, an age, a trait that three variants shift; and their consents."""
    rng = np.random.default_rng(number)
    ids = np.array([f"S{number}P{i}" for i in range(PEOPLE)], object)
    dosage = rng.binomial(2, np.linspace(0.2, 0.5, VARIANTS)[:, None], (VARIANTS, PEOPLE)).astype(np.int8)
    names = np.array([f"rs{i + 1}" for i in range(VARIANTS)], object)
    places, alleles = np.arange(1, VARIANTS + 1) * 1000, (np.full(VARIANTS, letter, object) for letter in "AG")
    variants = Variants(np.full(VARIANTS, "1", object), places, names, *alleles)
    people = Samples(ids, ids, np.ones(PEOPLE, bool), np.ones(PEOPLE, np.int8))
    write_plink(folder / "cohort", people, [(variants, dosage)])
    age = rng.integers(30, 80, PEOPLE)
    trait = dosage[:3].sum(axis=0) + age / 20 + rng.normal(size=PEOPLE)
    rows = [f"{i}\t{i}\t{y:.4f}\t{a}" for i, y, a in zip(ids, trait, age, strict=True)]
    (folder / "people.tsv").write_text("#FID\tIID\tHEIGHT\tAGE\n" + "\n".join(rows) + "\n")
    (folder / "score.tsv").write_text("ID\tA1\tWEIGHT\n" + "".join(f"{n}\tA\t0.1\n" for n in names[:50]))
    consents = [f"{i}\t{i}\t{'POA' if k % 40 == 0 else 'HMB'}\t2024-01-01" for k, i in enumerate(ids)]
    (folder / "consents.tsv").write_text("FID\tIID\tDUO\tDATE\n" + "\n".join(consents) + "\n")


def steward(me: Party) -> None:
    """Writes and signs what may leave, for whom and for what."""
    analyst_key, auditor_key = me.wait("analyst.pub", "auditor.pub")
    path = me.own / "policy.toml"
    sg.policy.init(
        path, "Consortium", key=me.own / "steward.secret",
        identities={"analyst": ("analyst", analyst_key), "auditor": ("auditor", auditor_key)},
        settings={
            "purposes.allowed": ["HMB"], "limits.smallest_cohort": 100, "noise.required": True, "noise.epsilon": 4.0, **ALERTS,
        },
    )  # fmt: skip
    policy = sg.policy.sign(path, me.own / "steward.secret")
    me.send(path, "policy.toml")
    me.send(path.with_name("policy.toml.sig"), "policy.toml.sig")
    me.say(
        f"signed policy version {policy.version}: health research (HMB), 100 people at least, no rows of people, noise"
    )


def analyst(me: Party) -> None:
    """Asks, coordinates, and receives tables and receipts."""
    sg.federated.keygen(me.own / "key", me.own / "analyst.pub")
    me.send(me.own / "analyst.pub", "analyst.pub")
    me.wait("policy.toml", "policy.toml.sig")
    policy = me.shared / "policy.toml"
    for purpose in ("POA", "HMB"):
        asked = sg.policy.explain(
            policy, who="analyst", purpose=purpose, engine="federated", samples=len(SITES) * PEOPLE, variants=VARIANTS, columns=2,
            epsilon=NOISE["dp_epsilon"], delta=NOISE["dp_delta"],
        )  # fmt: skip
        why = "; ".join(map(str, asked.refusals)) or f"{len(asked.reasons)} rules allow it"
        me.say(f"a study for {purpose} would be {'allowed' if asked.allowed else 'refused'}: {why}")
    keys = me.wait(*(f"{site}.public" for site in SITES))
    lists = me.wait(*(f"{site}.variants.tsv" for site in SITES))
    for study in ("study1", "study2", "study3"):
        sg.federated.init(
            me.own / study, me.own / "coordinator.secret", sites=dict(zip(SITES, keys, strict=True)), variant_lists=lists,
            phenotypes={"HEIGHT": "quantitative"}, covariates=["AGE"], name=study, aim="health research", smallest_cohort=50,
        )  # fmt: skip
    for study in ("study1", "study2", "study3"):
        me.send(me.own / study, study)
        me.wait(f"{study}.ended")
        if study == "study2":
            me.say("no second table: one person left since the first")
            continue
        prefix = me.shared / f"{study}.release" / study
        receipt = sg.receipt.verify(prefix, key=me.shared / "oslo.public")
        table = next(prefix.parent.glob("*.glm.linear"))
        rows = table.read_text().splitlines()[1:]
        me.say(
            f"{study}: receipt of oslo holds for {len(receipt.statement.subjects)} files; table of {len(rows)} variants"
        )
        me.mark(f"{study}.received")


def auditor(me: Party) -> None:
    """Keeps witnesses, reads alerts, signs nothing."""
    sg.federated.keygen(me.own / "key", me.own / "auditor.pub")
    me.send(me.own / "auditor.pub", "auditor.pub")
    for study in ("study1", "study3"):
        me.wait(f"{study}.received", *(f"{site}.{study}.audit" for site in SITES))
        for site in SITES:
            seen = [me.shared / f"{study}.release" / f"{study}.receipt.json"] if site == "oslo" else []
            state = sg.audit.verify(me.shared / f"{site}.{study}.audit", seen=seen, auditor=me.own / f"{site}.seen")
            me.say(f"log of {site}, {study}: {state.verdict}")
    (digest,) = me.wait("tartu.request")
    (log,) = me.wait("tartu.export.audit")
    state = sg.audit.verify(log, auditor=me.own / "tartu.seen")
    for alert in sg.audit.alerts(log, rules=me.shared / "policy.toml"):
        me.say(f"alert at tartu, {alert.rule}: {alert.why}")
    if "audit.second_signature" not in state.entries[-1].facts["rules"]:
        raise SystemExit("nothing stopped the export")
    me.say(f"does not sign the request {digest.read_text()[:16]}…")
    (log,) = me.wait("tartu.shown.audit")
    try:
        sg.audit.verify(log, auditor=me.own / "tartu.seen")
    except ArtefactError as error:
        me.say(f"tartu's log is not the one that was seen: {error}")
    else:
        raise SystemExit("a log that was put back was taken for the log")


def site(me: Party) -> None:
    """Holds its people's genotypes and consents; joins what its policy allows."""
    data, state, number = me.own / "data", me.own / "private", SITES.index(me.name) + 1
    register = data / "consents.register"
    data.mkdir()
    cohort(data, number)
    for name in ("policy.toml", "policy.toml.sig"):
        shutil.copy(me.wait(name)[0], data / name)
    sg.policy.check(data / "policy.toml")
    taken = sg.consent.import_table(register, data / "consents.tsv")
    me.say(f"entered the consents of {taken.new} people")
    sg.federated.keygen(state, me.own / "public", policy=data / "policy.toml")
    me.send(me.own / "public", f"{me.name}.public")
    sg.federated.variant_list(sg.Inputs(bfile=data / "cohort"), me.own / "variants")
    me.send(me.own / "variants", f"{me.name}.variants.tsv")

    def take_part(study: str) -> None:
        (folder,) = me.wait(study)
        asking = sg.Asking(data / "policy.toml", purpose="HMB")
        sg.federated.join(folder, state, fingerprints={}, trust_study_file=True, asking=asking)
        out = me.own / study / study
        out.parent.mkdir()
        words = {
            "dir": folder, "state": state, "bfile": data / "cohort", "pheno": data / "people.tsv", "covar": data / "people.tsv",
            "consent": register, "purpose": "HMB", "wait": PATIENCE, "sign": state / "site.secret", "out": out,
            "dp-epsilon": NOISE["dp_epsilon"], "dp-delta": NOISE["dp_delta"], "dp-bounds": "{},{}".format(*NOISE["dp_bounds"]),
        }  # fmt: skip
        run = [str(w) for name, value in words.items() for w in (f"--{name}", value)]
        done = subprocess.run(
            [sys.executable, "-m", "securegen", "site", "run", "--quiet", *run], stderr=subprocess.PIPE, text=True
        )
        if done.returncode == PolicyError.exit_code:
            raise PolicyError(done.stderr.strip())
        if done.returncode:
            raise SystemExit(f"{me.name}: {done.stderr}")
        if me.name == "oslo":
            me.send(out.parent, f"{study}.release")
            me.mark(f"{study}.ended")
        me.send(data / "audit", f"{me.name}.{study}.audit")

    def withdraw(people: range) -> None:
        names = "".join(f"S{number}P{i}\tS{number}P{i}\n" for i in people)
        (data / "leaving.txt").write_text(names)
        sg.consent.withdraw(register, data / "leaving.txt")

    take_part("study1")
    me.wait("study1.received")
    if me.name == "oslo":
        withdraw(range(1, 2))
        me.wait("study2")
        refused(me, lambda: take_part("study2"))
        me.mark("study2.ended")
        withdraw(range(2, LEAVING + 1))
        me.say(f"{LEAVING} people have withdrawn")
    take_part("study3")
    if me.name == "tartu":
        export(me, data)


def export(me: Party, data: Path) -> None:
    """What a member of staff tries with the site's own files."""
    before = me.own / "yesterday"
    shutil.copytree(data / "audit", before)
    rows = sg.scores.open(bfile=data / "cohort", score=data / "score.tsv", purpose="HMB")
    for _ in range(2):
        refused(me, lambda: sg.scores.run(rows, engine="plain").write(me.own / "scores"))
    text = ""

    def opened(i: int, **noise: object) -> sg.Study:
        return sg.open_study(
            data / "cohort", pheno=data / "people.tsv", pheno_name="HEIGHT", covar=data / "people.tsv", covar_name="AGE",
            chr="1", from_bp=1000 * i, purpose="HMB", consent=data / "consents.register", **noise,
        )  # fmt: skip

    refused(me, lambda: opened(0))
    for i in range(12):
        try:
            sg.run(opened(i, **NOISE), out=me.own / f"copy{i}")
        except PolicyError as error:
            text = str(error)
            break
    else:
        raise SystemExit("tables left without an end")
    me.say(f"stopped after {i} of 12 tables: {text}")
    me.mark("tartu.request", re.search(r"[0-9a-f]{64}", text)[0])
    me.send(data / "audit", "tartu.export.audit")
    me.send(before, "tartu.shown.audit")


def refused(me: Party, act: Callable[[], object]) -> None:
    """Do what has to be refused by policy. Raises SystemExit where it is not."""
    try:
        act()
    except PolicyError as error:
        me.say(f"refused: {error}")
    else:
        raise SystemExit(f"{me.name}: what the policy refuses was done")


PARTIES: dict[str, Callable[[Party], None]] = {
    "steward": steward, "analyst": analyst, "auditor": auditor, **dict.fromkeys(SITES, site),
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--directory", type=Path, help="where the parties' folders are [a temporary one]")
    parser.add_argument("--party", choices=PARTIES, help="be this party [start all]")
    options = parser.parse_args()
    if options.party:
        PARTIES[options.party](Party(options.directory, options.party))
        return
    with tempfile.TemporaryDirectory(prefix="governed-") as temporary:
        root = options.directory or Path(temporary)
        for name in (*PARTIES, "shared"):
            (root / name).mkdir(parents=True)
        words = [sys.executable, __file__, "--directory", str(root), "--party"]
        started = {name: subprocess.Popen([*words, name]) for name in PARTIES}
        try:
            while started:
                for name, process in list(started.items()):
                    if (code := process.poll()) is not None:
                        del started[name]
                        if code:
                            raise SystemExit(f"{name} ended with exit code {code}")
                time.sleep(0.05)
        finally:
            for process in started.values():
                process.kill()
        print("every party did its part, and no more left than the policy allows")


if __name__ == "__main__":
    main()
