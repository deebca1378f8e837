"""What a genotype owner and a model owner tell each other before anything is encrypted: request and invitation.

The request holds the variants of the cohort and the number of people. Where calls are missing and the mean over the
cohort is imputed, it has allele counts of at least 50 people. The invitation holds the variants to encrypt, the
parameters, a fresh nonce for the encryption key, scales and bounds: never a weight or a direction.
docs/explanation/prs-protocols.md lists both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from blake3 import blake3

from securegen.engines.ckks import artefact
from securegen.engines.ckks.parameters import Parameters
from securegen.engines.ckks.planner import PACKS
from securegen.engines.ckks.scores.blinding import Blinding
from securegen.engines.ckks.scores.parameters import store_parameters
from securegen.engines.ckks.scores.schema import read_arrays, read_message
from securegen.errors import ArtefactError, PlanError, PolicyError
from securegen.io import looks
from securegen.io.folders import folder_of
from securegen.io.output import FOLDER_FOR_OTHERS, make_folder
from securegen.model import IntArray, SelectableReader, Variants
from securegen.rlwe.ring import Ring
from securegen.scores.plan import AlleleCounts, Imputation, ScorePlan
from securegen.scores.sums import ScoreSums, count_alleles

FEWEST_COUNTED = 50  # allele counts of fewer people come too close to their genotypes
VARIANT_FIELDS = ("chromosome", "id", "effect_allele", "other_allele")


@dataclass(frozen=True)
class ScoreRequest:
    """variants: of the cohort; counts: over all of them, or None when no call is missing."""

    variants: Variants
    samples: int
    dosage_grid: int
    counts: AlleleCounts | None

    def counts_of(self, variant: IntArray) -> AlleleCounts:
        """Counts of some variants, as a plan takes them; zeros, which no score uses, where no call is missing."""
        if self.counts is None:
            nothing = np.zeros(len(variant), np.int64)
            return AlleleCounts(variant, nothing, nothing, np.full(len(variant), self.samples, np.int64), self.samples)
        c = self.counts
        return AlleleCounts(variant, c.dosage[variant], c.second[variant], c.called[variant], c.samples)


def make_request(reader: SelectableReader, imputation: str) -> ScoreRequest:
    """Raises PolicyError where allele counts of too few people would have to be sent."""
    everything = np.arange(len(reader.variants))
    counts = count_alleles(reader, everything)
    missing = bool((counts.called < counts.samples).any())
    if missing and imputation == "cohort" and counts.samples < FEWEST_COUNTED:
        raise PolicyError(
            f"calls are missing and the cohort's means are to be imputed, but allele counts of {counts.samples} people "
            f"(fewer than {FEWEST_COUNTED}) are close to their genotypes: take the scoring file's frequencies "
            "(`imputation` file) or nothing (`imputation` none)"
        )
    return ScoreRequest(
        reader.variants, counts.samples, reader.dosage_grid, counts if missing and imputation == "cohort" else None
    )


def write_request(request: ScoreRequest, folder: Path) -> None:
    """Write the request as a folder."""
    make_folder(folder, FOLDER_FOR_OTHERS)
    v, files = request.variants, {}
    arrays = {name: getattr(v, name).astype(str) for name in VARIANT_FIELDS} | {"position": v.position.astype("<i8")}
    if request.counts is not None:
        c = request.counts
        arrays["counts"] = np.stack([c.dosage, c.second, c.called]).astype("<i8")
    for name, array in arrays.items():
        raw = array if array.dtype.kind == "i" else array.astype(f"<U{max(array.dtype.itemsize // 4, 1)}")
        files[name] = {
            **vars(artefact.write_entry(folder, f"{name}.npy", raw)), "shape": list(raw.shape), "dtype": raw.dtype.str,
        }  # fmt: skip
    body = {"samples": request.samples, "dosage_grid": request.dosage_grid, "files": files}
    artefact.write_manifest(folder, "score request", body, None)


def digest_of_message(folder: Path) -> str:
    """What tells one message from others. Raises ArtefactError where there is none."""
    there = folder_of(folder)
    try:
        raw = there.read(artefact.MANIFEST, "a manifest", artefact.MOST_MANIFEST)
        looks.was_read(there.at(artefact.MANIFEST), raw)
        return blake3(raw).hexdigest()
    except OSError as problem:
        raise ArtefactError(f"{folder} is not a message: {problem.strerror}") from None


def read_request(folder: Path) -> ScoreRequest:
    """Raises ArtefactError when the folder is not a whole request, or holds counts that no genotypes have."""
    body = read_message(folder, "score request")
    samples, grid, arrays = body["samples"], body["dosage_grid"], read_arrays(folder, body["files"])
    size = arrays["position"].shape
    shapes = dict.fromkeys((*VARIANT_FIELDS, "position"), size) | {"counts": (3, *size)}
    if len(size) != 1 or not size[0] or any(a.shape != shapes[name] for name, a in arrays.items()):
        raise ArtefactError(f"{folder} is not a score request: its arrays have sizes that do not fit each other")
    if (arrays["position"] >= 1 << 40).any() or (arrays["position"] <= -1 << 40).any():
        raise ArtefactError(f"{folder} is not a score request: it has malformed positions")
    variants = Variants(
        arrays["chromosome"], arrays["position"], arrays["id"], arrays["effect_allele"], arrays["other_allele"]
    )
    counts = None
    if "counts" in arrays:
        dosage, second, called = arrays["counts"]
        counts = AlleleCounts(np.arange(len(variants)), dosage, second, called, samples)
        if not counts.possible(grid):
            raise ArtefactError(f"{folder} is not a score request: no {samples} people have such allele counts")
    return ScoreRequest(variants, samples, grid, counts)


@dataclass(frozen=True)
class Announcement:
    """What a model owner tells of a model.

    variant: (V,) int64, which variants of the cohort it has, second: (T,) int64, which of those count again as second
    copies; names, exponent: of its scores; digits: released; bound: |score| of any genotypes; cap: answers in its life.
    """

    variant: IntArray
    second: IntArray
    names: tuple[str, ...]
    exponent: tuple[int, ...]
    imputation: Imputation
    digits: int
    bound: int
    cap: int

    def sums(self, values: IntArray, missing: IntArray, grid: int) -> ScoreSums:
        """(N, S) integers as sums of a plan without weights; missing: (N,) the owner's own count of missing calls."""
        scores, files = len(self.names), 1
        empty = np.zeros((len(self.variant), scores + 2 + files), np.int64)
        plan = ScorePlan(
            self.names, self.variant, grid, self.imputation, self.exponent, empty, None, empty,
            np.zeros(empty.shape[1], np.int64), (self.bound,) * empty.shape[1], (float("nan"),) * scores, (0,) * scores,
            (len(self.variant),),
        )  # fmt: skip
        unknown = np.zeros_like(missing)
        return ScoreSums(plan, np.concatenate([values, np.stack([unknown, missing, missing], axis=1)], axis=1))

    def about(self, folder: Path) -> dict[str, Any]:
        """Its fields of a message; writes its arrays into the folder."""
        rows = {"variant": self.variant, "second": self.second}
        files = {
            name: {**vars(artefact.write_entry(folder, f"{name}.npy", a.astype("<i8"))), "shape": [len(a)]}
            for name, a in rows.items()
        }
        return {
            "names": list(self.names), "exponent": list(self.exponent), "imputation": self.imputation,
            "digits": self.digits, "bound": str(self.bound), "cap": self.cap, "files": files,
        }  # fmt: skip


