"""The accountant of whole people: attacked by names, files, copies, backups, kills and Python, and what each attack gives
without it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from policy_tools import make_ruled
from support import Cohort, securegen

import securegen as sg
from securegen.errors import PolicyError, StorageError, UsageError
from securegen.governance import noise_store
from securegen.governance.noise_ledger import NoiseEntries
from securegen.governance.people_noise import PeopleNoise
from securegen.io import envelope
from securegen.io.genotypes import FORMATS, LISTS, OPTIONS
from securegen.noisy import release
from securegen.noisy.cohort import TAKEN, chosen_options
from securegen.study.inputs import ASKING, TABLES

ONE = {"epsilon": 1.0}


def copied(small: Cohort, folder: Path, name: str = "c") -> sg.Inputs:
    """The cohort in a folder of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    for end in ("bed", "bim", "fam"):
        shutil.copy(f"{small.bfile}.{end}", folder / f"{name}.{end}")
    shutil.copy(small.pheno, folder / f"{name}.pheno.tsv")
    return sg.Inputs(bfile=str(folder / name), pheno=str(folder / f"{name}.pheno.tsv"), pheno_name="CC")


@pytest.fixture
def inputs(small, tmp_path) -> sg.Inputs:
    return copied(small, tmp_path / "data")


def people(frame) -> int:
    return int(frame["COUNT"].iloc[0])


def spent(inputs: sg.Inputs) -> tuple[float, float]:
    with noise_store.open_draws(Path(inputs.bfile).parent) as entries:
        return entries.most_spent()


def until_refused(ask, most: int = 12) -> int:
    """How many times a question in other words is answered."""
    for i in range(most):
        try:
            ask(i)
        except PolicyError as error:
            assert str(error).startswith("noise.budget: ")
            return i
    return most


def test_a_question_asked_again_has_its_answer_and_costs_nothing(inputs, monkeypatch):
    """By command and from Python alike. Fresh draws of every run would average the noise away."""
    said = [people(sg.dp.counts(inputs, **ONE)) for _ in range(3)]
    words = [
        "--bfile",
        inputs.bfile,
        "--pheno",
        inputs.pheno,
        "--pheno-name",
        "CC",
        "--dp-epsilon",
        "1",
        "--out",
        f"{inputs.bfile}.o",
    ]
    assert securegen("dp", "counts", *words, "--quiet").code == 0
    table = Path(f"{inputs.bfile}.o.noisy.counts.tsv").read_text().splitlines()
    assert len({*said, int(table[1].split("\t")[2])}) == 1 and spent(inputs) == (1.0, 0.0)
    monkeypatch.setattr(NoiseEntries, "answer", lambda *_: None)  # the protection
    monkeypatch.setattr(release, "most_of", lambda _: (1e9, 1.0))
    fresh = [people(sg.dp.counts(inputs, epsilon=0.5)) for _ in range(25)]
    # the mean of 25 Laplace draws is outside of 9 standard errors once in 10^11 (by Chernoff's bound)
    assert len(set(fresh)) > 3 and abs(np.mean(fresh) - 90) < 9 * np.sqrt(2 * 16 / 25)


def test_other_words_for_a_question_are_charged_until_nothing_is_left(inputs, tmp_path):
    """ε, edges, files, lists and their order: each is another draw, and is charged to everybody."""
    (tmp_path / "k.txt").write_text("")
    done = until_refused(lambda i: sg.dp.histogram(replace(inputs, pheno_name="QT"), edges=(10.0, 20.0 + i), **ONE))
    assert done == 4 and spent(inputs) == (4.0, 0.0)
    for more in ({"keep": str(tmp_path / "k.txt")}, {"pheno_name": "QT2"}, {"chr": "1"}, {"force_01": True}):
        with pytest.raises(PolicyError, match=r"^noise\.budget"):
            sg.dp.counts(replace(inputs, **more), **ONE)
    with pytest.raises(PolicyError, match=r"^noise\.budget"):
        sg.dp.frequencies(replace(inputs, pheno=None, pheno_name=None), epsilon=0.01)
    words = ["--bfile", inputs.bfile, "--dp-epsilon", "0.5", "--out", f"{inputs.bfile}.o", "--quiet"]
    assert securegen("dp", "counts", *words).code == PolicyError.exit_code
    assert not Path(f"{inputs.bfile}.o.noisy.counts.tsv").exists()


