"""securegen: association statistics and polygenic risk scores on genotypes that stay hidden."""

from securegen.api import plain_sums, plain_tables, run_plain
from securegen.engines.ckks import steps as ckks
from securegen.io.arrays import from_arrays
from securegen.io.bgen import read_bgen
from securegen.io.pgen import read_pgen
from securegen.io.plink1 import read_plink
from securegen.io.vcf import read_vcf
from securegen.study.opening import Study, open_study
from securegen.version import VERSION as __version__

__all__ = [
    "Study",
    "__version__",
    "ckks",
    "from_arrays",
    "open_study",
    "plain_sums",
    "plain_tables",
    "read_bgen",
    "read_pgen",
    "read_plink",
    "read_vcf",
    "run_plain",
]
