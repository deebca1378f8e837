"""Records, states, certificates and sizes that others wrote: one line, before anything follows from them."""

from __future__ import annotations

import base64
import json
import os
from types import SimpleNamespace

import pytest
from mutations import EVERY, Outcome, mutations

from securegen.cli import rerun
from securegen.engines.ckks import keys
from securegen.engines.ckks.owner import secret_key
from securegen.engines.mpc import dealer, state_file
from securegen.engines.mpc.net import certs, pem, session
from securegen.engines.mpc.net.parties import read_parties
from securegen.errors import InputError, KeyFileError, PolicyError, ProtocolError, StorageError, UsageError
from securegen.inspection import inspect
from securegen.plot.run import costs
from securegen.record.run_log import records_in
from securegen.report.cost import parameter_section
from securegen.report.gather import open_run
from securegen.report.privacy import privacy_section
from securegen.report.scores import match_table

RECORD = {
    "command": "gwas", "version": "0.1", "engine": "ckks", "samples": 90, "variants": 3, "phenotypes": ["QT"],
    "seconds": {"gwas": 1.0, "total": 2.0}, "bytes": {"sent": {"a": 5}, "rounds": 3}, "peak_rss_bytes": 9,
    "machine": {"python": "3"}, "promise": {"QT": {"dt_promised": 0.1}}, "inputs": {"bed": "sha256:0"},
    "match": {"a.tsv": {"used": 3}}, "parameters": {"bits": 16, "ring": {"n": 4096, "primes": [3], "special": 5, "lanes": 16}},
    "receipt": {"scenario": "s", "parties": [{"name": "a"}], "released": ["a/b"], "assumptions": [], "warnings": ["w"]},
    "call": {"command": "gwas", "options": {"out": "x"}, "digests": {"a": "sha256:0"}},
    "earlier": [{"command": "plan", "seconds": {}}],
}  # fmt: skip


def test_the_record_of_a_run_with_anything_anywhere(tmp_path):
    path, outcome = tmp_path / "r.run.json", Outcome()
    for what, changed in mutations(RECORD):
        path.write_text(json.dumps(changed))

        def attempt() -> bool:
            records_in(path)
            inspect(path).lines()
            rerun._call(str(path), None)
            record = open_run(str(tmp_path / "r")).record
            costs(record), privacy_section(record), match_table(record), parameter_section(record)
            return True

        outcome.take(what, attempt)
    assert not outcome.bad, outcome.bad[:5]
    assert outcome.refused * EVERY > 350


def test_a_record_names_no_table_of_another_folder(tmp_path):
    (tmp_path / "inner").mkdir()
    (tmp_path / "outside.QT.glm.linear").write_text("no table")
    path = tmp_path / "inner" / "r.run.json"
    path.write_text(json.dumps({"command": "gwas", "phenotypes": ["/../../outside.QT", "q" * 255]}))
    assert open_run(str(path)).results == ()


def test_a_state_with_anything_anywhere(tmp_path):
    """With the digest that fits, so that it is the schema which refuses."""
    path = tmp_path / "state"
    owner = state_file.StateFile(path)
    owner.mask_key("c", "g/0", "d"), owner.spend("c", 3, limit=9)
    original, outcome = json.loads(path.read_text()), Outcome()
    del original["digest"]
    for what, changed in mutations(original):
        content = changed | {"digest": state_file._digest(changed)}
        path.write_text(json.dumps(content))
        path.chmod(0o600)

        def attempt() -> bool:
            owner.mask_key("c", "g/0", "d")
            return owner.spend("c", 1, limit=9) > 0

        outcome.take(what, attempt)
    assert not outcome.bad, outcome.bad[:5]
    assert outcome.refused * EVERY > 140


def test_a_bit_that_decays_does_not_lower_a_limit(tmp_path, monkeypatch):
    path = tmp_path / "state"
    owner = state_file.StateFile(path)
    owner.spend("c", 9, limit=9)
    raw = path.read_text()
    path.write_text(raw.replace('"c": 9', '"c": 1'))
    with monkeypatch.context() as off:
        off.setattr(state_file, "_digest", lambda content: json.loads(raw)["digest"])
        assert owner.spend("c", 1, limit=9) == 2  # what the digest prevents
    path.write_text(raw.replace('"c": 9', '"c": 1'))
    with pytest.raises(StorageError, match="does not have the digest that it names"):
        owner.spend("c", 1, limit=9)
    old = {k: v for k, v in json.loads(raw).items() if k != "digest"} | {"format": "securegen mpc state 1"}
    path.write_text(json.dumps(old))  # as version 0.1 wrote it, whose lock had no mark
    (tmp_path / "state.lock").write_bytes(b"")
    with pytest.raises(PolicyError, match="answered 9 of at most 9"):
        owner.spend("c", 1, limit=9)


