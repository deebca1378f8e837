"""A linear or logistic GWAS between a hospital that has genotypes and a registry that has phenotypes.

`python two_party_gwas.py --bfile COHORT --pheno P.tsv --covar C.tsv --out RESULT` makes keys for three parties in a
temporary directory and starts each as its own process; with `--directory D --party NAME` it is one of them.

| message | from | to |
|---|---|---|
| who and which variants are genotyped | hospital | registry |
| how many columns, and who is analysed (for hits, also the test and the names of phenotypes) | registry | hospital |
| keys of masks, sizes | hospital, registry | dealer |
| correlation: a key; a matrix | dealer | hospital; registry |
| masked phenotypes and covariates | registry | hospital |
| masked genotypes | hospital | registry |
| masked bits and numbers, by which shares are lifted, multiplied and compared | hospital, registry | registry, hospital |
| covered shares of u, v and the variation of hits; or shares of all sums, and Σ g² over who is analysed | hospital | registry |

The registry learns which variants have p <= --threshold, with their effects, and writes the table. With
--consent-aggregates it learns every sum, and writes the plain engine's tables; by choosing phenotypes it could read
genotypes then, so both must agree, and the hospital's state counts the columns it has answered. The hospital learns who is
analysed and the number of columns. The dealer learns sizes. Semi-honest parties; the dealer colludes with nobody.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import every_party

from securegen.engines.mpc import aggregates, projected_run
from securegen.engines.mpc.net.certs import PartyIdentity
from securegen.engines.mpc.net.parties import read_parties
from securegen.engines.mpc.net.session import open_session
from securegen.engines.mpc.state_file import StateFile
from securegen.engines.mpc.vertical import Roles
from securegen.study.genotypes import open_genotypes
from securegen.study.inputs import Inputs

PARTIES = {"hospital": "genotypes", "registry": "phenotypes", "dealer": "dealer"}
ROLES = Roles("hospital", "registry", "dealer")


def run_party(directory: Path, name: str, a: argparse.Namespace) -> None:
    """One party, with only its own files."""
    parties = read_parties(directory / "parties.toml")
    state = StateFile(directory / f"{name}.state.json", parties.digest())
    everything: dict[str, Any] = {"consent_aggregates": True}
    hits: dict[str, Any] = {"reveal": "hits", "threshold": a.threshold}
    run, terms = (aggregates, everything) if a.consent_aggregates else (projected_run, hits)
    with open_session(
        parties, PartyIdentity.in_directory(directory, name), protocol="two-party gwas/1", dimensions={}
    ) as session:
        if name == "dealer":
            run.deal(session, ROLES)
        elif name == "hospital":
            reader = open_genotypes(Inputs(a.bfile), haploid=True)
            run.genotype_run(session, ROLES, reader, cohort="cohort", state=state, column_limit=a.column_limit, **terms)
        else:
            inputs = Inputs(
                "", pheno=a.pheno, pheno_name=a.pheno_name and tuple(a.pheno_name.split(",")), covar=a.covar
            )
            for table in run.phenotype_run(session, ROLES, inputs, a.out, state=state, **terms):
                print(table.path)


def main() -> None:
    """Start every party, or be the one named by --party."""
    parser = argparse.ArgumentParser(description="GWAS between a genotype and a phenotype owner")
    for flag in ("--bfile", "--pheno", "--pheno-name", "--covar", "--out"):
        parser.add_argument(flag, required=flag not in ("--pheno-name", "--covar"))
    parser.add_argument("--column-limit", type=int, help="columns the hospital answers in a cohort's life")
    parser.add_argument("--threshold", type=float, default=5e-8, help="largest p-value of a hit")
    parser.add_argument("--consent-aggregates", action="store_true", help="both owners agree to open all sums")
    every_party.start(parser, PARTIES, run_party)


if __name__ == "__main__":
    main()
