"""Masks of sets of variants at the party with the genotypes, who does not know who is analysed.

Who learns what: as of variants. Masks of one set contain each other, so they go with what has rules of rows (openings): where
few people tell two masks apart, one of them is withheld.
"""

from __future__ import annotations

import numpy as np

from securegen.errors import UsageError
from securegen.governance.openings import CONSORTIUM, WINDOW
from securegen.model import SelectableReader
from securegen.study.inputs import Inputs, Log
from securegen.study.mask_options import SUM
from securegen.study.mask_rows import with_masks
from securegen.study.masks import MaskReader


def refuse_masks(inputs: Inputs, *, opened: str | None, openings: str | None) -> None:
    """Raise UsageError for masks that cannot be made right, or whose rows no rule holds apart. opened: what is shown instead
    of whole tables, None for these; openings: as of `governance.openings`."""
    if inputs.vc_tests:
        raise UsageError(
            "`vc_tests` need genotypes and phenotypes at one party: engine plain, ckks or federated, not mpc"
        )
    if inputs.masks is None:
        return
    if inputs.aaf_file is None:
        raise UsageError(
            "masks need public frequencies here, `aaf_file`: the party with the genotypes does not know who is analysed"
        )
    if inputs.masks.rule == SUM:
        raise UsageError(
            "`build_mask` sum counts more than two copies, which no party's rules of rows know: max or comphet"
        )
    if opened is not None:
        raise UsageError(
            f"`reveal` {opened} of two masks that few people tell apart shows these people: `reveal` aggregates, which withholds "
            "one of them, or `split` outsourced"
        )
    if openings == CONSORTIUM:
        raise UsageError(f"`openings` {CONSORTIUM} shows masks of a set that few people tell apart: strict")


def party_masks(inputs: Inputs, reader: SelectableReader, log: Log) -> SelectableReader:
    """The masks that the inputs name in place of variants. Raises as `with_masks`, and UsageError for more masks of a set than
    are compared with one another."""
    out = with_masks(inputs, reader, log)
    if isinstance(out, MaskReader) and int(np.diff(out.rows).max()) > WINDOW:
        raise UsageError(
            f"a set has {int(np.diff(out.rows).max())} masks: at most {WINDOW} are compared with one another"
        )
    return out
