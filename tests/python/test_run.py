"""Every engine by one call from Python, and what the command line can choose Python can."""

from __future__ import annotations

import ast
import inspect
from dataclasses import fields
from pathlib import Path

import click
import pytest

import securegen as sg
from securegen.cli.main import main
from securegen.engines import ENGINES
from securegen.engines.choosing import engine_of
from securegen.engines.ckks.owner import secret_key
from securegen.engines.key_files import rewrap
from securegen.errors import UsageError
from securegen.io.genotypes import FIELDS
from securegen.results.forms import TableForm
from securegen.stats.qc import Filters
from securegen.study.inputs import Inputs

OF_THE_TERMINAL = {
    "quiet",
    "out",
    "engine",
    "compare_plain",
    "executor",
    "workers",
}  # any executor maps sg.run over parts


@pytest.fixture(scope="module")
def study():
    return sg.open_study("examples/cohort", pheno="examples/cohort.pheno.tsv", pheno_name="QT", chr="1", to_bp=400_000)


@pytest.fixture(scope="module")
def plain(study):
    return sg.run(study)


@pytest.mark.parametrize("engine", [sg.Ckks(), sg.Federated(sites=2, two_sites_learn_each_other=True, openings="all")])
def test_an_engine_gives_the_frame_of_the_plain_one(study, plain, engine):
    results = sg.run(study, engine)
    assert results["QT"].equals(plain["QT"]) and repr(results) == f"Results({engine.name}, QT)"
    assert results.receipt.scenario != plain.receipt.scenario and results.record["engine"] == engine.name


def test_a_phenotype_that_has_no_table_is_told_which_have_one(plain):
    with pytest.raises(KeyError, match="no table 'CC'; there are QT"):
        plain["CC"]


def test_a_prompt_completes_the_public_names_and_types_know_them():
    assert dir(sg) == sorted(sg.__all__)
    source = ast.parse(Path(sg.__file__).read_text())
    typed = next(n for n in source.body if isinstance(n, ast.If)).body
    names = {a.asname or a.name for n in typed if isinstance(n, ast.ImportFrom) for a in n.names}
    assert names | {"__version__"} == set(sg.__all__)


def test_results_are_written_in_any_form(plain, tmp_path):
    (path,) = plain.write(tmp_path / "x", format="regenie", gzip=True)
    assert path == f"{tmp_path}/x_QT.regenie.gz" and plain.promise["dt_promised"] == 1e-3
    with pytest.raises(UsageError, match="the digits of their run"):
        plain.write(tmp_path / "y", digits=6)


@pytest.mark.parametrize("words", [("run-local", "gwas"), ("run-local", "qc"), ("gwas",), ("qc",)])
def test_every_option_of_a_command_is_a_field_of_python(words):
    command: click.Command = main
    for word in words:
        command = command.get_command(click.Context(command), word)  # type: ignore[attr-defined]
    python = {f.name for kind in (Inputs, TableForm, Filters, *ENGINES.values()) for f in fields(kind)}
    python |= {"sign"} & set(inspect.signature(sg.run).parameters)
    options = {str(p.name) for p in command.params if p.expose_value}
    of_the_server = {"cohort", "design", "public"} if words == ("gwas",) else set()  # sg.ckks.associate
    assert options - python - OF_THE_TERMINAL - of_the_server == set()


def test_an_option_of_another_engine_is_refused_in_one_wording():
    with pytest.raises(UsageError, match="^`sites` is an option of engine federated, not of ckks$"):
        engine_of("ckks", {"sites": 3})
    with pytest.raises(UsageError, match="^`encryptor` is an option of engine ckks, not of federated$"):
        engine_of("threshold", {"encryptor": "own"})
    assert engine_of("mpc", {"split": "horizontal", "sites": 4}) == sg.Federated(sites=4)


def test_an_engine_refuses_a_value_by_the_name_of_its_argument():
    with pytest.raises(UsageError, match="^`reveal` is 'all': choose one of hits, chi2, uv, aggregates$"):
        sg.Mpc(split="vertical", reveal="all")
    with pytest.raises(UsageError, match="^`sites`"):
        sg.Federated(sites=1)


def words_of(call) -> set[str]:
    """The names of the arguments of a function, or of the fields of a record."""
    return set(inspect.signature(call).parameters)


