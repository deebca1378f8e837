"""The owner's last steps: encrypted results -> verified tables, of which none appears before every block is verified."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from securegen.catalogue import NONE
from securegen.engines.governed import people_of
from securegen.errors import UsageError
from securegen.governance.gate import Asking, Gate, gate_of
from securegen.governance.history import PeopleFacts
from securegen.io.output import PRIVATE
from securegen.model import GenotypeReader, Progress, Sums, counted
from securegen.results.corrections import Corrector
from securegen.results.forms import PLINK2, TableForm, convert
from securegen.results.outputs import associations
from securegen.results.rows import FULL_DIGITS
from securegen.results.write import Summary, qc_analysis, write_qc, write_tables
from securegen.stats.qc import Filters
from securegen.study.inputs import Log, silent

if TYPE_CHECKING:
    import pandas as pd

    from securegen.engines.ckks.owner.design_secrets import DesignSecrets
    from securegen.engines.ckks.owner.secret_key import SecretKey
    from securegen.engines.ckks.owner.state import CohortInfo

PathLike = str | os.PathLike[str]


def read_design(key: SecretKey, owner: PathLike, design: PathLike | None = None) -> DesignSecrets:
    """The owner's record of the design to open. design: its folder or digest; None where the owner has one design only."""
    from securegen.engines.ckks.owner.design_secrets import read_secrets
    from securegen.engines.ckks.owner.state import OwnerState

    return read_secrets(OwnerState(Path(owner), key), design)


def _opened(
    results: PathLike, key: SecretKey, owner: PathLike, design: PathLike | None, key_still_trusted: bool, gate: Gate
) -> tuple[CohortInfo, DesignSecrets, Iterator[Sums]]:
    """The owner's records of cohort and design, and the sums of every block, each verified before it is yielded.

    gate: the door; whoever takes a block of them has passed it. What was encrypted without a purpose and is opened for one is
    entered in that one's register. Raises as `asked.refuse_withdrawn` and `Gate.claim`.
    """
    from securegen.engines.ckks.owner import decrypt
    from securegen.engines.ckks.owner.asked import pass_asked, refuse_withdrawn
    from securegen.engines.ckks.owner.design_secrets import read_secrets
    from securegen.engines.ckks.owner.state import OwnerState, read_info

    state = OwnerState(Path(owner), key)
    info, secrets = read_info(state), read_secrets(state, design)
    pass_asked(state, secrets.digest, info.samples, gate)

    def blocks() -> Iterator[Sums]:
        yield from decrypt.decrypt(results, state, info, secrets, key_still_trusted=key_still_trusted)
        refuse_withdrawn(
            state, secrets.digest, info.samples, gate.asking
        )  # who left meanwhile; no table has its name yet

    return info, secrets, blocks()


def gate_of_results(
    key: SecretKey, owner: PathLike, design: PathLike | None = None, asking: Asking | None = None, *, qc_only: bool = False,
    log: Log = silent, genotypes: GenotypeReader | None = None,
) -> Gate:  # fmt: skip
    """The gate that the owner's decryption passes. Its policy stands beside the key or the owner's folder; both may pin it.
    genotypes: those that were encrypted; needed where rare rows are withheld and earlier tables are of other people.

    Raises PolicyError where a policy that is named is not here, or not as it was signed; ArtefactError for other genotypes.
    """
    from securegen.engines.ckks.owner.design_secrets import read_secrets, with_values
    from securegen.engines.ckks.owner.null_models import everybodys_genotypes
    from securegen.engines.ckks.owner.state import OwnerState, read_info

    state = OwnerState(Path(owner), key)
    info = read_info(state)
    files = [owner, *([] if key.file is None else [key.file])]
    pins = [("the key", key.policy), ("the encrypted cohort", info.policy)]
    gate = gate_of("ckks", asking or Asking(), files, pins=pins, log=log, consent=False)
    gate = replace(gate, draws=None)  # noise stands in the record of the design, which only the key writes
    if gate.policy is None:
        return gate
    secrets = read_secrets(state, design)
    strata = with_values(secrets)
    everybody = info.samples if genotypes is None else everybodys_genotypes(state, info, genotypes)
    people = (
        PeopleFacts(info.samples, known=False)
        if strata is None
        else people_of(info.samples, strata, qc_only=qc_only, everybody=everybody)
    )
    return gate.of(people, {"cohort": info.digest, "design": secrets.digest})


def corrector(
    key: SecretKey,
    owner: PathLike,
    design: PathLike | None,
    genotypes: GenotypeReader | None,
    *,
    governed: bool = False,
) -> Corrector | None:
    """The correction of a design's tables, computed from the owner's genotypes; None for a design without a correction.
    governed: a policy may need the genotypes too.

    Raises UsageError where genotypes are needed and not given, or given and not needed; ArtefactError where they are not those
    that were encrypted.
    """
    from securegen.engines.ckks.owner.design_secrets import read_secrets
    from securegen.engines.ckks.owner.null_models import correction_of, corrector_of
    from securegen.engines.ckks.owner.state import OwnerState, read_info

    state = OwnerState(Path(owner), key)
    secrets = read_secrets(state, design)
    if governed and correction_of(state, secrets.digest) == NONE:
        return None
    return corrector_of(state, secrets.digest, secrets.strata, read_info(state), genotypes)


