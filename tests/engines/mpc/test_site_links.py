"""Sites of a federated study over mutual TLS: the same messages as in a folder, the same tables, and what goes wrong."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from securegen.cli.main import main
from securegen.engines.federated import rehearsal
from securegen.engines.federated.rounds import SecureSum
from securegen.engines.mpc import site_links
from securegen.engines.mpc.loopback import loopback_study
from securegen.engines.mpc.site_links import MessageLinks
from securegen.engines.plain.engine import write_plain
from securegen.errors import PeerError, ProtocolError, SecuregenError, UsageError
from securegen.study.inputs import Inputs
from securegen.study.opening import open_study

from .conftest import over_tls, results

EXAMPLES = Path(__file__).parents[3] / "examples"
INPUTS = Inputs(
    str(EXAMPLES / "cohort"), pheno=str(EXAMPLES / "cohort.pheno.tsv"), pheno_name=("QT", "CC"),
    covar=str(EXAMPLES / "cohort.covar.tsv"), chr=("1",),
)  # fmt: skip
NAMES = ("site1", "site2", "site3")


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plain")
    options = {n: getattr(INPUTS, n) for n in ("pheno", "pheno_name", "covar", "chr")}
    write_plain(open_study(INPUTS.bfile, **options), str(folder / "result"))
    return {p.name: p.read_bytes() for p in folder.glob("result.*")}


def tables(work, name):
    return {p.name: p.read_bytes() for p in (work / name).glob("result.*")}


def test_the_tables_are_the_plain_engines_and_nothing_is_in_a_folder(tmp_path, plain):
    made = over_tls(tmp_path, INPUTS)
    assert all(tables(tmp_path, name) == plain for name in NAMES) and len(plain) == 2
    assert {p.name for p in (tmp_path / "shared").glob("*/*")} == {"accept.msg"}
    assert all(made[n].opened["row_bytes"] <= 1.15 * made[n].opened["field_bytes"] for n in NAMES)


def test_a_site_that_dies_goes_on_with_the_same_bytes(tmp_path, plain, monkeypatch):
    genuine, sent = SecureSum.together, {}

    def dies(self, steps):
        if self._session.site == "site2" and steps[0].name.startswith("variants"):
            raise RuntimeError("killed")
        return genuine(self, steps)

    monkeypatch.setattr(SecureSum, "together", dies)
    out = over_tls(tmp_path, INPUTS, sites=NAMES)
    assert isinstance(out["site2"], RuntimeError) and isinstance(out["site1"], PeerError), out
    for path in tmp_path.glob("*/private/study-*/sent.*"):
        sent[path] = path.read_bytes()
    monkeypatch.undo()
    results(over_tls(tmp_path, INPUTS, sites=NAMES))
    assert all(tables(tmp_path, name) == plain for name in NAMES)
    assert len(sent) > 20 and all(path.read_bytes() == raw for path, raw in sent.items())
    results(over_tls(tmp_path, INPUTS, sites=NAMES))  # and when all have finished, all are answered


def test_a_message_twice_and_one_too_many_are_named(tmp_path, monkeypatch):
    genuine = MessageLinks.post

    def twice(self, step, raw):
        for _ in range(3 if (self._me, step) == ("site3", "hello") else 1):
            self._posted.clear()
            genuine(self, step, raw)

    monkeypatch.setattr(MessageLinks, "post", twice)
    out = over_tls(tmp_path, INPUTS, sites=NAMES)
    assert any(isinstance(e, ProtocolError) and "site site3 sent 'hello' twice" in str(e) for e in out.values()), out


def test_parties_of_other_names_are_refused(tmp_path):
    loopback_study(tmp_path / "local", dict.fromkeys(("site1", "site2", "other"), "site"))
    rehearsal.set_up(
        tmp_path, INPUTS, rehearsal.deal(rehearsal.open_genotypes(INPUTS), INPUTS.genotypes, 3), print, openings="all"
    )
    out = over_tls(tmp_path, INPUTS, sites=("site1",))
    assert isinstance(out["site1"], UsageError) and "the names must be the same" in str(out["site1"])


def test_by_the_command_line(tmp_path, plain):
    """party --role site, each site a process of its own."""
    sites = rehearsal.deal(rehearsal.open_genotypes(INPUTS), INPUTS.genotypes, 3)
    rehearsal.set_up(tmp_path, replace(INPUTS, chr=("1",)), sites, print, openings="all")
    loopback_study(tmp_path / "tls", dict.fromkeys(NAMES, "site"), timeout=60)
    calls = []
    for site in sites:
        role = rehearsal.site_role(tmp_path, INPUTS, site, rehearsal.Filters())
        words = {name: value for name, value in role.options.items() if name not in ("dir", "wait")}
        place = {
            "role": "site",
            "parties": tmp_path / "tls" / "parties.toml",
            "name": site.name,
            "dir": tmp_path / "shared",
        }
        calls.append(replace(role, command=("party",), options=place | words, config="--run-config"))
    rehearsal.run_sites(calls)
    for name in NAMES:
        found = {p: raw for p, raw in tables(tmp_path, name).items() if ".glm." in p}
        assert found == plain
        record = json.loads((tmp_path / name / "result.run.json").read_text())
        assert record["engine"] == "federated" and record["site"] == name


@pytest.mark.parametrize(
    ("more", "match"), [([], "needs --dir FOLDER"), (["--dir", "s", "--model", "linear"], "--model")]
)
def test_what_the_study_file_says_is_not_said_again(tmp_path, more, match):
    loopback_study(tmp_path, dict.fromkeys(NAMES, "site"))
    words = ["party", "--role", "site", "--parties", str(tmp_path / "parties.toml"), "--name", "site1", *more]
    words += [
        "--state",
        str(tmp_path / "state"),
        *(f"--{name}={value}" for name, value in INPUTS.genotypes.options().items()),
        "--pheno",
        INPUTS.pheno,
        "--out",
        str(tmp_path / "o"),
    ]
    with pytest.raises(SecuregenError, match=match):
        main(words, standalone_mode=False)


class Flood:
    """The session of a site whose peer sends messages of ever other steps, with nothing in them."""

    others, sent = ("site2",), 0

    def receive(self, source, step, *, dtype):
        self.sent += 1
        if self.sent > 1000:
            raise MemoryError
        return np.frombuffer(f"step {self.sent}\n".encode(), np.uint8)


@pytest.mark.parametrize("protected", [False, True])
def test_empty_messages_without_end_take_a_bounded_place(protected, monkeypatch):
    if not protected:
        monkeypatch.setattr(site_links, "PLACE", 0)
    monkeypatch.setattr(site_links, "MOST_PAYLOAD", 100 << 12)
    session = Flood()
    with pytest.raises(ProtocolError if protected else MemoryError):
        MessageLinks(session, None, "site1")._next("site2", "hello")
    assert session.sent == (101 if protected else 1001)
