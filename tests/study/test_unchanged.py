"""A study is run on the files that it was opened from."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest

import securegen as sg
from securegen.errors import InputError
from securegen.python import run


@pytest.mark.parametrize("protected", [True, False])
@pytest.mark.parametrize("ending", ["bed", "pheno.tsv"])
def test_a_file_that_was_replaced_since_is_noticed(small, tmp_path, monkeypatch, ending, protected):
    """Else tables of people are the old ones, genotypes the new ones, and the record has the digest of what was not read."""
    for end in ("bed", "bim", "fam"):
        shutil.copy(f"{small.bfile}.{end}", tmp_path / f"c.{end}")
    shutil.copy(small.pheno, tmp_path / "c.pheno.tsv")
    asked = {"pheno": tmp_path / "c.pheno.tsv", "pheno_name": "QT"}
    study = sg.open_study(tmp_path / "c", **asked)
    path = tmp_path / f"c.{ending}"
    raw = path.read_bytes()
    changed = raw[:3] + bytes(len(raw) - 3) if ending == "bed" else raw.replace(b"\t1", b"\t2")
    assert changed != raw
    (tmp_path / "new").write_bytes(changed)
    (tmp_path / "new").replace(path)
    if protected:
        with pytest.raises(InputError, match=rf"{path} changed since the study was opened"):
            sg.run(study, out=tmp_path / "o")
        assert not list(tmp_path.glob("o.*"))
        assert sg.run(sg.open_study(tmp_path / "c", **asked))
        return
    monkeypatch.setattr(run, "refuse_changed", lambda _: None)
    sg.run(study, out=tmp_path / "o")
    told = json.loads(Path(tmp_path / "o.run.json").read_text())["inputs"][ending.split(".")[0]]
    assert told == hashlib.sha256(changed).hexdigest()
