"""Every cohort with a score and every scoring file of the reference data, in every setting: the plain engine's integers."""

from __future__ import annotations

import numpy as np
import pytest
from reference_data import GOLD, OUTSIDE

from securegen.engines.ckks.owner.state import OwnerState, read_info
from securegen.engines.ckks.scores import key_holder, messages, vendor_model
from securegen.engines.ckks.scores.encrypted_model import challenge, encrypt_model_for, evaluate, invite_product
from securegen.engines.ckks.scores.private import encrypt_for, invite, reply
from securegen.engines.ckks.scores.promises import PrivacyRules
from securegen.engines.ckks.scores.public import decrypt_scores, encrypt_scores, generate_score_key, score_encrypted
from securegen.io.arrays import from_arrays
from securegen.model import Variants
from securegen.scores.files import read_scoring
from securegen.scores.release import release
from securegen.scores.study import ScoreInputs, open_scores
from securegen.scores.sums import plain_scores
from securegen.study.inputs import Inputs

COHORTS = [
    ("edge", "edge/edge.prs.tsv", 120), ("sim_500x5k", "sim_500x5k/sim_500x5k.prs.tsv", 500),
    ("cineca", "cineca/cineca.prs.tsv", 2504), ("cineca", "cineca/cineca.PGS001229_chr22.tsv", 2504),
    ("cineca", "scores/scorefile.txt", 60), ("cineca", "scores/multiscore.txt", 60),
    ("cineca", "scores/PGS001229_22.txt", 60), ("cineca", "scores/scorefile_dominant_and_recessive.txt", 60),
]  # fmt: skip
FILES = [
    "PGS000001.txt.gz", "PGS000001_hmPOS_GRCh37.txt", "PGS000001_hmPOS_GRCh38.txt.gz", "PGS000002.txt.gz",
    "PGS000002_hmPOS_GRCh37.txt.gz", "PGS000002_hmPOS_GRCh38.txt.gz", "PGS000802_hmPOS_GRCh37.txt",
    "PGS001229_22_duplicate.txt", "PGS004255_hmPOS_GRCh38.txt.gz", "complex_variants_PGS000021.txt",
    "complex_variants_PGS004239.txt", "customgrch37.txt", "customgrch38.txt",
]  # fmt: skip
CAP = 10**6
VENDOR = 60  # people: a key and a model for every twenty


def rules(folder, plan):
    return PrivacyRules(folder / "ledger.json", "clinic", plan.names, CAP)


def check_public(study, folder):
    key = generate_score_key(study.plan, len(study.reader.samples))
    sent = encrypt_scores(study, key, folder / "public")
    _, sums = decrypt_scores(score_encrypted(sent.cohort, sent.model, folder / "results"), key, sent.owner)
    assert np.array_equal(sums.values, plain_scores(study.reader, study.plan).values)


def check_private(study, folder, *, encrypted: bool):
    inputs, allowed = study.inputs, rules(folder, study.plan)
    messages.write_request(messages.make_request(study.reader, inputs.imputation), folder / "request")
    if encrypted:
        challenge(folder / "challenge")
        invite_product(
            folder / "request", folder / "challenge", inputs, allowed, folder / "invitation", folder / "kept"
        )
    else:
        invite(folder / "request", inputs, allowed, folder / "invitation", folder / "kept")
    invitation = messages.read_invitation(folder / "invitation")
    key = encrypt_for(invitation, study.reader, folder / "s")
    cohort, publickey = folder / "s.cohort", folder / "s.publickey"
    if encrypted:
        encrypt_model_for(publickey, folder / "kept", inputs, allowed, folder / "model")
        evaluate(cohort, publickey, folder / "model", folder / "challenge", folder / "replies")
    else:
        reply(cohort, publickey, folder / "kept", inputs, allowed, folder / "replies")
    values = key_holder.open_replies(
        folder / "replies", key, columns=len(invitation.names), nonce=invitation.nonce,
        cohort=read_info(OwnerState(folder / "s.owner", key)).digest, bound=invitation.bound,
        blinding=invitation.blinding,
    )  # fmt: skip
    assert invitation.blinding.blur == 0
    assert np.array_equal(values, plain_scores(study.reader, study.plan).score)


