"""Input files as streams of lines: local or S3, plain, gzip or zstd, without ever holding a file in memory."""

import contextlib
import glob
import io
import re
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, Protocol, cast

import msgspec
import pyarrow as pa

from tasks import aws
from tasks.errors import AccessDeniedError, InputFileError, MissingObjectError, PipelineError, PreconditionError
from tasks.openai_format.requests import MAX_LINE_BYTES
from tasks.storage.globs import literal_brackets, readings
from tasks.storage.objects import head_object, read_object
from tasks.storage.uris import S3Uri, is_s3, parse_input_uri

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import HeadObjectOutputTypeDef, ObjectTypeDef

BLOCK_BYTES = 1 << 21
#: As `limit`, for files that we or Bedrock wrote.
UNLIMITED = 1 << 40
#: Files of one input. More are a mistake in the glob, or should be put together.
MOST_FILES = 10_000
#: A compressed file may grow so many times (beyond the first bytes, where a ratio says nothing): chats under one system
#: prompt grow some hundred times at most, a zip bomb a thousand times and more.
_MOST_GROWTH, _ANY_GROWTH_BYTES = 700, 64 << 20
_SUFFIXES = (".jsonl", ".jsonl.gz", ".jsonl.zst")
_MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
_BOM = b"\xef\xbb\xbf"


class Source(msgspec.Struct, frozen=True):
    """One file of the input. `version` (an S3 ETag, or size and mtime) pins what was validated."""

    name: str
    uri: str
    version: str
    bytes: int
    compression: str | None = None

    @property
    def is_ours(self) -> bool:
        """Whether we or Bedrock wrote it: such an object goes by its whole key or URI, a file of the input does not."""
        return "/" in self.name


class Lines(NamedTuple):
    """Whole lines of one block, and the offset of the first in the decompressed file."""

    offset: int
    #: With the line ends; only the last line of a file may lack its own.
    data: bytes

    @property
    def lines(self) -> list[bytes]:
        """The lines without their line ends."""
        # Only \n ends a line: str.splitlines() would also split at U+2028 and U+0085 inside JSON strings.
        lines = self.data.split(b"\n")
        if not lines[-1]:
            lines.pop()
        return lines


class Digest(Protocol):
    """What hashlib's and zlib's running digests have in common."""

    def update(self, data: bytes, /) -> object: ...


def find_sources(input_file: str) -> list[Source]:
    """The files that `input_file` names: a file, an S3 object, a folder or a glob; sorted by name.

    A file or folder that is called as it is written goes before a glob. Raises InputFileError when there is none, or
    when it cannot be reached.
    """
    if not input_file.strip():
        # The working directory is a folder too, and nobody means it by nothing.
        raise InputFileError("input_file is empty; give a path, a folder, a glob or an s3:// URI.")
    try:
        return _find_in_s3(input_file) if is_s3(input_file) else _find_locally(input_file)
    except OSError as error:
        raise InputFileError(f"{input_file!r} cannot be read: {error.strerror or type(error).__name__}.") from None
    except (ValueError, RuntimeError):
        # A zero byte, a ~ without a home.
        raise InputFileError(f"{input_file!r} is no path; give a path, a folder, a glob or an s3:// URI.") from None


def _refuse_many(input_file: str, files: int) -> None:
    if files > MOST_FILES:
        raise InputFileError(
            f"{input_file!r} names {files:,} files; an input may have {MOST_FILES:,}. Put them together, or name fewer."
        )


def _find_locally(input_file: str) -> list[Source]:
    found = _local_files(input_file)
    _refuse_many(input_file, len(found))
    sources = []
    for file in found:
        try:
            stat = file.stat()
            with file.open("rb") as stream:
                magic = stream.read(4)
        except OSError as error:
            raise InputFileError(f"{file} cannot be read: {error.strerror}.") from None
        version = f"{stat.st_size}-{stat.st_mtime_ns}"
        sources.append(Source(file.name, str(file.resolve()), version, stat.st_size, _compression(magic)))
    return sources


