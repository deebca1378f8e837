"""One party of an MPC benchmark in its own process: DIRECTORY NAME TASK OPTIONS(JSON).

Says "ready" once connected, then for every line on its input does the task once and says "done" with the bytes it
sent. Implementations: `securegen` (our protocols), `hardened` (CrypTen on our layer), `crypten` (CrypTen as shipped,
plaintext gloo, its own dealer).
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from securegen.engines.federated.conversation import Conversation
from securegen.engines.federated.fields import field_bits
from securegen.engines.federated.pair_keys import agree_on_keys
from securegen.engines.federated.rounds import SecureSum
from securegen.engines.federated.state import open_state
from securegen.engines.federated.studyfile import Site, StudyFile, TraitColumn
from securegen.engines.mpc import aggregates, outsourced, projected_run, vertical
from securegen.engines.mpc.association import receive_cohort
from securegen.engines.mpc.crypten.insecure import insecure_crypten
from securegen.engines.mpc.dealer import block_dealer, server_dealer
from securegen.engines.mpc.masked_store import MaskedStore
from securegen.engines.mpc.net.certs import PartyIdentity
from securegen.engines.mpc.net.parties import read_parties
from securegen.engines.mpc.net.session import open_session
from securegen.engines.mpc.site_links import MessageLinks
from securegen.engines.mpc.state_file import StateFile
from securegen.governance.signing import SigningIdentity as SigningKey
from securegen.io.arrays import from_arrays
from securegen.model import Columns, Samples, Variants
from securegen.study.inputs import Inputs

CRYPTEN_BLOCK = 500  # variants; fastest of 100, 250, 500 and 1000


def cohort(samples, variants, columns):
    """The same made-up genotypes (samples, variants) and phenotypes at every party."""
    generator = np.random.default_rng(5)
    g = generator.integers(0, 3, (samples, variants), dtype=np.int8)
    return g, generator.integers(-(1 << 16), 1 << 16, (samples, columns))


def blocks(g, bits=64):
    size = vertical.block_size(len(g), bits)
    return [vertical.Block(i, {"g": np.ascontiguousarray(g[:, i : i + size].T)}) for i in range(0, g.shape[1], size)]


def check(sums, g, y):
    """The last variants against NumPy."""
    np.testing.assert_array_equal(sums[-20:], g[:, -20:].T.astype(np.int64) @ y)


def vertical_task(session, directory, o):
    g, y = cohort(o["samples"], o["variants"], o["columns"])
    roles = vertical.Roles("gen", "phe", "deal")
    parts, bits = blocks(g, o["bits"]), o["bits"]

    def once(number):
        if session.me == "deal":
            block_dealer(session, left="gen", right="phe")
            return
        state = StateFile(directory / f"{session.me}-{number}.json")
        if session.me == "gen":
            sides = vertical.genotype_side(
                session, roles, parts, samples=len(g), columns=y.shape[1], cohort="c", state=state,
                column_limit=1 << 30, bits=bits,
            )  # fmt: skip
        else:
            sides = vertical.phenotype_side(session, roles, y, state=state, bits=bits)
        opened = [
            vertical.reveal(session, s.streams["g"], step=f"open/{s.start}", between=("gen", "phe"), to="phe")
            for s in sides
        ]
        if session.me == "phe":
            check(np.concatenate(opened), g, y)

    return once


def made_up(g):
    """Genotypes as a reader, for whole runs."""
    ids, position = np.array([f"p{i}" for i in range(len(g))], object), np.arange(1, g.shape[1] + 1)
    text = lambda x: np.full(g.shape[1], x, object)  # noqa: E731
    sites = Variants(text("1"), position, np.array([f"rs{j}" for j in position], object), text("A"), text("G"))
    return from_arrays(g.T.astype(np.float64), Samples(ids, ids, np.ones(len(ids), bool)), variants=sites)


def sums_task(session, directory, o):
    """Every sum, opened as `--reveal aggregates` does."""
    g, y = cohort(o["samples"], o["variants"], o["columns"])
    roles, reader = vertical.Roles("gen", "phe", "deal"), made_up(g)
    columns = Columns(tuple(f"y{k}" for k in range(y.shape[1])), y, (False,) * y.shape[1])

    def once(number):
        state = StateFile(directory / f"{session.me}-{number}.json")
        if session.me == "deal":
            aggregates.deal(session, roles)
        elif session.me == "gen":
            aggregates.genotype_run(
                session, roles, reader, cohort="c", state=state, consent_aggregates=True, column_limit=1 << 30
            )
        else:
            variants = receive_cohort(session, "gen").variants
            found = aggregates.sums(session, roles, columns, variants=variants, dosage_max=2, state=state)
            check(np.concatenate([s.g for s in found]), g, y)

    return once


def outsourced_task(session, directory, o):
    """The second batch: what is timed sends no genotypes; the first round (a warm-up) does."""
    g, y = cohort(o["samples"], o["variants"], o["columns"])
    roles = outsourced.OutsourcedRoles("gen", "phe", ("s-one", "s-two"), "deal", "phe")
    bits = 32  # gwas.ring_bits of these columns
    parts, sizes = blocks(g, bits), {"samples": len(g), "columns": y.shape[1]}

    def once(number):
        state, again = StateFile(directory / f"{session.me}.json"), number > 0
        if session.me == "deal":
            server_dealer(session, left="gen", right="phe", servers=roles.servers)
        elif session.me == "gen":
            outsourced.genotype_owner(
                session,
                roles,
                parts,
                cohort="c",
                state=state,
                column_limit=1 << 30,
                resend=not again,
                bits=bits,
                **sizes,
            )
        elif session.me == "phe":
            state = StateFile(directory / f"phe-{number}.json")
            outsourced.phenotype_owner(session, roles, y, state=state, bits=bits)
            sums = [b.streams["g"] for b in outsourced.receive_sums(session, roles, columns=y.shape[1], bits=bits)]
            check(np.concatenate(sums), g, y)
        else:
            outsourced.server(
                session, roles, store=MaskedStore(directory / session.me), resend=not again, bits=bits, **sizes
            )

    return once


THRESHOLD = 1e-3  # of hits


def reveal_task(session, directory, o):
    """Linear regression from genotypes and text files to a table of hits, of χ², or of u and v."""
    g, y = cohort(o["samples"], o["variants"], o["columns"])
    roles, reveal, reader = vertical.Roles("gen", "phe", "deal"), o["reveal"], made_up(g)
    ids = reader.samples.iid
    inputs = Inputs("", pheno=str(directory / "phe.tsv"), covar=str(directory / "cov.tsv"))
    if session.me == "phe":
        for path, columns, names in ((inputs.pheno, y[:, :1], ["Y"]), (inputs.covar, y[:, 1:], o["covariates"])):
            rows = ["\t".join(map(str, (i, i, *row))) for i, row in zip(ids, columns.tolist(), strict=True)]
            Path(path).write_text("\n".join(["\t".join(["#FID", "IID", *names]), *rows]) + "\n")

    def once(number):
        terms = {"reveal": reveal, "threshold": THRESHOLD if reveal == "hits" else None}
        state = StateFile(directory / f"{session.me}-{number}.json")
        if session.me == "deal":
            projected_run.deal(session, roles)
        elif session.me == "gen":
            projected_run.genotype_run(session, roles, reader, cohort="c", state=state, column_limit=1 << 30, **terms)
        else:
            projected_run.phenotype_run(session, roles, inputs, str(directory / "out"), state=state, **terms)

    return once


def sum_task(session, directory, o):
    """The sum of a federated study over the session: keys once, a message a site and sum."""
    names = session.parties.names
    keys = {n: Ed25519PrivateKey.from_private_bytes(hashlib.sha256(n.encode()).digest()) for n in names}
    sites = tuple(Site(n, k.public_key().public_bytes_raw()) for n, k in keys.items())
    study = StudyFile(
        digest=hashlib.sha256(b"benchmark").hexdigest(), name="benchmark", study_id="00" * 16, sites=sites,
        coordinator=bytes(32), phenotypes=(TraitColumn("Y", "quantitative"),), covariates=(), model=None, missing="mean",
        bits=None, site_indicators=False, loadings_pcs=0, qc=False, smallest_cohort=1, two_sites_learn_each_other=False,
        variants=1, variants_digest="00" * 32, loadings_digest="",
    )  # fmt: skip
    signer = SigningKey(keys[session.me].private_bytes_raw(), study.site(session.me).verify_key)
    state = open_state(directory / f"{session.me}.sums", study)
    conversation = Conversation(MessageLinks(session, study, session.me), study, session.me, signer, state.__enter__())
    secure = SecureSum(conversation, agree_on_keys(conversation, "00" * 32))
    values = np.arange(o["numbers"])[:, None]
    width = field_bits(3 * o["numbers"])

    def once(number):
        total = secure.rows(f"sum-{number}", len(values), (width,), lambda: values)
        assert (total == 3 * values).all()

    return once


SECUREGEN = {
    "vertical": vertical_task, "sums": sums_task, "outsourced_batch": outsourced_task, "secure_sum": sum_task,
    "reveal": reveal_task,
}  # fmt: skip


def crypten_task(crypten, task, o):
    """The same work as CrypTen does it, shipped or hardened."""
    import torch

    if task == "secure_sum":
        values = torch.arange(o["numbers"])

        def once():
            total = sum(crypten.cryptensor(values, src=i, precision=0) for i in range(3)).get_plain_text()
            assert torch.equal(total.long(), 3 * values)
    elif task in ("vertical", "outsourced_batch"):
        g, y = cohort(o["samples"], o["variants"], o["columns"])
        starts = range(0, g.shape[1], CRYPTEN_BLOCK)
        parts = [torch.from_numpy(g[:, i : i + CRYPTEN_BLOCK].astype(np.int64)) for i in starts]
        shared = [crypten.cryptensor(p, src=0, precision=0) for p in parts] if task == "outsourced_batch" else None

        def once():
            phenotypes = crypten.cryptensor(torch.from_numpy(y), src=1, precision=0)
            out = []
            for i, part in enumerate(parts):
                x = shared[i] if shared else crypten.cryptensor(part, src=0, precision=0)
                out.append(x.t().matmul(phenotypes).get_plain_text())
            check(torch.cat(out).long().numpy(), g, y)
    elif task == "reveal":
        once = crypten_reveal(crypten, o)
    else:
        x = crypten.cryptensor(torch.linspace(1, 50, o["numbers"]), src=0)

        def once():
            (x.reciprocal() if task == "reciprocal" else x > 25).get_plain_text()

    return once


def crypten_reveal(crypten, o):
    """The same numbers in CrypTen's 16-bit fixed point: u and v; their quotient; or the sign of u² − limit·v."""
    import torch

    g, y = cohort(o["samples"], o["variants"], o["columns"])
    q, _ = np.linalg.qr(y - y.mean(axis=0))
    centred = (g - g.mean(axis=0)) / np.sqrt(len(g))
    starts = range(0, g.shape[1], CRYPTEN_BLOCK)
    norms = (centred**2).sum(axis=0)

    def once():
        columns = crypten.cryptensor(torch.from_numpy(q), src=1)
        for i in starts:
            part = slice(i, i + CRYPTEN_BLOCK)
            z = crypten.cryptensor(torch.from_numpy(centred[:, part]), src=0).t().matmul(columns)
            u = z[:, -1]
            v = crypten.cryptensor(torch.from_numpy(norms[part]), src=0) - z[:, :-1].square().sum(1)
            if o["reveal"] == "uv":
                u.get_plain_text(), v.get_plain_text()
            elif o["reveal"] == "chi2":
                (u.square() * v.reciprocal()).get_plain_text()
            else:
                hit = u.square() * o["samples"] / 10.8 > v
                hit.get_plain_text(), (hit * u).get_plain_text(), (hit * v).get_plain_text()

    return once


