"""A study that goes on without a site: what two tables tell, who agreed, what is kept, and who is told."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

from securegen.cli.main import main
from securegen.engines.federated import continuing, hub, leaving, steps, study_toml
from securegen.engines.federated.admission import admit, begin, guard_of_study, sites_of
from securegen.engines.federated.leaving import OwnPart, part_of
from securegen.engines.federated.message_folder import MessageFolder
from securegen.engines.federated.messages import ACCEPT, LEFT, write_message
from securegen.engines.federated.state import SiteState, open_memory
from securegen.errors import PeerError, PolicyError, ProtocolError, SecuregenError, StorageError, UsageError
from securegen.governance.guard import REFUSAL
from securegen.governance.ledger import Entries
from securegen.governance.ledger_file import open_ledger
from securegen.governance.signing import generate
from securegen.model import Samples

from .conftest import make_study
from .consortium import SITES, Consortium

THREE = SITES[:3]


def copied(consortium: Consortium, folder) -> Consortium:
    shutil.copytree(consortium.work, folder, dirs_exist_ok=True)
    return replace(consortium, work=folder)


def results(found: dict) -> dict:
    errors = [e for e in found.values() if isinstance(e, SecuregenError)]
    assert not errors, errors
    return found


@pytest.fixture(scope="module")
def finished(tmp_path_factory, cohort) -> Consortium:
    """Four sites have their table; nobody agreed to be read."""
    made = Consortium(tmp_path_factory.mktemp("finished"), cohort)
    made.init("four", SITES)
    results(made.run_all("four", SITES))
    return made


@pytest.fixture(scope="module")
def agreed(tmp_path_factory, cohort) -> Consortium:
    """Four sites have their table; dora agreed that it may be read."""
    made = Consortium(tmp_path_factory.mktemp("agreed"), cohort)
    made.init("four", SITES, may_leave=["dora"])
    results(made.run_all("four", SITES))
    return made


@pytest.fixture(scope="module")
def vanished(tmp_path_factory, cohort) -> Consortium:
    """dora joined and was never seen again: the others have keys for the study, and said hello."""
    made = Consortium(tmp_path_factory.mktemp("vanished"), cohort)
    made.init("four", SITES)
    for site in THREE:
        with pytest.raises(PeerError):
            made.run("four", site)
    return made


@pytest.fixture(scope="module")
def stalled(tmp_path_factory, cohort) -> Consortium:
    """The others have sent their part of the first sum, dora has not."""
    made = Consortium(tmp_path_factory.mktemp("stalled"), cohort)
    made.init("four", SITES)
    shared = made.work / "four"
    while not (shared / "cora" / "design-0001.msg").is_file():
        for site in SITES if not (shared / "dora" / "ready.msg").is_file() else THREE:
            with pytest.raises(PeerError):
                made.run("four", site)
    sent = {site: (shared / site / "design-0001.msg").is_file() for site in SITES}
    assert sent == {"anna": True, "bert": True, "cora": True, "dora": False}
    return made


@pytest.fixture(scope="module")
def fresh(tmp_path_factory, cohort) -> bytes:
    """The table of a study of three sites who were in no other."""
    made = Consortium(tmp_path_factory.mktemp("fresh"), cohort)
    made.init("three", THREE)
    results(made.run_all("three", THREE))
    return made.table("anna", "three")


# --- the difference of two tables


def test_two_tables_give_the_leaving_sites_sums(finished, tmp_path, monkeypatch):
    """The rules off: whoever has both tables has dora's allele counts."""
    made = copied(finished, tmp_path)
    for name in ("_refuse_open", "_judge"):
        monkeypatch.setattr(continuing, name, lambda *_: None)
    monkeypatch.setattr(Entries, "alone", lambda *_: [])
    made.go_on("four", "three", "dora")
    for site in THREE:
        made.join("three", site)
    results(made.run_all("three", THREE))
    difference = made.counts("bert", "four") - made.counts("bert", "three")
    assert difference.tolist() == made.own_counts("dora").tolist() and difference.sum() > 100


