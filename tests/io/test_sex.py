"""The sex of each sample, from every format that has it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support import write_plink

from securegen.io.bgen_people import read_sample
from securegen.io.pgen import read_psam
from securegen.io.plink1 import read_plink

WORDS = ("1", "2", "0", "NA", "-9")


def test_plink1(tmp_path):
    write_plink(tmp_path / "c", np.ones((2, 5), np.int8))
    fam = tmp_path / "c.fam"
    fam.write_text("".join(f"F{i} I{i} 0 0 {word} -9\n" for i, word in enumerate(WORDS)))
    samples = read_plink(str(tmp_path / "c")).samples
    assert samples.sex.dtype == np.int8 and samples.sex.tolist() == [1, 2, 0, 0, 0]
    assert samples.take(np.array([1, 0])).sex.tolist() == [2, 1]


@pytest.mark.parametrize(
    ("text", "expected"),
    [("#IID SEX\nA M\nB F\nC NA\n", [1, 2, 0]), ("#IID SEX\nA 1\nB 2\n", [1, 2]), ("#IID\nA\n", [0]),
     ("F A 0 0 2 -9\nF B 0 0 1 -9\n", [2, 1])],
)  # fmt: skip
def test_psam(tmp_path, text, expected):
    (tmp_path / "c.psam").write_text(text)
    assert read_psam(tmp_path / "c.psam").sex.tolist() == expected


def test_sample_file(tmp_path: Path):
    (tmp_path / "c.sample").write_text("ID_1 ID_2 missing sex\n0 0 0 D\nA A 0 1\nB B 0 2\nC C 0 NA\n")
    assert read_sample(tmp_path / "c.sample").sex.tolist() == [1, 2, 0]
