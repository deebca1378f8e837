"""Sums that cannot be verified: p = 2^61 − 1 times the key, added to a sum, is nothing modulo p."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from ckks_tools import Victim, add, crafted, one_at, rewrite_manifest
from support import MemoryReader, coefficients

from securegen.design import fixedpoint
from securegen.design.columns import Design
from securegen.design.strata import alone
from securegen.engines.ckks import artefact, cohort, studydesign
from securegen.engines.ckks.owner import decrypt, secret_key, verify
from securegen.engines.ckks.owner.encrypt_cohort import encrypt_cohort
from securegen.engines.ckks.owner.encrypt_design import encrypt_design
from securegen.engines.ckks.owner.encryption import ENCRYPTORS
from securegen.engines.ckks.owner.state import OwnerState
from securegen.engines.ckks.owner.strands import strand_secrets
from securegen.engines.ckks.parameters import Parameters
from securegen.engines.ckks.planner import Workload, choose
from securegen.engines.ckks.server import associate
from securegen.errors import PlanError
from securegen.model import Columns

SAMPLES, GRID, VARIANTS = 60, 1 << 13, 32
WORKLOAD = Workload(SAMPLES, VARIANTS, 1, 30, dosage_max=2 * GRID, squares=True)


@pytest.fixture
def unprotected(monkeypatch):
    """The bound as it was: sums are 64-bit integers."""
    monkeypatch.setattr(fixedpoint, "VERIFIED_SUM", 1 << 63)


@pytest.fixture
def served(unprotected, tmp_path):
    """Weights of about 2^27 and squared dosages up to 2^28: |Σ w g²| may reach 2^61.5 by the owner's own count."""
    rng = np.random.default_rng(8)
    values = (rng.integers(1 << 27, 1 << 28, (SAMPLES, 1)) * rng.choice([-1, 1], (SAMPLES, 1))).astype(np.int64)
    columns = Columns(("W",), values, (True,))
    reader = MemoryReader(rng.integers(0, 2 * GRID + 1, (VARIANTS, SAMPLES)).astype(np.int16), GRID)
    planned = choose(WORKLOAD, whole=True).parameters
    key = secret_key.generate(
        replace(planned, pack=planned.ring.n // VARIANTS, strands=1)
    )  # no padding, which must be zero
    state, encryptor = OwnerState(tmp_path / "owner", key), ENCRYPTORS["own"](key)
    info = encrypt_cohort(reader, key, tmp_path / "cohort", state, encryptor=encryptor, squares=True)
    encrypt_design(
        alone(Design(columns, ()), VARIANTS), key, info, state, tmp_path / "design", encryptor=encryptor, keep=str
    )
    opened = cohort.open_cohort(tmp_path / "cohort")
    design = studydesign.open_design(tmp_path / "design", opened.public)
    associate.associate(opened, design, tmp_path / "results")
    return Victim(key, tmp_path / "owner", tmp_path / "results"), state, alone(Design(columns, ()), VARIANTS)


def add_p_times_the_key(victim: Victim) -> None:
    """To what is multiplied by the key of the genotypes, in the sums of squares: p·Δ."""
    p = victim.parameters
    array = np.array(victim.array(0))
    message = one_at(p, 0, verify.MODULUS)
    add(p, victim.parts(0, array)["q", "left"][:, 0, 0], crafted(p, message, p.result_scale))
    entry = vars(artefact.write_entry(victim.results, "block-000000.npy", array))
    rewrite_manifest(victim.results, blocks=[entry])


def test_without_the_bound_the_published_sums_spell_the_key(served):
    victim, state, _ = served
    p = victim.parameters
    assert (
        len(victim.secrets.checks) == 1 and 2**61 < verify.largest_sum(victim.secrets.sum_abs[0], "q", 2 * GRID) < 2**63
    )
    (honest,) = decrypt.decrypt(victim.results, state, victim.info, victim.secrets)
    add_p_times_the_key(victim)
    (passed,) = decrypt.decrypt(victim.results, state, victim.info, victim.secrets)  # all checks are on
    read = (passed.q[:, 0].astype(object) - honest.q[:, 0].astype(object)) / verify.MODULUS
    secret = coefficients(strand_secrets(victim.key, [0])[0], p.ring)
    np.testing.assert_array_equal(read.astype(int), secret[p.pack * np.arange(VARIANTS) + p.pack - 1].astype(int))
    assert set(read) == {-1, 0, 1}


def test_with_it_nothing_is_planned_encrypted_or_decrypted(served, tmp_path, monkeypatch):
    victim, state, design = served
    add_p_times_the_key(victim)
    monkeypatch.setattr(fixedpoint, "VERIFIED_SUM", 1 << 60)
    monkeypatch.setattr(decrypt, "insecure_decrypt_unverified", lambda *_: pytest.fail("it was decrypted"))
    with pytest.raises(PlanError, match=r"could reach 2\^62, and only sums below 2\^60 can be verified"):
        list(decrypt.decrypt(victim.results, state, victim.info, victim.secrets))
    with pytest.raises(PlanError, match="only sums below"):
        encrypt_design(
            design,
            victim.key,
            victim.info,
            state,
            tmp_path / "again",
            encryptor=ENCRYPTORS["own"](victim.key),
            keep=str,
        )
    assert not (tmp_path / "again").exists()
    with pytest.raises(PlanError, match="only sums below"):
        victim.parameters.check_exact()
    with pytest.raises(PlanError, match=r"below 2\^60 so that it can be verified"):
        choose(WORKLOAD)


@pytest.mark.parametrize(("stream", "factor"), [("g", 2 * GRID), ("m", 1), ("q", 4 * GRID**2), ("o", 4 * GRID**2)])
def test_the_bound_is_exact(stream, factor):
    """2^60 − 1 is proven, 2^60 is not: two integers below 2^60 never differ by a multiple of 2^61 − 1."""
    assert verify.largest_sum(3, stream, 2 * GRID) == 3 * factor
    fixedpoint.check_sum_bound((1 << 60) - 1, "a sum", verified=True)
    with pytest.raises(PlanError):
        fixedpoint.check_sum_bound(1 << 60, "a sum", verified=True)
    assert 2 * ((1 << 60) - 1) < verify.MODULUS
    most = ((1 << 60) - 1) // (4 * GRID**2)
    verify.check_bounds(np.array([most]), (True,), 2 * GRID)
    with pytest.raises(PlanError):
        verify.check_bounds(np.array([most + 1]), (True,), 2 * GRID)
    verify.check_bounds(np.array([most + 1]), (False,), 2 * GRID)  # its squares are not summed


def test_a_key_from_a_file_is_held_to_it(unprotected, monkeypatch):
    value = choose(WORKLOAD, whole=True).parameters.to_json()
    Parameters.from_json(value)
    monkeypatch.setattr(fixedpoint, "VERIFIED_SUM", 1 << 60)
    with pytest.raises(Exception, match="only sums below 2"):
        Parameters.from_json(value)
