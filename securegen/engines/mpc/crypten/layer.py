"""CrypTen inside a session: its tensors, comparisons and networks over our transport, randomness and dealer.

    with open_session(parties, identity, protocol="crypten/1", dimensions={}) as session, hardened(session) as crypten:
        x = crypten.cryptensor(values, src=0)
        print((x * x).get_plain_text())

Within the block an unchanged CrypTen program runs at every computing party, and `serve_crypten(session)` at the dealer.
Replaced: the communicator (mutual TLS, no pickle), every draw of random words (AES-CTR), the provider (a dealer in its
own process), division by public integers and decoding (crypten_exact) and, for speed, products of integer matrices.
Refused: one party alone (its share is the plaintext), replicated sharing, differential-privacy layers (their noise is a
Mersenne Twister's), seeds, tuple caches, loading pickles, modes that open values to check them. The first weights of a
network made by crypten.nn are torch's, as in any program: they are public and protect nothing.

Who learns what: the parties what the program opens, and the sizes and operations; the dealer sizes and operations.
Semi-honest parties, not all of them colluding, and a dealer that colludes with none. Every truncation is right to
within two units in the last place as long as the integer before it is below 2^62; approximations (exp, reciprocal,
sigmoid) keep CrypTen's own error.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

from securegen.engines.mpc.crypten.importing import import_crypten
from securegen.engines.mpc.net.session import Session
from securegen.errors import PolicyError
from securegen.randomness import fresh_key

PROTOCOL = "crypten/1"


@contextlib.contextmanager
def hardened(session: Session) -> Iterator[ModuleType]:
    """Install the layer for this session and yield the crypten module; everything is put back at the end.

    Raises PolicyError with fewer than two computing parties or when CrypTen is set to replicated sharing,
    MissingExtraError without CrypTen. The session needs one party with the role dealer that runs `serve_crypten`.
    """
    names = session.parties.computing
    if len(names) < 2:
        raise PolicyError("with one computing party its share is the plaintext: at least two are needed")
    dealer = session.parties.only("dealer")
    crypten = import_crypten()
    if crypten.cfg.mpc.protocol != "beaver":
        raise PolicyError(f"CrypTen's protocol {crypten.cfg.mpc.protocol!r} is not hardened; use beaver")
    if crypten.cfg.debug.debug_mode or crypten.cfg.debug.validation_mode:
        raise PolicyError("CrypTen's debug and validation modes open what a program keeps shared; switch them off")
    from securegen.engines.mpc.crypten.communicator import MeshCommunicator
    from securegen.engines.mpc.crypten.dealer import DealerProvider
    from securegen.engines.mpc.crypten.exact import decode, divide_in_place

    key = fresh_key()
    session.send_key(dealer, "crypten/dealer key", key)
    communicator = MeshCommunicator(session)
    provider = DealerProvider(session, dealer, key)
    arithmetic = crypten.mpc.primitives.arithmetic
    shipped_division = arithmetic.ArithmeticSharedTensor.div_
    with contextlib.ExitStack() as undo:
        _replace_generators(undo, crypten, _agree_generators(session, names))
        _replace_draws(undo, crypten)
        comm, mpc, split = crypten.communicator, crypten.mpc, importlib.import_module("crypten.nn.privacy")
        for owner, name, value in (
            (crypten, "init", lambda *args, **kwargs: None),
            (crypten, "load", _Refused("loading a pickle")),
            (crypten, "load_from_party", _only_preloaded(crypten.load_from_party)),
            (comm, "get", lambda: communicator),
            (comm, "is_initialized", lambda: True),
            (comm, "_init", lambda *args, **kwargs: None),
            (comm, "uninit", lambda: None),
            (mpc, "get_default_provider", lambda: provider),
            (mpc, "ttp_required", lambda: False),
            (arithmetic.ArithmeticSharedTensor, "div_", divide_in_place(shipped_division, provider, communicator)),
            (crypten.encoder.FixedPointEncoder, "decode", decode),
            (arithmetic, "replicated", _Refused("replicated sharing")),
            (split.DPSplitModel, "__init__", _Refused("a differential-privacy layer with Mersenne Twister noise")),
        ):
            _patch(undo, owner, name, value)
        yield crypten
        provider.end()


def _only_preloaded(shipped: Callable[..., Any]) -> Callable[..., Any]:
    """CrypTen's load_from_party for what the source has in memory; its files are pickles."""

    def load_from_party(f: object = None, preloaded: object = None, **options: Any) -> Any:
        if f is not None or "load_closure" in options:
            raise PolicyError("loading a pickle is not available inside a hardened session; read it and use preloaded=")
        return shipped(preloaded=preloaded, **options)

    return load_from_party


