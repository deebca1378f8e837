"""Messages of the scores' protocols with other numbers, shapes or text: one line, before anything is allocated or done."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from securegen.engines.ckks import artefact
from securegen.engines.ckks.owner.secret_key import generate
from securegen.engines.ckks.scores import messages
from securegen.engines.ckks.scores.blinding import Blinding
from securegen.engines.ckks.scores.encrypted_model import read_challenge
from securegen.engines.ckks.scores.key_holder import write_encryption_key
from securegen.engines.ckks.scores.modeller import read_encryption_key
from securegen.engines.ckks.scores.parameters import store_parameters
from securegen.engines.ckks.scores.private import encrypt_for, invite, reply
from securegen.engines.ckks.scores.promises import PrivacyRules, kept_plan
from securegen.engines.ckks.scores.public_model import read_model, restore_plan, write_model
from securegen.engines.ckks.scores.schema import read_message
from securegen.errors import ArtefactError, PlanError
from securegen.governance.gate import ungoverned
from securegen.io.schema import Refused, score_name
from securegen.scores.release import release
from securegen.scores.sscore import write_sscore
from securegen.scores.study import ScoreInputs, open_scores
from securegen.scores.sums import plain_scores
from securegen.study.inputs import Inputs

HUGE = "9" * 10_000


@pytest.fixture(scope="module")
def sent(additive, tmp_path_factory):
    """(study, folder with request and invitation, rules)."""
    folder = tmp_path_factory.mktemp("sent")
    study = open_scores(Inputs(additive.bfile), ScoreInputs((additive.score,)))
    rules = PrivacyRules(folder / "ledger.json", "clinic", ("SCORE1",), 10**6)
    messages.write_request(messages.make_request(study.reader, "cohort"), folder / "request")
    invite(folder / "request", study.inputs, rules, folder / "invitation", folder / "private")
    return study, folder, rules


def altered(source: Path, folder: Path, change) -> Path:
    """A copy of a message whose manifest's body was changed."""
    shutil.copytree(source, folder)
    content = json.loads((folder / "manifest.json").read_text())
    change(content["body"])
    (folder / "manifest.json").write_text(json.dumps(content))
    return folder


def one_line(action) -> str:
    with pytest.raises(ArtefactError) as caught:
        action()
    assert "\n" not in str(caught.value) and "\x1b" not in str(caught.value)
    return str(caught.value)


def entry(**fields):
    return lambda body: body["files"]["id"].update(fields)


def position(**fields):
    return lambda body: body["files"]["position"].update(fields)


REQUESTS = {
    "grid 0": lambda b: b.update(dosage_grid=0), "grid -1": lambda b: b.update(dosage_grid=-1),
    "grid 10^30": lambda b: b.update(dosage_grid=10**30), "grid 1.0": lambda b: b.update(dosage_grid=1.0),
    "grid true": lambda b: b.update(dosage_grid=True), "samples 10^18": lambda b: b.update(samples=10**18),
    "samples 0": lambda b: b.update(samples=0), "samples text": lambda b: b.update(samples="6"),
    "samples infinite": lambda b: b.update(samples=float("inf")), "files a list": lambda b: b.update(files=[1]),
    "files null": lambda b: b.update(files=None), "files in a list": lambda b: b.update(files=[b["files"]]),
    "no files": lambda b: b.pop("files"), "another field": lambda b: b.update(more=1),
    "dtype huge": entry(dtype="<U999999999"), "dtype x": entry(dtype="<Ux"), "dtype <U": entry(dtype="<U"),
    "dtype object": entry(dtype="|O"), "dtype number": entry(dtype=7), "no shape": entry(shape=[]),
    "shape text": entry(shape="ab"), "shape nested": entry(shape=[[1]]), "70 axes": position(shape=[1] * 70),
    "shape 2^60": position(shape=[1 << 60]), "shape -5": position(shape=[-5]), "size text": position(size="x" * 500),
    "name a path": entry(name="../id.npy"), "name a number": entry(name=3), "blake3 short": entry(blake3="00"),
    "positions as text": position(dtype="<U1"), "ids as numbers": entry(dtype="<i8"),
}  # fmt: skip


