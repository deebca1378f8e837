"""Meta-analysis of studies: fixed and random effects, Stouffer's Z, heterogeneity; NaN where a study has no number.

With w = 1/SE²: fixed β = Σwβ/Σw, SE = 1/√Σw; Q = Σw(β − β_fixed)², I² = max(0, 1 − (k−1)/Q); random effects after DerSimonian
and Laird (1986), τ² = max(0, (Q − (k−1))/(Σw − Σw²/Σw)) added to every SE²; Stouffer's Z = Σ√n z/√Σn, z from each P and the
sign of β.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from securegen.stats.pvalue import chisq_1, chisq_1_inverse
from securegen.vocabulary import Z95


@dataclass(frozen=True)
class Studies:
    """(S, M) float64 of S studies: beta, se, log10p: −log10 P; people: in whom; frequency: of the allele that is counted."""

    beta: np.ndarray
    se: np.ndarray
    log10p: np.ndarray
    people: np.ndarray
    frequency: np.ndarray

    @property
    def told(self) -> np.ndarray:
        """(S, M) bool: where a study has an effect with an error."""
        with np.errstate(invalid="ignore"):
            found: np.ndarray = np.isfinite(self.beta) & np.isfinite(self.se) & (self.se > 0)
        return found

    @property
    def fewest(self) -> int:
        """People of the smallest study in any row; 0 without any."""
        people = np.nan_to_num(self.people[self.told])
        return int(people.min()) if len(people) else 0

    def of_carriers(self, floor: int) -> Studies:
        """The same without effects of studies in which fewer people carry a variant, of whom none has more than two of the
        alleles, or which do not say its frequency: pooled ones, less those that a reader knows, are one study's."""
        enough = np.fmin(self.frequency, 1 - self.frequency) * self.people >= floor
        return replace(self, beta=np.where(enough, self.beta, np.nan))


def inflation(beta: np.ndarray, se: np.ndarray) -> float:
    """Genomic inflation of one study: the median of (β/SE)² over that of χ² with one degree of freedom; NaN without any."""
    with np.errstate(invalid="ignore", divide="ignore"):
        square = (beta / se) ** 2
    square = square[np.isfinite(square)]
    return float(np.median(square) / chisq_1_inverse(np.array([np.log10(2.0)]))[0]) if len(square) else float("nan")


def controlled(studies: Studies, inflations: np.ndarray) -> Studies:
    """Each study with its errors √λ times as large, where its λ is above 1 (genomic control, Devlin and Roeder 1999)."""
    factor = np.sqrt(np.fmax(inflations, 1.0))[:, None]
    log10p = chisq_1(chisq_1_inverse(studies.log10p) / factor**2)[1]
    return Studies(studies.beta, studies.se * factor, log10p, studies.people, studies.frequency)


def meta_analysis(studies: Studies) -> dict[str, np.ndarray]:
    """Columns of the table (`results.meta_table.COLUMNS`), each (M,), NaN where no study has a number, or of heterogeneity
    where one has."""
    from scipy import special

    told = studies.told
    # exact, and undone below: weights of effects in far units stay numbers
    unit = -np.frexp(np.where(told, studies.se, np.inf).min(axis=0))[1]
    k = told.sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        b = np.ldexp(np.where(told, studies.beta, 0.0), unit)
        w = np.where(told, 1 / np.ldexp(np.where(told, studies.se, 1.0), unit) ** 2, 0.0)
        total = w.sum(axis=0)
        beta, se = (w * b).sum(axis=0) / total, 1 / np.sqrt(total)
        q = (w * np.where(told, b - beta, 0.0) ** 2).sum(axis=0)
        df = k - 1
        pairs = 2 * (w[1:] * np.cumsum(w, axis=0)[:-1]).sum(axis=0)  # (Σw)² − Σw², whose digits one heavy study takes
        tau2 = np.fmax(0.0, (q - df) / (pairs / total))
        tau2 = np.where(k > 1, tau2, 0.0)
        wide = np.where(told, 1 / (1 / np.where(told, w, 1.0) + tau2), 0.0)
        beta_random = np.where(k > 0, (wide * b).sum(axis=0) / wide.sum(axis=0), np.nan)
        se_random = 1 / np.sqrt(wide.sum(axis=0))
        heard = told & np.isfinite(studies.log10p) & (studies.people > 0)
        n = np.where(heard, studies.people, 0.0)
        z_each = np.where(heard, np.sign(b) * np.sqrt(chisq_1_inverse(np.where(heard, studies.log10p, 0.0))), 0.0)
        z = (np.sqrt(n) * z_each).sum(axis=0) / np.sqrt(n.sum(axis=0))
        known = told & np.isfinite(studies.frequency) & (studies.people > 0)
        m = np.where(known, studies.people, 0.0)
        frequency = (m * np.where(known, studies.frequency, 0.0)).sum(axis=0) / m.sum(axis=0)
        several = k > 1
        i2 = np.where(several, np.where(q <= df, 0.0, 1 - df / q), np.nan)
        p_q = np.where(several, special.chdtrc(np.maximum(df, 1), q), np.nan)
        some = k > 0
        beta, se, se_random = (np.where(some, v, np.nan) for v in (beta, se, se_random))
        p, log10p = chisq_1((beta / se) ** 2)
        log10p_random = chisq_1((beta_random / se_random) ** 2)[1]
        z_fixed, log10p_z = beta / se, chisq_1(z * z)[1]
        tau2 = np.where(several, np.ldexp(tau2, -2 * unit), np.nan)
        beta, se, beta_random, se_random = (np.ldexp(x, -unit) for x in (beta, se, beta_random, se_random))
    signs = np.where(~told, "?", np.where(b > 0, "+", np.where(b < 0, "-", "0")))
    return {
        "A1_FREQ": frequency, "STUDY_CT": k.astype(np.int64),
        "OBS_CT": np.where(told, np.nan_to_num(studies.people), 0).sum(axis=0).astype(np.int64),
        "BETA": beta, "SE": se, "L95": beta - Z95 * se, "U95": beta + Z95 * se, "Z_STAT": z_fixed, "P": p, "LOG10_P": log10p,
        "BETA_RANDOM": beta_random, "SE_RANDOM": se_random, "LOG10_P_RANDOM": log10p_random,
        "Z_STOUFFER": z, "LOG10_P_STOUFFER": log10p_z, "Q": np.where(several, q, np.nan), "P_Q": p_q, "I2": i2,
        "TAU2": tau2,
        "DIRECTION": np.array(["".join(c) for c in signs.T], dtype=object),
    }  # fmt: skip
