"""One package of a study: a folder with its tables, record and receipt, described for others (RO-Crate, Five Safes).

The five: *people* who asked, the *project* they asked for, the *data* by digest alone, the *settings* in which it was computed
and who learned what there, and the *outputs* with what was decided on them. Tables with a row per person stay where they are;
so does the log, whose digest goes along. No genotype and no id of a person enters.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from securegen.errors import MissingExtraError, StorageError, UsageError
from securegen.io.digests import sha256
from securegen.io.locks import only_one
from securegen.io.output import make_folder, sync_folder
from securegen.io.schema import one_line
from securegen.io.secret_files import is_secret
from securegen.io.text import iterate_lines
from securegen.record import receipt_steps
from securegen.record.statement import statement_of
from securegen.report.gather import SUFFIXES
from securegen.results.forms import FORMATS

if TYPE_CHECKING:
    from rocrate.rocrate import ROCrate

ENDING, VERSION = ".crate", "1.2"
NO_LICENCE = "No licence is stated: ask who made this crate."
STAYS = "not in this crate: it has, or may have, a row per person"
PERSONAL = {"fid", "iid", "sid", "fid1", "iid1", "fid2", "iid2", "id1", "id2", "sample"}
_TABLES = (
    *SUFFIXES,
    *(f.ending for f in FORMATS.values() if f.write is not None),
    "afreq",
    "vmiss",
    "hardy",
    "hardy.x",
    "match.tsv",
)
_CHECK = "https://w3id.org/shp#DisclosureCheck"


def crate(
    prefix: str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    *,
    project: str = "",
    people: str | Sequence[str] = (),
    organisation: str = "",
    licence: str = "",
) -> str:
    """Write the folder OUT (PREFIX.crate where None) and return its name. Needs securegen[gov].

    prefix: what the run was given as out; project: on whose behalf; people: names of who asked; organisation: theirs;
    licence: of the tables, a name or an address. A receipt that is there is first held against the files.
    Raises InputError where there is no run, ArtefactError where files are not as its receipt says, StorageError where the
    folder exists, MissingExtraError without rocrate.
    """
    for name, text in (("project", project), ("organisation", organisation), ("licence", licence)):
        if not isinstance(text, str):
            raise UsageError(f"`{name}` is a text")
    asked = (people,) if isinstance(people, str) else tuple(people)
    where = os.fspath(prefix).removesuffix(".run.json")
    folder = Path(planned(where, out))
    require_rocrate()
    record = receipt_steps.records_as_signed(where)[0]
    if os.path.lexists(where + receipt_steps.ENDING):
        receipt_steps.check_files(where)
    if os.path.lexists(folder):
        raise StorageError(f"{folder} exists and is not overwritten: choose another name or remove it")
    made = folder.with_name(f".{folder.name}.part")
    with only_one(folder.with_name(f".{folder.name}.lock"), str(folder)):
        _delete(made)  # of a run that was killed
        try:
            make_folder(made)
            _package(
                where, record, one_line(project), [one_line(p) for p in asked], one_line(organisation), licence
            ).write(made)
            os.rename(made, folder)
            sync_folder(folder.parent)
        except OSError as problem:
            raise StorageError(f"cannot write {folder}: {problem.strerror or problem}") from None
        finally:
            _delete(made)
    return str(folder)


def _delete(folder: Path) -> None:
    if folder.is_symlink():
        folder.unlink()
    shutil.rmtree(folder, ignore_errors=True)


def planned(prefix: str | os.PathLike[str], out: str | os.PathLike[str] | None) -> str:
    """The folder that `crate` writes."""
    return os.fspath(out) if out is not None else os.fspath(prefix).removesuffix(".run.json") + ENDING


def require_rocrate() -> None:
    """Raise MissingExtraError without the package that writes crates."""
    try:
        import rocrate.rocrate  # noqa: F401
    except ImportError:
        raise MissingExtraError("rocrate", "gov") from None


def _outputs(where: str, record: dict[str, Any]) -> tuple[list[Path], list[Path]]:
    """Files of the run that may go along, and those that stay."""
    go: list[Path] = []
    stay: list[Path] = []
    for name in sorted({Path(str(p)).name for p in record.get("outputs") or ()}):
        path = Path(where).parent / name
        if not path.is_file() or is_secret(path):
            continue  # of an encrypted folder the receipt has the digests
        (go if _harmless(path) else stay).append(path)
    return go, stay


def _harmless(path: Path) -> bool:
    """Whether a file is a table of variants: a known ending, and no column that names a person."""
    name = path.name.removesuffix(".gz").removesuffix(".zst")
    if not name.endswith(tuple(f".{ending}" for ending in _TABLES)):
        return False
    header = next(iter(iterate_lines(str(path))), "")
    return not {word.lstrip("#").lower() for word in header.split()} & PERSONAL


def _files(made: ROCrate, add: Callable[..., Any], where: str, record: dict[str, Any]) -> list[Any]:
    """The run's files: tables of variants and records go into the crate; of what stays it names digests."""

    def put(path: Path) -> Any:
        return made.add_file(path, path.name, properties={"name": path.name, "sha256": sha256(path)})

    go, stay = _outputs(where, record)
    found = [put(path) for path in go]
    for ending in ("run.json", "receipt.json", "risk.json"):
        if (path := Path(f"{where}.{ending}")).is_file():
            put(path)
    log = Path(f"{where}.log")
    told = [(f"#kept-{i}", path, STAYS) for i, path in enumerate(stay, 1)]
    told += [("#log", log, "not in this crate")] if log.is_file() else []
    return found + [
        add(identity, "CreativeWork", name=path.name, sha256=sha256(path), description=why)
        for identity, path, why in told
    ]


