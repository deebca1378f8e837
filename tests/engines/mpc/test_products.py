"""Vertical, outsourced and score protocols against integer products in the clear, and what each party receives."""

from __future__ import annotations

import json
import time
import tracemalloc

import numpy as np
import pytest

from securegen.engines.mpc import outsourced, vertical
from securegen.engines.mpc.dealer import block_dealer, score_dealer, server_dealer
from securegen.engines.mpc.masked_store import MaskedStore
from securegen.engines.mpc.scores import model_side, people_side
from securegen.engines.mpc.state_file import StateFile
from securegen.engines.mpc.vertical import Block, Roles
from securegen.errors import PolicyError, ProtocolError

from .conftest import results

DATA = np.random.default_rng(11)
ROLES = Roles("gen", "phe", "deal")
PARTIES = {"gen": "genotypes", "phe": "phenotypes", "deal": "dealer"}
N, M, V = 203, 37, 10


def genotypes(m=M, n=N):
    return DATA.integers(0, 3, (m, n)).astype(np.int8)


def blocks(g, size=V):
    """Blocks with a stream of g² everywhere and of missing calls in every second block."""
    for start in range(0, len(g), size):
        part = g[start : start + size]
        streams = {"g": part, "q": part.astype(np.int16) ** 2}
        if start // size % 2:
            streams["m"] = (part == 1).astype(np.int8)
        yield Block(start, streams)


def run_vertical(s, g, y, state, *, bits=64, store=None, resend=True, cohort="c", limit=10**6, to="phe"):
    def gen(session):
        sides = vertical.genotype_side(
            session, ROLES, blocks(g), samples=g.shape[1], columns=y.shape[1], cohort=cohort,
            state=StateFile(state / "gen.json"), column_limit=limit, bits=bits, resend=resend,
        )  # fmt: skip
        return opened(session, sides)

    def phe(session):
        own = StateFile(state / "phe.json")
        return opened(
            session, vertical.phenotype_side(session, ROLES, y, state=own, bits=bits, store=store, resend=resend)
        )

    def opened(session, sides):
        out, shares = [], []
        for side in sides:
            named = {
                n: vertical.reveal(session, x, step=f"open/{side.start}/{n}", between=("gen", "phe"), to=to)
                for n, x in side.streams.items()
            }
            out.append(Block(side.start, named))
            shares.append(side)
        return out, shares, session.traffic

    def deal(session):
        return block_dealer(session, left="gen", right="phe")

    return s.run({"gen": gen, "phe": phe, "deal": deal})


def assert_sums(found, g, y):
    for block, want in zip(found, blocks(g), strict=True):
        assert block.start == want.start and list(block.streams) == list(want.streams)
        for name, x in want.streams.items():
            np.testing.assert_array_equal(block.streams[name], x.astype(np.int64) @ y)


@pytest.mark.parametrize(("bits", "size"), [(64, 1 << 50), (32, 1 << 20)])
def test_vertical_products_are_exact_and_only_the_receiver_learns(study, tmp_path, bits, size):
    g, y = genotypes(), DATA.integers(-size, size, (N, 3))
    out = results(run_vertical(study(PARTIES), g, y, tmp_path, bits=bits))
    assert_sums(out["phe"][0], g, y)
    assert all(x is None for block in out["gen"][0] for x in block.streams.values())
    for mine, theirs in zip(out["gen"][1], out["phe"][1], strict=True):  # no share is the sum
        for name in mine.streams:
            assert (mine.streams[name] != 0).any() and (theirs.streams[name] != 0).any()


