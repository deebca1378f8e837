"""--json, --config, --dry-run and rerun: what a run was told is data, and nothing secret is in it."""

from __future__ import annotations

import hashlib
import json
import shutil
import tomllib
from pathlib import Path

import pytest
from support import Cohort, securegen

pytestmark = pytest.mark.usefixtures("forked_roles")


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture
def place(small, tmp_path, monkeypatch) -> Path:
    """A working folder with a copy of the cohort: cohort.bed …, pheno.tsv, covar.tsv."""
    for suffix in (".bed", ".bim", ".fam"):
        shutil.copy(small.bfile + suffix, tmp_path / f"cohort{suffix}")
    shutil.copy(small.pheno, tmp_path / "pheno.tsv")
    shutil.copy(small.covar, tmp_path / "covar.tsv")
    monkeypatch.chdir(tmp_path)
    return tmp_path


STUDY = Cohort("cohort", "pheno.tsv", "covar.tsv").options()


# --json


def test_json_is_one_object_and_nothing_else(place):
    done = securegen("gwas", *STUDY, "--maf", "0.05", "--out", "t", "--json")
    record = json.loads(done.out)
    assert done.code == 0 and record["engine"] == "plain" and record["outputs"] == ["t.QT.glm.linear"]
    assert record == json.loads(Path("t.run.json").read_text())
    assert "phenotype QT" in done.err  # the log stays where it was


def test_json_of_a_failure_says_what_failed(place):
    for call, kind, code, words in (
        (["gwas", "--bfile", "none", *STUDY[2:]], "InputError", 3, "none.bim"),
        (["gwas", *STUDY, "--model", "logistic"], "DesignError", 4, "needs cases and controls"),
        (["gwas", *STUDY, "--modell", "x"], "UsageError", 2, "--modell"),
        (["gwas", *STUDY, "--bits", "99"], "UsageError", 2, "from 14 to 24"),
        (["gwass"], "UsageError", 2, "gwas"),
    ):
        done = securegen(*call, "--json", "--out", "t")
        error = json.loads(done.out)["error"]
        assert (done.code, error["class"], error["exit_code"]) == (code, kind, code), done.out
        assert words in error["message"] and "Error" in done.err


def test_json_has_no_nan(place):
    """A table without a variant that varies has no inflation factor."""
    Path("only.txt").write_text("rs1\n")
    done = securegen("gwas", *STUDY, "--extract", "only.txt", "--out", "t", "--json", "--quiet")
    json.loads(done.out, parse_constant=lambda word: pytest.fail(word))


@pytest.mark.parametrize("call", [["doctor"], ["certs", "init-ca", "--dir", "ca"], ["inspect", "cohort.missing"],
                                  ["site", "keygen", "--state", "s", "--out", "s.public"],
                                  ["site", "variants", "--bfile", "cohort", "--out", "v.tsv"]])  # fmt: skip
def test_other_commands_speak_json_too(call, place):
    assert isinstance(json.loads(securegen(*call, "--json").out), dict)


# --config


def test_a_file_of_options_and_the_command_line_that_wins(place):
    Path("run.toml").write_text(
        'command = "gwas"\nbfile = "cohort"\npheno = "pheno.tsv"\npheno-name = ["QT", "QT2"]\ncovar = "covar.tsv"\n'
        'digits = 6\nmaf = 0.05\napply-rint = true\nout = "from-file"\n'
    )
    assert securegen("gwas", "--config", "run.toml", "--quiet").code == 0
    assert securegen("gwas", "--config", "run.toml", "--pheno-name", "QT", "--out", "wins", "--quiet").code == 0
    asked = [*STUDY[:4], "--pheno-name", "QT", *STUDY[-2:], "--digits", "6", "--maf", "0.05", "--apply-rint"]
    assert securegen("gwas", *asked, "--out", "typed", "--quiet").code == 0
    assert Path("from-file.QT2.glm.linear").exists() and not Path("wins.QT2.glm.linear").exists()
    assert Path("wins.QT.glm.linear").read_bytes() == Path("typed.QT.glm.linear").read_bytes()
    assert Path("wins.QT.glm.linear").read_bytes() == Path("from-file.QT.glm.linear").read_bytes()


