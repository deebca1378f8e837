"""Visas at every door: by command, from Python, by editing files and by the clock."""

from __future__ import annotations

import datetime
import json
import time

import pytest
from policy_tools import EASY, Ruled
from support import securegen
from visa_tools import DAY, GRANT, Signer

import securegen as sg
from securegen.errors import PolicyError, UsageError
from securegen.governance import gate, policy_file, policy_steps, signing, visa, visa_roles
from securegen.governance.audit_beside import log_of
from securegen.governance.audit_verify import read_log
from securegen.governance.policy_draft import draft
from securegen.governance.visa import subject_of

pytest.importorskip("jwt")
CODE = PolicyError.exit_code
BROKER = Signer()
GIVES = {
    "name": "grant",
    "issuer": "broker",
    "role": "owner",
    "by": ["dac"],
    **{k: GRANT[k] for k in ("type", "value", "source")},
}


def write(ruled: Ruled, version: int = 1, role: str = "none", **settings: object):
    """A policy in which anna and otto have a role by visas alone."""
    steward = signing.read_identity(ruled.key("steward"))
    people = [{"name": "steward", "key": steward.verify_key.hex(), "role": "owner"}] + [
        {
            "name": n, "key": signing.read_identity(ruled.key(n)).verify_key.hex(), "role": role,
            "subjects": [subject_of(BROKER.iss, n)],
        }
        for n in ("anna", "otto")
    ]  # fmt: skip
    chosen = EASY | {k.replace("__", "."): v for k, v in settings.items()} | {"version": version}
    text = draft("Test", steward.verify_key.hex(), people, chosen, issuers=[BROKER.table], visas=[GIVES])
    ruled.policy.write_text(text)
    return policy_file.sign_policy(ruled.policy, steward)


def shown(ruled: Ruled, text: str | None = None, name: str = "anna.jwt") -> str:
    file = ruled.folder / name
    file.write_text(BROKER.passport(BROKER.visa("anna")) if text is None else text)
    return str(file)


def gwas(ruled, *more, who="anna", out="out"):
    words = ruled.words("--out", ruled.folder / out, "--quiet", "--purpose", "HMB", "--identity", ruled.key(who))
    return securegen("gwas", *words, *more)


def entries(ruled):
    return read_log(log_of(ruled.policy).folder).entries


def test_a_command_shows_a_visa_and_the_decision_names_its_line(ruled):
    policy = write(ruled)
    refused = gwas(ruled)
    assert refused.code == CODE and "policy.role" in refused.err and ruled.results("out") == []
    assert gwas(ruled, "--visa", shown(ruled)).code == 0
    said = json.loads((ruled.folder / "out.run.json").read_text())["governance"]
    assert (said["who"], said["role"]) == ("anna", "owner")
    line = policy.visas[0].line
    assert (
        f"policy.visa: grant of anna: ControlledAccessGrants of broker, {said['visas'][0][:16]}, until"
        in (ruled.folder / "out.log").read_text()
    )
    assert any(r["rule"] == "policy.visa" and r["line"] == line for r in said["decisions"][0]["reasons"])


def test_the_log_has_a_digest_and_nothing_of_the_person(ruled):
    write(ruled)
    secret = BROKER.visa("anna", jti="a-name-of-somebody")
    assert gwas(ruled, "--visa", shown(ruled, secret)).code == 0
    release = next(e for e in entries(ruled) if e.kind == "release")
    (found,) = visa.read_visas(policy_file.read_policy(ruled.policy), [shown(ruled, secret)])
    assert release.facts["visas"] == [found.digest] and "policy.visa" in release.facts["rules"]
    written = b"".join(
        p.read_bytes() for p in ruled.folder.rglob("*") if p.is_file() and "audit" in str(p) or "out." in p.name
    )
    for word in (
        b"a-name-of-somebody",
        BROKER.iss.encode(),
        b"sets/1",
        secret.encode(),
        subject_of(BROKER.iss, "anna").encode(),
    ):
        assert word not in written
    assert secret.split(".")[1].encode() not in written


