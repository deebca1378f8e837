"""Noise on phenotypes: as strong as it says, right on average, never drawn twice, and its files do not lie."""

from __future__ import annotations

import math
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from support import spread_is

from securegen.errors import KeyFileError, PolicyError, StorageError, UsageError
from securegen.governance import label_noise
from securegen.governance.label_noise import LabelNoise, bounds_text, drawn, in_units, noise_of
from securegen.governance.noise_ledger import NoiseEntries
from securegen.governance.noise_store import open_draws
from securegen.io.output import atomic
from securegen.model import Samples

RESPONSE, LAPLACE, GAUSSIAN = LabelNoise(1.0), LabelNoise(1.0, None, (0.0, 10.0)), LabelNoise(2.0, 1e-3, (0.0, 10.0))
Z = 5.5  # standard deviations of two shares, which are off together once in 10^10 runs
SURE = 7.5  # of one mean: once in 10^11, by Chernoff's bound for 5000 Laplace draws


def lower_epsilon(hits: int, others: int, n: int) -> float:
    """What ε is at least, given how often an event happened to two people who differ: each share moved by Z standard errors."""
    p, q = hits / n, others / n
    low = p - Z * math.sqrt(p * (1 - p) / n)
    high = q + Z * math.sqrt(q * (1 - q) / n)
    return math.log(low / high)


def measured(noise: LabelNoise, *, binary: bool, n: int) -> float:
    """ε by draws of the two values that differ most, at the event that tells most."""
    if binary:
        one, zero = (np.array(drawn(noise, np.full(n, v), binary=True)) for v in (1.0, 0.0))
        return lower_epsilon(int(one.sum()), int(zero.sum()), n)
    high, low = (np.array(drawn(noise, np.full(n, v), binary=False)) for v in (10.0, 0.0))
    top = label_noise.STEPS
    return lower_epsilon(int((high >= top).sum()), int((low >= top).sum()), n)


@pytest.mark.parametrize(("noise", "binary"), [(RESPONSE, True), (LAPLACE, False)])
def test_epsilon_is_as_it_says(noise, binary, monkeypatch):
    """Draws of two people who differ never show more than ε; with half the scale they do."""
    n = 1000 if binary else 6000
    assert 0.3 < measured(noise, binary=binary, n=n) <= noise.epsilon
    if binary:
        weak = LabelNoise(2 * noise.epsilon)
    else:
        weak, right = noise, label_noise._scale(noise)
        monkeypatch.setattr(label_noise, "_scale", lambda _: right / 2)
    assert measured(weak, binary=binary, n=n) > noise.epsilon


def least_delta(scale: float, epsilon: float) -> float:
    """δ of Gaussian noise, its deviation in units of what one person changes: theorem 8 of Balle and Wang (2018)."""

    def below(x: float) -> float:
        return math.erfc(-x / math.sqrt(2)) / 2

    return below(0.5 / scale - epsilon * scale) - math.exp(epsilon) * below(-0.5 / scale - epsilon * scale)


def test_delta_is_as_it_says(monkeypatch):
    """The deviation of draws is enough by the exact formula, at (1 + Z standard errors) of it; half the scale never is."""

    def found(n: int = 1000) -> float:
        deviation = np.array(drawn(GAUSSIAN, np.zeros(n), binary=False)).std() / label_noise.STEPS
        return float(deviation / math.sqrt(1 - Z * math.sqrt(2 / n)))

    right = label_noise._scale(GAUSSIAN)
    assert least_delta(found(), GAUSSIAN.epsilon) <= GAUSSIAN.delta
    monkeypatch.setattr(label_noise, "_scale", lambda _: right / 2)
    assert least_delta(found(), GAUSSIAN.epsilon) > GAUSSIAN.delta


@pytest.mark.parametrize("noise", [LAPLACE, GAUSSIAN])
def test_a_quantitative_phenotype_is_unbiased_with_the_variance_that_is_printed(noise):
    n = 5000 if noise.delta is None else 800
    found = in_units(noise, drawn(noise, np.full(n, 2.5), binary=False), binary=False)
    deviation, step = math.sqrt(noise.variance()), 10 / label_noise.STEPS
    assert abs(found.mean() - 2.5) < SURE * deviation / math.sqrt(n)
    assert spread_is(np.abs(found - 2.5) / step, deviation / step, laplace=noise.delta is None)
    beyond = in_units(noise, drawn(noise, np.full(n, 99.0), binary=False), binary=False)
    assert abs(beyond.mean() - 10) < SURE * deviation / math.sqrt(n)  # clipped to the public bound


