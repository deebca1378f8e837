"""What stands beside noisy numbers, in logs, records and what is spent: read as somebody does who knows all but one person."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest
from support import Cohort, securegen

import securegen as sg
from securegen.cli import config
from securegen.errors import InputError, PolicyError
from securegen.governance.noise_ledger import NoiseEntries
from securegen.governance.noise_store import open_draws
from securegen.io.digests import sha256
from securegen.io.genotypes import FORMATS
from securegen.noisy import cohort as cohorts
from securegen.record import run_log
from securegen.study import inputs as study_inputs
from securegen.study import noise_place, traits
from securegen.study.inputs import TABLES

FEW = {"chr": "1", "to_bp": 3000}


@pytest.fixture
def own(small, tmp_path) -> Cohort:
    """The cohort in a folder of its own."""
    folder = tmp_path / "data"
    folder.mkdir()
    for end in ("bed", "bim", "fam"):
        shutil.copy(f"{small.bfile}.{end}", folder / f"c.{end}")
    for path in (small.pheno, small.covar):
        shutil.copy(path, folder)
    return Cohort(str(folder / "c"), str(folder / Path(small.pheno).name), str(folder / Path(small.covar).name))


def edited(path: str, row: int, column: str, value: str) -> bytes:
    """A table with another cell."""
    lines = [line.split("\t") for line in Path(path).read_text().splitlines()]
    lines[row][[n.lstrip("#") for n in lines[0]].index(column)] = value
    return "".join("\t".join(line) + "\n" for line in lines).encode()


def test_several_files_say_nothing_of_people_beside_a_summary(own):
    """Whose sex or order differs between the files of chromosomes is one person's: other commands say it in the log."""
    bfile = Path(own.bfile)
    for end in ("bed", "bim", "fam"):
        shutil.copy(f"{bfile}.{end}", bfile.with_name(f"d.{end}"))
    bim = [line.split("\t") for line in Path(f"{bfile}.bim").read_text().splitlines()]
    bfile.with_name("d.bim").write_text("".join("\t".join(["9", f"d{i}", *x[2:]]) + "\n" for i, x in enumerate(bim)))
    inputs = sg.Inputs(bfile=(own.bfile, str(bfile.with_name("d"))))

    def said() -> list[str]:
        lines: list[str] = []
        cohorts.open_cohort(inputs, lines.append)
        return lines

    before = said()
    fam = bfile.with_name("d.fam").read_text().splitlines()
    cells = fam[7].split()
    cells[4] = "2" if cells[4] == "1" else "1"
    bfile.with_name("d.fam").write_text("\n".join([*fam[:7], "\t".join(cells), *fam[8:]]) + "\n")
    assert said() == before
    spoken: list[str] = []
    inputs.genotypes.open(spoken.append)  # as other commands do
    assert any("other sexes" in line for line in spoken)


@pytest.mark.parametrize("kept", ["record", "log"])
def test_an_exact_run_under_the_same_prefix_does_not_go_along(kept, own, monkeypatch):
    out = Path(own.bfile).with_name("o")
    exact = [*own.options(), "--chr", "1", "--to-bp", "3000", "--out", out, "--quiet"]
    assert securegen("gwas", *exact).code == 0
    out.with_name("o.log" if kept == "record" else "o.run.json").unlink()
    words = ["--bfile", own.bfile, "--dp-epsilon", "0.5", "--out", out, "--quiet"]
    done = securegen("dp", "counts", *words)
    assert done.code == 2 and "prefix of its own" in done.err
    assert not out.with_name("o.noisy.counts.tsv").exists()
    monkeypatch.setattr(run_log, "refuse_other_commands", lambda *_: None)  # the protection
    assert securegen("dp", "counts", *words).code == 0
    told = out.with_name("o.run.json").read_text() + out.with_name("o.log").read_text()
    assert ('"samples":' if kept == "record" else "of 90 people are analysed") in told


def test_summaries_share_a_prefix(own):
    words = ["--bfile", own.bfile, "--dp-epsilon", "0.5", "--out", Path(own.bfile).with_name("o"), "--quiet"]
    assert securegen("dp", "counts", *words).code == 0
    assert securegen("dp", "frequencies", *words).code == 0


