"""Lines with a custom_id that is there already: the first one stands, the others name it."""

import random
from array import array
from pathlib import Path

import numpy as np
import pytest

from tasks.fast.match import MOST_ID_BYTES
from tasks.inputs.duplicates import _Known, find_duplicates, hash_of, hashes_of
from tasks.inputs.summary import InvalidLine
from tasks.storage.sources import find_sources
from tests.conftest import chat, write_lines


def hashed(*texts: bytes, after: bytes = b"") -> list[int]:
    """The hashes of texts that stand side by side in a block."""
    ends = np.cumsum([len(text) for text in texts])
    hashes: list[int] = hashes_of(b"".join(texts) + after, np.append(0, ends[:-1]), ends).tolist()
    return hashes


def found(folder: Path, files: dict[str, list[str]], hashes: list[int] | None = None) -> list[InvalidLine]:
    """The duplicates among files of these custom_ids, a line each."""
    for name, ids in files.items():
        write_lines(folder / name, [chat(id) for id in ids])
    sources = find_sources(str(folder / "*.jsonl"))
    assert [source.name for source in sources] == sorted(files)
    offsets, lines, starts, known = array("q"), array("q"), [0], []
    for name in sorted(files):
        place = 0
        for number, line in enumerate((folder / name).read_bytes().splitlines(keepends=True), 1):
            offsets.append(place)
            lines.append(number)
            place += len(line)
        known += hashed(*(id.encode() for id in files[name]))
        starts.append(len(lines))
    column = np.array(known if hashes is None else hashes, dtype=np.uint64)
    return list(find_duplicates(sources, starts, column, offsets, lines))


def test_a_duplicate_in_one_file_names_the_line(tmp_path: Path) -> None:
    message = "The custom_id for this request is a duplicate of line 2; it must be unique."
    assert found(tmp_path, {"a.jsonl": ["x", "y", "z", "y", "y"]}) == [
        InvalidLine(3, 4, "a.jsonl", "duplicate_custom_id", message, "custom_id", "y"),
        InvalidLine(4, 5, "a.jsonl", "duplicate_custom_id", message, "custom_id", "y"),
    ]


def test_a_duplicate_over_files_names_the_first_file(tmp_path: Path) -> None:
    files = {"a.jsonl": ["x", "y"], "b.jsonl": ["z", "y", "w"], "c.jsonl": ["w", "z", "y"]}
    bad = found(tmp_path, files)
    assert [(each.request, each.line, each.file, each.custom_id) for each in bad] == [
        (3, 2, "b.jsonl", "y"),
        (5, 1, "c.jsonl", "w"),
        (6, 2, "c.jsonl", "z"),
        (7, 3, "c.jsonl", "y"),
    ]
    assert [each.message.partition(";")[0].rpartition("duplicate of ")[2] for each in bad] == [
        "line 2 of a.jsonl",
        "line 3 of b.jsonl",
        "line 1 of b.jsonl",
        "line 2 of a.jsonl",
    ]


def test_the_last_line_of_a_file_needs_no_end(tmp_path: Path) -> None:
    lines = [b'{"url":"/v1/chat/completions","custom_id":"x"}'] * 2
    (tmp_path / "a.jsonl").write_bytes(b"\n".join(lines))
    offsets = array("q", [0, len(lines[0]) + 1])
    column = np.array([7, 7], dtype=np.uint64)
    bad = list(find_duplicates(find_sources(str(tmp_path / "a.jsonl")), [0, 2], column, offsets, array("q", [1, 2])))
    assert [(each.request, each.custom_id) for each in bad] == [(1, "x")]


def test_nobody_can_foresee_which_ids_are_taken_for_the_same() -> None:
    assert len({_Known(1)._key for _ in range(3)}) == 3


def test_equal_hashes_are_no_duplicates(tmp_path: Path) -> None:
    """Of custom_ids that share a hash, each has a first line of its own."""
    bad = found(tmp_path, {"a.jsonl": ["x", "y", "z", "y", "x", "z"]}, [7] * 6)
    assert [(each.request, each.custom_id, each.message.partition(";")[0][-6:]) for each in bad] == [
        (3, "y", "line 2"),
        (4, "x", "line 1"),
        (5, "z", "line 3"),
    ]


def test_what_has_no_hash_counts_for_nothing(tmp_path: Path) -> None:
    assert found(tmp_path, {"a.jsonl": ["x", "x", "y", "x"]}, [0, 0, 3, 0]) == []
    assert [each.request for each in found(tmp_path, {"a.jsonl": ["x", "x", "y", "x"]}, [0, 5, 3, 5])] == [3]


def test_none(tmp_path: Path) -> None:
    assert found(tmp_path, {"a.jsonl": ["x"], "b.jsonl": ["y", "z"]}) == []


@pytest.mark.parametrize("after", [b"", b"!", b'","method":"POST"'])
def test_a_hash_is_that_of_the_bytes_and_of_no_more(after: bytes) -> None:
    """Of any length, at any place, whatever stands behind: also at the end of the block."""
    texts = [bytes([65 + length % 26]) * length for length in range(1, 40)]
    alone = [hashed(text)[0] for text in texts]
    assert len(set(alone)) == len(alone)
    random.Random(1).shuffle(texts)
    assert dict(zip(texts, hashed(*texts, after=after), strict=True)) == {text: hashed(text)[0] for text in texts}


@pytest.mark.parametrize("length", [1, 7, 8, 9, 16, 33])
def test_every_byte_counts(length: int) -> None:
    text = bytes(length)
    others = [text[:place] + b"\x01" + text[place + 1 :] for place in range(length)]
    assert len(set(hashed(text, text + b"\0", *others))) == length + 2


def test_no_hash_is_nobodys() -> None:
    """0 stands for what has none."""
    assert hashed(b"") == [1]
    assert hashed(b"", b"a")[0] == 1


def test_long_ids_have_a_hash_of_their_own() -> None:
    assert hash_of(b"x" * MOST_ID_BYTES) is None
    longer = hash_of(b"x" * (MOST_ID_BYTES + 1))
    assert longer
    assert longer != hash_of(b"x" * (MOST_ID_BYTES + 2))
