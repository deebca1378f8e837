"""securegen: association statistics and polygenic risk scores on genotypes that stay hidden."""

from securegen.api import (
    Encrypted,
    associate,
    decrypt,
    decrypt_tables,
    encrypt,
    generate_key,
    plain_sums,
    plain_tables,
    plan,
    run_plain,
)
from securegen.io.arrays import from_arrays
from securegen.study.opening import Study, open_study
from securegen.version import VERSION as __version__

__all__ = [
    "Encrypted",
    "Study",
    "__version__",
    "associate",
    "decrypt",
    "decrypt_tables",
    "encrypt",
    "from_arrays",
    "generate_key",
    "open_study",
    "plain_sums",
    "plain_tables",
    "plan",
    "run_plain",
]
