"""Records into objects, within the limits of a job."""

from collections.abc import Callable

import msgspec
import numpy as np

from tasks.batch.document import BatchDocument, Range, Shard
from tasks.batch.paths import BatchRef, shard_object
from tasks.bedrock.names import PADDING_PREFIX
from tasks.codecs.base import InvocationType
from tasks.storage.uris import S3Uri
from tasks.storage.writer import S3Writer
from tasks.support.columns import Offsets


class Converted(msgspec.Struct):
    """What became of one range."""

    range: int
    requests: int
    rejected: int
    shards: list[Shard]
    dropped: dict[str, int]


class ShardWriter:
    """Writes records into as many objects as the limits ask for, cutting between requests only."""

    def __init__(
        self,
        ref: BatchRef,
        range_: Range,
        document: BatchDocument,
        padding: bytes,
        invocation: InvocationType,
        suffix: str,
        open_object: Callable[[S3Uri, str | None], S3Writer] = S3Writer,
    ) -> None:
        section = document.bedrock
        self._ref, self._range, self._limits, self._padding = ref, range_, section.limits, padding
        self._invocation, self._suffix = invocation, suffix
        self._open = open_object
        self._pad = section.options.below_minimum == "pad"
        self._immediate = document.completion_window == "immediate"
        self._writer: S3Writer | None = None
        self._records = 0
        self._bytes = 0
        self.shards: list[Shard] = []

    @property
    def current(self) -> str:
        """The id of the shard that the next records go to, if there is room."""
        number = f"{self._range.index:05d}{self._suffix}"
        return number if not self.shards else f"{number}-{len(self.shards)}"

    def fits(self, records: int, size: int) -> bool:
        """Whether the current object has room for so many more records of so many bytes in all."""
        return (
            self._records + records <= self._limits.max_records_per_job
            and self._bytes + size <= self._limits.max_bytes_per_file
        )

    def room(self, sizes: Offsets) -> int:
        """How many of the next records the current object has room for, by their sizes in bytes."""
        left = self._limits.max_bytes_per_file - self._bytes
        upto = int(np.searchsorted(np.cumsum(sizes), left, side="right"))
        return min(upto, self._limits.max_records_per_job - self._records)

    def add(self, records: int, data: bytes | memoryview) -> None:
        """Write the records of one or more requests, into another object where the current one has no room."""
        if self._records and not self.fits(records, len(data)):
            self.close()
        if self._writer is None:
            self._writer = self._open(shard_object(self._ref, self.current), self._ref.kms_key)
        self._writer.write(data)
        self._records += records
        self._bytes += len(data)

    def close(self) -> None:
        """Finish the current object, padded to the job's minimum where the user chose that."""
        if self._writer is None:
            return
        minimum = self._limits.min_records_per_job
        below = self._records < minimum
        missing = minimum - self._records if below and self._pad and not self._immediate else 0
        for number in range(missing):
            self._writer.write(padding_record(number, self._padding))
        self._writer.close()
        self.shards.append(
            Shard(
                id=self.current,
                epoch=self._ref.epoch,
                ranges=[self._range.index],
                invocation=self._invocation,
                records=self._records,
                padding=missing,
                bytes=self._writer.bytes_written,
                etag=self._writer.etag,
                route="on_demand" if self._immediate or (below and not self._pad) else "batch",
            )
        )
        self._writer, self._records, self._bytes = None, 0, 0

    def abort(self) -> None:
        if self._writer is not None:
            self._writer.abort()


def padding_record(number: int, model_input: bytes) -> bytes:
    """A record that only fills a job up to its minimum."""
    return b'{"recordId":"%b%09d","modelInput":%b}\n' % (PADDING_PREFIX.encode(), number, model_input)