def _local_files(input_file: str) -> list[Path]:
    path = Path(input_file).expanduser()
    if path.is_file():
        return [path]
    if path.is_dir():
        found = sorted(p for p in path.iterdir() if p.name.endswith(_SUFFIXES) and p.is_file())
        if found:
            return found
    for pattern in (literal_brackets(str(path)), str(path)):
        found = sorted({Path(p) for p in glob.glob(pattern, recursive=True) if Path(p).is_file()})
        if found:
            return found
    if path.is_dir():
        others = sorted(p.name for p in path.iterdir() if p.is_file())
        there = f" (but {', '.join(others[:3])}{', …' if len(others) > 3 else ''})" if others else ""
        raise InputFileError(
            f"The folder {input_file!r} holds no .jsonl, .jsonl.gz or .jsonl.zst file{there}; name a file, or a glob."
        )
    raise InputFileError(f"There is no file {_shown(input_file)!r}; {_remedy(input_file, path)}.")


def _shown(input_file: str) -> str:
    """A path as it was given; of a URL, not what may be a secret in it."""
    return re.sub(r"(?<=://)[^/@]*@|[?#].*", "…", input_file) if "://" in input_file else input_file


def _remedy(input_file: str, path: Path) -> str:
    if input_file.startswith(("http://", "https://")):
        return "it is a URL: download the file (`curl -fL URL -o batch.jsonl`), and give that"
    if "://" in input_file:
        return "of URIs, only s3:// is read: copy the file here, or to S3"
    if re.fullmatch(r"file-[A-Za-z0-9_-]+", input_file):
        return (
            "it is the id of a file at OpenAI's API: download it (`openai api files.content`, or GET "
            "/v1/files/ID/content), and give that"
        )
    if input_file == "-" or path.exists():
        return "it is no regular file (a pipe, perhaps): save it to one, since it is read more than once"
    return "give a path, a folder, a glob or an s3:// URI"


def _find_in_s3(input_file: str) -> list[Source]:
    uri = parse_input_uri(input_file)
    try:
        head = _head(uri) if uri.key and not uri.key.endswith("/") else None
        if head is not None:
            return [_s3_source(uri, head["ETag"], head["ContentLength"])]
        entries = next(filter(None, (_few(input_file, listed) for listed in _listings(uri))), None)
        if not entries:
            raise InputFileError(f"There is no object {input_file!r}, and no .jsonl file in a folder of that name.")
        found = [_s3_source(S3Uri(uri.bucket, entry["Key"]), entry["ETag"], entry["Size"]) for entry in entries]
    except MissingObjectError:
        raise InputFileError(f"{uri} went away while it was looked at. Run the same call again.") from None
    except PipelineError as error:
        if aws.code_of(error) == "NoSuchBucket":
            raise InputFileError(f"There is no bucket {uri.bucket!r}: check input_file, {uri}.") from None
        raise
    return sorted(found, key=lambda source: source.uri)


def _head(uri: S3Uri) -> "HeadObjectOutputTypeDef | None":
    """What S3 says of an object; None where there is none. Raises PipelineError."""
    try:
        return head_object(uri)
    except MissingObjectError:
        return None
    except AccessDeniedError:
        # Of a pattern, listing tells what may be read.
        if any(readings(uri.key)):
            return None
        raise


def _listings(uri: S3Uri) -> "Iterator[Iterator[ObjectTypeDef]]":
    """What a key may mean that is no object's: the .jsonl files of a folder, or those that a glob selects."""
    prefix = uri.key if uri.key.endswith("/") or not uri.key else f"{uri.key}/"
    listed = _listed(uri.bucket, prefix, Delimiter="/")
    yield (entry for entry in listed if entry["Key"].endswith(_SUFFIXES))
    for pattern in readings(uri.key.rstrip("/")):
        listed = _listed(uri.bucket, pattern.prefix)
        yield (entry for entry in listed if not entry["Key"].endswith("/") and pattern.selects(entry["Key"]))


