"""A study in an object store: the integers and bytes of one on a disk, nothing used before its digest, one writer."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from append_tools import Growing, growing
from ckks_tools import rewrite_manifest
from object_stores import counted

import securegen as sg
from securegen.engines.ckks import artefact
from securegen.engines.ckks.cohort import open_cohort
from securegen.engines.ckks.owner import design_secrets, retirement, secret_key
from securegen.engines.ckks.owner import encrypt_cohort as encrypting
from securegen.engines.ckks.owner.state import OwnerState
from securegen.engines.ckks.server import associate as server
from securegen.engines.ckks.studydesign import open_design
from securegen.errors import ArtefactError, SecuregenError, StorageError, UsageError, VerificationError
from securegen.io import output, read_ahead, stores
from securegen.io.folder import Folder
from securegen.io.folders import folder_of
from securegen.io.output import make_folder
from securegen.io.stores import StoreFolder


def put(folder: Path, place: str) -> str:
    """Copy a folder into a store."""
    there = folder_of(place)
    for path in folder.iterdir():
        there.write(path.name, [path.read_bytes()])
    return place


def bytes_of(folder: Path | Folder) -> dict[str, bytes]:
    folder = folder_of(folder)
    return {name: folder.read(name, "a file", 1 << 40) for name in folder.sizes()}


@pytest.fixture
def sent(small_encrypted, memory) -> tuple[str, str]:
    """The cohort and the design of `small_encrypted` in a store."""
    return put(small_encrypted.cohort, f"{memory}/s.cohort"), put(small_encrypted.design, f"{memory}/s.design")


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Growing:
    return growing(tmp_path_factory.mktemp("growing"))


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """The working folder, where what stays with the key goes."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_study_in_a_store_is_the_study(study, store, here):
    """Every step through the store: the owner encrypts there, the server reads and writes there, the owner opens."""
    made = sg.ckks.encrypt(study.study("1", "2"), study.key, f"{store}/lab/s")
    assert str(made.cohort) == f"{store}/lab/s.cohort" and made.owner == Path("s.owner")
    assert sorted(p.name for p in here.iterdir()) == ["s.owner"]
    results = sg.ckks.associate(made.cohort, made.design, f"{store}/lab/r")
    assert str(results) == f"{store}/lab/r"
    assert study.table(results, here / "s", design=made.design) == study.plain(here, "1", "2")
    assert not [name for f in (made.cohort, made.design, results) for name in f.sizes() if name == stores.CLAIM]
    assert made.cohort.size(stores.CLAIM) is None


def test_what_the_server_returns_is_the_same_to_the_byte(small_encrypted, small_results, sent, memory, tmp_path):
    expected = bytes_of(small_results)
    assert bytes_of(sg.ckks.associate(*sent, f"{memory}/r")) == expected
    assert bytes_of(sg.ckks.associate(*sent, tmp_path / "r")) == expected
    assert bytes_of(sg.ckks.associate(small_encrypted.cohort, sent[1], f"file://{tmp_path}/q")) == expected


def test_the_server_reads_every_byte_of_the_cohort_once(small_encrypted, sent, tmp_path):
    opened = open_cohort(sent[0])
    folder, manifest = opened.folder, len((small_encrypted.cohort / "manifest.json").read_bytes())
    assert folder.fetched == manifest
    backend = counted(folder)
    server.associate(opened, open_design(sent[1], opened.public), tmp_path / "r", batch_bytes=1 << 20)
    stored = sum(entry["size"] for entry in opened.stored())
    assert folder.fetched == manifest + stored
    reads = [(path, options["start"]) for name, path, options in backend.asked if name == "cat_file"]
    assert len(reads) == len(set(reads)) and {path for path, _ in reads} == {
        folder._key(e["name"]) for e in opened.stored()
    }


