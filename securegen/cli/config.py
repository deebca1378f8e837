"""Options as data: --config run.toml, the options of a run in PREFIX.run.json, and a command line made of them again.

No option takes a passphrase, so none can be saved; a passphrase file is named, never read here.
"""

from __future__ import annotations

import difflib
import hashlib
import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import click

from securegen.cli.former import former_flags, note_former
from securegen.errors import InputError, SecuregenError, UsageError
from securegen.governance.releases import GROWING
from securegen.io.digests import sha256
from securegen.io.folders import folder_of
from securegen.io.genotypes import FIELDS, FORMATS, cohorts_of, named_files
from securegen.io.store_urls import is_url
from securegen.local.launcher import toml_text
from securegen.study.noise_marks import marks_of
from securegen.study.noise_place import is_told, place_of

NOT_DIGESTED = {"out", "passphrase_file", "ledger", "state", "keys"}  # written by the run, or secret
PATHS = ("FILE", "FOLDER", "PREFIX", "NAME=FILE")
WORDS = {  # of options that name no file
    "A,B", "BUILD", "COL:k", "DATE", "DIGEST", "DUO", "F,F", "FINGERPRINT", "ID,ID", "KEY=VALUE", "KIND", "LO,HI", "NAME",
    "NAME=FINGERPRINT", "NAME=ISS=FILE", "NAME=KIND", "SITE", "TEXT", "YYYY-MM-DD", "i,j,k", "i/n",
}  # fmt: skip


def command_words(ctx: click.Context) -> list[str]:
    """The words of a command: ['run-local', 'gwas']."""
    words = []
    while ctx.parent is not None:
        words.append(str(ctx.info_name))
        ctx = ctx.parent
    return words[::-1]


def flag_of(option: click.Option) -> str:
    """The long name of an option, without dashes."""
    return max((o for o in option.opts if o.startswith("--")), key=len, default=option.opts[0]).lstrip("-")


def _options(command: click.Command) -> dict[str, click.Option]:
    """The options that belong to a run, by flag."""
    return {flag_of(p): p for p in command.params if isinstance(p, click.Option) and p.expose_value}


def load_config(ctx: click.Context, _: click.Parameter, path: str | None) -> None:
    """Callback of --config: the file's values, by flag or by field of Python, become the defaults of this command.

    Raises InputError when it is not TOML, UsageError for a key that is not an option of this command.
    """
    if path is None:
        return
    try:
        content = tomllib.loads(Path(path).read_text("utf-8", "surrogateescape"))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not TOML: {error}") from None
    words = " ".join(command_words(ctx))
    if any(isinstance(value, dict) for value in content.values()):
        content = _of_this_command(ctx, path, words, content)
    made_for = content.pop("command", words)
    if made_for != words:
        raise UsageError(f"{path} is for securegen {made_for}, not for securegen {words}")
    options = _options(ctx.command)
    by_field = {str(option.name): flag for flag, option in options.items()}
    former = former_flags(ctx.command)
    values: dict[str, Any] = {}
    for said, value in content.items():
        key = said if said in options else by_field.get(said) or former.get(said, said)
        if said in former:
            note_former(ctx, f"--{said}", f"--{key}")
        if key not in options:
            near = difflib.get_close_matches(key, options, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}?" if near else f"see securegen {words} --help"
            raise UsageError(f"{path}: {key!r} is not an option of securegen {words}; {hint}")
        name = str(options[key].name)
        if name in values:
            raise UsageError(f"{path}: {key!r} is given twice, by two of its names")
        values[name] = _value(path, key, value, options[key])
    ctx.default_map = values


def _of_this_command(ctx: click.Context, path: str, words: str, content: dict[str, Any]) -> dict[str, Any]:
    """What a file with a table for each of several commands says to this one: what stands above the tables is for every
    command that has the option."""
    tables = {name: value for name, value in content.items() if isinstance(value, dict)}
    commands = {name: _command(ctx, path, name) for name in tables}
    if words not in tables:
        raise UsageError(f"{path} has tables for securegen {', '.join(tables)}, none for securegen {words}")
    shared = {key: value for key, value in content.items() if key not in tables}
    for key in shared:
        if not any(key in _options(c) or key in former_flags(c) for c in commands.values()):
            raise UsageError(f"{path}: {key!r} is not an option of securegen {', '.join(tables)}")
    mine = _options(commands[words]) | former_flags(commands[words])
    return {key: value for key, value in shared.items() if key in mine} | tables[words]


def _command(ctx: click.Context, path: str, name: str) -> click.Command:
    found: click.Command | None = ctx.find_root().command
    for word in name.split():
        found = found.get_command(ctx, word) if isinstance(found, click.Group) else None
    if found is None:
        raise UsageError(f"{path}: the table [{name}] is not a command of securegen")
    return found


def _value(path: str, key: str, value: Any, option: click.Option) -> Any:
    items = value if isinstance(value, list) else [value]
    if not all(isinstance(v, str | int | float) for v in items) or (isinstance(value, list) and not option.multiple):
        raise UsageError(f"{path}: {key!r} takes {'values' if option.multiple else 'one value'}, not {value!r}")
    if option.is_flag != all(isinstance(v, bool) for v in items):
        raise UsageError(f"{path}: {key!r} is {'true or false' if option.is_flag else 'a value'}, not {value!r}")
    if option.is_flag:
        return value
    if option.multiple and option.callback:
        return [",".join(map(str, items))]
    return [str(v) for v in items] if option.multiple else str(value)


def options_of(ctx: click.Context) -> dict[str, Any]:
    """Every option of the running command that has a value and decides what comes out, by flag; defaults too."""
    out: dict[str, Any] = {}
    for flag, option in _options(ctx.command).items():
        value = ctx.params.get(str(option.name))
        if flag == "quiet" or value is None or value == () or (value is False and not option.secondary_opts):
            continue
        if isinstance(value, tuple):
            value = ",".join(map(str, value)) if option.callback else list(value)
        out[flag] = value
    return out


