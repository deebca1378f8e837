"""Sets of variants for tests: those of regenie's tables, and what names them."""

from __future__ import annotations

from reference_data import GOLD
from support import Cohort

import securegen as sg

REGENIE = GOLD / "sim_500x5k" / "gold_regenie"


def opened(whole: Cohort, trait: str = "QT", **options) -> sg.Study:
    """The simulated cohort with the sets of regenie's tables, which lie in `whole.gold`."""
    named = {
        "anno_file": whole.gold / "anno.txt", "set_list": whole.gold / "sets.txt", "mask_def": REGENIE / "masks.txt",
        "aaf_bins": (0.01, 0.05),
    }  # fmt: skip
    return sg.open_study(whole.bfile, pheno=whole.pheno, pheno_name=trait, covar=whole.covar, **(named | options))


def flags(options: dict[str, object]) -> list[str]:
    """The same options for the command line."""
    return [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", str(value))]
