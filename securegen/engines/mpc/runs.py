"""Which variants meet which columns: the runs of a study with several designs, as its parties tell each other.

A run is consecutive variants of one design. A protocol is done run by run, in file order, each with masks, keys and
correlations of its own. A study with one design for every variant is one run, and its messages do not say so.

Who learns what: the genotype owner where the designs begin and end (so whether predictions by chromosome are used), who is
analysed in each (on Y so who of them is male, on X whose sex is known), and whether males count one copy of X. Dealer and
servers how many variants each run has and how many columns.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from securegen.engines.mpc.net.session import Session
from securegen.errors import ProtocolError
from securegen.model import GenotypeBlock, GenotypeReader, Variants, coding_of
from securegen.study.ploidy import MT, NAMES, PloidyReader, X, Y, kinds_of
from securegen.vocabulary import PSEUDOAUTOSOMAL, canonical_chromosome

ELSEWHERE, ENDS = "", "PAR"  # places, beside X and Y


@dataclass(frozen=True)
class VariantRun:
    """Variants start to stop of the announced table, which meet the columns of a stratum. doubled: of X, where males count
    one copy and others two; whole: every variant of the only run."""

    start: int
    stop: int
    stratum: int = 0
    doubled: bool = False
    whole: bool = False

    def __len__(self) -> int:
        return self.stop - self.start

    @property
    def place(self) -> str:
        """What tells the blocks of this run from others that begin at the same variant: those of a study with other runs
        end elsewhere, and doubled dosages are other data. Masks are named by it."""
        return "" if self.whole else f"{self.start}-{self.stop}{'/doubled' if self.doubled else ''}"


def tell(session: Session, to: str, step: str, told: Sequence[object], runs: Sequence[VariantRun]) -> None:
    """Tell the genotype owner what is public of each stratum, and the runs."""
    if runs[0].whole:
        session.send_json(to, step, told[0])
        return
    spans = [[r.start, r.stop, r.stratum, int(r.doubled)] for r in runs]
    session.send_json(to, step, {"strata": list(told), "runs": spans})


def hear(session: Session, source: str, step: str, variants: Variants) -> tuple[list[object], list[VariantRun]]:
    """What `tell` told: of each stratum, and runs of the announced variants. Raises ProtocolError for others."""
    value = session.receive_json(source, step)
    if not isinstance(value, dict) or set(value) != {"strata", "runs"}:
        return [value], [VariantRun(0, len(variants), whole=True)]
    strata, runs = value["strata"], value["runs"]
    out: list[VariantRun] = []
    if isinstance(strata, list) and isinstance(runs, list):
        kinds, last = kinds_of(variants), 0
        for run in runs:
            if not isinstance(run, list) or len(run) != 4 or not all(type(v) is int for v in run):
                break
            start, stop, stratum, doubled = run
            on_x = doubled == 0 or (doubled == 1 and bool((kinds[max(start, 0) : stop] == X).all()))
            if not (last <= start < stop <= len(variants) and 0 <= stratum < len(strata) and on_x):
                break
            out.append(VariantRun(start, stop, stratum, bool(doubled)))
            last = stop
        alike = len({(r.stratum, r.doubled) for r in out}) == len({r.stratum for r in out}) == len(strata)
        if out and len(out) == len(runs) and alike:
            return strata, out
    raise ProtocolError(f"party {source!r} announced malformed runs of variants")


def tell_number(session: Session, to: str, step: str, runs: Sequence[VariantRun]) -> None:
    """Tell a dealer or server how many runs come, unless it is one of everything."""
    if not runs[0].whole:
        session.send_json(to, step, {"runs": len(runs)})


def hear_each(session: Session, source: str, step: str) -> Iterator[object]:
    """What is public of every run, one after the other, as `source` tells it before each."""
    value = session.receive_json(source, step)
    if not isinstance(value, dict) or set(value) != {"runs"}:
        yield value
        return
    if type(value["runs"]) is not int or not 0 < value["runs"] < 1 << 31:
        raise ProtocolError(f"party {source!r} announced a malformed number of runs")
    for _ in range(value["runs"]):
        yield session.receive_json(source, step)


class RunReader:
    """The genotype owner's dosages, run by run, as copies are counted on each chromosome."""

    def __init__(self, reader: GenotypeReader) -> None:
        self.kinds, self.coding, self.grid = kinds_of(reader.variants), coding_of(reader), reader.dosage_grid
        names = {c: canonical_chromosome(c) in PSEUDOAUTOSOMAL for c in dict.fromkeys(reader.variants.chromosome)}
        self._ends = np.array([names[c] for c in reader.variants.chromosome], bool)
        self._plain = PloidyReader(reader, self.kinds)
        self._doubled = PloidyReader(reader, self.kinds, 1)

    def blocks(self, run: VariantRun, size: int) -> Iterator[tuple[GenotypeBlock, GenotypeBlock]]:
        """Blocks of `size` variants, none of which leaves the run: as they are summed, and with two copies of X for all."""
        for start in range(run.start, run.stop, size):
            stop = min(start + size, run.stop)
            block = self._plain.read(start, stop)
            yield (self._doubled.read(start, stop) if run.doubled else block), block

    def single(self, run: VariantRun) -> bool:
        """Whether people have one copy there, or none: on Y and MT."""
        return bool(np.isin(self.kinds[run.start : run.stop], (Y, MT)).all())

    def places(self, stratum: int, runs: Sequence[VariantRun]) -> frozenset[str]:
        """Where a stratum lies: on X, on Y, in the ends of X, elsewhere.

        Sums of two places are never of the same variant, so the rules of sets hold in each. Where no ends are named, they
        are in X.
        """
        spans = [slice(r.start, r.stop) for r in runs if r.stratum == stratum]
        kinds = {int(k) for span in spans for k in np.unique(self.kinds[span])}
        out = {NAMES[k] if k in (X, Y) else ELSEWHERE for k in kinds}
        if any(self._ends[span].any() for span in spans) or (X in kinds and not self._ends.any()):
            out.add(ENDS)
        return frozenset(out)
