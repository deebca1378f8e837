"""The ledger of replies: one count whatever leads to it, damage refused, invitations reserve what they promise."""

from __future__ import annotations

import contextlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from securegen.engines.ckks.scores import messages
from securegen.engines.ckks.scores.private import invite
from securegen.engines.ckks.scores.promises import PrivacyRules, spend, withdraw
from securegen.errors import ArtefactError, InputError, PolicyError, StorageError
from securegen.scores import ledger as score_ledger
from securegen.scores.identity import known_as, likeness
from securegen.scores.ledger import Asked, Ledger
from securegen.scores.study import ScoreInputs, open_scores
from securegen.scores.sums import plain_scores
from securegen.study.inputs import Inputs

FUZZ = (  # damaged ledgers that once ended in a traceback
    '{"magic": "securegen reply ledger 1", "replies": {"m": "x"}}',
    '{"magic": "securegen reply ledger 1", "replies": {"m": {"c": [3]}}}',
    '{"magic": "securegen reply ledger 1", "replies": {"m": {"c": "-1"}}}',
    '{"magic": "securegen reply ledger 1", "replies": {"m": {"c": -1}}}',
    "[" * 100_000, "{}", "null", "[]", '{"ledger": NaN, "sha256": ""}', "\x00\xff",
)  # fmt: skip


def asked(answers: int, cap: int, model: str = "model", weights: int | None = None, former: str = "-") -> list[Asked]:
    return [Asked(model, former, "S", answers, cap, weights)]


def give(ledger: Ledger, answers: int, cap: int, client: str = "client") -> None:
    """An invitation, answered."""
    token = os.urandom(16).hex()
    ledger.reserve(token, client, asked(answers, cap))
    ledger.charge(token)


def test_counts_outlive_keys_and_sessions(tmp_path):
    path = tmp_path / "ledger.json"
    give(Ledger(path), 4, 9)
    assert path.stat().st_mode & 0o777 == 0o600 and Ledger(path).used("model", "client") == 4
    both = [Asked("model", "-", "A", 2, 9, None), Asked("other", "-", "B", 2, 1, None)]
    with pytest.raises(PolicyError, match="0 replies of B went to client"):
        Ledger(path).reserve("0" * 32, "client", both)
    assert Ledger(path).used("model", "client") == 4, "all or none"
    give(Ledger(path), 9, 9, "another")
    path.unlink()
    with pytest.raises(InputError, match="is gone"):
        give(Ledger(path), 1, 9)
    with pytest.raises(InputError, match="is gone"):
        Ledger(path).used("model", "client")


def test_clients_that_ask_at_once_do_not_pass_the_cap(tmp_path):
    def ask(_) -> bool:
        try:
            give(Ledger(tmp_path / "ledger.json"), 3, 20)
        except PolicyError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(ask, range(16))) == 6
    assert Ledger(tmp_path / "ledger.json").used("model", "client") == 18


def given_through_links(folder: Path) -> int:
    """Answers of a model with a cap of 100 that two symbolic links to one ledger, and its own name, give."""
    (folder / "real").mkdir()
    real, given = folder / "real" / "ledger.json", 0
    give(Ledger(real), 10, 100)
    for name in ("a", "b"):
        (folder / name).symlink_to(real)
    for path in (folder / "a", folder / "b", real):
        try:
            give(Ledger(path), 90, 100)
            given += 90
        except PolicyError:
            pass
    return 10 + given


def test_links_lead_to_one_count(tmp_path, monkeypatch):
    (tmp_path / "on").mkdir()
    assert given_through_links(tmp_path / "on") == 100
    assert (tmp_path / "on" / "a").is_symlink()
    (tmp_path / "off").mkdir()
    monkeypatch.setattr(score_ledger.os.path, "realpath", os.fspath)  # as it was: a file takes the place of the link
    monkeypatch.setattr(score_ledger.os, "O_NOFOLLOW", 0)
    assert given_through_links(tmp_path / "off") == 280


def test_hard_links_files_that_others_write_and_odd_files_are_refused(tmp_path):
    path = tmp_path / "ledger.json"
    give(Ledger(path), 1, 9)
    os.link(path, tmp_path / "second")
    with pytest.raises(StorageError, match="hard links"):
        give(Ledger(tmp_path / "second"), 1, 9)
    with pytest.raises(StorageError, match="hard links"):
        give(Ledger(path), 1, 9)
    (tmp_path / "second").unlink()
    path.chmod(0o620)
    with pytest.raises(StorageError, match="chmod 600"):
        give(Ledger(path), 1, 9)
    path.chmod(0o600)
    lock = tmp_path / "ledger.json.lock"
    lock.chmod(0o606)
    with pytest.raises(StorageError, match="chmod 600"):
        give(Ledger(path), 1, 9)
    lock.chmod(0o600)
    lock.rename(tmp_path / "moved")
    lock.symlink_to(tmp_path / "moved")
    with pytest.raises(StorageError, match="cannot lock"):
        give(Ledger(path), 1, 9)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "pipe.lock").touch(0o600)
    with pytest.raises(StorageError, match="not a regular file"):
        give(Ledger(tmp_path / "pipe"), 1, 9)


