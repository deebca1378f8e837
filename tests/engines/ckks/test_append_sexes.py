"""X, Y and MT that arrive later are counted as the cohort counts them, by its sexes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import securegen as sg
from securegen.engines.ckks.owner.state import OwnerState, read_info
from securegen.engines.plain.engine import write_plain
from securegen.errors import InputError
from securegen.study.genotypes import open_genotypes
from securegen.study.inputs import Inputs
from securegen.study.relabelled import Relabelled


@pytest.fixture(scope="module", params=[1, 2])
def world(request, reference):
    """The study with its key, and its genotypes as they are read: autosomes, and each of the other chromosomes."""
    cohort, model = reference("sexes"), request.param
    options = {"pheno": cohort.pheno, "pheno_name": "QT", "covar": cohort.covar, "xchr_model": model}
    study = sg.open_study(cohort.bfile, **options)
    whole = open_genotypes(Inputs(cohort.bfile, xchr_model=model), haploid=True)
    names = whole.variants.chromosome.astype(str)
    last = {
        name: name if name in ("23", "24", "25", "26", "X", "Y", "XY", "MT") else "autosomes" for name in set(names)
    }
    groups = np.array([last[name] for name in names])
    parts = {name: whole.select(variants=np.flatnonzero(groups == name)) for name in dict.fromkeys(groups)}
    assert len(parts) >= 4 and list(parts)[0] == "autosomes"
    return study, parts, sg.ckks.generate_key(sg.ckks.plan(study)), model


def test_one_after_another_is_all_together(world, tmp_path):
    study, parts, key, model = world
    store = tmp_path / "s"
    first, *later = parts
    sg.ckks.encrypt_cohort(parts[first], key, store)
    for name in later:
        sg.ckks.append_cohort(parts[name], key, store, xchr_model=model)
    info = read_info(OwnerState(Path(f"{store}.owner"), key))
    assert info.xchr_model == model and info.samples.sex.any()
    sg.ckks.encrypt_design(study, key, f"{store}.owner", f"{store}.design")
    results = sg.ckks.associate(f"{store}.cohort", f"{store}.design", tmp_path / "r")
    (ours,) = sg.ckks.decrypt_tables(results, key, f"{store}.owner", str(tmp_path / "e"))
    (theirs,) = write_plain(study, str(tmp_path / "p"))
    assert Path(ours.path).read_bytes() == Path(theirs.path).read_bytes()


def test_what_would_be_counted_otherwise_is_refused_or_said(world, tmp_path):
    study, parts, key, model = world
    store, x = tmp_path / "s", next(name for name in parts if name in ("23", "X"))
    half = np.arange(len(parts[x].variants)) % 2 == 0
    early, late = (parts[x].select(variants=np.flatnonzero(which)) for which in (half, ~half))
    sg.ckks.encrypt_cohort(parts["autosomes"], key, store)
    sg.ckks.append_cohort(early, key, store, xchr_model=model)
    with pytest.raises(InputError, match=f"X of the encrypted cohort is counted by `xchr_model` {model}: give that"):
        sg.ckks.append_cohort(late, key, store, xchr_model=3 - model)
    people = late.samples
    other = replace(people, sex=np.where(np.arange(len(people)) < 3, 3 - people.sex, people.sex).astype(np.int8))
    said: list[str] = []
    sg.ckks.append_cohort(Relabelled(late, other, late.variants), key, store, log=said.append)
    assert sum("says another sex of" in line and "those of the encrypted cohort are used" in line for line in said) == 1
    sg.ckks.append_cohort(late, key, store, log=said.append)  # the same genotypes by the cohort's sexes: nothing is new
    assert "nothing is appended" in said[-1]