def test_what_is_spent_does_not_tell_who_is_in_two_lists(own, tmp_path, monkeypatch):
    """Two phenotypes of people who are in two lists: the largest sum of a person is larger where somebody is in both."""
    ids = [line.split()[:2] for line in Path(f"{own.bfile}.fam").read_text().splitlines()]
    lists = {"a": ids[:40], "b": ids[40:80], "both": [*ids[40:80], ids[0]]}
    for name, people in lists.items():
        (tmp_path / name).write_text("".join(f"{f}\t{i}\n" for f, i in people))

    def spent(second: str) -> float:
        for path in Path(own.bfile).parent.glob("noise.draws*"):
            path.unlink()
        for name, kept in (("QT", "a"), ("QT2", second)):
            sg.open_study(own.bfile, pheno=own.pheno, pheno_name=name, keep=str(tmp_path / kept), dp_epsilon=1.0,
                          dp_bounds="-100,100", **FEW)  # fmt: skip
        made = sg.dp.counts(sg.Inputs(bfile=own.bfile), epsilon=0.5)
        return float(made.attrs["people_noise"]["spent_epsilon"])

    assert spent("b") == spent("both") == 2.5

    def largest(self: NoiseEntries) -> tuple[float, float]:
        return max(self.spent(place)[0] for place in range(len(self.people))), 0.0

    monkeypatch.setattr(NoiseEntries, "most_spent", largest)  # of a person that there is
    assert (spent("b"), spent("both")) == (1.5, 2.5)


def test_a_record_of_noisy_phenotypes_does_not_verify_a_guess_of_one(own, monkeypatch):
    """Whoever knows every cell but one tries both values against a digest."""
    out = Path(own.bfile).with_name("o")
    words = [*own.options("CC"), "--chr", "1", "--to-bp", "3000", "--dp-epsilon", "1", "--out", out, "--quiet"]
    guesses = {v: hashlib.sha256(edited(own.pheno, 5, "CC", v)).hexdigest() for v in ("1", "2")}
    right = sha256(own.pheno)
    assert right in guesses.values()

    def told() -> str:
        assert securegen("gwas", *words).code == 0
        return "".join(out.with_name(f"o{end}").read_text() for end in (".run.json", ".log"))

    assert not any(digest in told() for digest in (*guesses.values(), sha256(f"{own.bfile}.fam"), sha256(own.covar)))
    assert sha256(f"{own.bfile}.bed") in told()
    for module in (noise_place, config):
        monkeypatch.setattr(module, "is_told", lambda *_: True)  # the protection
    assert [v for v, digest in guesses.items() if digest in told()] == [v for v, d in guesses.items() if d == right]


def test_a_request_names_noisy_phenotypes_under_the_key_of_the_draws(own, monkeypatch):
    """So that its digest, which receipts have, verifies no guess, and yet is of these values and no others."""
    inputs = sg.Inputs(bfile=own.bfile, pheno=own.pheno, pheno_name="CC", dp_epsilon=1.0, **FEW)
    sg.open_study(own.bfile, pheno=own.pheno, pheno_name="CC", dp_epsilon=1.0, **FEW)
    first = inputs.asked_for()
    assert inputs.asked_for() == first and not {sha256(own.pheno), sha256(f"{own.bfile}.fam")} & set(first.values())
    was = Path(own.pheno).read_bytes()
    Path(own.pheno).write_bytes(edited(own.pheno, 5, "QT", "1.5"))
    assert inputs.asked_for()["people"] != first["people"]
    Path(own.pheno).write_bytes(was)
    with open_draws(Path(own.pheno).parent) as entries:
        entries.key = bytes(32)  # another place has another word
    assert inputs.asked_for()["people"] != first["people"]
    monkeypatch.setattr(study_inputs, "asked_digests", lambda inputs, but: inputs.digests())  # the protection
    assert sha256(own.pheno) in inputs.asked_for().values()


def test_the_word_of_a_request_stays_before_the_first_draw(own):
    inputs = sg.Inputs(bfile=own.bfile, pheno=own.pheno, pheno_name="CC", dp_epsilon=1.0, **FEW)
    assert inputs.asked_for() == inputs.asked_for()


