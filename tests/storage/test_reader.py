"""Lines out of streams: any cut into blocks gives the same lines at the same offsets."""

import gzip
import hashlib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.aws import READ_ATTEMPTS
from tasks.errors import InputFileError, PipelineError
from tasks.storage import reader
from tasks.storage.reader import S3Stream, read_blocks, read_lines
from tasks.storage.sources import Source, find_sources, source_at
from tasks.storage.uris import parse_input_uri
from tests.conftest import Sandbox
from tests.fakes import BUCKET, Cloud
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


@pytest.fixture
def in_s3(cloud: Cloud) -> Source:
    cloud.s3.put("in/a.jsonl", b"one\ntwo\nthree\n")
    (source,) = find_sources(f"s3://{BUCKET}/in/a.jsonl")
    return source


def test_an_object_is_read_as_the_one_that_was_seen_first(cloud: Cloud, in_s3: Source) -> None:
    assert [line for _, line in read(in_s3)] == [b"one", b"two", b"three"]
    assert [given["IfMatch"] for name, given in cloud.s3.calls if name == "GetObject" and "IfMatch" in given]
    cloud.s3.put("in/a.jsonl", b"one\ntwo\nOTHER\n")
    with pytest.raises(InputFileError, match=r"a\.jsonl has changed since it was validated .*Run the same call again"):
        read(in_s3)
    del cloud.s3.objects["in/a.jsonl"]
    with pytest.raises(InputFileError, match=r"a\.jsonl is no longer there"):
        read(in_s3)


def test_an_object_that_we_wrote_is_no_input_of_anybody(cloud: Cloud, in_s3: Source) -> None:
    ours = source_at(parse_input_uri(in_s3.uri))
    cloud.s3.put("in/a.jsonl", b"x")
    with pytest.raises(PipelineError, match="has changed since it was written: something else writes there") as error:
        read(ours)
    assert type(error.value) is PipelineError


@pytest.mark.parametrize("code", ["InvalidRange", "PreconditionFailed", "412"])
def test_every_word_of_s3_for_a_change(cloud: Cloud, in_s3: Source, code: str) -> None:
    cloud.s3.refuse("GetObject", code, 412)
    with pytest.raises(InputFileError, match="has changed"):
        read(in_s3)


@pytest.mark.parametrize("code", ["NoSuchKey", "404", "NotFound"])
def test_every_word_of_s3_for_what_is_gone(cloud: Cloud, in_s3: Source, code: str) -> None:
    cloud.s3.refuse("GetObject", code, 404)
    with pytest.raises(InputFileError, match="is no longer there"):
        read(in_s3)


def test_a_range_of_an_object_is_all_that_is_asked_for(cloud: Cloud, in_s3: Source) -> None:
    cloud.s3.calls.clear()
    assert read(in_s3, start=4, end=8) == [(4, b"two")]
    ((_, given),) = cloud.s3.calls
    assert given["Range"] == "bytes=4-13"
    body = gzip.compress(b"one\ntwo\nthree\n")
    cloud.s3.put("in/b.jsonl.gz", body)
    (packed,) = find_sources(f"s3://{BUCKET}/in/b.jsonl.gz")
    assert packed.compression == "gzip"
    assert read(packed, start=4) == [(4, b"two"), (8, b"three")], "a compressed one is read from its beginning"


def test_an_object_that_ends_early_is_read_on_or_is_an_error(cloud: Cloud, in_s3: Source) -> None:
    """A connection that closes in order, before all is there: botocore says nothing."""

    class Short:
        def __init__(self, body: bytes) -> None:
            self.body = body

        def read(self, most: int) -> bytes:
            body, self.body = self.body, b""
            return body

    class Client:
        def __init__(self, *bodies: bytes) -> None:
            self.bodies, self.asked = list(bodies), list[str]()

        def get_object(self, **given: Any) -> dict[str, Any]:
            self.asked.append(given["Range"])
            return {"Body": Short(self.bodies.pop(0) if self.bodies else b"")}

    client: Any = Client(b"one\n", b"two\nthree\n")
    assert S3Stream(client, parse_input_uri(in_s3.uri), in_s3.version, 14).read() == b"one\ntwo\nthree\n"
    assert client.asked == ["bytes=0-13", "bytes=4-13"]
    nothing: Any = Client()
    with pytest.raises(OSError, match="the object ended early"):
        S3Stream(nothing, parse_input_uri(in_s3.uri), in_s3.version, 14).read()
    assert len(nothing.asked) == READ_ATTEMPTS


