"""What is killed: every command of the help texts, and roles of deployments that run beside each other."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import click
from example_walk import BEFORE, EXAMPLES, NEEDS, ROOT, begin, walked

from securegen.cli.main import main
from securegen.engines.federated import rehearsal
from securegen.engines.mpc.loopback import loopback_study
from securegen.governance import policy_file, signing
from securegen.governance.policy_draft import draft
from securegen.study.genotypes import open_genotypes
from securegen.study.inputs import Inputs

TRAITS = "--pheno cohort.pheno.tsv --pheno-name QT --covar cohort.covar.tsv"
STUDY = f"--bfile cohort {TRAITS}"
AGAIN = "--cohort study.cohort --design again.design --out again"
KEY = "--key key.secret --passphrase-file pass.txt"
TIMEOUT = 15.0  # seconds of silence of a party
WAIT, SOON = 300, 2  # seconds until a site that waits for another ends; beside one that is killed
MACHINE = {"doctor", "completion"}  # of the machine: no data
WORKER = "worker"  # a victim: a process that the command itself has started

SERVED = "gwas --cohort study.cohort --design study.design --public key.public --out study"
OPENED = f"decrypt {KEY} --owner study.owner --results study.results --out told"
ENCRYPTED = f"encrypt {KEY} {STUDY} --out study"
SCORED = "prs --cohort enc.cohort --model enc.model --out enc"
SHOWN = (
    "prs-step decrypt --key enc.secret --passphrase-file pass.txt --owner enc.owner --results enc.results --out told"
)
# What tells whether a product that is random each time is right: commands whose tables are the same each time.
THEN = {
    "keygen": (ENCRYPTED, SERVED, OPENED), "encrypt": (SERVED, OPENED), "gwas": (OPENED,),
    "prs-step encrypt": (SCORED, SHOWN),
    "prs-step request": (EXAMPLES["prs-step invite"], EXAMPLES["prs-step accept"], EXAMPLES["prs-step reply"],
                         EXAMPLES["prs-step open"].replace("--out scores", "--out told")),
    "prs-step invite": (EXAMPLES["prs-step accept"], EXAMPLES["prs-step reply"],
                        EXAMPLES["prs-step open"].replace("--out scores", "--out told")),
    "prs-step accept": (EXAMPLES["prs-step reply"], EXAMPLES["prs-step open"].replace("--out scores", "--out told")),
    "prs-step reply": (EXAMPLES["prs-step open"].replace("--out scores", "--out told"),),
    "prs-step offer": (EXAMPLES["prs-step blind"], EXAMPLES["prs-step answer"],
                       EXAMPLES["prs-step unmask"].replace("--out scores", "--out told")),
    "prs-step blind": (EXAMPLES["prs-step answer"], EXAMPLES["prs-step unmask"].replace("--out scores", "--out told")),
    "prs-step answer": (EXAMPLES["prs-step unmask"].replace("--out scores", "--out told"),),
    "consent apply": (f"encrypt {KEY} --owner study.owner {STUDY} --purpose HMB --consent consent.tsv --out again",
                      f"gwas {AGAIN}",
                      f"decrypt {KEY} --owner study.owner --results again.results --design again.design --out told"),
    "encrypt --append": (f"encrypt {KEY} --owner grown.owner {STUDY} --out more",
                         "gwas --cohort grown.cohort --design more.design --out grown",
                         f"decrypt {KEY} --owner grown.owner --results grown.results --design more.design --out told"),
    "encrypt later design": ("gwas --cohort study.cohort --design later.design --out later",
                             f"decrypt {KEY} --owner study.owner --results later.results --design later.design --out told"),
    "encrypt --blocks": (f"encrypt {KEY} {STUDY} --blocks 2/2 --out part", f"encrypt {KEY} {STUDY} --out part",
                         "gwas --cohort part.cohort --design part.design --out part",
                         f"decrypt {KEY} --owner part.owner --results part.results --out told"),
}  # fmt: skip


@dataclass(frozen=True)
class Step:
    """lines: what runs at the same time, by role; victim: who is killed; before: what ran earlier, or is done by `prepare`;
    then: as in THEN."""

    name: str
    lines: dict[str, str]
    victim: str = ""
    before: tuple[str, ...] = ()
    then: tuple[str, ...] = ()
    prepare: Callable[[Path], None] | None = None


def single() -> set[str]:
    """Every command that is no group, by its words."""

    def below(words: str, command: click.Command) -> Iterator[str]:
        if not isinstance(command, click.Group):
            yield words
            return
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            yield from below(f"{words} {name}".strip(), inner)

    context = click.Context(main)
    return set(below("", main))


def examples() -> Iterator[Step]:
    """One after another: a later step needs what an earlier one has written."""
    for words in walked(single()):
        if words in MACHINE or words in NEEDS and importlib.util.find_spec(NEEDS[words]) is None:
            continue
        yield Step(words, {"": EXAMPLES[words]}, before=tuple(BEFORE.get(words, ())), then=THEN.get(words, ()))


def engines() -> Iterator[Step]:
    local = f"run-local gwas {STUDY} --engine"
    yield Step("run-local plain", {"": f"{local} plain --out local"})
    yield Step("run-local federated", {"": f"{local} federated --openings all --out local"})
    yield Step("run-local mpc vertical", {"": f"{local} mpc --split vertical --reveal hits --out local"})
    yield Step("run-local mpc outsourced", {"": f"{local} mpc --split outsourced --out local"})
    yield Step(
        "run-local prs mpc",
        {"": "run-local prs --engine mpc --bfile cohort --keep patients.txt --score cohort.score.tsv --out local"},
    )
    yield Step("gwas in the clear", {"": f"gwas {STUDY} --gzip --out clear"})
    yield Step("gwas --blocks", {"": f"gwas {STUDY} --blocks 1/2 --out clear"},
               then=(f"gwas {STUDY} --blocks 2/2 --out clear", "merge clear"))  # fmt: skip
    workers = f"gwas {STUDY} --executor processes --workers 2 --out clear"
    yield Step("gwas --executor", {"": workers})
    yield Step("gwas --executor, a worker", {"": workers}, victim=WORKER)
    yield Step("encrypt --append", {"": f"encrypt {KEY} --bfile cohort --chr 5 --append --out grown"},
               before=(f"encrypt {KEY} {STUDY} --chr 1-4 --out grown",), then=THEN["encrypt --append"])  # fmt: skip
    yield Step("encrypt later design", {"": f"encrypt {KEY} --owner study.owner {STUDY} --out later"},
               before=(f"encrypt {KEY} {STUDY} --overwrite --out study",), then=THEN["encrypt later design"])  # fmt: skip
    yield Step("encrypt --blocks", {"": f"encrypt {KEY} {STUDY} --blocks 1/2 --out part"},
               then=THEN["encrypt --blocks"])  # fmt: skip
    yield Step("gwas with a policy", {"": f"gwas {STUDY} --policy ruled/policy.toml --purpose HMB --identity ruled/anna.secret "
               "--chr 1 --out ruled/out"}, prepare=ruled)  # fmt: skip


def ruled(world: Path) -> None:
    """A policy that names who asks."""
    (world / "ruled").mkdir()
    steward, anna = signing.generate(), signing.generate()
    signing.write_identity(world / "ruled" / "anna.secret", anna)
    people = [{"name": "anna", "key": anna.verify_key.hex(), "role": "analyst"}]
    policy = world / "ruled" / "policy.toml"
    policy.write_text(draft("Test", steward.verify_key.hex(), people, {"limits.minor_alleles": 0}))
    policy_file.sign_policy(policy, steward)


def sites(world: Path) -> None:
    inputs = Inputs(str(world / "cohort"), pheno=str(world / "cohort.pheno.tsv"), pheno_name=("QT",),
                    covar=str(world / "cohort.covar.tsv"))  # fmt: skip
    dealt = rehearsal.deal(open_genotypes(inputs), inputs.genotypes, 3)
    rehearsal.set_up(world / "fed", inputs, dealt, lambda line: None, openings="all")
    loopback_study(world / "fed" / "net", dict.fromkeys(("site1", "site2", "site3"), "site"), timeout=TIMEOUT)


def parties(name: str, roles: dict[str, str]) -> Callable[[Path], None]:
    def prepare(world: Path) -> None:
        loopback_study(world / name, roles, timeout=TIMEOUT)

    return prepare


def deployments() -> Iterator[Step]:
    own = (
        "--bfile cohort --keep fed/{0}/keep.txt --pheno cohort.pheno.tsv --covar cohort.covar.tsv --threads 1 "
        "--out fed/{0}/result"
    )
    names = ("site1", "site2", "site3")
    folder = {n: f"site run --dir fed/shared --state fed/{n}/private --wait {WAIT} {own.format(n)}" for n in names}
    for i, name in enumerate(names):
        yield Step(f"site run, {name}", folder, victim=name, prepare=sites if i == 0 else None)
    net = {
        n: f"party --role site --parties fed/net/parties.toml --name {n} --dir fed/shared --state fed/{n}/private "
        + own.format(n)
        for n in names
    }
    yield Step("party --role site", net, victim="site2")
    traits = "--pheno cohort.pheno.tsv --pheno-name QT --covar cohort.covar.tsv --reveal hits --column-limit 50 --out two/{0}"
    split = {
        "genotypes": "party --parties two/parties.toml --role genotypes --bfile cohort --column-limit 50 --out two/genotypes",
        "phenotypes": f"party --parties two/parties.toml --role phenotypes {traits.format('phenotypes')}",
        "dealer": "dealer --parties two/parties.toml --out two/dealer",
    }
    roles = {"genotypes": "genotypes", "phenotypes": "phenotypes", "dealer": "dealer"}
    for i, name in enumerate(roles):
        yield Step(f"party, {name}", split, victim=name, prepare=parties("two", roles) if i == 0 else None)
    place = "prs/parties.toml"
    scores = {
        "genotypes": f"party --parties {place} --role genotypes --bfile cohort --keep patients.txt --out prs/genotypes",
        "model": f"party --parties {place} --role model --score cohort.score.tsv --out prs/model",
        "dealer": f"dealer --parties {place} --out prs/dealer",
    }
    yield Step("party, model", scores, victim="model", prepare=parties("prs", {r: r for r in scores}))


def every() -> list[Step]:
    return [*examples(), *engines(), *deployments()]


__all__ = ["ROOT", "WORKER", "Step", "begin", "every"]