def test_no_more_than_a_few_files_are_in_memory(sent, tmp_path, monkeypatch):
    """However many blocks: two ahead of their turn, beside those that are summed."""
    opened = open_cohort(sent[0])
    taken, fetched, most = [0], [0], 0
    real = opened.folder._fetch

    def fetch(part):
        nonlocal most
        fetched[0] += 1
        most = max(most, fetched[0] - taken[0])
        return real(part)

    take = read_ahead.ReadAhead.take

    def took(self, part):
        found = take(self, part)
        taken[0] += 1
        return found

    monkeypatch.setattr(opened.folder, "_fetch", fetch)
    monkeypatch.setattr(read_ahead.ReadAhead, "take", took)
    server.associate(opened, open_design(sent[1], opened.public), tmp_path / "r")
    assert fetched[0] == taken[0] >= len(list(opened.stored())) >= 4
    assert most <= 2 * read_ahead.IN_FLIGHT + 2  # and one being fetched by each thread


DAMAGES = ["cut", "longer", "a bit", "missing", "swapped", "empty"]


def damage(folder: Folder, kind: str, name: str, other: str) -> None:
    raw = folder.read(name, "a file", 1 << 40)
    if kind == "missing":
        folder.remove([name])
        return
    changed = {
        "cut": raw[:-64], "longer": raw + b"\0", "a bit": raw[:-9] + bytes([raw[-9] ^ 4]) + raw[-8:],
        "swapped": folder.read(other, "a file", 1 << 40), "empty": b"",
    }  # fmt: skip
    folder.write(name, [changed[kind]])


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_damaged_cohort_or_design_is_refused(sent, memory, no_pause, kind):
    for place, first, second in (
        (sent[0], "g-000001-0000.c0.npy", "g-000000-0000.c0.npy"),
        (sent[1], "columns-0000.c0.npy", ""),
    ):
        folder = folder_of(place)
        names = [name for name in folder.sizes() if name.endswith(".npy")]
        first = first if first in names else names[0]
        second = second or next((n for n in names if n != first), first)
        if kind == "swapped" and folder.size(first) != folder.size(second):
            second = first
        if kind == "swapped" and second == first:
            continue
        before = folder.read(first, "a file", 1 << 40)
        damage(folder, kind, first, second)
        with pytest.raises(ArtefactError, match=first) as refused:
            sg.ckks.associate(*sent, f"{memory}/r")
        assert refused.value.exit_code == 7 and folder_of(f"{memory}/r").size("manifest.json") is None
        folder.write(first, [before])
    sg.ckks.associate(*sent, f"{memory}/r")  # and no claim was left behind


@pytest.mark.parametrize("kind", DAMAGES)
def test_damaged_results_are_refused_and_retire_nothing(
    small_encrypted, small_results, small_key, memory, no_pause, kind
):
    place = put(small_results, f"{memory}/r")
    damage(folder_of(place), kind, "block-000001.npy", "block-000000.npy")
    with pytest.raises(ArtefactError, match="block-000001.npy"):
        list(sg.ckks.decrypt_sums(place, small_key, small_encrypted.owner))
    assert list(sg.ckks.decrypt_sums(small_results, small_key, small_encrypted.owner))


OTHER = {
    "cohort": "1" * 64,
    "design": "1" * 64,
    "nonce": "1" * 32,
    "key": "1" * 64,
    "blocks": [],
    "role": "part of results",
}


@pytest.mark.parametrize("field", [*OTHER, "residues"])
def test_results_of_something_else_retire_nothing(small_encrypted, small_results, dishonest, small_key, memory, field):
    """Whoever may write where results lie puts some there that would fail verification: what is not of this cohort and design is
    refused before it is decrypted, and the key lives. Only who names both, and the nonce, ends its life."""
    crafted = dishonest(lambda index, array: array[0].fill(0xFFFFFFFF if field == "residues" else index == 0))
    honest = json.loads((crafted / "manifest.json").read_bytes())["body"]
    marks = retirement._all_marks(small_key, small_encrypted.owner)
    if field in OTHER:
        rewrite_manifest(crafted, **{field: OTHER[field]})
    with pytest.raises(ArtefactError):
        list(sg.ckks.decrypt_sums(put(crafted, f"{memory}/r"), small_key, small_encrypted.owner))
    assert not any(mark.exists() for mark in marks)
    assert list(sg.ckks.decrypt_sums(small_results, small_key, small_encrypted.owner))
    if field == "residues":
        return
    artefact.write_manifest(crafted, "results", honest, None)  # as if nobody asked what they are of
    with pytest.raises(VerificationError):
        list(sg.ckks.decrypt_sums(put(crafted, f"{memory}/r"), small_key, small_encrypted.owner))
    assert any(mark.exists() for mark in marks)