@pytest.mark.parametrize("what", REQUESTS)
def test_a_request_with_other_fields_is_refused(sent, tmp_path, what):
    study, folder, rules = sent
    message = altered(folder / "request", tmp_path / "x", REQUESTS[what])
    one_line(lambda: invite(message, study.inputs, rules, tmp_path / "i", tmp_path / "p"))
    assert not (tmp_path / "i").exists() and not (tmp_path / "p").exists()


def with_array(source: Path, folder: Path, name: str, array: np.ndarray) -> Path:
    """A copy of a request with another array, its digest made right."""
    made = vars(artefact.write_entry(folder.parent, "array.npy", array)) | {"name": f"{name}.npy"}
    fields = made | {"shape": list(array.shape), "dtype": array.dtype.str}
    altered(source, folder, lambda body: body["files"].update({name: fields}))
    shutil.copy(folder.parent / "array.npy", folder / f"{name}.npy")
    return folder


def counts(rows: int, dosage: int, second: int, called: int) -> np.ndarray:
    return np.repeat(np.array([[dosage], [second], [called]], "<i8"), rows, axis=1)


ARRAYS = {
    "beyond Unicode": lambda m: ("id", np.full(4 * m, 0x110000, "<u4").view("<U4")),
    "a surrogate": lambda m: ("id", np.full(m, 0xD800, "<u4").view("<U1")),
    "a line end": lambda m: ("id", np.full(m, "a\nb")), "an escape": lambda m: ("effect_allele", np.full(m, "\x1b[2J")),
    "fewer": lambda m: ("id", np.full(m - 1, "a")), "two axes": lambda m: ("id", np.full((m, 1), "a")),
    "a far position": lambda m: ("position", np.full(m, np.iinfo("<i8").min)),
    "more called than people": lambda m: ("counts", counts(m, 1, 0, 7)),
    "negative counts": lambda m: ("counts", counts(m, -1, 0, 6)),
    "more alleles than called": lambda m: ("counts", counts(m, 2**62, 0, 6)),
    "more second copies": lambda m: ("counts", counts(m, 5, 7, 6)),
    "second copies of alleles that are not there": lambda m: ("counts", counts(m, 5, 3, 6)),
    "too few second copies": lambda m: ("counts", counts(m, 12, 5, 6)),
    "counts of two rows": lambda m: ("counts", counts(m, 1, 0, 6)[:2]),
}  # fmt: skip


@pytest.mark.parametrize("what", ARRAYS)
def test_a_request_with_other_arrays_is_refused(sent, tmp_path, what):
    study, folder, rules = sent
    name, array = ARRAYS[what](len(study.reader.variants))
    message = with_array(folder / "request", tmp_path / "x", name, array)
    one_line(lambda: invite(message, study.inputs, rules, tmp_path / "i", tmp_path / "p"))


def ring(**fields):
    return lambda body: body["parameters"]["ring"].update(fields)


def parameters(**fields):
    return lambda body: body["parameters"].update(fields)


