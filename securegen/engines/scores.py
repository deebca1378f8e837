"""Scores from Python, whichever the engine: `open` a study, `run` it with every role on this machine, look at the results.

>>> import securegen as sg
>>> study = sg.scores.open(bfile="cohort", score="weights.tsv")                  # doctest: +SKIP
>>> results = sg.scores.run(study, engine=sg.scores.PrivateModelScores())        # doctest: +SKIP
>>> results.scores["SCORE1_SUM"]                                                 # doctest: +SKIP

The steps of a deployment are functions here too, one per party's step: `engines.ckks.scores.steps` lists them. Who
learns what: the receipt of a run says it.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from securegen.engines import Later
from securegen.engines.score_protocol import refuse_part
from securegen.errors import UsageError
from securegen.io.output import PRIVATE, atomic
from securegen.io.strict_json import read_json
from securegen.io.tables import read_table
from securegen.model import SelectableReader
from securegen.record.run_log import RunLog
from securegen.scores.match import MIN_OVERLAP
from securegen.scores.parts import SUMS
from securegen.scores.release import DIGITS
from securegen.scores.sscore import write_match_log
from securegen.scores.study import ScoreInputs, ScoreStudy, open_scores
from securegen.study.held import held
from securegen.study.inputs import Inputs, Log, silent

if TYPE_CHECKING:
    import pandas as pd

    from securegen.engines.ckks.scores.promises import PrivacyRules
    from securegen.engines.ckks.scores.run_hidden import EncryptedModelScores, PrivateModelScores, VendorKeyScores
    from securegen.engines.ckks.scores.run_public import CkksScores
    from securegen.engines.ckks.scores.steps import (
        accept,
        add_model,
        answer,
        blind,
        challenge,
        decrypt,
        encrypt,
        encrypt_model,
        evaluate,
        generate_key,
        invite,
        offer,
        open_replies,
        reply,
        request,
        score,
        unmask,
        withdraw,
    )
    from securegen.engines.mpc.run_scores import MpcScores
    from securegen.engines.plain.scores import PlainScores
    from securegen.engines.score_protocol import ScoreEngine

Name = str | os.PathLike[str]
_CLASSES = {  # of each engine: where it is
    "plain": ("plain.scores", "PlainScores"),
    "ckks": ("ckks.scores.run_public", "CkksScores"),
    "private-model": ("ckks.scores.run_hidden", "PrivateModelScores"),
    "encrypted-model": ("ckks.scores.run_hidden", "EncryptedModelScores"),
    "vendor-key": ("ckks.scores.run_hidden", "VendorKeyScores"),
    "mpc": ("mpc.run_scores", "MpcScores"),
}
SCORE_ENGINES: Final[Mapping[str, type[ScoreEngine]]] = Later(_CLASSES)


def open(
    *,
    score: Name | Sequence[Name],
    bfile: Name | Sequence[Name] = "",
    bfile_list: Name = "",
    pfile: Name | Sequence[Name] = "",
    pfile_list: Name = "",
    vcf: Name | Sequence[Name] = "",
    vcf_list: Name = "",
    bgen: Name | Sequence[Name] = "",
    bgen_list: Name = "",
    sample: Name = "",
    ref_last: bool = False,
    vcf_field: str | None = None,
    multiallelic: str | None = None,
    split_par: str | None = None,
    dosage_grid: int | None = None,
    keep: Name | None = None,
    remove: Name | None = None,
    extract: Name | None = None,
    exclude: Name | None = None,
    chr: str | Sequence[str] | None = None,
    from_bp: int | None = None,
    to_bp: int | None = None,
    blocks: str | None = None,
    purpose: str | None = None,
    consent: Name | None = None,
    mondo: Name | None = None,
    score_col_nums: Sequence[int] | None = None,
    genome_build: str | None = None,
    match_by: str = "auto",
    keep_ambiguous: bool = False,
    strand_flips: bool = True,
    min_overlap: float = MIN_OVERLAP,
    imputation: str = "cohort",
    weight_bits: int | None = None,
    digits: int = DIGITS,
    min_variants: int | None = None,
    allow_small_score: str | Sequence[str] = (),
    reference: Name | None = None,
    risk_intercept: float | None = None,
    risk_slope: float = 1.0,
    gzip: bool = False,
    policy: Name | None = None,
    identity: Name | None = None,
    visa: Name | Sequence[Name] | None = None,
    second_signature: Name | Sequence[Name] | None = None,
    genotypes: SelectableReader | None = None,
    log: Log = silent,
) -> ScoreStudy:
    """Open genotypes and scoring files, match them, turn weights into integers.

    Keywords as the options of `securegen prs` (`ScoreInputs`, `Inputs`); blocks: i/n, a part of the variants, whose exact sums
    `sg.merge` adds to those of the others; genotypes: a cohort in memory (`from_arrays`) in
    place of files. Raises UsageError that names the argument, InputError, PlanError or PolicyError that name file, line
    or score.
    """
    typed: Any = Inputs  # one name for several, paths for text: settled there
    files = typed(
        bfile=bfile, bfile_list=bfile_list, pfile=pfile, pfile_list=pfile_list, vcf=vcf, vcf_list=vcf_list, bgen=bgen,
        bgen_list=bgen_list, sample=sample, ref_last=ref_last, vcf_field=vcf_field,
        multiallelic=multiallelic, dosage_grid=dosage_grid, keep=keep, remove=remove, extract=extract, exclude=exclude,
        chr=chr, from_bp=from_bp, to_bp=to_bp, split_par=split_par, policy=policy, purpose=purpose, identity=identity, visa=visa,
        second_signature=second_signature, consent=consent, mondo=mondo, blocks=blocks,
    )  # fmt: skip
    typed = ScoreInputs
    rules = typed(
        score=score, score_col_nums=score_col_nums, genome_build=genome_build, match_by=match_by, keep_ambiguous=keep_ambiguous,
        strand_flips=strand_flips, min_overlap=min_overlap, imputation=imputation, weight_bits=weight_bits, digits=digits,
        min_variants=min_variants, allow_small_score=allow_small_score, reference=reference, risk_intercept=risk_intercept,
        risk_slope=risk_slope, gzip=gzip,
    )  # fmt: skip
    with held(files, log) as waiting:  # under a policy nothing is said of people before a door
        return open_scores(files, rules, log=waiting, opened=genotypes)


@dataclass(frozen=True, repr=False)
class ScoreResults:
    """What a run of scores left. scores: a frame with a row per person, columns as PREFIX.sscore; record: PREFIX.run.json;
    receipt: who learned what."""

    scores: pd.DataFrame
    record: dict[str, Any]
    files: dict[str, bytes] = field(repr=False)

    @property
    def receipt(self) -> dict[str, Any]:
        return dict(self.record["receipt"])

    def __repr__(self) -> str:
        names = [name.removesuffix("_SUM") for name in self.scores.columns if name.endswith("_SUM")]
        names.remove("NAMED_ALLELE_DOSAGE")
        return f"ScoreResults({len(self.scores)} samples, scores {', '.join(names)}, engine {self.record['engine']})"

    def write(self, prefix: Name) -> list[Path]:
        """Write PREFIX.sscore and what lies beside it, for their owner alone; returns the paths. Raises StorageError."""
        out = []
        for suffix, content in self.files.items():
            out.append(Path(f"{os.fspath(prefix)}{suffix}"))
            with atomic(out[-1], mode=PRIVATE) as stream:
                stream.write(content)
        return out


def run(study: ScoreStudy, engine: str | ScoreEngine = "plain") -> ScoreResults:
    """The scores of a study, with every role of the engine on this machine.

    engine: a name of `SCORE_ENGINES`, or an engine with its options. Raises UsageError for what the engine cannot do,
    before work starts.
    """
    if isinstance(engine, str):
        if engine not in SCORE_ENGINES:
            raise UsageError(f"`engine` is {engine!r}: choose one of {', '.join(SCORE_ENGINES)}")
        engine = SCORE_ENGINES[engine]()
    engine.check(study.genotypes, study.inputs)
    if engine.name != "plain":
        study.two_copies  # noqa: B018 (refuses)
        refuse_part(study.genotypes, engine.name)
    with tempfile.TemporaryDirectory(prefix="securegen.") as folder:
        out = f"{folder}/scores"
        out = out if study.part is None else study.part.prefix(out)
        log = RunLog(out, f"scores --engine {engine.name}", quiet=True, private=True)
        if engine.matches:
            write_match_log(f"{out}.match.tsv", study.matches, study.reader.variants)
        engine.run(study.genotypes, study.inputs, out, log, study=study)
        table = study.inputs.table(out) if study.part is None else f"{out}{SUMS}"
        files = {path.name.removeprefix("scores"): path.read_bytes() for path in sorted(Path(folder).iterdir())}
        return ScoreResults(_frame(table), read_json(f"{out}.run.json", "the record of a run"), files)


def _frame(path: str) -> pd.DataFrame:
    """PREFIX.sscore with ids as text and numbers as numbers."""
    import pandas as pd

    table = read_table(path)
    fid = table.iid if table.fid is None else table.fid
    numbers = {name: pd.to_numeric(pd.Series(c).replace("NA", None)) for name, c in table.columns.items()}
    return pd.DataFrame({"#FID": fid, "IID": table.iid, **numbers})


__all__ = [
    "CkksScores", "EncryptedModelScores", "MpcScores", "PlainScores", "PrivacyRules", "PrivateModelScores",
    "SCORE_ENGINES", "ScoreEngine", "ScoreInputs", "ScoreResults", "ScoreStudy", "VendorKeyScores", "accept", "add_model",
    "answer", "blind", "challenge", "decrypt", "encrypt", "encrypt_model", "evaluate", "generate_key", "invite", "offer",
    "open", "open_replies", "reply", "request", "run", "score", "unmask", "withdraw",
]  # fmt: skip


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> Any:
    """Engines, and the steps of a deployment, are loaded when they are asked for."""
    places = {own: place for place, own in _CLASSES.values()} | {
        "PrivacyRules": "ckks.scores.promises", "ScoreEngine": "score_protocol",
    }  # fmt: skip
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"securegen.engines.{places.get(name, 'ckks.scores.steps')}"), name)
