"""The engines: what --engine, Python and the reports choose from. One more is its folder, and one line here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from securegen.engines.protocol import Engine

CLASSES = {  # the folder of each, whose engine.py has it
    "plain": "Plain",
    "ckks": "Ckks",
    "federated": "Federated",
    "mpc": "Mpc",
}


class _Engines(Mapping[str, "type[Engine]"]):
    """Loaded when it is asked for, so that a server of one engine is not started with the code of another."""

    def __getitem__(self, name: str) -> type[Engine]:
        found: type[Engine] = getattr(import_module(f"securegen.engines.{name}.engine"), CLASSES[name])
        return found

    def __contains__(self, name: object) -> bool:
        return name in CLASSES

    def __iter__(self) -> Iterator[str]:
        return iter(CLASSES)

    def __len__(self) -> int:
        return len(CLASSES)


ENGINES: Mapping[str, type[Engine]] = _Engines()
