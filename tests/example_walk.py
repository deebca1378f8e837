"""The examples of the help texts as one walk: a folder with what they begin with, their order, what others do between them."""

from __future__ import annotations

import shutil
from pathlib import Path

from bed_reader import open_bed, to_bed
from support import write_tsv

from securegen.cli.examples import EXAMPLES
from securegen.governance import audit_steps as audit
from securegen.governance import policy_file
from securegen.governance.policy_draft import draft
from securegen.governance.signing import generate, write_identity, write_verify_key

ROOT = Path(__file__).resolve().parents[1]
VARIANTS = slice(0, None, 9)  # of the example cohort, beside those of its scoring file
# needs other parties that run at the same time
PARSED = {"site run", "study join", "party", "dealer"}
NEEDS = {"twin": "msprime", "crate": "rocrate"}  # of the extras [twin] and [gov]

# before the example of a command: what another party, or an earlier example, has done
BEFORE = {
    "prs-step decrypt": ["prs --cohort enc.cohort --model enc.model --out enc"],
    "prs-step encrypt-model": [
        "prs-step invite --request mine.request --challenge evaluator.challenge --score cohort.score.tsv "
        "--ledger ledger.json --out hidden",
        "prs-step accept --invitation hidden.invitation --bfile cohort --keep patients.txt --passphrase-file pass.txt "
        "--out person",
    ],
    "prs-step withdraw": [
        "prs-step invite --request mine.request --score cohort.score.tsv --ledger ledger.json --out unwanted"
    ],
    "prs-step offer": ["prs-step challenge --out hospital"],
    "check": ["gwas --bfile cohort --pheno cohort.pheno.tsv --pheno-name QT --covar cohort.covar.tsv --out plain"],
    "merge": [
        f"gwas --bfile cohort --pheno cohort.pheno.tsv --pheno-name QT --blocks {i}/2 --out array" for i in (2, 1)
    ],
    "site variants": ["site variants --bfile cohort --out oslo.variants.tsv",
                      "site variants --bfile cohort --out turku.variants.tsv"],
    "study init": ["site keygen --state oslo --out oslo.public", "site keygen --state turku --out turku.public"],
}  # fmt: skip
# a study is joined before its state is asked for, but after it was set up
_STUDY_WALK = (
    "site keygen", "site variants", "study init", "study join", "study status", "study continue", "study leave",
)  # fmt: skip


def walked(single: set[str]) -> list[str]:
    """The commands among `single` (no groups) in the order in which their examples run."""
    order = [w for w in EXAMPLES if w in single and w not in PARSED]
    return sorted(order, key=lambda w: _STUDY_WALK.index(w) if w.startswith(("site", "study")) else -1)


def thin(folder: Path) -> None:
    """Write the example cohort with the variants of its score and one of nine of the others."""
    for name in ("pheno", "covar", "score"):
        shutil.copy(ROOT / "examples" / f"cohort.{name}.tsv", folder)
    scored = {line.split("\t")[0] for line in (folder / "cohort.score.tsv").read_text().splitlines()}
    with open_bed(ROOT / "examples" / "cohort.bed", count_A1=True) as bed:
        keep = sorted({j for j, name in enumerate(bed.sid) if name in scored} | {*range(bed.sid_count)[VARIANTS]})
        properties = {
            "fid": bed.fid, "iid": bed.iid, "sex": bed.sex, "sid": bed.sid[keep], "chromosome": bed.chromosome[keep],
            "bp_position": bed.bp_position[keep], "allele_1": bed.allele_1[keep], "allele_2": bed.allele_2[keep],
        }  # fmt: skip
        to_bed(folder / "cohort.bed", bed.read(dtype="int8")[:, keep], properties=properties)


def begin(folder: Path) -> None:
    """Write the thinned cohort, and what the examples of other parties would have left."""
    thin(folder)
    ids = [line.split()[:2] for line in (folder / "cohort.fam").read_text().splitlines()]
    for name in ("patients.txt", "leaving.txt"):  # the model of 119 weights answers 5 in its life
        (folder / name).write_text(" ".join(ids[0]) + "\n")
    consents = [[*own, "HMB", "2025-01-01"] for own in ids]
    write_tsv(folder / "consents.tsv", ("FID", "IID", "DUO", "DATE"), consents)
    for name in ("pass.txt", "new.txt", "safe.txt"):
        (folder / name).touch(0o600)
        (folder / name).write_text(f"correct horse battery {name}\n")
    analyst = generate()
    write_identity(folder / "analyst.secret", analyst)
    write_verify_key(folder / "analyst.pub", analyst)
    (folder / "governed").mkdir()
    (folder / "governed" / "policy.toml").write_text(draft("Test", analyst.verify_key.hex(), [], {}))
    policy_file.sign_policy(folder / "governed" / "policy.toml", analyst)
    audit.record(folder / "governed" / "key.secret", "key", {"action": "unlocked", "key": "00" * 32})
