"""Parties of the CrypTen tests, each its own process: DIRECTORY, each program's roles as JSON; prints what each found.

Every generator that is not ours is recorded before the hardened block and compared after it, and the constructors of
further ones, pickle and torch.distributed raise inside it.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import multiprocessing
import os
import pickle
import random
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

import securegen.engines.mpc.crypten.layer as layer
from securegen.engines.mpc.crypten.dealer import serve_crypten
from securegen.engines.mpc.loopback import loopback_study
from securegen.engines.mpc.net.certs import PartyIdentity
from securegen.engines.mpc.net.parties import read_parties
from securegen.engines.mpc.net.session import open_session
from securegen.engines.mpc.shares.ring import matmul_ring
from securegen.errors import SecuregenError

HERE = Path(__file__).parent
EXAMPLE = HERE.parents[2] / "protocols" / "two_party_crypten.py"


def run(directory: Path, studies: dict[str, dict[str, str]]) -> dict[str, dict]:
    """By program, what every party of a study of these roles found, by name: one after another, off one process."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(HERE / "crypten_party.py"), str(directory), json.dumps(studies)],
        capture_output=True, text=True, timeout=600,
        env={**os.environ, "PYTHONPATH": str(HERE.parents[2]), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def forbidden(*args, **kwargs):
    raise AssertionError("a generator, pickle or gloo was reached on the safe path")


@contextlib.contextmanager
def poisoned():
    """Forbid what must not be used; afterwards the states of all default generators must be what they were."""
    import torch

    places = [
        (torch, "Generator"), (torch, "randint"), (torch, "rand"), (torch, "randn"), (torch, "randperm"),
        (torch, "bernoulli"), (torch, "multinomial"), (torch, "save"), (torch, "load"), (np.random, "default_rng"),
        (np.random, "RandomState"), (random, "random"), (random, "choice"), (pickle, "loads"),
        (pickle, "load"), (pickle, "dumps"), (pickle, "dump"), (torch.distributed, "init_process_group"),
    ]  # fmt: skip
    one = np.ones((1, 1), np.uint64)
    matmul_ring(one, one)  # Numba reads its own cache file, with pickle, when the kernel is first used
    before = [(owner, name, getattr(owner, name)) for owner, name in places]
    states = torch.get_rng_state(), repr(np.random.get_state()), random.getstate()
    for owner, name, value in before:
        # a class stays a class: other packages name it in annotations when they are first imported
        setattr(owner, name, type(name, (value,), {"__new__": forbidden}) if isinstance(value, type) else forbidden)
    try:
        yield
    finally:
        for owner, name, value in before:
            setattr(owner, name, value)
    assert torch.equal(torch.get_rng_state(), states[0]), "torch's Mersenne Twister was drawn from"
    assert (repr(np.random.get_state()), random.getstate()) == states[1:], "a Mersenne Twister was drawn from"


@contextlib.contextmanager
def hardened_and_poisoned(session, hardened=layer.hardened):
    with hardened(session) as crypten, poisoned():
        yield crypten


def programs(session):
    spec = importlib.util.spec_from_file_location("two_party_crypten", EXAMPLE)
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    layer.hardened = hardened_and_poisoned
    return example.compute(session)


def refusals(session):
    """What a hardened session does not do, and that dropout draws one public mask for all."""
    import torch

    found = {}
    with hardened_and_poisoned(session) as crypten:
        import crypten.communicator as comm
        from crypten.config import cfg

        def refused(name, action):
            try:
                action()
            except SecuregenError as error:
                found[name] = f"{type(error).__name__}: {error}"

        refused("seed", lambda: crypten.generators["local"][torch.device("cpu")].manual_seed(1))
        refused("module", lambda: comm.get().broadcast_obj(torch.nn.ReLU(), session.rank))
        refused("noise", lambda: crypten.nn.privacy.DPSplitModel(None, 0, 1, 1.0))
        refused("cache", lambda: crypten.trace())
        refused("foreign generator", lambda: crypten.common.rng.generate_random_ring_element((2,), generator=object()))
        cfg.mpc.protocol = "replicated"
        x = crypten.cryptensor(torch.arange(4.0), src=0)
        refused("replicated", lambda: x * x)
        cfg.mpc.protocol = "beaver"
        found["size"] = list(comm.get().broadcast_obj(torch.Size([2, 3]), 0))
        ones = crypten.cryptensor(torch.ones(200), src=0, requires_grad=True)
        found["dropout"] = ones.dropout(p=0.5).get_plain_text().tolist()
        comm.get().barrier()
        found["statistics"] = comm.get().get_communication_stats()["bytes"] > 0
    return found


def arithmetic(session):
    """Every kind of correlated randomness: products, squares, conv, truncation, comparison, random bits."""
    import torch

    with hardened_and_poisoned(session) as crypten:
        a = torch.tensor([[1.5, -2.25], [0.5, 3.0]])
        x, y = crypten.cryptensor(a, src=0), crypten.cryptensor(-a, src=1)
        exact = crypten.cryptensor(torch.tensor([[3, -4], [1 << 40, 5]]), src=1, precision=0)
        image, kernel = (
            crypten.cryptensor(torch.ones(1, 1, 4, 4), src=0),
            crypten.cryptensor(torch.ones(1, 1, 2, 2), src=1),
        )
        numbers = torch.tensor([-(1 << 61), -41, -40, -1, 0, 39, 40, (1 << 61) + 7])
        quotients = crypten.cryptensor(numbers, src=2, precision=0).div(40).get_plain_text()
        decoded = crypten.cryptensor(torch.tensor([-9 + 2.0**-16, -9.0, -9 - 2.0**-16, 2.5]), src=0).get_plain_text()
        random = crypten.rand(500).get_plain_text()
        return {
            "numbers": numbers.tolist(),
            "quotients": quotients.tolist(),
            "decoded": decoded.tolist(),
            "product": (x * y).get_plain_text().tolist(),
            "square": x.square().get_plain_text().tolist(),
            "matmul": x.matmul(y).get_plain_text().tolist(),
            "exact": exact.matmul(exact).get_plain_text().tolist(),
            "larger": (x > y).get_plain_text().tolist(),
            "equal": (x == x).get_plain_text().tolist(),
            "conv": image.conv2d(kernel, stride=2).get_plain_text().tolist(),
            "random": [random.min().item(), random.mean().item(), random.max().item()],
            "share": x.share.tolist(),
        }


def draws(session):
    """Every entry point of CrypTen that needs random words, of a value, a share of zero or a conversion."""
    import torch

    with hardened_and_poisoned(session) as crypten:
        from crypten.mpc import arithmetic, binary
        from crypten.mpc.primitives import ArithmeticSharedTensor, BinarySharedTensor

        x = crypten.cryptensor(torch.tensor([[0.5, 1.0, 2.0], [3.0, 0.25, 1.5]]), src=0)
        image = crypten.cryptensor(torch.ones(3, 4, 2, 2), src=1, requires_grad=True)
        made = {
            "rand": crypten.rand(3, 2), "randn": crypten.randn(5), "bernoulli": crypten.bernoulli(x / 4),
            "weighted_index": x.weighted_index(dim=1), "weighted_sample": x.weighted_sample(dim=1)[0],
            "feature dropout": image._feature_dropout(p=0.5),
            "inplace dropout": x.clone().dropout(p=0.5), "exp": x.exp(), "log": x.log(), "sqrt": x.sqrt(),
            "inv_sqrt": x.inv_sqrt(), "reciprocal": x.reciprocal(), "quotient": x / (x + 1), "sigmoid": x.sigmoid(),
            "tanh": x.tanh(), "erf": x.erf(), "cos": x.cos(), "softmax": x.softmax(1), "log_softmax": x.log_softmax(1),
            "relu": x.relu(), "abs": x.abs(), "sign": x.sign(), "clip": x.hardtanh(), "pow": x.pow(3), "norm": x.norm(),
            "prod": x.prod(1), "var": x.var(1), "max": x.max(), "argmax": x.argmax(dim=1), "argmin": x.argmin(dim=0),
            "pool": image.max_pool2d(2), "average": image.avg_pool2d(2), "where": crypten.where(x > 1, x, -x),
            "equal": x == 1, "unequal": x != 1, "divided": x.div(torch.tensor([2, 3, 4])), "egk": x.polynomial([1, 2]),
            "there and back": x.to(binary).to(arithmetic), "preloaded": crypten.load_from_party(
                preloaded=torch.ones(2) if session.rank == 0 else None, src=0),
        }  # fmt: skip
        opened = {name: value.get_plain_text().flatten().tolist() for name, value in made.items()}
        bits = x.to(binary)._tensor
        for name, value in (("xor", bits ^ bits), ("and", bits & bits), ("or", bits | 1), ("added", bits + bits)):
            opened[name] = value.reveal().flatten().tolist()
        zero = ArithmeticSharedTensor.PRZS((40,)), BinarySharedTensor.PRZS((40,))
        opened["zero"] = [z.reveal().tolist() for z in zero]
        shares = [z.share.tolist() for z in zero]
        loss = crypten.nn.MSELoss()(image.dropout(p=0.5).sum(0), image.sum(0).detach())
        loss.backward()
        opened["gradient"] = image.grad.get_plain_text().flatten().tolist()
        for name, action in (
            ("load", lambda: crypten.load("none")), ("from party", lambda: crypten.load_from_party("none", src=0)),
            ("closure", lambda: crypten.load_from_party(preloaded=torch.ones(1), load_closure=print)),
        ):  # fmt: skip
            try:
                action()
            except SecuregenError as error:
                opened[name] = str(error)
    return {"opened": opened, "shares": shares}


def interop(session):
    """Shares of ours in CrypTen, tensors of CrypTen's as our shares."""
    import torch

    from securegen.engines.mpc.crypten.interop import share_from_crypten, share_to_crypten
    from securegen.engines.mpc.shares.additive import split
    from securegen.engines.mpc.shares.prg import words

    rank, key = session.parties.computing.index(session.me), bytes(range(16))

    def mine(numbers, domain):
        numbers = np.array(numbers)
        return words(key, domain, number=0, shape=numbers.shape) if rank else split(numbers, [key], domain=domain)

    found = {}
    with hardened_and_poisoned(session) as crypten:
        numbers = [[-(1 << 62), -3, 0], [1, 5, (1 << 62) - 1]]
        ours = share_to_crypten(mine(numbers, "interop"))
        back, found["precision"] = share_from_crypten(ours)
        found["there and back"], found["opened"] = back.tolist(), ours.get_plain_text().tolist()
        column = share_to_crypten(mine([[-3], [5]], "column"))
        row = share_to_crypten(mine([[-3, 5]], "row"))
        found["product"] = column.matmul(row).get_plain_text().tolist()
        fixed = share_to_crypten(mine([-5 << 15, 3 << 14], "fixed"), precision=16)
        found["fixed"] = fixed.get_plain_text().tolist()
        theirs = crypten.cryptensor(torch.tensor([1.5, -2.25, 2.0**-16]), src=1)
        share, found["their precision"] = share_from_crypten(theirs)
        found["theirs"] = share.tolist()
        exact = crypten.cryptensor(torch.tensor([3]), src=0, precision=0) * crypten.cryptensor(
            torch.tensor([-4]), src=1, precision=0
        )
        found["their product"] = share_from_crypten(exact)[0].tolist()
        for name, thing in (("binary", theirs.to(crypten.mpc.binary)), ("plain", torch.ones(1))):
            try:
                share_from_crypten(thing)
            except SecuregenError as error:
                found[name] = str(error)
    return found


PROGRAMS = {f.__name__: f for f in (programs, refusals, arithmetic, draws, interop)}


def party(directory: Path, program: str, name: str) -> object:
    parties = read_parties(directory / "parties.toml")
    with open_session(parties, PartyIdentity.in_directory(directory, name), protocol=program, dimensions={}) as session:
        return serve_crypten(session) if name == "dealer" else PROGRAMS[program](session)


def main():
    """Fork every party off a process that has imported torch, which takes longer than what they do."""
    import torch

    from securegen.engines.mpc.crypten.importing import import_crypten

    import_crypten()
    torch.set_num_threads(1)
    directory, studies = Path(sys.argv[1]), json.loads(sys.argv[2])
    found = {}
    for program, roles in studies.items():
        (directory / program).mkdir()
        loopback_study(directory / program, roles, timeout=60)
        context = multiprocessing.get_context("fork")
        with ProcessPoolExecutor(len(roles), mp_context=context) as pool:
            parties = {name: pool.submit(party, directory / program, program, name) for name in roles}
            found[program] = {name: one.result() for name, one in parties.items()}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
