"""Files that are written whole or not at all, and the errors of a file system that refuses.

A file whose mode shuts others out holds a key, a promise or people's data: it is also on the disk before anybody relies
on it, and so are the folders made for it private. All others get what the umask leaves.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import json
import os
import re
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from securegen.errors import StorageError
from securegen.io.store_urls import refuse_url

PRIVATE, PRIVATE_FOLDER = 0o600, 0o700
_umask = os.umask(0o077)  # of whoever started this process
os.umask(_umask)
FOR_OTHERS, FOLDER_FOR_OTHERS = 0o666 & ~_umask, 0o777 & ~_umask  # what a process with keys writes for other parties

_TRIES = 100
_HERE, _NOREPLACE = -100, 1  # AT_FDCWD, RENAME_NOREPLACE
_COPY_BYTES = 1 << 20


def make_folder(folder: Path, mode: int | None = None) -> None:
    """Make a folder and its parents; those that are new get the mode, None for what the umask leaves.

    Raises StorageError naming it, UsageError for the URL of a store: no folder of that name is made here.
    """
    refuse_url(folder, "this folder")
    try:
        if mode is not None:
            for missing in reversed([f for f in (folder, *folder.parents) if not f.exists()]):
                missing.mkdir(mode=mode & PRIVATE_FOLDER, exist_ok=True)
                missing.chmod(mode)
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        why = "a file is in the way" if isinstance(error, FileExistsError) else error.strerror or error
        raise StorageError(f"cannot make the folder {folder}: {why}") from None


def private_folder(folder: Path) -> None:
    """Make a folder that nobody else can enter, or shut one that is there.

    Raises StorageError where it is another user's, or where others could write in it and something lies there: another
    may have made it first, and put a file or a link in the place of one that is trusted later.
    """
    make_folder(folder, PRIVATE_FOLDER)
    try:
        at = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise StorageError(f"cannot open the folder {folder}: {error.strerror}") from None
    try:
        status = os.fstat(at)
        if status.st_uid != os.geteuid():
            raise StorageError(f"{folder} is another user's: what is kept there is in their hands; choose another name")
        os.fchmod(at, PRIVATE_FOLDER)
        if status.st_mode & 0o022 and os.listdir(at):
            os.fchmod(at, stat.S_IMODE(status.st_mode))
            raise StorageError(
                f"others may write in {folder}, and something lies there: choose another name; or, where all of it is your "
                f"own, chmod 700 {folder}"
            )
    except OSError as error:
        raise StorageError(f"cannot shut {folder} to others: {error.strerror}") from None
    finally:
        os.close(at)


def make_working_folder(prefix: str) -> Path:
    """A new folder PREFIX.xxxxxxxx for one run, mode 0700. Raises StorageError naming its parent."""
    base = Path(prefix)
    make_folder(base.parent)
    try:
        return Path(tempfile.mkdtemp(prefix=f"{base.name}.", dir=base.parent))
    except OSError as error:
        raise StorageError(f"cannot make a folder in {base.parent}: {error.strerror or error}") from None


@contextlib.contextmanager
def atomic(
    path: str | Path, *, mode: int | None = None, overwrite: bool = True, durable: bool | None = None
) -> Iterator[BinaryIO]:
    """Open a temporary neighbour for writing; rename it to `path` when the block ends well, delete it when it does not.

    mode: None for what the umask leaves. durable: on the disk, name and content, when the block has ended; by default
    so for a mode that shuts others out. A link at `path` is replaced, never followed. What a killed writer of the same
    `path` left behind is deleted first.
    Raises StorageError naming the path: no space, no permission, or it exists and overwrite is False; UsageError for a
    URL.
    """
    refuse_url(path, "this file")
    path = Path(path)
    private = mode is not None and not mode & 0o077
    durable = private if durable is None else durable
    temporary = None
    make_folder(path.parent, None if mode is None else PRIVATE_FOLDER if private else FOLDER_FOR_OTHERS)
    try:
        delete_abandoned(path.parent, re.escape(path.name))
        descriptor, temporary = _new_temporary(path, mode)
        with os.fdopen(descriptor, "wb") as stream:
            if mode is not None:
                os.fchmod(descriptor, mode)
            yield stream
            stream.flush()
            if durable:
                os.fsync(descriptor)
            if overwrite:
                os.replace(temporary, path)
            else:
                _rename_new(temporary, path)
        if durable:
            sync_folder(path.parent)
    except FileExistsError:
        raise StorageError(f"{path} exists and is not overwritten: choose another name or remove it") from None
    except (ConnectionError, TimeoutError):  # of another party, met while writing
        raise
    except OSError as error:
        beside = str(error.filename or path).startswith((str(path), str(path.parent / f".{path.name}.")))
        raise StorageError(f"cannot write {path}: {(beside and error.strerror) or error}") from None
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)


def _rename_new(temporary: str, path: Path) -> None:
    """Rename where the name does not exist, without a race. Raises FileExistsError."""
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError):
        os.link(temporary, path)  # a writer killed here leaves both names
        return
    if rename(_HERE, os.fsencode(temporary), _HERE, os.fsencode(path), _NOREPLACE) == 0:
        return
    if (error := ctypes.get_errno()) in (errno.EINVAL, errno.ENOSYS):  # a file system that cannot
        os.link(temporary, path)
        return
    raise OSError(error, os.strerror(error), os.fspath(path))


def _new_temporary(path: Path, mode: int | None) -> tuple[int, str]:
    """An open new file `.NAME.xxxxxxxx` beside path. Its lock says that the writer is alive."""
    for _ in range(_TRIES):
        name = str(path.parent / f".{path.name}.{secrets.token_hex(4)}")
        try:
            descriptor = os.open(
                name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666 if mode is None else mode
            )
        except FileExistsError:
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # another process takes it for abandoned and deletes it
            os.close(descriptor)
            continue
        except OSError:  # a file system without locks: nobody can take it for abandoned
            return descriptor, name
        if os.fstat(descriptor).st_nlink:
            return descriptor, name
        os.close(descriptor)
    raise StorageError(f"cannot write {path}: no free name for a temporary file beside it")


def delete_abandoned(folder: Path, names: str) -> None:
    """Delete temporary files of a folder whose writer lives no more. names: a regular expression of their final names."""
    pattern = re.compile(rf"\.(?:{names})\.[0-9a-f]{{8}}")
    found: list[str] = []
    with contextlib.suppress(OSError), os.scandir(folder) as entries:  # who may write need not be able to list
        found = [e.path for e in entries if pattern.fullmatch(e.name)]
    for name in found:
        with contextlib.suppress(OSError):  # deleted by another, or not ours to delete
            descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                status = os.fstat(descriptor)
                if stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid():
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    os.unlink(name)
            finally:
                os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Have the names in a folder on the disk. Raises OSError where the disk fails."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def require_space(folder: Path, size: int) -> None:
    """Raise StorageError unless the file system of a folder has room for so many bytes more, as far as it tells."""
    try:
        free = shutil.disk_usage(folder).free
    except OSError:
        return
    if size > free:
        raise StorageError(
            f"{folder} needs {size / 1e6:.1f} MB at least and {free / 1e6:.1f} MB are free there: nothing was written; "
            "choose another folder or make room"
        )


def write_text(path: str | Path, text: str, **options: Any) -> None:
    """Write a text as UTF-8; names of files in it keep their bytes. Options as `atomic`."""
    with atomic(path, **options) as stream:
        stream.write(text.encode(errors="surrogateescape"))


def write_bytes(path: str | Path, parts: Iterable[bytes | memoryview], **options: Any) -> None:
    """Write bytes, part after part. Options as `atomic`."""
    with atomic(path, **options) as stream:
        stream.writelines(parts)


def json_bytes(value: Any) -> bytes:
    """A JSON file as it is written."""
    return (json.dumps(value, indent=1, sort_keys=True) + "\n").encode(errors="surrogateescape")


def write_json(path: str | Path, value: Any, **options: Any) -> None:
    """Write a value as JSON, whole or not at all. options: of `atomic`. Raises StorageError."""
    write_bytes(path, [json_bytes(value)], **options)


def write_array(path: str | Path, array: np.ndarray, **options: Any) -> int:
    """Write a .npy file without pickling; returns its size in bytes."""
    array = np.ascontiguousarray(array)
    if array.dtype.hasobject:
        raise ValueError("an array of objects is not written: it would need allow_pickle")
    with atomic(path, **options) as stream:
        np.lib.format.write_array_header_1_0(stream, np.lib.format.header_data_from_array_1_0(array))
        stream.write(array.reshape(-1).view(np.uint8).data)  # unlike NumPy's own writer this says why it fails
        return stream.tell()


def copy_file(source: str | Path, path: str | Path, **options: Any) -> None:
    """Copy a file to `path`, whole or not at all. Options as `atomic`."""
    with open(source, "rb") as reading, atomic(path, **options) as writing:
        shutil.copyfileobj(reading, writing, _COPY_BYTES)
