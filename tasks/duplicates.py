"""Lines whose custom_id an earlier line has: told from 64-bit hashes, and looked up where those are equal."""

from array import array
from collections.abc import Iterator
from typing import Any

import numpy as np
import xxhash

from tasks.openai_format.requests import custom_id_of
from tasks.openai_format.uniform import MOST_ID_BYTES
from tasks.storage.reader import Source, read_lines
from tasks.summary import InvalidLine

_MULTIPLIER, _HALF = np.uint64(0x9E3779B97F4A7C15), np.uint64(32)
#: By how many bytes of a word count.
_MASKS = np.array([(1 << 8 * count) - 1 for count in range(9)], dtype=np.uint64)


def hashes_of(data: bytes, begins: Any, ends: Any) -> Any:
    """64-bit hashes of some short strings of a block, eight bytes of all of them at a time; none is 0."""
    if len(data) < 8:
        data += bytes(8)
    sizes = ends - begins
    # A word begins at every byte.
    words = np.ndarray(len(data) - 7, dtype="<u8", buffer=data, strides=(1,))
    hashes = sizes.astype(np.uint64)
    for at in range(0, int(sizes.max(initial=0)), 8):
        places = np.minimum(begins + at, len(data) - 8)
        # The last word of the block may begin too early for its string.
        early = np.minimum(begins + at - places, 7).astype(np.uint64) << np.uint64(3)
        word = (words[places] >> early) & _MASKS[np.clip(sizes - at, 0, 8)]
        mixed = (hashes ^ word) * _MULTIPLIER
        hashes = np.where(sizes > at, mixed ^ mixed >> _HALF, hashes)
    return np.maximum(hashes, 1)


def hash_of(custom_id: bytes) -> int | None:
    """The hash of an id that is too long for a template; None where `hashes_of` is for it."""
    return xxhash.xxh3_64_intdigest(custom_id) or 1 if len(custom_id) > MOST_ID_BYTES else None


def find_duplicates(
    sources: list[Source], starts: list[int], hashes: Any, offsets: "array[int]", lines: "array[int]"
) -> Iterator[InvalidLine]:
    """All lines whose custom_id an earlier line has, in the order of the input.

    `hashes` are those of the custom_ids by request, 0 for one that counts for nothing; `offsets` and `lines` are where
    the requests stand, and `starts` the numbers of the first ones of each source. Raises InputFileError.
    """
    ranked = np.sort(hashes)
    repeated = ranked[1:][(ranked[1:] == ranked[:-1]) & (ranked[1:] != 0)]
    if not len(repeated):
        return
    candidates = np.flatnonzero(np.isin(hashes, repeated))
    many = len(sources) > 1
    # The source and line of the first one of each.
    seen: dict[str, tuple[int, int]] = {}
    for number, source in enumerate(sources):
        first, last = np.searchsorted(candidates, starts[number : number + 2])
        for request, custom_id in _custom_ids(source, candidates[first:last].tolist(), offsets):
            line = lines[request]
            earlier = seen.setdefault(custom_id, (number, line))
            if earlier == (number, line):
                continue
            place = f"line {earlier[1]}" + (f" of {sources[earlier[0]].name}" if many else "")
            message = f"The custom_id for this request is a duplicate of {place}; it must be unique."
            yield InvalidLine(request, line, source.name, "duplicate_custom_id", message, "custom_id", custom_id)


def _custom_ids(source: Source, requests: list[int], offsets: "array[int]") -> Iterator[tuple[int, str]]:
    """The custom_ids of some requests of a source, in ascending order."""
    waiting = iter(requests)
    request = next(waiting, None)
    for block in read_lines(source) if requests else ():
        while request is not None and offsets[request] < block.offset + len(block.data):
            start = offsets[request] - block.offset
            end = block.data.find(b"\n", start)
            line = block.data[start : end if end >= 0 else None]
            custom_id = custom_id_of(line)
            if custom_id is not None:
                yield request, custom_id
            request = next(waiting, None)
