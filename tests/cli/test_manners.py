"""Wrong values and other programs' flags are answered with what is meant here; the first start says that it compiles."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support import securegen

import securegen as sg
from securegen.cli.main import main
from securegen.cli.manners import FOREIGN
from securegen.errors import UsageError

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("words, answer", [
    ("gwas --maf 5%", "'--maf': expected a number from 0 to 0.5, found '5%'"),
    ("gwas --maf 0.7", "'--maf': expected a number from 0 to 0.5, found '0.7'"),
    ("gwas --threads 0", "'--threads': expected a whole number of at least 1, found '0'"),
    ("gwas --threads two", "'--threads': expected a whole number of at least 1, found 'two'"),
    ("gwas --model linaer", "'linaer' is not one of 'linear', 'logistic', 'trend', 'allelic'. Did you mean 'linear'?"),
    ("gwas --model xyz", "'xyz' is not one of 'linear', 'logistic', 'trend', 'allelic'."),
    ("party --role genotype", "Did you mean 'genotypes'?"),
    ("run-local prs --engine plane", "Did you mean 'plain'?"),
    ("run-local gwas --engine mpc --threshold x", "'--threshold': expected a number, found 'x'"),
    ("gwas --ci 0.95", "No such option '--ci'; here: L95 and U95"),
    ("decrypt --zs", "No such option '--zs'; here: --gzip."),
    ("gwas --fbile x", "Did you mean one of: '--aaf-file', '--bfile'"),
])  # fmt: skip
def test_a_wrong_value_is_answered_with_what_is_expected(words, answer):
    for _ in range(2):  # the second time the command has been made before
        done = securegen(*words.split())
        assert done.code == 2 and done.err.splitlines()[-1].endswith(answer) or answer in done.err, done.err


def test_an_argument_of_an_error_is_the_flag_of_the_command(small, tmp_path):
    """From Python an error names its argument; each command puts the flag there that the argument has with it."""
    with pytest.raises(UsageError, match="^`from_bp` 9 lies behind `to_bp` 3$"):
        sg.open_study(small.bfile, chr="1", from_bp=9, to_bp=3)
    cohort = ("--bfile", small.bfile, "--pheno", small.pheno, "--out", tmp_path / "x")
    done = securegen("gwas", *cohort, "--chr", "1", "--from-bp", 9, "--to-bp", 3)
    assert (done.code, done.err.splitlines()[-1]) == (2, "Error: --from-bp 9 lies behind --to-bp 3")
    score = (
        "prs",
        "--bfile",
        ROOT / "examples/cohort",
        "--out",
        tmp_path / "x",
        "--score",
        ROOT / "examples/cohort.score.tsv",
    )
    assert "--score-col-nums are three numbers" in securegen(*score, "--score-col-nums", "1,2").err
    refused = securegen(*score, "--min-variants", 100_000, "--json")
    assert "allow the score by name (--allow-small-score NAME)" in json.loads(refused.out)["error"]["message"]
    assert "--allow-small-score NAME" in (tmp_path / "x.log").read_text()


def test_the_flags_of_other_programs_are_in_the_docs_and_not_ours():
    text = (ROOT / "docs" / "howto" / "other-programs.md").read_text()
    told = dict(re.findall(r"(?m)^[|] `(--[^`]+)` [|] (.*) [|]$", text))
    assert {flag: told.get(flag, "").replace("`", "") for flag in FOREIGN} == FOREIGN
    ours = {o for name in ("gwas", "qc", "prs", "plan", "encrypt", "decrypt") for p in main.get_command(None, name).params
            for o in p.opts}  # fmt: skip
    assert not ours & set(FOREIGN)
    for answer in FOREIGN.values():
        for flag in re.findall(r"--[a-z-]+", answer):
            assert flag in ours | {"--threshold"}, flag


CODE = """
import numpy as np
from securegen.cli.runlog import hear_kernels
from securegen.kernels.integer_sums import squared_sums
hear_kernels(lambda line: None)
hear_kernels(print)
one = np.ones((1, 1), np.int8)
squared_sums(one, one.astype(np.int64)); squared_sums(one, one.astype(np.int64))
"""


def test_the_first_start_says_that_it_compiles(tmp_path):
    """Once, to the log of the last command, with a cold cache; not with a warm one."""
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    said = [
        subprocess.run(
            [sys.executable, "-c", CODE], env=environment, cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout
        for _ in range(2)
    ]
    assert said == ["compiling kernels that this step needs: the next run takes them from the cache\n", ""]