FORGED = "S\nF999\tI999\t2\t0\t9.9\t9.9\nF998"
INVITATIONS = {
    "lanes 0": ring(lanes=0), "lanes 32": ring(lanes=32), "other primes": ring(primes=[1073184769]),
    "names a number": lambda b: b.update(names=5), "names forge a row": lambda b: b.update(names=[FORGED]),
    "names escape": lambda b: b.update(names=["\x1b[2J"]), "no name": lambda b: b.update(names=[""]),
    "a name of 300": lambda b: b.update(names=["a" * 300]), "two names": lambda b: b.update(names=["a", "b"]),
    "exponent 10^9": lambda b: b.update(exponent=[10**9]), "exponent text": lambda b: b.update(exponent="1"),
    "digits -5": lambda b: b.update(digits=-5), "digits 10^9": lambda b: b.update(digits=10**9),
    "bound -1": lambda b: b.update(bound="-1"), "bound of many digits": lambda b: b.update(bound=HUGE),
    "bound 2^60": lambda b: b.update(bound=str(1 << 60)), "bound a number": lambda b: b.update(bound=5),
    "bound Arabic": lambda b: b.update(bound="\u0665"), "scale 10^6": parameters(genotype_scale=10**6),
    "scale 1000": parameters(genotype_scale=1000), "design scale": parameters(design_scale=30),
    "norm": parameters(norm=2.0), "norm 0": parameters(norm=0), "pack 3": parameters(pack=3),
    "strands 64": parameters(strands=64), "dosages": parameters(dosage_max=4),
    "other people": parameters(samples=10**15), "people 7": parameters(samples=7),
    "blinding null": lambda b: b.update(blinding=None), "blinding scale": lambda b: b["blinding"].update(scale="100000"),
    "flooding -1": lambda b: b["blinding"].update(flooding="-1"),
    "flooding that stays": lambda b: b["blinding"].update(flooding=str(1 << 200)),
    "blur beyond scores": lambda b: b["blinding"].update(blur=str(1 << 59)),
    "imputation": lambda b: b.update(imputation="zzz"),
    "nonce short": lambda b: b.update(nonce="00"), "nonce a number": lambda b: b.update(nonce=5),
    "cap -1": lambda b: b.update(cap=-1), "cap true": lambda b: b.update(cap=True),
    "no variants": lambda b: b["files"].pop("variant"),
}  # fmt: skip


@pytest.mark.parametrize("what", INVITATIONS)
def test_an_invitation_with_other_fields_encrypts_nothing(sent, tmp_path, what):
    study, folder, _ = sent
    message = altered(folder / "invitation", tmp_path / "x", INVITATIONS[what])
    one_line(lambda: encrypt_for(messages.read_invitation(message), study.reader, tmp_path / "s"))
    assert not list(tmp_path.glob("s.*"))


def test_names_that_forge_rows_work_where_nobody_looks(sent, tmp_path, monkeypatch):
    """With any text as a name a table has people who do not exist; the rule for names refuses it."""
    study, folder, _ = sent
    invitation = replace(messages.read_invitation(folder / "invitation"), names=(FORGED,))
    sums = invitation.sums(np.ones((6, 1), np.int64), np.zeros(6, np.int64), 1)
    write_sscore(tmp_path / "forged.sscore", study.reader.samples, release(sums), gate=ungoverned())
    assert any(line.startswith("F999\tI999\t") for line in (tmp_path / "forged.sscore").read_text().splitlines())
    for bad in (FORGED, "", "a\tb", "\u202eabc", "a" * 256, 5, None, "\x1b[2J"):
        with pytest.raises(Refused):
            score_name(bad, "names[0]")
    assert score_name("PGS000001 höher", "names[0]") == "PGS000001 höher"


def test_scores_are_for_their_owner_alone(sent, tmp_path):
    study, _, _ = sent
    write_sscore(
        tmp_path / "s.sscore", study.reader.samples, release(plain_scores(study.reader, study.plan)), gate=ungoverned()
    )
    assert (tmp_path / "s.sscore").stat().st_mode & 0o777 == 0o600


def test_blinding_rounds_away():
    Blinding(80, (1 << 79) - 6, 0, 5)
    with pytest.raises(PlanError, match="round away"):
        Blinding(80, (1 << 79) - 5, 0, 5)


@pytest.mark.parametrize("text", ["[" * 100_000, "{}", '{"magic": 1}', "\xff", '{"nonce": NaN}', "null"])
def test_challenges_and_kept_files_that_are_none_are_refused(tmp_path, text):
    (tmp_path / "challenge").write_bytes(text.encode("latin-1"))
    one_line(lambda: read_challenge(tmp_path / "challenge"))
    (tmp_path / "plan.json").write_bytes(text.encode("latin-1"))
    one_line(lambda: kept_plan(tmp_path))
    os.mkfifo(tmp_path / "pipe")
    one_line(lambda: read_challenge(tmp_path / "pipe"))