def test_every_choice_is_a_part_of_the_question():
    """Whatever a summary takes and names no file: with one left out, two questions would have one answer."""
    values = {"pheno_name": ("A",), "chr": ("1",), "from_bp": 3, "to_bp": 5, "force_01": True, "split_par": "b37",
              "no_input_missing_phenotype": True, "sex_name": "S", "purpose": "HMB", "dosage_grid": 8}  # fmt: skip
    base = {"bfile": "a", "pheno": "p", "chr": "1"}
    for name, value in values.items():
        assert chosen_options(sg.Inputs(**(base | {name: value})))[name] == value
    of_formats = {o.name for o in OPTIONS.values() if not o.metavar}
    files = {*FORMATS, *LISTS, *TABLES, *(o.name for o in OPTIONS.values() if o.metavar)}
    assert TAKEN - files - set(ASKING) == set(values) - {"purpose"} | of_formats
    assert chosen_options(sg.Inputs(vcf="a.vcf", vcf_field="DS"))["vcf_field"] == "DS" and not chosen_options(
        sg.Inputs(bfile="a")
    )


def renamed(inputs: sg.Inputs, i: int) -> None:
    """Everybody under a new id, in genotypes and phenotypes, as another file of another format would have it."""
    for path in (Path(f"{inputs.bfile}.fam"), Path(inputs.pheno)):
        lines = [line.split() for line in path.read_text().splitlines()]
        body = [
            [f"{x}_{i}" if k < 2 and not x.startswith("#") and x != "IID" else x for k, x in enumerate(line)]
            for line in lines
        ]
        path.write_text("\n".join("\t".join(line) for line in body) + "\n")


def test_new_names_of_people_are_no_new_budget(inputs, monkeypatch):
    def ask(i: int):
        renamed(inputs, i)
        return sg.dp.counts(inputs, **ONE)

    assert until_refused(ask) == 4
    monkeypatch.setattr(NoiseEntries, "most_spent", lambda self: (0.0, 0.0))  # as of people who are new
    assert until_refused(ask) == 12


def test_new_names_of_files_are_the_same_question(inputs):
    first = people(sg.dp.counts(inputs, **ONE))
    base = Path(inputs.bfile)
    for end in ("bed", "bim", "fam", "pheno.tsv"):
        os.rename(f"{base}.{end}", base.with_name(f"other.{end}"))
    moved = replace(inputs, bfile=str(base.with_name("other")), pheno=str(base.with_name("other.pheno.tsv")))
    assert people(sg.dp.counts(moved, **ONE)) == first and spent(moved) == (1.0, 0.0)


def test_nobody_is_told_who_is_in_by_a_charge_a_floor_or_a_stored_answer(inputs, tmp_path):
    """A list with a stranger and one without are both answered and both charged. Taking out somebody who moves no count is
    another question: answers that were kept by their exact numbers would be free then, which tells that nobody was moved."""
    fam = [line.split()[:2] for line in Path(f"{inputs.bfile}.fam").read_text().splitlines()]
    lists = {"with": fam[:3], "stranger": [*fam[:2], ["X", "X"]], "nobody": [["X", "X"]]}
    for name, ids in lists.items():
        (tmp_path / name).write_text("".join(f"{a}\t{b}\n" for a, b in ids))
        made = sg.dp.counts(replace(inputs, keep=str(tmp_path / name)), **ONE)
        assert made.attrs["people_noise"]["charged"]
    assert spent(inputs) == (3.0, 0.0)
    (tmp_path / "gone").write_text("X\tX\n")  # who is not there moves nothing
    again = sg.dp.counts(replace(inputs, remove=str(tmp_path / "gone")), **ONE)
    assert again.attrs["people_noise"]["charged"] and spent(inputs) == (4.0, 0.0)


