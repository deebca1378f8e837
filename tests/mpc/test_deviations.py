"""What a party that keeps to the messages but not to the protocol gets: refused, or as the threat model says."""

from __future__ import annotations

import numpy as np
import pytest
from bed_reader import to_bed

from securegen.errors import PolicyError, ProtocolError
from securegen.mpc import projected_run
from securegen.mpc.state import OwnerState
from securegen.mpc.vertical import Roles
from securegen.study import Inputs, open_genotypes

from .conftest import results

N, M = 200, 40
PARTIES = {"ada": "genotypes", "bob": "phenotypes", "dan": "dealer"}
ROLES = Roles("ada", "bob", "dan")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("deviations")
    draw = np.random.default_rng(12)
    ids = [f"p{i}" for i in range(N)]
    to_bed(folder / "all.bed", draw.binomial(2, 0.4, (N, M)).astype(float), properties={"fid": ids, "iid": ids})
    rows = "".join(f"{i}\t{i}\t{v:.3f}\n" for i, v in zip(ids, draw.normal(size=N), strict=True))
    (folder / "p.tsv").write_text("#FID\tIID\tQT\n" + rows)
    rows = "".join(f"{i}\t{i}\t{v:.3f}\n" for i, v in zip(ids, draw.normal(size=N), strict=True))
    (folder / "c.tsv").write_text("#FID\tIID\tAGE\n" + rows)
    return folder


def own(files):
    return Inputs("", pheno=str(files / "p.tsv"), covar=str(files / "c.tsv"))


def run(study, files, tmp_path, *, reveal="hits", agreed=5e-8, used=5e-8, limit=3):
    reader = open_genotypes(Inputs(str(files / "all")))
    return study.run({
        "ada": lambda s: projected_run.genotype_run(
            s, ROLES, reader, reveal=reveal, cohort="c", state=OwnerState(tmp_path / "ada"), threshold=agreed,
            column_limit=limit,
        ),
        "bob": lambda s: projected_run.phenotype_run(
            s, ROLES, own(files), str(tmp_path / "out"), reveal=reveal,
            state=OwnerState(tmp_path / "bob"), threshold=used,
        ),
        "dan": lambda s: projected_run.deal(s, ROLES),
    })  # fmt: skip


def hits(tmp_path):
    return len((tmp_path / "out.QT.hits").read_text().splitlines()) - 1


def test_the_phenotype_owner_alone_applies_the_threshold(study, files, tmp_path):
    """Not refused: the threshold is a factor of its own hidden column. What holds is the limit of columns."""
    s = study(PARTIES)
    results(run(s, files, tmp_path, limit=100))
    assert hits(tmp_path) == 0
    results(run(s, files, tmp_path, used=0.49, limit=100))
    assert hits(tmp_path) > M // 4


def test_every_such_run_is_counted(study, files, tmp_path):
    s = study(PARTIES)
    results(run(s, files, tmp_path))
    again = run(s, files, tmp_path, used=0.49)
    assert isinstance(again["ada"], PolicyError) and "2 of at most 3" in str(again["ada"])
    assert "PolicyError" in str(again["bob"]) and "at most" not in str(again["bob"])


@pytest.mark.parametrize("fault", ["more columns", "other people"])
def test_other_columns_or_people_than_announced_end_the_session(study, files, tmp_path, monkeypatch, fault):
    write = projected_run._write_groups

    def announced(groups):
        monkeypatch.setattr(projected_run, "_write_groups", write)  # what ada tells dan is as it is
        made = write(groups)
        made[0]["basis" if fault == "more columns" else "samples"] -= 1  # more columns than are paid for; other people
        return made

    monkeypatch.setattr(projected_run, "_write_groups", announced)
    s = study(PARTIES)
    reader = open_genotypes(Inputs(str(files / "all")))

    def bob(session):
        projected_run.phenotype_run(
            session, ROLES, own(files), str(tmp_path / "out"), reveal="uv", state=OwnerState(tmp_path / "bob")
        )

    out = s.run({
        "ada": lambda x: projected_run.genotype_run(
            x, ROLES, reader, reveal="uv", cohort="c", state=OwnerState(tmp_path / "ada"), column_limit=9
        ),
        "bob": bob,
        "dan": lambda x: projected_run.deal(x, ROLES),
    })  # fmt: skip
    assert isinstance(out["ada"], ProtocolError) and "party 'bob'" in str(out["ada"]), out
    assert not list(tmp_path.glob("out*"))
