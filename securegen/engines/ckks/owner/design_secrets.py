"""The owner's record of an encrypted design: what the sums mean (scales, Gram matrix, expected checks), kept with the key.

Results are read with the design that the owner names: by its folder or the digest that `encrypt` printed. What a server
returns never chooses it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from securegen.catalogue import named
from securegen.design.columns import Analysis, AppliedNoise, Design
from securegen.design.strata import Stratum, Unanalysed, analyses_of
from securegen.engines.ckks import artefact, bodies
from securegen.engines.ckks.column_sets import ColumnSets
from securegen.engines.ckks.keys import PublicKey
from securegen.engines.ckks.owner.asked import is_kept
from securegen.engines.ckks.owner.state import OwnerState, Version
from securegen.errors import ArtefactError, UsageError
from securegen.io.folder import Folder
from securegen.io.folders import Place, folder_of, is_stored
from securegen.io.store_urls import local_path
from securegen.model import Columns
from securegen.results.summary import coding_facts
from securegen.vocabulary import ADDITIVE

AGAIN = "Encrypt the design again (securegen encrypt --owner), and let the server compute it anew"


@dataclass(frozen=True)
class DesignSecrets:
    """What the owner needs to read results: strata with their analyses, bounds of the sums, and the checks of every block.

    strata: their columns without values; sets: of columns, one per stratum; places: of each stratum, where its columns are
    among all; digits: how many of them each is encrypted as; sum_abs: (J,) int64, Σ_i |c_ik|; checks: for every block,
    (outputs,) uint64 in the order of `outputs`; folder: where it was written; encrypted: when, local time; values: (N, J) int64
    of each stratum where a policy governs the cohort; columns: (J, N) integers, what is summed with missing calls that the owner
    keeps, where it does.
    """

    digest: str
    cohort_digest: str
    nonce: str
    strata: tuple[Stratum, ...]
    sets: ColumnSets
    places: tuple[tuple[int, ...], ...]
    digits: tuple[tuple[int, ...], ...]
    sum_abs: np.ndarray
    checks: list[np.ndarray]
    encryptor: str
    folder: str
    encrypted: str
    values: tuple[np.ndarray, ...] | None = None
    columns: np.ndarray | None = None

    @property
    def analyses(self) -> tuple[Analysis, ...]:
        """One analysis a table, quality control last."""
        return analyses_of(self.strata)

    @property
    def coding(self) -> str:
        """The genetic model of the cohort's dosages."""
        return next((a.coding for a in self.analyses), ADDITIVE)

    def record(self) -> dict[str, Any]:
        """What log, run.json and receipt say of the design."""
        tests = [a for a in self.analyses if a.association]
        covariates = dict.fromkeys(name for a in tests for name in a.model.covariates)
        return {
            "digest": self.digest, "phenotypes": [a.phenotype for a in tests], "samples": [a.model.samples for a in tests],
            "covariates": list(covariates), "encrypted": self.encrypted,
        } | coding_facts(self.coding)  # fmt: skip

    def line(self) -> str:
        """The same in one line."""
        r = self.record()
        counts = zip(r["phenotypes"], r["samples"], strict=True)
        traits = ", ".join(f"{name} ({n} samples)" for name, n in counts) or "quality control"
        covariates = ", ".join(r["covariates"]) or "none"
        model = "" if self.coding == ADDITIVE else f"genetic model {self.coding}, "
        return f"design {self.digest[:16]}, {traits}, covariates {covariates}, {model}encrypted {self.encrypted}"


def state_name(digest: str) -> str:
    """The name, in the owner's folder, of what is kept of the design with this digest."""
    return f"design-{digest[:32]}"


def forget(state: OwnerState, folder: str) -> None:
    """Forget the design that was in the same folder before, and so its results."""
    for name in state.designs():
        with contextlib.suppress(ArtefactError):  # of an earlier key
            if state.read(name)[0]["folder"] == folder:
                (state.folder / f"{name}.box").unlink()