@dataclass(frozen=True)
class Invitation(Announcement):
    """An announcement to somebody who encrypts genotypes. nonce: for its encryption key."""

    parameters: Parameters
    blinding: Blinding
    nonce: bytes


def announced(folder: Path, body: dict[str, Any]) -> dict[str, Any]:
    """The fields of an `Announcement` from a checked message. Raises ArtefactError where they do not fit each other."""
    arrays = read_arrays(folder, body["files"])
    names = tuple(body["names"])
    if len(set(names)) < len(names) or len(body["exponent"]) != len(names):
        raise ArtefactError(f"{folder} names a score twice, or not every score's scale")
    if any(a.ndim != 1 for a in arrays.values()) or not len(arrays["variant"]):
        raise ArtefactError(f"{folder} does not list variants")
    return arrays | {
        "names": names, "exponent": tuple(body["exponent"]),
        **{name: body[name] for name in ("imputation", "digits", "bound", "cap")},
    }  # fmt: skip


def write_invitation(invitation: Invitation, folder: Path) -> None:
    """Write the invitation as a folder."""
    make_folder(folder, FOLDER_FOR_OTHERS)
    i = invitation
    body = i.about(folder) | {
        "parameters": i.parameters.to_json(), "nonce": i.nonce.hex(), "blinding": i.blinding.to_json(),
    }  # fmt: skip
    artefact.write_manifest(folder, "score invitation", body, None)


def read_invitation(folder: Path) -> Invitation:
    """Raises ArtefactError when the folder is not a whole invitation."""
    body = read_message(folder, "score invitation")
    secrets = {name: body[name] for name in ("parameters", "blinding", "nonce")}
    if body["blinding"].blur > body["bound"]:
        raise ArtefactError(f"{folder} is not a score invitation: its blur is larger than a score")
    return Invitation(**announced(folder, body), **secrets)


def check_parameters(invitation: Invitation, samples: int, grid: int, rings: Sequence[tuple[int, int]]) -> None:
    """Raise ArtefactError unless the parameters are what this cohort's owner computes from its own counts.

    Its key and genotypes rest on them: only the ring (one of a few), the pack and the scale are the model owner's choice.
    """
    p = invitation.parameters
    if p.samples != samples:
        raise ArtefactError(f"the invitation is for {p.samples} people, not {samples}")
    try:
        own = [
            store_parameters(Ring.standard(n, count), p.pack, p.genotype_scale, dosage_max=2 * grid, samples=samples)
            for n, count in rings
            if n == p.ring.n and count == len(p.ring.primes) and p.pack in PACKS
        ]
    except (PlanError, ArithmeticError) as error:
        raise ArtefactError(f"the invitation has parameters that hold nothing: {error}") from None
    if own != [p]:
        raise ArtefactError(
            f"the invitation has parameters that no plan for {samples} people on a dosage grid of {grid} has: encrypt "
            "nothing with them"
        )


def check_variants(invitation: Announcement, variants: int) -> None:
    """Raise ArtefactError when a model owner names variants that a cohort of so many does not have, or one twice."""
    for name, rows, limit in (
        ("variants", invitation.variant, variants), ("second copies", invitation.second, len(invitation.variant)),
    ):  # fmt: skip
        inside = not len(rows) or (rows.min() >= 0 and rows.max() < limit)
        if not inside or (np.diff(rows) <= 0).any():
            raise ArtefactError(f"the model owner names {name} that this cohort does not have, or one twice")
