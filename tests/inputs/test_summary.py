"""What is asked of a summary: where requests stand, what OpenAI's errors say, and which bad lines lie in a range."""

from collections.abc import Iterator

import pytest

from tasks.inputs.summary import BadLines, InvalidLine
from tasks.openai_format.batch import BatchError
from tasks.storage.sources import Source
from tests.builders import summary


def bad(request: int, file: str = "a.jsonl") -> InvalidLine:
    return InvalidLine(request, request + 1, file, "invalid_method", f"wrong {request}", "method", f"id-{request}")


def source(name: str) -> Source:
    return Source(name, f"/{name}", "1", 10)


def test_the_bad_lines_of_each_range_in_turn() -> None:
    lines = BadLines(map(bad, [0, 3, 4, 9, 10, 30]))
    assert list(lines.within(0, 4)) == [0, 3]
    assert list(lines.within(4, 10)) == [4, 9]
    # Ranges may overlap: what was held is not lost.
    assert list(lines.within(9, 11)) == [9, 10]
    assert list(lines.within(11, 20)) == []
    assert lines.within(20, 31) == {30: bad(30)}
    assert list(lines.within(31, 99)) == []


def test_those_that_are_passed_over_are_not_held() -> None:
    lines = BadLines(map(bad, range(100)))
    assert list(lines.within(50, 52)) == [50, 51]


def test_no_more_are_read_than_are_asked_for() -> None:
    read: list[int] = []

    def reading() -> Iterator[InvalidLine]:
        for request in range(100):
            read.append(request)
            yield bad(request)

    lines = BadLines(reading())
    lines.within(0, 10)
    # One more tells that the range is over.
    assert read == list(range(11))


@pytest.mark.parametrize(("request_", "source_"), [(0, 0), (9, 0), (10, 1), (14, 1), (15, 3), (19, 3)])
def test_the_source_of_a_request(request_: int, source_: int) -> None:
    """The third one is empty."""
    assert summary(requests=20, source_starts=[0, 10, 15, 15, 20]).source_of(request_) == source_


def test_the_valid_ones() -> None:
    assert summary(requests=20, invalid=3).valid == 17


def test_errors_of_one_file_do_not_name_it() -> None:
    found = summary(sources=[source("a.jsonl")], first_invalid=[bad(2), bad(5)], invalid=2).errors()
    assert found == [
        BatchError(code="invalid_method", message="wrong 2", param="method", line=3),
        BatchError(code="invalid_method", message="wrong 5", param="method", line=6),
    ]


def test_errors_of_several_files_do() -> None:
    found = summary(sources=[source("a.jsonl"), source("b.jsonl")], first_invalid=[bad(2, "b.jsonl")]).errors()
    assert found == [BatchError(code="invalid_method", message="b.jsonl: wrong 2", param="method", line=3)]


def test_a_mistake_of_the_whole_file_comes_first() -> None:
    found = summary(mistake="A CSV file.", first_invalid=[bad(0)]).errors()
    assert [(error.code, error.message, error.line) for error in found] == [
        ("invalid_file_format", "A CSV file.", None),
        ("invalid_method", "wrong 0", 1),
    ]


def test_an_input_without_requests_is_an_error() -> None:
    names = [source(f"{letter}.jsonl") for letter in "abcd"]
    assert summary(requests=0, sources=names).errors() == [
        BatchError(code="empty_file", message="The input file is empty: a.jsonl, b.jsonl, c.jsonl holds no request.")
    ]
    assert summary().errors() == []