def arguments_of(command: click.Command, options: Mapping[str, Any]) -> list[str]:
    """The command line that has these options. Raises UsageError for one that the command does not have."""
    known, out, former = _options(command), [], former_flags(command)
    for said, value in options.items():
        flag = former.get(said, said)
        if flag not in known:
            raise UsageError(f"this version has no option --{flag} there: run the command by hand")
        if known[flag].is_flag:
            out += [f"--{flag}"] if value else list(known[flag].secondary_opts[:1])
        else:
            out += [f"--{flag}={v}" for v in (value if isinstance(value, list) else [value])]
    return out


def toml_of(command: str, options: Mapping[str, Any]) -> str:
    """A file for --config."""
    return toml_text({"command": command} | dict(options))


def path_options(ctx: click.Context) -> Iterator[tuple[str, Path]]:
    """(name of the option, path) of every file and folder on a disk that the options name; a fileset is its files."""
    if any(p.name in FORMATS for p in ctx.command.params):
        yield from named_files(ctx.params)
    for p in ctx.command.params:
        value = ctx.params.get(str(p.name))
        if not value or p.name in FIELDS or not str(p.metavar or "").startswith(PATHS):
            continue
        for text in value if isinstance(value, tuple) else (value,):
            place = str(text).partition("=")[2] if str(p.metavar).startswith("NAME=") else str(text)
            if not is_url(place):
                yield str(p.name), Path(place)


def store_options(ctx: click.Context) -> Iterator[tuple[str, str]]:
    """(name of the option, URL) of every option and argument that names a file or folder by a URL."""
    for p in ctx.command.params:
        value = ctx.params.get(str(p.name))
        if p.metavar in WORDS:
            continue
        for text in value if isinstance(value, tuple) else (value,):
            place = text.rpartition("=")[2] if isinstance(text, str) and "=FILE" in str(p.metavar) else text
            if isinstance(place, str) and is_url(place):
                yield str(p.name), place


def file_marks(ctx: click.Context) -> dict[str, tuple[int, ...]]:
    """Path -> size, time and place of every input file, by which one is known that changed while a command read it;
    of no register of consent, in which the command itself enters what it releases."""
    found: dict[str, tuple[int, ...]] = {}
    for name, path in path_options(ctx):
        if name not in NOT_DIGESTED | GROWING and path.is_file():
            status = path.stat()
            found[str(path)] = (status.st_size, status.st_mtime_ns, status.st_dev, status.st_ino)
    return found


def digests_of(ctx: click.Context, read: Mapping[str, str], noted: Mapping[str, str]) -> dict[str, str]:
    """Path or URL -> SHA-256 of every input; of a folder its manifest's; of a key only the fingerprint of its public half. With
    noise on phenotypes no table of people is told. read: those of them that are known already; noted: as `digest_used`."""
    named: list[tuple[str, str | Path]] = [*path_options(ctx), *store_options(ctx)]
    noisy = ctx.params.get("dp_epsilon") is not None
    found = {
        str(place): read.get(str(place)) or digest_used(place, noted)
        for name, place in named
        if name not in NOT_DIGESTED and (not noisy or is_told(name, place))
    }
    return {path: digest for path, digest in found.items() if digest}


def untold_of(ctx: click.Context, told: Mapping[str, str]) -> dict[str, Any]:
    """What a record says of input files whose digests it may not have: `untold`, their paths. Where phenotypes have noise also
    `marks` of them, and `draws`, the folder under whose key these are."""
    named = [(name, str(path)) for name, path in path_options(ctx) if name not in NOT_DIGESTED and path.is_file()]
    noisy = ctx.params.get("dp_epsilon") is not None
    untold = sorted({path for name, path in named if path not in told and not (noisy and is_told(name, path))})
    if not untold or not noisy:
        return {"untold": untold} if untold else {}
    from securegen.study.inputs import Inputs

    several = {name for name in FIELDS if isinstance(ctx.params.get(name), tuple)}  # of run-local, the sites'
    given = {f.name: ctx.params[f.name] for f in fields(Inputs) if f.name in ctx.params and f.name not in several}
    draws = place_of(Inputs(**given | cohorts_of(ctx.params)[0]))[0]
    return {"untold": untold, "draws": os.path.relpath(draws), "marks": marks_of(draws, untold)}


def digest_used(place: str | Path, noted: Mapping[str, str]) -> str | None:
    """The digest of what this command read or wrote there. noted: of manifests (`io.looks`); one in a store that the command did
    not open is not looked at."""
    return noted.get(manifest_at(place)) or (None if is_url(place) else digest_of(place))


def manifest_at(place: str | Path) -> str:
    """Where the manifest of a folder lies, if it is one."""
    from securegen.engines.ckks.artefact import MANIFEST

    return folder_of(place).at(MANIFEST)


def digest_of(place: str | Path) -> str | None:
    """The digest of what lies there now; None for what cannot be read, has no manifest, or is secret and has no fingerprint."""
    from securegen.engines.ckks.artefact import MANIFEST, MOST_MANIFEST
    from securegen.inspection import is_secret, key_fingerprint

    if is_url(place):
        try:
            return hashlib.sha256(folder_of(place).read(MANIFEST, "a manifest", MOST_MANIFEST)).hexdigest()
        except (OSError, SecuregenError):
            return None
    path = Path(place)
    path = path / MANIFEST if path.is_dir() else path
    if not path.is_file():
        return None
    try:
        if is_secret(path):
            return key_fingerprint(path)
        return sha256(path)
    except OSError:
        return None
