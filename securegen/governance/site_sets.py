"""Sets of sites across studies: whose own sums the totals of several studies would be, and whether that site agreed.

The difference of two totals is a sum of sites too. So of two sets of sites none has one site alone that the other lacks:
whoever comes in its place knows its own sums. Nor does a combination of totals with one site's sums give another's: two
sites that come read each other, three do not. Totals count as known to every site, since tables are published. Sites are
told apart by name, by key, and by either: a false name under an old key, a false key under an old name and both by turns
are found; another name with another key is another site. Names and keys alone, no files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

Labels = frozenset[tuple[str, str]]


@dataclass(frozen=True)
class StudySites:
    """A study as one site's ledger knows it. what: its digest; sites: (name, key in hex); own: the name of the site whose
    ledger it is; agreed: names of sites that let their own sums be read alone; unsummed: of those that signed to have been in
    no sum; begun: this site may have sent a sum."""

    what: str
    sites: tuple[tuple[str, str], ...]
    own: str = ""
    agreed: frozenset[str] = frozenset()
    unsummed: frozenset[str] = frozenset()
    begun: bool = False


@dataclass(frozen=True)
class ReadAlone:
    """A site whose own sums would be read. agreed: it said yes when it joined; why: in words."""

    site: str
    agreed: bool
    why: str


def alone(new: StudySites, known: Sequence[StudySites]) -> list[ReadAlone]:
    """Who would be read by the totals of `new` beside those of known studies, each site once, refusals first."""
    studies = [s for s in known if s.what != new.what]
    found: dict[str, ReadAlone] = {}
    for labels in (_by_name, _by_key, _by_either):
        numbers = _numbers([*studies, new], labels)
        for reading in (*_pairs(new, studies, numbers), *_combinations(new, studies, numbers)):
            if reading.site not in found or (found[reading.site].agreed and not reading.agreed):
                found[reading.site] = reading
    return sorted(found.values(), key=lambda r: r.agreed)


def _by_name(study: StudySites, site: tuple[str, str]) -> Labels:
    return _own(study, site) | {("name", site[0])}


def _by_key(study: StudySites, site: tuple[str, str]) -> Labels:
    return _own(study, site) | {("key", site[1])}


def _by_either(study: StudySites, site: tuple[str, str]) -> Labels:
    return _by_name(study, site) | _by_key(study, site)


def _own(study: StudySites, site: tuple[str, str]) -> Labels:
    """Whose ledger it is takes part in every study of it, under whatever name and key."""
    return frozenset({("own", "")} if site[0] == study.own else ())


def _numbers(
    studies: Sequence[StudySites], labels: Callable[[StudySites, tuple[str, str]], Labels]
) -> list[dict[int, str]]:
    """Of each study, number of a site -> its name there; sites that share a label, or are linked by some, have one number."""
    groups: list[set[tuple[str, str]]] = []
    for study in studies:
        for site in study.sites:
            merged = set(labels(study, site))
            apart = []
            for group in groups:
                if group & merged:
                    merged |= group
                else:
                    apart.append(group)
            groups = [*apart, merged]
    place = {label: i for i, group in enumerate(groups) for label in group}
    return [{place[next(iter(labels(s, site)))]: site[0] for site in s.sites} for s in studies]


def _pairs(new: StudySites, studies: Sequence[StudySites], numbers: Sequence[dict[int, str]]) -> Iterator[ReadAlone]:
    mine = numbers[-1]
    for study, members in zip(studies, numbers, strict=False):
        goes, comes = members.keys() - mine.keys(), mine.keys() - members.keys()
        others = "" if not (goes and comes) else " less those of sites that know theirs"
        if len(goes) == 1 and members[min(goes)] not in study.unsummed:
            name = members[min(goes)]
            yield ReadAlone(
                name,
                name in _agreed(study) or _agrees_here(name, new, mine),
                f"of the sites of study {study.what[:16]} only {name} is not here: the difference of the two totals is its "
                f"own sums{others}",
            )
        if len(comes) == 1:
            name = mine[min(comes)]
            yield ReadAlone(
                name,
                _agrees_here(name, new, mine),
                f"of the sites here only {name} is not in study {study.what[:16]}: the difference of the two totals is its "
                f"own sums{others}",
            )


def _combinations(
    new: StudySites, studies: Sequence[StudySites], numbers: Sequence[dict[int, str]]
) -> Iterator[ReadAlone]:
    """Whoever is read by totals and a reader's own sums."""
    here, parts = numbers[-1], list(zip(studies, numbers, strict=False))
    if any(members.keys() == here.keys() for members in numbers[:-1]):
        return
    sites = 1 + max(i for members in numbers for i in members)
    names = {i: name for members in numbers for i, name in members.items()}
    for reader in sorted(names):
        for one in sorted(_newly_read(numbers[:-1], here, reader, sites)):
            if len(here) == 2 and one in here:
                continue
            real = [(s, m) for s, m in parts if m.get(one, "") not in s.unsummed]
            if one not in _newly_read([m for _, m in real], here, reader, sites):
                continue
            hidden = [m for s, m in real if m.get(one, "") not in _agreed(s)]
            agreed = _agrees_here(names[one], new, here) or one not in _newly_read(hidden, here, reader, sites)
            why = f"beside the totals of other studies, {names[reader]} reads the sums of {names[one]} alone"
            yield ReadAlone(names[one], agreed, why)


def _agreed(study: StudySites) -> frozenset[str]:
    """Two sites have each other's sums, and accepted a study that says so."""
    return frozenset(name for name, _ in study.sites) if len(study.sites) == 2 else study.agreed


def _agrees_here(name: str, new: StudySites, here: dict[int, str]) -> bool:
    """A site of this name takes part and agreed: one that has another key than before says so itself."""
    return name in new.agreed and name in here.values()


def _newly_read(before: Sequence[dict[int, str]], here: dict[int, str], reader: int, sites: int) -> set[int]:
    return _read(reader, [*before, here], sites) - _read(reader, before, sites)


def _read(reader: int, studies: Sequence[dict[int, str]], sites: int) -> set[int]:
    """Sites whose own sums are a combination of these studies' totals and the reader's sums."""
    rows = np.zeros((len(studies) + 1, sites))
    for row, members in zip(rows, studies, strict=False):
        row[list(members)] = 1
    rows[-1, reader] = 1
    rows = np.unique(rows, axis=0)
    share = np.diag(np.linalg.pinv(rows) @ rows)
    return {int(j) for j in np.flatnonzero(share > 1 - 1e-9)} - {reader}
