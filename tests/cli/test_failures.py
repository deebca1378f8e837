"""What goes wrong says so: one line with the file and what to do, an exit code of its own, nothing half-written."""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support import Cohort, left, securegen

from securegen.engines import protocol


@pytest.fixture
def mine(small, tmp_path) -> Cohort:
    """A copy of the simulated cohort that a test may damage."""
    folder = tmp_path / "data"
    folder.mkdir()
    for suffix in (".bed", ".bim", ".fam"):
        shutil.copy(small.bfile + suffix, folder / f"c{suffix}")
    pheno, covar = shutil.copy(small.pheno, folder), shutil.copy(small.covar, folder)
    return Cohort(str(folder / "c"), str(pheno), str(covar))


def edit(path: str, change) -> None:
    Path(path).write_bytes(change(Path(path).read_bytes()))


def duplicate(raw: bytes) -> bytes:
    return raw + raw.splitlines(keepends=True)[3]


def text_for_a_number(raw: bytes) -> bytes:
    return raw.replace(b"I9999\t1", b"I9999\tone")


def nobody_known(raw: bytes) -> bytes:
    return raw.replace(b"\tI", b"\tJ").replace(b"\tJID", b"\tIID")


def no_such_trait(raw: bytes) -> bytes:
    return raw.replace(b"QT\t", b"BMI\t", 1)


def one_sex(raw: bytes) -> bytes:
    return raw.replace(b"\t2\t", b"\t1\t")


def same_person_twice(raw: bytes) -> bytes:
    return raw.replace(b"F7 I7 ", b"F8 I8 ").replace(b"F7\tI7\t", b"F8\tI8\t")


# exit code, file, change, message
FAILURES = {
    "duplicate phenotypes": (3, "pheno", duplicate, "pheno.tsv: the person of line 4 is there again, on line 93"),
    "duplicate covariates": (3, "covar", duplicate, "covar.tsv: the person of line 4 is there again, on line 93"),
    "ragged phenotypes": (3, "pheno", lambda b: b + b"F1 I1\n", "pheno.tsv, line 93: 2 fields, the header has 5"),
    "text among numbers": (3, "covar", text_for_a_number, "covar.tsv, line 92: column AGE holds 'one'"),
    "no header": (3, "pheno", lambda b: b.split(b"\n", 1)[1], "pheno.tsv, line 1: the header must start with"),
    "empty phenotypes": (3, "pheno", lambda b: b"", "pheno.tsv is empty"),
    "binary phenotypes": (3, "pheno", lambda b: b"\xff\xfe" * 50, "pheno.tsv is UTF-16 text"),
    "nobody in common": (3, "pheno", nobody_known, "pheno.tsv: none of its 91 people is in the genotype file"),
    "unknown phenotype": (2, "pheno", no_such_trait, "pheno.tsv has no column QT; it has BMI, CC, QT2"),
    "constant covariate": (4, "covar", one_sex, "covariate SEX is constant over the analysed samples"),
    "truncated bed": (3, "bed", lambda b: b[:-7], "c.bed has 29896 bytes, 29903 expected for 90 samples × 1300"),
    "another file as bed": (3, "bed", lambda b: b"\x89PNG" + b[4:], "c.bed is not a variant-major PLINK1 bed file"),
    "broken bim": (3, "bim", lambda b: b.replace(b"\t1000\t", b"\t"), "c.bim, line 1: 5 fields, a bim file has 6"),
    "duplicate people": (
        3,
        "fam",
        same_person_twice,
        "c.fam: persons 8 and 9 have the same id",
    ),
}


@pytest.mark.parametrize("engine", ["plain", "ckks"])
@pytest.mark.parametrize("name", FAILURES)
def test_bad_input_is_one_clear_line(name, engine, mine, tmp_path):
    code, which, change, message = FAILURES[name]
    edit(getattr(mine, which) if which in ("pheno", "covar") else f"{mine.bfile}.{which}", change)
    out = tmp_path / "out"
    out.mkdir()
    done = securegen("run-local", "gwas", "--engine", engine, *mine.options(), "--quiet", "--out", out / "run")
    assert done.code == code, done.err
    (line,) = done.err.splitlines()
    assert line.startswith("Error: ") and re.search(message, line), line
    assert done.out == "" and left(out) == []


