"""Ids sort by time, and their keys the other way round."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.api.ids import id_of, is_id, key_of, new_id, result_file_id, seconds_of
from tests.occurring import happened, occurring


@occurring(apart=20, together=1)
@given(st.lists(st.floats(1e9, 4e9), min_size=2, max_size=5), st.sampled_from(["batch", "file", "upload", "part"]))
def test_ids_sort_by_time_and_keys_backwards(times: list[float], kind: str) -> None:
    ids = [new_id(kind, now) for now in sorted(times)]
    milliseconds = [int(now * 1000) for now in sorted(times)]
    for earlier, later, one, other in zip(ids, ids[1:], milliseconds, milliseconds[1:], strict=False):
        happened("apart" if one < other else "together")
        if one < other:
            assert earlier < later
            assert key_of(kind, earlier) > key_of(kind, later)
    assert [id_of(kind, key_of(kind, each)) for each in ids] == ids
    assert [seconds_of(each) for each in ids] == [each // 1000 for each in milliseconds]


def test_the_files_of_a_batch_are_named_by_it() -> None:
    batch = new_id("batch", 1_790_000_000)
    name = result_file_id(batch, "output")
    assert is_id("file", name)
    assert seconds_of(name) == 1_790_000_000
    assert id_of("file", key_of("file", name)) == name


@pytest.mark.parametrize(
    "text",
    [
        "",
        "batch_",
        "../batches",
        "batch_../x",
        "file-" + "g" * 32,
        "batch_" + "0" * 33,
        "a" * 10_000,
        "file-%00",
        "batch_0\n",
    ],
)
def test_nothing_else_is_an_id(text: str) -> None:
    assert not any(is_id(kind, text) for kind in ("batch", "file", "upload", "part"))
    assert id_of("batch", text) is None
