"""Files as streams of lines: local or S3, plain, gzip or zstd, without ever holding one in memory."""

import contextlib
import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, Protocol, cast

import pyarrow as pa

from tasks import aws
from tasks.errors import InputFileError, MissingObjectError, PipelineError, PreconditionError
from tasks.openai_format.requests import MAX_LINE_BYTES
from tasks.storage.sources import Source
from tasks.storage.uris import S3Uri, is_s3, parse_input_uri

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

BLOCK_BYTES = 1 << 21
#: As `limit`, for files that we or Bedrock wrote.
UNLIMITED = 1 << 40
#: A compressed file may grow so many times (beyond the first bytes, where a ratio says nothing): chats under one system
#: prompt grow some hundred times at most, a zip bomb a thousand times and more.
_MOST_GROWTH, _ANY_GROWTH_BYTES = 700, 64 << 20
_BOM = b"\xef\xbb\xbf"


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
