"""The files that an input names, on disk or in S3: one, a folder's, or a glob's; each pinned to what it is now."""

import glob
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from tasks import aws
from tasks.errors import AccessDeniedError, InputFileError, MissingObjectError, PipelineError
from tasks.storage.globs import literal_brackets, readings
from tasks.storage.objects import head_object, read_object
from tasks.storage.uris import S3Uri, is_s3, parse_input_uri

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import HeadObjectOutputTypeDef, ObjectTypeDef

#: Files of one input. More are a mistake in the glob, or should be put together.
MOST_FILES = 10_000
_SUFFIXES = (".jsonl", ".jsonl.gz", ".jsonl.zst")
_MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}


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