def test_noise_of_phenotypes_and_of_people_is_one_budget(inputs, monkeypatch):
    study = {"pheno": inputs.pheno, "covar": None, "chr": "1", "to_bp": 2000}
    sg.open_study(inputs.bfile, pheno_name="CC", dp_epsilon=3.0, **study)
    assert until_refused(lambda i: sg.dp.counts(inputs, epsilon=0.5 + i / 100)) == 1
    assert spent(inputs) == (3.5, 0.0)
    with pytest.raises(PolicyError, match=r"^noise\.budget"):
        sg.open_study(inputs.bfile, pheno_name="QT", dp_epsilon=1.0, dp_bounds="0,60", **study)
    monkeypatch.setattr("securegen.governance.noise_ledger._sum", lambda spent: (0.0, 0.0))
    sg.open_study(inputs.bfile, pheno_name="QT", dp_epsilon=1.0, dp_bounds="0,60", **study)


def test_delta_adds_up(inputs):
    assert until_refused(lambda i: sg.dp.counts(inputs, epsilon=0.5 + i / 1000, delta=4e-6)) == 2
    assert spent(inputs)[1] == pytest.approx(8e-6)


@pytest.mark.parametrize("dies", ["table", "store"])
def test_killed_between_charge_and_table_there_is_no_second_draw(dies, inputs, monkeypatch):
    """Killed after the charge: the same answer comes back. Killed before it is whole: nothing was shown, nothing is charged."""

    class Killed(BaseException):
        pass

    drawn = []
    right = release.counts

    def counts(*args, **options):
        made = right(*args, **options)

        def draw(noise):
            drawn.append(made.draw(noise))
            return drawn[-1]

        return replace(made, draw=draw)

    def kill(*_, **__):
        raise Killed

    monkeypatch.setitem(release._BUILDERS, "counts", counts)
    with monkeypatch.context() as patched:
        if dies == "table":
            patched.setattr(release, "write_noisy", kill)
        else:
            write, calls = noise_store._write, []

            def second(*args):  # the first makes the place
                calls.append(1)
                return kill() if len(calls) == 2 else write(*args)

            patched.setattr(noise_store, "_write", second)
        with pytest.raises(Killed):
            sg.dp.counts(inputs, **ONE)
    found = sg.dp.counts(inputs, **ONE)
    assert spent(inputs) == (1.0, 0.0) and found["COUNT"].tolist() == drawn[-1]
    assert len(drawn) == (1 if dies == "table" else 2)
    assert found.attrs["people_noise"]["charged"] == (dies == "store")


