"""What an input names: in S3 what it would name locally, in one folder or across them, literally first."""

import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks import aws
from tasks.errors import ConfigurationError, InputFileError
from tasks.storage import sources
from tasks.storage.globs import readings
from tasks.storage.sources import find_sources
from tests.fakes import refusal
from tests.occurring import happened, occurring


class Store:
    """As much of S3 as looking for files takes."""

    def __init__(self, keys: list[str]) -> None:
        self.keys = sorted(keys)
        self.listed: list[str] = []
        self.denied: set[str] = set()

    def head_object(self, **where: str) -> dict[str, Any]:
        if where["Key"] in self.denied:
            raise refusal("403", 403)
        if where["Key"] not in self.keys:
            raise refusal("404", 404, operation="HeadObject")
        return {"ETag": "e", "ContentLength": 5}

    def get_object(self, **where: str) -> dict[str, Any]:
        if where["Key"] in self.denied:
            raise refusal("AccessDenied", 403)
        return {"Body": io.BytesIO(b"text"), "ETag": "e"}

    def list_objects_v2(self, **where: Any) -> dict[str, Any]:
        return {"Contents": [{"Key": key} for key in self.keys if key.startswith(where["Prefix"])]}

    def get_paginator(self, _: str) -> "Store":
        return self

    def paginate(self, **where: str) -> Iterator[dict[str, Any]]:
        prefix, delimiter = where["Prefix"], where.get("Delimiter")
        self.listed.append(prefix)
        found = [key for key in self.keys if key.startswith(prefix)]
        if delimiter:
            found = [key for key in found if delimiter not in key[len(prefix) :]]
        yield {}
        yield {"Contents": [{"Key": key, "ETag": "e", "Size": 5} for key in found]}


def in_s3(keys: list[str], pattern: str, monkeypatch: pytest.MonkeyPatch) -> list[str] | None:
    monkeypatch.setattr(aws, "s3", lambda: Store(keys))
    try:
        return sorted(source.uri.removeprefix("s3://bucket/") for source in find_sources(f"s3://bucket/{pattern}"))
    except InputFileError:
        return None


def locally(keys: list[str], pattern: str, folder: Path) -> list[str] | None:
    for key in keys:
        (folder / key).parent.mkdir(parents=True, exist_ok=True)
        (folder / key).write_text("{}\n")
    try:
        return sorted(source.uri.removeprefix(f"{folder.resolve()}/") for source in find_sources(f"{folder}/{pattern}"))
    except InputFileError:
        return None