def _few(input_file: str, entries: "Iterator[ObjectTypeDef]") -> "list[ObjectTypeDef]":
    """As many objects as an input may have. Raises InputFileError where there are more, of which none is kept."""
    kept = list(islice(entries, MOST_FILES))
    _refuse_many(input_file, len(kept) + sum(1 for _ in entries))
    return kept


def _listed(bucket: str, prefix: str, **more: Any) -> "Iterator[ObjectTypeDef]":
    with aws.translated(f"listing s3://{bucket}/{prefix}"):
        for page in aws.s3().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix, **more):
            yield from page.get("Contents", [])


def _s3_source(uri: S3Uri, etag: str, size: int) -> Source:
    magic = b""
    if size:
        magic, _ = read_object(uri, Range="bytes=0-3")
    return Source(uri.key.rsplit("/", 1)[-1], str(uri), etag, size, _compression(magic))


def source_at(uri: S3Uri) -> Source:
    """An uncompressed object as a source. Raises PipelineError."""
    head = head_object(uri)
    return Source(uri.key, str(uri), head["ETag"], head["ContentLength"])


def _compression(magic: bytes) -> str | None:
    return next((name for start, name in _MAGIC.items() if magic.startswith(start)), None)


class S3Stream(io.RawIOBase):
    """A read-only stream over an S3 object, pinned to one ETag, that reopens where a connection broke off."""

    def __init__(self, client: "S3Client", uri: S3Uri, etag: str, size: int, start: int = 0) -> None:
        self._client, self._uri, self._etag, self._size = client, uri, etag, size
        self._position = start
        self._body: Any = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer)
        if self._position >= self._size:
            return 0
        for attempt in range(aws.READ_ATTEMPTS):
            # botocore retries the call itself, but not the reading of its body.
            body = self._body = self._body or self._open()
            try:
                with aws.translated(f"reading {self._uri}"):
                    data = body.read(len(view))
                if not data:
                    raise OSError("the object ended early")
            except Exception:
                self._body = None
                if attempt == aws.READ_ATTEMPTS - 1:
                    raise
                aws.back_off(attempt)
                continue
            view[: len(data)] = data
            self._position += len(data)
            return len(data)
        raise AssertionError("unreachable")

    def _open(self) -> Any:
        with aws.translated(f"reading {self._uri}"):
            return self._client.get_object(
                Bucket=self._uri.bucket,
                Key=self._uri.key,
                Range=f"bytes={self._position}-{self._size - 1}",
                IfMatch=self._etag,
            )["Body"]


def open_source(source: Source, start: int = 0) -> BinaryIO:
    """The decompressed bytes of a source from offset `start` on."""
    if is_s3(source.uri):
        uri = parse_input_uri(source.uri)
        begin = 0 if source.compression else start
        raw: Any = io.BufferedReader(S3Stream(aws.s3(), uri, source.version, source.bytes, begin), BLOCK_BYTES)
    else:
        raw = Path(source.uri).open("rb")  # noqa: SIM115 (closed with the stream)
        if not source.compression:
            raw.seek(start)
    if not source.compression:
        return cast(BinaryIO, raw)
    # pyarrow reads concatenated members, and says so when the stream is cut off.
    stream = pa.CompressedInputStream(pa.PythonFile(raw, mode="r"), source.compression)
    remaining = start
    while remaining > 0:
        skipped = len(stream.read(min(remaining, BLOCK_BYTES)))
        if not skipped:
            break
        remaining -= skipped
    return cast(BinaryIO, stream)


def read_lines(
    source: Source,
    start: int = 0,
    end: int | None = None,
    limit: int = MAX_LINE_BYTES,
    digest: Digest | None = None,
) -> Iterator[Lines]:
    """Blocks of whole lines of `source`, between two byte offsets of its decompressed content.

    `start` must be the start of a line. A byte order mark at the file's start is skipped. Of a line longer than
    `limit` bytes, the first `limit + 1` arrive: enough to be refused, and no more. `digest` sees every byte.
    Raises InputFileError when the source cannot be read to its end.
    """
    with _reading(source), open_source(source, start) as stream:
        yield from _lines_of(source, stream, start, end, limit, digest)


