"""One site's inputs as its study reads them, the same at every start.

Who learns what: nobody; the others see a commitment to them.
"""

from __future__ import annotations

import hashlib
import platform
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from securegen.design.strata import Stratum
from securegen.engines.federated.cohort import places_at, plan_analyses, read_traits
from securegen.engines.federated.pair_keys import commitment_to_inputs
from securegen.engines.federated.projection import parse_loadings, project
from securegen.engines.federated.state import SiteState
from securegen.engines.federated.studyfile import LOADINGS, StudyFile
from securegen.engines.federated.variants import AlignedReader, align_reader, describe
from securegen.errors import ArtefactError, InputError, PolicyError, ProtocolError, UsageError
from securegen.governance.signing import sha256
from securegen.io.loco import Offsets
from securegen.io.strict_json import read_regular
from securegen.io.text import text_of
from securegen.model import GenotypeReader, Samples, SelectableReader, Variants
from securegen.study.build import Planned
from securegen.study.coding import Coded
from securegen.study.genotypes import open_genotypes
from securegen.study.inputs import Inputs, Log
from securegen.study.noised import enter_made
from securegen.study.ploidy import PloidyReader, kinds_of
from securegen.study.predictions import read_predictions
from securegen.study.sexes import with_sexes
from securegen.study.stratum import Place
from securegen.study.traits import Traits
from securegen.version import VERSION
from securegen.vocabulary import ADDITIVE

CHANGED = (
    "genotypes, phenotypes, covariates or filters changed since this site began the study: bring the files back, or start "
    "another study"
)
WITHDRAWN = (
    "consent.withdrawn: who allows the purpose of this study is not whom this site began it with, and half its sums would be of "
    "others: leave it (securegen study leave), and start another study"
)
MOST_LOADINGS = 1 << 30  # bytes of loadings.tsv, or of a list of variants


@dataclass(frozen=True)
class OwnInputs:
    """This site's people as the study reads them: genotypes (aligned: as the file counts X, Y and MT), traits, who is analysed
    in which test, and what shares a design; enter_made: of `noised`, for this site's inputs; offsets: of phenotypes with
    predictions."""

    reader: GenotypeReader
    aligned: AlignedReader
    traits: Traits
    planned: list[Planned]
    places: list[Place]
    enter_made: Callable[[Sequence[Stratum]], None]
    offsets: Mapping[str, Offsets] | None = None


def open_inputs(
    folder: Path, study: StudyFile, variants: Variants, site: str, memory: SiteState, inputs: Inputs, log: Log
) -> OwnInputs:
    """A site's genotypes and tables on the variants of the study. Raises as `open_genotypes`, `with_sexes` and `align_reader`."""
    # recoded once they are aligned: a swapped variant counts the other allele
    asked = replace(
        inputs, dosage_grid=study.dosage_grid, split_par=study.split_par, dominant=False, recessive=False, hetonly=False
    )
    found = open_genotypes(asked, log, haploid=True)
    reader: SelectableReader = with_sexes(asked, found, log)  # type: ignore[assignment]
    aligned, alignment = align_reader(reader, variants, site)
    for line in describe(alignment):
        log(line)
    if ("Y" in study.strata or study.by_sex) and not reader.samples.sex.any():
        raise InputError(
            "the study has variants on X or Y, and nobody's sex is known here: --sex-name COLUMN takes it from a table"
        )
    for name, digest in study.sets.files if study.sets else ():
        named_file(folder / name, digest, "sets of variants")
    coordinates = _components(folder, study, reader, site, memory)
    traits = read_traits(study, site, inputs, reader.samples, coordinates, log)
    offsets = None
    if bool(inputs.pred) != (study.predictions and not study.step1):
        raise UsageError(
            "`pred`: the sites of this study make the whole-genome model together" if study.step1
            else "the study has predictions of a whole-genome model: `pred` names this site's" if study.predictions
            else "`pred`: the study has no predictions of a whole-genome model"
        )  # fmt: skip
    if inputs.pred:
        traits, offsets = read_predictions(inputs.pred, reader.samples, traits, log)
    planned = plan_analyses(study, site, traits, reader.samples, log)
    places = places_at(study, traits, offsets, variants)
    kinds = kinds_of(variants)
    coded = aligned if study.genetic_model == ADDITIVE else Coded(aligned, study.genetic_model)
    counted = PloidyReader(coded, kinds, study.xchr_model or 2) if kinds.any() else coded
    return OwnInputs(counted, aligned, traits, planned, places, partial(enter_made, inputs), offsets)


def salt_of(memory: SiteState) -> bytes:
    """32 secret bytes of this site for this study."""
    return memory.once("salt", lambda: secrets.token_bytes(32))


def same_inputs(memory: SiteState, inputs: Inputs, samples: Samples) -> str:
    """This site's commitment to what it sums, the same at every start.

    Raises ArtefactError when files, people or software changed since it began: half the sums would be of other data; PolicyError
    where the people are others by a register of consent.
    """
    salt = salt_of(memory)
    software = f"securegen {VERSION}, NumPy {np.__version__}, {platform.machine()}, {' '.join(platform.libc_ver())}"
    begun = memory.once("software", software.encode).decode()
    if begun != software:
        raise ArtefactError(
            f"this site began the study with {begun}; this is {software}: go on with the former, or start another study"
        )
    people = sha256(
        *(f"{f}\t{i}".encode(errors="surrogateescape") for f, i in zip(samples.fid, samples.iid, strict=True))
    )
    mark = sha256(salt, people.encode()).encode()
    if memory.once("people", lambda: mark) != mark and inputs.consent is not None:
        raise PolicyError(WITHDRAWN)
    files = inputs.digests()
    if files.pop("consent", None) is not None:  # what it says are the people; where it is, and for what, stays
        files["asked"] = sha256(*(str(said).encode() for said in (inputs.purpose, inputs.consent, inputs.mondo)))
    now = commitment_to_inputs(salt, {**files, "samples": people, "software": software})
    if memory.once("inputs", now.encode).decode() != now:
        raise ArtefactError(CHANGED)
    return now


def _components(folder: Path, study: StudyFile, reader: SelectableReader, site: str, memory: SiteState) -> np.ndarray:
    """(N, C) coordinates, the same at every start: kept, for in another order of additions their last bits differ. Those that
    the sites compute together are zeros until then."""
    if not study.loadings_pcs:
        return np.zeros((len(reader.samples), study.pcs))
    raw, path = named_file(folder / LOADINGS, study.loadings_digest, "loadings"), folder / LOADINGS
    loadings = parse_loadings(text_of(raw, path), path)
    made = memory.once("components", lambda: project(reader, loadings, site)[:, : study.loadings_pcs].tobytes())
    found = np.frombuffer(made, np.float64)
    if found.size != len(reader.samples) * study.loadings_pcs:
        raise ArtefactError(CHANGED)
    return found.reshape(len(reader.samples), study.loadings_pcs)


def named_file(path: Path, digest: str, what: str) -> bytes:
    """A file of the shared folder that the study names by its digest. Raises ProtocolError for another one."""
    try:  # read once: whoever keeps the folder may change it between two looks
        raw = read_regular(path, f"a file of {what}", most=MOST_LOADINGS, error=ProtocolError)
    except FileNotFoundError:
        raw = b""
    if hashlib.sha256(raw).hexdigest() != digest:
        raise ProtocolError(f"{path} is not the file of {what} that the study names: it was altered")
    return raw
