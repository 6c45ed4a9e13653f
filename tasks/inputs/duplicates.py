"""Lines whose custom_id an earlier line has: told from 64-bit hashes, and looked up where those are equal."""

import hashlib
import os
from array import array
from bisect import bisect_right
from collections.abc import Iterator

import numpy as np
import xxhash

from tasks.fast.match import MOST_ID_BYTES
from tasks.inputs.summary import InvalidLine
from tasks.openai_format.requests import custom_id_of
from tasks.storage.reader import read_lines
from tasks.storage.sources import Source
from tasks.support.columns import Hashes, Offsets

_MULTIPLIER, _HALF = np.uint64(0x9E3779B97F4A7C15), np.uint64(32)


#: Requests that are looked up at a time.
_AT_A_TIME = 8192


#: By how many bytes of a word count.
_MASKS = np.array([(1 << 8 * count) - 1 for count in range(9)], dtype=np.uint64)


def hashes_of(data: bytes, begins: Offsets, ends: Offsets) -> Hashes:
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
    sources: list[Source], starts: list[int], hashes: Hashes, offsets: "array[int]", lines: "array[int]"
) -> Iterator[InvalidLine]:
    """All lines whose custom_id an earlier line has, in the order of the input.

    `hashes` are those of the custom_ids by request, 0 for one that counts for nothing; `offsets` and `lines` are where
    the requests stand, and `starts` the numbers of the first ones of each source. Raises InputFileError.

    Memory: 9 bytes a request to begin with, and then 24 for each custom_id that is there again, however often.
    """
    repeated = _repeated(hashes)
    if not len(repeated):
        return
    known = _Known(len(repeated))
    many = len(sources) > 1
    for number, source in enumerate(sources):
        candidates = _candidates(hashes, repeated, starts[number], starts[number + 1])
        for request, group, custom_id in _custom_ids(source, candidates, offsets):
            first = known.first(group, custom_id, request)
            if first == request:
                continue
            place = f"line {lines[first]}"
            if many:
                place += f" of {sources[bisect_right(starts, first) - 1].name}"
            message = f"The custom_id for this request is a duplicate of {place}; it must be unique."
            yield InvalidLine(
                request, lines[request], source.name, "duplicate_custom_id", message, "custom_id", custom_id
            )


def _repeated(hashes: Hashes) -> Hashes:
    """The hashes that are there more than once, ascending; 0 is nobody's."""
    ranked = np.sort(hashes)
    same = ranked[1:] == ranked[:-1]
    # Where a run of equal ones begins.
    same[1:] = np.greater(same[1:], same[:-1])
    repeated: Hashes = ranked[:-1][same]
    return repeated[1:] if len(repeated) and repeated[0] == 0 else repeated


def _candidates(hashes: Hashes, repeated: Hashes, first: int, last: int) -> Iterator[tuple[int, int]]:
    """The requests of a source whose hash is there again, each with the place of it in `repeated`."""
    for start in range(first, last, _AT_A_TIME):
        some = hashes[start : min(start + _AT_A_TIME, last)]
        groups = np.searchsorted(repeated, some)
        found = np.flatnonzero(repeated[np.minimum(groups, len(repeated) - 1)] == some)
        yield from zip((found + start).tolist(), groups[found].tolist(), strict=True)


class _Known:
    """The first request of each custom_id, by the group of its hash.

    Equal hashes are nearly always equal custom_ids, which a second hash tells; it has a key, so that nobody can make
    two custom_ids that it takes for the same one.
    """

    def __init__(self, groups: int) -> None:
        self._firsts = np.full(groups, -1, dtype=np.int64)
        self._digests = np.zeros(groups, dtype=np.uint64)
        #: Of the groups with more custom_ids than one.
        self._others: dict[tuple[int, int], int] = {}
        self._key = os.urandom(16)

    def first(self, group: int, custom_id: str, request: int) -> int:
        """The first request with this custom_id: the given one, where none was before."""
        hashed = hashlib.blake2b(custom_id.encode("utf-8", "surrogatepass"), digest_size=8, key=self._key)
        digest = int.from_bytes(hashed.digest(), "little")
        if self._firsts[group] < 0:
            self._firsts[group], self._digests[group] = request, digest
            return request
        if int(self._digests[group]) == digest:
            return int(self._firsts[group])
        return self._others.setdefault((group, digest), request)


def _custom_ids(
    source: Source, requests: Iterator[tuple[int, int]], offsets: "array[int]"
) -> Iterator[tuple[int, int, str]]:
    """The custom_ids of some requests of a source, in ascending order, each with its request and its group."""
    waiting = next(requests, None)
    for block in read_lines(source) if waiting is not None else ():
        end_of_block = block.offset + len(block.data)
        while waiting is not None and offsets[waiting[0]] < end_of_block:
            start = offsets[waiting[0]] - block.offset
            end = block.data.find(b"\n", start)
            custom_id = custom_id_of(block.data[start : end if end >= 0 else None])
            if custom_id is not None:
                yield *waiting, custom_id
            waiting = next(requests, None)
        if waiting is None:
            return