def save(state: OwnerState, s: DesignSecrets) -> None:
    """Keep the record of a design."""
    header = {
        "digest": s.digest, "cohort": s.cohort_digest, "nonce": s.nonce, **s.sets.to_body(),
        "strata": [_stratum_to_json(*each) for each in zip(s.strata, s.places, s.digits, strict=True)],
        "blocks": [len(c) for c in s.checks], "folder": s.folder, "encryptor": s.encryptor, "encrypted": s.encrypted,
    }  # fmt: skip
    arrays = {"sum_abs": s.sum_abs, "checks": np.concatenate(s.checks).astype(np.uint64)}
    arrays |= {f"values-{i}": np.ascontiguousarray(values, np.int64) for i, values in enumerate(s.values or ())}
    arrays |= {} if s.columns is None else {"columns": s.columns}
    state.write(state_name(s.digest), header, arrays)


def without_values(stratum: Stratum) -> Stratum:
    """The same stratum, its columns of nobody: what remains once they are encrypted."""
    return replace(stratum, design=Design(_nobodys(stratum.design.columns.squared), stratum.design.analyses))


def with_values(s: DesignSecrets) -> tuple[Stratum, ...] | None:
    """The strata with their columns, None where they were not kept."""
    if s.values is None:
        return None
    return tuple(
        replace(own, design=Design(replace(_nobodys(own.design.columns.squared), values=values), own.design.analyses))
        for own, values in zip(s.strata, s.values, strict=True)
    )


def _nobodys(squared: Sequence[bool]) -> Columns:
    return Columns(("",) * len(squared), np.zeros((0, len(squared)), np.int64), tuple(squared))


def _stratum_to_json(s: Stratum, places: Sequence[int], digits: Sequence[int]) -> dict[str, Any]:
    return {
        "name": s.name, "runs": [list(run) for run in s.runs], "unit": s.unit, "copies": s.copies,
        "refused": [asdict(r) for r in s.refused], "columns": list(places), "digits": list(digits),
        "squared": list(s.design.columns.squared),
        "analyses": [{**asdict(replace(a, null=None)), "kind": type(a.model).__name__} for a in s.design.analyses],
    }  # fmt: skip


def _stratum_from_json(x: dict[str, Any]) -> Stratum:
    analyses = tuple(
        Analysis(
            a["test"], a["phenotype"], tuple(a["columns"]), tuple(a["squares"]),
            named(a["test"]).read_model(a["kind"], a["model"]), tuple((j, people) for j, people in a["single"]),
            noise=None if a.get("noise") is None else AppliedNoise(**a["noise"]),
        )
        for a in x["analyses"]
    )  # fmt: skip
    return Stratum(
        x["name"], tuple((start, stop) for start, stop in x["runs"]), Design(_nobodys(x["squared"]), analyses), x["unit"],
        x["copies"], tuple(Unanalysed(**r) for r in x["refused"]),
    )  # fmt: skip


def all_designs(state: OwnerState) -> list[DesignSecrets]:
    """Every design of the owner's folder that this key can read."""
    found = []
    for name in state.designs():
        with contextlib.suppress(ArtefactError):
            found.append(read_one(state, name))
    return found


def is_known(state: OwnerState, folder: Folder) -> bool:
    """Whether a design was encrypted into this folder, or one lies there, that is not of the cohort before an append."""
    ended, here = state.earlier(), folder.place
    if any(s.folder == here and s.cohort_digest not in ended for s in all_designs(state)):
        return True  # whatever lies there now: whoever keeps a store may put another one there
    if folder.size(artefact.MANIFEST) is None:
        return False
    there = artefact.open_manifest(folder)
    if is_kept(state, there.digest) and state_name(there.digest) not in state.designs():
        return False  # of a run that was killed before its last record
    return there.body.get("cohort") not in ended


