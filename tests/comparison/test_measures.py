"""Numbers of answers that a test makes up: shares of the right total, and quantiles."""

from pathlib import Path

import numpy as np
import pytest

from tasks.comparison.measures import _mean
from tests.comparison.compared import REFUSED, Compared
from tests.fakes import Cloud


def test_the_quantiles_of_a_hundred_numbers() -> None:
    mean = _mean(np.arange(1, 101))
    assert (mean.value, mean.median, mean.maximum) == (50.5, 50.5, 100.0)
    assert mean.p90 == pytest.approx(90.1)


def test_what_was_cut_off_is_a_share_of_the_answered(cloud: Cloud, tmp_path: Path) -> None:
    cut = {"content": "Once upon", "finish_reason": "length"}
    (side,) = Compared(cloud, tmp_path, {"a": [cut, cut, cut, "x", "y", None, None]}).numbers.variants
    assert (side.truncated.count, side.truncated.total) == (3, 5)
    assert (side.answered.count, side.answered.total) == (5, 7)


def test_the_twenty_most_frequent_errors_are_named(cloud: Cloud, tmp_path: Path) -> None:
    answers = [{**REFUSED, "error_code": f"e{n}"} for n in range(21) for _ in range(2 if n < 20 else 1)]
    (side,) = Compared(cloud, tmp_path, {"a": [*answers, "x"]}).numbers.variants
    assert side.errors == {f"e{n}: too long": 2 for n in range(20)}