def test_nobody_goes_on_without_a_site_that_did_not_agree(finished, tmp_path, monkeypatch):
    """The coordinator is told, and where it deviates every site refuses, when it joins and when it runs."""
    made = copied(finished, tmp_path)
    with pytest.raises(PolicyError, match="cannot go on without site dora: site anna, bert, cora has sent sums"):
        made.go_on("four", "three", "dora")
    monkeypatch.setattr(continuing, "_refuse_open", lambda *_: None)
    made.go_on("four", "three", "dora")
    for site in THREE:
        with pytest.raises(PolicyError, match="would be the sums of dora alone"):
            made.join("three", site)
        made.accept("three", site)
    for site in THREE:
        with pytest.raises(PolicyError, match="would be the sums of dora alone"):
            made.run("three", site)
    assert not list((made.work / "three").glob("*/hello.msg"))
    # nor as a study that says nothing of the old one, nor with the others' consent
    for folder, more in (("again", {}), ("consent", {"consent_openings": True})):
        made.init(folder, THREE, **more)
        assert all(str(e) == REFUSAL or isinstance(e, PeerError) for e in made.run_all(folder, THREE).values())
        assert not list((made.work / folder).glob("*/design*"))


def test_a_site_that_agreed_is_read_and_everybody_is_told(agreed, tmp_path, fresh):
    made = copied(agreed, tmp_path)
    said = [w for w in made.run("four", "anna").receipt.warnings if "dora" in w]
    assert len(said) == 1 and "the difference is its own sums" in said[0]
    study = made.go_on("four", "three", "dora")
    assert study.without[0].name == "dora" and [s.name for s in study.sites] == [*THREE] and study.continues
    for site in THREE:
        made.join("three", site)
    for result in results(made.run_all("three", THREE)).values():
        told = [w for w in result.receipt.warnings if "dora" in w]
        assert len(told) == 1 and "site dora agreed that its own sums are read" in told[0]
        assert not any("anna agreed" in w or "bert agreed" in w for w in result.receipt.warnings)
    assert all(made.table(site, "three") == fresh for site in THREE)


def test_another_sites_agreement_is_not_doras(agreed, tmp_path):
    made = copied(agreed, tmp_path)
    with pytest.raises(PolicyError, match="cannot go on without site cora"):
        made.go_on("four", "three", "cora")


# --- before a total is open


def test_the_continued_study_is_that_of_the_remaining_sites(vanished, tmp_path, fresh):
    """New keys, nothing of the old study is kept, and the table is that of three sites who never saw the fourth."""
    made = copied(vanished, tmp_path)
    old, _ = steps.open_folder(made.work / "four")
    assert {"private", "sent.hello", "accepted"} <= {p.name for p in made.memory("anna", old).iterdir()}
    new = made.go_on("four", "three", "dora")
    for site in THREE:
        made.join("three", site)
    for result in results(made.run_all("three", THREE)).values():
        assert not any("dora" in w for w in result.receipt.warnings)
    assert all(made.table(site, "three") == fresh for site in THREE)
    assert new.study_id != old.study_id
    rest = replace(new, digest="", study_id="", sites=old.sites, continues="", without=())
    assert rest == replace(old, digest="", study_id="")
    for site in THREE:
        kept = {p.name for p in made.memory(site, old).iterdir()}
        assert kept == {"lock", "memory.key", "ended", "parted"}
        with pytest.raises(PolicyError, match=f"goes on without site dora as study {new.digest[:16]}"):
            made.run("four", site)
    with pytest.raises(PeerError):  # who comes late finds nobody
        made.run("four", "dora")
    again = {site: made.run("three", site) for site in THREE}
    assert all(r.receipt.parties for r in again.values()), "and once more"


def test_the_old_study_never_begins_beside_the_new_one(vanished, tmp_path, monkeypatch):
    """A memory of before, brought back: the ledger knows that the new study's totals are open."""
    made = copied(vanished, tmp_path)
    old, _ = steps.open_folder(made.work / "four")
    made.go_on("four", "three", "dora")
    shutil.copytree(made.memory("anna", old), tmp_path / "before")
    for site in THREE:
        made.join("three", site)
    results(made.run_all("three", THREE))
    shutil.rmtree(made.memory("anna", old))
    shutil.copytree(tmp_path / "before", made.memory("anna", old))
    with pytest.raises(PolicyError) as error:
        made.run("four", "anna")
    assert str(error.value) == REFUSAL


def test_old_messages_say_nothing_in_the_new_study(stalled, tmp_path):
    made = copied(stalled, tmp_path)
    new = study_toml.write_study(tmp_path / "three", continued(made), generate_coordinator(made))
    shutil.copy(made.work / "four" / "variants.tsv", tmp_path / "three")
    for site in new.sites:
        for path in (made.work / "four" / site.name).glob("*.msg"):
            shutil.copytree(path.parent, tmp_path / "three" / site.name, dirs_exist_ok=True)
            with pytest.raises(ProtocolError, match="another study, site or step"):
                MessageFolder(tmp_path / "three", new).read(site, path.name.removesuffix(".msg"))


