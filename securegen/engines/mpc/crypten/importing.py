"""Import CrypTen 0.4.1 under recent torch.

CrypTen asks for `torch.onnx._internal.registration`, which torch has moved, and for an ONNX export by tracing, which
recent torch offers only on request. Both are bridged here, once; nothing else of CrypTen is changed (`layer`
does that, inside a session).
"""

from __future__ import annotations

import importlib
import inspect
import sys
from types import ModuleType
from typing import BinaryIO

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
    """The crypten module, able to convert networks; MissingExtraError when CrypTen or torch is not installed."""
    import_torch()
    if _OLD not in sys.modules:
        try:
            importlib.import_module(_OLD)
        except ModuleNotFoundError:
            sys.modules[_OLD] = importlib.import_module(_NEW)
    try:
        crypten = importlib.import_module("crypten")
    except ModuleNotFoundError as error:
        raise MissingExtraError("crypten", "mpc") from error
    crypten.nn.onnx_converter._export_pytorch_model = _export_by_tracing
    return crypten


def _export_by_tracing(file: BinaryIO, model: object, dummy_input: object) -> BinaryIO:
    """In place of CrypTen's own: the same options, and tracing asked for by name where torch has the choice."""
    torch = import_torch()
    choice = {"dynamo": False} if "dynamo" in inspect.signature(torch.onnx.export).parameters else {}
    torch.onnx.export(
        model, dummy_input, file, do_constant_folding=False, export_params=True, input_names=["input"],
        output_names=["output"], opset_version=17, **choice,
    )  # fmt: skip
    return file