def test_one_file_for_the_steps_of_a_study(place):
    Path("study.toml").write_text(
        'bfile = "cohort"\npheno = "pheno.tsv"\npheno-name = ["QT"]\ncovar = "covar.tsv"\nquiet = true\n'
        '[plan]\nout = "plan"\n[gwas]\nout = "plain"\ndigits = 6\n["run-local gwas"]\nengine = "plain"\nout = "local"\n'
    )
    for words in (["plan"], ["gwas"], ["run-local", "gwas"]):
        done = securegen(*words, "--config", "study.toml")
        assert done.code == 0, done.err
    assert Path("plan.plan.json").exists() and Path("local.QT.glm.linear").exists()
    assert securegen("gwas", *STUDY[:4], "--pheno-name", "QT", *STUDY[-2:], "--digits", "6", "--out", "typed").code == 0
    assert Path("plain.QT.glm.linear").read_bytes() == Path("typed.QT.glm.linear").read_bytes()
    for text, words in (
        ('bfile = "cohort"\n[plan]\n', "has tables for securegen plan, none for securegen gwas"),
        ('bfle = "cohort"\n[gwas]\n', "'bfle' is not an option of securegen gwas"),
        ("[gwas]\n[gwass]\n", "the table [gwass] is not a command"),
        ('[gwas]\nbfle = "c"\n', "did you mean 'bfile'?"),
    ):
        Path("bad.toml").write_text(text)
        done = securegen("gwas", "--config", "bad.toml")
        assert done.code == 2 and words in done.err, done.err


@pytest.mark.parametrize(
    "text, code, words",
    [
        ('pheno-nam = "QT"\n', 2, "'pheno-nam' is not an option of securegen gwas; did you mean 'pheno-name'?"),
        ('zzz = "QT"\n', 2, "see securegen gwas --help"),
        ('passphrase = "abc"\n', 2, "'passphrase' is not an option"),
        ('command = "plan"\n', 2, "is for securegen plan, not for securegen gwas"),
        ("apply-rint = 1\n", 2, "'apply-rint' is true or false, not 1"),
        ("digits = true\n", 2, "'digits' is a value, not True"),
        ('pheno = ["a", "b"]\n', 2, "'pheno' takes one value"),
        ("digits = 99\n", 2, "a whole number from 3 to 17, found '99'"),
        ("digits : 6\n", 3, "run.toml is not TOML"),
        (None, 3, "cannot read run.toml: No such file"),
    ],
)
def test_a_bad_file_of_options_is_refused(text, code, words, place):
    if text is not None:
        Path("run.toml").write_text(text)
    done = securegen("gwas", *STUDY, "--config", "run.toml", "--out", "t")
    assert done.code == code and words in done.err, done.err
    assert not list(place.glob("t.*"))


def test_options_of_parties_come_by_a_flag_of_their_own(place):
    Path("run.toml").write_text('role = "site"\nparties = "none.toml"\n')
    done = securegen("party", "--run-config", "run.toml")
    assert done.code == 3 and "none.toml" in done.err


# --dry-run


DRY = {
    "plan": [*STUDY], "gwas": [*STUDY], "qc": ["--bfile", "cohort"],
    "run-local gwas": ["--engine", "ckks", *STUDY], "run-local qc": ["--engine", "ckks", "--bfile", "cohort"],
    "certs init-ca": ["--dir", "ca"], "certs request": ["--dir", "keys", "--name", "a"],
    "site keygen": ["--state", "s", "--out", "s.public"], "site variants": ["--bfile", "cohort", "--out", "v.tsv"],
    "prs-step request": ["--bfile", "cohort"], "prs-step challenge": [],
}  # fmt: skip