@pytest.mark.parametrize("kind", ["certificate", "request"])
def test_certificates_with_a_changed_byte(kind, tmp_path):
    certs.init_ca(tmp_path)
    path = certs.request(tmp_path, "ada")
    if kind == "certificate":
        path = certs.issue(tmp_path, path, name="ada", rank=0)
    head, *body, tail = path.read_text().split("\n")[:-1]
    der, outcome = base64.b64decode("".join(body)), Outcome()
    for place in range(0, len(der), 1 if os.environ.get("SECUREGEN_FUZZ") else 5):
        for bit in (1, 128):
            changed = bytearray(der)
            changed[place] ^= bit
            path.write_text("\n".join([head, base64.b64encode(changed).decode(), tail, ""]))

            def attempt() -> bool:
                if kind == "certificate":
                    pem.pin(path)
                    certs.PartyIdentity.in_directory(tmp_path, "ada").check(pin="sha256:" + "0" * 64, rank=0)
                    return False
                certs.issue(tmp_path, path, name="ada", rank=0, out=tmp_path / "made.pem").unlink()
                return False  # its signature covers every byte

            outcome.take(f"byte {place}", attempt)
    assert not outcome.bad, outcome.bad[:5]


@pytest.mark.parametrize("what", ["certificate", "parties", "public key", "secret key", "plan", "state"])
def test_a_named_pipe_is_no_file(what, tmp_path):
    from securegen.cli.keygen import read_plan

    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read = {
        "certificate": (pem.pin, KeyFileError), "parties": (read_parties, InputError),
        "public key": (keys.read_public, KeyFileError), "secret key": (secret_key.read_secret, KeyFileError),
        "plan": (read_plan, InputError), "state": (lambda p: state_file.StateFile(p).spend("a", 1, limit=2), StorageError),
    }  # fmt: skip
    function, error = read[what]
    with pytest.raises(error, match="not a regular file"):
        function(pipe)
    with pytest.raises(InputError, match="neither a file nor a folder"):
        inspect(pipe)


HUGE = ([1 << 31, 8, 64, 1 << 31], [1 << 20, 1 << 10, 64, 1], [1, 1, 64, 1])


@pytest.mark.parametrize("serve", [dealer.block_dealer, dealer.score_dealer, dealer.server_dealer])
@pytest.mark.parametrize("asked", HUGE)
def test_the_dealer_bounds_what_a_peer_asks_for(serve, asked, monkeypatch):
    """Two masks and their product together, before a word of them is drawn."""

    def no_words(*arguments: object, **options: object) -> None:
        raise AssertionError("words were drawn")

    count = 4 if serve is dealer.block_dealer else 3
    answers = iter([asked[:count], *([[1 << 31] if count == 3 else [1 << 31, 1]] * 2)])
    peer = SimpleNamespace(
        receive_json=lambda source, step: next(answers), receive_key=lambda source, step: bytes(16),
        send_key=lambda *a: None, send=lambda *a: None,
    )  # fmt: skip
    few = asked[0] == 1
    if not few:
        monkeypatch.setattr(dealer, "words", no_words)
    who = {"left": "ada", "right": "bob"} | ({"servers": ("x", "y")} if serve is dealer.server_dealer else {})
    with pytest.raises(ProtocolError, match=r"'ada' announced sizes .*smaller blocks"):
        serve(peer, **who)


@pytest.mark.parametrize(
    "value", [None, [1], [1, 2, 3, "x"], [1, 2, 3, -1], [1, 2, 3, True], {"a": 1}, [1 << 32] * 4, "\x1b[2J"]
)
def test_sizes_that_are_none(value):
    with pytest.raises(ProtocolError, match="announced .*, 4 sizes below 2.32 expected") as caught:
        dealer.sizes(value, 4, "ada")
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "terms",
    [
        {"a\x1b[2J\n": 1},
        {"dimension samples": "\x1b[2J"},
        {"dimension samples": 10**300},
        {"x" * 300: 1},
        [1],
        None,
        {"a": []},
    ],
)
def test_a_peers_terms_are_shown_escaped(terms):
    mesh = SimpleNamespace(
        names=("bob",), send_json=lambda *a: None, receive_json=lambda *a, **o: {"terms": terms, "nonce": "0" * 32}
    )
    mine = session.Session(SimpleNamespace(digest=lambda: "d"), "ada", mesh)
    with pytest.raises(ProtocolError, match="^party 'bob' (runs with|sent no terms)") as caught:
        session._agree(mine, "p/1", {"samples": 3})
    assert str(caught.value).isprintable()


def test_a_rerun_of_a_hostile_record_is_one_line(tmp_path):
    path = tmp_path / "r.run.json"
    path.write_text(json.dumps({"command": "\x1b[2J", "call": {"command": "gwas", "options": {}}}))
    with pytest.raises((InputError, UsageError)) as caught:
        rerun._call(str(path), "gwas")
    assert str(caught.value).isprintable()
