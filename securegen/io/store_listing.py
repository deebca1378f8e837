"""Listings of an object store, a page at a time: names are counted, and of each only what is asked for is kept.

Whoever runs the store writes them. A page has the size of a page, and a listing no more names than its reader takes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from securegen.errors import StorageError
from securegen.io.store_objects import is_plain, size_of
from securegen.io.store_requests import asked

PAGE = 1000  # names, the most that either store gives
MOST_PAGE = PAGE << 12  # bytes
MORE_PAGES = 64  # than four times as many as names fill: a store may send pages with few
MOST_NAMES = 1 << 20  # objects of a folder: half a million people × a million variants are as many


class Page(NamedTuple):
    """Objects, each with its key and size, keys of folders, and what is sent to have the next page: '' after the last."""

    objects: list[tuple[str, Any]]
    folders: list[str]
    next: str


def listing(fs: Any, scheme: str, place: str, where: str, most: int) -> Iterator[tuple[str, int | None]]:
    """Names of objects whose keys begin with a place (bucket and key), with their sizes, and of folders with None; only those
    that are plain ones, without what stands before the last slash of the place.

    Raises StorageError where there are more than `most` of whatever form.
    """
    bucket, _, key = place.partition("/")
    above, counted, pages, next_page = key.rpartition("/")[0], 0, 0, ""
    skipped = len(above) + 1 if above else 0
    while True:
        try:
            page = asked(where, "listed", lambda after=next_page: _PAGES[scheme](fs, bucket, key, after), MOST_PAGE)  # type: ignore[misc]
        except FileNotFoundError:
            return
        counted, pages = counted + len(page.objects) + len(page.folders), pages + 1
        if counted > most or pages > MORE_PAGES + 4 * most // PAGE:
            raise StorageError(f"{where} cannot be listed: the store names more than {most:,} objects there")
        for name, size in page.objects:
            if is_plain(name[skipped:]):
                yield name[skipped:], size_of({"size": size}, f"{where.rpartition('/')[0]}/{name[skipped:]}")
        yield from ((name[skipped:].rstrip("/"), None) for name in page.folders if is_plain(name[skipped:].rstrip("/")))
        if not page.next:
            return
        next_page = page.next


def _s3(fs: Any, bucket: str, key: str, after: str) -> Page:
    more = {"ContinuationToken": after} if after else {}
    found = fs.call_s3("list_objects_v2", Bucket=bucket, Prefix=key, Delimiter="/", MaxKeys=PAGE, **more)
    return Page(
        [(str(o["Key"]), o["Size"]) for o in found.get("Contents", ())],
        [str(o["Prefix"]) for o in found.get("CommonPrefixes", ())],
        str(found["NextContinuationToken"]) if found.get("IsTruncated") else "",
    )


def _gs(fs: Any, bucket: str, key: str, after: str) -> Page:
    wanted = "nextPageToken,prefixes,items(name,size)"
    more = {"pageToken": after} if after else {}
    found = fs.call(
        "GET", "b/{}/o", bucket, prefix=key, delimiter="/", maxResults=PAGE, fields=wanted, json_out=True, **more
    )  # fmt: skip
    return Page(
        [(o["name"] + "", int(o["size"])) for o in found.get("items", ())],
        [folder + "" for folder in found.get("prefixes", ())],
        found.get("nextPageToken", "") + "",
    )


def _memory(fs: Any, bucket: str, key: str, after: str) -> Page:
    above = f"{bucket}/{key}".rpartition("/")[0]
    found = [(o["name"].lstrip("/").partition("/")[2], o) for o in fs.ls(above, detail=True)]
    here = [(name, o) for name, o in found if name.startswith(key)]
    return Page(
        [(name, o["size"]) for name, o in here if o["type"] == "file"],
        [name for name, o in here if o["type"] == "directory"], "",
    )  # fmt: skip


_PAGES: dict[str, Callable[[Any, str, str, str], Page]] = {"s3": _s3, "gs": _gs, "gcs": _gs, "memory": _memory}
