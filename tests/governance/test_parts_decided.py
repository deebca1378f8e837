"""Parts of a run under a policy: each is a request of its own, and the joined record names them all."""

from __future__ import annotations

import json

from support import securegen


def test_a_joined_record_has_what_was_decided_on_every_part(ruled):
    ruled.write()
    told = ruled.words("--purpose", "HMB", "--quiet", "--out", ruled.folder / "p")
    for i in (2, 1):
        done = securegen("gwas", *told, "--blocks", f"{i}/2")
        assert done.code == 0, done.err
    assert securegen("merge", ruled.folder / "p", "--quiet").code == 0
    record = json.loads((ruled.folder / "p.run.json").read_text())
    parts = [json.loads((ruled.folder / f"p.{i}of2.run.json").read_text()) for i in (1, 2)]
    requests = [r for part in parts for r in part["governance"]["requests"]]
    assert len(set(requests)) == 2 and record["governance"]["requests"] == requests
    assert all(d in record["governance"]["decisions"] for part in parts for d in part["governance"]["decisions"])
    assert record["receipt"]["decisions"]