def test_online_bytes_a_variant_and_a_further_phenotype(study, tmp_path):
    """DESIGN 8: at most 8.1 N a variant online (one stream, K = 1), at most 100 bytes a further phenotype."""
    g = DATA.integers(0, 3, (200, 2000)).astype(np.int8)
    s = study(PARTIES)
    sent = {}
    for columns in (1, 5):
        y = DATA.integers(-1000, 1000, (2000, columns))

        def gen(session, y=y):
            part = [Block(i, {"g": g[i : i + 50]}) for i in range(0, 200, 50)]
            sides = vertical.genotype_side(
                session, ROLES, part, samples=2000, columns=y.shape[1], cohort=f"c{y.shape[1]}",
                state=StateFile(tmp_path / "g.json"), column_limit=100,
            )  # fmt: skip
            for side in sides:
                vertical.reveal(session, side.streams["g"], step=f"o{side.start}", between=("gen", "phe"), to="phe")
            return session.traffic.sent

        def phe(session, y=y):
            for side in vertical.phenotype_side(session, ROLES, y, state=StateFile(tmp_path / "p.json")):
                vertical.reveal(session, side.streams["g"], step=f"o{side.start}", between=("gen", "phe"), to="phe")
            return session.traffic.sent

        out = results(s.run({"gen": gen, "phe": phe, "deal": lambda x: block_dealer(x, left="gen", right="phe")}))
        delta = 2000 * 8 * columns  # once, whatever the number of variants
        sent[columns] = out["gen"]["phe"] + out["phe"]["gen"] - delta
    assert sent[1] / 200 <= 8.1 * 2000
    assert (sent[5] - sent[1]) / 4 / 200 <= 100


def test_memory_does_not_grow_with_variants(study, tmp_path):
    """320 MiB of masked genotypes stream through two buffers of 48 MiB, whoever is slower; blocks are 3.2 MiB."""
    block = DATA.integers(0, 3, (200, 2000)).astype(np.int8)
    y = DATA.integers(-1000, 1000, (2000, 1))

    def gen(s):
        stream = (Block(i, {"g": block}) for i in range(100))
        sides = vertical.genotype_side(
            s, ROLES, stream, samples=2000, columns=1, cohort="c", state=StateFile(tmp_path / "g"), column_limit=1
        )
        return sum(1 for _ in sides)

    def phe(s):
        time.sleep(1)  # the slower party: everything waits in the buffers
        return sum(1 for _ in vertical.phenotype_side(s, ROLES, y, state=StateFile(tmp_path / "p")))

    s = study(PARTIES)
    tracemalloc.start()
    try:
        out = results(s.run({"gen": gen, "phe": phe, "deal": lambda x: block_dealer(x, left="gen", right="phe")}))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert out["gen"] == out["phe"] == 100
    assert peak < (2 * 48 + 12 * 3.2) * 2**20


def test_second_phenotypes_send_no_genotypes(study, tmp_path):
    g = genotypes()
    store = MaskedStore(tmp_path / "masked")
    s = study(PARTIES)
    sent = []
    for resend in (True, False):
        y = DATA.integers(-1000, 1000, (N, 2))
        out = results(run_vertical(s, g, y, tmp_path, store=store, resend=resend))
        assert_sums(out["phe"][0], g, y)
        sent.append(out["gen"][2].sent["phe"])
    streams = sum(x.size for b in blocks(g) for x in b.streams.values())
    assert sent[0] - sent[1] > 8 * streams and sent[1] < 60 * M + 2000


def test_a_cohort_that_changed_is_refused_before_anything_is_sent(study, tmp_path):
    g, y = genotypes(), DATA.integers(-9, 9, (N, 1))
    s = study(PARTIES)
    results(run_vertical(s, g, y, tmp_path))
    changed = g.copy()
    changed[0, 0] = (changed[0, 0] + 1) % 3
    out = run_vertical(s, changed, y, tmp_path)
    assert isinstance(out["gen"], PolicyError) and "covers other data" in str(out["gen"])
    assert all("PolicyError" in str(out[n]) for n in ("phe", "deal"))