@pytest.mark.parametrize("suffix", [".bed", ".bim", ".fam", "pheno", "covar"])
def test_a_missing_file_is_named(suffix, mine, tmp_path):
    path = Path(mine.bfile + suffix) if suffix[0] == "." else Path(getattr(mine, suffix))
    path.unlink()
    done = securegen(
        "run-local", "gwas", "--engine", "ckks", *mine.options(), "--quiet", "--out", tmp_path / "out" / "run"
    )
    assert done.code == 3 and path.name in done.err and len(done.err.splitlines()) == 1
    assert "o such file" in done.err
    assert left(tmp_path / "out") == []


def test_options_that_need_a_partner(small, steps, tmp_path):
    for arguments, message in (
        (["gwas"], "give either genotypes (--bfile …: in the clear) or --cohort"),
        (["gwas", "--cohort", steps.server / "study.cohort"], "--cohort needs --design"),
        (["gwas", "--bfile", small.bfile], "association needs --pheno"),
        (["encrypt", *steps.key], "give genotypes (--bfile …), or --owner"),
        (["gwas", *small.options(), "--covar-categorical", "AGES"], "has no column AGES"),
        (["gwas", *small.options(), "--chr", "7"], "--chr 7: the genotype file has 1, 2 only"),
        (["gwas", *small.options(), "--from-bp", "7"], "--from-bp and --to-bp need --chr"),
    ):
        done = securegen(*arguments, "--out", tmp_path / "t", "--quiet")
        assert done.code == 2 and done.err.startswith("Error: ") and message in done.err, done.err
    assert securegen("gwas", "--no-such-flag").code == 2
    assert securegen("no-such-command").code == 2
    assert left(tmp_path) == []


def decrypt(steps, out, **changes) -> list:
    given = {
        "--owner": steps.owner / "study.owner",
        "--results": steps.server / "study.results",
        "--out": out,
    } | changes
    return ["decrypt", "--quiet", *(x for pair in given.items() for x in pair)]


@pytest.mark.parametrize("more", [["--maf", "0.01"], ["--hwe", "1e-6", "--dry-run"], ["--qc-tables"]])
def test_filters_without_their_sums_are_refused_before_anything_is_decrypted(more, steps, tmp_path, monkeypatch):
    from securegen.engines.ckks.owner import decrypt as blocks

    monkeypatch.setattr(blocks, "decrypt", lambda *_: pytest.fail("a block was decrypted"))
    done = securegen(*decrypt(steps, tmp_path / "t"), *steps.key, *more)
    assert done.code == 2 and "need the sums of quality control" in done.err and "encrypt with --qc" in done.err
    assert not list(tmp_path.iterdir())


def test_keys_that_do_not_open(steps, tmp_path):
    out, key = tmp_path / "out" / "t", tmp_path / "key.secret"
    shutil.copy(steps.owner / "key.secret", key)
    (tmp_path / "wrong").write_text("four\n")
    (tmp_path / "empty").write_text("")
    for name in ("wrong", "empty"):
        (tmp_path / name).chmod(0o600)
    options = lambda file: {"--key": key, "--passphrase-file": tmp_path / file}  # noqa: E731

    def check(code: int, message: str, **changes) -> None:
        done = securegen(*decrypt(steps, out, **changes), environment={"SECUREGEN_PASSPHRASE": ""})
        assert done.code == code and message in done.err and len(done.err.splitlines()) == 1, done.err
        assert left(out.parent) == []

    check(6, "wrong passphrase, or the file was altered", **options("wrong"))
    check(3, "empty is empty: its first line must be the passphrase", **options("empty"))
    check(3, "cannot read", **options("none"))
    check(2, "no passphrase: give --passphrase-file, set SECUREGEN_PASSPHRASE", **{"--key": key})
    check(6, "cannot read the secret key", **{"--key": tmp_path / "none.secret"})
    key.chmod(0o640)
    check(6, f"can be read by others (mode 640): chmod 600 {key}", **options("wrong"))


def test_an_existing_key_is_kept(steps, tmp_path):
    call = [
        "keygen",
        "--plan",
        steps.owner / "study.plan.json",
        "--plain-secret-key",
        "--out",
        tmp_path / "k",
        "--quiet",
    ]
    assert securegen(*call).code == 0
    before = {name: (tmp_path / name).read_bytes() for name in left(tmp_path)}
    done = securegen(*call)
    assert done.code == 9 and "k.secret exists and is not overwritten" in done.err
    (tmp_path / "k.secret").unlink()
    again = securegen(*call)  # the public half of an older key is in the way: no secret half is left alone
    assert again.code == 9 and "k.public exists and is not overwritten" in again.err
    after = {name: (tmp_path / name).read_bytes() for name in left(tmp_path)}
    del before["k.secret"]
    assert after == before