def check_vendor(study, folder):
    inputs, allowed, box = study.inputs, rules(folder, study.plan), {"passphrase": b"correct horse"}
    messages.write_request(messages.make_request(study.reader, inputs.imputation), folder / "request")
    challenge(folder / "challenge")
    offer, kept = folder / "offer", folder / "kept"
    vendor_model.offer(folder / "request", folder / "challenge", inputs, allowed, offer, kept, **box)
    vendor_model.blind_scores(offer, folder / "challenge", study.reader, folder / "blinded", folder / "masks")
    vendor_model.answer(folder / "blinded", kept, inputs, allowed, folder / "rounded", **box)
    table = vendor_model.unmask_scores(folder / "rounded", offer, folder / "masks", study.reader)
    plain = release(plain_scores(study.reader, study.plan))
    assert vendor_model.read_offer(offer).blur == 0
    assert np.array_equal(table.total, plain.total) and np.array_equal(table.average, plain.average)


CHECKS = {
    "public": check_public,
    "private": lambda study, folder: check_private(study, folder, encrypted=False),
    "encrypted": lambda study, folder: check_private(study, folder, encrypted=True),
    "vendor": check_vendor,
}


def test_every_scoring_file_is_here(reference):
    names = {path.name for path in reference.source("scores").iterdir()} - {"SOURCE.md"}
    assert names == set(FILES) | {file.split("/")[1] for _, file, _ in COHORTS if file.startswith("scores/")}
    with_scores = {path.parent.name for root in (GOLD, OUTSIDE) for path in root.glob("*/*.prs.tsv")}
    assert with_scores <= {name for name, _, _ in COHORTS}


@pytest.mark.parametrize("setting", CHECKS)
@pytest.mark.parametrize(("name", "file", "people"), COHORTS, ids=[f for _, f, _ in COHORTS])
def test_cohorts(reference, tmp_path, name, file, people, setting):
    folder, file = file.split("/")
    whole = open_scores(Inputs(reference(name).bfile), inputs := scoring(reference.source(folder) / file))
    count = min(people, VENDOR) if setting == "vendor" else people
    few = whole.reader.select(samples=np.arange(min(count, len(whole.reader.samples))))
    CHECKS[setting](open_scores(whole.genotypes, inputs, opened=few), tmp_path)


@pytest.mark.parametrize("setting", CHECKS)
@pytest.mark.parametrize("file", FILES)
def test_files_on_a_cohort_made_for_them(reference, tmp_path, file, setting):
    """Each variant of the file once, as labelled or swapped; a tenth of calls missing, of 52 people."""
    path = reference.source("scores") / file
    read, rng = read_scoring(path), np.random.default_rng(len(file))
    effect, rows = read.effect_allele.tolist(), len(read)
    other = [o or ("A" if e != "A" else "G") for e, o in zip(effect, read.other_allele.tolist(), strict=True)]
    swapped = rng.random(rows) < 0.5
    variants = Variants(
        np.array([c or "1" for c in read.chromosome], object),
        np.array([max(int(p), i) for i, p in enumerate(read.position)], np.int64),
        np.array([i or "." for i in read.id], object),
        np.where(swapped, other, effect).astype(object), np.where(swapped, effect, other).astype(object),
    )  # fmt: skip
    dosage = rng.binomial(2, 0.4, (rows, 52)).astype(float)
    dosage[rng.random(dosage.shape) < 0.1] = np.nan
    reader = from_arrays(dosage, [f"P{i}" for i in range(52)], variants=variants)
    study = open_scores(Inputs(""), scoring(path, len(read) / read.rows - 0.01), opened=reader)
    assert len(study.matches[0]) >= 0.8 * rows
    CHECKS[setting](study, tmp_path)


def scoring(path, overlap: float = 0.75) -> ScoreInputs:
    return ScoreInputs((str(path),), keep_ambiguous=True, min_variants=1, min_overlap=min(overlap, 0.75))
