"""Blocks of a stored cohort stop where a file or a run of one chromosome does; places follow from the record alone."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ckks_tools import rewrite_manifest
from support import MemoryReader

import securegen as sg
from securegen.engines.ckks import artefact, blocks, bodies, cohort
from securegen.engines.ckks.blocks import block_sizes, read_blocks, runs_of
from securegen.engines.ckks.owner.state import OwnerState, read_info
from securegen.engines.ckks.planner import Plan, Workload, choose
from securegen.engines.plain.engine import write_plain
from securegen.errors import ArtefactError, PlanError, VerificationError
from securegen.io.envelope import canonical
from securegen.study.ploidy import split_par
from securegen.study.relabelled import Relabelled


class OnChromosomes(MemoryReader):
    """Genotypes in memory with these chromosomes, in files that begin at these rows."""

    def __init__(self, names: list[str], boundaries: tuple[int, ...] = ()) -> None:
        super().__init__(np.ones((len(names), 3), np.int8))
        self.names, self.boundaries = names, boundaries or (0, len(names))

    @property
    def variants(self):
        return replace(super().variants, chromosome=np.array(self.names, object))


def test_blocks_stop_at_ends_of_files_and_of_runs_of_a_chromosome():
    assert runs_of(OnChromosomes(["1"] * 5 + ["2"] * 2)) == (5, 2)
    assert runs_of(OnChromosomes(["1", "chr1", "01", "2", "1"])) == (
        3,
        1,
        1,
    )  # one name for one chromosome; runs, not names
    assert runs_of(OnChromosomes(["1"] * 4 + ["2"] * 2, (0, 1, 4, 6))) == (1, 3, 2)
    assert runs_of(OnChromosomes(["X", "X", "PAR2"])) == (2, 1)
    reader = OnChromosomes(["X"] * 4)
    variants = replace(reader.variants, position=np.array([1, 10**8, 10**8, 155_000_000]))
    assert runs_of(Relabelled(reader, reader.samples, variants)) == (4,)
    assert runs_of(Relabelled(reader, reader.samples, split_par(variants, "b37"))) == (1, 2, 1)
    assert block_sizes((5, 2, 3), 3) == (3, 2, 2, 3)
    assert [(b.start, len(b)) for b in read_blocks(reader, (3, 1))] == [(0, 3), (3, 1)]
    with pytest.raises(ValueError, match="blocks of 3 variants for a reader of 4"):
        list(read_blocks(reader, (3,)))


def test_more_runs_than_a_cohort_has_blocks_are_refused(monkeypatch):
    monkeypatch.setattr(blocks, "MOST_BLOCKS", 3)
    assert len(block_sizes((1, 1, 1), 8)) == 3
    with pytest.raises(PlanError, match="4 variants lie in 4 runs .* sort the variants by chromosome"):
        block_sizes((1, 1, 1, 1), 8)


def test_short_runs_cost_their_strands():
    """Twenty-two chromosomes store at most a strand more each than one file of them does."""
    lengths = tuple(np.linspace(420, 80, 22).astype(int).tolist())
    whole = Workload(500, sum(lengths), 13, 20, streams=1)
    one, many = choose(whole), choose(replace(whole, runs=lengths))
    assert Plan.from_json(many.to_json()) == many and "runs" not in one.to_json()["workload"]
    p = one.parameters
    same = Plan(p, many.workload)
    assert one.strands <= same.strands < one.strands + 22 and same.blocks == sum(
        -(-n // p.block_variants) for n in lengths
    )
    assert many.cost() <= same.cost() and many.cost() < 1.6 * one.cost()
    with pytest.raises(ArtefactError, match="runs of variants are not as many as its variants"):
        Plan.from_json({**many.to_json(), "workload": many.to_json()["workload"] | {"runs": [1, 2]}})


@pytest.fixture
def honest(small_encrypted):
    return artefact.open_manifest(small_encrypted.cohort).body


def test_places_of_variants_come_from_the_record(
    small_study, small_key, small_encrypted, small_results, honest, tmp_path
):
    """Not from a block's number: 650 variants on either chromosome, 512 a block; tables are those of the plain engine."""
    sizes = [512, 138, 512, 138]
    assert [b["variants"] for b in honest["blocks"]] == sizes
    assert cohort.open_cohort(small_encrypted.cohort).starts.tolist() == [0, 512, 650, 1162, 1300]
    assert read_info(OwnerState(small_encrypted.owner, small_key)).blocks == tuple(sizes)
    sums = list(sg.ckks.decrypt_sums(small_results, small_key, small_encrypted.owner))
    assert [(s.start, len(s)) for s in sums] == [(0, 512), (512, 138), (650, 512), (1162, 138)]
    encrypted = sg.ckks.decrypt_tables(small_results, small_key, small_encrypted.owner, str(tmp_path / "e"))
    for ours, theirs in zip(encrypted, write_plain(small_study, str(tmp_path / "p")), strict=True):
        assert Path(ours.path).read_bytes() == Path(theirs.path).read_bytes()


