"""A server that does not compute what it should: the attack reads the key with verification off and fails with it on."""

from __future__ import annotations

import json
import shutil
import stat
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from ckks_tools import add, crafted, rewrite_manifest
from support import coefficients, securegen

import securegen as sg
from securegen.api import encrypt_cohort, encrypt_design
from securegen.ckks import artefact, cohort, decrypt, studydesign, verify
from securegen.errors import ArtefactError, VerificationError
from securegen.study import Inputs, open_genotypes


@pytest.fixture(scope="module")
def opened(small_encrypted, small_key, small_results):
    """The owner's record of the cohort and of the design."""
    state = cohort.OwnerState(small_encrypted.owner, small_key)
    return cohort.read_info(state), studydesign.read_secrets(state, small_results)


def products(index: int, opened) -> list[tuple[int, studydesign.Output]]:
    """Position of the first polynomial, and output, of every product of one block."""
    info, secrets = opened
    streams = ["g", "m"] if index in info.missing_blocks else ["g"]
    at, out = 0, []
    for o in studydesign.outputs(secrets.public_ones, secrets.squared, streams):
        if o.kind == "product":
            out.append((at, o))
        at += o.size
    return out


def put_key_query(p, tiles, at: int, people: int, shift: int) -> None:
    """(NΔ, ⌊N/2⌋Δ·X^shift, 0): decrypts to N + ⌊N/2⌋·s_(bj+b−1−shift), a plausible number without noise."""
    everywhere, one = np.full(p.ring.n, people), np.zeros(p.ring.n, np.int64)
    one[shift] = people // 2
    tiles[:, :, at] = crafted(p, everywhere, p.result_scale)
    tiles[:, :, at + 1] = crafted(p, one, p.result_scale)
    tiles[:, :, at + 2] = 0


