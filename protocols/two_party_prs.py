"""Polygenic scores of a hospital's people with a vendor's weights: neither shows the other what it has.

`python two_party_prs.py --bfile COHORT --score WEIGHTS --out RESULT` makes keys for three parties in a temporary
directory and starts each as its own process; with `--directory D --party NAME` it is one of them.

| message | from | to |
|---|---|---|
| samples, variants; of each its calls, and sums of dosages and of second copies | hospital | vendor |
| score names, scales, numbers of variants | vendor | hospital |
| keys of masks, sizes | hospital, vendor | dealer |
| correlation: a key; a matrix | dealer | hospital; vendor |
| masked genotypes | hospital | vendor |
| masked weights | vendor | hospital |
| share of the scores | vendor | hospital |

The hospital learns the exact scores of its people, each a linear equation in the weights: the vendor's state counts
them, and a model needs twenty times as many weights as people are asked (--allow-small-model lets one go). The vendor
learns who is genotyped where, and
allele and genotype frequencies. The dealer learns sizes.
Semi-honest parties; the dealer colludes with nobody.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import every_party

from securegen.engines.governed import gate_of_inputs
from securegen.engines.mpc.dealer import score_dealer
from securegen.engines.mpc.net.certs import PartyIdentity
from securegen.engines.mpc.net.parties import read_parties
from securegen.engines.mpc.net.session import open_session
from securegen.engines.mpc.score_run import model_run, people_run
from securegen.engines.mpc.state_file import StateFile
from securegen.engines.mpc.vertical import Roles
from securegen.study.genotypes import open_genotypes
from securegen.study.inputs import Inputs

PARTIES = {"hospital": "genotypes", "vendor": "model", "dealer": "dealer"}
ROLES = Roles("hospital", "vendor", "dealer")


def run_party(directory: Path, name: str, a: argparse.Namespace) -> None:
    """One party, with only its own files."""
    parties = read_parties(directory / "parties.toml")
    with open_session(
        parties, PartyIdentity.in_directory(directory, name), protocol="two-party scores/1", dimensions={}
    ) as session:
        if name == "dealer":
            score_dealer(session, left="hospital", right="vendor")
        elif name == "hospital":
            inputs = Inputs(a.bfile, keep=a.keep)
            gate = gate_of_inputs("mpc", inputs)
            print(people_run(session, ROLES, open_genotypes(inputs), a.out, gate=gate, log=print))
        else:
            state = StateFile(directory / "vendor.state.json")
            model_run(
                session, ROLES, a.score, model="model", state=state, reply_cap=a.reply_cap, allow_small_model=a.allow_small_model
            )  # fmt: skip


def main() -> None:
    """Start every party, or be the one named by --party."""
    parser = argparse.ArgumentParser(description="scores of private genotypes with private weights")
    for flag in ("--bfile", "--keep", "--out"):
        parser.add_argument(flag, required=flag != "--keep")
    parser.add_argument("--score", nargs="+", required=True, help="scoring files of the vendor")
    parser.add_argument("--reply-cap", type=int, default=1000, help="scores the vendor answers in a model's life")
    parser.add_argument(
        "--allow-small-model",
        metavar="NAME",
        action="append",
        default=[],
        help="a score whose weights may become known",
    )
    every_party.start(parser, PARTIES, run_party)


if __name__ == "__main__":
    main()
