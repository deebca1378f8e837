"""What names sets of variants, their masks and the tests of them: the fields of `Inputs` that are about sets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from securegen.catalogue import TESTS
from securegen.errors import UsageError
from securegen.io.genotypes import GenotypeFiles
from securegen.study import checks
from securegen.study.mask_options import EVERY, SUM, MaskOptions, mask_options, parse_bins
from securegen.vocabulary import ADDITIVE, SET_TESTS


@dataclass(frozen=True)
class SetFields(GenotypeFiles):
    """anno_file, set_list, mask_def: as regenie's, masks of sets of variants are tested in place of variants; aaf_file: public
    frequencies, None for those of the analysed people; aaf_bins: the largest frequencies of masks, None for 0.01; build_mask:
    max, sum or comphet, None for max; vc_tests: tests of the variants of a mask, of `SET_TESTS`; vc_max_aaf: their largest
    frequency, None for all."""

    anno_file: str | None = None
    set_list: str | None = None
    mask_def: str | None = None
    aaf_file: str | None = None
    aaf_bins: tuple[float, ...] | None = None
    build_mask: str | None = None
    vc_tests: tuple[str, ...] | None = None
    vc_max_aaf: float | None = None

    @property
    def masks(self) -> MaskOptions | None:
        """What masks are tested in place of variants; None where variants are."""
        wider = (self.widest,) if self.vc_tests else ()
        return mask_options(
            self.anno_file, self.set_list, self.mask_def, self.aaf_file, self.aaf_bins, self.build_mask, wider
        )

    @property
    def widest(self) -> float:
        """The largest frequency of variants that are tested as sets."""
        return EVERY if self.vc_max_aaf is None else float(self.vc_max_aaf)

    def check_sets(self, others: Any) -> None:
        """Raise UsageError for values that these fields do not take, or that do not go with others of `Inputs`."""
        object.__setattr__(self, "aaf_bins", parse_bins(self.aaf_bins))
        object.__setattr__(self, "vc_tests", checks.names("vc_tests", self.vc_tests))
        for name in self.vc_tests or ():
            checks.choice("vc_tests", name, SET_TESTS)
        if self.vc_max_aaf is not None:
            parse_bins((self.vc_max_aaf,), "vc_max_aaf")
            if not self.vc_tests:
                raise UsageError(f"`vc_max_aaf` needs `vc_tests`: {', '.join(SET_TESTS)}")
        if self.masks is None:
            return
        if others.coding != ADDITIVE:
            raise UsageError(f"`{others.coding}` needs genotypes of two alleles, and masks count several variants")
        model = others.model
        if self.build_mask == SUM and (others.qc or model is not None and not TESTS[model].covariates):
            what = "`qc` and its filters count" if others.qc else f"`model` {model} counts"
            raise UsageError(f"{what} the alleles of one variant: `build_mask` max or comphet, not sum")
        if self.vc_tests:
            self._check_tests(others)

    def _check_tests(self, others: Any) -> None:
        if others.blocks is not None:
            raise UsageError("`vc_tests` need whole runs: leave `blocks` out, or choose by `chr`")
        for given, what in (
            (others.model is not None and not TESTS[others.model].predictions, f"`model` {others.model}"),
            (others.interaction is not None, "`interaction`"), (others.missing != "mean", f"`missing` {others.missing}"),
            (others.corrects, f"`correction` {others.correction}"),
        ):  # fmt: skip
            if given:
                raise UsageError(
                    f"`vc_tests` are for linear and logistic models with missing calls at the mean: leave {what} out"
                )
