"""What became of the requests of a range, and of all of them together."""

import msgspec

from tasks.openai_format.batch import BatchUsage, InputTokensDetails, OutputTokensDetails
from tasks.shards.gather import Remainder


class RangeResult(msgspec.Struct):
    """What became of the requests of one range; adds up to the batch's counts."""

    range: int
    completed: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    without_usage: int = 0
    #: US dollars of the answers whose cost is known, and how many others there are.
    cost_usd: float = 0.0
    without_cost: int = 0
    #: Requests that failed for a transient cause: asked again, they may be answered.
    retryable: int = 0
    finish_reasons: dict[str, int] = {}
    #: Errors by cause, each with the custom_id and line of its first request.
    causes: dict[str, tuple[int, str, int]] = {}
    oddities: dict[str, int] = {}
    #: Requests that were never answered: "failed", "cancelled" or "expired".
    unanswered: dict[str, int] = {}
    #: What another round asks again. Then nothing else is settled.
    again: list[Remainder] = []


def add_up(results: list[RangeResult]) -> BatchUsage:
    """The batch's usage object."""
    prompt = sum(result.prompt_tokens for result in results)
    completion = sum(result.completion_tokens for result in results)
    return BatchUsage(
        input_tokens=prompt,
        input_tokens_details=InputTokensDetails(cached_tokens=sum(result.cached_tokens for result in results)),
        output_tokens=completion,
        output_tokens_details=OutputTokensDetails(reasoning_tokens=sum(result.reasoning_tokens for result in results)),
        total_tokens=prompt + completion,
    )


def cost_of(results: list[RangeResult]) -> float | None:
    """US dollars of a batch's answers; None where it is not known of all of them."""
    if any(result.without_cost for result in results):
        return None
    return round(sum(result.cost_usd for result in results), 6)
