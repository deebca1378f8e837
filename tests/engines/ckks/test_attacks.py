"""A server that does not compute what it should: the attack reads the key with verification off and fails with it on."""

from __future__ import annotations

import json
import re
import stat
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from ckks_tools import Victim, add, crafted, folded, one_at, sum_at
from support import coefficients, left, securegen

import securegen as sg
from securegen.engines.ckks.owner import decrypt, verify
from securegen.engines.ckks.owner.strands import strand_secrets
from securegen.engines.ckks.planner import fit
from securegen.engines.plain.engine import write_plain
from securegen.errors import VerificationError
from securegen.study.relabelled import Relabelled


@pytest.fixture(scope="module")
def small_study(small_study):
    """All on one chromosome: the first block is full, so that every coefficient of the keys is read from it."""
    reader = small_study.reader
    variants = replace(reader.variants, chromosome=np.full(len(reader.variants), "1", object))
    return replace(small_study, reader=Relabelled(reader, reader.samples, variants))


@pytest.fixture(scope="module", params=["one variant", "packed"])
def small_key(small_study, request):
    """Two blocks of strands of 512 variants, two in the first block. One variant per coefficient: missing calls are a stream.
    Packed: two variants per coefficient, two digits a column (see also test_packing.py)."""
    packed = request.param == "packed"
    plan = sg.ckks.plan(small_study, scores=not packed)
    p = plan.parameters
    if packed:
        digits = next(d for d in plan.workload.digits(2) if d.fine == d.coarse == 2)
        p = fit(p.ring, 16, digits, plan.workload)
        assert p is not None and (p.digits, p.column_digits) == (2, 2)
    p = replace(p, pack=16 if packed else 8, strands=2)
    assert p.strand_variants == 512 and p.packed == packed
    return sg.ckks.generate_key(replace(plan, parameters=p))


@pytest.fixture(scope="module")
def small_encrypted(small_study, small_key, tmp_path_factory):
    return sg.ckks.encrypt(small_study, small_key, tmp_path_factory.mktemp("encrypted") / "study")


@pytest.fixture(scope="module")
def small_results(small_encrypted, tmp_path_factory) -> Path:
    return sg.ckks.associate(
        small_encrypted.cohort, small_encrypted.design, tmp_path_factory.mktemp("served") / "results"
    )


@pytest.fixture(scope="module")
def victim(small_encrypted, small_key, small_results) -> Victim:
    return Victim(small_key, small_encrypted.owner, small_results)