def test_scores_step_and_parties_take_visas_as_they_take_identities(ruled):
    import click

    from securegen.cli.main import main

    seen = 0

    def walk(found, context):
        nonlocal seen
        if isinstance(found, click.Group):
            for name in found.list_commands(context):
                walk(found.get_command(context, name), context)
            return
        names = {p.name for p in found.params}
        if "identity" in names:
            seen += 1
            assert "visa" in names, found.name

    walk(main, click.Context(main))
    assert seen > 20


def test_from_python(ruled):
    write(ruled)
    key, words = ruled.key("anna"), {"purpose": "HMB", "chr": "1"}
    with pytest.raises(PolicyError, match="policy.role"):
        sg.run(ruled.study(identity=key, **words))
    assert sg.run(ruled.study(identity=key, visa=shown(ruled), **words)).record["governance"]["role"] == "owner"
    inputs = sg.Inputs(bfile=ruled.cohort.bfile, identity=key, visa=(shown(ruled),), **words)
    assert len(sg.kinship(inputs))  # a row per person, which an analyst has not
    with pytest.raises(PolicyError, match="policy.visa: .* give `identity`"):
        sg.run(ruled.study(visa=shown(ruled), **words))


def test_a_visa_without_a_policy_is_refused(ruled):
    done = securegen("gwas", *ruled.words("--out", ruled.folder / "x", "--visa", shown(ruled)))
    assert done.code == CODE and "no policy governs" in done.err


def test_a_stolen_visa_does_not_work_for_another_key(ruled, monkeypatch):
    write(ruled)
    done = gwas(ruled, "--visa", shown(ruled), who="otto")
    assert done.code == CODE and "its subject is not one of otto" in done.err
    refusal = [e for e in entries(ruled) if e.kind == "refusal"][-1]
    assert "policy.visa" in refusal.facts["rules"] and len(refusal.facts["visas"]) == 1
    monkeypatch.setattr(visa_roles, "_mine", lambda policy, who, valid: {v.subject for v in valid})
    assert gwas(ruled, "--visa", shown(ruled), who="otto").code == 0


def test_a_forged_visa_is_refused_and_logged(ruled, monkeypatch):
    write(ruled)
    forged = shown(ruled, Signer().visa("anna"))
    done = gwas(ruled, "--visa", forged)
    assert done.code == CODE and "altered, or is not signed by broker" in done.err and ruled.results("out") == []
    assert [e for e in entries(ruled) if e.kind == "refusal"][-1].facts["rules"] == ["policy.visa"]
    monkeypatch.setattr(visa, "_signed", lambda text, key: True)
    assert gwas(ruled, "--visa", forged).code == 0


def test_who_shows_a_visa_that_counts_for_nothing_is_told(ruled):
    """A role of one's own is no reason to pass over a visa that does not hold."""
    write(ruled, role="analyst")
    assert gwas(ruled).code == 0
    done = gwas(ruled, "--visa", shown(ruled, BROKER.visa("anna", exp=int(time.time()) - 5)), out="again")
    assert done.code == CODE and "it ended on" in done.err


def test_a_clock_that_was_set_back_does_not_bring_a_visa_to_life(ruled, monkeypatch):
    write(ruled)
    text = shown(ruled, BROKER.visa("anna", exp=int(time.time()) + DAY))
    real = time.time_ns
    monkeypatch.setattr("time.time_ns", lambda: real() + 2 * DAY * 10**9)
    log_of(ruled.policy).append("key", {"action": "unlocked", "key": "0" * 64})  # the log has been later
    monkeypatch.setattr("time.time_ns", real)
    done = gwas(ruled, "--visa", text)
    assert done.code == CODE and "policy.visa" in done.err and "it ended on" in done.err
    long_ago = datetime.datetime(2001, 1, 1, tzinfo=datetime.UTC)
    monkeypatch.setattr(gate, "moment", lambda at: long_ago)
    assert gwas(ruled, "--visa", text).code == 0


