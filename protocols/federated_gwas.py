"""Three sites run one association study through a shared folder; prints every message and what each party learns.

`python protocols/federated_gwas.py` deals the example cohort to three sites, sets up the study and starts each site as its
own process with the command line that its owner would type. `--bfile` several times takes one fileset a site instead.

| party | holds | learns |
|---|---|---|
| site1, site2, site3 | their people's genotypes, phenotypes, covariates; a key with each other | the pooled sums |
| hub | the shared folder; no key | who sends how much when |
| coordinator | the key that signed the study file | nothing more than the hub |

Assumed: the sites tell the truth about their people, and two of them do not collude. The hub may do anything.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

from securegen.engines.federated import rehearsal
from securegen.engines.plain.engine import write_plain
from securegen.io.genotypes import GenotypeFiles
from securegen.stats.qc import Filters
from securegen.study.genotypes import open_genotypes
from securegen.study.inputs import Inputs
from securegen.study.opening import open_study

WHAT = {
    "accept": "accepts the study file",
    "hello": "public keys of this study, commitment to the inputs",
    "keys": "ciphertexts for a key with every later site",
    "confirm": "proofs of the keys",
    "ready": "all proofs hold",
    "design": "masked sums for scales, covariates and phenotype",
    "variants": "masked sums over people for every variant",
    "finished": "has the table",
}


def describe(step: str) -> str:
    """What a message is, from its step."""
    name, _, commit = step.partition(".")
    what = next(text for prefix, text in WHAT.items() if name.startswith(prefix))
    return f"{what}: commitment" if commit else what


def grouped(table: list[tuple[str, int, int]]) -> Iterable[tuple[str, int, int, int]]:
    """(what, steps, messages, bytes): rounds of one kind together, in the order in which the first began."""
    out: dict[str, list[int]] = {}
    for step, messages, size in table:
        row = out.setdefault(describe(step), [0, 0, 0])
        for i, more in enumerate((1, messages, size)):
            row[i] += more
    return [(what, steps, messages, size) for what, (steps, messages, size) in out.items()]


def main() -> None:
    root = Path(__file__).resolve().parent.parent / "examples" / "cohort"
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bfile", action="append", help="PLINK1 fileset; several: one a site [the example cohort]")
    parser.add_argument("--pheno", default=f"{root}.pheno.tsv")
    parser.add_argument("--pheno-name", default="QT")
    parser.add_argument("--covar", default=f"{root}.covar.tsv")
    parser.add_argument("--sites", type=int, default=3)
    options = parser.parse_args()
    bfiles = options.bfile or [str(root)]
    inputs = Inputs(
        bfiles[0], pheno=options.pheno, pheno_name=tuple(options.pheno_name.split(",")), covar=options.covar
    )
    work = Path(tempfile.mkdtemp(prefix="federated-"))
    try:
        if len(bfiles) > 1:
            sites = [rehearsal.LocalSite(f"site{i + 1}", GenotypeFiles(bfile), None) for i, bfile in enumerate(bfiles)]
        else:
            sites = rehearsal.deal(open_genotypes(inputs), inputs.genotypes, options.sites)
        study = rehearsal.set_up(work, inputs, sites, print, openings="all")
        rehearsal.run_sites([rehearsal.site_role(work, inputs, s, Filters()) for s in sites])
        records = rehearsal.results(work, sites)
        print(f"\n{'messages of every site to all':<90} {'steps':>6} {'messages':>9} {'MB':>8}")
        for what, steps, messages, size in grouped(rehearsal.message_table(work / "shared", study)):
            print(f"{what:<90} {steps:>6} {messages:>9} {size / 1e6:>8.2f}")
        for record in records:
            sent, seconds = record["bytes"]["sent"][record["site"]], record["seconds"]["gwas"]
            print(
                f"{record['site']}: sent {sent / 1e6:.1f} MB in {seconds:.1f} s with {record['samples_stored']} people"
            )
        for party in records[0]["receipt"]["parties"]:
            print(f"{party['name']}: holds {party['holds']}; learns {party['learns']}")
        if len(bfiles) == 1:
            pooled = open_study(bfiles[0], pheno=inputs.pheno, pheno_name=inputs.pheno_name, covar=inputs.covar)
            plain = write_plain(pooled, str(work / "plain"))
            same = all(
                Path(a.path).read_bytes() == Path(b["path"]).read_bytes()
                for a, b in zip(plain, records[0]["summaries"], strict=True)
            )
            print(
                f"tables of the sites and of the plain engine on the pooled cohort are identical: {'yes' if same else 'NO'}"
            )
    finally:
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()
