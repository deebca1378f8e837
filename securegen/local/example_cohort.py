"""The example cohort: 500 simulated people and 5,000 variants, with a trait of each kind, covariates and a score."""

from __future__ import annotations

from pathlib import Path

from securegen.errors import InputError, StorageError
from securegen.io.output import copy_file, make_folder

NAMES = tuple(f"cohort.{end}" for end in ("bed", "bim", "fam", "pheno.tsv", "covar.tsv", "score.tsv"))


def _source() -> Path:
    """Where the files are: in an installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "example", package.parent / "examples"):
        if all((folder / name).is_file() for name in NAMES):
            return folder
    raise InputError(f"the example cohort is neither in {package} nor beside it; install securegen again")


def write_example(folder: str | Path) -> list[Path]:
    """Write the example cohort into a folder, which is made if it is absent; the paths of its files.

    A file that is there with the same bytes is kept. Raises StorageError for one that differs, before anything is
    written, and InputError where the installation lacks the cohort.
    """
    source, folder = _source(), Path(folder)
    for name in NAMES:
        there = folder / name
        if there.exists() and (not there.is_file() or there.read_bytes() != (source / name).read_bytes()):
            raise StorageError(f"{there} exists and is not the example's; name another folder")
    make_folder(folder)
    for name in NAMES:
        if not (folder / name).exists():
            copy_file(source / name, folder / name)
    return [folder / name for name in NAMES]
