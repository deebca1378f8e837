"""Filters of quality control count everybody who was kept, also who has no phenotype: their set is compared like any other."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import securegen as sg
from securegen.errors import PolicyError
from securegen.governance.history import PeopleFacts
from securegen.stats.qc import Filters

FEW = {"chr": "1", "to_bp": 40_000}


def _with_and_without(ruled) -> tuple[Path, Path, int]:
    """Lists of who is analysed, and of the same people with one who has no phenotype; and that one's place."""
    lines = [line.split("\t") for line in Path(ruled.cohort.pheno).read_text().splitlines()[1:]]
    known = {
        line.split("\t")[1] for line in Path(ruled.cohort.covar).read_text().splitlines()[1:] if "\tNA" not in line
    }
    fam = [line.split()[1] for line in Path(f"{ruled.cohort.bfile}.fam").read_text().splitlines()]
    people = [(f, i) for f, i, y, *_ in lines if y != "NA" and i in known and i in fam]
    one = next((f, i) for f, i, y, *_ in lines if y == "NA" and i in fam)
    paths = ruled.folder / "keep", ruled.folder / "keep-and-one"
    for path, chosen in zip(paths, (people, [*people, one]), strict=True):
        path.write_text("".join(f"{f}\t{i}\n" for f, i in chosen))
    return *paths, fam.index(one[1])


def test_a_filter_over_one_person_more_than_the_table_is_refused_and_else_reads_that_person(ruled, monkeypatch):
    """Where a row has t − 1 minor alleles among those in the table, `--mac t` keeps it if the one person more has one."""
    keep, more, place = _with_and_without(ruled)
    ruled.write()
    table = sg.run(ruled.study(purpose="HMB", qc=True, keep=keep, **FEW))["QT"]
    study = ruled.study(purpose="HMB", qc=True, keep=more, **FEW)
    assert len(sg.run(study)["QT"]) == len(table)  # without filters the people are the same
    with pytest.raises(PolicyError, match=r"policy\.differing_people"):
        sg.run(study, filters=Filters(mac=20))
    with pytest.raises(PolicyError, match=r"policy\.differing_people"):
        sg.run(study, engine="ckks", filters=Filters(mac=20))
    monkeypatch.setattr(PeopleFacts, "sifted", lambda people: people)  # the protection
    block = study.reader.read(0, len(table))
    at = list(sg.read_plink(ruled.cohort.bfile).samples.iid)[place]
    me = list(study.reader.samples.iid).index(at)
    count = (table["A1_FREQ"] * 2 * table["OBS_CT"]).round().fillna(-1).to_numpy(int)
    read = {}
    for t in (16, 20, 24):
        left = set(sg.run(study, filters=Filters(mac=t))["QT"]["ID"])
        read |= {v: table["ID"][v] in left for v in np.flatnonzero(count == t - 1)}
    assert len(read) > 2 and all((block.dosage[v, me] > 0) == carries for v, carries in read.items())


def test_filters_over_the_people_of_the_table_are_as_before(ruled):
    keep, _, _ = _with_and_without(ruled)
    ruled.write()
    study = ruled.study(purpose="HMB", qc=True, keep=keep, **FEW)
    free = sg.run(replace(study, inputs=replace(study.inputs)), filters=Filters(mac=20))["QT"]
    assert 0 < len(free) < len(sg.run(study)["QT"])
