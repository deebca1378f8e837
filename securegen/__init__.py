"""securegen: association statistics and polygenic risk scores on genotypes that stay hidden."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from securegen.engines import scores
from securegen.engines.ckks import steps as ckks
from securegen.io.arrays import from_arrays
from securegen.io.bgen import read_bgen
from securegen.io.pgen import read_pgen
from securegen.io.plink1 import read_plink
from securegen.io.vcf import read_vcf
from securegen.study.opening import Study, open_qc, open_study
from securegen.version import VERSION as __version__

if TYPE_CHECKING:
    from securegen.engines.ckks.engine import Ckks
    from securegen.engines.federated import steps as federated
    from securegen.engines.federated.engine import Federated
    from securegen.engines.mpc import steps as mpc
    from securegen.engines.mpc.engine import Mpc
    from securegen.engines.plain.engine import Plain
    from securegen.inspection import inspect
    from securegen.python.run import Results, run

# Loaded when they are asked for: module, and the name in it (none: the module itself).
_LATER = {
    "Ckks": ("engines.ckks.engine", "Ckks"),
    "Federated": ("engines.federated.engine", "Federated"),
    "Mpc": ("engines.mpc.engine", "Mpc"),
    "Plain": ("engines.plain.engine", "Plain"),
    "Results": ("python.run", "Results"),
    "federated": ("engines.federated.steps", ""),
    "inspect": ("inspection", "inspect"),
    "mpc": ("engines.mpc.steps", ""),
    "run": ("python.run", "run"),
}

__all__ = [
    "Ckks",
    "Federated",
    "Mpc",
    "Plain",
    "Results",
    "Study",
    "__version__",
    "ckks",
    "federated",
    "from_arrays",
    "inspect",
    "mpc",
    "open_qc",
    "open_study",
    "read_bgen",
    "read_pgen",
    "read_plink",
    "read_vcf",
    "run",
    "scores",
]


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module 'securegen' has no attribute {name!r}")
    place, own = _LATER[name]
    module = import_module(f"securegen.{place}")
    return getattr(module, own) if own else module