STEPS = {
    ("check",): (sg.compare,),
    ("plot",): (sg.draw,),
    ("report",): (sg.write_report,),
    ("inspect",): (sg.inspect,),
    ("plan",): (sg.open_study, sg.ckks.plan),
    ("keygen",): (sg.ckks.generate_key, secret_key.write_secret),
    ("encrypt",): (sg.open_study, sg.ckks.encrypt, sg.ckks.encrypt_design),
    ("decrypt",): (sg.ckks.decrypt_tables, Filters),
    ("key", "passphrase"): (rewrap,),
    ("key", "backup"): (rewrap,),
}
# What a flag is called in Python: objects for their files, and what says the same by another name or a call of its own.
IN_PYTHON = {
    "key_file": "key", "plan_file": "plan", "paths": "path", "no_digests": "digests", "key_still_trusted": "key_still_trusted",
    "passphrase_file": "passphrase", "new_passphrase_file": "new", "plain_secret_key": "passphrase", "file": "path",
}  # fmt: skip
OWN_CALLS = {
    "sign": sg.receipt.sign, "qc_tables": sg.ckks.decrypt_qc, "threads": sg.ckks.associate, "memory": sg.ckks.associate,
    "append": sg.ckks.append_cohort,
}  # fmt: skip
OF_COMMANDS = {"quiet", "threads", "memory", "weak_passphrase", "executor", "workers"}


@pytest.mark.parametrize("words", STEPS, ids=" ".join)
def test_every_option_of_a_step_is_an_argument_of_its_functions(words):
    command: click.Command = main
    for word in words:
        command = command.get_command(click.Context(command), word)  # type: ignore[attr-defined]
    known = set().union(*map(words_of, STEPS[words])) | {"out", *OWN_CALLS}
    known |= {"old", "copy"} if rewrap in STEPS[words] else set()
    given = {IN_PYTHON.get(str(p.name), str(p.name)) for p in command.params if p.expose_value}
    if rewrap in STEPS[words]:
        given -= {"passphrase"}  # old
    if "key" in known:
        given -= {"passphrase"}  # of secret_key.read_secret
    given -= words_of(sg.Asking) | {"second_signature"} if "asking" in known else set()
    given -= set(FIELDS) if "genotypes" in known else set()  # of sg.Inputs, which opens them
    assert given and given - known - OF_COMMANDS == set()


def test_sites_are_opened_from_python(study, tmp_path):
    base, people = "examples/cohort", Path("examples/cohort.fam").read_text().splitlines()
    for name, rows in (("a", people[::2]), ("b", people[1::2])):
        (tmp_path / name).write_text("".join(" ".join(r.split()[:2]) + "\n" for r in rows))
    with pytest.raises(UsageError, match="given twice"):
        sg.open_sites([sg.Inputs(bfile=base, pheno="p"), sg.Inputs(bfile=base, pheno="p")])
    with pytest.raises(UsageError, match="two or more"):
        sg.open_sites([sg.Inputs(bfile=base, pheno="p")])


def test_quality_control_is_three_frames():
    opened = sg.open_qc("examples/cohort", chr="1", to_bp=400_000)
    found = sg.qc(opened)
    assert list(found) == ["afreq", "vmiss", "hardy"] and len(found["hardy"]) == len(opened.reader.variants)


def test_pictures_and_a_page_of_results(plain, tmp_path):
    pytest.importorskip("matplotlib")
    assert plain.plot(tmp_path / "x", only="qq") == [f"{tmp_path}/x.QT.qq.png"]
    plain.report(tmp_path / "x.html")
    assert "<html" in (tmp_path / "x.html").read_text()
    with pytest.raises(UsageError, match="`only` pie: choose from manhattan"):
        plain.plot(tmp_path / "x", only="pie")


def test_a_comparison_says_why(plain, tmp_path):
    (path,) = plain.write(tmp_path / "a")
    lines = Path(path).read_text().splitlines()
    at = lines[0].split("\t").index("BETA")
    cells = lines[1].split("\t")
    cells[at] = str(float(cells[at]) + 9)
    (tmp_path / "b").write_text("\n".join([lines[0], "\t".join(cells), *lines[2:]]) + "\n")
    assert sg.compare(path, path).agree
    found = sg.compare(path, tmp_path / "b")
    assert not found.agree and found.reasons[0].startswith("BETA by") and repr(found).startswith("Comparison(BETA by")
    assert sg.compare(path, tmp_path / "b", tolerance=1e9).agree
    with pytest.raises(UsageError, match="`match_by`"):
        sg.compare(path, path, match_by="place")
