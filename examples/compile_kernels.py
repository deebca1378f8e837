#!/usr/bin/env python3
"""Compile every kernel once, before the roles of a study start: an encrypted association of a few variants of the
example cohort, both traits, and set tests. Numba keeps the machine code beside the package, so later processes only
load it."""

import tempfile
import time
from pathlib import Path

import securegen as sg
from securegen.vocabulary import SET_TESTS

COHORT = Path(__file__).with_name("cohort")


def set_tests() -> None:
    """Of the first variants: one set with rare ones among them, and one of two."""
    ids = [line.split()[1] for line in COHORT.with_suffix(".bim").read_text().splitlines()[:40]]
    sets = {"A": ids[:38], "B": ids[38:]}
    with tempfile.TemporaryDirectory() as folder:
        files = {
            "anno": "".join(f"{v} {name} x\n" for name, mine in sets.items() for v in mine),
            "sets": "".join(f"{name} 1 1 {','.join(mine)}\n" for name, mine in sets.items()), "masks": "M x\n",
        }  # fmt: skip
        for name, text in files.items():
            Path(folder, name).write_text(text)
        study = sg.open_study(
            COHORT, pheno=f"{COHORT}.pheno.tsv", pheno_name=("QT", "CC"), anno_file=f"{folder}/anno",
            set_list=f"{folder}/sets", mask_def=f"{folder}/masks", vc_tests=SET_TESTS,
        )  # fmt: skip
        assert sg.run(study)["QT.sets"]["P"].notna().all()


def main() -> None:
    began = time.perf_counter()
    for phenotype in ("QT", "CC"):
        study = sg.open_study(
            COHORT, pheno=f"{COHORT}.pheno.tsv", pheno_name=(phenotype,), covar=f"{COHORT}.covar.tsv",
            covar_name=("AGE",), chr=("1",), to_bp=400_000,
        )  # fmt: skip
        key = sg.ckks.generate_key(sg.ckks.plan(study))
        with tempfile.TemporaryDirectory() as folder:
            made = sg.ckks.encrypt(study, key, f"{folder}/study")
            results = sg.ckks.associate(made.cohort, made.design, f"{folder}/results")
            assert sg.ckks.decrypt(results, key, made.owner).equals(sg.run(study).frame)
    set_tests()
    print(f"kernels are compiled ({time.perf_counter() - began:.0f} s)")


if __name__ == "__main__":
    main()
