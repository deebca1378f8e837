"""securegen: association statistics and polygenic risk scores on genotypes that stay hidden."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from securegen.version import VERSION as __version__

if TYPE_CHECKING:
    from securegen.engines import scores
    from securegen.engines.ckks import steps as ckks
    from securegen.engines.ckks.engine import Ckks
    from securegen.engines.federated import steps as federated
    from securegen.engines.federated.engine import Federated
    from securegen.engines.merging import merge
    from securegen.engines.mpc import steps as mpc
    from securegen.engines.mpc.engine import Mpc
    from securegen.engines.plain.engine import Plain
    from securegen.governance import audit_steps as audit
    from securegen.governance import consent_steps as consent
    from securegen.governance import policy_steps as policy
    from securegen.governance import pseudonyms
    from securegen.governance.gate import Asking
    from securegen.inspection import inspect
    from securegen.io.arrays import from_arrays
    from securegen.io.bgen import read_bgen
    from securegen.io.pgen import read_pgen
    from securegen.io.plink1 import read_plink
    from securegen.io.vcf import read_vcf
    from securegen.python import noisy as dp
    from securegen.python.crate import crate
    from securegen.python.ld import clump, ld
    from securegen.python.meta import meta
    from securegen.python.pages import draw, write_report
    from securegen.python.risk import risk
    from securegen.python.run import Results, open_sites, qc, run
    from securegen.python.structure import kinship, pca, step1
    from securegen.python.tables import compare, read_receipt
    from securegen.python.twin import twin
    from securegen.record import receipt_steps as receipt
    from securegen.report.audit_page import write_audit_page
    from securegen.report.pia import pia
    from securegen.study.inputs import Inputs
    from securegen.study.opening import Study, open_study
    from securegen.study.opening_qc import open_qc

# The room of this name is loaded here, so that no later import binds it: `sg.scores` is engines.scores.
import_module("securegen.scores")
del globals()["scores"]

# Loaded when they are asked for: module, and the name in it (none: the module itself).
_LATER = {
    "Asking": ("governance.gate", "Asking"),
    "Ckks": ("engines.ckks.engine", "Ckks"),
    "Federated": ("engines.federated.engine", "Federated"),
    "Inputs": ("study.inputs", "Inputs"),
    "Mpc": ("engines.mpc.engine", "Mpc"),
    "Plain": ("engines.plain.engine", "Plain"),
    "Results": ("python.run", "Results"),
    "Study": ("study.opening", "Study"),
    "ckks": ("engines.ckks.steps", ""),
    "audit": ("governance.audit_steps", ""),
    "clump": ("python.ld", "clump"),
    "compare": ("python.tables", "compare"),
    "consent": ("governance.consent_steps", ""),
    "crate": ("python.crate", "crate"),
    "dp": ("python.noisy", ""),
    "draw": ("python.pages", "draw"),
    "federated": ("engines.federated.steps", ""),
    "from_arrays": ("io.arrays", "from_arrays"),
    "inspect": ("inspection", "inspect"),
    "kinship": ("python.structure", "kinship"),
    "ld": ("python.ld", "ld"),
    "merge": ("engines.merging", "merge"),
    "meta": ("python.meta", "meta"),
    "mpc": ("engines.mpc.steps", ""),
    "open_qc": ("study.opening_qc", "open_qc"),
    "open_sites": ("python.run", "open_sites"),
    "open_study": ("study.opening", "open_study"),
    "pca": ("python.structure", "pca"),
    "policy": ("governance.policy_steps", ""),
    "pseudonyms": ("governance.pseudonyms", ""),
    "pia": ("report.pia", "pia"),
    "qc": ("python.run", "qc"),
    "read_bgen": ("io.bgen", "read_bgen"),
    "read_pgen": ("io.pgen", "read_pgen"),
    "read_plink": ("io.plink1", "read_plink"),
    "read_receipt": ("python.tables", "read_receipt"),
    "receipt": ("record.receipt_steps", ""),
    "risk": ("python.risk", "risk"),
    "read_vcf": ("io.vcf", "read_vcf"),
    "run": ("python.run", "run"),
    "scores": ("engines.scores", ""),
    "step1": ("python.structure", "step1"),
    "twin": ("python.twin", "twin"),
    "write_audit_page": ("report.audit_page", "write_audit_page"),
    "write_report": ("python.pages", "write_report"),
}

__all__ = [
    "Asking",
    "Ckks",
    "Federated",
    "Inputs",
    "Mpc",
    "Plain",
    "Results",
    "Study",
    "__version__",
    "audit",
    "ckks",
    "clump",
    "compare",
    "consent",
    "crate",
    "dp",
    "draw",
    "federated",
    "from_arrays",
    "inspect",
    "kinship",
    "ld",
    "merge",
    "meta",
    "mpc",
    "open_qc",
    "open_sites",
    "open_study",
    "pca",
    "pia",
    "policy",
    "pseudonyms",
    "qc",
    "read_bgen",
    "read_pgen",
    "read_plink",
    "read_receipt",
    "read_vcf",
    "receipt",
    "risk",
    "run",
    "scores",
    "step1",
    "twin",
    "write_audit_page",
    "write_report",
]


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module 'securegen' has no attribute {name!r}")
    place, own = _LATER[name]
    module = import_module(f"securegen.{place}")
    return getattr(module, own) if own else module
