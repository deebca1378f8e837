"""Tables of a study: coarser columns reach every engine, and a column that no design uses is never kept."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from support import Cohort, securegen

import securegen as sg
from securegen.engines.federated import rehearsal
from securegen.engines.federated.cohort import read_traits
from securegen.errors import InputError, PolicyError, UsageError
from securegen.io.tables import all_of, read_table


def with_columns(path: str, out: Path, **columns) -> str:
    """The table with more columns: name -> function of the row's number."""
    header, *rows = Path(path).read_text().splitlines()
    lines = ["\t".join([header, *columns])]
    lines += ["\t".join([row, *(str(value(i)) for value in columns.values())]) for i, row in enumerate(rows)]
    out.write_text("\n".join(lines) + "\n")
    return str(out)


def opened(small: Cohort, covar: str, **more) -> sg.Study:
    return sg.open_study(small.bfile, pheno=small.pheno, pheno_name="QT", covar=covar, chr="1", to_bp=1200, **more)


def test_bins_and_prefixes_are_those_of_a_table_made_coarser(small, tmp_path):
    """The same design, column by column, as of a table that a spreadsheet made coarser."""
    fine = with_columns(
        small.covar, tmp_path / "fine.tsv", REGION=lambda i: f"{'NSW'[i % 3]}{i % 7}", DOSE=lambda i: i / 4
    )
    coarse = with_columns(
        small.covar, tmp_path / "coarse.tsv", REGION=lambda i: "NSW"[i % 3], DOSE=lambda i: 2.5 * (i / 4 // 2.5)
    )
    said: list[str] = []
    made = opened(small, fine, covar_categorical="REGION", generalise=("REGION:1", "DOSE:2.5"), log=said.append)
    want = opened(small, coarse, covar_categorical="REGION")
    assert made.design.columns.names == want.design.columns.names
    assert np.array_equal(made.design.columns.values, want.design.columns.values)
    assert {"--generalise REGION: the first 1 characters of each code",
            "--generalise DOSE: bins of width 2.5, each value the lower end of its bin"} <= set(said)  # fmt: skip


def test_a_rule_for_a_column_that_is_not_used_is_refused(small):
    for more in ({"generalise": "AGEE:5"}, {"generalise": "AGE:5", "covar_name": "SEX"}):
        with pytest.raises(UsageError, match="generalise"):
            opened(small, small.covar, **more)


def test_sites_have_the_same_coarse_values(small, tmp_path):
    work = tmp_path / "sites"
    study = opened(small, small.covar, generalise="AGE:10")
    engine = sg.Federated(sites=2, two_sites_learn_each_other=True, openings="all")
    local, made = engine._set_up(study, work)
    roles = [rehearsal.site_role(work, study.inputs, s, rehearsal.Filters()) for s in local]
    assert all(role.options["generalise"] == ("AGE:10",) for role in roles)
    own = read_traits(made, "site1", study.inputs, study.reader.samples, np.zeros((len(study.reader.samples), 0)))
    ages = own.covariates[:, list(own.covariate_names).index("AGE")]
    assert set(ages[~np.isnan(ages)] % 10) == {0} and len(set(ages[~np.isnan(ages)])) > 3


def test_dates_and_free_text_are_refused_where_they_are_used_only(small, tmp_path):
    covar = with_columns(
        small.covar,
        tmp_path / "c.tsv",
        DOB=lambda i: f"19{i % 100:02d}0101",
        NOTE=lambda i: f"seen by somebody, case {i}",
    )
    assert opened(small, covar, covar_name=("AGE", "SEX")).design.columns.names
    with pytest.raises(PolicyError, match=r"minimise\.date"):
        opened(small, covar, covar_name=("AGE", "DOB"))
    with pytest.raises(PolicyError, match=r"minimise\.free_text"):
        opened(small, covar, covar_name=("AGE", "NOTE"), covar_categorical="NOTE")
    done = securegen("gwas", *small.options()[:-1], covar, "--covar-name", "AGE,DOB", "--out", tmp_path / "x")
    assert done.code == 12 and "minimise.date" in done.err and "0101" not in done.err


def test_a_column_that_no_design_uses_is_never_kept(tmp_path):
    """A table of 24 MB, of which 200 short cells are used."""
    path = tmp_path / "wide.tsv"
    with path.open("w") as out:
        out.write("#FID\tIID\tNOTE\tAGE\n")
        for i in range(200):
            out.write(f"F{i}\tI{i}\t{'x' * 120_000}\t{i}\n")

    def peak(choose) -> int:
        tracemalloc.start()
        table = read_table(path, choose)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert table.columns["AGE"].tolist() == [str(i) for i in range(200)]
        return most

    assert peak(None) > 24_000_000 > 10 * peak(all_of(path, ["AGE"]))


def test_what_is_wrong_in_a_column_that_is_not_used_is_still_said(tmp_path):
    path = tmp_path / "t.tsv"
    for text, words in (
        ("#IID\tA\tB\na\t1\t2\nb\t1\n", "line 3"),
        ("#IID\tA\tB\tB\na\t1\t2\t3\n", "appears more than once"),
    ):
        path.write_text(text)
        with pytest.raises(InputError, match=words):
            read_table(path, all_of(path, ["A"]))
    path.write_bytes(b"#IID\tA\tB\n" + b"".join(b"p%d\t1\tx\n" % i for i in range(3000)) + b"q\t1\t\xe9\n")
    with pytest.raises(InputError, match="line 3002: byte 0xe9"):
        read_table(path, all_of(path, ["A"]))
