"""The repeated tables of a policy: who may ask, who signs visas, and which visas give a role."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from securegen.errors import PolicyError
from securegen.governance.policy import IDENTITY, ISSUER, VISA, Identity, Issuer, Setting, VisaRule

TABLES: Final[Mapping[str, Mapping[str, Setting]]] = {"identity": IDENTITY, "issuer": ISSUER, "visa": VISA}
Tables = Mapping[str, Sequence[tuple[int, Mapping[str, Any]]]]  # line and keys of each, by the name of the table
Fault = Callable[[int, str], PolicyError]


def identities_of(tables: Tables, fault: Fault) -> tuple[Identity, ...]:
    """Who may ask. fault: the error of a line. Raises it for a name, a key or a subject that is there twice."""
    out: list[Identity] = []
    for line, own in _whole(tables, "identity", fault):
        made = Identity(
            own["name"], own["key"], own["role"], tuple(own["purposes"]), own["expires"], line, tuple(own["subjects"])
        )
        for other in out:
            if other.name.lower() == made.name.lower() or other.verify_key == made.verify_key:
                raise fault(line, f"{made.name} has the name or the key of {other.name}")
            if set(other.subjects) & set(made.subjects):
                raise fault(line, f"{made.name} has a subject of {other.name}: a visa is one key's")
        out.append(made)
    return tuple(out)


def issuers_of(tables: Tables, fault: Fault) -> tuple[Issuer, ...]:
    """Who signs visas. Raises `fault` for one that is there twice, two keys of one `kid`, or a key beside its algorithms."""
    out: list[Issuer] = []
    for line, own in _whole(tables, "issuer", fault):
        if any(o.name.lower() == own["name"].lower() or o.iss == own["iss"] for o in out):
            raise fault(line, f"{own['name']} is an issuer that is there already")
        keys = own["keys"]
        if len({key.kid for key in keys}) != len(keys):
            raise fault(line, f"two keys of {own['name']} have one kid")
        for key in keys:
            if key.algorithm not in own["algorithms"]:
                raise fault(line, f"a key of {own['name']} is for {key.algorithm}, which its algorithms leave out")
        out.append(Issuer(own["name"], own["iss"], tuple(keys), own["jku"], tuple(own["links"]), line))
    known = {i.name for i in out}
    for issuer in out:
        if strange := set(issuer.links) - known:
            raise fault(issuer.line or 0, f"{issuer.name} links {min(strange)}, which is not an issuer here")
    return tuple(out)


def visas_of(tables: Tables, issuers: Sequence[Issuer], fault: Fault) -> tuple[VisaRule, ...]:
    """Which visas give a role. Raises `fault` for a name that is there twice, an issuer that there is not, and for needs that do
    not stand above."""
    out: list[VisaRule] = []
    for line, own in _whole(tables, "visa", fault):
        if own["name"].lower() in {v.name.lower() for v in out}:
            raise fault(line, f"the visa {own['name']} is there twice")
        if own["issuer"] not in {i.name for i in issuers}:
            raise fault(line, f"{own['issuer']} is not an issuer here")
        if strange := set(own["needs"]) - {v.name for v in out}:
            raise fault(line, f"the visa {own['name']} needs {min(strange)}, which does not stand above it")
        out.append(VisaRule(**{**own, "by": tuple(own["by"]), "needs": tuple(own["needs"]), "line": line}))
    return tuple(out)


def _whole(tables: Tables, name: str, fault: Fault) -> list[tuple[int, dict[str, Any]]]:
    """The tables of a name, with defaults. Raises `fault` where a key is not there that must be."""
    out = []
    for line, own in tables.get(name, ()):
        for key, setting in TABLES[name].items():
            if key not in own and setting.default is None:
                raise fault(line, f"this {name} lacks {key}")
        out.append((line, {key: own.get(key, setting.default) for key, setting in TABLES[name].items()}))
    return out
