"""Scores of a public model on an encrypted cohort, as Python functions: key, encrypt, score, decrypt.

>>> study = open_scores(Inputs("cohort"), ScoreInputs(("weights.tsv",)))          # doctest: +SKIP
>>> key = generate_score_key(study.plan, len(study.reader.samples))               # doctest: +SKIP
>>> sent = encrypt_scores(study, key, "enc")                                      # doctest: +SKIP
>>> results = score_encrypted(sent.cohort, sent.model, "enc.results")             # doctest: +SKIP
>>> sums = decrypt_scores(results, key, sent.owner)                               # doctest: +SKIP
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from securegen.engines.ckks.cohort import cohort_of
from securegen.engines.ckks.owner.asked import gate_of_asked, keep_asked_of
from securegen.engines.ckks.owner.encrypt_cohort import encrypt_cohort
from securegen.engines.ckks.owner.encryption import make_encryptor
from securegen.engines.ckks.owner.retirement import guarded
from securegen.engines.ckks.owner.secret_key import SecretKey, generate
from securegen.engines.ckks.owner.state import OwnerState, read_info
from securegen.engines.ckks.parameters import Parameters
from securegen.engines.ckks.scores import owner as owner_side
from securegen.engines.ckks.scores import parameters, public_model, server
from securegen.engines.ckks.scores.counted import pass_means
from securegen.engines.ckks.scores.weights import cohort_weights, score_reader, stored_weights
from securegen.errors import ArtefactError
from securegen.governance import releases
from securegen.governance.door import SCORES, OutputFacts
from securegen.governance.gate import Asking, Gate, gate_of
from securegen.governance.pin import Pin
from securegen.governance.signing import digest_of
from securegen.io.folder import Folder
from securegen.io.folders import place_of
from securegen.model import Progress, Samples, no_progress
from securegen.scores.plan import ScorePlan
from securegen.scores.release import DIGITS, refuse_small_models
from securegen.scores.study import ScoreStudy
from securegen.scores.sums import ScoreSums
from securegen.study.inputs import Inputs, Log, silent
from securegen.study.parts import part_of
from securegen.vocabulary import DEFAULT_ENCRYPTOR

MODEL = "score-model"


@dataclass(frozen=True)
class EncryptedScores:
    """Folders of an encrypted score study: `cohort` and `model` go to the server, `owner` stays with the key."""

    cohort: Path
    model: Path
    owner: Path


def score_paths(prefix: str | os.PathLike[str]) -> EncryptedScores:
    """The folders PREFIX.cohort, PREFIX.model and PREFIX.owner."""
    return EncryptedScores(*(Path(f"{os.fspath(prefix)}.{part}") for part in ("cohort", "model", "owner")))


def score_parameters(plan: ScorePlan, samples: int) -> Parameters:
    """CKKS parameters that hold every score of the plan exactly. Raises PlanError when there are none."""
    weights = stored_weights(plan)
    return parameters.choose(
        samples=samples, rows=len(weights.dosage), columns=weights.columns, norm=weights.norm,
        sum_bound=weights.sum_bound, dosage_max=2 * plan.dosage_grid,
    )  # fmt: skip


def generate_score_key(plan: ScorePlan, samples: int) -> SecretKey:
    """A fresh secret key for the scores of a plan. It stays with the owner."""
    return generate(score_parameters(plan, samples))


def encrypt_scores(
    study: ScoreStudy,
    key: SecretKey,
    prefix: str | os.PathLike[str],
    *,
    encryptor: str = DEFAULT_ENCRYPTOR,
    progress: Progress = no_progress,
    log: Log = silent,
) -> EncryptedScores:
    """Encrypt the variants that the scores use into PREFIX.cohort and write the public model to PREFIX.model.

    Raises PolicyError, before anything is written, where the model has means of these people (`counted.pass_means`).
    """
    pass_means(study, [prefix], log, pins=[("the key", key.policy)])
    return encrypt_here(study, key, prefix, encryptor=encryptor, progress=progress)


def begun(prefix: str | os.PathLike[str]) -> bool:
    """Whether PREFIX is not that of scores that were encrypted to the end: `encrypt_scores` may go on there."""
    return not (score_paths(prefix).owner / f"{MODEL}.box").exists()


def check_means(study: ScoreStudy, prefix: str | os.PathLike[str], log: Log) -> None:
    """Before a key is made: raise as `encrypt_scores` would. Enters nothing."""
    pass_means(study, [prefix], log, check=True)


def encrypt_here(
    study: ScoreStudy,
    key: SecretKey,
    prefix: str | os.PathLike[str],
    *,
    encryptor: str = DEFAULT_ENCRYPTOR,
    progress: Progress = no_progress,
) -> EncryptedScores:
    """As `encrypt_scores`, for a server on this machine: no door, since nothing leaves it."""
    paths = score_paths(prefix)
    state = OwnerState(paths.owner, key)
    reader = score_reader(study.two_copies, study.plan)
    info = encrypt_cohort(
        reader, key, paths.cohort, state, encryptor=make_encryptor(encryptor, key), asking=study.genotypes.asking,
        progress=progress,
    )  # fmt: skip
    owner_side.write_checks(reader, key, state, info)
    _keep(state, public_model.write_model(study.plan, paths.model, key), study.inputs.digits)
    return paths


def add_model(
    study: ScoreStudy, key: SecretKey, owner: str | os.PathLike[str], model: str | os.PathLike[str], *, log: Log = silent
) -> Path:  # fmt: skip
    """A public model for a cohort that was encrypted whole, for association. Its genotypes are needed once more.

    Raises PlanError when the store is too coarse for the weights or lacks second copies, ArtefactError when the
    genotypes are not those of the store, PolicyError as `encrypt_scores`.
    """
    state = OwnerState(Path(owner), key)
    info = read_info(state)
    if not info.same_people_and_variants(study.two_copies):
        raise ArtefactError(owner_side.OTHER_GENOTYPES)
    weights = cohort_weights(study.plan, len(info.variants))
    parameters.check_exact(key.public.parameters, norm=weights.norm, sum_bound=weights.sum_bound)
    pass_means(study, [owner, model], log, pins=[("the key", key.policy), ("the encrypted cohort", info.policy)])
    owner_side.write_checks(study.two_copies, key, state, info)
    keep_asked_of(state, info.digest, study.genotypes.asking, np.ones(len(info.samples), bool))
    _keep(
        state,
        public_model.write_model(study.plan, Path(model), key, cohort_variants=len(info.variants)),
        study.inputs.digits,
    )
    return Path(model)


def _keep(state: OwnerState, model: public_model.Model, digits: int) -> None:
    header = {
        "digest": model.digest, "plan": public_model.plan_header(model.plan), "cohort_variants": model.cohort_variants,
        "digits": digits,
    }  # fmt: skip
    state.write(MODEL, header, public_model.plan_arrays(model.plan))


def score_encrypted(
    cohort: str | os.PathLike[str],
    model: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    progress: Progress = no_progress,
    blocks: str | None = None,
    public: str | os.PathLike[str] | None = None,
) -> Path | Folder:
    """The server's step, without any key: encrypted scores of every sample. Returns the folder.

    blocks: i/n, the i-th of n parts of the chunks of people alone; PREFIX.1of4.results and so on are joined by `sg.merge`.
    public: KEY.public of the owner, where a cohort or model that anybody else signed is refused.
    """
    part = None if blocks is None else part_of(blocks)
    server.score(cohort_of(cohort, public), model, out, progress=progress, part=part)
    return place_of(out)


def gate_of_key(
    key: SecretKey, owner: str | os.PathLike[str], asking: Asking | None = None,
    files: Iterable[str | os.PathLike[str]] = (), *, digits: int | None = None, log: Log = silent,
) -> Gate:  # fmt: skip
    """The door of who decrypts scores: the policy stands beside the key, the owner's folder or these files, and the key may
    name it. It is asked for this cohort, its public model where there is one, and so many digits.

    Raises PolicyError where the policy is not here, or not as it was signed."""
    files, state = list(files), OwnerState(Path(owner), key)
    info = read_info(state)
    beside = [owner, *files, *([] if key.file is None else [key.file])]
    pins = [("the key", key.policy), ("the encrypted cohort", info.policy)]
    gate = gate_of("ckks", asking or Asking(), beside, pins=pins, log=log, consent=bool(files))
    asked = {"cohort": info.digest, "options": digest_of({"digits": digits})}
    if (state.folder / f"{MODEL}.box").exists():
        asked["model"] = state.read(MODEL)[0]["digest"]
    return replace(gate, inputs=asked)


def pass_scores(gate: Gate, names: Sequence[str], samples: Samples) -> None:
    """The door of scores of these people, before they are opened. Raises PolicyError where the policy refuses, or where somebody
    withdrew, or too few have left since an earlier release."""
    gate.release([OutputFacts(SCORES, name, len(samples), 0) for name in names])
    gate.asking.refuse_withdrawn(samples)
    everybody = np.ones(len(samples), bool)
    gate.claim(
        samples, [(releases.analysis_of(releases.SCORES, name), everybody) for name in names], "decrypted scores"
    )


def pin_beside(inputs: Inputs, prefix: str | os.PathLike[str]) -> Pin | None:
    """The policy that a new key for these genotypes names: theirs, or one beside what is written."""
    return gate_of("ckks", inputs.asking, [*inputs.files().values(), prefix], consent=bool(inputs.consent)).pin


def decrypt_scores(
    results: str | os.PathLike[str], key: SecretKey, owner: str | os.PathLike[str], *, key_still_trusted: bool = False,
    digits: int = 1, gate: Gate | None = None,
) -> tuple[Samples, ScoreSums]:  # fmt: skip
    """Samples and their verified integers.

    digits: how many the release will have; gate: the door, by default that of the key (`gate_of_key`). Raises
    PolicyError where the policy refuses, and where they are more than was planned and a score has too few
    variants for them; VerificationError, and retires the key, when a result was not computed from this cohort and model;
    KeyFileError when the key is retired (key_still_trusted: decrypt all the same).
    """
    state = OwnerState(Path(owner), key)
    header, arrays = state.read(MODEL)
    plan, info = public_model.restore_plan(header["plan"], arrays), read_info(state)
    if digits > header.get("digits", DIGITS):
        refuse_small_models(plan, digits=digits)
    model = public_model.Model(plan, header["cohort_variants"], header["digest"])
    owner_side.read_results(Path(results), key, info, model)  # an earlier result is refused by that name
    pass_scores(
        gate_of_asked(state, info.digest, info.samples, gate or gate_of_key(key, owner, digits=digits)),
        plan.names,
        info.samples,
    )
    with guarded(key, state.folder, os.fspath(results), key_still_trusted=key_still_trusted):
        return info.samples, owner_side.decrypt(Path(results), key, info, state, model)
