"""The CKKS kernels beside SEAL, TenSEAL and OpenFHE in the same run. Ids: implementation, columns (K), threads (t).

extra_info["work"] counts genotypes × columns, genotypes, or residues transformed. Every result is checked.
"""

from __future__ import annotations

import numba
import numpy as np
import peers
import pytest

from securegen.engines.ckks.codec import genotype_messages
from securegen.engines.ckks.parameters import Parameters
from securegen.kernels.ntt import forward, inverse, ntt_tables
from securegen.rlwe import seal
from securegen.rlwe.encryptor import encrypt_block
from securegen.rlwe.residues import from_tiles, scaled_residues
from securegen.rlwe.ring import Ring
from securegen.rlwe.uniform import expand_uniform

SAMPLES, VARIANTS, PACK = 512, 4096, 8
RING = Ring.standard(4096, 3)
PEERS = {
    "securegen": lambda g, c: peers.Securegen(g, c, RING, PACK),
    "seal": lambda g, c: peers.Seal(g, c, RING, PACK),
    "seal_2x45": peers.SealTwoPrimes,
    "tenseal_ckkstensor": peers.TensealCkksTensor,
    "openfhe": lambda g, c: peers.OpenFhe(g, c, numba.get_num_threads()),
}


@pytest.fixture
def threads(request):
    before = numba.get_num_threads()
    numba.set_num_threads(min(request.param, before))
    yield request.param
    numba.set_num_threads(before)


def cases(*implementations: str, middle: tuple[str, ...] = ("",)):
    """Parameters (implementation, middle, threads) with ids implementation-middle-threads."""
    out = []
    for part in middle:
        for name in implementations:
            for t in (1, 2) if name in ("securegen", "openfhe") else (1,):
                out.append(pytest.param(name, part, t, id="-".join(filter(None, (name, part, f"t{t}")))))
    return pytest.mark.parametrize(("implementation", "middle", "threads"), out, indirect=["threads"])


def rounds(implementation: str) -> dict[str, int]:
    slow = implementation == "tenseal_ckkstensor"
    return {"rounds": 1 if slow else 3 if implementation != "securegen" else 40, "warmup_rounds": 0 if slow else 1}


@cases("seal", "seal_2x45", "tenseal_ckkstensor", "openfhe", "securegen", middle=("K1", "K4", "K13"))
def test_residue_mac(benchmark, implementation, middle, threads):
    if implementation == "openfhe" and peers.openfhe_python() is None:
        pytest.skip("openfhe is not installed (OPENFHE_PYTHON may name an interpreter that has it)")
    columns = int(middle[1:])
    rng = np.random.default_rng(1)
    g = rng.integers(0, 3, (VARIANTS, SAMPLES), dtype=np.int8)
    c = rng.integers(-(1 << 13), 1 << 13, (SAMPLES, columns))
    task = PEERS[implementation](g, c)
    benchmark.extra_info["work"] = g.size * columns
    benchmark.pedantic(task.run, **rounds(implementation))
    want = g.astype(np.int64) @ c
    if implementation in ("securegen", "seal"):
        np.testing.assert_array_equal(task.result(), want)
    else:  # approximate arithmetic: standard deviations of 0.4 and less at these scales
        np.testing.assert_allclose(task.result(), want, rtol=1e-4, atol=4)


@cases("seal", "securegen")
def test_encrypt_block(benchmark, implementation, middle, threads):
    """64 ciphertexts of genotypes as they are stored: SEAL's encryption of zero through its stream, and our own."""
    count = 64
    g = np.random.default_rng(2).integers(0, 3, (RING.n, count), dtype=np.int8)
    messages = genotype_messages(g, 0, count, Parameters(RING, 1, 33, 24, 2, 2.0**15, count))[:, 0, 0]
    stream, key = seal.new_secret_key(RING)
    primes = np.array(RING.primes, np.uint64)[:, None]
    benchmark.extra_info["work"] = g.size
    if implementation == "seal":
        zero = seal.ZeroEncryptor(RING, stream)

        def encrypt():
            both = np.stack([zero() for _ in messages])
            return (both[:, 0] + scaled_residues(messages.astype(np.int64), 33, RING)) % primes, both[:, 1]

    else:

        def encrypt():
            return encrypt_block(key, messages, 33, RING)

    first, second = benchmark.pedantic(encrypt, **rounds(implementation))
    if implementation == "securegen":
        seed, c0 = first, second
        first, second = (
            from_tiles(c0, RING),
            from_tiles(expand_uniform(seed, count, RING), RING),
        )
    plain = (first + second * key) % primes
    inverse(plain, tuple(ntt_tables(RING.n, q) for q in RING.primes))
    for row, message in zip(plain, messages, strict=True):
        np.testing.assert_array_equal(peers.round_residues(row, RING.primes, 33)[0], message)


@cases("seal", "securegen")
def test_ntt(benchmark, implementation, middle, threads):
    """64 polynomials modulo 3 primes, forwards and back."""
    count, k = 64, len(RING.primes)
    benchmark.extra_info["work"] = 2 * count * k * RING.n
    if implementation == "securegen":
        q = np.array(RING.primes, np.uint64)[:, None]
        a = np.random.default_rng(3).integers(0, 1 << 40, (count, k, RING.n), dtype=np.uint64) % q
        before, tables = a.copy(), tuple(ntt_tables(RING.n, p) for p in RING.primes)

        def both():
            forward(a, tables)
            inverse(a, tables)

        benchmark.pedantic(both, **rounds(implementation))
        np.testing.assert_array_equal(a, before)
        return
    import tenseal.sealapi as api

    parameters = api.EncryptionParameters(api.SCHEME_TYPE.BFV)  # SEAL transforms ciphertexts of BFV only
    parameters.set_poly_modulus_degree(RING.n)
    parameters.set_coeff_modulus(api.CoeffModulus.Create(RING.n, [30, 30, 30, 19]))
    parameters.set_plain_modulus(257)
    context = api.SEALContext(parameters, True, api.SEC_LEVEL_TYPE.TC128)
    encryptor, evaluator = api.Encryptor(context, api.KeyGenerator(context).secret_key()), api.Evaluator(context)
    pairs = [api.Ciphertext() for _ in range(count // 2)]  # two polynomials each
    for ciphertext in pairs:
        encryptor.encrypt_zero_symmetric(ciphertext)
    before = seal.residues(pairs[0], 2, k, RING.n)

    def seal_both():
        for ciphertext in pairs:
            evaluator.transform_to_ntt_inplace(ciphertext)
            evaluator.transform_from_ntt_inplace(ciphertext)

    benchmark.pedantic(seal_both, **rounds(implementation))
    np.testing.assert_array_equal(seal.residues(pairs[0], 2, k, RING.n), before)
