"""What every killed role would compile and import again: run once, in the process whose forks they are."""

from __future__ import annotations

import tempfile
from pathlib import Path


def warm() -> None:
    from support import securegen as command
    from support import simulate

    import securegen as sg
    import securegen.plot
    import securegen.report  # noqa: F401

    with tempfile.TemporaryDirectory() as base:
        folder = Path(base)
        cohort = simulate(folder, samples=60, variants=260)
        study = sg.open_study(cohort.bfile, pheno=cohort.pheno, pheno_name=("QT",), covar=cohort.covar)
        sg.run(study)
        key = sg.ckks.generate_key(sg.ckks.plan(study))
        sent = sg.ckks.encrypt(study, key, folder / "study")
        results = sg.ckks.associate(sent.cohort, sent.design, folder / "results")
        sg.ckks.decrypt_tables(results, key, sent.owner, str(folder / "table"))
        for line in (
            ["gwas", *cohort.options(), "--out", folder / "t"],
            ["qc", "--bfile", cohort.bfile, "--out", folder / "q"],
        ):
            command(*line)


if __name__ == "__main__":
    warm()
