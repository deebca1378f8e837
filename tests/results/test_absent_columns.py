"""Tables without one of their columns (`--cols`, or another program's): each reader takes them, or says what is absent."""

from __future__ import annotations

from pathlib import Path

import pytest

import securegen as sg
from securegen.errors import InputError
from securegen.python.twin import read_frequencies
from securegen.report.association import codes_table, hits_table
from securegen.report.gather import open_run
from securegen.results.read import read_frame
from securegen.results.released import read_released
from securegen.vocabulary import LINEAR_COLUMNS, SCORE_TEST_COLUMNS


@pytest.fixture(scope="module")
def tables(small, tmp_path_factory) -> dict[str, Path]:
    """Whole tables of chromosome 2 by phenotype."""
    out = tmp_path_factory.mktemp("whole") / "a"
    study = sg.open_study(small.bfile, pheno=small.pheno, pheno_name=("QT", "CC"), covar=small.covar, chr="2")
    return {name: Path(path) for name, path in sg.run(study, out=out).paths.items()}


def _reported(path: Path) -> int:
    (result,) = open_run(str(path)).results
    return len((hits_table(result, {}, ()) + codes_table(result.table)).html) + result.people


READERS = {
    "report": lambda path, whole, small: _reported(path),
    "clump": lambda path, whole, small: sg.clump(sg.Inputs(bfile=small.bfile, chr="2"), path, f"{path}.c", p1=0.01),
    "meta": lambda path, whole, small: sg.meta([whole, path], f"{path}.m"),
    "compare": lambda path, whole, small: sg.compare(whole, path),
    "twin": lambda path, whole, small: read_frequencies(str(path)),
    "risk": lambda path, whole, small: read_released(path),
    "frame": lambda path, whole, small: read_frame(path),
}
# What a reader cannot do without; of everything else it makes what it can.
NEEDS = {
    "report": {"#CHROM", "POS", "ID"},
    "clump": {"#CHROM", "POS", "ID", "REF", "ALT", "A1"},
    "meta": {"#CHROM", "POS", "ID", "REF", "ALT", "A1", "OBS_CT", "BETA", "SE"},
    "compare": {"#CHROM", "POS", "ID"},
    "twin": {"#CHROM", "POS", "ID", "REF", "ALT", "A1_FREQ"},
    "risk": {"#CHROM", "POS", "ID", "OBS_CT"},
    "frame": set(),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(("phenotype", "columns"), [("QT", LINEAR_COLUMNS), ("CC", SCORE_TEST_COLUMNS)])
def test_a_table_without_a_column(reader, phenotype, columns, tables, small, tmp_path):
    whole = tables[phenotype]
    rows = [line.split("\t") for line in whole.read_text().splitlines()]
    for absent in columns:
        path = tmp_path / f"{absent.strip('#')}.{phenotype}{whole.name.rpartition(phenotype)[2]}"
        kept = [i for i, name in enumerate(columns) if name != absent]
        path.write_text("".join("\t".join(row[i] for i in kept) + "\n" for row in rows))
        if absent in NEEDS[reader]:
            with pytest.raises(InputError, match=str(path)):
                READERS[reader](path, whole, small)
        else:
            READERS[reader](path, whole, small)
