"""What a dishonest server can do to a results folder, and a key file for the command line."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from ckks_tools import rewrite_manifest

from securegen.engines.ckks import artefact
from securegen.engines.ckks.owner import secret_key

PASSPHRASE = "correct horse battery staple"


@dataclass(frozen=True)
class KeyOnDisk:
    """A protected key file and the options that open it."""

    file: Path
    options: list[str]


@pytest.fixture
def key_file(small_key, tmp_path) -> KeyOnDisk:
    folder = tmp_path / "keys"
    secret_key.write_secret(folder / "study.secret", small_key, passphrase=PASSPHRASE.encode())
    (folder / "passphrase").write_text(PASSPHRASE + "\n")
    (folder / "passphrase").chmod(0o600)
    options = ["--key", str(folder / "study.secret"), "--passphrase-file", str(folder / "passphrase")]
    return KeyOnDisk(folder / "study.secret", options)


@pytest.fixture
def dishonest(small_results, tmp_path) -> Callable[..., Path]:
    """Copy the honest results, change arrays of blocks in place, and make the manifest fit. change(index, array)."""

    def make(change: Callable[[int, np.ndarray], object], results: Path = small_results) -> Path:
        folder = tmp_path / "dishonest.results"
        shutil.copytree(results, folder)
        entries = artefact.read_manifest(folder, "results", None)["blocks"]
        for index, entry in enumerate(entries):
            tiles = np.load(folder / entry["name"], allow_pickle=False)
            change(index, tiles)
            entries[index] = vars(artefact.write_entry(folder, entry["name"], tiles))
        rewrite_manifest(folder, blocks=entries)
        return folder

    return make