def test_an_encryption_key_with_other_fields_is_refused(sent, tmp_path):
    _, folder, _ = sent
    invitation = messages.read_invitation(folder / "invitation")
    key = generate(invitation.parameters)
    write_encryption_key(key.encryption_key(bytes(32)), tmp_path / "k", key)
    assert read_encryption_key(tmp_path / "k", key.public, bytes(32)).nonce == bytes(32)
    for i, change in enumerate(({"nonce": 5}, {"b": None}, {"public": []}, {"public": {"magic": None}}, {"key": "x"})):
        message = altered(tmp_path / "k", tmp_path / f"x{i}", lambda b, change=change: b.update(change))
        one_line(lambda message=message: read_message(message, "encryption key"))


def test_a_model_whose_arrays_do_not_fit_is_refused(sent, tmp_path):
    """Also under `python -O`: shapes of a signed model were asserted, not checked."""
    study, _, _ = sent
    key = generate(store_parameters(messages.read_invitation(sent[1] / "invitation").parameters.ring, 1, 40,
                                    dosage_max=2, samples=6))  # fmt: skip
    plan = study.plan
    for i, change in enumerate((
        {"missing_weight": plan.missing_weight[:-1]}, {"constant": plan.constant[:-1]}, {"bound": plan.bound[:-1]},
        {"dosage_weight": plan.dosage_weight[:, :-1]}, {"names": ("a\nb",)}, {"file_of": (3,)},
        {"variant": plan.variant[::-1].copy()}, {"names": ("a", "b")},
    )):  # fmt: skip
        write_model(replace(plan, **change), tmp_path / f"m{i}", key)
        one_line(lambda i=i: read_model(tmp_path / f"m{i}", key.public))
    write_model(plan, tmp_path / "short", key, cohort_variants=5)
    assert "beyond the cohort" in one_line(lambda: read_model(tmp_path / "short", key.public))
    with pytest.raises(ArtefactError, match="not a score model"):
        restore_plan({}, {})


def test_refusals_do_not_depend_on_assert(sent, tmp_path):
    """`python -O` on a request, an invitation and a ledger that hold something else."""
    _, folder, _ = sent
    altered(folder / "request", tmp_path / "q", REQUESTS["dtype <U"])
    altered(folder / "invitation", tmp_path / "i", INVITATIONS["names forge a row"])
    (tmp_path / "ledger.json").write_text("{}")
    (tmp_path / "ledger.json").chmod(0o600)
    script = """
from pathlib import Path
from securegen.engines.ckks.scores.messages import read_invitation, read_request
from securegen.scores.ledger import Ledger
from securegen.errors import SecuregenError
ledger = Ledger(Path("ledger.json"))
for action in (lambda: read_request(Path("q")), lambda: read_invitation(Path("i")), lambda: ledger.used("m", "c")):
    try:
        action()
    except SecuregenError as error:
        print(error.exit_code)
"""
    env = os.environ | {"PYTHONPATH": os.pathsep.join(map(os.path.abspath, filter(None, sys.path)))}
    done = subprocess.run([sys.executable, "-O", "-c", script], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.stdout.split() == ["7", "7", "3"], done.stderr


def test_a_reply_of_another_scoring_file_or_folder_is_refused(sent, tmp_path, additive):
    study, folder, rules = sent
    invitation = messages.read_invitation(folder / "invitation")
    encrypt_for(invitation, study.reader, tmp_path / "s")
    lines = Path(additive.score).read_text().splitlines()
    (tmp_path / "other.tsv").write_text("\n".join(lines[:-1]) + "\n")
    other = replace(study.inputs, score=(str(tmp_path / "other.tsv"),))
    words = (tmp_path / "s.cohort", tmp_path / "s.publickey", folder / "private")
    with pytest.raises(ArtefactError, match="not of the model in"):
        reply(*words, other, rules, tmp_path / "r")
    assert not (tmp_path / "r").exists()
