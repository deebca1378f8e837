"""How a reply hides everything but a score: flooding, blur, parameters and the cap. All numbers here are public.

The key holder decrypts v = Δ(S + h) + noise + f at the coefficient of a score and nothing at any other. With x the
uploaded genotypes and w the weights, the honest noise is Σ_j w_j e_j of the key holder's own errors e, plus that of the
encryption of zero: standard deviation σ = √(10.5 ‖w‖² + 10.5 (4n/3 + 1)). f is uniform in [−F, F]: shifting it by the
noise changes its distribution by |noise|/2F, on average at most σ/2F, and

    F = 2^(λ−1) R σ,  λ = 40,  makes that 2^-λ for all R replies of the model's life together.

h is uniform in [−H, H], H = ⌊‖w‖ 10^-digits / 1024⌋: digits far below the last released one are not in the reply. The
integer that comes out differs from S by at most `deviation` = H + ⌊(F + B)/Δ + ½⌋, B the noise at 15σ. With H = 0 and Δ
large enough that is nothing. Else it is the only place where engines may differ: a printed score as large as ‖w‖
changes with a chance below 1/512 for h (1/32 where Δ is small), a k times larger one k times more rarely.

The cap: every reply is a linear equation in the weights, worth at most log2((2|S|max + 1)/(2H + 1)) bits, so a client gets
at most V·b/(10·that many bits) replies of a model with V non-zero weights of b bits, in its life.

A key holder may send any polynomial as b. The b coefficients of c0 that a reply shows are then inner products of its
choice with u, log2(q/2F) bits each beyond the flooding, and who knows u takes a·u from c1. So b is at most
n log2(3) / (10 log2(q/2F)): nine tenths of u stay unknown.

An invitation tells the bound of a score and F, and a client may ask for one after the other, for other variants each
time: both are rounded up (`rounded_up`), and an invitation costs a reply.
(Gentry 2009 for flooding; docs/prs-protocols.md.)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from securegen.ckks.parameters import ERROR_SD, SIGMAS, Parameters, Ring
from securegen.ckks.planner import PACKS
from securegen.ckks.prs_parameters import estimate_seconds, store_parameters
from securegen.ckks.publickey import noise_certain, noise_sd
from securegen.errors import PlanError, PolicyError

STATISTICAL_BITS = 40
CAP_SHARE = 10  # a client learns a tenth of the model's bits
PEOPLE_SHARE = 20  # non-zero weights a person asked about
BLUR_SHARE = 1024
DEVIATION_SHARE = 64  # of a released digit: the most that flooding that does not round away may change
COINS_SHARE = 10  # of the u of an encryption of zero, what a key holder that sends a false key may learn
STEPS = 16  # an octave, for numbers that an invitation tells
RINGS = ((8192, 4), (8192, 5), (8192, 6), (16384, 8), (16384, 10))


@dataclass(frozen=True)
class ModelSize:
    """What parameters are planned from: 2-norm and largest |S| of the scores, non-zero weights of the smallest one,
    bits of a weight, significant digits released."""

    norm: float
    sum_bound: int
    nonzero: int
    bits: int
    digits: int

    @property
    def blur(self) -> int:
        """H, units of a score."""
        return math.floor(self.norm * 10.0**-self.digits / BLUR_SHARE)

    @property
    def tolerance(self) -> int:
        """The largest deviation of a reply that is accepted, units of a score."""
        return max(self.blur, math.floor(self.norm * 10.0**-self.digits / DEVIATION_SHARE))

    @property
    def released_bits(self) -> float:
        """The most that one reply says."""
        return math.log2((2 * self.sum_bound + 1) / (2 * self.blur + 1))

    @property
    def cap(self) -> int:
        """Replies of a model to one client, in its life.

        >>> ModelSize(norm=2.0**27, sum_bound=2**36, nonzero=110258, bits=20, digits=6).cap
        5959
        """
        return int(self.nonzero * self.bits / (CAP_SHARE * self.released_bits))


@dataclass(frozen=True)
class Blinding:
    """Δ = 2^scale, flooding in [−F, F], blur in [−H, H], all of one reply; see the module."""

    scale: int
    flooding: int
    blur: int
    noise: int

    def to_json(self) -> dict[str, str]:
        return {name: str(value) for name, value in vars(self).items()}

    @staticmethod
    def from_json(value: Any) -> Blinding:
        """Raises ValueError, KeyError or TypeError for anything that is not one."""
        made = Blinding(*(int(value[name]) for name in ("scale", "flooding", "blur", "noise")))
        if not 1 <= made.scale < 1 << 10 or min(made.flooding, made.blur, made.noise) < 0:
            raise ValueError("blinding out of range")
        return made

    @property
    def exact(self) -> bool:
        """Whether flooding rounds away, so that only the blur is left."""
        return 2 * (self.flooding + self.noise) < 1 << self.scale

    @property
    def margin_bits(self) -> float:
        """log2 of ½ over the largest flooding and noise, in units of the score."""
        return self.scale - 1 - math.log2(self.flooding + self.noise)

    @property
    def deviation(self) -> int:
        """Largest difference between the decrypted integer and the score."""
        rounded = (2 * (self.flooding + self.noise) + (1 << self.scale)) >> (self.scale + 1)
        return self.blur + rounded


def flooding_for(noise_deviation: float, replies: int) -> int:
    """F for noise of this standard deviation and so many replies: 2^-40 over all of them."""
    return math.ceil(2.0 ** (STATISTICAL_BITS - 1) * replies * noise_deviation)


def fit(ring: Ring, size: ModelSize, *, deviation: float, replies: int) -> Blinding | None:
    """The blinding in this ring for noise of this deviation, or None when it does not fit.

    Where q allows, Δ is so large that flooding rounds away; else Δ is the largest that fits, and the rounded flooding
    may be as large as the blur.
    """
    noise = math.ceil(SIGMAS * deviation) + noise_certain(ring)
    flooding = flooding_for(deviation, replies)
    scale = (2 * (flooding + noise)).bit_length()
    room = math.floor(math.log2(ring.modulus) - 1 - math.log2(size.sum_bound + 2 * size.blur + 2) - 1e-6)
    blinding = Blinding(min(scale, room), flooding, size.blur, noise)
    if room < 8 or blinding.deviation > size.tolerance:
        return None
    return blinding


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
    size: ModelSize, *, samples: int, rows: int, columns: int, dosage_max: int
) -> tuple[Parameters, Blinding]:
    """The smallest ring and the cheapest pack for a private model. Raises PlanError when no ring holds a reply."""
    replies = max(size.cap, samples) * columns
    for n, count in RINGS:
        ring = Ring.standard(n, count)
        blinding = fit(ring, size, deviation=reply_deviation(ring, size.norm), replies=replies)
        if blinding is None:
            continue
        fitting = []
        for pack in PACKS:
            if pack <= max(1, min(2 * samples - 1, largest_pack(ring, blinding.flooding))):
                try:
                    p = store_parameters(ring, pack, blinding.scale, dosage_max=dosage_max, samples=samples)
                except PlanError:
                    continue
                fitting.append(p)
        if fitting:
            return min(fitting, key=lambda p: estimate_seconds(p, rows=rows, columns=columns)), blinding
    raise PlanError(
        f"no parameters hold replies with scores below 2^{size.sum_bound.bit_length()}: use fewer bits a weight"
    )


def refuse_few_weights(name: str, *, nonzero: int, people: int, allow: tuple[str, ...] = ()) -> None:
    """Raise PolicyError when a model has fewer non-zero weights than 20 times the people asked about."""
    if name not in allow and nonzero < PEOPLE_SHARE * people:
        raise PolicyError(
            f"{name} has {nonzero} non-zero weights, fewer than {PEOPLE_SHARE} for each of {people} people: their exact "
            f"scores would give the model away. Ask about at most {nonzero // PEOPLE_SHARE} people (--keep), or allow it "
            f"by name (--allow-small-model {name})"
        )