class _Refused:
    def __init__(self, what: str) -> None:
        self._what = what

    def __call__(self, *args: object, **kwargs: object) -> None:
        raise PolicyError(f"{self._what} is not available inside a hardened session")

    def __getattr__(self, name: str) -> None:
        raise PolicyError(f"{self._what} is not available inside a hardened session")


class _Torch:
    """The torch module as one CrypTen module sees it, with one function replaced."""

    def __init__(self, torch: ModuleType, **functions: object) -> None:
        self.__dict__.update(functions, _torch=torch)

    def __getattr__(self, name: str) -> object:
        return getattr(self._torch, name)


def _patch(undo: contextlib.ExitStack, owner: object, name: str, value: object) -> None:
    undo.callback(setattr, owner, name, getattr(owner, name))
    setattr(owner, name, value)


def _agree_generators(session: Session, names: tuple[str, ...]) -> dict[str, tuple[bytes, str]]:
    """Keys of the four CrypTen generators: shared with the next and previous party, own, and shared by all."""
    rank = names.index(session.me)
    following, previous = names[(rank + 1) % len(names)], names[rank - 1]
    keys = {"next": fresh_key(), "local": fresh_key(), "global": fresh_key()}
    session.send_key(following, "crypten/next key", keys["next"])
    if rank == 0:
        for name in names[1:]:
            session.send_key(name, "crypten/global key", keys["global"])
    keys["prev"] = session.receive_key(previous, "crypten/next key")
    if rank > 0:
        keys["global"] = session.receive_key(names[0], "crypten/global key")
    domains = {"next": "neighbours", "prev": "neighbours", "local": "local", "global": "public"}
    return {name: (key, f"crypten {domains[name]}") for name, key in keys.items()}


def _replace_generators(undo: contextlib.ExitStack, crypten: ModuleType, keys: dict[str, tuple[bytes, str]]) -> None:
    import torch

    from securegen.engines.mpc.crypten.randomness import AesGenerator

    for name, (key, domain) in keys.items():
        before = dict(crypten.generators[name])
        undo.callback(crypten.generators[name].update, before)
        undo.callback(crypten.generators[name].clear)
        crypten.generators[name].clear()
        crypten.generators[name][torch.device("cpu")] = AesGenerator(key, domain)


def _replace_draws(undo: contextlib.ExitStack, crypten: ModuleType) -> None:
    """Every name under which a CrypTen module has imported one of the two drawing functions, and dropout's rand."""
    import torch

    from securegen.engines.mpc.crypten.dealer import product
    from securegen.engines.mpc.crypten.randomness import kbit_tensor, ring_element

    rng = crypten.common.rng
    new: dict[Any, Any] = {rng.generate_random_ring_element: ring_element, rng.generate_kbit_random_tensor: kbit_tensor}
    modules = [m for name, m in sys.modules.items() if name == "crypten" or name.startswith("crypten.")]
    for module in modules:
        for name, value in list(vars(module).items()):
            if callable(value) and getattr(value, "__module__", "") == rng.__name__ and value in new:
                _patch(undo, module, name, new[value])

    def rand(size: Any, generator: Any, **kwargs: object) -> Any:
        return generator.uniform(size)

    def matmul(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        small = torch.long == a.dtype == b.dtype
        return product("matmul", a, b) if small else torch.matmul(a, b)

    _patch(undo, crypten.gradients, "torch", _Torch(torch, rand=rand))
    _patch(undo, crypten.mpc.primitives.beaver, "torch", _Torch(torch, matmul=matmul))
