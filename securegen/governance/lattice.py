"""Whether integer combinations of a block's variants single few people out, by the block's Gram matrix.

Who sees the Gram matrix X'X of integer genotypes also has the products of every integer combination of variants with every
variant. A combination that is 0 but for few people is these people's genotypes of the whole block, and lattice reduction finds
it. So before a site's part of X'X is summed, the site looks for combinations, of its own people, of small squared norm. A person
who is in a combination of hard calls adds 1 or more to it: below `fewest`, fewer than `fewest` people are in it.

What an answer means. A block passes only if every combination was excluded: the basis is reduced until the squared lengths
of its Gram–Schmidt vectors are large, and the combinations that remain possible are enumerated. Nothing rests on how close LLL
comes to the shortest. A block in which that takes too many steps does not pass. Not looked for: combinations with numbers of
2 or more at few people, whose squared norm is larger (three people with 2 have 12); combinations that are 0 for all people of
this site, of which it has nobody; and real combinations, which leverage limits (`ridge_rules.withheld_for_leverage`).

Covariates and phenotypes stand beside the variants in what is opened. Those of few values, such as sex, a batch or a diagnosis,
are columns of whole numbers as variants are (`small_integers`), and their combinations with variants are looked for too.

Dosages on a grid of 1/divisor are columns of that grid, and their norms are in copies. Of an imputed person a combination
has a fraction, and adds less than 1: then a block may be refused for more people. A missing call that alone tells two
variants apart is found, since its square is at most 4.

Columns that are the same, or of which one is a combination of others, add nothing and pass. A site with hardly more people
than variants nearly never passes: with as many independent columns as people, every person is a combination.
"""

from __future__ import annotations

import numpy as np

from securegen.errors import DesignError
from securegen.governance.openings import FEWEST
from securegen.kernels.lattice import TAKEN, take_columns
from securegen.model import FloatArray, IntArray

FEW_VALUES = 128  # of a column that stands beside variants
SWAPS, NODES = 20_000, 20_000  # of one variant's reduction and enumeration
LARGEST_NORM = 1 << 52  # of a column, in squares of the grid


def withheld_for_lattice(gram: IntArray, fewest: int = FEWEST, divisor: int = 1, beside: int = 0) -> np.ndarray:
    """(B,) bool: variants to leave out of a block at one site, so that the others, and any subset of them, have no integer
    combination whose squared norm is from above 0 to below `fewest`.

    gram: (1 + E + B, 1 + E + B) int64 Gram matrix of this site's own people, below 2^52: the column of `divisor` for
    everybody first, then `beside` = E columns which are never left out, then B variants in steps of 1/divisor copies. Variants
    are taken in their order, each unless a combination with those taken before is too short. Raises DesignError for another
    matrix.

    >>> x = np.array([[1, 0, 1], [1, 1, 1], [1, 2, 2], [1, 1, 1], [1, 0, 0]])
    >>> withheld_for_lattice(x.T @ x, 2).tolist()
    [False, True]
    """
    if gram.ndim != 2 or len(gram) != gram.shape[1] or not len(gram) or gram.dtype != np.int64:
        raise DesignError("a Gram matrix is a square of int64")
    if not 0 <= gram.diagonal().min() <= gram.diagonal().max() < LARGEST_NORM:
        raise DesignError("products of these people's dosages are too large to look for combinations of variants")
    state, _ = take_columns(gram, fewest * divisor * divisor, swaps=SWAPS, nodes=NODES)
    out: np.ndarray = state[1 + beside :] != TAKEN
    return out


def small_integers(values: FloatArray) -> IntArray:
    """Of columns (n, E) of own people those of few values, as whole numbers from 0 on that have no common divisor: (n, F) int64.

    >>> small_integers(np.array([[1.5, 0.1], [2.0, 0.27], [3.5, 0.314159]])).ravel().tolist()
    [0, 1, 4]
    """
    out = []
    for column in values.T:
        known = np.unique(column)
        if not 2 <= len(known) <= FEW_VALUES:
            continue
        steps = (known - known[0]) / np.diff(known).min()
        whole = np.rint(steps)
        if np.abs(steps - whole).max() < 1e-6 and whole[-1] < FEW_VALUES:
            whole = whole.astype(np.int64) // np.gcd.reduce(whole.astype(np.int64))
            out.append(whole[np.searchsorted(known, column)])
    return np.stack(out, axis=1) if out else np.zeros((len(values), 0), np.int64)
