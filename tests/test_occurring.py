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