def test_a_record_without_blocks_is_of_an_earlier_version(small_encrypted, small_key, tmp_path):
    """Then only the last block was shorter."""
    state = OwnerState(small_encrypted.owner, small_key)
    header, arrays = state.read("cohort")
    old = OwnerState(tmp_path, small_key)
    old.write("cohort", {name: value for name, value in header.items() if name != "blocks"}, arrays)
    assert read_info(old).blocks == (512, 512, 276)


CRAFTED = {
    "nothing in a block": ([1024, 138, 0, 138], r"blocks\[2\].variants is 0, expected an integer"),
    "more than there are": ([512, 139, 512, 138], "1301 variants in its blocks, 1300 expected"),
    "fewer than there are": ([512, 137, 512, 138], "1299 variants in its blocks, 1300 expected"),
    "one too long": ([650, 1, 511, 138], "650 variants in block 0, 512 fit a block"),
    "moved within a strand's files": ([511, 139, 512, 138], None),
    "moved into a strand more": ([255, 395, 512, 138], "bytes for a file in stream . of block 0"),
}


@pytest.mark.parametrize("case", CRAFTED)
def test_crafted_sizes_are_refused_or_change_what_a_result_is(case, small_encrypted, small_key, honest, tmp_path):
    """A cohort is signed, so the sizes are its owner's; what a result then lacks fails at the owner."""
    sizes, refused = CRAFTED[case]
    body = honest | {"blocks": [b | {"variants": n} for b, n in zip(honest["blocks"], sizes, strict=True)]}
    folder = tmp_path / "x.cohort"
    folder.mkdir()
    for file in small_encrypted.cohort.glob("*.npy"):
        (folder / file.name).symlink_to(file)
    (folder / "manifest.json").write_text(
        json.dumps({"body": body, "signature": small_key.sign(canonical(body)).hex()})
    )
    if refused is not None:
        with pytest.raises(ArtefactError, match=refused):
            cohort.open_cohort(folder)
        return
    with pytest.raises(ArtefactError, match="made for another cohort"):
        sg.ckks.associate(folder, small_encrypted.design, tmp_path / "r")


def test_results_of_other_blocks_are_refused(small_encrypted, small_key, small_results, tmp_path):
    """Two blocks in each other's place, of another length; and one left out."""
    entries = artefact.read_manifest(small_results, "results", None)["blocks"]
    for found, why in (
        ([entries[1], entries[0], *entries[2:]], "bytes|array of shape"),
        (entries[:-1], "has 3 blocks, 4 expected"), ([*entries, entries[0]], "has 5 blocks, 4 expected"),
    ):  # fmt: skip
        folder = tmp_path / f"r{len(found)}{found[0]['name']}"
        folder.mkdir()
        for file in small_results.iterdir():
            (folder / file.name).write_bytes(file.read_bytes())
        rewrite_manifest(folder, blocks=found)
        with pytest.raises((ArtefactError, VerificationError), match=why):
            sg.ckks.decrypt(folder, small_key, small_encrypted.owner)


def test_without_the_check_of_sizes_a_manifest_addresses_what_it_likes(honest, small_key):
    p = small_key.public.parameters
    bad = honest | {"blocks": [honest["blocks"][0] | {"variants": 10**9}]}
    with pytest.raises(ArtefactError):
        bodies.check_cohort(bad, p)