def test_a_plan_that_is_none(tmp_path):
    plan = tmp_path / "p.json"
    for content, code in (("{}", 7), ("[1]", 7), ("no json", 3), (None, 3)):
        if content is None:
            plan.unlink()
        else:
            plan.write_text(content)
        done = securegen("keygen", "--plan", plan, "--plain-secret-key", "--out", tmp_path / "k", "--quiet")
        assert done.code == code and ("p.json" in done.err or "not a plan" in done.err), done.err
        assert [name for name in left(tmp_path) if name != plan.name] == []


def test_a_plan_made_less_secure_is_refused(steps, tmp_path):
    """Four primes at n = 4096, or scales without margin: the plan is checked again when it is read."""
    plan = json.loads((steps.owner / "study.plan.json").read_text())
    for change in ({"ring": plan["parameters"]["ring"] | {"special": 1073741789}}, {"design_scale": 8}):
        weak = {**plan, "parameters": plan["parameters"] | change}
        (tmp_path / "p.json").write_text(json.dumps(weak))
        done = securegen(
            "keygen", "--plan", tmp_path / "p.json", "--plain-secret-key", "--out", tmp_path / "k", "--quiet"
        )
        assert done.code == 7 and "the parameters are not valid" in done.err
        assert not (tmp_path / "k.secret").exists()


def test_damaged_artefacts(steps, tmp_path):
    server = shutil.copytree(steps.server, tmp_path / "server")
    call = [
        "gwas",
        "--cohort",
        server / "study.cohort",
        "--design",
        server / "study.design",
        "--out",
        tmp_path / "o" / "r",
        "--quiet",
    ]
    block = next((server / "study.cohort").glob("g-000001-*.npy"))
    block.write_bytes(block.read_bytes()[:-8])
    done = securegen(*call)
    assert done.code == 7 and f"{block.name} has" in done.err and "truncated" in done.err
    assert not (tmp_path / "o" / "r.results" / "manifest.json").exists() and not list(tmp_path.glob("o/r.run.json"))
    shutil.copy(server / "study.design" / "manifest.json", server / "study.cohort" / "manifest.json")
    swapped = securegen(*call)
    assert swapped.code == 7 and "is an encrypted design, expected cohort" in swapped.err
    (server / "study.results" / "block-000000.npy").write_bytes(b"")
    done = securegen(*decrypt(steps, tmp_path / "t", **{"--results": server / "study.results"}), *steps.key)
    assert done.code == 7 and "block-000000.npy has 0 bytes" in done.err
    assert [p.name for p in tmp_path.glob("t*")] == ["t.log"] and not Path(
        f"{steps.owner / 'key.secret'}.retired"
    ).exists()


def test_a_cohort_that_is_not_the_planned_one(steps, small, tmp_path):
    (tmp_path / "few").write_text("\n".join(f"F{i} I{i}" for i in range(60)))
    done = securegen(
        "encrypt", *steps.key, *small.options(), "--keep", tmp_path / "few", "--out", tmp_path / "e", "--quiet"
    )
    assert done.code == 4 and "planned for 90 samples" in done.err and "plan again" in done.err
    assert not (tmp_path / "e.cohort").exists()


def test_results_cannot_be_written(steps, small, tmp_path):
    """A file where a folder is needed, a folder where the table goes."""
    (tmp_path / "file").write_text("")
    done = securegen(*decrypt(steps, tmp_path / "file" / "t"), *steps.key)
    assert (done.code, done.err) == (9, f"Error: cannot make the folder {tmp_path / 'file'}: a file is in the way\n")
    (tmp_path / "t.QT.glm.linear").mkdir()
    done = securegen(*decrypt(steps, tmp_path / "t"), *steps.key)
    assert done.code == 9 and "t.QT.glm.linear: Is a directory" in done.err
    assert not list(tmp_path.glob(".*"))
    for engine in ("plain", "ckks"):
        local = securegen(
            "run-local", "gwas", "--engine", engine, *small.options(), "--out", tmp_path / "file" / "t", "--quiet"
        )
        assert local.code == 9 and local.err.startswith("Error: cannot ") and len(local.err.splitlines()) == 1, (
            local.err
        )


