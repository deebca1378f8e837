"""The engines: what --engine, Python and the reports choose from. One more is its folder, and one line here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from securegen.engines.protocol import Engine


class Later(Mapping[str, Any]):
    """Classes by name, each loaded when it is asked for, so that a server of one engine is not started with the code of
    another. places: of each name, its module in this package and the name of the class."""

    def __init__(self, places: Mapping[str, tuple[str, str]]) -> None:
        self.places = places

    def __getitem__(self, name: str) -> Any:
        module, own = self.places[name]
        return getattr(import_module(f"securegen.engines.{module}"), own)

    def __contains__(self, name: object) -> bool:
        return name in self.places

    def __iter__(self) -> Iterator[str]:
        return iter(self.places)

    def __len__(self) -> int:
        return len(self.places)


ENGINES: Mapping[str, type[Engine]] = Later(
    {
        "plain": ("plain.engine", "Plain"),
        "ckks": ("ckks.engine", "Ckks"),
        "federated": ("federated.engine", "Federated"),
        "mpc": ("mpc.engine", "Mpc"),
    }
)
