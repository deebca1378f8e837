"""The files that take longest go first, so that at the end no worker is alone with one of them.

Of `--dist loadfile --no-loadscope-reorder`, which gives files to workers in the order of collection: left to itself it would
put files with many tests first, and the longest have few.
"""

from __future__ import annotations

from pathlib import Path

import pytest

FIRST = (  # of those that take 20 s or more, the longest first
    "test_optimised.py", "engines/mpc/test_strata.py", "test_develop.py", "engines/mpc/test_crypten_layer.py",
    "engines/test_coding_of_engines.py", "engines/mpc/test_run_local.py", "engines/federated/test_federated_gwas.py",
    "engines/ckks/test_by_chromosome.py", "test_doctests.py", "cli/test_help.py", "engines/mpc/test_failures.py",
    "cli/test_last_net.py", "cli/test_failures.py", "scores/test_from_python.py", "engines/mpc/test_association.py",
    "cli/test_signals.py", "kernels/test_residue_mac.py", "kernels/test_residue_matmul.py", "cli/test_progress.py",
    "engines/mpc/test_site_links.py", "test_snakemake.py", "test_examples.py", "survival/test_kills.py", "survival/test_disk.py",
    "survival/test_machine.py", "test_pages.py",
)  # fmt: skip
HERE = Path(__file__).parent
PLACE = {HERE / name: i for i, name in enumerate(FIRST)}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: PLACE.get(item.path, len(FIRST)))
