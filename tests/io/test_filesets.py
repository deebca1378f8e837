"""Files by chromosome: one reader of all of them, the same people in each, aloud where files are not there."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from genotype_files import write_bgen, write_pfile
from genotype_parts import EACH, parted, write_bfile
from support import text_array

import securegen as sg
from securegen.errors import InputError, UsageError
from securegen.io import digests
from securegen.io.digests import sha256
from securegen.io.genotypes import FIELDS, FORMATS, LISTS, OPTIONS, GenotypeFiles, cohorts_of
from securegen.model import iterate_blocks
from securegen.study.inputs import Inputs

FORMS = tuple(FORMATS)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return parted(tmp_path_factory.mktemp("parts"))


def files_of(cohort, form: str, stem: str, **more) -> GenotypeFiles:
    words = cohort.words(form, stem)
    return GenotypeFiles(
        **{flag.lstrip("-"): value for flag, value in zip(words[::2], words[1::2], strict=True)}, **more
    )


@pytest.mark.parametrize("form", FORMS)
def test_22_files_are_the_merged_file(cohort, form):
    said: list[str] = []
    parts, whole = files_of(cohort, form, "chr@").open(said.append).on_grid(None), files_of(cohort, form, "all").open()
    assert (
        parts.variants.digest() == whole.variants.digest() and parts.samples.iid.tolist() == whole.samples.iid.tolist()
    )
    assert parts.boundaries == tuple(range(0, EACH * 23, EACH)) and parts.dosage_max == 2
    assert "22 files, chromosomes 1, 2, 3" in said[0] and said[0].endswith("no file of X, Y, MT")
    for start, stop in ((0, EACH * 22), (0, 3), (3, 14), (57, 58), (100, 110)):
        mine, theirs = parts.read(start, stop), whole.on_grid(None).read(start, stop)
        assert mine.start == start and np.array_equal(mine.dosage, theirs.dosage)
        assert (mine.missing is None) == (theirs.missing is None)
        assert mine.missing is None or np.array_equal(mine.missing, theirs.missing)


@pytest.mark.parametrize("form", FORMS)
def test_a_selection_in_any_order_goes_through_the_chain(cohort, form):
    rows, people = np.array([104, 3, 4, 5, 50, 7]), np.array([9, 2, 40])
    parts, whole = (files_of(cohort, form, stem).open().select(people, rows).on_grid(None) for stem in ("chr@", "all"))
    assert parts.variants.digest() == whole.variants.digest()
    assert [i.split("_")[0] for i in parts.samples.iid] == ["P9", "P2", "P40"]
    assert np.array_equal(parts.read(0, 6).dosage, whole.read(0, 6).dosage)
    assert np.array_equal(parts.select(variants=np.array([5, 1])).read(0, 2).dosage, whole.read(0, 6).dosage[[5, 1]])
    assert len(parts.select(variants=np.zeros(0, np.int64)).variants) == 0


def test_blocks_end_with_their_file(cohort):
    reader = files_of(cohort, "bfile", "chr@").open()
    sizes = [len(b) for b in iterate_blocks(reader, 3)]
    assert sizes == [3, 2] * 22 and [b.start for b in iterate_blocks(reader, 3)][:4] == [0, 3, 5, 8]


def test_one_grid_for_all_files(cohort, tmp_path):
    """A file of hard calls beside one of imputed dosages is read on the grid of both."""
    half = cohort.dosage[:4].copy()
    half[2:] = np.clip(np.nan_to_num(half[2:]) * 0.75, 0, 2)
    variants = replace(cohort.variants.take(np.arange(4)), chromosome=text_array("1122"))
    write_pfile(tmp_path / "c1", half[:2], cohort.samples, variants.take(np.arange(2)))
    write_pfile(tmp_path / "c2", half[2:], cohort.samples, variants.take(np.arange(2, 4)))
    reader = GenotypeFiles(pfile=str(tmp_path / "c@")).open().on_grid(None)
    assert reader.dosage_grid == 256 and reader.dosage_max == 512
    assert np.array_equal(reader.read(0, 2).dosage, half[:2] * 256)
    with pytest.raises(InputError, match="c2.pgen has fractional dosages, a dosage grid of 1"):
        GenotypeFiles(pfile=str(tmp_path / "c@")).open().on_grid(1)


def test_the_variant_table_is_held_once_and_files_are_closed_behind(cohort):
    reader = files_of(cohort, "pfile", "chr@").open()
    assert all(np.shares_memory(p.variants.id, reader.variants.id) for p in reader.parts)
    for block in iterate_blocks(reader, 4):
        assert sum(p.source._reader is not None for p in reader.parts) <= 1, block.start
    before = len(os.listdir("/proc/self/fd"))
    vcf = files_of(cohort, "vcf", "chr@").open().on_grid(None)
    for _ in iterate_blocks(vcf, 4):
        assert len(os.listdir("/proc/self/fd")) <= before + 2


def copied(cohort, folder: Path, *chromosomes: str) -> str:
    for c in chromosomes:
        for end in ("bed", "bim", "fam"):
            shutil.copy(cohort.folder / f"chr{c}.{end}", folder / f"chr{c}.{end}")
    return str(folder / "chr@")


def test_people_in_another_order_are_aligned_aloud(cohort, tmp_path):
    name = copied(cohort, tmp_path, "1", "3")
    rows = np.flatnonzero(cohort.variants.chromosome == "2")
    turned = np.random.default_rng(3).permutation(len(cohort.samples))
    write_bfile(
        tmp_path / "chr2", cohort.dosage[rows][:, turned], cohort.samples.take(turned), cohort.variants.take(rows)
    )
    said: list[str] = []
    reader = GenotypeFiles(bfile=name).open(said.append)
    assert any("chr2: people in another order than in" in line for line in said)
    assert reader.samples.iid.tolist() == cohort.samples.iid.tolist()
    whole = files_of(cohort, "bfile", "all").open()
    assert np.array_equal(reader.read(0, 15).dosage, whole.read(0, 15).dosage)
    chosen = reader.select(np.array([5, 1]))
    assert np.array_equal(chosen.read(4, 9).dosage, whole.read(4, 9).dosage[:, [5, 1]])


@pytest.mark.parametrize(("change", "message"), [
    (("P7", "Q7"), r"chr2 has other people than .*chr1: it lacks person 8 of .*chr1 \(48 people here, 48 there\)"),
    (("P47", None), r"chr2 has other people than .*chr1: it lacks person 48 of"),
])  # fmt: skip
def test_other_people_are_refused_by_name(cohort, tmp_path, change, message):
    name = copied(cohort, tmp_path, "1")
    rows, keep = (
        np.flatnonzero(cohort.variants.chromosome == "2"),
        cohort.samples.iid != (None if change[1] else change[0]),
    )
    people = cohort.samples.take(np.flatnonzero(keep))
    iid = np.array([change[1] if i == change[0] else i for i in people.iid], object)
    write_bfile(tmp_path / "chr2", cohort.dosage[rows][:, keep], replace(people, iid=iid), cohort.variants.take(rows))
    with pytest.raises(InputError, match=message):
        GenotypeFiles(bfile=name).open()
    with pytest.raises(InputError, match="chr1 has other people than .*chr2: it has also|it lacks"):
        GenotypeFiles(bfile=(f"{tmp_path}/chr2", f"{tmp_path}/chr1")).open()


def test_holes_other_names_and_two_names_of_a_chromosome(cohort, tmp_path):
    name = copied(cohort, tmp_path, "2")
    for end in ("bed", "bim", "fam"):
        shutil.move(tmp_path / f"chr2.{end}", tmp_path / f"chr02.{end}")
    rows = cohort.variants.take(np.arange(2))
    write_bfile(tmp_path / "chr23", cohort.dosage[:2], cohort.samples, replace(rows, chromosome=text_array("XX")))
    said: list[str] = []
    files = GenotypeFiles(bfile=name)
    files.open(said.append)
    assert "2 files, chromosomes 02, 23; no file of 1, 3," in said[0] and said[0].endswith("22, Y, MT")
    assert set(files.files()) == {f"{end}.{c}" for end in ("bed", "bim", "fam") for c in ("02", "23")}
    copied(cohort, tmp_path, "2")
    with pytest.raises(InputError, match=r"chr2 and .*chr02 are both there, and both are chromosome 2"):
        files.open()
    with pytest.raises(
        InputError, match=r"no file is named so with 1 to 22, X, Y or MT in the place of @ \(looked for .*x1.bed"
    ):
        GenotypeFiles(bfile=str(tmp_path / "x@")).open()


def test_a_name_that_holds_the_mark_is_a_name(cohort, tmp_path):
    """A file, or a folder, that is called so is meant before chromosomes are."""
    there = tmp_path / "me@home"
    there.mkdir()
    pattern = copied(cohort, there, "1", "2")
    assert len(GenotypeFiles(bfile=pattern).parts()) == 2
    for end in ("bed", "bim", "fam"):
        shutil.copy(there / f"chr1.{end}", there / f"a@b.{end}")
    assert len(GenotypeFiles(bfile=str(there / "a@b")).open().variants) == EACH


def test_lists_go_in_their_own_order(cohort, tmp_path):
    listed = tmp_path / "files.txt"
    names = [str(cohort.folder / f"chr{c}") for c in (3, 1)]
    listed.write_text(f"{names[0]}\n\n  {names[1]}  \n")
    by_list, by_names = GenotypeFiles(bfile_list=str(listed)), GenotypeFiles(bfile=tuple(names))
    assert by_list.open().variants.chromosome.tolist() == ["3"] * EACH + ["1"] * EACH
    assert by_list.open().variants.digest() == by_names.open().variants.digest()
    assert set(by_list.files()) == {*by_names.files(), "bfile_list"} and "bed.2" in by_names.files()
    options = by_names.options(tmp_path)
    assert list(options) == ["bfile_list"] and Path(options["bfile_list"]).read_text().split() == names
    with pytest.raises(UsageError, match="given to another process as a list: --bfile-list"):
        by_names.options()
    listed.write_text(f"{names[0]}\n{names[0]}\n")
    with pytest.raises(InputError, match="is named twice"):
        by_list.open()
    listed.write_text("\n")
    with pytest.raises(InputError, match="names no file: one name per line"):
        by_list.open()
    with pytest.raises(UsageError, match="--bfile and --bfile-list: give one of them"):
        GenotypeFiles(bfile="a", bfile_list="b").open()


def test_the_sample_file_of_a_bgen(cohort, tmp_path):
    """One for all of them, or one each; a list cannot say which."""
    one = GenotypeFiles(bgen=str(cohort.folder / "chr@.bgen"), sample=str(cohort.folder / "all.sample"))
    assert len(one.open().variants) == EACH * 22
    assert [k for k in one.files() if k.startswith("sample")] == ["sample"]
    each = files_of(cohort, "bgen", "chr@")
    assert len([k for k in each.files() if k.startswith("sample.")]) == 22
    listed = tmp_path / "l"
    listed.write_text(f"{cohort.folder}/chr1.bgen\n{cohort.folder}/chr2.bgen\n")
    beside = GenotypeFiles(bgen_list=str(listed))
    assert len(beside.open().variants) == 2 * EACH and beside.files()["sample.2"].name == "chr2.sample"
    with pytest.raises(UsageError, match="--sample with @ goes with --bgen with @"):
        GenotypeFiles(bgen_list=str(listed), sample=str(cohort.folder / "chr@.sample")).open()


def test_a_study_from_python_and_the_digests_of_all_files(cohort):
    names = [cohort.folder / f"chr{c}" for c in range(1, 23)]
    tables = {"pheno": cohort.pheno, "pheno_name": "QT", "covar": cohort.pheno, "covar_name": "AGE"}
    study, whole = sg.open_study(names, **tables), sg.open_study(str(cohort.folder / "all"), **tables)
    assert sg.run(study).frame.equals(sg.run(whole).frame)
    digests = study.inputs.digests()
    assert len([k for k in digests if k.startswith("bed.")]) == 22 and digests["bim.22"] == sha256(f"{names[21]}.bim")


def test_the_registry_names_every_field():
    """What a format adds is read from its record: flags, lists, options, fields of a study."""
    assert set(FIELDS) == {*FORMATS, *LISTS, *OPTIONS, "dosage_grid"}
    assert set(FIELDS) < set(Inputs.__dataclass_fields__)
    assert cohorts_of({"bfile": ("a", "b"), "vcf_list": ("l",), "sample": ()}) == [
        {"bfile": "a"},
        {"bfile": "b"},
        {"vcf_list": "l"},
    ]
    with pytest.raises(UsageError, match="give one --sample for every --bgen"):
        cohorts_of({"bgen": ("a", "b"), "sample": ("s",)})


def test_a_name_that_says_another_chromosome(cohort, tmp_path):
    """A file of another chromosome, or of a part, is not one of a pattern; a few strangers in it are said."""
    name, said = copied(cohort, tmp_path, "1", "2"), []
    for end in ("bed", "bim", "fam"):
        shutil.copy(tmp_path / f"chr2.{end}", tmp_path / f"chr3.{end}")
    with pytest.raises(InputError, match="chr3 has no variant on chromosome 3, but on 2: @ stands for chromosomes"):
        GenotypeFiles(bfile=name).open()
    bim = (tmp_path / "chr3.bim").read_text().splitlines()
    (tmp_path / "chr3.bim").write_text("\n".join(["chr03" + line[1:] for line in bim[:2]] + bim[2:]) + "\n")
    GenotypeFiles(bfile=name).open(said.append)
    assert f"WARNING: {tmp_path}/chr3 has variants on chromosome 2 too" in said
    x, par = replace(cohort.variants.take(np.arange(4)), chromosome=text_array(["chrX", "PAR1", "25", "23"])), []
    write_bfile(tmp_path / "y23", cohort.dosage[:4], cohort.samples, x)
    assert len(GenotypeFiles(bfile=str(tmp_path / "y@")).open(par.append).variants) == 4 and "WARNING" not in "".join(
        par
    )


def test_variants_of_two_files_are_said(cohort, tmp_path):
    """Chunks that overlap: the tables have both rows, and the log says so. Repeats inside one file are the file's own."""
    v = replace(cohort.variants.take(np.arange(8)), chromosome=text_array(["1"] * 4 + ["chr1"] * 4))
    v = replace(v, position=np.array([10, 20, 20, 30, 20, 30, 30, 40]), id=text_array("abbcbcdd"))
    v.effect_allele[5], v.other_allele[5] = "G", "A"  # turned round, the same variant; d at 30 is another id
    for name, rows in (("a", slice(0, 4)), ("b", slice(4, 8))):
        write_bfile(tmp_path / name, cohort.dosage[rows], cohort.samples, v.take(rows))
    said: list[str] = []
    reader = GenotypeFiles(bfile=(str(tmp_path / "a"), str(tmp_path / "b"))).open(said.append)
    assert said == [
        f"WARNING: 2 variants of {tmp_path}/b are in {tmp_path}/a too, first b (chr1:20): each is a row of its own"
    ]
    assert len(reader.variants) == 8
    GenotypeFiles(bfile=str(tmp_path / "a")).open(said.append)
    assert len(said) == 1


