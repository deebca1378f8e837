#!/usr/bin/env python3
"""Compile every kernel once, before the roles of a study start: an encrypted association of a few variants of the
example cohort, both traits. Numba keeps the machine code beside the package, so later processes only load it."""

import tempfile
import time
from pathlib import Path

import securegen as sg

COHORT = Path(__file__).with_name("cohort")


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
    print(f"kernels are compiled ({time.perf_counter() - began:.0f} s)")


if __name__ == "__main__":
    main()