def _package(
    where: str, record: dict[str, Any], project: str, people: list[str], organisation: str, licence: str
) -> ROCrate:
    """The crate of a run, before it is written."""
    from rocrate.model import ContextEntity
    from rocrate.rocrate import ROCrate

    made = ROCrate(version=VERSION)
    said = statement_of(where, record, {})
    name = Path(where).name

    def add(identity: str, kind: str, **properties: Any) -> Any:
        found = {key: value for key, value in properties.items() if value not in (None, "", [])}
        return made.add(ContextEntity(made, identity, {"@type": kind, **found}))

    governance = record.get("governance") or {}
    purpose = governance.get("purpose") or ""
    firm = add("#organisation", "Organization", name=organisation) if organisation else None
    task = add("#project", "Project", name=project or "not named", description=purpose and f"data use (DUO): {purpose}")
    agents = [
        add(f"#person-{i}", "Person", name=who, affiliation=firm, memberOf=task) for i, who in enumerate(people, 1)
    ]
    if governance.get("who"):
        agents.append(
            add("#identity", "Person", name=governance["who"], memberOf=task, description=f"role {governance['role']}")
        )
    inputs = [
        add(f"#input-{i}", "CreativeWork", name=entry["name"], description="not in this crate", **entry["digest"])
        for i, entry in enumerate(said.predicate["inputs"], 1)
    ]
    program = add(f"#securegen-{record['version']}", "SoftwareApplication", name="securegen", version=record["version"])
    settings = [add("#engine", "PropertyValue", name="engine", value=record.get("engine"))]
    settings += [
        add(f"#option-{key}", "PropertyValue", name=key, value=value if isinstance(value, str) else json.dumps(value))
        for key, value in sorted(said.predicate["options"].items())
    ]
    learned = said.learned
    if learned is not None:
        settings.append(
            add("#who-learned-what", "PropertyValue", name="who learned what", value="\n".join(learned.lines()))
        )
    files = _files(made, add, where, record)
    does = f"securegen {record['command']}"
    action = add(
        f"#run-{said.predicate['record']['sha256'][:16]}", "CreateAction", name=does, instrument=program,
        agent=agents, object=[*inputs, *settings], result=files,
        actionStatus="http://schema.org/CompletedActionStatus",
    )  # fmt: skip
    checks = [
        add(
            f"#decision-{i}", "AssessAction", name="allowed by policy" if found["allowed"] else "refused by policy",
            additionalType=_CHECK, object=action,
            description="\n".join(f"{r['rule']}: {r['text']}" for r in found["reasons"]),
        )
        for i, found in enumerate(governance.get("decisions") or [], 1)
    ]  # fmt: skip
    logs = [
        add(f"#audit-{i}", "PropertyValue", name="audit log", value=f"size {w['size']}, root {w['root']}")
        for i, w in enumerate(record.get("audit") or [], 1)
    ]
    root = made.root_dataset
    root["name"] = f"{project}: {name}" if project else name
    counted = [f"{record[k]} {k}" for k in ("samples", "variants") if record.get(k) is not None]
    root["description"] = f"Results of {does}" + (f", {', '.join(counted)}" if counted else "")
    root["license"] = licence or NO_LICENCE
    root["sourceOrganization"] = task
    root["mentions"] = [action, *checks, *logs]
    return made
