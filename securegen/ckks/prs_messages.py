"""What a genotype owner and a model owner tell each other before anything is encrypted: request and invitation.

The request holds the variants of the cohort, the number of people and, where calls are missing and the mean over the
cohort is imputed, allele counts of at least 50 people. The invitation holds the variants to encrypt, the parameters, a
fresh nonce for the encryption key, scales and bounds: never a weight or a direction. docs/prs-protocols.md lists both.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from securegen.ckks import artefact
from securegen.ckks.cohort import _make_folder
from securegen.ckks.parameters import Parameters
from securegen.ckks.prs_blinding import Blinding
from securegen.errors import ArtefactError, PolicyError
from securegen.model import IntArray, Samples, SelectableReader, Variants
from securegen.score_plan import AlleleCounts, Imputation, ScorePlan
from securegen.scores import ScoreSums, count_alleles

FEWEST_COUNTED = 50  # allele counts of fewer people come too close to their genotypes
VARIANT_FIELDS = ("chromosome", "id", "effect_allele", "other_allele")


@dataclass(frozen=True)
class Request:
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


def make_request(reader: SelectableReader, imputation: str) -> Request:
    """Raises PolicyError where allele counts of too few people would have to be sent."""
    everything = np.arange(len(reader.variants))
    counts = count_alleles(reader, everything)
    missing = bool((counts.called < counts.samples).any())
    if missing and imputation == "cohort" and counts.samples < FEWEST_COUNTED:
        raise PolicyError(
            f"calls are missing and the cohort's means are to be imputed, but allele counts of {counts.samples} people "
            f"(fewer than {FEWEST_COUNTED}) are close to their genotypes: take the scoring file's frequencies "
            "(--imputation file) or nothing (--imputation none)"
        )
    return Request(
        reader.variants, counts.samples, reader.dosage_grid, counts if missing and imputation == "cohort" else None
    )


def write_request(request: Request, folder: Path) -> None:
    """Write the request as a folder."""
    _make_folder(folder, 0o755)
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


def _arrays(folder: Path, body: dict[str, Any]) -> dict[str, np.ndarray]:
    out = {}
    for name, entry in body["files"].items():
        dtype = str(entry["dtype"])
        if not (dtype.startswith("<U") or dtype == "<i8"):
            raise ArtefactError(f"{folder}: {name} has dtype {dtype}")
        shape, path = tuple(int(n) for n in entry["shape"]), folder / os.path.basename(str(entry["name"]))
        there = path.stat().st_size if path.is_file() else 0  # before memory is taken for what the message claims
        if min(shape, default=1) < 0 or math.prod(shape) * np.dtype(dtype).itemsize > there:
            raise ArtefactError(f"{path} is not a {np.dtype(dtype)} array of shape {shape}")
        out[name] = artefact.load_array(folder, entry, shape, dtype)
    return out


def read_request(folder: Path) -> Request:
    """Raises ArtefactError when the folder is not a whole request."""
    body = artefact.read_manifest(folder, "score request", None)
    try:
        arrays, samples = _arrays(folder, body), int(body["samples"])
        text = {name: arrays[name].astype(object) for name in VARIANT_FIELDS}
        variants = Variants(
            text["chromosome"], arrays["position"], text["id"], text["effect_allele"], text["other_allele"]
        )
        counts = None
        if "counts" in arrays:
            dosage, second, called = arrays["counts"]
            counts = AlleleCounts(np.arange(len(variants)), dosage, second, called, samples)
        fields = [*text.values(), arrays["position"], *([] if counts is None else arrays["counts"])]
        if samples < 1 or any(a.shape != (len(variants),) for a in fields):
            raise ValueError("sizes that do not fit")
        return Request(variants, samples, int(body["dosage_grid"]), counts)
    except (KeyError, TypeError, ValueError) as error:
        raise ArtefactError(f"{folder} is not a score request: {error}") from None


@dataclass(frozen=True)
class Invitation:
    """What the genotype owner may know of a model.

    variant: (V,) int64, which of its variants are encrypted, second: (T,) int64, which of those again as second copies;
    nonce: for its encryption key; bound: |score| of any genotypes; cap: replies in the model's life.
    """

    parameters: Parameters
    blinding: Blinding
    nonce: bytes
    variant: IntArray
    second: IntArray
    names: tuple[str, ...]
    exponent: tuple[int, ...]
    imputation: Imputation
    digits: int
    bound: int
    cap: int

    def sums(self, values: IntArray, missing: IntArray) -> ScoreSums:
        """(N, S) integers as sums of a plan without weights; missing: (N,) the owner's own count of missing calls."""
        scores, files = len(self.names), 1
        empty = np.zeros((len(self.variant), scores + 2 + files), np.int64)
        plan = ScorePlan(
            self.names, self.variant, self.parameters.dosage_max // 2, self.imputation, self.exponent, empty, None,
            empty, empty[0], (self.bound,) * empty.shape[1], (float("nan"),) * scores, (0,) * scores,
            (len(self.variant),),
        )  # fmt: skip
        unknown = np.zeros_like(missing)
        return ScoreSums(plan, np.concatenate([values, np.stack([unknown, missing, missing], axis=1)], axis=1))


def write_invitation(invitation: Invitation, folder: Path) -> None:
    """Write the invitation as a folder."""
    _make_folder(folder, 0o755)
    files = {
        name: {
            **vars(artefact.write_entry(folder, f"{name}.npy", a.astype("<i8"))), "shape": [len(a)], "dtype": "<i8",
        }
        for name, a in (("variant", invitation.variant), ("second", invitation.second))
    }  # fmt: skip
    i = invitation
    body = {
        "parameters": i.parameters.to_json(), "nonce": i.nonce.hex(), "files": files, "names": list(i.names),
        "blinding": i.blinding.to_json(), "exponent": list(i.exponent),
        "imputation": i.imputation, "digits": i.digits, "bound": str(i.bound), "cap": i.cap,
    }  # fmt: skip
    artefact.write_manifest(folder, "score invitation", body, None)


def read_invitation(folder: Path) -> Invitation:
    """Raises ArtefactError when the folder is not a whole invitation."""
    body = artefact.read_manifest(folder, "score invitation", None)
    try:
        arrays = _arrays(folder, body)
        return Invitation(
            Parameters.from_json(body["parameters"]), Blinding.from_json(body["blinding"]),
            bytes.fromhex(body["nonce"]), arrays["variant"], arrays["second"], tuple(body["names"]),
            tuple(int(e) for e in body["exponent"]), body["imputation"], int(body["digits"]), int(body["bound"]),
            int(body["cap"]),
        )  # fmt: skip
    except (KeyError, TypeError, ValueError) as error:
        raise ArtefactError(f"{folder} is not a score invitation: {error}") from None


def check_people(samples: Samples, invitation: Invitation) -> None:
    """Raise ArtefactError when the invitation is for another number of people."""
    if invitation.parameters.samples != len(samples):
        raise ArtefactError(f"the invitation is for {invitation.parameters.samples} people, not {len(samples)}")


def check_variants(invitation: Invitation, variants: int) -> None:
    """Raise ArtefactError when the invitation names variants that a cohort of so many does not have, or one twice."""
    for name, rows, limit in (
        ("variants", invitation.variant, variants), ("second copies", invitation.second, len(invitation.variant)),
    ):  # fmt: skip
        inside = not len(rows) or (rows.min() >= 0 and rows.max() < limit)
        if not inside or (np.diff(rows) <= 0).any():
            raise ArtefactError(f"the invitation names {name} that this cohort does not have, or one twice")
