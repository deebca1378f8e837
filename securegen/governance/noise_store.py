"""The file of draws of noise: AES-256-GCM under a key in a file beside it, both 0600, locked while in use.

Every change makes a new key and a new file, and the key file, which says which file is the latest and where it stands, is put in
place last: a run that is killed at any write leaves the earlier state or the new one. A place begins with a key file that
names none, so that a key file that is gone is seen. An older file of draws under the new key's file, an edited one, or a
copied folder is refused. Both files brought back together from a backup, or taken away, are refused by the audit log of the
policy beside them (`audit_ledger`). Without a policy they cannot be told from the state of then: draws that were made since
are made again. Keep them with the data, and the key file apart in backups.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import secrets
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from securegen.errors import PolicyError, StorageError
from securegen.governance import audit_ledger
from securegen.governance.door import OutputFacts
from securegen.governance.label_noise import LabelNoise
from securegen.governance.noise_ledger import MARK_BYTES, NoiseEntries, NoisyAnswer, NoisyTrait
from securegen.governance.people_noise import PeopleNoise
from securegen.io import envelope
from securegen.io.output import PRIVATE, PRIVATE_FOLDER, atomic, make_folder
from securegen.io.schema import boolean, hex_text, integer, list_of, number, optional, record, text
from securegen.io.strict_json import parse_json, read_regular
from securegen.randomness import fresh_key

DRAWS: Final = "noise.draws"
MAGIC, WHAT = "securegen key of noise 1", "key of noise"
COPY_RULE: Final = "noise.copy"
_MOST, _PEOPLE = 1 << 30, 1 << 24
_NUMBER = number(-1e12, 1e12)
_CONTENT = record(
    mark_key=hex_text(32),
    people=list_of(hex_text(MARK_BYTES), 0, _PEOPLE),
    traits=list_of(
        record(
            name=text(400), binary=boolean, epsilon=number(0, 1e3), delta=optional(number(0, 1)),
            bounds=optional(list_of(_NUMBER, 2, 2)), people=list_of(integer(0, _PEOPLE), 0, _PEOPLE),
            values=list_of(hex_text(MARK_BYTES), 0, _PEOPLE), draws=list_of(integer(-(1 << 62), 1 << 62), 0, _PEOPLE),
        ),
        0, 1 << 16,
    ),
    may_have={
        "made": list_of(hex_text(MARK_BYTES), 0, _PEOPLE),
        "answers": list_of(
            record(
                question=hex_text(MARK_BYTES), epsilon=number(0, 1e3), delta=optional(number(0, 1)),
                numbers=list_of(integer(-(1 << 62), 1 << 62), 0, _PEOPLE),
            ),
            0, 1 << 16,
        ),
    },
)  # fmt: skip


def has_draws(folder: str | Path) -> bool:
    """Whether noise was drawn in this place: its key or a file of draws is there, or the audit log names one."""
    with contextlib.suppress(OSError):
        if any(name == _KEY or name.startswith(f"{DRAWS}.") and name != _LOCK for name in os.listdir(folder)):
            return True
    return audit_ledger.known(Path(folder) / DRAWS)


def believed(
    outputs: Sequence[OutputFacts], folders: Iterable[Path] | None, log: Callable[[str], None]
) -> Sequence[OutputFacts]:
    """Outputs at a door, whose noise is believed where the draws of one of these folders know what their columns were built of;
    the others count as exact, aloud. folders: None where it is not asked. Raises as `open_draws`."""
    if folders is None:
        return outputs
    out = list(outputs)
    open_claims = {i for i, o in enumerate(out) if o.noise is not None}
    for folder in dict.fromkeys(folders) if open_claims else ():
        if has_draws(folder):
            with open_draws(folder) as entries:
                claims = [(i, out[i].name, noise, out[i].made) for i in open_claims if (noise := out[i].noise)]
                open_claims -= {i for i, name, noise, made in claims if entries.made_here(name, noise, made)}
    for i in sorted(open_claims):
        log(f"noise of {out[i].name}: no draws are stored of which these columns were built: they count as exact")
        out[i] = replace(out[i], noise=None)
    return out


@contextlib.contextmanager
def open_draws(folder: str | Path, log: Callable[[str], None] | None = None) -> Iterator[NoiseEntries]:
    """The draws of a place, made at the first call, locked; what the block enters is on the disk when it has ended.

    log: told when they are new. Raises StorageError and KeyFileError where they are damaged, not the latest, open to others or
    a part is gone; PolicyError for a copy.
    """
    folder = Path(os.path.realpath(folder))
    make_folder(folder, PRIVATE_FOLDER)
    lock = _locked(folder / _LOCK)
    try:
        entries, latest = _read(folder, log)
        before = _content(entries)
        audit_ledger.refuse_older(
            folder / DRAWS, latest, lambda facts: latest != facts["changes"] or _digest(before) == facts["whole"],
            what="the store of noise",
        )  # fmt: skip
        yield entries
        after = _content(entries)
        if after != before:
            _write(folder, after, latest + 1)
            audit_ledger.tell(folder / DRAWS, latest + 1, {"whole": _digest(after)})
    finally:
        os.close(lock)


_KEY, _LOCK = f"{DRAWS}.key", f"{DRAWS}.lock"


def _locked(path: Path) -> int:
    try:
        found = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, PRIVATE)
    except OSError as error:
        raise StorageError(f"cannot keep draws of noise at {path}: {error.strerror}") from None
    if not stat.S_ISREG(os.fstat(found).st_mode):
        os.close(found)
        raise StorageError(f"cannot keep draws of noise at {path}: it is not a regular file")
    fcntl.flock(found, fcntl.LOCK_EX)
    return found


def _file(folder: Path, number: int) -> Path:
    return folder / f"{DRAWS}.{number}"


def _read(folder: Path, log: Callable[[str], None] | None) -> tuple[NoiseEntries, int]:
    key_file = folder / _KEY
    if not os.path.lexists(key_file):
        if any(name.startswith(f"{DRAWS}.") and name != _LOCK for name in os.listdir(folder)):
            raise StorageError(f"{key_file} is gone, and draws of noise are there: bring it back from a backup")
        if log is not None:
            log(f"the draws of noise in {folder} are new: what these people spent elsewhere is not known here")
        return NoiseEntries(fresh_key() + fresh_key()), 0
    if key_file.is_symlink():
        raise StorageError(f"{key_file} is a link: two names of one place could forget each other's draws")
    header, key = envelope.read(key_file, MAGIC, WHAT)
    latest, place = header.get("latest"), header.get("folder")
    if type(latest) is not int or latest < 0 or len(key) != 32:
        raise StorageError(f"{key_file} is not of this version")
    if place != str(folder):
        raise PolicyError(
            f"{COPY_RULE}: these draws of noise were made in {place}: a copy would draw apart, and each draw more gives "
            "the phenotype away; work there, or move the folder back"
        )
    if (
        latest == 0
    ):  # killed before the first draws were whole; where there are some, they are the first or it was edited
        if not any(name.removeprefix(f"{DRAWS}.").isdecimal() for name in os.listdir(folder)):
            return NoiseEntries(fresh_key() + fresh_key()), 0
        latest = 1
    path = _file(folder, latest)
    try:
        raw = read_regular(path, "draws of noise", most=_MOST, error=StorageError)
        content = AESGCM(key).decrypt(raw[:12], raw[12:], _named(latest))
    except FileNotFoundError:
        raise StorageError(f"{path} is gone, and with it what noise was drawn: bring it back from a backup") from None
    except (InvalidTag, ValueError):
        raise StorageError(f"{path} was altered, or is not the latest: bring it back with its key file") from None
    _forget_before(folder, latest)
    return _entries(parse_json(content, f"{path}, draws of noise,", _CONTENT, error=StorageError), path), latest


def _forget_before(folder: Path, latest: int) -> None:
    """Delete draws that the latest replaced, whose key is gone: those of a writer that was killed too."""
    for name in os.listdir(folder):
        number = name.removeprefix(f"{DRAWS}.")
        if number != name and number.isdecimal() and int(number) < latest:
            with contextlib.suppress(OSError):
                os.unlink(folder / name)


def _named(latest: int) -> bytes:
    return f"{MAGIC} {latest}".encode()


def _write(folder: Path, content: str, latest: int) -> None:
    key, nonce = AESGCM.generate_key(256), secrets.token_bytes(12)
    if len(content) > _MOST // 2:
        raise StorageError(f"the draws of noise in {folder} would pass {_MOST >> 21} MB")
    if latest == 1:
        _write_key(folder, 0, key)
    with atomic(_file(folder, latest), mode=PRIVATE) as stream:
        stream.write(nonce + AESGCM(key).encrypt(nonce, content.encode(), _named(latest)))
    _write_key(folder, latest, key)
    _forget_before(folder, latest)


def _write_key(folder: Path, latest: int, key: bytes) -> None:
    with atomic(folder / _KEY, mode=PRIVATE) as stream:
        stream.write(envelope.sealed(MAGIC, {"folder": str(folder), "latest": latest}, key, None))


def _digest(content: str) -> str:
    """Of the draws with the key of their marks, which nobody guesses."""
    return hashlib.sha256(content.encode()).hexdigest()


def _content(entries: NoiseEntries) -> str:
    traits = [
        {"name": t.name, "binary": t.binary, "epsilon": t.noise.epsilon, "delta": t.noise.delta,
         "bounds": None if t.noise.bounds is None else list(t.noise.bounds), "people": t.people, "values": t.values,
         "draws": t.draws}
        for t in entries.traits
    ]  # fmt: skip
    answers = [
        {"question": a.question, "epsilon": a.noise.epsilon, "delta": a.noise.delta, "numbers": a.numbers}
        for a in entries.answers
    ]
    return json.dumps(
        {"mark_key": entries.key.hex(), "people": list(entries.people), "traits": traits, "made": entries.made}
        | ({"answers": answers} if entries.begun or answers else {})
    )


def _entries(value: dict[str, Any], path: Path) -> NoiseEntries:
    people = {name: i for i, name in enumerate(value["people"])}
    traits = []
    for t in value["traits"]:
        if not len(t["people"]) == len(t["values"]) == len(t["draws"]) or max(t["people"], default=-1) >= len(people):
            raise StorageError(f"{path} is not of this version")
        bounds = None if t["bounds"] is None else (float(t["bounds"][0]), float(t["bounds"][1]))
        noise = LabelNoise(float(t["epsilon"]), t["delta"], bounds)
        traits.append(NoisyTrait(t["name"], t["binary"], noise, t["people"], t["values"], t["draws"]))
    answers = [
        NoisyAnswer(a["question"], PeopleNoise(float(a["epsilon"]), a["delta"]), a["numbers"])
        for a in value.get("answers") or []
    ]
    begun = value.get("answers") is not None
    return NoiseEntries(bytes.fromhex(value["mark_key"]), people, traits, value.get("made") or [], answers, begun)
