"""One site's whole part in a federated study: run it again and again, it goes as far as the other sites allow.

The site sums its own people in the clear, encrypts the sums under the joint key, adds what all sites encrypted and helps
to open that sum. It ends with the result tables of the pooled cohort, the same at every site. What it learns: the opened
sums (`SiteResult.opened` lists the rounds). What it gives away: that it takes part, and the opened sums.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from securegen.design import Analysis, Design
from securegen.errors import ArtefactError, PeerError, ProtocolError, SecuregenError, UsageError
from securegen.federated.association import federated_sums
from securegen.federated.board import Board, sign_message
from securegen.federated.cohort import federated_design, plan_analyses, read_traits
from securegen.federated.hub import ACCEPT, FINISHED, open_folder
from securegen.federated.identity import Identity, canonical
from securegen.federated.projection import project, read_loadings
from securegen.federated.rounds import SecureSum, Session, agree_on_key
from securegen.federated.state import SiteState, open_state
from securegen.federated.studyfile import LOADINGS, Study, opened_by
from securegen.federated.variants import AlignedReader, align_reader, describe
from securegen.governance.receipt import FULL_TABLE, Party, Receipt
from securegen.model import Columns
from securegen.stats.qc import Filters
from securegen.stats.tables import Summary, write_qc, write_tables
from securegen.study import Inputs, Log, open_genotypes, silent


@dataclass(frozen=True)
class SiteResult:
    """tables, quality: of the pooled cohort; opened: every round and its numbers; design: of this site's rows; bytes:
    posted by this site."""

    study: Study
    site: str
    design: Design
    tables: list[Summary]
    quality: list[str]
    receipt: Receipt
    opened: dict[str, Any]
    bytes: int


def run_site(
    folder: Path,
    state: Path,
    identity: Identity,
    inputs: Inputs,
    out: str,
    *,
    study_file: Path | None = None,
    wait: float = 0.0,
    digits: int = 17,
    filters: Filters | None = None,
    log: Log = silent,
) -> SiteResult:
    """Take part as the site that `identity` signs for; write OUT.<PHENO>.<TEST> when all is opened.

    Of `inputs`, the files and the filters of samples count; phenotypes, covariates and the model are the study's.
    Raises PeerError when another site is not there yet (run again: nothing is lost) or has stopped, ProtocolError naming
    a site whose messages are not what the protocol allows, PolicyError, InputError and DesignError for this site's own.
    """
    study, variants = open_folder(folder, study_file)
    site = study.site_of(identity.verify_key).name
    board = Board(folder, study, wait)
    with open_state(state, study) as memory:
        board.withdraw_stop(site)
        try:
            return _take_part(board, site, identity, memory, inputs, variants, out, digits, filters, log)
        except PeerError:
            raise
        except SecuregenError as error:
            board.announce_stop(site, type(error).__name__, identity)
            raise


def _take_part(board, site, identity, memory: SiteState, inputs, variants, out, digits, filters, log) -> SiteResult:
    study = board.study
    _same_inputs(memory, inputs)
    reader = open_genotypes(replace(inputs, dosage_grid=study.dosage_grid), log)
    aligned, alignment = align_reader(reader, variants, site)
    for line in describe(alignment):
        log(line)
    traits = read_traits(study, site, inputs, reader.samples, _components(board.folder, study, reader, site))
    planned = plan_analyses(study, site, traits, reader.samples, log)
    for name, message in board.collect(ACCEPT).items():
        if message.body.get("accepts") != study.digest:
            raise ProtocolError(f"site {name} has accepted another study")
    session = Session(board, site, identity, memory)
    secure = SecureSum(session, agree_on_key(session))
    log("the joint key is made")
    design = federated_design(study, planned, traits, reader.samples, secure.total)
    tables, quality = _tables(study, design, secure, aligned, out, digits, filters)
    opened = {
        "rounds": [{"name": n, "rows": rows, "numbers": rows * fields} for n, (rows, fields) in secure.opened.items()],
        "ciphertexts": memory.opened(), "most_ciphertexts": study.ciphertexts,
    }  # fmt: skip
    text = memory.remember_text("sent.finished.json", lambda: sign_message(study, site, FINISHED, {}, identity))
    board.post(site, FINISHED, text)
    posted = sum(p.stat().st_size for p in (board.folder / site).iterdir() if p.is_file())
    receipt = _receipt(study, [t.path for t in tables])
    return SiteResult(study, site, design, tables, quality, receipt, opened, posted)


def _same_inputs(memory: SiteState, inputs: Inputs) -> None:
    """Raise ArtefactError when files changed since this site began: half the sums would be of other data."""
    digests = canonical(inputs.digests())
    mark = memory.mac("inputs", digests).hex()
    if memory.remember("inputs", lambda: mark) != mark:
        raise ArtefactError(
            "genotypes, phenotypes, covariates or filters changed since this site began the study: bring the files back, "
            "or start another study"
        )


def _components(folder: Path, study: Study, reader, site: str) -> np.ndarray:
    if not study.components:
        return np.empty((len(reader.samples), 0))
    path = folder / LOADINGS
    if hashlib.sha256(path.read_bytes()).hexdigest() != study.loadings_digest:
        raise ProtocolError(f"{path} is not the file of loadings that the study names: it was altered")
    return project(reader, read_loadings(path), site)[:, : study.components]


def _tables(
    study: Study,
    design: Design,
    secure: SecureSum,
    reader: AlignedReader,
    out: str,
    digits: int,
    filters: Filters | None,
) -> tuple[list[Summary], list[str]]:
    grid, variants = reader.dosage_grid, reader.variants
    if study.missing == "complete" and any(a.test == "linear" for a in design.analyses):
        if filters and filters.active:
            raise UsageError("the filters of quality control need missing = mean; filter the variants first")
        tables = []
        for number, a in enumerate(a for a in design.analyses if a.test != "qc"):
            alone, columns = _alone(a, design.columns)
            sums = federated_sums(secure, reader, columns, name=f"variants-{number}", pairs=a.test == "linear")
            tables += write_tables(out, variants, sums, [alone], grid=grid, digits=digits)
        return tables, []
    blocks = federated_sums(secure, reader, design.columns, name="variants")
    tables = write_tables(out, variants, blocks, design.analyses, grid=grid, digits=digits, filters=filters)
    quality: list[str] = []
    if study.qc:
        qc = next(a for a in design.analyses if a.test == "qc")
        again = federated_sums(secure, reader, design.columns, name="variants")
        quality = write_qc(out, variants, again, qc, grid=grid, digits=digits)
    return tables, quality


def _alone(analysis: Analysis, columns: Columns) -> tuple[Analysis, Columns]:
    """One analysis with its own columns, for sums of pairs."""
    index = list(analysis.columns)
    part = Columns(
        tuple(columns.names[j] for j in index), np.ascontiguousarray(columns.values[:, index]),
        tuple(columns.squared[j] for j in index),
    )  # fmt: skip
    squares = analysis.squares and (0,)
    return Analysis(analysis.test, analysis.phenotype, tuple(range(len(index))), squares, analysis.model), part


def _receipt(study: Study, tables: list[str]) -> Receipt:
    """Who learned what."""
    parties = [
        Party(f"site {s.name}", "its own data in the clear, a share of the key", "the pooled sums") for s in study.sites
    ]
    parties.append(Party("hub", "the shared folder, no key", "the pooled sums; who takes part, sizes and times"))
    warnings = [FULL_TABLE]
    if len(study.sites) == 2:
        warnings.append("two sites: each subtracts its own sums from the totals and has the other's exactly")
    return Receipt(
        "federated, threshold CKKS",
        tuple(parties),
        (
            "the sites follow the protocol and one of them does not collude: all but one together see its sums",
            "ring learning with errors at 128 bits; smudging within 2^-40 for the whole study",
        ),
        (*(f"pooled, to every site and the hub: {what}" for what in opened_by(study)), *tables),
        tuple(warnings),
    )