def test_without_verification_one_block_gives_the_whole_key(small_results, small_key, opened):
    info, secrets = opened
    p, people = small_key.public.parameters, secrets.analyses[0].model.samples
    index = 1
    wanted = studydesign.outputs(secrets.public_ones, secrets.squared, ["g", "m"])
    queries = products(index, opened)[: p.pack]
    assert len(queries) == p.pack, "one product a shift is needed"
    tiles = np.load(small_results / f"block-{index:06d}.npy")
    for shift, (at, _) in enumerate(queries):
        put_key_query(p, tiles, at, people, shift)
    sums, noise = decrypt.insecure_decrypt_unverified(tiles, wanted, small_key, p.block_variants)
    read = np.zeros(p.ring.n, np.int64)
    for shift, (_, output) in enumerate(queries):
        values = sums[wanted.index(output)] - people
        assert (values % (people // 2) == 0).all() and noise[wanted.index(output)] < 1e-6
        read[p.pack - 1 - shift :: p.pack] = values // (people // 2)
    secret = coefficients(small_key.residues, p.ring)
    assert set(secret) == {-1, 0, 1}
    np.testing.assert_array_equal(read, secret)


@pytest.fixture
def key_query(dishonest, small_key, opened) -> Path:
    """Results in which Σg of block 0 asks for coefficients of the key."""
    _, secrets = opened
    p, people = small_key.public.parameters, secrets.analyses[0].model.samples
    at, output = products(0, opened)[0]
    assert (output.stream, output.column) == ("g", 0)
    return dishonest(lambda index, tiles: index == 0 and put_key_query(p, tiles, at, people, 0))


def test_without_verification_the_published_table_spells_the_key(
    key_query, small_key, small_encrypted, opened, tmp_path, monkeypatch
):
    """Rounding, ranges and noise see nothing: the allele frequencies of the table are coefficients of the key."""
    p = small_key.public.parameters
    with pytest.raises(VerificationError):
        sg.decrypt_tables(key_query, small_key, small_encrypted.owner, str(tmp_path / "t"))
    assert not list(tmp_path.glob("t*")) and not list(tmp_path.glob(".t*"))

    monkeypatch.setattr(verify, "passes", lambda r, sums, expected: True)
    tables = sg.decrypt_tables(key_query, small_key, small_encrypted.owner, str(tmp_path / "t"))
    table = pd.read_csv(tables[0].path, sep="\t")
    called = np.array([j for j in range(400) if j != 2])  # of these variants no call is missing, but rs2 has none
    frequency = table["A1_FREQ"].to_numpy()[called]
    assert set(frequency.round(2)) == {0.25, 0.5, 0.75}
    read = np.rint(frequency * 4 - 2)
    secret = coefficients(small_key.residues, p.ring)[p.pack - 1 :: p.pack]
    np.testing.assert_array_equal(read, secret[called].astype(int))


def off_by_one(p, opened, which: int):
    at, _ = products(1, opened)[which]
    one = np.zeros(p.ring.n, np.int64)
    one[3 * p.pack + p.pack - 1] = 1  # variant 3 of the block
    return lambda index, tiles: index == 1 and add(p, tiles, at, crafted(p, one, p.result_scale))


def padding_used(p, opened):
    """A number where no variant is, in the last block."""
    info, _ = opened
    last = len(info.variants) // p.block_variants
    one = np.zeros(p.ring.n, np.int64)
    one[-1] = 7
    return lambda index, tiles: index == last and add(p, tiles, 0, crafted(p, one, p.result_scale))


def more_noise(p, opened):
    """A fraction of the scale: rounds to the right integer, but with more noise than an honest server has."""
    extra = int(2 * p.noise_bound * 2**p.result_scale)
    shift = p.result_scale - 30
    one = np.zeros(p.ring.n, np.int64)
    one[p.pack - 1] = max(extra >> shift, 1)
    assert one[p.pack - 1] < 1 << 29
    return lambda index, tiles: index == 0 and add(p, tiles, 0, crafted(p, one, shift))


def out_of_range(p, opened):
    """Every sum larger than any genotypes allow."""
    _, secrets = opened
    many = np.full(p.ring.n, 2 * secrets.analyses[0].model.samples + 1)
    return lambda index, tiles: (
        index == 2 and tiles.__setitem__((slice(None), slice(None), 0), crafted(p, many, p.result_scale))
    )


def garbage(p, opened):
    rng = np.random.default_rng(0)
    return lambda index, tiles: (
        index == 2 and tiles.__setitem__(Ellipsis, rng.integers(0, min(p.ring.primes), tiles.shape))
    )


def swapped_polynomials(p, opened):
    return lambda index, tiles: (
        index == 0 and tiles.__setitem__((slice(None), slice(None), [0, 3]), tiles[:, :, [3, 0]])
    )


ATTACKS = {
    "first product off by one": lambda p, o: off_by_one(p, o, 0),
    "last product off by one": lambda p, o: off_by_one(p, o, -1),
    "a number in the padding": padding_used,
    "more noise than planned": more_noise,
    "sums out of range": out_of_range,
    "random residues": garbage,
    "two results exchanged": swapped_polynomials,
    "zeros": lambda p, o: lambda index, tiles: tiles.__setitem__(Ellipsis, 0),
}
FIXED_TEXT = str(VerificationError())


@pytest.mark.parametrize("name", ATTACKS)
def test_a_changed_result_is_refused_with_one_fixed_sentence(
    name, dishonest, small_key, small_encrypted, opened, tmp_path
):
    folder = dishonest(ATTACKS[name](small_key.public.parameters, opened))
    before = set(tmp_path.rglob("*"))
    with pytest.raises(VerificationError) as caught:
        sg.decrypt_tables(folder, small_key, small_encrypted.owner, str(tmp_path / "table"))
    assert str(caught.value) == FIXED_TEXT and caught.value.__cause__ is None
    assert set(tmp_path.rglob("*")) == before


def test_a_neighbouring_block_is_refused(small_results, small_key, small_encrypted, tmp_path):
    folder = shutil.copytree(small_results, tmp_path / "swapped.results")
    blocks = artefact.read_manifest(folder, "results", None)["blocks"]
    blocks[1], blocks[2] = blocks[2], blocks[1]  # both have the streams g and m
    rewrite_manifest(folder, blocks=blocks)
    with pytest.raises(VerificationError):
        sg.decrypt_tables(folder, small_key, small_encrypted.owner, str(tmp_path / "table"))


@pytest.fixture
def two_designs(small, small_key, small_encrypted, small_results, tmp_path):
    """The cohort with an earlier design and its results, and a later one of the same shape: another phenotype file."""
    owner = shutil.copytree(small_encrypted.owner, tmp_path / "owner")
    text = Path(small.pheno).read_text().splitlines()
    header, rows = text[0], [line.split("\t") for line in text[1:]]
    shifted = [[*a[:2], *b[2:]] for a, b in zip(rows, rows[1:] + rows[:1], strict=True)]
    pheno = tmp_path / "pheno.tsv"
    pheno.write_text("\n".join([header, *("\t".join(r) for r in shifted)]) + "\n")
    study = sg.open_study(small.bfile, pheno=str(pheno), pheno_name=("QT", "QT2"), covar=small.covar)
    later = encrypt_design(study, small_key, owner, tmp_path / "later.design")
    return owner, later


def test_a_replayed_result_is_refused(two_designs, small_results, small_encrypted, small_key, tmp_path):
    """The results of the earlier design, their manifest made to name the later one."""
    owner, later = two_designs
    folder = shutil.copytree(small_results, tmp_path / "replayed.results")
    body = artefact.read_manifest(later, "design", small_key.public)
    rewrite_manifest(folder, design=artefact.manifest_digest(later), nonce=body["nonce"])
    with pytest.raises(VerificationError):
        sg.decrypt_tables(folder, small_key, owner, str(tmp_path / "table"))
    rewrite_manifest(folder, nonce="00" * 16)
    with pytest.raises(ArtefactError, match="computed from another cohort or design"):
        sg.decrypt_tables(folder, small_key, owner, str(tmp_path / "table"))
    honest = sg.associate(small_encrypted.cohort, later, tmp_path / "honest.results")
    assert sg.decrypt_tables(honest, small_key, owner, str(tmp_path / "table"))[0].variants == 1300


def test_results_of_a_design_that_was_replaced_are_refused(small_study, small_key, small_encrypted, tmp_path):
    """Encrypting a design again into the same folder (a corrected phenotype file, say) ends the old one."""
    owner, folder = shutil.copytree(small_encrypted.owner, tmp_path / "owner"), tmp_path / "again.design"
    results = []
    for name in ("old", "new"):
        encrypt_design(small_study, small_key, owner, folder)
        results.append(sg.associate(small_encrypted.cohort, folder, tmp_path / f"{name}.results"))
        shutil.rmtree(folder)  # it went to the server
    with pytest.raises(ArtefactError, match="another cohort or design"):
        sg.decrypt_tables(results[0], small_key, owner, str(tmp_path / "table"))
    assert sg.decrypt_tables(results[1], small_key, owner, str(tmp_path / "table"))
    # a design in another folder is another study of the same cohort and stays valid
    other = sg.associate(small_encrypted.cohort, small_encrypted.design, tmp_path / "other.results")
    assert sg.decrypt_tables(other, small_key, owner, str(tmp_path / "other"))


def test_results_of_an_earlier_version_of_the_cohort_are_refused(small, small_key, small_study, tmp_path):
    """One person's genotypes change (consent withdrawn, say) and the cohort is encrypted again: old results are old."""
    bfile = tmp_path / "cohort"
    for suffix in (".bed", ".bim", ".fam"):
        shutil.copy(small.bfile + suffix, bfile.with_suffix(suffix))
    options = {"pheno": small.pheno, "pheno_name": ("QT", "QT2"), "covar": small.covar}
    made = sg.encrypt(sg.open_study(bfile, **options), small_key, tmp_path / "study")
    old = sg.associate(made.cohort, made.design, tmp_path / "old.results")
    raw = bytearray(bfile.with_suffix(".bed").read_bytes())
    raw[3] ^= 0b11  # the first person's first call
    bfile.with_suffix(".bed").write_bytes(raw)
    encrypt_cohort(open_genotypes(Inputs(str(bfile))), small_key, tmp_path / "study")
    with pytest.raises(ArtefactError, match="another cohort or design"):
        sg.decrypt_tables(old, small_key, made.owner, str(tmp_path / "table"))


@pytest.fixture(scope="module")
def everyone(small, tmp_path_factory):
    """A study of everybody with a trait that is never missing: Σg is a public addition, Σg² comes from the owner."""
    folder = tmp_path_factory.mktemp("everyone")
    study = sg.open_study(small.bfile, pheno=small.pheno, pheno_name=("CC",), model="linear")
    key = sg.generate_key(sg.plan(study))
    made = sg.encrypt(study, key, folder / "study")
    return study, key, made, sg.associate(made.cohort, made.design, folder / "study.results")


@pytest.mark.parametrize("kind", ["addition", "owner", "product"])
def test_additions_and_the_owners_squares_are_verified_too(kind, everyone, dishonest, tmp_path):
    study, key, made, results = everyone
    p = key.public.parameters
    wanted = studydesign.outputs((True, False), (True, False), ["g", "m"])
    which = next(i for i, o in enumerate(wanted) if o.kind == kind)
    at = sum(o.size for o in wanted[:which])
    one = np.zeros(p.ring.n, np.int64)
    one[p.pack - 1] = 1
    scale = p.result_scale if kind == "product" else p.genotype_scale
    folder = dishonest(lambda index, tiles: index == 0 and add(p, tiles, at, crafted(p, one, scale)), results)
    with pytest.raises(VerificationError):
        sg.decrypt_tables(folder, key, made.owner, str(tmp_path / "table"))
    (table,) = sg.decrypt_tables(results, key, made.owner, str(tmp_path / "honest"))
    (plain,) = sg.plain_tables(study, str(tmp_path / "plain"))
    assert Path(table.path).read_bytes() == Path(plain.path).read_bytes()


def test_a_failure_retires_the_key(key_query, key_file, small_results, small_encrypted, small_study, tmp_path):
    """Exit code 8 and nothing written; then 6 for honest results too, until told by name."""
    out = tmp_path / "out"
    out.mkdir()
    call = [
        "decrypt",
        *key_file.options,
        "--owner",
        small_encrypted.owner,
        "--out",
        out / "table",
        "--quiet",
        "--results",
    ]
    failed = securegen(*call, key_query)
    assert (failed.code, failed.err) == (8, f"Error: {FIXED_TEXT}\n") and failed.out == ""
    assert list(out.iterdir()) == []
    marker = Path(f"{key_file.file}.retired")
    assert stat.S_IMODE(marker.stat().st_mode) == 0o600
    assert f"{key_query} failed verification" in marker.read_text()

    refused = securegen(*call, small_results)
    assert refused.code == 6 and "is retired: a result failed verification under it" in refused.err
    assert "--key-still-trusted" in refused.err and list(out.iterdir()) == []

    trusted = securegen(*call, small_results, "--key-still-trusted")
    assert trusted.code == 0, trusted.err
    for table in sg.plain_tables(small_study, str(tmp_path / "plain")):
        same = out / f"table.{table.analysis.phenotype}.glm.linear"
        assert same.read_bytes() == Path(table.path).read_bytes()
    again = securegen(*call, key_query, "--key-still-trusted")
    assert again.code == 8 and len(marker.read_text().splitlines()) == 2


def without_times(folder: Path) -> dict[str, object]:
    """Every file of a run; without dates, seconds and memory, which differ between runs."""
    out: dict[str, object] = {}
    for path in sorted(folder.iterdir()):
        text = path.read_text()
        if path.name.endswith(".run.json"):
            record = json.loads(text)
            out[path.name] = {k: v for k, v in record.items() if k not in ("seconds", "peak_rss_bytes")}
        else:
            lines = text.splitlines()
            out[path.name] = lines[1:] if path.suffix == ".log" else lines
    return out


def test_measured_noise_reaches_no_file_and_no_message(
    key_file, small_results, small_encrypted, small_key, tmp_path, monkeypatch
):
    """The same decryption with no noise, and with all that the plan allows, leaves the same files and messages."""
    honest = decrypt.insecure_decrypt_unverified
    measured = []

    def run(name: str, noise_of) -> tuple[dict[str, object], list[str]]:
        def patched(*arguments):
            sums, noise = honest(*arguments)
            measured.extend(noise.tolist())
            return sums, noise_of(noise)

        monkeypatch.setattr(decrypt, "insecure_decrypt_unverified", patched)
        folder = tmp_path / name
        folder.mkdir()
        monkeypatch.chdir(folder)
        done = securegen(
            "decrypt", *key_file.options, "--owner", small_encrypted.owner, "--results", small_results, "--out", "t"
        )
        assert done.code == 0, done.err
        return without_times(folder), done.err.splitlines()[1:]

    silent = run("silent", np.zeros_like)
    loud = run("loud", lambda noise: np.full_like(noise, small_key.public.parameters.noise_bound))
    assert silent == loud and len(silent[0]) == 4
    record = silent[0]["t.run.json"]
    assert record["planned_noise_margin_bits"] == small_key.public.parameters.margin_bits
    texts = json.dumps(silent)
    assert measured and not any(f"{value:.4g}" in texts for value in measured)


def test_verification_accepts_the_honest_and_only_the_honest():
    """The linear check itself, over random blocks."""
    rng = np.random.default_rng(5)
    for _ in range(15):
        g = rng.integers(0, 3, (30, 20)).astype(np.int8)
        c = rng.integers(-(2**40), 2**40, (20, 3))
        r = rng.integers(0, verify.MODULUS, 30).astype(np.uint64)
        h = verify.block_check(r, g, g == 1, True)
        for row, stored in zip(h, (g, g == 1, g.astype(np.int16) ** 2), strict=True):
            sums = stored.astype(np.int64) @ c
            expected = verify.expected_check(row, c)
            assert verify.passes(r, sums, expected)
            sums[rng.integers(30), rng.integers(3)] += rng.choice([-1, 1, 2**50])
            assert not verify.passes(r, sums, expected)


def test_verification_secrets_differ_for_every_key_cohort_and_block(small_key, small_study):
    other = sg.generate_key(sg.plan(small_study))
    draws = [
        verify.block_secrets(key, cohort_id, block, 50)
        for key in (small_key, other) for cohort_id in ("a", "b") for block in (0, 1)
    ]  # fmt: skip
    assert len({d.tobytes() for d in draws}) == 8 and all((d < verify.MODULUS).all() for d in draws)
    np.testing.assert_array_equal(verify.block_secrets(small_key, "a", 1, 20), draws[1][:20])
