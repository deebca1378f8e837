"""Scores of 110,258 variants, the server's time for 32 people, beside two ways of packing variants in slots.

securegen reads the stored ciphertexts, expands their seeds, multiplies and (private model) blinds; TenSEAL's
CKKSVector.dot and the rotate-and-sum BFV of SEAL have their ciphertexts and weights in memory already.
extra_info: work (variants × people), bytes per person uploads.
"""

from __future__ import annotations

import math

import numba
import numpy as np
import pytest

from securegen.engines.ckks.cohort import open_cohort
from securegen.engines.ckks.owner.encrypt_cohort import encrypt_cohort
from securegen.engines.ckks.owner.encryption import OwnEncryptor
from securegen.engines.ckks.owner.secret_key import generate
from securegen.engines.ckks.owner.state import OwnerState
from securegen.engines.ckks.scores import modeller
from securegen.engines.ckks.scores import parameters as score_parameters
from securegen.engines.ckks.scores.blinding import ModelSize, choose_blinded
from securegen.engines.ckks.scores.parameters import store_parameters
from securegen.engines.ckks.scores.server import encrypted_scores
from securegen.engines.ckks.scores.weights import StoredWeights
from securegen.io.arrays import from_arrays
from securegen.record.run_log import folder_bytes

VARIANTS, PEOPLE, BITS = 110_258, 32, 20
BFV_N, BFV_PRIMES, PLAIN_BITS = 8192, [43, 43, 44, 44, 44], 40


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(4)
    genotypes = rng.binomial(2, 0.3, (VARIANTS, PEOPLE)).astype(np.int8)
    weights = np.clip(rng.normal(size=VARIANTS) / 4.5, -1, 1)
    return genotypes, np.rint(weights * ((1 << BITS) - 1)).astype(np.int64)


@pytest.fixture(scope="module")
def served(data, tmp_path_factory):
    """(cohort, weights, encryption key, blinding) for a public or a private model, one person a ciphertext."""
    genotypes, w = data
    column = w[:, None]
    bound = int(2 * np.abs(w).sum())
    weights = StoredWeights(column, np.zeros_like(column), np.zeros(1, np.int64), (bound,))
    fields = {"chromosome": ["1"] * VARIANTS, "position": range(VARIANTS), "id": map(str, range(VARIANTS)),
              "effect_allele": ["A"] * VARIANTS, "other_allele": ["C"] * VARIANTS}  # fmt: skip
    reader = from_arrays(genotypes, [f"P{i}" for i in range(PEOPLE)], variants={k: list(v) for k, v in fields.items()})

    def make(setting):
        shape = {"samples": PEOPLE, "rows": VARIANTS, "columns": 1, "dosage_max": 2}
        if setting == "private":
            p, blinding = choose_blinded(ModelSize(weights.norm, bound, VARIANTS, BITS, 6), **shape)
        else:
            p, blinding = score_parameters.choose(norm=weights.norm, sum_bound=bound, **shape), None
        key = generate(store_parameters(p.ring, 1, p.genotype_scale, dosage_max=2, samples=PEOPLE))
        folder = tmp_path_factory.mktemp(setting)
        encrypt_cohort(reader, key, folder / "cohort", OwnerState(folder / "owner", key), encryptor=OwnEncryptor(key))
        return open_cohort(folder / "cohort"), weights, key.encryption_key(bytes(32)), blinding

    return make


CASES = [
    ("securegen", "public", 1), ("securegen", "public", 2), ("securegen", "private", 1), ("securegen", "private", 2),
    ("tenseal_ckksvector", "public", 1), ("seal_bfv_rotate_and_sum", "public", 1),
]  # fmt: skip


@pytest.mark.parametrize(("implementation", "setting", "threads"), CASES, ids=[f"{i}-{s}-t{t}" for i, s, t in CASES])
def test_prs_person(benchmark, request, data, implementation, setting, threads):
    benchmark.extra_info["work"] = VARIANTS * PEOPLE
    if implementation == "securegen":
        before = numba.get_num_threads()
        numba.set_num_threads(min(threads, before))
        run_securegen(benchmark, setting, *request.getfixturevalue("served")(setting))
        numba.set_num_threads(before)
    else:
        {"tenseal_ckksvector": run_ckksvector, "seal_bfv_rotate_and_sum": run_bfv}[implementation](benchmark, *data)