def test_a_crafted_result_in_a_store_is_found_by_verification(small_encrypted, dishonest, small_key, memory):
    place = put(dishonest(lambda index, array: array[0].fill(index == 9)), f"{memory}/r")
    with pytest.raises(VerificationError):
        list(sg.ckks.decrypt_sums(place, small_key, small_encrypted.owner))


@pytest.mark.parametrize(
    "name",
    [
        "../s.design/manifest.json",
        "s3://other/x",
        "/etc/hostname",
        "..",
        "a?versionId=1",
        "x::file:///etc/hostname",
        "a*",
    ],
)
def test_a_manifest_sends_nobody_elsewhere(small_encrypted, small_key, small_results, memory, name):
    """Results are not signed: whoever can write in the store names what they like."""
    place = put(small_results, f"{memory}/r")
    folder = folder_of(place)
    content = json.loads(folder.read("manifest.json", "a manifest", 1 << 20))
    content["body"]["blocks"][0]["name"] = name
    folder.write("manifest.json", [json.dumps(content).encode()])
    with pytest.raises(ArtefactError, match="not a file name|not the name of a file|is damaged"):
        list(sg.ckks.decrypt_sums(place, small_key, small_encrypted.owner))


def test_a_manifest_comes_last(study, memory, here, monkeypatch):
    """At every moment before the end there is no manifest, so that nobody reads what is not whole."""
    real, seen = StoreFolder.write, []

    def write(self, name, parts):
        seen.append((self.name, name, self.size("manifest.json") is not None))
        real(self, name, parts)

    monkeypatch.setattr(StoreFolder, "write", write)
    made = sg.ckks.encrypt(study.study("1"), study.key, f"{memory}/s")
    sg.ckks.associate(made.cohort, made.design, f"{memory}/s.results")
    for folder in ("s.cohort", "s.design", "s.results"):
        own = [(name, there) for of, name, there in seen if of == folder]
        assert own[-1][0] == "manifest.json" and len(own) > 1 and not any(there for _, there in own)


class Killed(BaseException):
    """The process ends: nothing is tidied up."""


def test_a_killed_encryption_goes_on_in_the_store(study, memory, here, monkeypatch):
    """What was written stays, by digest; the claim of the killed process is its owner's, and nobody else's."""
    whole, real, written = study.study("1", "2", "3"), StoreFolder.write, []

    def write(self, name, parts):
        if len(written) == 2:
            raise Killed
        real(self, name, parts)
        written.append(name)

    with monkeypatch.context() as patched:
        patched.setattr(StoreFolder, "write", write)
        patched.setattr(StoreFolder, "_release", lambda *_: None)
        patched.setattr(encrypting, "in_threads", lambda work, jobs: list(map(work, jobs)))
        with pytest.raises(Killed):
            sg.ckks.encrypt(whole, study.key, f"{memory}/s")
    cohort = folder_of(f"{memory}/s.cohort")
    before = bytes_of(cohort)
    assert before and "manifest.json" not in before and cohort.size(stores.CLAIM)
    (other := here / "other").mkdir()
    monkeypatch.chdir(other)  # another owner's folder
    with pytest.raises(StorageError, match="another securegen is writing"):
        sg.ckks.encrypt(whole, study.key, f"{memory}/s")
    assert bytes_of(cohort) == before
    monkeypatch.chdir(here)
    made = sg.ckks.encrypt(whole, study.key, f"{memory}/s")
    after = bytes_of(cohort)
    first = {n: raw for n, raw in before.items() if n.startswith("g-000000")}
    assert first and first.items() <= after.items() and cohort.size(stores.CLAIM) is None
    assert study.table(sg.ckks.associate(made.cohort, made.design, "r"), here / "s") == study.plain(here, "1", "2", "3")


def test_a_block_that_was_swapped_in_the_store_is_encrypted_again(study, memory, here):
    whole = study.study("1", "2")
    made = sg.ckks.encrypt(whole, study.key, f"{memory}/s")
    (here / "s.owner" / "cohort.box").unlink()  # as if it had been killed before its end
    for box in (here / "s.owner").glob("design-*.box"):
        box.unlink()
    name = "g-000001-0000.c0.npy"
    before = bytes_of(made.cohort)
    damage(made.cohort, "a bit", name, name)
    made.cohort.remove(["manifest.json"])
    sg.ckks.encrypt(whole, study.key, f"{memory}/s")
    after = bytes_of(made.cohort)
    assert after[name] != before[name] and after["g-000000-0000.c0.npy"] == before["g-000000-0000.c0.npy"]


