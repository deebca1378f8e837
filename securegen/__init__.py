"""securegen: association statistics and polygenic risk scores on genotypes that stay hidden."""

from securegen.api import Study, open_study, plain_sums, plain_tables, run_plain
from securegen.engines import scores
from securegen.engines.ckks import steps as ckks
from securegen.io.arrays import from_arrays
from securegen.version import VERSION as __version__

__all__ = [
    "Study",
    "__version__",
    "ckks",
    "from_arrays",
    "open_study",
    "plain_sums",
    "plain_tables",
    "run_plain",
    "scores",
]