@pytest.mark.parametrize("engine", ["plain", "ckks", "federated", "mpc"])
def test_a_dry_run_of_every_engine_names_the_tables_and_writes_nothing(engine, place):
    split = ["--split", "outsourced"] if engine == "mpc" else []
    before = snapshot(place)
    done = securegen("run-local", "gwas", "--engine", engine, *split, *STUDY, "--out", "new/t", "--dry-run")
    assert done.code == 0, done.err
    assert "would write new/t.QT.glm.linear" in done.out and "nothing was written" in done.out
    assert snapshot(place) == before and not Path("new").exists()


@pytest.mark.parametrize("words", DRY)
def test_a_dry_run_leaves_nothing(words, place):
    before = snapshot(place)
    done = securegen(*words.split(), *DRY[words], "--dry-run", "--json")
    assert done.code == 0, done.err
    record = json.loads(done.out)
    assert record["dry_run"] is True and record["command"] == words and record["would_write"]
    assert snapshot(place) == before


def test_a_dry_run_of_the_parties_steps(steps, small, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    owner, server = steps.owner, steps.server
    calls = {
        "keygen": ["--plan", owner / "study.plan.json"],
        "encrypt": [*steps.key, *small.options()],
        "gwas": ["--cohort", server / "study.cohort", "--design", server / "study.design"],
        "decrypt": [*steps.key, "--owner", owner / "study.owner", "--results", server / "study.results"],
    }
    for name, arguments in calls.items():
        done = securegen(name, *arguments, "--out", "t", "--dry-run")
        assert done.code == 0 and "would write t." in done.out, done.err
    assert "would write t.QT2.glm.linear" in done.out  # decrypt knows the tables
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_finds_what_the_run_would_find(steps, small, place, tmp_path):
    damaged = tmp_path / "study.cohort"
    shutil.copytree(steps.server / "study.cohort", damaged)
    file = next(damaged.glob("*.npy"))
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    Path("wrong.txt").write_text("wrong\n")
    Path("wrong.txt").chmod(0o600)
    key = ["--key", steps.owner / "key.secret", "--passphrase-file", "wrong.txt"]
    results = steps.server / "study.results"
    for call, code, words in (
        (["gwas", "--cohort", damaged, "--design", steps.server / "study.design"], 7, "does not have the digest"),
        (["decrypt", *key, "--owner", steps.owner / "study.owner", "--results", results], 6, "wrong passphrase"),
        (["plan", *STUDY[:-1], "nowhere.tsv"], 3, "nowhere.tsv"),
        (["encrypt", *steps.key, *STUDY, "--keep", "few.txt"], 4, "planned for 90 samples, this cohort has 60"),
        (["plan", *STUDY, "--out", "cohort.bed/t"], 9, "a file is in the way"),
        (["party", "--parties", "none.toml", "--role", "server"], 3, "none.toml"),
    ):
        Path("few.txt").write_text("".join(f"F{i} I{i}\n" for i in range(60)))
        done = securegen(*call, "--dry-run")
        assert done.code == code and words in done.err, (call, done.err)


# rerun


def test_rerun_gives_the_same_and_says_which_input_changed(place):
    assert securegen("gwas", *STUDY, "--out", "first", "--quiet").code == 0
    call = json.loads(Path("first.run.json").read_text())["call"]
    assert set(call["digests"]) == {"cohort.bed", "cohort.bim", "cohort.fam", "pheno.tsv", "covar.tsv"}
    done = securegen("rerun", "first.run.json", "--out", "second")
    assert done.code == 0, done.err
    assert Path("first.QT.glm.linear").read_bytes() == Path("second.QT.glm.linear").read_bytes()
    text = Path("covar.tsv").read_text()
    Path("covar.tsv").write_text(text.replace("\t1\t", "\t2\t", 1))
    done = securegen("rerun", "first.run.json", "--out", "third")
    assert done.code == 3 and "covar.tsv changed since" in done.err and "pheno.tsv" not in done.err
    assert not list(place.glob("third.*"))
    done = securegen("rerun", "first.run.json", "--out", "third", "--accept-changed-inputs")
    assert done.code == 0 and "WARNING: covar.tsv changed" in done.err and Path("third.QT.glm.linear").exists()
    Path("pheno.tsv").unlink()
    done = securegen("rerun", "first.run.json")
    assert done.code == 3 and "pheno.tsv is missing" in done.err


def test_rerun_of_an_encrypted_run_and_its_options_as_a_file(place):
    assert (
        securegen("run-local", "gwas", "--engine", "ckks", *STUDY, "--digits", "9", "--out", "a", "--quiet").code == 0
    )
    done = securegen("rerun", "a.run.json", "--out", "b", "--json", "--quiet")
    assert json.loads(done.out)["engine"] == "ckks" and done.code == 0
    Path("run.toml").write_text(securegen("rerun", "a.run.json", "--print-config").out)
    options = tomllib.loads(Path("run.toml").read_text())
    assert options["command"] == "run-local gwas" and options["digits"] == 9 and options["encryptor"] == "own"
    assert securegen("run-local", "gwas", "--config", "run.toml", "--out", "c", "--quiet").code == 0
    tables = {Path(f"{name}.QT.glm.linear").read_bytes() for name in "abc"}
    assert len(tables) == 1


def test_commands_that_share_a_prefix_are_all_there(place):
    assert securegen("plan", *STUDY, "--out", "s", "--quiet").code == 0
    assert securegen("qc", "--bfile", "cohort", "--out", "s", "--quiet").code == 0
    assert securegen("plan", *STUDY, "--out", "s", "--quiet").code == 0  # takes the place of the first
    log = Path("s.log").read_text()
    assert [line.split()[2] for line in log.splitlines() if line.startswith("securegen ")] == ["qc,", "plan,"]
    done = securegen("rerun", "s.run.json", "--command", "qc", "--out", "again", "--quiet")
    assert done.code == 0 and Path("again.afreq").read_bytes() == Path("s.afreq").read_bytes()
    done = securegen("rerun", "s.run.json", "--command", "gwas")
    assert done.code == 2 and "records plan, qc, not gwas" in done.err


@pytest.mark.parametrize("content, words", [
    (None, "there is no file x.run.json"), ("{}", "does not say how to run it again"), ("nonsense", "is damaged: it is not JSON"),
    ('{"command": "gwas", "call": {"command": "gwas"}}', "is damaged: call lacks options"),
    ('{"command": "gwas", "call": {"command": "gwas", "options": {}, "digests": {"a": 1}}}', "call.digests.'a' is 1"),
    ('{"command": "x", "call": {"command": "x", "options": {}}}', "which this version does not have"),
    ('{"command": "qc", "call": {"command": "qc", "options": {"zzz": 1}}}', "no option --zzz"),
])  # fmt: skip
def test_rerun_of_what_is_no_record(content, words, place):
    if content is not None:
        Path("x.run.json").write_text(content)
    done = securegen("rerun", "x.run.json")
    assert done.code in (2, 3) and words in done.err and len(done.err.splitlines()) == 1, done.err


def test_no_secret_and_no_folder_of_the_user_is_recorded(steps, place):
    """Neither the passphrase, nor a digest it could be guessed by, nor the key, nor where the user works."""
    word = (steps.owner / "passphrase").read_text().strip()
    securegen("gwas", *STUDY, "--out", "t", "--quiet", environment={"SECUREGEN_PASSPHRASE": "from the environment"})
    assert str(place) not in Path("t.run.json").read_text()
    for path in (*steps.owner.glob("*.run.json"), *steps.owner.glob("*.log"), Path("t.run.json")):
        text = path.read_text()
        digest = hashlib.sha256((steps.owner / "passphrase").read_bytes()).hexdigest()
        key = hashlib.sha256((steps.owner / "key.secret").read_bytes()).hexdigest()
        assert word not in text and digest not in text and key not in text and "from the environment" not in text
    call = json.loads((steps.owner / "final.run.json").read_text())["call"]
    (named,) = [v for k, v in call["digests"].items() if k.endswith("key.secret")]
    assert named.startswith("fingerprint ")  # of the public half