def test_randomised_response_divided_by_its_factor_is_unbiased():
    n = 1200
    truth = np.arange(n) % 4 == 0
    found = np.array(drawn(RESPONSE, truth, binary=True))
    difference = found[truth].mean() - found[~truth].mean()
    error = math.sqrt(0.25 / truth.sum() + 0.25 / (~truth).sum())
    assert abs(difference - RESPONSE.factor) < SURE * error


@pytest.mark.parametrize("epsilon", [0, -1, math.nan, math.inf, -math.inf, 1e9, "1", True, 11])
def test_an_epsilon_that_protects_nothing_is_refused(epsilon):
    with pytest.raises(UsageError, match="dp_epsilon"):
        noise_of(epsilon, None, None)


@pytest.mark.parametrize("bounds", ["", "5", "5,5", "9,1", "nan,1", "0,inf", "a,b", "1,2,3", "0,1e300", "1e12,1e12"])
def test_bounds_are_two_numbers(bounds):
    with pytest.raises(UsageError, match="dp_bounds"):
        noise_of(1.0, None, bounds)


def test_what_lacks_a_partner_is_refused():
    for wrong in (lambda: noise_of(None, 1e-6, None), lambda: noise_of(None, None, "0,1"), lambda: noise_of(1.0, 0.5, "0,1"),
                  lambda: bounds_text((1,)), lambda: bounds_text(("a", "b"))):  # fmt: skip
        with pytest.raises(UsageError, match="dp_"):
            wrong()
    with pytest.raises(UsageError, match="dp_bounds"):
        RESPONSE.mechanism(binary=False)
    with pytest.raises(UsageError, match="dp_delta"):
        GAUSSIAN.mechanism(binary=True)


def people(n: int) -> Samples:
    names = np.array([f"I{i}" for i in range(n)], object)
    return Samples(names, names, np.ones(n, bool), np.zeros(n, np.int8))


N = 120  # of whom 9 in 10 are read by fresh draws, and fewer than 97 in 100 by one: wrong once in 10^11
TRUTH = np.random.default_rng(5).integers(0, 2, N).astype(float)


def draw(entries: NoiseEntries, name: str = "CC", noise: LabelNoise = RESPONSE, values=TRUTH, most=(4.0, 1e-5)):
    places = entries.places(people(len(values)), np.ones(len(values), bool))
    return entries.draw(name, places, values, noise, binary=True, most=most)


def right(votes: list[list[int]]) -> float:
    return float(((np.mean(votes, axis=0) > 0.5) == (TRUTH == 1)).mean())


def test_twenty_five_runs_show_no_more_than_one(tmp_path):
    """Fresh draws give away nearly everybody; stored ones say the same each time."""
    fresh = [draw(NoiseEntries(bytes(32))) for _ in range(25)]
    assert right(fresh) > 0.9
    stored = []
    for _ in range(25):
        with open_draws(tmp_path) as entries:
            stored.append(draw(entries))
    assert all(votes == stored[0] for votes in stored) and right(stored) == right(stored[:1]) < 0.97


def test_a_renamed_column_is_charged_until_nothing_is_left(tmp_path):
    with open_draws(tmp_path) as entries:
        names = [f"CC{i}" for i in range(25)]
        votes = [draw(entries, name) for name in names[:4]]
        for name in names[4:]:
            with pytest.raises(PolicyError, match=r"noise\.budget"):
                draw(entries, name)
        assert entries.spent(0) == (4.0, 0.0) and draw(entries, "CC0") == votes[0]
        with pytest.raises(PolicyError, match=r"noise\.budget"):  # another ε of the same name
            draw(entries, "CC0", LabelNoise(0.5))
    assert right([draw(NoiseEntries(bytes(32)), name) for name in names]) > 0.9  # without the accountant


def test_a_value_that_changes_is_not_drawn_again(tmp_path):
    with open_draws(tmp_path) as entries:
        draw(entries)
    other = TRUTH.copy()
    other[7] = 1 - other[7]
    with pytest.raises(PolicyError, match=r"noise\.changed: "), open_draws(tmp_path) as entries:
        draw(entries, values=other)


def test_exact_values_of_what_has_noise_are_refused_under_any_name(tmp_path):
    with open_draws(tmp_path) as entries:
        draw(entries)
        places = entries.places(people(N), np.ones(N, bool))
        for name in ("CC", "RENAMED"):
            with pytest.raises(PolicyError, match=r"noise\.exact"):
                entries.refuse_exact(name, places, TRUTH)
        entries.refuse_exact("OTHER", places, 1 - TRUTH)