def test_a_visa_that_ends_while_a_run_goes_on_opens_nothing_more(ruled, monkeypatch):
    write(ruled)
    log_of(ruled.policy).append("key", {"action": "unlocked", "key": "0" * 64})
    text = shown(ruled, BROKER.visa("anna", exp=int(time.time()) + 3600))
    study = ruled.study(identity=ruled.key("anna"), visa=text, purpose="HMB")
    gone = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=2)
    monkeypatch.setattr(gate, "moment", lambda at: gone)  # by the log it is later
    with pytest.raises(PolicyError, match="policy.visa: .*it ended on"):
        sg.run(study)


def test_an_edited_policy_gives_no_role(ruled, monkeypatch):
    write(ruled)
    text, mallory = ruled.policy.read_text(), subject_of(BROKER.iss, "mallory")
    ruled.policy.write_text(text.replace(subject_of(BROKER.iss, "otto"), mallory))
    words = "--visa", shown(ruled, BROKER.visa("mallory"))
    done = gwas(ruled, *words, who="otto")
    assert done.code == CODE and "changed since it was signed" in done.err
    monkeypatch.setattr(
        policy_file, "read_policy", lambda path: policy_file.parse(ruled.policy.read_bytes(), str(path))
    )
    assert gwas(ruled, *words, who="otto").code == 0


def test_explain_and_check_say_what_a_visa_gives(ruled):
    write(ruled)
    file = shown(ruled, f"{BROKER.visa('anna')} {BROKER.visa('stranger')}")
    words = {"who": "anna", "purpose": "HMB", "samples": 90, "variants": 100}
    assert {r.rule for r in policy_steps.explain(ruled.policy, **words).refusals} == {"policy.role"}
    assert policy_steps.explain(ruled.policy, visa=[file], kind="people", **words).allowed
    later = datetime.date.today() + datetime.timedelta(days=3)
    assert "policy.visa" in {
        r.rule for r in policy_steps.explain(ruled.policy, visa=[file], today=later, **words).refusals
    }
    with pytest.raises(UsageError, match="give `who`"):
        policy_steps.explain(ruled.policy, visa=[file], **{**words, "who": None})
    done = securegen("policy", "check", ruled.policy, "--visa", file)
    assert done.code == 0 and "gives grant to anna" in done.out and "of no identity of the policy" in done.out
    assert subject_of(BROKER.iss, "stranger") in done.out
    done = securegen(
        "policy", "explain", ruled.policy, "--who", "anna", "--visa", file, "--purpose", "HMB", "--samples", 90, "--variants", 9
    )  # fmt: skip
    assert done.code == 0 and "policy.visa: grant of anna" in done.out


def test_init_pins_the_keys_of_a_file(ruled):
    (ruled.folder / "keys.jwks").write_text(
        json.dumps({"keys": [{**BROKER.jwk, "x5t": "abc"}, {"kty": "oct", "k": "AA"}]})
    )
    new = ruled.folder / "new"
    done = securegen(
        "policy", "init", "--out", new / "policy.toml", "--name", "X", "--key", ruled.key("steward"),
        "--issuer", f"broker={BROKER.iss}?a=b={ruled.folder / 'keys.jwks'}",
    )  # fmt: skip
    assert done.code == 0, done.err
    made = policy_file.parse((new / "policy.toml").read_bytes(), "it").issuers[0]
    assert (made.iss, made.keys[0].kid, made.keys[0].algorithm) == (f"{BROKER.iss}?a=b", "k1", "EdDSA")
    (ruled.folder / "keys.jwks").write_text('{"keys": [{"kty": "oct", "k": "AA"}]}')
    with pytest.raises(PolicyError, match="no public key"):
        sg.policy.init(
            new / "p.toml", "X", key=ruled.key("steward"), issuers={"b": (BROKER.iss, ruled.folder / "keys.jwks")}
        )
