"""A cohort that grows file by file: what was encrypted stays, tables are those of all files together, kills do no harm."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from append_tools import Growing, files, growing
from genotype_parts import CHROMOSOMES, parted
from support import securegen

import securegen as sg
from securegen.engines.ckks import artefact, cohort, steps
from securegen.engines.ckks.owner import append_cohort as appending
from securegen.engines.ckks.owner import encrypt_cohort as encrypting
from securegen.engines.ckks.owner.state import OwnerState, read_info
from securegen.engines.plain.engine import write_plain
from securegen.errors import ArtefactError, DesignError, InputError, StorageError
from securegen.io.arrays import from_arrays
from securegen.io.filesets import chained
from securegen.model import Samples
from securegen.study.coding import Recoded

pytestmark = pytest.mark.usefixtures("forked_roles")


class Killed(BaseException):
    """The end of a process."""


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Growing:
    return growing(tmp_path_factory.mktemp("growing"))


@pytest.fixture(scope="module")
def first(study, tmp_path_factory) -> Path:
    """A store of chromosome 1 with a design and its results, beside it as store.results. Copy it: `grown`."""
    prefix = tmp_path_factory.mktemp("first") / "store"
    sg.ckks.encrypt(study.study("1"), study.key, prefix)
    study.served(prefix, Path(f"{prefix}.results"))
    return prefix


@pytest.fixture
def store(first, tmp_path) -> Path:
    for folder in first.parent.glob("store.*"):
        if folder.is_dir():
            shutil.copytree(folder, tmp_path / folder.name)
    return tmp_path / "store"


def append(study: Growing, store: Path, *names: str, **options) -> sg.ckks.Encrypted:
    return sg.ckks.append_cohort(study.part(*names), study.key, store, **options)


def info(study: Growing, store: Path):
    return read_info(OwnerState(Path(f"{store}.owner"), study.key))


@pytest.mark.parametrize("encryptor", ["own", "seal"])
@pytest.mark.parametrize("squares", [False, True])
def test_one_after_another_is_all_together(encryptor, squares, study, tmp_path):
    store = tmp_path / "s"
    sg.ckks.encrypt_cohort(study.part("1"), study.key, store, encryptor=encryptor, squares=squares)
    before = files(Path(f"{store}.cohort"))
    for name in ("2", "3"):
        append(study, store, name)
    after = files(Path(f"{store}.cohort"))
    assert {name: after[name] for name in before} == before and len(after) > len(before)
    opened = cohort.open_cohort(Path(f"{store}.cohort"))
    assert len(opened.body["earlier"]) == 2 and opened.body["encryptor"] == encryptor
    assert [v.variants for v in info(study, store).earlier] == [30, 60]
    study.design(store, "1", "2", "3")
    assert study.table(study.served(store, tmp_path / "r"), store) == study.plain(tmp_path, "1", "2", "3")


def test_a_plan_of_what_was_there_serves_what_comes_later(study, tmp_path):
    """It holds people, columns and the dosage grid; the number of variants decides how fast it is."""
    key, store = sg.ckks.generate_key(sg.ckks.plan(study.study("1"))), tmp_path / "s"
    sg.ckks.encrypt_cohort(study.part("1"), key, store)
    sg.ckks.append_cohort(study.part("2", "3"), key, store)
    made = study.study("1", "2", "3")
    sg.ckks.encrypt_design(made, key, f"{store}.owner", f"{store}.design")
    results = sg.ckks.associate(f"{store}.cohort", f"{store}.design", tmp_path / "r")
    assert sg.ckks.decrypt(results, key, f"{store}.owner").equals(sg.run(made).frame)


def test_rows_come_in_the_order_in_which_files_came(study, store, tmp_path):
    append(study, store, "3")
    append(study, store, "2")
    assert list(dict.fromkeys(info(study, store).variants.chromosome)) == ["1", "3", "2"]
    with pytest.raises(
        ArtefactError, match="same in another order, here they come as 1, 3, 2: name the files so in a list"
    ):
        study.design(store, "1", "2", "3")
    whole = chained([study.part(name) for name in ("1", "3", "2")], range(3), study.whole.samples)
    made = sg.open_study(whole, pheno=study.pheno, pheno_name=("QT",))
    sg.ckks.encrypt_design(made, study.key, f"{store}.owner", f"{store}.design")  # the ended one is not kept
    found = sg.ckks.decrypt(study.served(store, tmp_path / "r"), study.key, f"{store}.owner")
    assert found.equals(sg.run(made).frame)


def test_the_server_has_the_earlier_blocks_and_gets_the_new_ones(study, store, tmp_path):
    """The owner's copy may be gone; a manifest and the new files are all that travels."""
    server = tmp_path / "server.cohort"
    Path(f"{store}.cohort").rename(server)
    old = {p.name for p in server.iterdir()}
    made = append(study, store, "2")
    sent = {p.name for p in made.cohort.iterdir()}
    assert sent & old == {"manifest.json"}
    for path in made.cohort.iterdir():
        shutil.copy(path, server)
    study.design(store, "1", "2")
    results = sg.ckks.associate(server, f"{store}.design", tmp_path / "r")
    assert study.table(results, store) == study.plain(tmp_path, "1", "2")