@pytest.mark.parametrize("mark", ["\t", "\n", "\r", "\0"])
def test_an_id_that_would_be_two_cells_is_refused(cohort, tmp_path, mark):
    """A BGEN holds any text."""
    v = replace(cohort.variants.take(np.arange(2)), id=text_array([f"rs1{mark}x", "ok"]))
    write_bgen(tmp_path / "c.bgen", cohort.dosage[:2], cohort.samples, v)
    with pytest.raises(InputError, match="c.bgen: the variant id .* holds a tab, a line's end or a NUL: rename it"):
        GenotypeFiles(bgen=str(tmp_path / "c.bgen")).open()


def test_a_list_that_names_one_fileset_in_two_ways_or_none(cohort, tmp_path):
    listed, one = tmp_path / "l", cohort.folder / "chr1"
    (tmp_path / "link.bed").symlink_to(f"{one}.bed")
    for again in (f"{one}.bed", f"{cohort.folder}/../{cohort.folder.name}/chr1", tmp_path / "link"):
        listed.write_text(f"{one}\n{again}\n")
        with pytest.raises(InputError, match=f"l: {again} is named twice, also as {one}"):
            GenotypeFiles(bfile_list=str(listed)).open()
    for text, more in (
        ("# comment", ""),
        ("C:\\data\\chr1", ""),
        (f"{cohort.folder}/chr@", "; @ goes with a name, not with a list"),
    ):
        listed.write_text(f"{one}\n{text}\n")
        with pytest.raises(InputError) as refused:
            GenotypeFiles(bfile_list=str(listed)).open()
        assert f"l names '{text}', but there is no file '{text}.bed'{more}" in str(refused.value)


def test_a_file_that_changes_within_a_tick_of_the_clock_has_another_digest(tmp_path, monkeypatch):
    """The same size, inode and times: what a clock of 4 ms gives two writes in a row."""
    path = tmp_path / "x"
    path.write_bytes(b"a")
    status = path.stat()
    monkeypatch.setattr(digests.os, "stat", lambda _: status)
    first = sha256(path)
    path.write_bytes(b"b")
    assert sha256(path) != first
    monkeypatch.setattr(digests, "_TICK", 0)  # as it was
    again = sha256(path)
    path.write_bytes(b"c")
    assert sha256(path) == again
