"""What validation hands over to conversion: where the lines of the input are, and which of them fit a template.

Six bytes a line and a few more for each further slot, in an object per range beside the index. So conversion looks for
nothing again; a digest of each block tells that it holds what was validated.
"""

from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
import xxhash

from tasks.batch.document import Range, Segment
from tasks.batch.paths import BatchRef, layout_object
from tasks.errors import InputFileError, PipelineError
from tasks.fast.match import LineBlock
from tasks.fast.template import Template
from tasks.storage.objects import read_object
from tasks.storage.reader import read_blocks
from tasks.storage.sources import Source
from tasks.storage.writer import S3Writer


class Stretch(msgspec.Struct, array_like=True, gc=False):
    """A block of whole lines, at an offset of the decompressed content of a source."""

    source: int
    start: int
    size: int
    #: XXH3 of its bytes.
    digest: int
    #: Bytes by line, with the line end (uint32); nothing where no line of the block was held against a template.
    sizes: bytes = b""
    #: By line, `LineBlock.shapes` (uint8) and `LineBlock.sizes`: so many columns, uint8 where that is enough, else
    #: uint32.
    shapes: bytes = b""
    slots: bytes = b""
    columns: int = 0

    def block(self) -> LineBlock | None:
        """The lines, with their places in the block's bytes."""
        if not self.sizes:
            return None
        sizes = np.frombuffer(self.sizes, dtype=np.uint32).astype(np.int64)
        ends = np.cumsum(sizes) - 1
        cells = len(ends) * self.columns
        width: type[np.unsignedinteger[Any]] = np.uint8 if len(self.slots) == cells else np.uint32
        slots = np.frombuffer(self.slots, dtype=width)
        shapes = np.frombuffer(self.shapes, dtype=np.uint8)
        return LineBlock(ends + 1 - sizes, ends, shapes, slots.reshape(len(ends), self.columns))


class Layout(msgspec.Struct):
    """The stretches of an input, or of a range of it, in order; and the templates that their lines fit."""

    templates: list[Template]
    stretches: list[Stretch]

    def add(self, source: int, start: int, data: bytes, block: LineBlock | None) -> None:
        """Note a block as it was read, and what was found in it."""
        stretch = Stretch(source, start, len(data), xxhash.xxh3_64_intdigest(data))
        if block is not None:
            stretch.sizes = (block.ends + 1 - block.starts).astype(np.uint32).tobytes()
            small = block.sizes.max(initial=0) <= np.iinfo(np.uint8).max
            stretch.shapes, stretch.columns = block.shapes.tobytes(), block.sizes.shape[1]
            stretch.slots = block.sizes.astype(np.uint8 if small else np.uint32).tobytes()
        self.stretches.append(stretch)

    def within(self, segment: Segment) -> list[Stretch]:
        """The stretches that overlap a segment."""
        return [
            stretch
            for stretch in self.stretches
            if stretch.source == segment.source
            and stretch.start < segment.end
            and stretch.start + stretch.size > segment.start
        ]

    def read(self, source: Source, segment: Segment) -> Iterator[tuple[bytes, LineBlock | list[bytes]]]:
        """The blocks of a segment: the bytes with what was found in them, or the lines where nothing was.

        Raises InputFileError when the source cannot be read, or is not the one that was validated.
        """
        stretches = self.within(segment)
        places = [(stretch.start, stretch.size) for stretch in stretches]
        for stretch, data in zip(stretches, read_blocks(source, places), strict=True):
            if xxhash.xxh3_64_intdigest(data) != stretch.digest:
                raise InputFileError(f"{source.name} has changed since it was validated. Run the same call again.")
            first, last = max(segment.start - stretch.start, 0), min(segment.end - stretch.start, len(data))
            block = stretch.block()
            if block is None:
                lines = data[first:last].split(b"\n")
                yield data, lines if lines[-1] else lines[:-1]
            else:
                rows = slice(*np.searchsorted(block.starts, [first, last]))
                yield data, block.take(rows)


def store_layout(ref: BatchRef, ranges: list[Range], layout: Layout) -> None:
    """Store the layout range by range. Raises PipelineError."""
    for range_ in ranges:
        stretches = [stretch for segment in range_.segments for stretch in layout.within(segment)]
        with S3Writer(layout_object(ref, range_), ref.kms_key, "application/msgpack") as out:
            out.write(msgspec.msgpack.encode(Layout(layout.templates, stretches)))


def read_layout(ref: BatchRef, range_: Range) -> Layout:
    """The layout of a range. Raises PipelineError, also where another version of this program wrote it."""
    uri = layout_object(ref, range_)
    body, _ = read_object(uri)
    try:
        return msgspec.msgpack.decode(body, type=Layout)
    except msgspec.DecodeError:
        raise PipelineError(f"{uri} cannot be read: another version wrote it. Run the same call again.") from None