def test_what_is_there_already_is_left_out_aloud(study, store):
    """Running again changes nothing, and a pattern of files may name those that are there."""
    append(study, store, "2")
    before, digest = files(Path(f"{store}.cohort")), info(study, store).digest
    said: list[str] = []
    append(study, store, "2", log=said.append)
    assert files(Path(f"{store}.cohort")) == before and info(study, store).digest == digest
    assert any("30 variants of 2 are encrypted already" in line for line in said) and "nothing is appended" in said[-1]
    both = chained([study.part(name) for name in ("1", "2", "3")], range(3), study.whole.samples)
    sg.ckks.append_cohort(both, study.key, store, log=said.append)
    assert len(info(study, store).variants) == 90 and len(info(study, store).earlier) == 2
    assert "30 variants in blocks" in said[-1] and "chromosomes 1, 2, 3; none of 4, 5," in said[-1]


def other(study: Growing, name: str, change) -> object:
    """A chromosome with its arrays changed."""
    part = study.part(name)
    dosage = np.where(part.units < 0, np.nan, part.units.astype(float))
    samples, variants = part.samples, part.variants
    dosage, samples, variants = change(dosage, samples, variants)
    return from_arrays(dosage, samples, variants=variants)


def one_call(dosage, samples, variants):
    dosage = dosage.copy()
    dosage[3, 4] = (np.nan_to_num(dosage[3, 4]) + 1) % 3
    return dosage, samples, variants


def renamed(dosage, samples, variants):
    iid = samples.iid.copy()
    iid[7] = "Q7"
    return dosage, Samples(iid if samples.fid is samples.iid else samples.fid, iid, samples.founder), variants


def fewer(dosage, samples, variants):
    return dosage[:, :-1], samples.take(np.arange(len(samples) - 1)), variants


def fractional(dosage, samples, variants):
    return np.where(dosage == 1, 1.25, dosage), samples, variants


def swapped(dosage, samples, variants):
    return (
        2 - dosage,
        samples,
        replace(variants, effect_allele=variants.other_allele, other_allele=variants.effect_allele),
    )


