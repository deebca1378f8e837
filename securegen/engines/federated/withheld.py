"""What a site tells of the variants that it does not open, or not exactly."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Withheld:
    """variants: all; few: those a site withholds; missing: those whose call few people of a site lack, withheld too;
    rounded: those of them that are filled with rounded numbers instead; imputed: those that complete cases would single
    people out of; weighted: score tests whose weights are opened in one number; averaged: those of them in which weights of
    few of this site's people are taken at the average."""

    variants: int = 0
    few: int = 0
    missing: int = 0
    rounded: int = 0
    imputed: int = 0
    weighted: int = 0
    averaged: int = 0

    def lines(self) -> list[str]:
        """For the log; nothing when every variant is opened exactly."""
        out = []
        if self.few:
            out.append(
                f"{self.few} of {self.variants} variants are withheld (FEW_CARRIERS): few people stand out in them"
            )
        if self.missing:
            loud = "WARNING: " if 10 * self.missing > self.variants else ""
            out.append(
                f"{loud}{self.missing} of {self.variants} variants are withheld (FEW_CARRIERS): few people of a site lack the "
                "call. Impute the genotypes first, or give --few-missing round (to study init or run-local): T is then off "
                "by some 1e-5 there"
            )
        if self.rounded:
            out.append(
                f"{self.rounded} variants lack calls of few people: those are filled with whole numbers, T off by some 1e-5"
            )
        if self.imputed:
            out.append(
                f"WARNING: {self.imputed} variants lack calls of few people: not complete cases but missing = mean"
            )
        if self.weighted:
            out.append(
                "score tests: weights are opened as Σ w (g − ḡ)² alone, which moves CHISQ by some 1e-4 beside the precision above"
            )
        if self.averaged:
            out.append(
                f"in {self.averaged} score tests few of this site's people have a genotype of their own: their weights are "
                "taken at the average, which may move CHISQ by more than 1e-3"
            )
        return out