KEYS = [
    "in/a.jsonl",
    "in/b.jsonl",
    "in/b.txt",
    "in/x/c.jsonl",
    "in/x/y/d.jsonl",
    "in/.hidden.jsonl",
    "in/.git/e.jsonl",
    "in/[1]/f.jsonl",
    "in/1/g.jsonl",
    "in/[1]/h1.jsonl",
    "in/part-1.jsonl",
    "in/part-[1].jsonl",
    "in/q*.jsonl",
    "in/qq.jsonl",
    "in/w?.jsonl",
    "in/ww.jsonl",
    "other/in/z.jsonl",
    "in2/a.jsonl",
    "in/sub.jsonl/k.jsonl",
]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("in/?.jsonl", ["in/a.jsonl", "in/b.jsonl"]),
        ("in/x/*", ["in/x/c.jsonl"]),
        ("in/*/?.jsonl", ["in/1/g.jsonl", "in/[1]/f.jsonl", "in/sub.jsonl/k.jsonl", "in/x/c.jsonl"]),
        ("in/x/**", ["in/x/c.jsonl", "in/x/y/d.jsonl"]),
        ("in/x/**/*.jsonl", ["in/x/c.jsonl", "in/x/y/d.jsonl"]),
        ("**/z.jsonl", ["other/in/z.jsonl"]),
        ("in/**/y/**/d.jsonl", ["in/x/y/d.jsonl"]),
        ("in?/a.jsonl", ["in2/a.jsonl"]),
        ("in/.*", ["in/.hidden.jsonl"]),
        ("in/[1]", ["in/[1]/f.jsonl", "in/[1]/h1.jsonl"]),
        ("in/[1]/", ["in/[1]/f.jsonl", "in/[1]/h1.jsonl"]),
        ("in/[1]/f.jsonl", ["in/[1]/f.jsonl"]),
        ("in/[1]/*.jsonl", ["in/[1]/f.jsonl", "in/[1]/h1.jsonl"]),
        ("in/[1]/h?.jsonl", ["in/[1]/h1.jsonl"]),
        ("in/[1]/g.jsonl", ["in/1/g.jsonl"]),
        ("in/part-[1].jsonl", ["in/part-[1].jsonl"]),
        ("in/part-[0-9].jsonl", ["in/part-1.jsonl"]),
        ("in/[!a].jsonl", ["in/b.jsonl"]),
        ("in/q*.jsonl", ["in/q*.jsonl"]),
        ("in/q*", ["in/q*.jsonl", "in/qq.jsonl"]),
        ("in/w?.jsonl", ["in/w?.jsonl"]),
        ("in/x", ["in/x/c.jsonl"]),
        ("in/x/*/", ["in/x/c.jsonl"]),
        ("in/none*", None),
        ("in/[9]", None),
        ("", None),
        ("in/y", None),
    ],
)
def test_a_glob_selects_in_s3_what_it_selects_locally(
    pattern: str, expected: list[str] | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert in_s3(KEYS, pattern, monkeypatch) == expected
    assert locally(KEYS, pattern, tmp_path) == expected


name = st.sampled_from(["a", "b", "[a]", "a*", ".a", "ab"])
key = st.lists(name, min_size=1, max_size=4).map(lambda parts: "/".join(parts) + ".jsonl")
part = st.sampled_from(["a", "b", "*", "?", "**", "[a]", "[!b]", "a*", ".*", "[a]*", "ab", "[", "*]"])
pattern = st.lists(part, min_size=1, max_size=4).map("/".join) | st.tuples(
    st.lists(part, max_size=3), st.sampled_from(["*", "?.jsonl", "a*.jsonl", "[a].jsonl", "[a]*", "**"])
).map(lambda both: "/".join([*both[0], both[1]]))


@occurring(found=8, none=30)
@settings(max_examples=200 * int(os.environ.get("FUZZ", "1")), suppress_health_check=list(HealthCheck))
@given(keys=st.lists(key, min_size=1, max_size=8, unique=True), pattern=pattern)
def test_globs_in_s3_are_those_of_python(
    tmp_path_factory: pytest.TempPathFactory, keys: list[str], pattern: str
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        found = in_s3(keys, pattern, patch)
        assert found == locally(keys, pattern, tmp_path_factory.mktemp("g"))
        happened("found" if found else "none")


@pytest.mark.parametrize("nothing", ["", " ", "\n", "\t "])
def test_nothing_names_no_folder(nothing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Path("") is the working directory, whose files would be run, and paid."""
    (tmp_path / "in.jsonl").write_text("{}\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputFileError, match="input_file is empty"):
        find_sources(nothing)
    assert [source.name for source in find_sources(".")] == ["in.jsonl"]


@pytest.mark.parametrize(
    "odd",
    [
        "a\x00b",
        "a\x00*",
        "x" * 5000,
        "x" * 300 + "*",
        "~nobody-of-this-name/x",
        "s3://",
        "s3:///x",
        "s3%3A%2F%2F",
        "[",
        "**",
    ],
)
def test_odd_names_are_refused(odd: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputFileError):
        find_sources(odd)


def test_only_the_beginning_that_is_literal_is_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(["in/[1]/a.jsonl", "in/1/b.jsonl", *(f"big/{n}" for n in range(9))])
    monkeypatch.setattr(aws, "s3", lambda: store)
    assert len(find_sources("s3://bucket/in/[1]/*.jsonl")) == 1
    assert store.listed == ["in/[1]/*.jsonl/", "in/[1]/"]


def test_what_may_not_be_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pattern may be listed all the same."""
    store = Store(["in/a.jsonl", "other/b.jsonl"])
    store.denied = {"in/*.jsonl", "other/b.jsonl"}
    monkeypatch.setattr(aws, "s3", lambda: store)
    assert len(find_sources("s3://bucket/in/*.jsonl")) == 1
    with pytest.raises(ConfigurationError):
        find_sources("s3://bucket/other/b.jsonl")


def test_too_many_objects_are_refused_before_any_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store([f"in/{n}.jsonl" for n in range(4)])
    monkeypatch.setattr(aws, "s3", lambda: store)
    monkeypatch.setattr(store, "get_object", None)
    monkeypatch.setattr(sources, "MOST_FILES", 3)
    with pytest.raises(InputFileError, match="4 files"):
        find_sources("s3://bucket/in/*.jsonl")


def test_many_wildcards_take_no_time() -> None:
    for pattern in ("**/" * 30 + "*a*a*a*a*b", "**/a/" * 30 + "b"):
        (glob,) = readings(pattern)
        assert not glob.selects("/".join(["a"] * 60))


def test_capitals_are_letters_of_their_own() -> None:
    """As in S3's keys, on every machine."""
    (pattern,) = readings("in/a*.jsonl")
    assert pattern.selects("in/ab.jsonl")
    assert not any(pattern.selects(key) for key in ("in/Ab.jsonl", "IN/ab.jsonl", "in/ab.JSONL"))