def put_key_queries(p, parts, streams: list[str], people: int) -> None:
    """Every product column asks for one shift of the keys: (NΔ, ⌊N/2⌋Δ·X^shift, 0, 0) decrypts for strand r to
    N + ⌊N/2⌋·s_(bj+b−1−shift) of its key, a plausible number without noise. Columns beyond b shifts start again."""
    everywhere = folded(p, np.full(p.ring.n, people), p.result_scale)
    shift = 0
    for stream in streams:
        parts[stream, "right"][:] = 0
        parts[stream, "both"][:] = 0
        for j in range(parts[stream, "sums"].shape[2]):
            parts[stream, "sums"][:, :, j] = everywhere[:, None]
            parts[stream, "left"][:, 0, j] = crafted(p, one_at(p, shift % p.pack, people // 2), p.result_scale)
            shift += 1


def test_without_verification_one_block_gives_every_key(victim):
    p, people = victim.parameters, victim.secrets.analyses[0].model.samples
    wanted, array = victim.wanted(0), victim.array(0)
    put_key_queries(p, victim.parts(0, array), ["g"] if p.packed else ["g", "m"], people)
    sums, noise = victim.unverified(0, array)
    queries = [i for i, o in enumerate(wanted) if o.kind == "product"]
    assert len(queries) >= p.pack and not any(o.kind == "addition" for o in wanted), "one product a shift is needed"
    strands = p.block_variants // p.strand_variants
    read = np.zeros((strands, p.ring.n), np.int64)
    for shift, row in enumerate(queries[: p.pack]):
        digits = sums[row].reshape(strands, p.digits, p.places)
        values = digits[:, 0] - people  # a plausible number in the lowest digit, nothing above it
        assert (values % (people // 2) == 0).all() and not digits[:, 1:].any() and noise[row] < 1e-6
        read[:, p.pack - 1 - shift :: p.pack] = values // (people // 2)
    for strand, key in enumerate(strand_secrets(victim.key, range(strands))):
        secret = coefficients(key, p.ring)
        assert set(secret) == {-1, 0, 1}
        np.testing.assert_array_equal(read[strand], secret)


@pytest.fixture
def key_query(dishonest, victim) -> Path:
    """Results in which every sum of g in block 0 asks for coefficients of the keys."""
    people = victim.secrets.analyses[0].model.samples

    def change(index: int, array: np.ndarray) -> None:
        if index == 0:
            put_key_queries(victim.parameters, victim.parts(0, array), ["g"], people)

    return dishonest(change)


def test_without_verification_the_published_table_spells_the_key(
    key_query, small_key, small_encrypted, victim, tmp_path, monkeypatch
):
    """Rounding, ranges and noise see nothing: the allele frequencies of the table are coefficients of the key."""
    p = small_key.public.parameters
    with pytest.raises(VerificationError):
        sg.ckks.decrypt_tables(key_query, small_key, small_encrypted.owner, str(tmp_path / "t"))
    assert not list(tmp_path.glob("t*")) and not list(tmp_path.glob(".t*"))

    monkeypatch.setattr(verify, "passes", lambda r, sums, expected: True)
    monkeypatch.setattr(decrypt, "_bound", lambda *_: 1 << 62)  # for other columns; Σg would pass
    tables = sg.ckks.decrypt_tables(
        key_query, small_key, small_encrypted.owner, str(tmp_path / "t"), key_still_trusted=True
    )
    table = pd.read_csv(tables[0].path, sep="\t")
    # of these variants, which lie in the lowest digit of the first strand, no call is missing, but rs2 has none
    called = np.array([j for j in range(min(400, p.places)) if j != 2])
    frequency = table["A1_FREQ"].to_numpy()[called]
    assert set(frequency.round(2)) == {0.25, 0.5, 0.75}
    read = np.rint(frequency * 4 - 2)
    secret = coefficients(small_key.residues, p.ring)[p.pack - 1 :: p.pack]
    np.testing.assert_array_equal(read, secret[called].astype(int))


def in_sums(victim, block: int, column: int, message: np.ndarray, scale: int, strand: int = 0):
    """A change that adds a message to one column of sums of g."""
    p = victim.parameters

    def change(index: int, array: np.ndarray) -> None:
        if index == block:
            add(p, victim.parts(index, array)["g", "sums"][:, strand, column], folded(p, message, scale))

    return change


def off_by_one(victim, column: int, strand: int):
    return in_sums(victim, 0, column, sum_at(victim.parameters, 3), victim.parameters.result_scale, strand)


def in_a_shared_half(name: str):
    """One unit of Δ in one coefficient of a half that strands or columns share."""

    def attack(victim):
        p = victim.parameters

        def change(index: int, array: np.ndarray) -> None:
            if index == 1:
                add(p, victim.parts(index, array)["g", name][:, 0, 0], crafted(p, one_at(p, 5), p.result_scale))

        return change

    return attack


def padding_used(victim):
    """A number where no variant is, in the last strand of the last block."""
    p = victim.parameters
    assert len(victim.info.variants) % p.strand_variants
    return in_sums(victim, 1, 0, one_at(p, p.ring.n - 1, 7 << p.digit_bits * (p.digits - 1)), p.result_scale)


def more_noise(victim):
    """A fraction of the scale: rounds to the right integer, but with more noise than an honest server has."""
    p = victim.parameters
    shift = p.result_scale - 30
    value = max(int(2 * p.noise_bound * 2**p.result_scale) >> shift, 1)
    assert value < 1 << 29
    return in_sums(victim, 0, 0, sum_at(p, 0, value), shift)


def out_of_range(victim):
    """A sum larger than any genotypes allow."""
    p = victim.parameters
    top = int(victim.secrets.sum_abs.max()) * 2 * victim.info.dosage_grid
    return in_sums(victim, 1, 0, sum_at(p, 1, 2 * top + 1), p.result_scale)


def garbage(victim):
    rng = np.random.default_rng(0)
    top = min(victim.parameters.ring.primes)
    return lambda index, array: index == 1 and array.__setitem__(Ellipsis, rng.integers(0, top, array.shape))


def exchanged(axis: int):
    """Two strands, or two columns, of sums change places."""

    def attack(victim):
        def change(index: int, array: np.ndarray) -> None:
            if index == 0:
                sums = np.moveaxis(victim.parts(0, array)["g", "sums"], axis, 0)
                sums[[0, 1]] = sums[[1, 0]]

        return change

    return attack


def between_digits(victim):
    """2^h less in a column's lower digit and one more in the next: the column's own sum is what it was."""
    p, (wanted, *_) = victim.parameters, victim.secrets.digits
    column = sum(wanted[: wanted.index(2)]) if 2 in wanted else 0

    def change(index: int, array: np.ndarray) -> None:
        if index == 0:
            sums = victim.parts(0, array)["g", "sums"]
            for place, value in ((column, -(1 << p.column_bits)), (column + 1, 1)):
                add(p, sums[:, 0, place], folded(p, sum_at(p, 3, value), p.result_scale))

    return change


def between_variants(victim):
    """Half of a digit more: as a balanced remainder it is half a digit less, and one more for the variant above."""
    p = victim.parameters
    return in_sums(victim, 0, 0, sum_at(p, 3, 1 << max(p.digit_bits - 1, 0)), p.result_scale)


ATTACKS = {
    "moved from a digit of a column to the next": between_digits,
    "half a digit of a coefficient": between_variants,
    "first product off by one": lambda v: off_by_one(v, 0, 0),
    "last product of the last strand off by one": lambda v: off_by_one(v, -1, -1),
    "a unit in b·a": in_a_shared_half("right"),
    "a unit in a·b": in_a_shared_half("left"),
    "a unit in a·a": in_a_shared_half("both"),
    "a number in the padding": padding_used,
    "more noise than planned": more_noise,
    "sums out of range": out_of_range,
    "random residues": garbage,
    "two strands exchanged": exchanged(1),
    "two columns exchanged": exchanged(2),
    "zeros": lambda v: lambda index, array: array.__setitem__(Ellipsis, 0),
}
FIXED_TEXT = str(VerificationError())


@pytest.mark.parametrize("name", ATTACKS)
def test_a_changed_result_is_refused_with_one_fixed_sentence(
    name, dishonest, small_key, small_encrypted, victim, tmp_path
):
    folder = dishonest(ATTACKS[name](victim))
    before = set(tmp_path.rglob("*"))
    with pytest.raises(VerificationError) as caught:
        sg.ckks.decrypt_tables(folder, small_key, small_encrypted.owner, str(tmp_path / "table"))
    assert str(caught.value) == FIXED_TEXT and caught.value.__cause__ is None
    assert set(tmp_path.rglob("*")) == before


@pytest.fixture(scope="module")
def everyone(small, tmp_path_factory):
    """A study of everybody with a trait that is never missing: Σg is a public addition, Σg² comes from the owner."""
    folder = tmp_path_factory.mktemp("everyone")
    study = sg.open_study(small.bfile, pheno=small.pheno, pheno_name=("CC",), model="linear")
    key = sg.ckks.generate_key(sg.ckks.plan(study))
    made = sg.ckks.encrypt(study, key, folder / "study")
    return study, key, made, sg.ckks.associate(made.cohort, made.design, folder / "study.results")


@pytest.mark.parametrize("kind", ["addition", "owner", "product"])
def test_additions_and_the_owners_squares_are_verified_too(kind, everyone, dishonest, tmp_path):
    study, key, made, results = everyone
    victim, p = Victim(key, made.owner, results), key.public.parameters
    scale = p.result_scale if kind == "product" else p.genotype_scale

    def change(index: int, array: np.ndarray) -> None:
        if index == 0:
            parts = victim.parts(0, array)
            if kind == "owner":
                add(p, parts["o", "values"][:, 0], crafted(p, one_at(p, 0), scale))
            else:  # the column of ones is the last
                at = parts["g", "sums"][:, 0, -1 if kind == "addition" else 0]
                add(p, at, folded(p, sum_at(p, 0), scale))

    folder = dishonest(change, results)
    with pytest.raises(VerificationError):
        sg.ckks.decrypt_tables(folder, key, made.owner, str(tmp_path / "table"))
    (table,) = sg.ckks.decrypt_tables(results, key, made.owner, str(tmp_path / "honest"), key_still_trusted=True)
    (plain,) = write_plain(study, str(tmp_path / "plain"))
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
    assert left(out) == []
    marker = Path(f"{key_file.file}.retired")
    assert stat.S_IMODE(marker.stat().st_mode) == 0o600
    assert f"{key_query} failed verification" in marker.read_text()

    refused = securegen(*call, small_results)
    assert refused.code == 6 and "is retired: a result failed verification under it" in refused.err
    assert "--key-still-trusted" in refused.err and left(out) == []

    trusted = securegen(*call, small_results, "--key-still-trusted")
    assert trusted.code == 0, trusted.err
    for table in write_plain(small_study, str(tmp_path / "plain")):
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
            out[path.name] = timeless(text.splitlines()) if path.suffix == ".log" else text.splitlines()
    return out


def timeless(lines: list[str]) -> list[str]:
    """Lines of a log without when it began and ended, how long it took, and where."""
    return [line for line in lines[1:] if not re.match(r"folder: |ended |  \w+ +\d+\.\d\d s$", line)]


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
        return without_times(folder), timeless(done.err.splitlines())

    silent = run("silent", np.zeros_like)
    loud = run("loud", lambda noise: np.full_like(noise, small_key.public.parameters.noise_bound))
    assert silent == loud and len(silent[0]) == 4
    record = silent[0]["t.run.json"]
    assert record["planned_noise_margin_bits"] == small_key.public.parameters.margin_bits
    texts = json.dumps(silent)
    # all digits: with six, one of 88 values might well begin as one of 15,000 numbers of tables does
    assert measured and not any(f"{value:.16g}".partition("e")[0] in texts for value in measured)