def test_one_mask_on_two_cohorts_gives_their_difference_and_the_state_prevents_it(tmp_path):
    """The attack: ε - ε' = g - g'. With keys from the owner's state other data means another mask."""
    g, other = genotypes().T.copy(), genotypes().T.copy()
    key, ring = bytes(16), np.dtype(np.uint64)
    leak = vertical.cover(g, key, ring) - vertical.cover(other, key, ring)
    np.testing.assert_array_equal(leak.view(np.int64), g.astype(np.int64) - other)

    states = [StateFile(tmp_path / "a.json"), StateFile(tmp_path / "b.json")]
    keys = [st.mask_key("c", "g/0", d) for st, d in zip(states, ("digest 1", "digest 2"), strict=True)]
    # the same file restored from a backup, as if the first use had been forgotten
    text = (tmp_path / "a.json").read_text().replace("digest 1", "digest 2")
    state = {k: v for k, v in json.loads(text).items() if k != "digest"} | {"format": "securegen mpc state 1"}
    (tmp_path / "b.json").write_text(json.dumps(state))  # as version 0.1 wrote it
    keys[1] = states[1].mask_key("c", "g/0", "digest 2")
    leak = vertical.cover(g, keys[0], ring) - vertical.cover(other, keys[1], ring)
    assert (np.abs(leak.view(np.int64)) > 2).all()


def test_columns_are_counted_over_the_life_of_a_cohort(study, tmp_path):
    g, y = genotypes(), DATA.integers(-9, 9, (N, 2))
    s = study(PARTIES)
    results(run_vertical(s, g, y, tmp_path, limit=3))
    out = run_vertical(s, g, y, tmp_path, limit=3)
    assert isinstance(out["gen"], PolicyError) and "2 of at most 3" in str(out["gen"])


def test_masked_blocks_of_another_mask_are_not_used(study, tmp_path):
    g, y = genotypes(), DATA.integers(-9, 9, (N, 1))
    s = study(PARTIES)
    store = MaskedStore(tmp_path / "masked")
    results(run_vertical(s, g, y, tmp_path, store=store))
    out = run_vertical(s, genotypes(), y, tmp_path, store=store, resend=False, cohort="another")
    assert isinstance(out["phe"], ProtocolError) and "was not kept" in str(out["phe"])


def test_whoever_knows_genotypes_and_gets_a_full_table_solves_for_phenotypes(study, tmp_path):
    """Reconstruction 1 of DESIGN 5.3: opened to the genotype party, M >= N sums give every phenotype exactly."""
    g, y = genotypes(m=80, n=40), DATA.integers(-(1 << 15), 1 << 15, (40, 1))
    out = results(run_vertical(study(PARTIES), g, y, tmp_path, to="gen"))
    sums = np.concatenate([b.streams["g"] for b in out["gen"][0]])
    solved, *_ = np.linalg.lstsq(g.astype(float), sums.astype(float), rcond=None)
    np.testing.assert_array_equal(np.rint(solved), y)
    short, *_ = np.linalg.lstsq(g[:20].astype(float), sums[:20].astype(float), rcond=None)  # fewer sums than people
    assert not np.array_equal(np.rint(short), y)


