"""What is public of a run that opens every sum: sizes, and which columns say who is analysed (`aggregates`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from securegen.design.columns import INTERCEPT
from securegen.engines.mpc.batches import Batching
from securegen.engines.mpc.shares.radix import Form, choose_form
from securegen.errors import PlanError, ProtocolError
from securegen.model import Columns

LARGEST = 10_000  # columns of a run


@dataclass(frozen=True)
class AggregatePlan:
    """What is public of a run. value_bits: |x| <= 2^value_bits; analysed: columns that say who is, and others of 0 and 1
    that need Σ g² x; weights: other columns that do."""

    samples: int
    variants: int
    dosage_max: int
    columns: int
    value_bits: int
    analysed: tuple[int, ...]
    weights: tuple[int, ...]

    @staticmethod
    def of(
        columns: Columns, samples: int, variants: int, dosage_max: int, people: Sequence[int] | None = None
    ) -> AggregatePlan:
        """people: columns that say who is analysed, None for those of the names and squares that an additive model has. Of
        other columns the genotype party is told nothing, whatever they hold."""
        x, squared = columns.values, columns.squared_index
        who = [j for j, name in enumerate(columns.names) if name == INTERCEPT or j in squared]
        who = who if people is None else list(people)
        binary = [j for j in who if ((x[:, j] == 0) | (x[:, j] == 1)).all()]
        return AggregatePlan(
            samples, variants, dosage_max, x.shape[1], int(np.abs(x).max(initial=1)).bit_length(), tuple(binary),
            tuple(j for j in squared if j not in binary),
        )  # fmt: skip

    def form(self) -> Form:
        """Rings and digits. Raises PlanError where a sum might not fit."""
        most = self.dosage_max**2 if self.weights else self.dosage_max
        if (most * self.samples << self.value_bits) >= 1 << 62:
            raise PlanError(f"sums over {self.samples} samples of columns of {self.value_bits} bits may exceed 2^62: "
                            "use fewer bits (`bits`) or fewer samples per run")  # fmt: skip
        largest = {"g": self.dosage_max, **({"q": self.dosage_max**2} if self.weights else {}), "m": 1}
        return choose_form(self.samples, largest, self.value_bits, few=not self.weights)

    def rings(self, form: Form) -> dict[str, Any]:
        return {"bits": form.bits, "widths": form.widths, "chunk": form.chunk}

    def batching(self, form: Form) -> Batching:
        return Batching(form, self.samples, self.variants, self.columns, tuple(n for n in form.widths if n != "m"))

    def write(self) -> dict[str, list[int]]:
        sizes = [self.samples, self.variants, self.dosage_max, self.columns, self.value_bits]
        return {"sizes": sizes, "analysed": list(self.analysed), "weights": list(self.weights)}

    @staticmethod
    def read(value: object, sender: str) -> AggregatePlan:
        """A plan that a party announced; ProtocolError when it is malformed."""
        if isinstance(value, dict) and set(value) == {"sizes", "analysed", "weights"}:
            sizes, analysed, weights = (value[n] for n in ("sizes", "analysed", "weights"))
            if all(map(_whole, (sizes, analysed, weights))) and len(sizes) == 5 and all(sizes):
                plan, squared = AggregatePlan(*[*sizes, tuple(analysed), tuple(weights)]), [*analysed, *weights]
                sized = plan.dosage_max <= 1 << 15 and plan.columns <= LARGEST and plan.value_bits <= 62
                if sized and len(set(squared)) == len(squared) and all(j < plan.columns for j in squared):
                    return plan
        raise ProtocolError(f"party {sender!r} announced a malformed plan")


def _whole(value: object) -> bool:
    return isinstance(value, list) and all(type(v) is int and 0 <= v < 1 << 31 for v in value)