def generate_coordinator(made: Consortium):
    return steps.signing.read_identity(made.work / "coordinator.secret")


def continued(made: Consortium, left: str = "", sites=THREE):
    """What a coordinator that looks at nothing writes."""
    old, _ = steps.open_folder(made.work / "four")
    gone = continuing.Leaver("dora", old.site("dora").verify_key, left)
    return replace(
        old, digest="", study_id=study_toml.new_study_id(), sites=tuple(old.site(s) for s in sites),
        continues=old.digest, without=(gone,),
    )  # fmt: skip


# --- a site that leaves, and says so


def test_a_site_that_left_before_its_first_sum_was_in_none(stalled, tmp_path, fresh):
    """The others have sent theirs: they are told by name, and go on, by dora's signature alone."""
    made = copied(stalled, tmp_path)
    with pytest.raises(PolicyError, match="cannot go on without site dora"):
        made.go_on("four", "three", "dora")
    assert steps.leave(made.work / "four", made.state("dora")) == ("dora", 0)
    for site in THREE:
        with pytest.raises(PeerError, match="site dora left the study.*securegen study continue"):
            made.run("four", site, wait=1000)
    with pytest.raises(PolicyError, match="this site has left the study"):
        made.run("four", "dora")
    made.go_on("four", "three", "dora")
    for site in THREE:
        made.join("three", site)
    for result in results(made.run_all("three", THREE)).values():
        assert not any("dora" in w for w in result.receipt.warnings)
    assert made.table("cora", "three") == fresh


def test_no_link_is_opened_to_a_site_that_left(stalled, tmp_path):
    made = copied(stalled, tmp_path)
    steps.leave(made.work / "four", made.state("dora"))

    def connect(_):
        raise AssertionError("a site that left answers on no link")

    with pytest.raises(PeerError, match="site dora left the study"):
        made.run("four", "anna", connect=connect)


def test_a_site_that_left_later_had_been_in_sums(stalled, tmp_path):
    made = copied(stalled, tmp_path)
    with pytest.raises(PeerError):
        made.run("four", "dora")
    name, sums = steps.leave(made.work / "four", made.state("dora"))
    assert name == "dora" and sums == 2, "the first was opened, and it sent the second"
    assert steps.leave(made.work / "four", made.state("dora")) == (name, sums), "the same at every call"
    old, _ = steps.open_folder(made.work / "four")
    assert {p.name for p in made.memory("dora", old).iterdir()} == {"lock", "memory.key", "ended", "parted"}
    with pytest.raises(PolicyError, match="cannot go on without site dora"):
        made.go_on("four", "three", "dora")


def test_a_memory_that_is_lost_does_not_say_that_nothing_was_sent(stalled, tmp_path):
    made = copied(stalled, tmp_path)
    old, _ = steps.open_folder(made.work / "four")
    shutil.rmtree(made.memory("anna", old))
    assert steps.leave(made.work / "four", made.state("anna")) == ("anna", 1)


def test_a_finished_site_does_not_leave(finished, tmp_path):
    made = copied(finished, tmp_path)
    with pytest.raises(PolicyError, match="site dora has finished the study"):
        steps.leave(made.work / "four", made.state("dora"))
    assert not (made.work / "four" / "dora" / "left.msg").exists()


@pytest.mark.parametrize("kind", ["another key", "another study", "another step", "sums", "none", "damaged"])
def test_a_false_word_of_the_leaving_site_is_refused(stalled, tmp_path, kind):
    """The coordinator writes what dora did not sign."""
    made = copied(stalled, tmp_path)
    old, _ = steps.open_folder(made.work / "four")
    key = made.key("bert") if kind == "another key" else made.key("dora")
    study = "00" * 32 if kind == "another study" else old.digest
    step = ACCEPT if kind == "another step" else LEFT
    value = {} if kind == "none" else {"sums": 1 if kind == "sums" else 0}
    line = write_message(study, "dora", step, study, value, None, key).partition(b"\n")[0].decode()
    if kind == "damaged":
        line = line.replace('"sums": 0', '"sums": 00')
    new = replace(continued(made, line), digest="ab" * 32)
    with pytest.raises((PolicyError, ProtocolError), match="dora"):
        continuing.check_continued(new, made.state("anna"))
    true = write_message(old.digest, "dora", LEFT, old.digest, {"sums": 0}, None, made.key("dora"))
    continuing.check_continued(
        replace(new, without=(replace(new.without[0], left=true.partition(b"\n")[0].decode()),)), made.state("anna")
    )