def serve(once, sent=lambda: 0):
    print("ready", flush=True)
    before = sent()
    for number, _ in enumerate(sys.stdin):
        once(number)
        print(json.dumps({"sent": sent() - before}), flush=True)
        before = sent()


def main():
    directory, name, task, o = Path(sys.argv[1]), sys.argv[2], sys.argv[3], json.loads(sys.argv[4])
    implementation = o["implementation"]
    if implementation == "crypten":
        import torch

        torch.set_num_threads(1)
        world = o["world"]
        with insecure_crypten(rank=int(name), world_size=world, port=o["port"], provider=o["provider"]) as crypten:
            if crypten is not None:
                once = crypten_task(crypten, task, o)
                serve(lambda number: once())
        return
    with open_session(
        read_parties(directory / "parties.toml"),
        PartyIdentity.in_directory(directory, name),
        protocol=task,
        dimensions={},
    ) as s:
        if implementation == "securegen":
            once = SECUREGEN[task](s, directory, o)
            serve(once, lambda: s.traffic.total)
            return
        import torch

        from securegen.engines.mpc.crypten.dealer import serve_crypten
        from securegen.engines.mpc.crypten.layer import hardened

        torch.set_num_threads(1)
        if name == "deal":
            serve_crypten(s)
            return
        with hardened(s) as crypten:
            once = crypten_task(crypten, task, o)
            serve(lambda number: once(), lambda: s.traffic.total)


if __name__ == "__main__":
    main()
