"""The rows of a cohort without phenotypes: its variants that the filters leave, or masks of sets of them."""

from __future__ import annotations

from securegen.model import GenotypeReader, SelectableReader
from securegen.study.genotypes import open_genotypes
from securegen.study.inputs import Inputs, Log, silent
from securegen.study.mask_rows import with_masks
from securegen.study.ploidy import counting_copies
from securegen.study.sexes import with_sexes


def open_rows(inputs: Inputs, log: Log) -> SelectableReader:
    """As `open_genotypes`, on X, Y and MT too, or the masks that the inputs name. Raises as that and `with_masks`."""
    return with_masks(inputs, open_genotypes(inputs, log, haploid=True), log)


def open_cohort(inputs: Inputs, log: Log = silent) -> GenotypeReader:
    """As `open_rows`, with X, Y and MT as designs for each of them want it. Raises as that and `with_sexes`."""
    return counting_copies(with_sexes(inputs, open_rows(inputs, log), log), inputs.x_model)
