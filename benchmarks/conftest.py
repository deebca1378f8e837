"""pytest-benchmark's report says where and with what it was measured as all results do."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

from record import measured  # noqa: E402

BEFORE = measured()


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_json(output_json: dict[str, Any]) -> None:
    output_json["measured"] = BEFORE
