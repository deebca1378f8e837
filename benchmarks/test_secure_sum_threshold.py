"""Sums over three sites under a joint key: against slot-packed CKKS through SEAL, and a site's cost against its people.

`test_secure_sum`: one site encrypts K sums for each of 2,048 variants, adds three sites' ciphertexts, decrypts; exact
integers here, floating point there. `test_site_segment`: all that a site does for 512 variants, by number of people: the
sums over people grow, the encrypted part and the bytes do not.
"""

from __future__ import annotations

import numpy as np
import pytest

from securegen.ckks import threshold as th
from securegen.engines.plain import block_sums
from securegen.federated.packing import Layout, field_bits
from securegen.model import Columns, GenotypeBlock

SITES, VARIANTS, COLUMNS = 3, 2048, 8
WIDTH = field_bits(1 << 30)


@pytest.fixture(scope="module")
def keys():
    p = th.ThresholdParameters.standard(SITES, 4096)
    shares = [th.share_from(p, th.ternary(th.fresh_key(), 0, p.ring.n)) for _ in range(SITES)]
    a = th.expand_public(b"benchmark", p.ring)
    return p, shares, th.joint_key(p, a, [th.public_share(p, s, a) for s in shares])


@pytest.fixture(autouse=True)
def one_thread():
    import numba

    before = numba.get_num_threads()
    numba.set_num_threads(1)
    yield
    numba.set_num_threads(before)


def own_sums() -> np.ndarray:
    return np.random.default_rng(1).integers(-(1 << 28), 1 << 28, (VARIANTS, COLUMNS))


@pytest.mark.parametrize("name", ["securegen-K8-t1", "seal_slots-K8-t1"])
def test_secure_sum(benchmark, name, keys):
    values = own_sums()
    step = _joint(values, keys) if name.startswith("securegen") else _seal(values)
    totals = benchmark(step)
    exact = name.startswith("securegen")
    assert np.array_equal(np.rint(totals), SITES * values) or not exact
    benchmark.extra_info["work"] = values.size
    benchmark.extra_info["wrong_integers"] = int((np.rint(totals) != SITES * values).sum())


def _joint(values, keys):
    """One site's work, and the two others' partial decryptions given."""
    p, shares, key = keys
    layout = Layout(p, VARIANTS, (WIDTH,) * COLUMNS)
    others = [th.encrypt(key, layout.encode(values)) for _ in range(SITES - 1)]

    def step() -> np.ndarray:
        total = th.encrypt(key, layout.encode(values))
        for other in others:
            total = th.add(total, other, p.ring)
        partials = [th.partial_decrypt(p, s, total[:, 1], th.fresh_key()) for s in shares]
        return layout.decode(th.combine(p, total[:, 0], partials))

    return step


def _seal(values):
    """The same sums in the slots of SEAL's CKKS ciphertexts, one key holder."""
    import tenseal as ts

    context = ts.context(ts.SCHEME_TYPE.CKKS, 8192, coeff_mod_bit_sizes=[60, 40, 60], n_threads=1)
    context.global_scale = 2.0**40
    slots = values.reshape(-1, 4096).astype(float)
    others = [[ts.ckks_vector(context, row) for row in slots] for _ in range(SITES - 1)]

    def step() -> np.ndarray:
        total = [ts.ckks_vector(context, row) for row in slots]
        for other in others:
            total = [t + o for t, o in zip(total, other, strict=True)]
        return np.array([t.decrypt() for t in total]).reshape(values.shape)

    return step


@pytest.mark.parametrize("people", [1_000, 4_000, 16_000], ids="people{}-t1".format)
def test_site_segment(benchmark, people, keys):
    p, shares, key = keys
    rng = np.random.default_rng(2)
    block = GenotypeBlock(0, rng.integers(0, 3, (512, people), dtype=np.int8), None)
    values = rng.integers(-(1 << 15), 1 << 15, (people, COLUMNS))
    columns = Columns(tuple(map(str, range(COLUMNS))), values, (True,) + (False,) * (COLUMNS - 1))
    layout = Layout(p, 512, (field_bits(1 << 40),) * (COLUMNS + 1))

    def site() -> int:
        sums = block_sums(block, columns)
        ciphertexts = th.encrypt(key, layout.encode(np.concatenate([sums.g, sums.q], axis=1)))
        return ciphertexts.nbytes + th.partial_decrypt(p, shares[0], ciphertexts[:, 1], th.fresh_key()).nbytes

    sent = benchmark(site)
    benchmark.extra_info["work"] = 512 * (COLUMNS + 1)
    benchmark.extra_info["bytes_sent"] = sent