def test_a_word_that_the_opened_totals_belie(finished, tmp_path):
    made = copied(finished, tmp_path)
    old, _ = steps.open_folder(made.work / "four")
    line = write_message(old.digest, "dora", LEFT, old.digest, {"sums": 0}, None, made.key("dora"))
    with pytest.raises(ProtocolError, match="this site has opened totals with it"):
        continuing.check_continued(continued(made, line.partition(b"\n")[0].decode()), made.state("anna"))


def test_a_study_that_continues_another_one_than_it_says(stalled, tmp_path):
    """Other sites, or a key of the coordinator's own in dora's place, whose word it then has."""
    made = copied(stalled, tmp_path)
    own = generate()
    old, _ = steps.open_folder(made.work / "four")
    line = write_message(old.digest, "dora", LEFT, old.digest, {"sums": 0}, None, own).partition(b"\n")[0].decode()
    new = continued(made)
    false = replace(new, without=(replace(new.without[0], verify_key=own.verify_key, left=line),))
    renamed = replace(new, sites=(*new.sites[:2], replace(new.sites[2], name="eve")))
    for study in (false, renamed):
        with pytest.raises(ProtocolError, match="had other sites, or with other keys"):
            continuing.check_continued(study, made.state("anna"))


# --- crashes


@pytest.mark.parametrize(
    ("owner", "name"), [(SiteState, "remember"), (SiteState, "forget_all"), (SiteState, "forget"), (Entries, "unsummed")]
)  # fmt: skip
def test_a_crash_in_between_is_made_good(stalled, tmp_path, monkeypatch, owner, name):
    """Killed anywhere, the old part has ended or is whole, and what it had done is not forgotten."""
    made = copied(stalled, tmp_path)
    steps.leave(made.work / "four", made.state("dora"))
    new = made.go_on("four", "three", "dora")

    class Killed(BaseException):
        pass

    def kill(*_, **__):
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(owner, name, kill)
        with pytest.raises(Killed):
            continuing.end_continued(new, made.state("anna"))
    with pytest.raises(PolicyError, match="goes on without site dora"):
        made.run("four", "anna")
    with open_memory(made.state("anna"), new.continues) as memory:
        assert part_of(memory) == OwnPart(1, 0)
    for _ in range(2):
        continuing.end_continued(new, made.state("anna"))
    with open_memory(made.state("anna"), new.continues) as memory:
        assert part_of(memory) == OwnPart(1, 0) and memory.names("") == ["ended", "lock", "memory.key", "parted"]
    with open_ledger(made.state("anna") / "ledger") as ledger:
        assert ledger.study(new.continues).unsummed == {"dora"}
    # without dora's word the same study is refused, however often it is tried
    silent = replace(new, without=(replace(new.without[0], left=""),))
    with pytest.raises(PolicyError, match="would be the sums of dora alone"):
        continuing.check_continued(silent, made.state("anna"))


def test_a_process_that_still_runs_the_old_study_is_named(stalled, tmp_path):
    made = copied(stalled, tmp_path)
    steps.leave(made.work / "four", made.state("dora"))
    made.go_on("four", "three", "dora")
    old, _ = steps.open_folder(made.work / "four")
    with open_memory(made.state("anna"), old.digest), pytest.raises(StorageError, match="another process works on"):
        made.join("three", "anna")


# --- agreements and ledgers


def test_an_agreement_is_said_once(tmp_path, cohort):
    """A second acceptance beside the first lets whoever carries messages choose between them."""
    made = Consortium(tmp_path, cohort)
    study = made.init("four", SITES, may_leave=["dora"])
    made.join("four", "dora", True)
    for site, other, said in (("dora", False, "with"), ("anna", True, "without")):
        before = (made.work / "four" / site / "accept.msg").read_bytes()
        with pytest.raises(PolicyError, match=f"has joined the study {said} `may_leave`"):
            made.join("four", site, other)
        assert (made.work / "four" / site / "accept.msg").read_bytes() == before
    assert {p.site for p in hub.progress(made.work / "four", study) if p.may_leave} == {"dora"}
    steps.leave(made.work / "four", made.state("cora"))
    with pytest.raises(PolicyError, match="this site has left the study"):
        made.join("four", "cora", True)