def test_a_file_that_became_shorter_or_went_away(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_bytes(b"one\ntwo\n")
    (source,) = find_sources(str(path))
    assert list(read_blocks(source, [(0, 4), (4, 4)])) == [b"one\n", b"two\n"]
    path.write_bytes(b"one\n")
    with pytest.raises(InputFileError, match=r"in\.jsonl has changed since it was validated: it has become shorter"):
        list(read_blocks(source, [(0, 8)]))
    path.unlink()
    with pytest.raises(InputFileError, match=r"in\.jsonl is no longer there\. Run the same call again once it is"):
        list(read_lines(source))


def test_what_a_compressed_file_may_grow_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "in.jsonl.gz"
    path.write_bytes(gzip.compress(b"x" * (3 << 20)))
    (source,) = find_sources(str(path))
    size = path.stat().st_size
    monkeypatch.setattr(reader, "_ANY_GROWTH_BYTES", 3 << 20)
    monkeypatch.setattr(reader, "_MOST_GROWTH", 1)
    assert sum(len(line) for _, line in read(source, limit=reader.UNLIMITED)) == 3 << 20, (
        "of little, a ratio says nothing"
    )
    monkeypatch.setattr(reader, "_ANY_GROWTH_BYTES", 0)
    monkeypatch.setattr(reader, "_MOST_GROWTH", 700)
    with pytest.raises(InputFileError, match=f"more than 700 times its {size:,} bytes, as zip bombs do"):
        read(source, limit=reader.UNLIMITED)


def test_a_line_of_just_the_limit_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "BLOCK_BYTES", 5)
    path = tmp_path / "in.jsonl"
    path.write_bytes(b"a" * 10 + b"\n" + b"b" * 11 + b"\nc\n")
    (source,) = find_sources(str(path))
    assert read(source, limit=10) == [(0, b"a" * 10), (11, b"b" * 11), (23, b"c")]


def test_a_zip_bomb_is_told_from_many_chats_that_are_alike() -> None:
    """These grow some hundred times; a bomb a thousand times and more, which would fill the worker's disk."""
    assert (reader._MOST_GROWTH, reader._ANY_GROWTH_BYTES) == (700, 64 * 1024 * 1024)


def test_reads_that_break_off_are_begun_again_later_and_later(
    cloud: Cloud, in_s3: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[int] = []
    monkeypatch.setattr("tasks.aws.back_off", waited.append)

    class Body:
        def read(self, most: int) -> bytes:
            if len(waited) < 3:
                raise ConnectionError("reset")
            return b"x" * most

    client: Any = SimpleNamespace(get_object=lambda **_: {"Body": Body()})
    assert S3Stream(client, parse_input_uri(in_s3.uri), in_s3.version, 4).read(4) == b"xxxx"
    assert waited == [0, 1, 2]


def test_a_block_is_two_mebibytes() -> None:
    """What a run holds at a time is so many of them."""
    assert reader.BLOCK_BYTES == 2 * 1024 * 1024


def test_a_line_that_is_cut_is_never_taken_for_a_whole_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a block ends at the limit, too: what arrives is longer than that, and refused."""
    monkeypatch.setattr(reader, "BLOCK_BYTES", 5)
    path = tmp_path / "in.jsonl"
    path.write_bytes(b"x" * 15 + b"\ny\n")
    (source,) = find_sources(str(path))
    assert read(source, limit=10) == [(0, b"x" * 11), (16, b"y")]