def test_parties_cannot_write_through_a_file(small, tmp_path):
    """Keys, working folders and tables of the other engines."""
    (tmp_path / "file").write_text("")
    local = ["run-local", "gwas", *small.options(), "--quiet", "--out", tmp_path / "file" / "t", "--engine"]
    for call in (
        ["certs", "init-ca", "--dir", tmp_path / "file" / "ca"],
        ["certs", "request", "--dir", tmp_path / "file", "--name", "ada"],
        [*local, "federated"],
        [*local, "mpc", "--split", "vertical", "--reveal", "aggregates", "--consent-aggregates"],
    ):
        done = securegen(*call)
        assert done.code == 9 and re.match("Error: cannot [^\n]*\n$", done.err), done.err
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def in_little_space(limit: int, *arguments: object) -> subprocess.CompletedProcess:
    """Run a command whose files may not grow beyond `limit` bytes, as on a disk that is full."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(p or os.getcwd() for p in sys.path)}
    return subprocess.run(
        [sys.executable, "-m", "securegen", *map(str, arguments)], env=environment, capture_output=True, text=True,
        check=False, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )  # fmt: skip


def test_a_full_disk_while_encrypting_and_decrypting(steps, small, tmp_path):
    done = in_little_space(40_000, "encrypt", *steps.key, *small.options(), "--out", tmp_path / "e", "--quiet")
    assert done.returncode == 9, done.stderr
    assert done.stderr.startswith("Error: cannot write ") and done.stderr.endswith(": File too large\n")
    assert not (tmp_path / "e.cohort" / "manifest.json").exists() and not list(tmp_path.rglob(".*"))
    done = in_little_space(40_000, *decrypt(steps, tmp_path / "t"), *steps.key)
    assert done.returncode == 9 and re.search("t.QT2?.glm.linear: File too large", done.stderr), done.stderr
    assert left(tmp_path) == ["e.cohort", "e.owner"]
    assert not Path(f"{steps.owner / 'key.secret'}.retired").exists()


def test_a_table_that_does_not_fit_is_not_half_there(small, tmp_path, monkeypatch):
    """The last step of a run of parties: their table is copied to its final name."""
    from securegen.io import output

    def full(reading, writing, size):
        writing.write(reading.read(1000))
        raise OSError(28, "No space left on device")

    (tmp_path / "t.QT.glm.linear").write_text("of an earlier run")
    monkeypatch.setattr(output.shutil, "copyfileobj", full)
    done = securegen(
        "run-local", "gwas", "--engine", "mpc", "--split", "vertical", "--reveal", "aggregates", "--consent-aggregates",
        *small.options(), "--quiet", "--out", tmp_path / "t",
    )  # fmt: skip
    assert (done.code, done.err) == (9, f"Error: cannot write {tmp_path}/t.QT.glm.linear: No space left on device\n")
    assert (tmp_path / "t.QT.glm.linear").read_text() == "of an earlier run"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["t.QT.glm.linear", "t.log"]


def test_a_disk_that_is_full_for_the_second_table_only(steps, tmp_path, monkeypatch):
    """No space left while tables are flushed: none of them is half there."""
    original = os.fdopen
    opened = 0

    def fdopen(descriptor, mode):
        nonlocal opened
        opened += mode == "wb"
        stream = original(descriptor, mode)
        if opened == 2 and mode == "wb":
            write = stream.write

            class Full:
                def __enter__(self):
                    return self

                def __exit__(self, *arguments):
                    stream.close()

                def write(self, data):
                    if len(data) > 1000:
                        raise OSError(28, "No space left on device")
                    return write(data)

            return Full()
        return stream

    monkeypatch.setattr(os, "fdopen", fdopen)
    done = securegen(*decrypt(steps, tmp_path / "t"), *steps.key)
    assert done.code == 9 and "t.QT2.glm.linear: No space left on device" in done.err
    assert left(tmp_path) == []


def test_interrupting_and_running_out_of_memory_leave_no_traceback(small, tmp_path, monkeypatch):
    for problem, code, words in ((KeyboardInterrupt(), 130, "Interrupted"), (MemoryError(), 1, "Error: out of memory")):

        def fail(*_, problem=problem, **__):
            raise problem

        monkeypatch.setattr(protocol, "study_of", fail)
        done = securegen("gwas", *small.options(), "--out", tmp_path / "t", "--quiet")
        assert done.code == code and words in done.err and "Traceback" not in done.err
    assert left(tmp_path) == []
