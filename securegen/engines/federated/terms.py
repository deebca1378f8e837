"""What a study opens to every site, in words: a site agrees to it, and receipts repeat it."""

from __future__ import annotations

from securegen.catalogue import FIRTH, NONE
from securegen.engines.federated.studyfile import QUANTITATIVE, StudyFile
from securegen.engines.federated.tilts import ROWS, most_columns
from securegen.governance.openings import ALL, what_can_be_read
from securegen.vocabulary import ADDITIVE


def opened_by(study: StudyFile) -> list[str]:
    """What every site learns of the pooled cohort."""
    tests = [study.test_of(p) for p in study.phenotypes]
    out = ["counts of analysed samples"]
    if any(t.covariates for t in tests):
        out += ["Σx and Σx² of every phenotype and covariate, and their products summed over everybody"]
    if any(t.reads.weight is not None for t in tests):
        out += ["gradient and Hessian of each Newton step of the null model"]
    second = "Σg²"
    if study.genetic_model != ADDITIVE:
        out += [f"genotypes count 0 and 1 (genetic model: {study.genetic_model})"]
        second = "Σ of the copies"
    out += [
        f"for every variant Σg, {second}, the number of missing calls, and Σ g × each column with missing calls at the mean"
    ]
    if study.sets is not None:
        out += [
            f"the rows are masks of sets of variants ({study.sets.rule}), which every site makes of its own genotypes"
        ]
        if not study.sets.public or study.sets.tests:
            out += ["for every variant of the sets Σg and the number of missing calls; where few people of a site would stand "
                    "out, at how many sites, and at how many its frequency is above each bin"]  # fmt: skip
    if study.interaction:
        out += [
            f"Σ of the products of {study.interaction} with every covariate and phenotype, and of their squares; for every "
            f"variant Σ g × each of these, and Σ g² × {study.interaction} and its square"
        ]
    if study.pcs:
        out += [f"loadings of {study.pcs} components: for each common variant Σg and Σ g × rounded projections of everybody "
                f"who is not a relative, {study.pcs + 4} columns per round, and their sums of squares"]  # fmt: skip
    if study.step1:
        out += [
            f"a whole-genome model: for blocks of at most {study.step1} common variants the products of all pairs of variants, "
            "and of each with covariates and phenotypes; the products of what the blocks predict, and the errors of five "
            "heritabilities"
            + (
                "; of a binary phenotype these products at each step of Newton's method"
                if any(p.kind != QUANTITATIVE for p in study.phenotypes)
                else ""
            )
        ]
    if study.correction != NONE:
        out += [
            f"of variants whose score test has P below {study.p_thresh:g} sums of each round of their correction by "
            f"{study.correction}, "
            f"at most {ROWS[study.correction].rounds} rounds, {most_columns(study.correction)} columns per phenotype, "
            "where enough people have each genotype; where a site says no, how many do"
            + ("; gradient and Hessian of the null model under Firth's penalty" if study.correction == FIRTH else "")
        ]
    if study.qc:
        out += ["for every variant, counts over founders for frequencies, missingness and Hardy–Weinberg tests"]
    if study.strata:
        out += [f"the same apart for {', '.join(study.strata)}, of X and Y over people by their sex"]
    if {"X", "Y"} & set(study.strata) and study.openings != ALL:
        out += [
            "at how many sites few people would stand in the sums of X and of Y, and which have males and females there"
        ]
    if study.predictions:
        out += ["the same apart for each chromosome, of what predictions of a whole-genome model leave of a phenotype"]
    if study.missing == "complete":
        out += [f"where {study.fewest_people} or more people of a site lack a call, or nobody, the products of columns "
                "over those who do"]  # fmt: skip
    if study.openings != ALL:
        out += [
            f"at how many sites fewer than {study.fewest_people} people would stand out in a variant: nothing else of it"
        ]
    return [*out, *what_can_be_read(study.openings, study.few_missing)]