def test_every_flipped_bit_is_refused(tmp_path):
    path = tmp_path / "ledger.json"
    give(Ledger(path), 5, 90)
    raw = path.read_bytes()
    lower = 0
    for at in range(len(raw) * 8):
        damaged = bytearray(raw)
        damaged[at // 8] ^= 1 << at % 8
        path.write_bytes(damaged)
        try:
            assert Ledger(path).used("model", "client") == 5, at  # white space, or the case of a digest's digit
        except InputError:
            continue
        lower += 1
    assert lower < 60
    path.write_bytes(raw)
    assert Ledger(path).used("model", "client") == 5


def test_without_the_digest_a_flipped_bit_lowers_the_count(tmp_path, monkeypatch):
    path = tmp_path / "ledger.json"
    give(Ledger(path), 5, 90)
    path.write_text(path.read_text().replace('"client": 5', '"client": 4'))
    with pytest.raises(InputError, match="digest"):
        give(Ledger(path), 1, 9)
    claimed = json.loads(path.read_text())["sha256"]
    monkeypatch.setattr(score_ledger, "_digest", lambda content: claimed)
    assert Ledger(path).used("model", "client") == 4


@pytest.mark.parametrize("text", FUZZ)
def test_damaged_ledgers_are_refused_in_one_line(tmp_path, text):
    path = tmp_path / "ledger.json"
    path.write_bytes(text.encode("latin-1"))
    path.chmod(0o600)
    for action in (lambda: Ledger(path).used("m", "c"), lambda: give(Ledger(path), 1, 9)):
        with pytest.raises(InputError, match="not a ledger of replies, or is damaged") as caught:
            action()
        assert "\n" not in str(caught.value)


def test_an_older_ledger_is_refused_by_the_mark_beside_it(tmp_path):
    path = tmp_path / "ledger.json"
    give(Ledger(path), 2, 9)
    backup = path.read_bytes()
    give(Ledger(path), 2, 9)
    path.write_bytes(backup)
    with pytest.raises(InputError, match="older than the mark"):
        give(Ledger(path), 1, 9)
    (tmp_path / "ledger.json.lock").unlink()  # knowingly
    assert Ledger(path).used("model", "client") == 2


def test_a_ledger_of_version_1_counts_on(tmp_path):
    path = tmp_path / "ledger.json"
    path.write_text(json.dumps({"magic": "securegen reply ledger 1", "replies": {"digest:S": {"client": 7}}}))
    path.chmod(0o600)
    with pytest.raises(PolicyError, match="7 replies of S went to client"):
        Ledger(path).reserve("0" * 32, "client", asked(4, 10, former="digest:S"))
    Ledger(path).reserve("0" * 32, "client", asked(3, 10, former="digest:S"))
    assert json.loads(path.read_text())["ledger"]["magic"] == score_ledger.MAGIC


def test_an_invitation_is_charged_once_and_can_be_withdrawn(tmp_path):
    ledger = Ledger(tmp_path / "ledger.json")
    ledger.reserve("a" * 32, "client", asked(6, 10))
    with pytest.raises(PolicyError, match="5 are promised in invitations and 5 more"):
        ledger.reserve("b" * 32, "client", asked(5, 10))
    ledger.charge("a" * 32)
    assert ledger.used("model", "client") == 6
    for again in (ledger.charge, ledger.withdraw):
        with pytest.raises(ArtefactError, match="no such invitation outstanding"):
            again("a" * 32)
    ledger.reserve("c" * 32, "client", asked(4, 10))
    ledger.withdraw("c" * 32)
    assert ledger.used("model", "client") == 7, "inviting costs one"
    ledger.reserve("d" * 32, "client", asked(3, 10))


def test_two_scores_with_the_same_weights_share_a_count(tmp_path):
    ledger, one = Ledger(tmp_path / "ledger.json"), asked(4, 10)[0]
    ledger.reserve("a" * 32, "client", [one, one])
    ledger.charge("a" * 32)
    assert ledger.used("model", "client") == 8
    with pytest.raises(PolicyError):
        ledger.reserve("b" * 32, "client", [one])


def test_a_ledger_that_everybody_may_replace_is_refused(tmp_path):
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(0o777)
    ledger = Ledger(folder / "ledger.json")
    with pytest.raises(StorageError, match="everybody may write in"):
        give(ledger, 1, 10)
    folder.chmod(0o1777)  # as /tmp: only its owner removes a file
    give(ledger, 1, 10)
    assert ledger.used("model", "client") == 1


# outstanding invitations


def granted(folder: Path, additive, rounds: int) -> int:
    """People for whom invitations made first and answered afterwards gave scores of a model of 400 weights: 20 may be."""
    study = open_scores(Inputs(additive.bfile), ScoreInputs((additive.score,)))
    inputs, rules, people = study.inputs, PrivacyRules(folder / "ledger.json", "clinic"), len(study.reader.samples)
    messages.write_request(messages.make_request(study.reader, "cohort"), folder / "request")
    made = []
    for i in range(rounds):
        try:
            invite(folder / "request", inputs, rules, folder / f"i{i}", folder / f"p{i}")
            made.append(folder / f"p{i}")
        except PolicyError:
            break
    for private in made:
        spend(private, inputs, rules)
    return people * len(made)


def test_outstanding_invitations_count_for_the_rule_of_20_weights(additive, tmp_path, monkeypatch):
    (tmp_path / "on").mkdir()
    assert granted(tmp_path / "on", additive, 5) == 18
    real = score_ledger.refuse_more
    monkeypatch.setattr(
        score_ledger, "refuse_more", lambda content, client, a: real(content | {"reserved": {}}, client, a)
    )
    (tmp_path / "off").mkdir()
    assert granted(tmp_path / "off", additive, 5) == 30


def test_a_copied_private_folder_answers_once(additive, tmp_path, monkeypatch):
    import shutil

    study = open_scores(Inputs(additive.bfile), ScoreInputs((additive.score,)))
    inputs, rules = study.inputs, PrivacyRules(tmp_path / "ledger.json", "clinic")
    messages.write_request(messages.make_request(study.reader, "cohort"), tmp_path / "request")
    invite(tmp_path / "request", inputs, rules, tmp_path / "i", tmp_path / "p")
    shutil.copytree(tmp_path / "p", tmp_path / "copy")
    spend(tmp_path / "p", inputs, rules)
    with pytest.raises(ArtefactError, match="outstanding"):
        spend(tmp_path / "copy", inputs, rules)
    invite(tmp_path / "request", inputs, rules, tmp_path / "i2", tmp_path / "p2")
    withdraw(tmp_path / "p2", rules.ledger)
    with pytest.raises(ArtefactError, match="outstanding"):
        spend(tmp_path / "p2", inputs, rules)
    with pytest.raises(ArtefactError, match="outstanding"):
        spend(tmp_path / "p2", inputs, PrivacyRules(tmp_path / "elsewhere.json", "clinic"))


def files_of_one_model(additive, folder: Path) -> dict[str, Path]:
    """Files that differ in what does not matter, or hardly."""
    header, *rows = Path(additive.score).read_text().splitlines()
    cells = [row.split("\t")[:4] for row in rows]
    made = {
        "rows turned round": cells[::-1],
        "numbers written otherwise": [[*c[:3], f"{c[3]}0e0"] for c in cells],
        "twice the weights": [[*c[:3], str(2 * Decimal(c[3]))] for c in cells],
        "a third of the weights, the other alleles": [[c[0], c[2], c[1], str(-3 * Decimal(c[3]))] for c in cells],
        "one weight larger": [[*c[:3], str(Decimal(c[3]) * (1 + (i == 5)))] for i, c in enumerate(cells)],
        "a quarter left out, one id renamed": [["x", *c[1:]] if i == 7 else c for i, c in enumerate(cells) if i % 4],
        "every id renamed": [[f"rs{i}", *c[1:]] for i, c in enumerate(cells)],
    }
    for name, lines in made.items():
        text = ["# comment", "ID\teffect_allele\tother_allele\tW", *("\t".join(c) for c in lines)]
        (folder / f"{name}.tsv").write_text("\n".join(text) + "\n")
    return {name: folder / f"{name}.tsv" for name in made}


def test_a_model_is_its_weights_not_its_file(additive, tmp_path):
    """Other files of a model have one count; other models have others."""
    from securegen.engines.ckks.scores.promises import model_names
    from securegen.scores.files import read_scoring

    (own,) = model_names(read_scoring(additive.score))
    files = files_of_one_model(additive, tmp_path)
    for what, path in files.items():
        (found,) = model_names(read_scoring(path, [1, 2, 4]))
        assert likeness(own, found) >= 0.5 and known_as(found, ["other", own]) == own, what
    rng, lines = np.random.default_rng(1), files["twice the weights"].read_text().splitlines()
    others = [line.rsplit("\t", 1)[0] + f"\t{rng.normal():.5f}" for line in lines[2:]]
    (tmp_path / "o.tsv").write_text("\n".join([*lines[:2], *others]) + "\n")
    (other,) = model_names(read_scoring(tmp_path / "o.tsv", [1, 2, 4]))
    assert likeness(own, other) < 0.2 and known_as(other, [own]) == other


def test_a_changed_file_gets_no_cap_of_its_own(additive, tmp_path, monkeypatch):
    study = open_scores(Inputs(additive.bfile), ScoreInputs((additive.score,)))
    messages.write_request(messages.make_request(study.reader, "cohort"), tmp_path / "request")
    rules, files = PrivacyRules(tmp_path / "ledger.json", "clinic"), files_of_one_model(additive, tmp_path)
    names = [name for name in files if name != "every id renamed"]  # this cohort has its variants by id only

    def invitations() -> int:
        made = 0
        for i, name in enumerate(names):
            given = ScoreInputs((str(files[name]),), score_col_nums=(1, 2, 4))
            with contextlib.suppress(PolicyError):
                invite(tmp_path / "request", given, rules, tmp_path / f"i{i}", tmp_path / f"p{i}")
                made += 1
        return made

    assert invitations() == 3, "6 people each, of 20"
    monkeypatch.setattr(score_ledger, "known_as", lambda model, names: model)
    rules.ledger.unlink()
    (tmp_path / "ledger.json.lock").unlink()
    assert invitations() > 3


@pytest.mark.parametrize("times", [1, -2])
def test_the_difference_of_two_scores_is_a_small_model(additive, tmp_path, monkeypatch, times):
    """Two scores that differ in one weight, or one and a multiple of it: one person's two answers give it."""
    header, *rows = Path(additive.score).read_text().splitlines()
    cells = [row.split("\t")[:4] for row in rows]
    lines = ["ID\teffect_allele\tother_allele\tA\tB"]
    multiple = [str(times * Decimal(c[3])) for c in cells]
    lines += ["\t".join([*c, "1.5" if i == 7 else m]) for i, (c, m) in enumerate(zip(cells, multiple, strict=True))]
    (tmp_path / "two.tsv").write_text("\n".join(lines) + "\n")
    study = open_scores(Inputs(additive.bfile), ScoreInputs((str(tmp_path / "two.tsv"),)))
    one = study.reader.select(samples=np.array([1]))
    messages.write_request(messages.make_request(one, "cohort"), tmp_path / "request")
    rules = PrivacyRules(tmp_path / "ledger.json", "clinic")
    with pytest.raises(PolicyError, match="A has 1 non-zero weights, or that many which another score"):
        invite(tmp_path / "request", study.inputs, rules, tmp_path / "i", tmp_path / "p")
    monkeypatch.setattr(
        "securegen.engines.ckks.scores.promises.telling_weights",
        lambda plan, match: [plan.score_variants(s) for s in (0, 1)],
    )
    invite(tmp_path / "request", study.inputs, rules, tmp_path / "i", tmp_path / "p")
    few = open_scores(study.genotypes, study.inputs, opened=one)
    a, b = np.ldexp(plain_scores(few.reader, few.plan).score[0].astype(float), -np.array(few.plan.exponent))
    copies = two_copies(few, 7)
    assert b - times * a == pytest.approx((1.5 - times * float(cells[7][3])) * copies, abs=1e-5) and copies


def two_copies(study, row: int) -> int:
    """Copies of the effect allele of a row that one person has."""
    (match,) = study.matches
    at = int(np.flatnonzero(match.row == row)[0])
    g = int(study.reader.read(int(match.variant[at]), int(match.variant[at]) + 1).dosage[0, 0])
    return 2 - g if match.swapped[at] else g


def test_an_invitation_that_cannot_be_written_gives_back_what_it_reserved(additive, tmp_path):
    study = open_scores(Inputs(additive.bfile), ScoreInputs((additive.score,)))
    rules = PrivacyRules(tmp_path / "ledger.json", "clinic")
    messages.write_request(messages.make_request(study.reader, "cohort"), tmp_path / "request")
    (tmp_path / "i").write_text("in the way")
    with pytest.raises(StorageError):
        invite(tmp_path / "request", study.inputs, rules, tmp_path / "i", tmp_path / "p")
    content = json.loads(rules.ledger.read_text())["ledger"]
    assert not content["reserved"] and [list(c.values()) for c in content["replies"].values()] == [[1]]