def test_a_cohort_of_another_owners_folder_is_not_overwritten(study, memory, here, monkeypatch):
    made = sg.ckks.encrypt(study.study("1"), study.key, f"{memory}/s")
    before = bytes_of(made.cohort)
    (other := here / "other").mkdir()
    monkeypatch.chdir(other)
    with pytest.raises(StorageError, match="did not encrypt it"):
        sg.ckks.encrypt(study.study("1"), study.key, f"{memory}/s")
    assert bytes_of(made.cohort) == before
    sg.ckks.encrypt(study.study("1"), study.key, f"{memory}/s", overwrite=True)
    assert bytes_of(made.cohort) != before


def test_two_servers_on_one_prefix(sent, study, memory, here):
    """Of one design they write the same bytes; of two the second is refused."""
    results = folder_of(f"{memory}/r")
    other = sg.ckks.encrypt(study.study("1"), study.key, f"{memory}/t")
    with results.claimed(artefact.writer_of(open_cohort(sent[0]).digest, artefact.manifest_digest(sent[1]), "None")):
        expected = bytes_of(sg.ckks.associate(*sent, f"{memory}/q"))
        assert bytes_of(sg.ckks.associate(*sent, f"{memory}/r")) == expected
    with results.claimed(lambda: "another"), pytest.raises(StorageError, match="another securegen is writing"):
        sg.ckks.associate(other.cohort, other.design, f"{memory}/r")
    assert bytes_of(results) == expected


def test_parts_in_a_store_are_merged_into_one_run(study, store, here):
    whole = study.study("1", "2", "3")
    for part in ("3/3", "1/3"):
        sg.ckks.encrypt(whole, study.key, f"{store}/lab/s", blocks=part)
    cohort = folder_of(f"{store}/lab/s.cohort")
    before = bytes_of(cohort)
    assert "manifest.json" not in before and cohort.size(stores.CLAIM)
    made = sg.ckks.encrypt(whole, study.key, f"{store}/lab/s")
    assert before.items() < bytes_of(cohort).items() and cohort.size(stores.CLAIM) is None
    for part in ("2/2", "1/2"):
        sg.ckks.associate(made.cohort, made.design, f"{store}/lab/r.{part.replace('/', 'of')}.results", blocks=part)
    merged = sg.merge(f"{store}/lab/r")
    assert merged.paths == (f"{store}/lab/r.results",) and merged.parts == 2
    expected = bytes_of(sg.ckks.associate(made.cohort, made.design, here / "whole"))
    assert bytes_of(folder_of(f"{store}/lab/r.results")) == expected
    assert folder_of(f"{store}/lab/r.1of2.results").sizes() == {}


def test_a_file_that_goes_while_it_is_moved_is_named(study, memory, here, monkeypatch):
    made = sg.ckks.encrypt(study.study("1", "2"), study.key, f"{memory}/s")
    for part in ("2/2", "1/2"):
        sg.ckks.associate(made.cohort, made.design, f"{memory}/r.{part.replace('/', 'of')}.results", blocks=part)
    take = StoreFolder.take

    def gone(folder, name, source):
        source.remove([name])
        take(folder, name, source)

    monkeypatch.setattr(StoreFolder, "take", gone)
    with pytest.raises(ArtefactError, match="block-000000.npy went while it was moved: run its part again"):
        sg.merge(f"{memory}/r")


def test_a_cohort_in_a_store_grows(study, memory, here):
    made = sg.ckks.encrypt(study.study("1"), study.key, f"{memory}/s")
    first = bytes_of(made.cohort)
    sg.ckks.append_cohort(study.part("2"), study.key, f"{memory}/s")
    after = bytes_of(made.cohort)
    assert {n: raw for n, raw in first.items() if n != "manifest.json"}.items() < after.items()
    with pytest.raises(ArtefactError, match="before variants were appended"):
        sg.ckks.associate(made.cohort, made.design, "r")
    study.design(f"{memory}/s", "1", "2", overwrite=True)
    results = sg.ckks.associate(made.cohort, made.design, f"{memory}/r")
    assert study.table(results, here / "s") == study.plain(here, "1", "2")