REFUSED = {
    "another call of what is there": (
        "1",
        one_call,
        InputError,
        "has variant v0 of chromosome 1 at 1 already .row 1 there",
    ),
    "the other allele of what is there": ("1", swapped, InputError, "has variant v0 of chromosome 1 at 1 already"),
    "another person": (
        "2",
        renamed,
        InputError,
        "people here has other people than the encrypted cohort: it lacks person 8 of the encrypted cohort",
    ),
    "a person less": (
        "2",
        fewer,
        InputError,
        "people here has other people than the encrypted cohort: it lacks person 40 of the encrypted cohort",
    ),
    "fractions": ("2", fractional, InputError, "steps of 1/256, the encrypted cohort has steps of 1/1"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused_and_changes_nothing(case, study, store):
    name, change, error, message = REFUSED[case]
    before, digest = files(Path(f"{store}.cohort")), info(study, store).digest
    with pytest.raises(error, match=message):
        sg.ckks.append_cohort(other(study, name, change), study.key, store, name="people here")
    assert files(Path(f"{store}.cohort")) == before and info(study, store).digest == digest
    assert study.table(Path(f"{store}.results"), store)  # the cohort of before is as it was


def test_a_file_that_is_there_in_part_is_refused(study, store):
    part = study.part("1", "2")
    with pytest.raises(InputError, match="leave out what is there"):
        sg.ckks.append_cohort(part.select(variants=np.arange(20, 50)), study.key, store)


def test_what_ends_is_said_before_it_ends(study, store):
    said: list[str] = []
    append(study, store, "2", log=said.append)
    assert "WARNING: design" in said[0] and "QT (40 samples)" in said[0] and "it ends with this append" in said[0]


def test_a_record_of_an_earlier_version_is_appended_to(study, store, tmp_path):
    """It has neither blocks nor identities."""
    state = OwnerState(Path(f"{store}.owner"), study.key)
    header, arrays = state.read("cohort")
    state.write("cohort", {n: v for n, v in header.items() if n not in ("blocks", "identities", "earlier")}, arrays)
    append(study, store, "2")
    assert len(info(study, store).identities) == 2
    study.design(store, "1", "2")
    assert study.table(study.served(store, tmp_path / "r"), store) == study.plain(tmp_path, "1", "2")


def test_people_in_another_order_are_aligned_by_their_ids(study, store, tmp_path):
    said: list[str] = []
    turned = study.part("2").select(samples=np.arange(len(study.whole.samples))[::-1])
    sg.ckks.append_cohort(turned, study.key, store, log=said.append)
    assert "aligned by their ids" in said[0]
    study.design(store, "1", "2")
    assert study.table(study.served(store, tmp_path / "r"), store) == study.plain(tmp_path, "1", "2")


def test_hard_calls_are_appended_to_dosages(study, tmp_path):
    """They are in the steps of what is there."""
    store = tmp_path / "s"
    fine = other(study, "1", fractional)
    pheno = {"pheno": study.pheno, "pheno_name": ("QT",)}
    whole = chained([fine, study.part("2").on_grid(256)], range(2), study.whole.samples)
    key = sg.ckks.generate_key(sg.ckks.plan(sg.open_study(whole, **pheno)))
    sg.ckks.encrypt_cohort(fine, key, store)
    sg.ckks.append_cohort(study.part("2"), key, store)
    made = sg.open_study(whole, **pheno)
    sg.ckks.encrypt_design(made, key, f"{store}.owner", f"{store}.design")
    results = sg.ckks.associate(f"{store}.cohort", f"{store}.design", tmp_path / "r")
    assert sg.ckks.decrypt(results, key, f"{store}.owner").equals(sg.run(made).frame)


def test_another_genetic_model_is_refused(study, store):
    with pytest.raises(
        InputError, match="counted by the recessive genetic model, the encrypted cohort by the additive one"
    ):
        sg.ckks.append_cohort(Recoded(study.part("2"), "recessive"), study.key, store)


def test_more_than_was_planned_is_refused(study, store, monkeypatch):
    small = replace(study.key.public.parameters, dosage_max=1)
    key = replace(study.key, public=replace(study.key.public, parameters=small))
    with pytest.raises(DesignError, match="the key was planned for 40 samples and stored values up to 1"):
        appending.check_planned(study.part("2"), key, False)


def test_nothing_is_appended_to_what_is_not_whole(study, store, tmp_path):
    with pytest.raises(ArtefactError, match="is not there: the first part of a cohort is encrypted without"):
        append(study, tmp_path / "nothing", "2")
    Path(f"{store}.owner/cohort.box").unlink()
    with pytest.raises(ArtefactError, match="was not finished: run it again"):
        append(study, store, "2")


def test_the_folder_of_another_cohort_is_not_written_in(study, store, tmp_path):
    mixed = tmp_path / "mixed"
    sg.ckks.encrypt_cohort(study.part("3"), study.key, mixed)
    shutil.rmtree(f"{mixed}.owner")
    shutil.copytree(f"{store}.owner", f"{mixed}.owner")
    before = files(Path(f"{mixed}.cohort"))
    with pytest.raises(ArtefactError, match="is another cohort than the one of"):
        append(study, mixed, "2")
    assert files(Path(f"{mixed}.cohort")) == before


def test_a_store_for_scores_is_refused(study, store, monkeypatch):
    monkeypatch.setattr(appending, "LANES", 1)
    with pytest.raises(ArtefactError, match="is stored for scores"):
        append(study, store, "2")


def test_a_disk_that_is_too_small_is_noticed_before_anything_is_written(study, store, monkeypatch):
    from types import SimpleNamespace

    from securegen.io import output

    monkeypatch.setattr(output.shutil, "disk_usage", lambda folder: SimpleNamespace(free=1000))
    before = files(Path(f"{store}.cohort"))
    with pytest.raises(StorageError, match="MB at least and"):
        append(study, store, "2")
    assert files(Path(f"{store}.cohort")) == before


class Kills:
    """The process ends at the n-th thing that an append writes, before or after it is there."""

    def __init__(self, monkeypatch, at: int, after: bool) -> None:
        self.at, self.after, self.done = at, after, 0
        monkeypatch.setattr(
            encrypting, "in_threads", lambda work, jobs: list(map(work, jobs))
        )  # one write after another
        for owner, name in ((artefact, "write_entry"), (artefact, "write_manifest"), (OwnerState, "write")):
            monkeypatch.setattr(owner, name, self.around(getattr(owner, name)))

    def around(self, write):
        def killed(*arguments, **options):
            self.done += 1
            if self.done == self.at and not self.after:
                raise Killed
            found = write(*arguments, **options)
            if self.done == self.at:
                raise Killed
            return found

        return killed


WRITES = 5  # of an append of one block with missing calls: two streams, its check, the manifest, the record


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("at", range(1, WRITES + 1))
def test_a_kill_leaves_the_old_cohort_or_one_that_goes_on(at, after, study, store, tmp_path, monkeypatch):
    whole = at == WRITES and after
    with monkeypatch.context() as inside:
        kills = Kills(inside, at, after)
        with pytest.raises(Killed):
            append(study, store, "2")
        assert kills.done == at
    aside = shutil.copytree(tmp_path, tmp_path.parent / f"{tmp_path.name} aside") / "store"
    if not whole:  # for the owner everything is as it was
        assert study.table(Path(f"{store}.results"), store) == study.plain(tmp_path, "1")
        assert len(info(study, store).variants) == 30
    before = files(Path(f"{store}.cohort"))
    append(study, store, "2")  # goes on: nothing that was done is done again
    after_all = files(Path(f"{store}.cohort"))
    if at > 3 or (at == 3 and after):
        assert after_all == before
    study.design(store, "1", "2")
    assert study.table(study.served(store, tmp_path / "r"), store) == study.plain(tmp_path, "1", "2")
    if whole:
        return
    append(study, aside, "3")  # or something else is appended instead
    assert [v.variants for v in info(study, aside).earlier] == [30]
    study.design(aside, "1", "3")
    results = study.served(aside, tmp_path / "r3")
    assert study.table(results, aside) == study.plain(tmp_path, "1", "3")


def test_a_design_after_a_killed_append_says_so(study, store, monkeypatch):
    with monkeypatch.context() as inside:
        Kills(inside, WRITES, False)
        with pytest.raises(Killed):
            append(study, store, "2")
    paths, said = sg.ckks.encrypted_paths(store), []
    sg.ckks.encrypt_design(study.study("1"), study.key, paths.owner, paths.design, overwrite=True, log=said.append)
    assert any("was begun and did not end: run it again" in line for line in said)
    append(study, store, "2")
    sg.ckks.encrypt_design(study.study("1", "2"), study.key, paths.owner, paths.design, log=said.append)
    assert sum("was begun and did not end" in line for line in said) == 1


def test_that_is_all_an_append_writes(study, store, monkeypatch):
    kills = Kills(monkeypatch, 0, False)
    append(study, store, "2")
    assert kills.done == WRITES


def test_an_append_given_up_leaves_nothing_behind(study, store, monkeypatch):
    """Two chromosomes begun and killed before the record, then a single block in their place."""
    with monkeypatch.context() as inside:
        Kills(inside, 8, False)
        with pytest.raises(Killed):
            append(study, store, "2", "3")
    assert {p.name.split("-")[1] for p in Path(f"{store}.cohort").glob("*.npy")} == {"000000", "000001", "000002"}
    append(study, store, "3")
    assert {p.name.split("-")[1] for p in Path(f"{store}.cohort").glob("*.npy")} == {"000000", "000001"}
    assert len(list(Path(f"{store}.owner").glob("block-*.box"))) == 2


@pytest.fixture(scope="module")
def by_chromosome(tmp_path_factory):
    return parted(tmp_path_factory.mktemp("parted"))


def test_22_files_one_after_another(by_chromosome, tmp_path):
    """Sums, and the bytes of the table, are those of the merged file."""
    made = sg.open_study(
        vcf=str(by_chromosome.folder / "all.vcf"), pheno=by_chromosome.pheno, pheno_name="QT", covar=by_chromosome.pheno,
        covar_name="AGE",
    )  # fmt: skip
    key, store = sg.ckks.generate_key(sg.ckks.plan(made)), tmp_path / "s"
    read = [sg.read_vcf(by_chromosome.folder / f"chr{c}.vcf") for c in CHROMOSOMES]
    sg.ckks.encrypt_cohort(read[0], key, store)
    for reader in read[1:]:
        sg.ckks.append_cohort(reader, key, store)
    sg.ckks.encrypt_design(made, key, f"{store}.owner", f"{store}.design")
    results = sg.ckks.associate(f"{store}.cohort", f"{store}.design", tmp_path / "r")
    (ours,) = sg.ckks.decrypt_tables(results, key, f"{store}.owner", str(tmp_path / "t"))
    (theirs,) = write_plain(made, str(tmp_path / "p"))
    assert Path(ours.path).read_bytes() == Path(theirs.path).read_bytes()


def test_through_the_commands(by_chromosome, tmp_path):
    """One chromosome, a second one, then a pattern of all: it adds those that are not there. Then one design."""

    def run(*words: object) -> str:
        done = securegen(*words)
        assert done.code == 0, done.err
        return done.out + done.err

    words, traits, s = by_chromosome.words, by_chromosome.traits("QT"), tmp_path / "s"
    run("gwas", *words("bfile", "all"), *traits, "--out", tmp_path / "p")
    run("plan", *words("bfile", "chr@"), *traits, "--out", s)
    run("keygen", "--plan", f"{s}.plan.json", "--plain-secret-key", "--out", tmp_path / "key")
    key = ("--key", tmp_path / "key.secret")
    run("encrypt", *key, *words("bfile", "chr1"), "--out", s)
    assert "none of 3, 4," in run("encrypt", "--append", *key, *words("bfile", "chr2"), "--out", s)
    said = run("encrypt", "--append", *key, *words("bfile", "chr@"), "--out", s)
    assert (
        "5 variants of 2 are encrypted already" in said and "100 variants in blocks 2 to 21, 110 variants now" in said
    )
    assert "none of X, Y, MT" in said and f"securegen encrypt --owner {s}.owner" in said
    run("encrypt", *key, "--owner", f"{s}.owner", *words("bfile", "chr@"), *traits, "--out", s)
    run("gwas", "--cohort", f"{s}.cohort", "--design", f"{s}.design", "--out", tmp_path / "r")
    run("decrypt", *key, "--owner", f"{s}.owner", "--results", tmp_path / "r.results", "--out", tmp_path / "t")
    assert (tmp_path / "t.QT.glm.linear").read_bytes() == (tmp_path / "p.QT.glm.linear").read_bytes()


@pytest.mark.parametrize(
    "words", [("--pheno", "x"), ("--owner", "x"), ("--squares",), ("--overwrite",), ("--encryptor", "own"), ("--qc",)]
)
def test_append_takes_genotypes_alone(words, tmp_path):
    done = securegen("encrypt", "--append", "--key", "k", "--bfile", "b", *words, "--out", tmp_path / "s")
    assert done.code == 2 and f"leave out {words[0]}" in done.err


def test_the_step_is_there_for_python():
    assert sg.ckks.append_cohort is steps.append_cohort
