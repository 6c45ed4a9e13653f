"""The check that a property is tried."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.occurring import happened, occurring


@occurring(even=10, odd=10)
@given(st.integers(0, 50))
def test_cases_that_occur(number: int) -> None:
    happened("even" if number % 2 == 0 else "odd")


def test_a_case_that_never_occurs() -> None:
    @occurring(large=1)
    @given(st.integers(0, 50))
    def never(number: int) -> None:
        happened("large", number > 50)

    with pytest.raises(AssertionError, match="'large': 0"):
        never()


def test_a_case_that_chance_left_out_of_one_run_is_found_in_another() -> None:
    runs: list[int] = []

    @occurring(seen=2, always=1)
    def probe() -> None:
        runs.append(1)
        happened("always")
        happened("seen", len(runs) % 2)

    probe()
    assert len(runs) == 3
    # What was counted before is not this one's.
    probe()
    assert len(runs) == 7


def test_no_more_than_a_few_runs_are_made() -> None:
    runs: list[int] = []

    @occurring(seldom=5)
    def probe() -> None:
        runs.append(1)
        happened("seldom")

    with pytest.raises(AssertionError, match="'seldom': 4"):
        probe()
    assert len(runs) == 4