def test_a_real_kill_leaves_the_charge(inputs):
    """SIGKILL at the moment the table would be written."""
    code = (
        "import os, signal, sys\nimport securegen as sg\nfrom securegen.noisy import release\n"
        "release.write_noisy = lambda *a, **k: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"sg.dp.counts(sg.Inputs(bfile={inputs.bfile!r}, pheno={inputs.pheno!r}, pheno_name='CC'), epsilon=1.0)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    assert spent(inputs) == (1.0, 0.0)
    assert not sg.dp.counts(inputs, **ONE).attrs["people_noise"]["charged"] and spent(inputs) == (1.0, 0.0)


def test_an_edited_or_older_store_and_a_copied_folder_are_refused(inputs, tmp_path, monkeypatch):
    folder = Path(inputs.bfile).parent
    sg.dp.counts(inputs, **ONE)
    (first,) = folder.glob("noise.draws.[0-9]*")
    kept = first.read_bytes()
    sg.dp.counts(inputs, epsilon=1.5)
    (latest,) = folder.glob("noise.draws.[0-9]*")
    now = latest.read_bytes()
    for content in (kept, now[:-1], bytes([*now[:50], now[50] ^ 1, *now[51:]]), b""):
        latest.write_bytes(content)
        with pytest.raises(StorageError, match="altered, or is not the latest"):
            sg.dp.counts(inputs, **ONE)
    latest.write_bytes(now)
    shutil.copytree(folder, tmp_path / "copy")
    there = replace(inputs, bfile=str(tmp_path / "copy" / "c"), pheno=str(tmp_path / "copy" / "c.pheno.tsv"))
    with pytest.raises(PolicyError, match=r"^noise\.copy"):
        sg.dp.counts(there, epsilon=1.4)
    with pytest.raises(PolicyError, match=r"^noise\.copy"):  # nor by phenotypes alone
        sg.dp.counts(replace(inputs, pheno=there.pheno), epsilon=1.4)
    (folder / "noise.draws.key").unlink()
    with pytest.raises(StorageError, match="is gone"):
        sg.dp.counts(inputs, **ONE)
    for path in folder.glob("noise.draws*"):  # without a policy nothing remembers what was there
        path.unlink()
    assert sg.dp.counts(inputs, **ONE).attrs["people_noise"]["spent_epsilon"] == 1.0


def test_phenotypes_elsewhere_are_charged_there_too(inputs, tmp_path):
    """Else a copy of the phenotypes in a new folder would forget their noise, and genotypes elsewhere that of these."""
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(inputs.pheno, other / "p.tsv")
    apart = replace(inputs, pheno=str(other / "p.tsv"))
    answer = people(sg.dp.counts(apart, **ONE))
    assert people(sg.dp.counts(inputs, **ONE)) == answer  # the same files: the same question
    assert until_refused(lambda i: sg.dp.counts(replace(apart, chr="1"), epsilon=1.0 + i / 50)) == 2
    with noise_store.open_draws(other) as entries:
        assert entries.most_spent() == spent(inputs) == (pytest.approx(3.02), 0.0)


@pytest.fixture
def governed(small, tmp_path):
    ruled = make_ruled(tmp_path / "ruled", small)
    ruled.write(noise__epsilon=3.0)
    return ruled, sg.Inputs(bfile=ruled.cohort.bfile, pheno=ruled.cohort.pheno, pheno_name="CC", purpose="HMB")


def test_a_backup_that_came_back_is_missed_by_the_log(governed, monkeypatch):
    ruled, inputs = governed
    store = lambda: sorted(ruled.folder.glob("noise.draws*"))  # noqa: E731
    sg.dp.counts(inputs, epsilon=1.0)
    before = {path: path.read_bytes() for path in store()}
    first = people(sg.dp.counts(inputs, epsilon=2.0))
    after = {path: path.read_bytes() for path in store()}

    def put(files):
        for path in store():
            path.unlink()
        for path, content in files.items():
            path.touch(mode=0o600)
            path.write_bytes(content)

    for files in (before, {}):
        put(files)
        with pytest.raises(StorageError, match="older one|gone"):
            sg.dp.counts(inputs, epsilon=2.0)
    with monkeypatch.context() as off:
        put(before)
        off.setattr("securegen.governance.audit_ledger.refuse_older", lambda *_, **__: None)
        again = sg.dp.counts(inputs, epsilon=2.0)
        assert again.attrs["people_noise"]["charged"]  # the attack: a second draw
    put(after)
    assert first


def test_a_copy_of_a_governed_folder_without_its_store_is_refused(governed, tmp_path):
    ruled, inputs = governed
    sg.dp.counts(inputs, epsilon=1.0)
    shutil.copytree(ruled.folder, tmp_path / "copy")
    for path in (tmp_path / "copy").glob("noise.draws*"):
        path.unlink()
    there = replace(inputs, bfile=str(tmp_path / "copy" / "cohort"), pheno=str(tmp_path / "copy" / "pheno.tsv"))
    with pytest.raises((StorageError, PolicyError)):
        sg.dp.counts(there, epsilon=1.0)


def test_what_the_store_holds_is_no_number_of_a_person(inputs):
    """Answers are behind the key; a question is a mark that nobody can guess at who has not the key."""
    sg.dp.counts(inputs, **ONE)
    folder = Path(inputs.bfile).parent
    (latest,) = folder.glob("noise.draws.[0-9]*")
    assert b"answers" not in latest.read_bytes() and oct(latest.stat().st_mode)[-3:] == "600"
    marks = {NoiseEntries(bytes([i]) * 32).question("{}") for i in range(3)}
    assert len(marks) == 3


@pytest.mark.parametrize(
    ("name", "value"),
    [("epsilon", v) for v in (0, -1.0, float("nan"), float("inf"), "1", True, 11, 0.001)]
    + [("delta", v) for v in (0, 1.0, float("nan"), "1e-6", True)]
    + [("edges", v) for v in ((), "a", "2,1", "1,1", "1,inf", "nan", 3, None, [True], ["1", None])]
    + [("k", v) for v in (0, -1, 1.5, "3", True, 101, None)]
    + [("bounds", v) for v in ("5", "2,1", (1,), 3, "0,inf")]
    + [("sexes", 1), ("called", "yes")],
)
def test_an_argument_that_protects_nothing_or_means_nothing_is_refused(name, value, inputs):
    asked = {"epsilon": 1.0} | {name: value}
    call = {"edges": sg.dp.histogram, "k": sg.dp.hits, "bounds": sg.dp.hits}.get(name, sg.dp.counts)
    with pytest.raises(UsageError, match=name):
        call(inputs, **asked)
    assert not list(Path(inputs.bfile).parent.glob("noise.draws*"))


def test_options_that_noise_does_not_cover_are_refused(inputs):
    """Every field of `Inputs` that a summary does not know: what it did could depend on one person."""
    for more in (
        {"covar": "c.tsv"},
        {"dp_epsilon": 1.0},
        {"apply_rint": True},
        {"generalise": "AGE:5"},
        {"dominant": True},
        {"blocks": "1/2"},
    ):
        with pytest.raises(UsageError, match=f"`{next(iter(more))}` is not for counts"):
            sg.dp.counts(replace(inputs, **more), **ONE)
    with pytest.raises(UsageError, match="`inputs` is sg.Inputs"):
        sg.dp.frequencies("cohort", **ONE)
    for call, more, options in (
        (sg.dp.hits, {"pheno_name": None}, {}), (sg.dp.hits, {"sex_name": "SEX"}, {}), (sg.dp.frequencies, {}, {}),
        (sg.dp.histogram, {"force_01": True}, {"edges": (0.0,)}), (sg.dp.counts, {"pheno_name": None}, {}),
    ):  # fmt: skip
        with pytest.raises(UsageError):
            call(replace(inputs, **more), **ONE, **options)
    with pytest.raises(UsageError, match="`kind`"):
        sg.dp.write(inputs, f"{inputs.bfile}.o", "means", **ONE)


def test_a_noise_is_one_line_and_two_are_equal():
    assert PeopleNoise(1.0) == PeopleNoise(1.0) and "ε = 1" in PeopleNoise(1.0, 1e-6).line()


def test_a_key_file_that_names_no_draws_forgets_none(inputs):
    """Its line has a digest and no key: whoever writes it again, with 0 for the latest, would begin a new life."""
    folder = Path(inputs.bfile).parent
    key = folder / "noise.draws.key"
    first = people(sg.dp.counts(inputs, **ONE))
    header, secret = envelope.read(key, noise_store.MAGIC, noise_store.WHAT)
    edited = envelope.sealed(noise_store.MAGIC, {"folder": header["folder"], "latest": 0}, secret, None)
    key.write_bytes(edited)
    with pytest.raises(StorageError):
        sg.dp.counts(inputs, **ONE)
    for path in folder.glob("noise.draws.[0-9]*"):  # without them it is the state of a first run that was killed
        path.unlink()
    again = sg.dp.counts(inputs, **ONE)
    assert again.attrs["people_noise"]["charged"] and isinstance(first, int)


def test_first_draws_that_the_key_file_does_not_name_yet_are_kept(tmp_path, monkeypatch):
    right = noise_store._write_key

    def killed(folder: Path, latest: int, key: bytes) -> None:
        if latest:
            raise KeyboardInterrupt
        right(folder, latest, key)

    monkeypatch.setattr(noise_store, "_write_key", killed)
    with pytest.raises(KeyboardInterrupt), noise_store.open_draws(tmp_path) as entries:
        entries.enter_answer(entries.question("q"), PeopleNoise(1.0), [7], (4.0, 1e-5))
    monkeypatch.undo()
    with noise_store.open_draws(tmp_path) as entries:
        assert entries.most_spent() == (1.0, 0.0)
        entries.enter_answer(entries.question("r"), PeopleNoise(1.0), [8], (4.0, 1e-5))
    with noise_store.open_draws(tmp_path) as entries:
        assert entries.answer(entries.question("q")) == [7] and entries.most_spent() == (2.0, 0.0)