def decrypt_sums(
    results: PathLike, key: SecretKey, owner: PathLike, *, design: PathLike | None = None, key_still_trusted: bool = False,
    asking: Asking | None = None,
) -> Iterator[Sums]:  # fmt: skip
    """The exact integers of the whole design, block by block, each verified; arguments and errors as `decrypt_tables`."""
    gate = gate_of_results(key, owner, design, asking)
    info, secrets, blocks = _opened(results, key, owner, design, key_still_trusted, gate)
    gate.release(associations(secrets.analyses, secrets.strata, len(info.variants), floor=0))
    yield from blocks


def decrypt_tables(
    results: PathLike,
    key: SecretKey,
    owner: PathLike,
    out: str,
    *,
    design: PathLike | None = None,
    key_still_trusted: bool = False,
    digits: int = FULL_DIGITS,
    format: str = PLINK2,
    genome_build: str | None = None,
    frequency_floor: float = 0.0,
    gzip: bool = False,
    cols: str | None = None,
    filters: Filters | None = None,
    progress: Progress | None = None,
    log: Log = silent,
    asking: Asking | None = None,
    gate: Gate | None = None,
    genotypes: GenotypeReader | None = None,
    correct: Corrector | None = None,
) -> list[Summary]:
    """Decrypt, verify and write OUT.<PHENO>.<TEST> for every analysis, readable by the owner alone.

    design: the folder or digest of the design that is opened; it may be left out where the owner's folder has one only;
    digits, format, genome_build, frequency_floor, gzip, cols: how tables are laid out, as `results.forms.TableForm`; asking: who
    asks and under which policy; gate: or the door itself, of `gate_of_results`; genotypes: that were encrypted, for a design with
    a correction, or under a policy that released tables of other people; correct: or what corrects, of `corrector`.
    Raises VerificationError, writes nothing and retires the key when a result was not computed from this cohort and
    design; KeyFileError when the key is retired (key_still_trusted: decrypt all the same); UsageError when the design must be
    named; PolicyError where the policy refuses: nothing is decrypted then.
    """
    form = TableForm(digits, format, genome_build, frequency_floor, gzip, cols)
    gate = gate or gate_of_results(key, owner, design, asking, log=log, genotypes=genotypes)
    info, secrets, blocks = _opened(results, key, owner, design, key_still_trusted, gate)
    correct = correct or corrector(key, owner, secrets.digest, genotypes, governed=gate.policy is not None)
    tables = write_tables(
        out,
        info.variants,
        counted(blocks, len(info.variants), progress),
        secrets.analyses,
        gate=gate,
        strata=secrets.strata,
        grid=info.dosage_grid,
        digits=digits,
        filters=filters,
        mode=PRIVATE,
        correct=correct,
    )
    if correct is not None:
        log(correct.line())
    convert(tables, out, form, log)
    return tables


def decrypt_qc(
    results: PathLike,
    key: SecretKey,
    owner: PathLike,
    out: str,
    *,
    design: PathLike | None = None,
    key_still_trusted: bool = False,
    gzip: bool = False,
    asking: Asking | None = None,
    gate: Gate | None = None,
    genotypes: GenotypeReader | None = None,
) -> list[str]:
    """Decrypt, verify and write OUT.afreq, OUT.vmiss, OUT.hardy and, of X, OUT.hardy.x; arguments and errors as
    `decrypt_tables`. Raises UsageError when the design has no QC sums."""
    gate = gate or gate_of_results(key, owner, design, asking, qc_only=True, genotypes=genotypes)
    info, secrets, blocks = _opened(results, key, owner, design, key_still_trusted, gate)
    if qc_analysis(secrets.analyses) is None:
        raise UsageError("this design has no sums for quality control: encrypt with `qc`")
    paths = write_qc(out, info.variants, blocks, gate=gate, strata=secrets.strata, grid=info.dosage_grid, mode=PRIVATE)
    return TableForm(gzip=gzip).finish(paths)


def decrypt(
    results: PathLike,
    key: SecretKey,
    owner: PathLike,
    *,
    design: PathLike | None = None,
    key_still_trusted: bool = False,
    asking: Asking | None = None,
    genotypes: GenotypeReader | None = None,
) -> pd.DataFrame:
    """Verified result table as a pandas frame (several phenotypes: first index level PHENO).

    Arguments and errors as `decrypt_tables`: nothing is returned before everything is verified.
    """
    from securegen.results.read import read_frames

    with tempfile.TemporaryDirectory() as folder:
        tables = decrypt_tables(
            results, key, owner, f"{folder}/t", design=design, key_still_trusted=key_still_trusted, asking=asking,
            genotypes=genotypes,
        )  # fmt: skip
        return read_frames({t.analysis.phenotype: t.path for t in tables})
