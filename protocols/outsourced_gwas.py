"""A GWAS by two servers that see nothing, for a hospital with genotypes and a registry with phenotypes.

`python outsourced_gwas.py --bfile COHORT --pheno P.tsv --covar C.tsv --out RESULT` makes keys for five parties in a
temporary directory and starts each as its own process; with `--directory D --party NAME` it is one of them.

| message | from | to |
|---|---|---|
| who and which variants are genotyped | hospital | registry |
| masked genotypes, and a key of half of each mask | hospital | both servers |
| masked phenotypes and covariates, and a key of half of the mask | registry | both servers |
| keys of all masks, sizes | hospital, registry | dealer |
| correlation: a key; a matrix | dealer | server one; server two |
| shares of the sums | both servers | registry |

The registry learns every sum and writes the tables; the hospital the number of columns; servers and dealer sizes. Any
two of {server one, server two, dealer} together can read everything; one alone nothing.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import every_party

from securegen.engines.mpc.association import outsourced_genotype_run, outsourced_phenotype_run, outsourced_server_run
from securegen.engines.mpc.dealer import server_dealer
from securegen.engines.mpc.net.certs import PartyIdentity
from securegen.engines.mpc.net.parties import read_parties
from securegen.engines.mpc.net.session import open_session
from securegen.engines.mpc.outsourced import OutsourcedRoles
from securegen.engines.mpc.state_file import StateFile
from securegen.study.genotypes import open_genotypes
from securegen.study.inputs import Inputs

PARTIES = {
    "hospital": "genotypes", "registry": "phenotypes", "server-one": "server", "server-two": "server",
    "dealer": "dealer",
}  # fmt: skip
ROLES = OutsourcedRoles("hospital", "registry", ("server-one", "server-two"), "dealer", "registry")


def run_party(directory: Path, name: str, a: argparse.Namespace) -> None:
    """One party, with only its own files."""
    parties = read_parties(directory / "parties.toml")
    state = StateFile(directory / f"{name}.state.json", parties.digest())
    with open_session(
        parties, PartyIdentity.in_directory(directory, name), protocol="outsourced gwas/1", dimensions={}
    ) as session:
        if name == "dealer":
            server_dealer(session, left="hospital", right="registry", servers=ROLES.servers)
        elif name == "hospital":
            reader = open_genotypes(Inputs(a.bfile), haploid=True)
            outsourced_genotype_run(session, ROLES, reader, cohort="cohort", state=state, column_limit=a.column_limit)
        elif name == "registry":
            inputs = Inputs(
                "", pheno=a.pheno, pheno_name=a.pheno_name and tuple(a.pheno_name.split(",")), covar=a.covar
            )
            for table in outsourced_phenotype_run(session, ROLES, inputs, a.out, state=state):
                print(table.path)
        else:
            outsourced_server_run(session, ROLES)


def main() -> None:
    """Start every party, or be the one named by --party."""
    parser = argparse.ArgumentParser(description="GWAS by two servers on data of two owners")
    for flag in ("--bfile", "--pheno", "--pheno-name", "--covar", "--out"):
        parser.add_argument(flag, required=flag not in ("--pheno-name", "--covar"))
    parser.add_argument("--column-limit", type=int, help="columns the hospital answers in a cohort's life")
    every_party.start(parser, PARTIES, run_party)


if __name__ == "__main__":
    main()