def read_secrets(state: OwnerState, design: str | os.PathLike[str] | None = None) -> DesignSecrets:
    """The owner's record of a design. design: its folder, or its digest or the start of it; None where there is one only.

    Raises UsageError when there are several and none is named, ArtefactError when the owner's folder does not know it.
    """
    every, ended = all_designs(state), state.earlier()
    past = [s for s in every if s.cohort_digest in ended]
    known = [s for s in every if s.cohort_digest not in ended]
    names = [name for name in state.designs() if name not in {state_name(s.digest) for s in past}]
    listed = "; ".join(f"`design` {s.folder} is {s.line()}" for s in known)
    if design is None:
        if len(names) > 1:
            raise UsageError(
                f"{state.folder} knows {len(names)} designs: say with `design` which one to open: {listed}"
            )
        if names and not known:
            read_one(state, names[0])  # says what is wrong with it
        if not known and past:
            refuse_ended(max(past, key=lambda s: s.encrypted), ended)
        if not known:
            raise ArtefactError(f"{state.folder} knows no design: encrypt one first{_taken_out(state)}")
        return known[0]
    there, written = _lies_there(design, state.key.public), _written(every, design)
    found = [s for s in every if (s.digest == there if there else _is_named(s, design))]
    if len(found) != 1:
        which = "several designs" if found else "no such design; it knows " + (listed or "none")
        raise ArtefactError(f"`design` {os.fspath(design)}: {state.folder} has {which}{_taken_out(state)}")
    if written is None and is_stored(design):
        raise ArtefactError(
            f"`design` {os.fspath(design)}: it was not encrypted into this place, and whoever keeps the store must not choose: "
            f"name the one you want by its digest; {state.folder} knows {listed}"
        )
    if written is not None and written.digest != found[0].digest:
        raise ArtefactError(
            f"`design` {os.fspath(design)}: there lies {found[0].line()}; what was encrypted into this folder is "
            f"{written.line()}. Whoever can write there must not choose: name the one you want by its digest"
        )
    refuse_ended(found[0], ended)
    return found[0]


def _taken_out(state: OwnerState) -> str:
    """What to add to a refusal of a design: that designs ended because people withdrew, where they did."""
    try:
        times = state.read("cohort")[0].get("without", ())
    except ArtefactError:
        return ""
    return (
        f"; people who withdrew were taken out of the cohort on {times[-1]}, and the designs made before that ended"
        if times
        else ""
    )


def refuse_ended(s: DesignSecrets, ended: Mapping[str, Version]) -> None:
    """Raise ArtefactError for a design that was made before variants were appended to its cohort."""
    if (version := ended.get(s.cohort_digest)) is not None:
        raise ArtefactError(f"{s.line()}, was made for {version.line()}. {AGAIN}")


def _written(known: Sequence[DesignSecrets], design: Place) -> DesignSecrets | None:
    """The design that was encrypted into a folder of this name, whatever lies or is linked there now."""
    path = local_path(design)
    here = folder_of(design).place if path is None else str(path.parent.resolve() / path.name)
    return next((s for s in known if s.folder == here), None)


def _lies_there(design: str | os.PathLike[str], public: PublicKey) -> str | None:
    """The digest of the design in a folder, which may have been moved there; read once, so that it is the one that was signed."""
    folder = folder_of(design)
    if folder.size(artefact.MANIFEST) is None:
        return None
    opened = artefact.open_manifest(folder, "design")
    opened.checked(bodies.DESIGN)
    opened.require_signature(public)
    return opened.digest


def _is_named(s: DesignSecrets, design: str | os.PathLike[str]) -> bool:
    """Whether this is the design of a folder that is no longer here, by the folder's name; or by its digest."""
    named = os.fspath(design)
    return s.folder == folder_of(design).place or (len(named) >= 16 and s.digest.startswith(named))


def read_one(state: OwnerState, name: str) -> DesignSecrets:
    """Raises ArtefactError when the record is absent, altered, under another key or of an earlier version."""
    header, a = state.read(name)
    if "strata" not in header or any("digits" not in x for x in header["strata"]):
        raise ArtefactError(f"{state.folder}: an earlier version wrote {name}: encrypt the design again")
    ends = np.cumsum(header["blocks"])[:-1]
    places, digits = (tuple(tuple(x[name]) for x in header["strata"]) for name in ("columns", "digits"))
    return DesignSecrets(
        header["digest"], header["cohort"], header["nonce"], tuple(map(_stratum_from_json, header["strata"])),
        ColumnSets.from_body(header), places, digits, a["sum_abs"], np.split(a["checks"], ends), header["encryptor"],
        header["folder"], header.get("encrypted", "at a time that was not recorded"),
        tuple(a[f"values-{i}"] for i in range(len(header["strata"]))) if "values-0" in a else None,
        a.get("columns"),
    )  # fmt: skip
