"""What a property test is about must occur: a test whose examples never reach it cannot fail.

    @occurring(taken=50, refused=10)
    @given(…)
    def test_…(…) -> None:
        …
        happened("taken", short is not None)

counts over all examples, and fails where a case is rarer than that. Hypothesis tries the numbers of examples that its
settings say, however slow a machine is. They are drawn at random: what chance has left out of one run is looked for in a
few more, so that only a property that hardly ever reaches its cases fails.
"""

import functools
from collections import Counter
from collections.abc import Callable
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., None])

_counts: Counter[str] = Counter()
_MOST_RUNS = 4


def happened(case: str, occurred: object = True) -> None:
    """Count a case, where it occurred in this example."""
    _counts[case] += bool(occurred)


def occurring(**least: int) -> Callable[[F], F]:
    """Fail a property test in whose examples a case occurs less often than so many times."""

    def decorate(test: F) -> F:
        @functools.wraps(test)
        def run(*args: Any, **kwargs: Any) -> None:
            _counts.clear()
            for _ in range(_MOST_RUNS):
                test(*args, **kwargs)
                rare = {case: _counts[case] for case, times in least.items() if _counts[case] < times}
                if not rare:
                    break
            assert not rare, f"this property is hardly ever tried: {rare} of {dict(_counts)}, wanted {least}"

        return run  # type: ignore[return-value]

    return decorate