def test_secrets_stay_on_this_disk(study, memory, here, small_key):
    with pytest.raises(UsageError, match="the owner's folder stays on a local disk"):
        OwnerState(Path(f"{memory}/s.owner"), small_key)
    made = sg.ckks.encrypt(study.study("1"), study.key, f"{memory}/s")
    with pytest.raises(UsageError, match="the owner's folder stays on a local disk"):
        sg.ckks.decrypt(made.cohort, study.key, f"{memory}/s.owner")
    with pytest.raises(UsageError, match="works on a local disk alone"):
        sg.ckks.take_out_withdrawn(study.part("1"), study.key, f"{memory}/s", "register.tsv")
    assert {f.rpartition(".")[2] for folder in (made.cohort, made.design) for f in folder.sizes()} == {"npy", "json"}


def test_nothing_is_written_into_a_folder_that_is_named_like_a_store(study, here, monkeypatch):
    """Keys and tables whose name is a URL were written here, into a folder `s3:`, as if they were in the store."""
    made = sg.run(study.study("1"))
    for what, write in {
        "this file": lambda: secret_key.write_secret(
            "s3://bucket/k.secret", study.key, passphrase=b"long enough a word"
        ),
        "this folder": lambda: make_folder(Path("s3://bucket/lab")),
        "a table": lambda: sg.run(study.study("1"), out="s3://bucket/t"),
    }.items():
        with pytest.raises(UsageError, match=f"{what}.* stays on a local disk, never in a store"):
            write()
    for place in ("s3://bucket/t", "memory://t", "file:///t", Path("gs://bucket/t")):
        with pytest.raises(UsageError, match="stays on a local disk"):
            made.write(place)
    assert list(here.iterdir()) == []
    monkeypatch.setattr(output, "refuse_url", lambda *_: None)
    secret_key.write_secret("s3://bucket/k.secret", study.key, passphrase=b"long enough a word")
    assert (here / "s3:" / "bucket" / "k.secret").exists()


def test_a_design_is_not_replaced_because_a_store_shows_another_one(study, memory, here, monkeypatch):
    """There lies, it says, a design of before an append: in its place a new one would be encrypted without a question, and
    results of the one that is there could not be read any more."""
    made = sg.ckks.encrypt(study.study("1"), study.key, f"{memory}/s")
    old = made.design.read("manifest.json", "a manifest", 1 << 20)
    sg.ckks.append_cohort(study.part("2"), study.key, f"{memory}/s")
    study.design(f"{memory}/s", "1", "2", overwrite=True)
    made.design.write("manifest.json", [old])
    with pytest.raises(StorageError, match="which is not overwritten"):
        study.design(f"{memory}/s", "1", "2")
    monkeypatch.setattr(design_secrets, "all_designs", lambda _: [])
    study.design(f"{memory}/s", "1", "2")


def test_a_design_is_named_by_its_url(study, memory, here):
    made = sg.ckks.encrypt(study.study("1"), study.key, f"{memory}/s")
    second = sg.ckks.encrypt_design(study.study("1"), study.key, made.owner, f"{memory}/later.design")
    with pytest.raises(UsageError, match="knows 2 designs"):
        sg.ckks.read_design(study.key, made.owner)
    assert sg.ckks.read_design(study.key, made.owner, second).folder == f"{memory}/later.design"
    with pytest.raises(StorageError, match="is not overwritten"):
        sg.ckks.encrypt_design(study.study("1"), study.key, made.owner, f"{memory}/later.design")
    shutil.rmtree(made.owner)
    with pytest.raises(SecuregenError):
        sg.ckks.read_design(study.key, made.owner, second)