def test_an_agreement_that_somebody_else_writes(tmp_path, cohort):
    made = Consortium(tmp_path, cohort)
    study = made.init("four", SITES)
    path = made.work / "four" / "dora" / "accept.msg"
    value = {"accepts": study.digest, "may_leave": True}
    path.write_bytes(write_message(study.digest, "dora", ACCEPT, study.digest, value, None, made.key("bert")))
    with pytest.raises(ProtocolError, match="site dora: .*not signed by that site"):
        made.run("four", "anna")


def test_a_ledger_of_before_a_study_is_an_older_copy(finished, tmp_path):
    """Deleted or brought back, it does not know a study whose sums were sent: nothing new begins."""
    made = copied(finished, tmp_path)
    for path in made.state("anna").glob("ledger*"):
        path.unlink()
    made.init("again", THREE)
    with pytest.raises(StorageError, match="an older copy or was deleted"):
        made.run("again", "anna")


def test_two_studies_at_once(tmp_path):
    """Both wait for keys; the first that begins closes the other."""
    ids = np.array([f"p{i}" for i in range(40)], object)
    samples = Samples(ids, ids, np.ones(40, bool))
    keys = {n: generate() for n in "ABCD"}
    coordinator = generate()
    four = make_study(keys, coordinator, digest="4" * 64)
    three = make_study({n: keys[n] for n in "ABC"}, coordinator, digest="3" * 64)
    log: list[str] = []

    def refuse(reason: str):
        raise PolicyError(reason)

    guards = {s.digest: guard_of_study(s, log.append, refuse) for s in (four, three)}
    for study in (four, three):
        admit(study, [("QT", np.ones(40, bool))], samples, tmp_path, guards[study.digest], sites_of(study, "A"))
    assert begin(sites_of(three, "A"), tmp_path, guards[three.digest]) == []
    for _ in range(2):
        with pytest.raises(PolicyError):
            begin(sites_of(four, "A"), tmp_path, guards[four.digest])
    assert any("only D is not in study 3333" in line for line in log)


# --- who may continue what, and the commands


def test_what_cannot_be_continued(vanished, tmp_path):
    made = copied(vanished, tmp_path)
    with pytest.raises(UsageError, match="site eve is not in the study"):
        made.go_on("four", "three", "eve")
    with pytest.raises(PolicyError, match="two_sites_learn_each_other"):
        made.go_on("four", "two", "dora", "cora")
    assert len(made.go_on("four", "two", "dora", "cora", two_sites_learn_each_other=True).sites) == 2
    with pytest.raises(StorageError, match="exists already"):
        made.go_on("four", "two", "dora")
    with pytest.raises(PolicyError, match="is not the key of the study's coordinator"):
        steps.continue_study(made.work / "four", tmp_path / "x", made.state("anna") / "site.secret", without=["dora"])
    assert not (tmp_path / "three").exists() and not (tmp_path / "x").exists()


def test_a_study_that_continues_another_survives_writing_and_reading(vanished, tmp_path):
    made = copied(vanished, tmp_path)
    steps.leave(made.work / "four", made.state("dora"))
    new = made.go_on("four", "three", "dora")
    assert leaving.sums_of_left(new.continues, new.without[0], new.without[0].left) == 0
    text = (tmp_path / "three" / "study.toml").read_text()
    assert steps.open_folder(tmp_path / "three")[0] == new and "[[continues.without]]" in text
    with pytest.raises(UsageError, match="names the sites that are no longer in it"):
        replace(new, without=())
    with pytest.raises(UsageError, match="names the sites that are no longer in it"):
        replace(new, without=(replace(new.without[0], name="anna"),))


def command(*words: object) -> str:
    result = CliRunner().invoke(main, [str(w) for w in words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return re.sub(r"\s+", " ", result.output)


def test_leaving_and_continuing_by_the_command_line(tmp_path, cohort):
    made = Consortium(tmp_path, cohort)
    made.init("four", SITES)
    said = command("study", "leave", "--dir", tmp_path / "four", "--state", made.state("dora"))
    assert "site dora left the study; it had sent no sum" in said
    assert "left the study" in command("study", "status", "--dir", tmp_path / "four")
    said = command(
        "study", "continue", "--dir", tmp_path / "four", "--key", tmp_path / "coordinator.secret", "--without", "dora",
        "--out", tmp_path / "three",
    )  # fmt: skip
    assert "3 sites" in said and "without dora" in said
    said = command(
        "study", "join", "--dir", tmp_path / "three", "--state", made.state("anna"), "--trust-study-file", "--may-leave"
    )
    assert "continues study" in said and "the difference is its own sums" in said
    assert "may leave" in command("study", "status", "--dir", tmp_path / "three")
