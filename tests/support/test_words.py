"""Numbers and cut texts as people read them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.cli.printing import account_of
from tasks.openai_format.batch import Batch, RequestCounts
from tasks.support.words import counted, cut, dollars, duration, tally
from tests.occurring import happened, occurring


def test_numbers() -> None:
    assert [counted(number, "job") for number in (0, 1, 2, 1234)] == ["0 jobs", "1 job", "2 jobs", "1,234 jobs"]
    assert counted(1, "batch", "batches") == "1 batch"
    assert counted(2, "record was", "records were") == "2 records were"
    assert tally(1, "output lines that cannot be read") == "1 output line that cannot be read"
    assert tally(1, "records that were answered more than once") == "1 record that was answered more than once"
    assert tally(2, "output records that were never asked for") == "2 output records that were never asked for"


def test_a_text_is_cut_between_words() -> None:
    assert cut("The model refused the request.", 100) == "The model refused the request."
    assert cut("The model refused the request.", 21) == "The model refused…"
    assert cut("The model refused, the request.", 20) == "The model refused…"
    assert cut("line one\nline   two", 100) == "line one line two"
    assert cut("x" * 50, 10) == "x" * 9 + "…"


@occurring(cut=10, between=5)
@given(st.text() | st.lists(st.text(min_size=1, max_size=9)).map(" ".join), st.integers(2, 60))
def test_a_cut_text_is_whole_words_and_no_longer(text: str, most: int) -> None:
    shown = cut(text, most)
    assert len(shown) <= most
    words = text.split()
    happened("cut", shown.endswith("…"))
    happened("between", shown.endswith("…") and " " in shown)
    if shown.endswith("…") and " " in shown:
        assert shown[:-1].split()[:-1] == words[: len(shown[:-1].split()) - 1]
        assert words[len(shown[:-1].split()) - 1].startswith(shown[:-1].split()[-1])


@pytest.mark.parametrize(
    ("status", "counts", "said"),
    [
        ("completed", (150, 149, 1), "150 = 149 answered + 1 failed"),
        ("failed", (150, 0, 0), "150, without an answer"),
        ("failed", (0, 0, 0), "none"),
        ("in_progress", (150, 0, 0), "150, still open"),
        ("in_progress", (1500, 20, 0), "1,500 = 20 answered + 1,480 still open"),
        ("expired", (150, 100, 50), "150 = 100 answered + 50 failed"),
    ],
)
def test_the_sum_of_a_batch_is_one(status: str, counts: tuple[int, int, int], said: str) -> None:
    total, completed, failed = counts
    batch = Batch.model_validate(
        {
            "id": "batch_1",
            "endpoint": "/v1/chat/completions",
            "input_file_id": "x",
            "completion_window": "24h",
            "created_at": 1,
            "status": status,
            "request_counts": RequestCounts(total=total, completed=completed, failed=failed),
        }
    )
    assert account_of(batch) == said


def test_amounts_and_times_at_their_bounds() -> None:
    assert [dollars(amount) for amount in (0, 0.0004, 0.9999, 1, 1234.5)] == [
        "$0.00",
        "$0.0004",
        "$0.9999",
        "$1.00",
        "$1,234.50",
    ]
    assert [duration(seconds) for seconds in (0, 59.4, 59.6, 3599, 3600, 7325)] == [
        "0 s",
        "59 s",
        "1 min 0 s",
        "59 min 59 s",
        "1 h 0 min",
        "2 h 2 min",
    ]


def test_a_text_that_just_fits_is_whole() -> None:
    assert cut("three words here", 16) == "three words here"
    assert cut("three words here", 15) == "three words…"
