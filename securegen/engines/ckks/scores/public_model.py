"""A public model as it travels: the integer plan of the scores, signed by the owner of the cohort it is for.

Who learns what: whoever reads it knows the weights, directions and, for mean imputation with the cohort's frequencies,
rounded cohort means.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from securegen.engines.ckks import artefact
from securegen.engines.ckks.artefact import Signer
from securegen.engines.ckks.keys import PublicKey
from securegen.engines.ckks.scores.schema import PLAN, open_message, read_arrays
from securegen.engines.ckks.scores.weights import StoredWeights, cohort_weights, stored_weights
from securegen.errors import ArtefactError
from securegen.io.folders import Place
from securegen.io.output import FOLDER_FOR_OTHERS, make_folder
from securegen.io.schema import Refused
from securegen.scores.plan import ScorePlan

PLAN_ARRAYS = ("variant", "dosage_weight", "missing_weight", "constant")


def plan_header(plan: ScorePlan) -> dict[str, Any]:
    """The part of a plan that is not an array."""
    return {
        "names": list(plan.names), "dosage_grid": plan.dosage_grid, "imputation": plan.imputation,
        "exponent": list(plan.exponent), "bound": [str(b) for b in plan.bound], "error": list(plan.error),
        "file_of": list(plan.file_of), "variants_of": list(plan.variants_of), "left_out": plan.left_out,
    }  # fmt: skip


def plan_arrays(plan: ScorePlan) -> dict[str, np.ndarray]:
    """The arrays of a plan, int64."""
    out = {name: getattr(plan, name) for name in PLAN_ARRAYS}
    return out if plan.second_weight is None else out | {"second_weight": plan.second_weight}


def restore_plan(header: dict[str, Any], arrays: dict[str, np.ndarray]) -> ScorePlan:
    """The plan from both; the header is checked against its schema. Raises ArtefactError when they are not a plan."""
    try:
        header = PLAN(header, "")
        scores, rows = len(header["names"]), len(arrays["variant"])
        width = arrays["constant"].size
        shapes = {"variant": (rows,), "constant": (width,)}
        fits = all(a.dtype == np.int64 and a.shape == shapes.get(n, (rows, width)) for n, a in arrays.items())
        per_score = {len(header[name]) for name in ("exponent", "error", "file_of")}
        if not (
            fits and per_score == {scores} and len(header["bound"]) == width == scores + 2 + len(header["variants_of"])
        ):
            raise Refused("arrays and names do not fit each other")
        if max(header["file_of"]) >= len(header["variants_of"]) or (np.diff(arrays["variant"]) <= 0).any():
            raise Refused("files or variants that are not there")
        return ScorePlan(
            tuple(header["names"]), arrays["variant"], header["dosage_grid"], header["imputation"],
            tuple(header["exponent"]), arrays["dosage_weight"], arrays.get("second_weight"), arrays["missing_weight"],
            arrays["constant"], tuple(header["bound"]), tuple(header["error"]), tuple(header["file_of"]),
            tuple(header["variants_of"]), header["left_out"],
        )  # fmt: skip
    except (KeyError, Refused) as error:
        raise ArtefactError(f"not a score model: {error}") from None


@dataclass(frozen=True)
class Model:
    """A public model on a store. cohort_variants: how many the store has when it holds the whole cohort, else None.

    digest: of what the server was sent.
    """

    plan: ScorePlan
    cohort_variants: int | None
    digest: str

    def weights(self) -> StoredWeights:
        """Of every stored row."""
        if self.cohort_variants is None:
            return stored_weights(self.plan)
        return cohort_weights(self.plan, self.cohort_variants)


def write_model(plan: ScorePlan, folder: Path, key: Signer, *, cohort_variants: int | None = None) -> Model:
    """Write a public model for the server, signed. cohort_variants: as in `Model`."""
    make_folder(folder, FOLDER_FOR_OTHERS)
    (folder / artefact.MANIFEST).unlink(missing_ok=True)
    entries = {}
    for name, array in plan_arrays(plan).items():
        entries[name] = {
            **vars(artefact.write_entry(folder, f"{name}.npy", array.astype("<i8"))),
            "shape": list(array.shape),
        }
    body = {"key": key.public.fingerprint, "plan": plan_header(plan), "files": entries,
            "cohort_variants": cohort_variants}  # fmt: skip
    return Model(plan, cohort_variants, artefact.write_manifest(folder, "score model", body, key))


def read_model(folder: Place, public: PublicKey) -> Model:
    """A public model. Raises ArtefactError unless it is whole and signed by the owner."""
    body, digest = open_message(folder, "score model", public)
    plan = restore_plan(body["plan"], read_arrays(folder, body["files"]))
    if body["cohort_variants"] is not None and int(plan.variant.max(initial=0)) >= body["cohort_variants"]:
        raise ArtefactError(f"{folder} is not a score model: it names variants beyond the cohort's")
    return Model(plan, body["cohort_variants"], digest)
