"""Lines out of streams: any cut into blocks gives the same lines at the same offsets."""

import gzip
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.errors import InputFileError, PipelineError
from tasks.storage import reader
from tasks.storage.reader import Source, find_sources, read_blocks, read_lines, source_at
from tasks.storage.uris import parse_input_uri
from tests.conftest import Sandbox
from tests.occurring import happened, occurring


def read(source: Source, **options: object) -> list[tuple[int, bytes]]:
    found = []
    for block in read_lines(source, **options):  # type: ignore[arg-type]
        offset = block.offset
        for line in block.lines:
            found.append((offset, line))
            offset += len(line) + 1
    return found


@occurring(several=100, cut=50, packed=100, bom=50)
@settings(max_examples=300)
@given(
    lines=st.lists(st.binary(max_size=30).map(lambda b: b.replace(b"\n", b" ")), max_size=12),
    block=st.integers(1, 40),
    bom=st.booleans(),
    last=st.booleans(),
    pack=st.sampled_from(["", "gzip", "zstd"]),
)
def test_any_cut_gives_the_same_lines(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], block: int, bom: bool, last: bool, pack: str
) -> None:
    if bom and not pack:
        block = max(block, 3)
    start = b"\xef\xbb\xbf" if bom else b""
    if lines and not bom:
        # A plain file that starts like a byte order mark, or as gzip and zstd files do, is none.
        lines[0] = lines[0].lstrip(b"\xef\x1f\x28")
    data = start + b"\n".join(lines) + (b"\n" if last else b"")
    path = tmp_path_factory.mktemp("r") / "in.jsonl"
    packers: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "zstd": zstandard.compress, "": bytes}
    packed = packers[pack](data)
    path.write_bytes(packed)
    (source,) = find_sources(str(path))
    before, reader.BLOCK_BYTES = reader.BLOCK_BYTES, max(block, 3)
    try:
        digest = hashlib.sha256()
        found = read(source, digest=digest)
        middle = [(offset, line) for offset, line in found if offset > 0]
        rest = read(source, start=middle[0][0]) if middle else []
    finally:
        reader.BLOCK_BYTES = before
    assert digest.digest() == hashlib.sha256(data).digest()
    assert [line for _, line in found if line] == [line for line in lines if line]
    assert all(data[offset : offset + len(line)] == line for offset, line in found)
    assert rest == middle
    happened("several", len(found) > 1)
    happened("cut", len(data) > 2 * max(block, 3))
    happened("packed", pack)
    happened("bom", bom)


def test_an_endless_line_is_cut_and_the_next_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_bytes(b"a\n" + b"x" * 5_000_000 + b"\nb\n" + b"y" * 3_000_000)
    (source,) = find_sources(str(path))
    found = read(source, limit=1_000_000)
    assert [(offset, len(line)) for offset, line in found] == [
        (0, 1),
        (2, 1_000_001),
        (5_000_003, 1),
        (5_000_005, 1_000_001),
    ]


def test_a_range_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_bytes(b"one\ntwo\nthree\nfour")
    (source,) = find_sources(str(path))
    assert read(source, start=4, end=14) == [(4, b"two"), (8, b"three")]


@pytest.mark.parametrize(
    ("change", "said"), [("put", "has changed since it was validated"), ("delete", "is no longer there")]
)
def test_an_object_that_changes_or_goes_away(sandbox: Sandbox, prefix: str, change: str, said: str) -> None:
    place: dict[str, Any] = {"Bucket": sandbox.bucket, "Key": f"{prefix}/in.jsonl"}
    sandbox.s3.put_object(**place, Body=b"{}\n")
    uri = f"s3://{sandbox.bucket}/{prefix}/in.jsonl"
    (source,) = find_sources(uri)
    ours = source_at(parse_input_uri(uri))
    if change == "put":
        sandbox.s3.put_object(**place, Body=b"{}\n{}\n")
    else:
        sandbox.s3.delete_object(**place)
    for read in (lambda: list(read_lines(source)), lambda: list(read_blocks(source, [(0, 3)]))):
        with pytest.raises(InputFileError, match=rf"in.jsonl {said}.*Run the same call again"):
            read()
    # What we wrote ourselves is no input of anybody.
    with pytest.raises(PipelineError, match="something else writes there") as caught:
        list(read_lines(ours))
    assert type(caught.value) is PipelineError


def test_a_name_that_no_file_can_have() -> None:
    for name in ("x" * 5000, "/dev/null/x"):
        with pytest.raises(InputFileError):
            find_sources(name)


@pytest.mark.parametrize(
    ("named", "remedy"),
    [
        ("https://example.com/in.jsonl?signature=hunter2", "download the file"),
        ("gs://bucket/in.jsonl", "only s3:// is read"),
        ("file-AbC123", "the id of a file at OpenAI's API"),
        ("-", "save it to one"),
        ("/dev/null", "save it to one"),
        ("missing.jsonl", "give a path"),
    ],
)
def test_what_is_no_file_is_told_with_the_way_to_one(named: str, remedy: str) -> None:
    with pytest.raises(InputFileError, match=remedy) as raised:
        find_sources(named)
    assert "hunter2" not in str(raised.value)


def test_a_folder_of_other_files_names_some_of_them(tmp_path: Path) -> None:
    for name in ("a.csv", "b.json"):
        (tmp_path / name).write_text("x")
    with pytest.raises(InputFileError, match=r"holds no \.jsonl.*\(but a\.csv, b\.json\)"):
        find_sources(str(tmp_path))