def test_whoever_keeps_the_store_does_not_choose_the_design(study, memory, here, monkeypatch):
    """Two designs were encrypted here and copied there; the store's keeper exchanges them."""
    made = sg.ckks.encrypt(study.study("1"), study.key, here / "s")
    other = sg.ckks.encrypt_design(study.study("1"), study.key, made.owner, here / "other.design")
    place = put(made.design, f"{memory}/s.design")
    digest = sg.ckks.read_design(study.key, made.owner, made.design).digest
    with pytest.raises(ArtefactError, match=f"must not choose: name the one you want by its digest.*{digest[:16]}"):
        sg.ckks.read_design(study.key, made.owner, place)
    assert sg.ckks.read_design(study.key, made.owner, digest).digest == digest
    put(other, place)
    monkeypatch.setattr(design_secrets, "is_stored", lambda _: False)
    assert sg.ckks.read_design(study.key, made.owner, place).digest != digest


def test_the_design_that_was_signed_is_the_one_that_is_opened(study, memory, here, monkeypatch):
    """A store that gives the signed manifest to whoever looks first, and another one then: it is read once."""
    made = sg.ckks.encrypt(study.study("1"), study.key, f"{memory}/s")
    raw, looks, real = made.design.read("manifest.json", "a manifest", 1 << 20), [], StoreFolder.read
    forged = json.loads(raw)
    forged["body"]["nonce"] = "00" * 16

    def read(folder, name, what, most):
        if folder.name != "s.design":
            return real(folder, name, what, most)
        looks.append(name)
        return raw if len(looks) == 1 else json.dumps(forged).encode()

    monkeypatch.setattr(StoreFolder, "read", read)
    assert sg.ckks.read_design(study.key, made.owner, made.design).folder == str(made.design) and len(looks) == 1
    with pytest.raises(ArtefactError, match="not signed by its owner"):
        sg.ckks.read_design(study.key, made.owner, made.design)


def test_of_a_store_that_goes_back_only_the_present_is_taken(study, memory, here):
    """One object of before, the whole prefix of before, and results of before: each is refused by name."""
    made = sg.ckks.encrypt(study.study("1", "2"), study.key, f"{memory}/s")
    results = sg.ckks.associate(made.cohort, made.design, f"{memory}/r")
    before = {str(f): bytes_of(f) for f in (made.cohort, made.design, results)}
    sg.ckks.encrypt(study.study("2", "3"), study.key, f"{memory}/s", overwrite=True)
    now = bytes_of(made.cohort)
    name = "g-000001-0000.c0.npy"
    made.cohort.write(name, [before[str(made.cohort)][name]])
    with pytest.raises(ArtefactError, match=name):
        sg.ckks.associate(made.cohort, made.design, here / "one")
    put_back(made.cohort, now)
    made.cohort.write("manifest.json", [before[str(made.cohort)]["manifest.json"]])
    with pytest.raises(ArtefactError, match="made for another cohort"):
        sg.ckks.associate(made.cohort, made.design, here / "two")
    for folder in (made.cohort, made.design):
        put_back(folder, before[str(folder)])
    old = sg.ckks.associate(made.cohort, made.design, f"{memory}/all-of-before")  # it is whole, and signed
    for folder in (old, results):
        with pytest.raises(ArtefactError, match="computed from another cohort or design"):
            list(sg.ckks.decrypt_sums(folder, study.key, made.owner))


def put_back(folder: Folder, files: dict[str, bytes]) -> None:
    for name, raw in files.items():
        folder.write(name, [raw])


@pytest.mark.parametrize("twice", ["ranges of one object", "two tries of one range"])
def test_other_bytes_at_the_second_look_are_found(sent, memory, no_pause, monkeypatch, twice):
    """What is summed is what was digested: nothing is read a second time."""
    opened = open_cohort(sent[0])
    seen: dict[str, int] = {}

    def other(real, path, **options):
        seen[path] = seen.get(path, 0) + 1
        raw = real(path, **options)
        if twice == "two tries of one range" and seen[path] == 1:
            return raw[:-5]  # an answer that is cut: it is asked for again
        return raw[:-9] + bytes([raw[-9] ^ 4]) + raw[-8:] if seen[path] == 2 else raw

    monkeypatch.setattr(stores, "RANGE", 1 << 16)
    counted(opened.folder, cat_file=other)
    with pytest.raises(ArtefactError, match="does not have the digest"):
        server.associate(opened, open_design(sent[1], opened.public), f"{memory}/r")
    assert folder_of(f"{memory}/r").size("manifest.json") is None