def test_files_are_unreadable_without_the_key_and_refused_when_edited_rolled_back_or_copied(tmp_path):
    place = tmp_path / "a"
    with open_draws(place) as entries:
        draw(entries)
    first = (place / "noise.draws.1").read_bytes()
    assert b"people" not in first and oct((place / "noise.draws.1").stat().st_mode)[-3:] == "600"
    with open_draws(place) as entries:
        draw(entries, "CD")
    latest, key = place / "noise.draws.2", place / "noise.draws.key"
    kept, key_kept = latest.read_bytes(), key.read_bytes()
    for content in (first, kept[:-1], kept[:40] + bytes([kept[40] ^ 1]) + kept[41:], b""):
        latest.write_bytes(content)
        with pytest.raises(StorageError, match="altered, or is not the latest"), open_draws(place):
            pass
    latest.write_bytes(kept)
    shutil.copytree(place, tmp_path / "b")
    with pytest.raises(PolicyError, match=r"noise\.copy"), open_draws(tmp_path / "b"):
        pass
    for content in (key_kept.replace(str(place).encode(), str(tmp_path / "b").encode()), key_kept[:-1]):
        key.write_bytes(content)
        with pytest.raises(KeyFileError), open_draws(place):
            pass
    key.unlink()
    with pytest.raises(StorageError, match="is gone"), open_draws(place):
        pass
    key.write_bytes(key_kept)
    key.chmod(0o644)
    with pytest.raises(KeyFileError, match="read by others"), open_draws(place):
        pass
    key.chmod(0o600)
    with open_draws(place) as entries:
        assert entries.spent(0) == (2.0, 0.0)


def test_a_key_file_that_is_gone_is_seen_from_the_first_draw_on(tmp_path):
    """Else draws would be made anew, and each draw more gives the phenotype away."""
    with open_draws(tmp_path) as entries:
        first = draw(entries)
    key = tmp_path / "noise.draws.key"
    kept = key.read_bytes()
    key.unlink()
    with pytest.raises(StorageError, match="is gone"), open_draws(tmp_path):
        pass
    key.touch(mode=0o600)
    key.write_bytes(kept)
    with open_draws(tmp_path) as entries:
        assert draw(entries) == first


@pytest.mark.parametrize("dies_at", range(3))
def test_killed_while_the_first_draw_is_written_a_place_is_new_or_has_it(dies_at, tmp_path, monkeypatch):
    written = 0

    def write(*args, **options):
        nonlocal written
        written += 1
        if written > dies_at:
            raise KeyboardInterrupt
        return atomic(*args, **options)

    with monkeypatch.context() as patched:
        patched.setattr("securegen.governance.noise_store.atomic", write)
        with pytest.raises(KeyboardInterrupt), open_draws(tmp_path) as entries:
            draw(entries)
    with open_draws(tmp_path) as entries:
        assert bool(entries.traits) == (dies_at == 2)  # whole, and not named by the key file yet
        first = draw(entries)
    with open_draws(tmp_path) as entries:
        assert draw(entries) == first


def test_killed_at_any_write_it_is_as_before_or_as_after(tmp_path, monkeypatch):
    """A process that dies at a write leaves draws that were never shown, or all of them."""

    class Killed(BaseException):
        pass

    with open_draws(tmp_path) as entries:
        before = draw(entries)
    unlink = os.unlink
    for dies_at in range(3):
        writes = iter(range(3))

        def write(*args, die=dies_at, writes=writes, **options):
            if next(writes) == die:
                raise Killed
            return atomic(*args, **options)

        def remove(path, *, die=dies_at, **options):
            if die == 2 and Path(path).name == "noise.draws.1":
                raise Killed
            unlink(path, **options)

        monkeypatch.setattr("securegen.governance.noise_store.atomic", write)
        monkeypatch.setattr("securegen.governance.noise_store.os.unlink", remove)
        with pytest.raises(Killed), open_draws(tmp_path) as entries:
            draw(entries, f"N{dies_at}")
        monkeypatch.undo()
        with open_draws(tmp_path) as entries:
            assert draw(entries) == before and entries.knows("N2") == (dies_at == 2)
        assert len([n for n in os.listdir(tmp_path) if n.removeprefix("noise.draws.").isdecimal()]) <= 1 + (
            dies_at == 1
        )
