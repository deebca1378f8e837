"""Import CrypTen 0.4.1 under recent torch.

CrypTen asks for `torch.onnx._internal.registration`, which torch has moved; the module is offered under the old name
before the import. Nothing else of CrypTen is changed here (crypten_layer.py does that, inside a session).
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

from securegen.errors import MissingExtraError

_OLD = "torch.onnx._internal.registration"
_NEW = "torch.onnx._internal.torchscript_exporter.registration"


def import_torch() -> ModuleType:
    """The torch module; MissingExtraError when it is not installed."""
    try:
        return importlib.import_module("torch")
    except ModuleNotFoundError as error:
        raise MissingExtraError("torch", "mpc") from error


def import_crypten() -> ModuleType:
    """The crypten module; MissingExtraError when CrypTen or torch is not installed."""
    import_torch()
    if _OLD not in sys.modules:
        try:
            importlib.import_module(_OLD)
        except ModuleNotFoundError:
            sys.modules[_OLD] = importlib.import_module(_NEW)
    try:
        return importlib.import_module("crypten")
    except ModuleNotFoundError as error:
        raise MissingExtraError("crypten", "mpc") from error
