"""What a plan was made for, by name: it stays with the owner, in plan and secret key, and is in no public file."""

from __future__ import annotations

from dataclasses import dataclass

from securegen.errors import ArtefactError
from securegen.io.schema import list_of, record, text


@dataclass(frozen=True)
class PlannedDesign:
    """Names of phenotypes, covariates and tests."""

    phenotypes: tuple[str, ...]
    covariates: tuple[str, ...]
    models: tuple[str, ...]

    def to_json(self) -> dict[str, list[str]]:
        return {"phenotypes": list(self.phenotypes), "covariates": list(self.covariates), "models": list(self.models)}

    @staticmethod
    def from_json(value: object) -> PlannedDesign:
        """Raises ArtefactError unless it is three lists of names."""
        try:
            return PlannedDesign(**{name: tuple(found) for name, found in NAMES(value, "").items()})
        except ValueError as error:
            raise ArtefactError(f"the names of the planned design are damaged: {error}") from None


_WORDS = list_of(text(255), 0, 1 << 14)
NAMES = record(phenotypes=_WORDS, covariates=_WORDS, models=_WORDS)
