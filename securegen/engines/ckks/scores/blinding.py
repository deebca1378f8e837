"""How a reply hides everything but a score: flooding, blur, parameters and the cap. All numbers here are public.

The key holder decrypts v = Δ(S + h) + noise + f at the coefficient of a score and nothing at any other. With x the
uploaded genotypes and w the weights, the honest noise is Σ_j w_j e_j of the key holder's own errors e, plus that of the
encryption of zero: standard deviation σ = √(10.5 ‖w‖² + 10.5 (4n/3 + 1)). f is uniform in [−F, F]: shifting it by the
noise changes its distribution by |noise|/2F, on average at most σ/2F, so

    F ≥ 2^(λ−1) R σ,  λ = 40,  makes that 2^-λ for all R answers of the model's life together.

Δ is as large as q allows and F as large as still rounds away, F + B < Δ/2 with B the noise at 15σ: a key holder that
chooses its errors reads what lies between F and q, and that is then hardly more than a score.

h is uniform in [−H, H], H = ⌊‖w‖ 10^-digits / 2^20⌋: digits far below the last released one are not in the reply. The
integer differs from S by at most H. Weights have as many bits as the released digits need, so that H is 0 unless more
are asked for; else it is the only place where engines may differ.

The cap: whatever the key holder sends, an answer says at most log2(q / (2F + 1)(2H + 1)) bits of the weights, so a client
gets at most V·b/(10·that many bits) answers of a model with V non-zero weights of b bits, in its life. b is what a weight
says to whoever knows how such models are written (`told_bits`): weights of ±1 have one bit each, whatever their scale.

A key holder may send any polynomial as b. The b coefficients of c0 that a reply shows are then inner products of its
choice with u, log2(q/2F) bits each beyond the flooding, and who knows u takes a·u from c1. So b is at most
n log2(3) / (10 log2(q/2F)): nine tenths of u stay unknown.

An invitation tells the bound of a score and the noise, and a client may ask for one after the other, for other variants
each time: both are rounded up (`rounded_up`), and an invitation costs an answer.
(Gentry 2009 for flooding; docs/explanation/prs-protocols.md.)
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from securegen.engines.ckks.parameters import SIGMAS, Parameters
from securegen.engines.ckks.planner import PACKS
from securegen.engines.ckks.scores.parameters import estimate_seconds, store_parameters
from securegen.errors import PlanError
from securegen.model import IntArray
from securegen.rlwe.publickey import noise_certain, noise_sd
from securegen.rlwe.ring import ERROR_SD, Ring

STATISTICAL_BITS = 40
CAP_SHARE = 10  # a client learns a tenth of the model's bits
BLUR_SHARE = 1 << 20
COINS_SHARE = 10  # of the u of an encryption of zero, what a key holder that sends a false key may learn
MOST_PLACES = 18  # decimal places that weights may be written with
STEPS = 16  # an octave, for numbers that an invitation tells
RINGS = ((8192, 4), (8192, 5), (8192, 6), (16384, 8), (16384, 10))


def told_bits(weights: IntArray, exponent: int) -> float:
    """Bits that a non-zero weight tells, of (R,) int64, weights times 2^exponent rounded: the fewest of three ways to write
    them down: as they are; as multiples of one decimal step; as places in a table of the different ones, and the table.

    >>> told_bits(np.array([1 << 28, -1 << 28] * 50), 28), round(told_bits(np.arange(1, 101), 0), 2)
    (1.0, 7)
    """
    values, counts = np.unique(weights[weights != 0], return_counts=True)
    if not len(values):
        return 0.0
    plain = int(np.abs(values).max()).bit_length()
    share = counts / counts.sum()
    table = float(-(share * np.log2(share)).sum()) + len(values) * plain / float(counts.sum())
    first = -math.floor(math.log10(math.ldexp(float(np.abs(values).max()), -exponent)))
    for places in range(first, first + MOST_PLACES):  # 10^-places: the coarsest step that all are multiples of
        step = 10.0**-places * 2.0**exponent
        if step < 2:
            break
        multiples = np.rint(values / step)
        if (np.abs(values - multiples * step) <= 0.5 + 2.0**-10).all():
            least = math.gcd(*(int(abs(m)) for m in multiples))
            return min(plain, table, 1 + math.log2(float(np.abs(multiples).max()) / least))
    return min(plain, table)


@dataclass(frozen=True)
class ModelSize:
    """What parameters are planned from: 2-norm and largest |S| of the scores, non-zero weights of the smallest one,
    bits that a weight tells (`told_bits`), significant digits released."""

    norm: float
    sum_bound: int
    nonzero: int
    bits: float
    digits: int

    @property
    def blur(self) -> int:
        """H, units of a score."""
        return math.floor(self.norm * 10.0**-self.digits / BLUR_SHARE)

    @property
    def released_bits(self) -> float:
        """What an answer says to an honest client: the fewest bits that parameters can leave."""
        return math.log2((2 * self.sum_bound + 1) / (2 * self.blur + 1))

    @property
    def most_answers(self) -> int:
        """What the cap of a model in its life is at most, whatever the parameters."""
        return self.cap(self.released_bits)

    def cap(self, bits: float) -> int:
        """Answers of a model to one client, in its life, where each says at most so many bits.

        >>> ModelSize(norm=2.0**27, sum_bound=2**36, nonzero=110258, bits=20, digits=6).cap(38)
        5803
        """
        return int(self.nonzero * self.bits / (CAP_SHARE * max(bits, self.released_bits, 1.0)))


@dataclass(frozen=True)
class Blinding:
    """Δ = 2^scale, flooding in [−F, F], blur in [−H, H], all of one reply; noise: B. Raises PlanError unless F + B < Δ/2."""

    scale: int
    flooding: int
    blur: int
    noise: int

    def __post_init__(self) -> None:
        if 2 * (self.flooding + self.noise) >= 1 << self.scale:
            raise PlanError("flooding and noise do not round away")

    def to_json(self) -> dict[str, str]:
        return {name: str(value) for name, value in vars(self).items()}

    @property
    def margin_bits(self) -> float:
        """log2 of ½ over the noise, in units of the score; flooding takes the room that is left."""
        return self.scale - 1 - math.log2(self.noise)

    def bits(self, ring: Ring) -> float:
        """The most that one answer says of the weights, whatever the key holder sent."""
        return math.log2(ring.modulus) - math.log2((2 * self.flooding + 1) * (2 * self.blur + 1))


def flooding_for(noise_deviation: float, replies: int) -> int:
    """F for noise of this standard deviation and so many replies: 2^-40 over all of them."""
    return math.ceil(2.0 ** (STATISTICAL_BITS - 1) * replies * noise_deviation)


def room_for(ring: Ring, size: ModelSize) -> int:
    """log2 of the largest Δ with which every score, blurred, stays within q/2."""
    return math.floor(math.log2(ring.modulus) - 1 - math.log2(size.sum_bound + 2 * size.blur + 2) - 1e-6)


def filling(scale: int, size: ModelSize, *, noise: int, least: int) -> Blinding | None:
    """The most flooding that rounds away at this scale, or None where that is less than `least`."""
    flooding = (1 << max(scale - 1, 0)) - noise - 1
    return Blinding(scale, flooding, size.blur, noise) if flooding >= max(least, 1) else None


def largest_pack(ring: Ring, flooding: int) -> int:
    """People a group, so that a false encryption key shows a tenth of u at most; see the module.

    >>> largest_pack(Ring.standard(8192, 4), 2**80)
    33
    """
    return int(ring.n * math.log2(3) / (COINS_SHARE * max(1.0, math.log2(ring.modulus) - math.log2(2 * flooding))))


def rounded_up(x: float) -> float:
    """The next number of the form 2^(i/16), so that x and x + a weight are told alike.

    >>> rounded_up(1000.0) == rounded_up(1001.0) >= 1001
    True
    """
    return 2.0 ** (math.ceil(math.log2(x) * STEPS) / STEPS) * (1 + 2.0**-40) if x > 0 else 0.0


def reply_deviation(ring: Ring, norm: float) -> float:
    """σ of a reply on symmetrically encrypted genotypes."""
    return math.hypot(ERROR_SD * norm, noise_sd(ring))


def choose_blinded(
    size: ModelSize, *, samples: int, rows: int, columns: int, dosage_max: int, cap: int = 0
) -> tuple[Parameters, Blinding]:
    """The smallest ring and the cheapest pack for a private model. cap: of the model's life where the owner chose one.

    Raises PlanError when no ring holds a reply.
    """
    answers = max(size.most_answers, cap, samples) * columns
    for n, count in RINGS:
        ring = Ring.standard(n, count)
        deviation = reply_deviation(ring, size.norm)
        noise, least = math.ceil(SIGMAS * deviation) + noise_certain(ring), flooding_for(deviation, answers)
        fitting = []
        for pack in PACKS:
            if pack > max(1, 2 * samples - 1):
                continue
            for scale in range(room_for(ring, size), 0, -1):
                blinding = filling(scale, size, noise=noise, least=least)
                if blinding is None:
                    break
                try:
                    p = store_parameters(ring, pack, scale, dosage_max=dosage_max, samples=samples)
                except PlanError:  # the store has to hold columns of 0 and 1 too
                    continue
                if pack <= max(1, largest_pack(ring, blinding.flooding)):
                    fitting.append((p, blinding))
                break
        if fitting:
            return min(fitting, key=lambda x: estimate_seconds(x[0], rows=rows, columns=columns))
    raise PlanError(
        f"no parameters hold replies with scores below 2^{size.sum_bound.bit_length()}: use fewer bits per weight "
        "(`weight_bits`)"
    )
