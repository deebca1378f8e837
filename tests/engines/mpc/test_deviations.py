"""What a party that keeps to the messages but not to the protocol gets: refused, or as the threat model says."""

from __future__ import annotations

import numpy as np
import pytest
from bed_reader import to_bed

from securegen.engines.mpc import aggregates, association, gwas, projected_run
from securegen.engines.mpc.state_file import StateFile
from securegen.engines.mpc.vertical import Roles
from securegen.errors import PolicyError, ProtocolError
from securegen.results.rows import table_text, write_table
from securegen.study.genotypes import open_genotypes
from securegen.study.inputs import Inputs

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
            s, ROLES, reader, reveal=reveal, cohort="c", state=StateFile(tmp_path / "ada"), threshold=agreed,
            column_limit=limit,
        ),
        "bob": lambda s: projected_run.phenotype_run(
            s, ROLES, own(files), str(tmp_path / "out"), reveal=reveal,
            state=StateFile(tmp_path / "bob"), threshold=used,
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
    write = projected_run.write_groups

    def announced(groups):
        monkeypatch.setattr(projected_run, "write_groups", write)  # what ada tells dan is as it is
        made = write(groups)
        made[0]["basis" if fault == "more columns" else "samples"] -= 1  # more columns than are paid for; other people
        return made

    monkeypatch.setattr(projected_run, "write_groups", announced)
    s = study(PARTIES)
    reader = open_genotypes(Inputs(str(files / "all")))

    def bob(session):
        projected_run.phenotype_run(
            session, ROLES, own(files), str(tmp_path / "out"), reveal="uv", state=StateFile(tmp_path / "bob")
        )

    out = s.run({
        "ada": lambda x: projected_run.genotype_run(
            x, ROLES, reader, reveal="uv", cohort="c", state=StateFile(tmp_path / "ada"), column_limit=9
        ),
        "bob": bob,
        "dan": lambda x: projected_run.deal(x, ROLES),
    })  # fmt: skip
    assert isinstance(out["ada"], ProtocolError) and "party 'bob'" in str(out["ada"]), out
    assert not list(tmp_path.glob("out*"))


def cohort_of(**changes):
    """An announcement of three people and one variant, changed by paths such as samples__iid."""
    value = {
        "samples": {"fid": ["a", "b", "c"], "iid": ["a", "b", "c"], "founder": [True] * 3}, "grid": 1, "largest": 2,
        "variants": {"chromosome": ["1"], "id": ["rs1"], "effect_allele": ["A"], "other_allele": ["G"], "position": [5]},
    }  # fmt: skip
    for path, new in changes.items():
        part, _, name = path.partition("__")
        (value[part] if name else value)[name or part] = new
    return value


FORGED = "rs1\t0.5\t9\n1\t77"
HOSTILE = [
    {"variants__id": [FORGED]}, {"samples__iid": ["a", "b\n", "c"]}, {"samples__fid": ["a", 7, "c"]},
    {"variants__position": [1 << 70]}, {"variants__position": [-1]}, {"variants__position": [True]},
    {"samples__founder": [1, 0, 1]}, {"variants__effect_allele": ["A", "C"]}, {"coding": "DOM"}, {"coding": ["additive"]},
]  # fmt: skip


@pytest.mark.parametrize("changes", [{}, *HOSTILE])
def test_names_that_would_forge_rows_of_a_table_end_the_session(study, changes):
    out = study({"ada": "site", "bob": "site"}).run({
        "ada": lambda s: s.send_json("bob", "cohort", cohort_of(**changes)),
        "bob": lambda s: association.receive_cohort(s, "ada"),
    })  # fmt: skip
    if changes:
        assert isinstance(out["bob"], ProtocolError) and "announced" in str(out["bob"]), out
    else:
        assert list(out["bob"].variants.id) == ["rs1"]


def test_with_the_check_off_a_name_forges_a_row(study, monkeypatch, tmp_path):
    """The attack: an id with a tab and a line's end becomes a variant of its own in the phenotype owner's table."""
    monkeypatch.setattr(association, "_words", lambda values: np.array(values, object))
    out = study({"ada": "site", "bob": "site"}).run({
        "ada": lambda s: s.send_json("bob", "cohort", cohort_of(variants__id=[FORGED])),
        "bob": lambda s: association.receive_cohort(s, "ada"),
    })  # fmt: skip
    names = ("#CHROM", "ID")
    write_table(tmp_path / "t", names, [table_text(out["bob"].variants, {}, names)])
    assert (tmp_path / "t").read_text() == f"#CHROM\tID\n1\t{FORGED}\n" and FORGED.count("\n") == 1


@pytest.mark.parametrize("reveal", ["uv", "aggregates"])
def test_too_few_analysed_people_are_refused(study, files, tmp_path, monkeypatch, reveal):
    """With the rule off a table over a dozen people is made."""
    few = tmp_path / "few.tsv"
    rows = "".join(f"p{i}\tp{i}\t{i % 5}\n" for i in range(12))
    few.write_text("#FID\tIID\tQT\n" + rows)
    inputs, reader, s = Inputs("", pheno=str(few)), open_genotypes(Inputs(str(files / "all"))), study(PARTIES)

    def state(session):
        return StateFile(tmp_path / session.me)

    def ada(x):
        if reveal == "uv":
            projected_run.genotype_run(x, ROLES, reader, reveal="uv", cohort="c", state=state(x), column_limit=99)
        else:
            aggregates.genotype_run(
                x, ROLES, reader, cohort="c", state=state(x), consent_aggregates=True, column_limit=99
            )

    def bob(x):
        out = str(tmp_path / "out")
        if reveal == "uv":
            projected_run.phenotype_run(x, ROLES, inputs, out, reveal="uv", state=state(x))
        else:
            aggregates.phenotype_run(x, ROLES, inputs, out, state=state(x), consent_aggregates=True)

    def dan(x):
        (projected_run if reveal == "uv" else aggregates).deal(x, ROLES)

    out = s.run({"ada": ada, "bob": bob, "dan": dan})
    assert (
        isinstance(out["ada"], PolicyError)
        and "fewer than 20 people" in str(out["ada"])
        and not list(tmp_path.glob("out*"))
    )
    monkeypatch.setattr(gwas, "LEAST_ANALYSED", 0)
    results(s.run({"ada": ada, "bob": bob, "dan": dan}))
    assert list(tmp_path.glob("out*"))


@pytest.mark.parametrize("stream", ["g", "q", "m"])
def test_a_column_is_opened_once(stream):
    """A million times one column is as many sums for the servers, of one that is counted."""
    asked = {"g": [0, 1], "q": [1], "m": [0, 1]}
    assert association._agreed_columns(asked, "phe") == asked
    with pytest.raises(ProtocolError, match="malformed columns"):
        association._agreed_columns(asked | {stream: [*asked[stream], 1]}, "phe")