def run_securegen(benchmark, setting, cohort, weights, key, blinding):
    def run():
        if setting == "private":
            return list(modeller.replies(cohort, weights, key, blinding))
        return list(encrypted_scores(cohort, weights))

    benchmark.extra_info["bytes_a_person"] = folder_bytes(cohort.folder) // PEOPLE
    benchmark.pedantic(run, warmup_rounds=1, rounds=5)


def run_ckksvector(benchmark, genotypes, w):
    import tenseal as ts

    context = ts.context(ts.SCHEME_TYPE.CKKS, 8192, coeff_mod_bit_sizes=[60, 40, 60], n_threads=1)
    context.global_scale = 2**40
    context.generate_galois_keys()
    slots = 4096
    people = [
        [ts.ckks_vector(context, genotypes[i : i + slots, x].astype(float)) for i in range(0, VARIANTS, slots)]
        for x in range(PEOPLE)
    ]
    parts = [(w[i : i + slots] / 2.0**BITS).tolist() for i in range(0, VARIANTS, slots)]

    def run():
        out = []
        for person in people:
            total = person[0].dot(parts[0])
            for ciphertext, part in zip(person[1:], parts[1:], strict=True):
                total += ciphertext.dot(part)
            out.append(total)
        return out

    benchmark.extra_info["bytes_a_person"] = sum(len(c.serialize()) for c in people[0])
    scores = benchmark.pedantic(run, rounds=1)
    expected = genotypes.T.astype(float) @ (w / 2.0**BITS)
    assert np.allclose([s.decrypt()[0] for s in scores], expected, atol=1e-2)


def run_bfv(benchmark, genotypes, w):
    """Variants in the 2 × n/2 slots of a batched plaintext; products are added, then rotated log2(n) times and added."""
    import tenseal.sealapi as seal

    parameters = seal.EncryptionParameters(seal.SCHEME_TYPE.BFV)
    parameters.set_poly_modulus_degree(BFV_N)
    parameters.set_coeff_modulus(seal.CoeffModulus.Create(BFV_N, BFV_PRIMES))
    parameters.set_plain_modulus(seal.PlainModulus.Batching(BFV_N, PLAIN_BITS))
    context = seal.SEALContext(parameters, True, seal.SEC_LEVEL_TYPE.TC128)
    generator = seal.KeyGenerator(context)
    encryptor = seal.Encryptor(context, generator.secret_key())
    evaluator, encoder = seal.Evaluator(context), seal.BatchEncoder(context)
    galois = seal.GaloisKeys()
    generator.create_galois_keys(galois)
    modulus = int(parameters.plain_modulus().value())

    def plaintext(values):
        padded = np.zeros(BFV_N, np.int64)
        padded[: len(values)] = values
        out = seal.Plaintext()
        encoder.encode((padded % modulus).tolist(), out)
        return out

    starts = range(0, VARIANTS, BFV_N)
    weights = [plaintext(w[i : i + BFV_N]) for i in starts]
    for part in weights:
        evaluator.transform_to_ntt_inplace(part, context.first_parms_id())
    people = []
    for x in range(PEOPLE):
        person = []
        for i in starts:
            c = seal.Ciphertext()
            encryptor.encrypt_symmetric(plaintext(genotypes[i : i + BFV_N, x]), c)
            evaluator.transform_to_ntt_inplace(c)
            person.append(c)
        people.append(person)

    def run():
        out = []
        for person in people:
            total = None
            for c, part in zip(person, weights, strict=True):
                product = seal.Ciphertext()
                evaluator.multiply_plain(c, part, product)
                if total is None:
                    total = product
                else:
                    evaluator.add_inplace(total, product)
            evaluator.transform_from_ntt_inplace(total)
            for step in range(int(math.log2(BFV_N // 2))):
                turned = seal.Ciphertext()
                evaluator.rotate_rows(total, 1 << step, galois, turned)
                evaluator.add_inplace(total, turned)
            turned = seal.Ciphertext()
            evaluator.rotate_columns(total, galois, turned)
            evaluator.add_inplace(total, turned)
            out.append(total)
        return out

    scores = benchmark.pedantic(run, rounds=2)
    decryptor = seal.Decryptor(context, generator.secret_key())
    for total, expected in zip(scores, genotypes.T.astype(np.int64) @ w, strict=True):
        opened = seal.Plaintext()
        decryptor.decrypt(total, opened)
        value = int(encoder.decode_uint64(opened)[0])
        assert value == int(expected) % modulus