def test_every_file_is_of_people_or_of_variants():
    """A new table is one of the two before a record has its digest."""
    of_variants = {"extract", "exclude", "condition_list", "mondo", "anno_file", "set_list", "mask_def", "aaf_file"}
    assert set(TABLES) - noise_place.OF_PEOPLE == of_variants
    ends = {end for form in FORMATS.values() for end in form.ends}
    assert ends - noise_place.OF_PEOPLE == {"bed", "bim", "pgen", "pvar"}
    assert not noise_place.is_told("bfile", "a/c.fam") and not noise_place.is_told("pred.QT", "x_1.loco")
    assert noise_place.is_told("bed.2", "c2.bed") and not noise_place.is_told("psam.1", "c1.psam.zst")


def test_the_log_of_noisy_phenotypes_says_nothing_of_exact_values(own, monkeypatch):
    """A value far from all others, and how few values there are, would be told as where they have no noise."""
    Path(own.pheno).write_bytes(edited(own.pheno, 5, "QT", "99999"))

    def said() -> str:
        lines: list[str] = []
        sg.open_study(own.bfile, pheno=own.pheno, pheno_name="QT", dp_epsilon=0.5, dp_bounds="0,60", log=lines.append,
                      **FEW)  # fmt: skip
        return "\n".join([*lines, *exact])

    exact: list[str] = []
    assert "99999" not in said()
    monkeypatch.setattr(traits, "silent", exact.append)  # the protection
    assert "99999" in said()


def test_a_refusal_does_not_count_the_right_guesses(own):
    """How many of a list of guesses are wrong, under the name that has noise, would give each of them by a question a guess."""

    def refused(*rows: int) -> str:
        was = Path(own.pheno).read_bytes()
        for row in rows:
            Path(own.pheno).write_bytes(edited(own.pheno, row, "QT", "1.5"))
        with pytest.raises(PolicyError, match=r"^noise\.changed") as error:
            sg.open_study(own.bfile, pheno=own.pheno, pheno_name="QT", dp_epsilon=1.0, dp_bounds="0,60", **FEW)
        Path(own.pheno).write_bytes(was)
        return str(error.value)

    sg.open_study(own.bfile, pheno=own.pheno, pheno_name="QT", dp_epsilon=1.0, dp_bounds="0,60", **FEW)
    assert refused(5) == refused(5, 6, 7)


@pytest.mark.parametrize("words", [["gwas"], ["run-local", "gwas", "--engine", "plain"]], ids=["gwas", "run-local"])
def test_rerun_sees_that_a_table_of_people_changed(words, own, tmp_path, monkeypatch):
    """Without its digest: whoever has the record and not the draws can try no guess."""
    monkeypatch.chdir(tmp_path)
    call = [*words, *own.options("CC"), "--dp-epsilon", 1, "--chr", "1", "--to-bp", 2000]
    assert (done := securegen(*call, "--out", "first")).code == 0, done.err
    text = Path("first.run.json").read_text()
    tables = {own.pheno, own.covar, f"{own.bfile}.fam"}
    told = json.loads(text)["call"]
    assert tables == set(told["untold"]) == set(told["marks"]) and told["draws"] == "data"
    assert not any(sha256(path) in text for path in tables)

    def again(*more):
        return securegen("rerun", "first.run.json", "--out", "again", "--quiet", *more)

    assert (done := again()).code == 0 and "not seen" not in done.err, done.err
    right = Path(own.covar).read_bytes()
    Path(own.covar).write_bytes(edited(own.covar, 3, "AGE", "31.5"))
    done = again("--dry-run")
    assert done.code == InputError.exit_code and f"{own.covar} changed since" in done.err and own.pheno not in done.err
    Path(own.covar).write_bytes(right)
    assert again("--dry-run").code == 0
    for path in Path("data").glob("noise.draws*"):  # the record, in other hands
        path.unlink()
    Path(own.covar).write_bytes(edited(own.covar, 3, "AGE", "31.5"))
    done = again("--dry-run")
    assert done.code == 0 and f"whether {', '.join(sorted(tables))} changed is not seen" in done.err