def test_whoever_chooses_phenotypes_reads_genotypes_until_the_cap(study, tmp_path):
    """Reconstruction 2: the column y_i = 3^i spells the genotypes of 25 people; the cap refuses the next column."""
    g = genotypes(n=100)
    y = np.zeros((100, 1), np.int64)
    y[:25, 0] = 3 ** np.arange(25)
    s = study(PARTIES)
    out = results(run_vertical(s, g, y, tmp_path, limit=1))
    sums = np.concatenate([b.streams["g"] for b in out["phe"][0]])[:, 0]
    read = np.array([[int(v) // 3**i % 3 for i in range(25)] for v in sums])
    np.testing.assert_array_equal(read, g[:, :25])
    out = run_vertical(s, g, np.roll(y, 25, axis=0), tmp_path, limit=1)
    assert isinstance(out["gen"], PolicyError)


SCORERS = {"gen": "genotypes", "phe": "model", "deal": "dealer"}


@pytest.mark.parametrize(("people", "bits"), [(1, 64), (30, 64), (30, 32)])
def test_scores_are_exact_and_the_model_owner_counts_replies(study, tmp_path, people, bits):
    """In 32 bits weights may be larger than the ring: only the scores must fit."""
    g, w = genotypes(n=people), DATA.integers(-(1 << 30), 1 << 30, (M, 2))
    if bits == 32:
        w[::2], g[1 : M - 1 : 2] = 1 << 33, g[: M - 2 : 2]
        w[1:-1:2] = 5 - w[: M - 2 : 2]
        w[-1], g[-1] = 7, 1
        assert np.abs(g.T.astype(np.int64) @ w).max() < 1 << 31 < np.abs(w).max()
    starts = range(0, M, V)

    def run(limit):
        return s.run({
            "gen": lambda x: people_side(x, ROLES, (g[i : i + V] for i in starts), people=people, scores=2, bits=bits),
            "phe": lambda x: model_side(
                x, ROLES, (w[i : i + V] for i in starts), people=people, scores=2, model="m",
                state=StateFile(tmp_path / "model.json"), reply_cap=limit, bits=bits,
            ),
            "deal": lambda x: score_dealer(x, left="gen", right="phe"),
        })  # fmt: skip

    s = study(SCORERS)
    out = results(run(2 * people))
    np.testing.assert_array_equal(out["gen"], g.T.astype(np.int64) @ w)
    assert out["phe"] is None
    out = run(2 * people)
    assert isinstance(out["phe"], PolicyError)


SERVERS = {"gen": "genotypes", "phe": "phenotypes", "s-one": "server", "s-two": "server", "deal": "dealer"}
OUTSOURCED = outsourced.OutsourcedRoles("gen", "phe", ("s-one", "s-two"), "deal", "phe")


def run_outsourced(s, g, y, tmp_path, *, resend=True, bits=64):
    def server(x):
        outsourced.server(
            x, OUTSOURCED, samples=N, columns=y.shape[1], store=MaskedStore(tmp_path / x.me), resend=resend, bits=bits
        )

    def phe(x):
        outsourced.phenotype_owner(x, OUTSOURCED, y, state=StateFile(tmp_path / "phe.json"), bits=bits)
        return list(outsourced.receive_sums(x, OUTSOURCED, columns=y.shape[1], bits=bits))

    def gen(x):
        outsourced.genotype_owner(
            x, OUTSOURCED, blocks(g), samples=N, columns=y.shape[1], cohort="c", resend=resend, bits=bits,
            state=StateFile(tmp_path / "gen.json"), column_limit=99,
        )  # fmt: skip
        return x.traffic

    def deal(x):
        return server_dealer(x, left="gen", right="phe", servers=("s-one", "s-two"))

    return s.run({"gen": gen, "phe": phe, "s-one": server, "s-two": server, "deal": deal})


@pytest.mark.parametrize("bits", [64, 32])
def test_outsourced_products_are_exact_and_a_second_batch_sends_no_genotypes(study, tmp_path, bits):
    g = genotypes()
    s = study(SERVERS)
    sent = []
    for resend in (True, False):
        y = DATA.integers(-(1 << 15), 1 << 15, (N, 4))
        out = results(run_outsourced(s, g, y, tmp_path, resend=resend, bits=bits))
        assert_sums(out["phe"], g, y)
        sent.append(out["gen"].sent["s-one"])
    streams = sum(x.size for b in blocks(g) for x in b.streams.values())
    assert sent[0] - sent[1] > bits // 8 * streams


def test_a_server_alone_holds_uniform_words_two_together_the_genotypes(study, tmp_path):
    g = np.ones((M, N), np.int8)
    results(run_outsourced(study(SERVERS), g, DATA.integers(-9, 9, (N, 1)), tmp_path))
    files = sorted((tmp_path / "s-one").glob("*.npy"))
    seen = np.concatenate([np.load(f, allow_pickle=False).reshape(-1) for f in files])
    counts = np.bincount(seen.view(np.uint8), minlength=256)
    expected = seen.nbytes / 256
    assert abs(((counts - expected) ** 2 / expected).sum() - 255) < 9 * np.sqrt(2 * 255)  # wrong once in 10^13