def read_head(source: Source, size: int) -> bytes:
    """The first bytes of the decompressed content. Raises InputFileError when the source cannot be read."""
    with _reading(source), open_source(source) as stream:
        return stream.read(size)


def read_blocks(source: Source, places: Iterable[tuple[int, int]]) -> Iterator[bytes]:
    """The blocks at some places, each an offset of the decompressed content and a size in bytes; in ascending order.

    Raises InputFileError when the source cannot be read that far.
    """
    position = -1
    with _reading(source), contextlib.ExitStack() as stack:
        for start, size in places:
            if position < 0:
                stream, position = stack.enter_context(open_source(source, start)), start
            for _ in _exactly(source, stream, start - position, BLOCK_BYTES):
                pass
            # At once: a block is not much larger than BLOCK_BYTES, unless it is one long line.
            yield b"".join(_exactly(source, stream, size, size))
            position = start + size


def _exactly(source: Source, stream: BinaryIO, size: int, most: int) -> Iterator[bytes]:
    while size > 0:
        data = stream.read(min(size, most))
        if not data:
            raise InputFileError(f"{source.name} has changed since it was validated: it has become shorter.")
        size -= len(data)
        yield data


@contextlib.contextmanager
def _reading(source: Source) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise InputFileError(f"{source.name} is no longer there. Run the same call again once it is.") from None
    except (OSError, pa.ArrowInvalid) as error:
        raise InputFileError(
            f"{source.name} cannot be read to its end ({type(error).__name__}): it is cut off, damaged or unreachable."
        ) from error
    except MissingObjectError as error:
        raise _not_as_it_was(source, "is no longer there") from error
    except PreconditionError as error:
        since = "written" if source.is_ours else "validated"
        raise _not_as_it_was(source, f"has changed since it was {since}") from error


def _not_as_it_was(source: Source, what: str) -> PipelineError:
    """What a failed read of an S3 object means: it is pinned to the version that was seen first."""
    if source.is_ours:
        return PipelineError(f"{source.uri} {what}: something else writes there. Run the same call again.")
    return InputFileError(f"{source.name} {what} ({source.uri}). Run the same call again.")


def _refuse_bomb(source: Source, position: int) -> None:
    if source.compression and position > max(_ANY_GROWTH_BYTES, _MOST_GROWTH * source.bytes):
        raise InputFileError(
            f"{source.name} holds more than {_MOST_GROWTH:,} times its {source.bytes:,} bytes, as zip bombs do; "
            "decompress it, and look what it holds."
        )


def _lines_of(
    source: Source, stream: BinaryIO, start: int, end: int | None, limit: int, digest: Digest | None
) -> Iterator[Lines]:
    position, carry, carry_at, skipping = start, b"", start, False
    while end is None or position < end:
        block = stream.read(BLOCK_BYTES if end is None else min(BLOCK_BYTES, end - position))
        if not block:
            break
        if digest is not None:
            digest.update(block)
        if position == 0 and block.startswith(_BOM):
            carry_at = len(_BOM)
            position += len(block)
            block = block[len(_BOM) :]
        else:
            position += len(block)
        _refuse_bomb(source, position)
        cut = block.rfind(b"\n") + 1
        if cut:
            data, rest = b"".join((carry, memoryview(block)[:cut])), block[cut:]
            at, carry, carry_at = carry_at, rest, carry_at + len(carry) + cut
            if skipping:
                past = data.index(b"\n") + 1
                at, data, skipping = at + past, data[past:], False
            if data:
                yield Lines(at, data)
        else:
            carry += block
        if skipping:
            carry_at, carry = carry_at + len(carry), b""
        elif len(carry) > limit:
            yield Lines(carry_at, carry[: limit + 1])
            carry_at, carry, skipping = carry_at + len(carry), b"", True
    if carry:
        yield Lines(carry_at, carry)
