"""Sets of variants for tests: those of regenie's tables, and what names them."""

from __future__ import annotations

import numpy as np
import pandas as pd
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


def table_of(study: sg.Study, trait: str) -> pd.DataFrame:
    frame = sg.run(study)[f"{trait}.sets"]
    return frame.set_index(["ID", "TEST"])


def by_person(
    whole, trait: str, pred: dict[int, np.ndarray] | None, every: int = 4
) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Scores, covariance and frequencies of every mask of all variants, from each person's numbers in float64."""
    reader = sg.read_plink(whole.bfile)
    block = reader.read(0, len(reader.variants))
    g = block.dosage.astype(float)
    g[block.missing] = np.nan
    pheno, covar = (
        pd.read_csv(p, sep="\t").set_index("IID").loc[list(reader.samples.iid)] for p in (whole.pheno, whole.covar)
    )
    ok = (pheno[trait].notna() & covar.notna().all(axis=1)).to_numpy()
    y = pheno[trait].to_numpy(float)[ok]
    c = np.column_stack([np.ones(ok.sum()), covar.drop(columns="#FID").to_numpy(float)[ok]])
    g, (n, k) = g[:, ok], c.shape
    q = np.linalg.qr(c)[0]
    nulls = {}
    for chromosome in range(1, 6):
        offset = np.zeros(n) if pred is None else pred[chromosome][ok]
        if trait == "QT":
            r = y - q @ (q.T @ y)
            r = r / np.sqrt(r @ r / (n - k)) - offset
            nulls[chromosome] = r / np.sqrt(r @ r / (n - k)), np.ones(n), q
        else:
            beta, x = np.zeros(k), q
            for _ in range(30):
                p = 1 / (1 + np.exp(-(x @ beta + offset)))
                beta += np.linalg.solve((x.T * (p * (1 - p))) @ x, x.T @ (y - 1 - p))
            root = np.sqrt(p * (1 - p))
            nulls[chromosome] = (y - 1 - p) / root, root, np.linalg.qr(c * root[:, None])[0]
    place = {v: j for j, v in enumerate(reader.variants.id)}
    anno = {tuple(line.split()[:2]): line.split()[2] for line in (whole.gold / "anno.txt").read_text().splitlines()}
    out = {}
    for line in (whole.gold / "sets.txt").read_text().splitlines()[::every]:
        name, chromosome, _, variants = line.split()
        e, root, basis = nulls[int(chromosome)]
        for mask, categories in {"M1": {"LoF"}, "M2": {"LoF", "missense"}}.items():
            rows, rare = [], []
            for v in variants.split(","):
                x = g[place[v]]
                count = np.nansum(x)
                if anno[v, name] not in categories or min(count, 2 * (~np.isnan(x)).sum() - count) == 0:
                    continue
                (rare if count <= 10 else rows).append(x)
            if rare:
                known = ~np.isnan(np.array(rare))
                rows.append(np.where(known.any(axis=0), np.where(known, rare, 0).max(axis=0), np.nan))
            share = np.array([np.nanmean(x) / 2 for x in rows])
            x = np.array([np.where(np.isnan(r), 2 * f, r) for r, f in zip(rows, share, strict=True)]).T * root[:, None]
            x = x - basis @ (basis.T @ x)
            out[f"{name}.{mask}.all"] = x.T @ e, x.T @ x, share
    return out
