"""Which URLs name a place in a store, and that what may be secret in one is shown nowhere."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from securegen.errors import UsageError
from securegen.io.store_requests import brief
from securegen.io.store_urls import (
    checked_url,
    is_url,
    local_path,
    local_prefix,
    refuse_url,
    shown_url,
    without_secrets,
)


@pytest.mark.parametrize(
    "url, found",
    [
        ("s3://bucket/study.cohort", ("s3", "bucket/study.cohort")),
        ("S3://bucket/a/b/c", ("s3", "bucket/a/b/c")),
        ("gs://bucket/x", ("gs", "bucket/x")),
        ("gcs://bucket/x", ("gcs", "bucket/x")),
        ("memory://x", ("memory", "x")),
        ("file:///data/my study/a", ("file", "/data/my study/a")),
    ],
)
def test_plain_places_are_taken(url, found):
    assert is_url(url) and checked_url(url) == found


REFUSED = {
    "https://host/cohort": "https:// is refused",
    "http://127.0.0.1/latest/meta-data": "http:// is refused",
    "ftp://host/x": "ftp:// is refused",
    "github://owner/x": "github:// is refused",
    "simplecache::s3://bucket/x": "chained",
    "s3://bucket/a::http://host/x": "chained",
    "s3://bucket/a::file:///etc": "chained",
    "s3://me:hush@bucket/x": "user or password",
    "s3://me@bucket/x": "user or password",
    "s3://me:a/hush@bucket/x": "user or password",
    "s3://me:hush@bucket/x::file:///etc": "chained",
    "ftp://me:a/hush@bucket/x": "ftp:// is refused",
    "s3://bucket/x?versionId=7": "query",
    "s3://bucket/x#part": "query",
    "s3:/bucket/x": "lost a slash",
    "s3://bucket": "whole bucket",
    "s3://bucket/": "not a place",
    "s3://": "not a place",
    "s3://bucket//x": "not a place",
    "s3://bucket/../other/x": "not a place",
    "s3://bucket/./x": "not a place",
    "s3://bucket/a*": "not a place",
    "s3://bucket/[a]": "not a place",
    "s3://bucket/a b": "not a place",
    "s3://bucket/a%2e%2e": "not a place",
    "s3://bucket/a\nb": "not a place",
    "s3://bucket/ä": "not a place",
    "s3://bucket/" + "a" * 2000: "not a place",
    "file://host/x": "not a place",
    "file:///a/../b": "not a place",
    "file:///": "not a place",
}


@pytest.mark.parametrize("url", REFUSED)
def test_anything_else_is_refused_by_name(url):
    assert is_url(url)
    with pytest.raises(UsageError, match=REFUSED[url]) as refused:
        checked_url(url)
    assert "hush" not in str(refused.value) and "versionId" not in str(refused.value)


@pytest.mark.parametrize(
    "path", ["study", "/data/study", "../x", "a/b:c", "C:study", "x.cohort", "", "a:b", "dir/s3://x"]
)
def test_paths_are_no_urls(path):
    assert not is_url(path) and not is_url(Path(path)) and local_path(path) == Path(path)


def test_a_path_that_was_a_url_is_not_taken_for_a_folder_here():
    assert is_url(Path("s3://bucket/study"))
    with pytest.raises(UsageError, match="as text, not as a Path"):
        local_path(Path("s3://bucket/study"))


@settings(max_examples=40)
@given(st.text(max_size=60))
def test_any_text_is_a_place_or_refused(text):
    for url in (f"s3://{text}", f"{text}://bucket/x", f"file://{text}", text):
        if is_url(url):
            try:
                scheme, rest = checked_url(url)
            except UsageError:
                continue
            assert scheme in ("s3", "gs", "gcs", "memory", "file") and "::" not in rest
            assert not {"..", "."} & set(rest.split("/")) and not set("?#") & set(rest)
            assert scheme == "file" or not set("@*[\n ") & set(rest)


def test_what_stays_here_is_named():
    for place in (
        "s3://bucket/k.secret",
        "memory://x",
        "https://host/k",
        "simplecache::s3://b/k",
        Path("gs://b/owner"),
    ):
        with pytest.raises(UsageError, match="a key file stays on a local disk"):
            refuse_url(place, "a key file")
    refuse_url("keys/k.secret", "a key file")


def test_beside_a_prefix_in_a_store_is_the_same_name_here():
    assert local_prefix("s3://bucket/biobank/study") == "study"
    assert local_prefix("memory://study.3of22") == "study.3of22"
    assert local_prefix("file:///data/study") == "/data/study"
    assert local_path("s3://bucket/x") is None and local_path("file:///data/x") == Path("/data/x")


@pytest.mark.parametrize(
    "text, shown",
    [
        ("s3://me:hush@bucket/x is refused", "s3://bucket/x is refused"),
        (
            "no answer from https://user@host:9000/b?X-Amz-Signature=abc&x=1 now",
            "no answer from https://host:9000/b now",
        ),
        ('to "http://host/b/k?sig=abc"', 'to "http://host/b/k"'),
        ("mail me@host, s3://bucket/x", "mail me@host, s3://bucket/x"),
    ],
)
def test_secrets_of_a_url_are_left_out(text, shown):
    assert without_secrets(text) == shown


def test_a_long_error_is_shown_without_a_user_that_was_cut():
    long = "x " * 900 + "https://me:" + "hush" * 300 + "@host/b"
    assert "hush" not in brief(OSError(long)) and brief(ValueError("a" * 5000)) == "ValueError"
    for text in ("a" * 200_000, "a:/" * 70_000, "s3://" + "a" * 200_000 + "@"):
        assert len(shown_url(text)) < 2000  # in no time: the regular expressions see the beginning alone
