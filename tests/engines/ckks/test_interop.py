"""TenSEAL objects and securegen's: every conversion comes back bit for bit, and what would hand out a secret says so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tenseal as ts
from hypothesis import given, settings
from hypothesis import strategies as st

import securegen as sg
from securegen.engines.ckks.owner import interop, secret_key
from securegen.engines.ckks.owner.encryption import ENCRYPTORS, make_encryptor
from securegen.engines.ckks.parameters import Parameters
from securegen.engines.mpc.crypten import interop as mpc_interop
from securegen.errors import ArtefactError, InputError, KeyFileError, PlanError, UsageError
from securegen.rlwe import seal
from securegen.rlwe.residues import from_tiles
from securegen.rlwe.ring import Ring
from securegen.rlwe.uniform import expand_uniform

RING = Ring.standard(4096, 3)
SCALE = 36


@pytest.fixture(scope="module")
def key():
    return secret_key.generate(Parameters(RING, 16, SCALE, 28, 2, 100.0, 16))


def encrypted(key, messages, encryptor="own") -> np.ndarray:
    """(C, 2, k, n) residues of (C, n) messages."""
    made = make_encryptor(encryptor, key)(messages, SCALE)
    c1 = made.c1 if made.c1 is not None else expand_uniform(made.seed, len(messages), RING)
    return np.stack([from_tiles(made.c0, RING), from_tiles(c1, RING)], axis=1)


@pytest.mark.parametrize("encryptor", ENCRYPTORS)
def test_our_ciphertexts_go_to_seal_and_back_and_decrypt_there(key, encryptor):
    message = np.random.default_rng(1).integers(-1000, 1000, (2, RING.n))
    for ciphertext, wanted in zip(encrypted(key, message, encryptor), message, strict=True):
        theirs = interop.to_seal(ciphertext, RING, 2.0**SCALE)
        assert theirs.size() == 2 and theirs.scale == 2.0**SCALE
        back, scale = interop.from_seal(theirs, RING)
        np.testing.assert_array_equal(back, ciphertext)
        assert scale == 2.0**SCALE
        np.testing.assert_array_equal(interop.decrypt_with_seal(ciphertext, key, SCALE), wanted)


def test_seal_decrypts_a_product_that_was_never_relinearised(key):
    """Size 3, as the server returns them; convolution of two short messages, by hand."""
    g, c = np.zeros((1, RING.n), np.int64), np.zeros((1, RING.n), np.int64)
    g[0, :3], c[0, :2] = (1, 2, 1), (5, -7)
    (a,), (b,) = encrypted(key, g), encrypted(key, c)
    modulus = np.array(RING.primes, np.uint64)[:, None]
    times = lambda x, y: x * y % modulus  # noqa: E731
    product = np.stack([times(a[0], b[0]), (times(a[0], b[1]) + times(a[1], b[0])) % modulus, times(a[1], b[1])])
    found = interop.decrypt_with_seal(product, key, 2 * SCALE)
    assert found[:5].tolist() == [5, 3, -9, -7, 0] and not found[4:].any()


@settings(max_examples=15)
@given(st.integers(2, 3), st.integers(0, 2**32 - 1))
def test_any_residues_survive_seal(size, seed):
    rng = np.random.default_rng(seed)
    residues = np.stack([rng.integers(0, p, (size, RING.n), np.uint64) for p in RING.primes], axis=1)
    back, _ = interop.from_seal(interop.to_seal(residues, RING, 2.0**20), RING)
    np.testing.assert_array_equal(back, residues)


def test_a_residue_that_is_none_is_refused(key):
    bad = encrypted(key, np.zeros((1, RING.n), np.int64))[0]
    bad[1, 2, 7] = RING.primes[2]
    with pytest.raises(ArtefactError, match="SEAL does not accept"):
        interop.to_seal(bad, RING, 1.0)


def test_a_public_context_encrypts_under_our_key_and_decrypts_nothing(key):
    context = interop.public_context(key)
    assert context.is_public() and not context.has_secret_key()
    assert not context.has_relin_keys() and not context.has_galois_keys()
    assert key.seal_stream not in context.serialize(save_secret_key=True)
    vector = ts.ckks_vector(context, [0.0, 1.0, 2.0, 1.0])
    with pytest.raises(ValueError, match="secret_key"):
        vector.decrypt()
    residues, scale = interop.from_ckks_vector(vector, RING)
    assert residues.shape == (1, 2, 3, 4096) and scale == 2.0**20
    # the holder of the key decrypts it: a slot's value is near what was encrypted
    private = interop.context_with_secret_key(key)
    opened = interop.to_ckks_vector(residues, private, scale=scale, sizes=[4]).decrypt()
    np.testing.assert_allclose(opened, [0, 1, 2, 1], atol=0.02)


def test_a_context_with_the_secret_key_says_so(key, capsys):
    context = interop.context_with_secret_key(key)
    assert "holds the secret key" in capsys.readouterr().err
    assert context.has_secret_key()
    secret = context.secret_key().data
    np.testing.assert_array_equal(seal.residues(secret, 1, 4, RING.n)[0, :3], key.residues)


@pytest.mark.parametrize("kind", [ts.ENCRYPTION_TYPE.SYMMETRIC, ts.ENCRYPTION_TYPE.ASYMMETRIC])
def test_a_key_of_tenseal_works_here_and_what_it_encrypted_goes_back(kind):
    context = ts.context(ts.SCHEME_TYPE.CKKS, 4096, coeff_mod_bit_sizes=[30, 30, 30, 19], encryption_type=kind)
    context.global_scale = 2.0**20
    ours = interop.key_from_tenseal(context, Parameters(RING, 16, SCALE, 28, 2, 100.0, 16))
    message = np.arange(RING.n)[None] % 300
    np.testing.assert_array_equal(interop.decrypt_with_seal(encrypted(ours, message)[0], ours, SCALE), message[0])
    tensor = ts.ckks_tensor(context, [[1.0, 2.0], [3.0, 4.0]])
    residues, scale = interop.from_ckks_vector(tensor, RING)
    assert len(residues) == len(tensor.ciphertext())
    vector = ts.ckks_vector(context, [1.5, -2.0])
    residues, scale = interop.from_ckks_vector(vector, RING)
    again = interop.to_ckks_vector(residues, context, scale=scale, sizes=[2])
    assert again.decrypt() == vector.decrypt()  # the same ciphertext, so the same noise
    with pytest.raises(PlanError, match="the plan is for n = 8192"):
        other = Parameters(Ring.standard(8192, 4), 16, SCALE, 28, 2, 100.0, 16)
        interop.key_from_tenseal(context, other)


def test_a_public_context_of_tenseal_gives_no_key(key):
    with pytest.raises(KeyFileError, match="is public"):
        interop.key_from_tenseal(interop.public_context(key), key.public.parameters)


def test_rings_that_do_not_fit_are_named():
    context = ts.context(ts.SCHEME_TYPE.CKKS, 8192, coeff_mod_bit_sizes=[60, 40, 40, 60])
    with pytest.raises(PlanError, match="data primes of 60 bits"):
        interop.ring_of(context)


@pytest.mark.parametrize("n, count", [(4096, 3), (8192, 4), (8192, 5)])
def test_our_rings_are_tenseals(n, count):
    ring = Ring.standard(n, count)
    bits = [p.bit_length() for p in (*ring.primes, ring.special)]
    assert interop.ring_of(ts.context(ts.SCHEME_TYPE.CKKS, n, coeff_mod_bit_sizes=bits)) == ring


def test_a_rescaled_ciphertext_is_refused():
    context = ts.context(ts.SCHEME_TYPE.CKKS, 4096, coeff_mod_bit_sizes=[30, 30, 30, 19])
    context.global_scale = 2.0**20
    vector = ts.ckks_vector(context, [1.0]) * [2.0]  # TenSEAL rescales by itself
    with pytest.raises(UsageError, match="2 primes, the ring n = 4096 and 3"):
        interop.from_ckks_vector(vector, RING)


def test_a_tenseal_cohort_becomes_ours_through_its_owner(small, small_study, tmp_path):
    """Genotypes held as TenSEAL vectors -> the same table as from the file, encrypted and in the clear."""
    context = ts.context(ts.SCHEME_TYPE.CKKS, 4096, coeff_mod_bit_sizes=[40, 29, 40])  # as users have them
    context.global_scale = 2.0**29
    reader = small_study.reader
    first = 20  # complete: the first third of the variants has no missing call; 1 and 2 are set apart
    block = reader.read(3, 3 + first)
    rows = [ts.ckks_vector(context, row.astype(float).tolist()) for row in block.dosage]
    dosage = interop.dosages_from_tenseal(rows)
    assert dosage.dtype == np.int8
    np.testing.assert_array_equal(dosage, block.dosage)
    ours = sg.from_arrays(dosage, reader.samples, variants=reader.variants.take(slice(3, 3 + first)))
    options = {"pheno": small.pheno, "pheno_name": ("QT",), "covar": small.covar}
    study, whole = sg.open_study(ours, **options), sg.open_study(small.bfile, **options)
    table = sg.run(study).frame
    assert table.equals(sg.run(whole).frame[3 : 3 + first].reset_index(drop=True))
    key = sg.ckks.generate_key(sg.ckks.plan(study))
    made = sg.ckks.encrypt(study, key, tmp_path / "moved")
    assert sg.ckks.decrypt(sg.ckks.associate(made.cohort, made.design, tmp_path / "results"), key, made.owner).equals(
        table
    )
    quarters = [ts.ckks_vector(context, [0.25, 1.75, 2.0])]
    np.testing.assert_array_equal(interop.dosages_from_tenseal(quarters, grid=4), [[0.25, 1.75, 2.0]])
    tensor = ts.ckks_tensor(context, block.dosage[0].astype(float).tolist())
    np.testing.assert_array_equal(interop.dosages_from_tenseal([tensor])[0], block.dosage[0])
    for values, words in (([0.0, 1.0, 2.5], "row 0, sample 2: 2.5"), ([0.0, 3.0], "sample 1: 3.0"), ([-1.0], "-1.0")):
        with pytest.raises(InputError, match=words):
            interop.dosages_from_tenseal([ts.ckks_vector(context, values)])


def test_every_conversion_is_documented():
    page = (Path(sg.__path__[0]).parent / "docs" / "howto" / "interop.md").read_text()
    for module in (interop, mpc_interop):
        named = [n for n, f in vars(module).items() if getattr(f, "__module__", "") == module.__name__ and n[0] != "_"]
        assert named and not [n for n in named if f"`{n}" not in page]
