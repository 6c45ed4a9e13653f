"""What callers did wrong: which parameter, and a word for programs."""

import pytest

from tasks.api.errors import (
    CallError,
    ConflictError,
    ForbiddenError,
    InvalidCallError,
    NotFoundError,
    TooLargeError,
    TooManyError,
)
from tasks.errors import PipelineError

KINDS = (InvalidCallError, ForbiddenError, NotFoundError, ConflictError, TooLargeError, TooManyError)


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_says_what_and_where(kind: type[CallError]) -> None:
    error = kind("It is wrong.", param="endpoint", code="wrong")
    assert (str(error), error.param, error.code) == ("It is wrong.", "endpoint", "wrong")
    assert (kind("No.").param, kind("No.").code) == (None, None)
    assert kind("No.", "a", "b").param == "a"


@pytest.mark.parametrize("kind", KINDS)
def test_each_is_a_kind_of_its_own_that_the_pipeline_reports(kind: type[CallError]) -> None:
    assert issubclass(kind, CallError)
    assert issubclass(CallError, PipelineError)
    assert not any(issubclass(kind, other) for other in KINDS if other is not kind)
