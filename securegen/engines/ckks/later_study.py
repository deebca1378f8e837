"""A study on a cohort that was encrypted earlier: its design, without the genotypes.

How genotypes are counted on X, Y and MT was settled when they were encrypted. A design that counts them otherwise is refused.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from securegen.errors import DesignError, PolicyError, UsageError
from securegen.io.genotypes import FIELDS
from securegen.model import GenotypeReader
from securegen.study.consented import consented
from securegen.study.inputs import Inputs, Log, silent
from securegen.study.opening import Study
from securegen.study.ploidy import kinds_of, split_par
from securegen.study.strata import build_strata

if TYPE_CHECKING:
    from securegen.engines.ckks.owner.secret_key import SecretKey
    from securegen.engines.ckks.owner.state import CohortInfo

PathLike = str | os.PathLike[str]
OF_GENOTYPES = (
    *FIELDS, "keep", "remove", "extract", "exclude", "chr", "from_bp", "to_bp", "condition", "condition_list",
    "dominant", "recessive", "hetonly",
)  # fmt: skip


def open_later_study(
    owner: PathLike,
    key: SecretKey,
    *,
    pheno: PathLike | None = None,
    pheno_name: str | Sequence[str] | None = None,
    covar: PathLike | None = None,
    covar_name: str | Sequence[str] | None = None,
    covar_categorical: str | Sequence[str] | None = None,
    model: str | None = None,
    missing: str = "mean",
    bits: int | None = None,
    force_01: bool = False,
    apply_rint: bool = False,
    no_input_missing_phenotype: bool = False,
    common_samples: bool | None = None,
    xchr_model: int | None = None,
    split_par: str | None = None,
    sex_name: str | None = None,
    pred: PathLike | None = None,
    statistic: str | None = None,
    purpose: str | None = None,
    consent: PathLike | None = None,
    mondo: PathLike | None = None,
    generalise: str | Sequence[str] | None = None,
    dp_epsilon: float | None = None,
    dp_delta: float | None = None,
    dp_bounds: str | tuple[float, float] | None = None,
    qc: bool = False,
    hwe_controls: bool = False,
    log: Log = silent,
) -> Study:
    """A study on a cohort encrypted earlier, from the owner's folder: people and variants, no genotypes.

    Keywords and errors as `open_study`, without those that name or choose genotypes.
    """
    given: dict[str, Any] = dict(locals())  # fields of `Inputs`, but for three
    for name in ("owner", "key", "log"):
        del given[name]
    return later_study_of(Inputs(**given), owner, key, log)


def later_study_of(inputs: Inputs, owner: PathLike, key: SecretKey, log: Log = silent) -> Study:
    """As `open_later_study`. Raises UsageError for inputs that name or choose genotypes: people and variants are those that
    were encrypted. Raises DesignError where X, Y or MT would be counted otherwise than in the encrypted cohort. People whose
    consent does not cover the purpose have zeros in every column; raises PolicyError for quality control, which would count
    them."""
    from securegen.engines.ckks.owner.state import OwnerState, read_info

    ordinary = Inputs()
    chosen = [name for name in OF_GENOTYPES if getattr(inputs, name) != getattr(ordinary, name)]
    if chosen:
        raise UsageError(
            f"{', '.join(chosen)}: the people and variants of a design for an earlier cohort are those that were encrypted; "
            "leave it out, or give the genotypes as well"
        )
    info = read_info(OwnerState(Path(owner), key))
    refuse_other_copies(inputs, info)
    # a design is made for genotypes before they are recoded
    before = replace(info, dosage_max=info.dosage_max // 2) if info.xchr_model == 1 else info
    among = consented(inputs, info.samples, log)
    if inputs.qc and not among.all():
        raise PolicyError(
            f"consent.purpose: quality control takes all who were encrypted, and the consent of {int((~among).sum())} does not "
            "cover this purpose: leave `qc` out, or encrypt the cohort again without them"
        )
    reader, strata = build_strata(inputs, before, log, qc_only=inputs.qc and inputs.pheno is None, among=among)
    refuse_other_sexes(info, reader)
    return Study(inputs, info, strata)


def refuse_other_copies(inputs: Inputs, info: CohortInfo) -> None:
    """Raise DesignError for a design that counts X otherwise than it was encrypted."""
    there = info.variants
    if inputs.split_par is not None:
        ends = np.isin(there.chromosome.astype(str), ("PAR1", "PAR2"))
        whole = replace(there, chromosome=np.where(ends, "X", there.chromosome).astype(object))
        if (kinds_of(split_par(whole, inputs.split_par)) != kinds_of(there)).any():
            raise DesignError(
                f"`split_par` {inputs.split_par}: the cohort was encrypted with other ends of X, or with none; leave it out, or "
                "encrypt the cohort again"
            )
    if info.xchr_model is not None and inputs.x_model != info.xchr_model:
        told = "`xchr_model` is not given" if inputs.xchr_model is None else f"`xchr_model` is {inputs.xchr_model}"
        raise DesignError(
            f"{told}, and X of this cohort was encrypted with `xchr_model` {info.xchr_model}: give that, or encrypt the cohort "
            "again"
        )


def refuse_other_sexes(info: CohortInfo, reader: GenotypeReader) -> None:
    """Raise DesignError for other sexes where the encrypted dosages depend on them."""
    if info.xchr_model == 1 and not np.array_equal(reader.samples.sex, info.samples.sex):
        raise DesignError(
            "the sexes differ from those with which X of this cohort was encrypted (`xchr_model` 1 counts by them): give "
            "the same `sex_name`, or encrypt the cohort again"
        )
