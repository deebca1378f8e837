"""r² of two variants from their table of genotypes, by the haplotype frequencies of maximum likelihood.

Of people who are heterozygous at both, the phase is not seen. With x of h of them coupled, the likelihood of Hardy–Weinberg
haplotypes is stationary at x(K₁₂ + h − x)(K₂₁ + h − x) = (h − x)(K₁₁ + x)(K₂₂ + x), a cubic (Hill 1974; Gaunt et al. 2007);
of its roots in [0, h] and the two ends the most likely one is taken. plink decides by it which variants belong to one clump.
"""

from __future__ import annotations

import numpy as np

SLACK = 1e-9  # of a root beside [0, h], as a share of all haplotypes


def haplotype_r2(counts: np.ndarray) -> np.ndarray:
    """(V, 3, 3) counts of people by copies of one variant and of another -> (V,) float64, NaN where either is constant.

    >>> haplotype_r2(np.array([[[25, 0, 0], [0, 50, 0], [0, 0, 25]]])).round(12).tolist()
    [1.0]
    """
    c = counts.astype(np.float64)
    both = c[:, 1, 1]
    known = np.stack(
        [
            2 * c[:, 0, 0] + c[:, 0, 1] + c[:, 1, 0], 2 * c[:, 0, 2] + c[:, 0, 1] + c[:, 1, 2],
            2 * c[:, 2, 0] + c[:, 1, 0] + c[:, 2, 1], 2 * c[:, 2, 2] + c[:, 1, 2] + c[:, 2, 1],
        ]
    )  # fmt: skip
    total = np.maximum(known.sum(axis=0) + 2 * both, 1)
    known, h = known / total, both / total
    x = _coupled(known, h)
    k11, k12, k21, _ = known
    first, second = k11 + k12 + h, k11 + k21 + h
    room = first * (1 - first) * second * (1 - second)
    constant = (np.minimum(first, second) < SLACK) | (np.maximum(first, second) > 1 - SLACK)
    r2 = np.minimum((k11 + x - first * second) ** 2 / np.where(constant, 1, room), 1)
    out: np.ndarray = np.where(constant, np.nan, r2)
    return out


def _coupled(known: np.ndarray, h: np.ndarray) -> np.ndarray:
    """(V,) the share of haplotypes 11 that the double heterozygotes have. known: (4, V); h: (V,)."""
    from scipy import special

    k11, k12, k21, k22 = known
    a, b = k12 + h, k21 + h
    square, linear, rest = -(a + b + h - k11 - k22), a * b - h * (k11 + k22) + k11 * k22, -h * k11 * k22
    companion = np.zeros((len(h), 3, 3))
    companion[:, 1, 0] = companion[:, 2, 1] = 1
    companion[:, :, 2] = -np.stack([rest, linear, square], axis=1) / 2
    roots = np.linalg.eigvals(companion)
    real = (np.abs(roots.imag) < 1e-6) & (roots.real > -SLACK) & (roots.real < h[:, None] + SLACK)
    ends = np.stack([0 * h, h], axis=1)
    x = np.concatenate([np.where(real, np.clip(roots.real, 0, h[:, None]), 0), ends], axis=1)
    q11, q12, q21, q22 = k11[:, None] + x, a[:, None] - x, b[:, None] - x, k22[:, None] + x
    likelihood = special.xlogy(h[:, None], q11 * q22 + q12 * q21)
    for share, q in zip(known, (q11, q12, q21, q22), strict=True):
        likelihood = likelihood + special.xlogy(share[:, None], q)
    best: np.ndarray = x[np.arange(len(h)), likelihood.argmax(axis=1)]
    return best
