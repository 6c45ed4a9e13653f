"""What a batch will take and cost, before anything is uploaded: requests, jobs, tokens and dollars."""

import math
from typing import Final, Literal

import msgspec

from tasks.bedrock.limits import Limits
from tasks.bedrock.prices import Rate, rate_for
from tasks.errors import ConfigurationError
from tasks.inputs.survey import Survey
from tasks.support.words import counted, dollars

#: How far the tokens that are counted from the text alone may be off; how it was measured stands in
#: deployments/docs/check.md.
TOKENS_ERROR: Final = "tokens to within about a third"


class Estimate(msgspec.Struct, frozen=True):
    """What one model will take. `max_…` is where every answer is as long as its request allows.

    Dollars are None where no price is known.
    """

    model: str
    #: That would be sent, and the records that they become.
    requests: int
    records: int
    jobs: int
    #: How they would be asked: "on_demand" is at the full price.
    route: Literal["batch", "on_demand"]
    input_tokens: int
    max_output_tokens: int
    #: Of the input alone, and at the most.
    input_cost_usd: float | None
    max_cost_usd: float | None
    #: The most that the same would cost in jobs, and on demand.
    batch_cost_usd: float | None
    on_demand_cost_usd: float | None
    rate: Rate | None
    #: Whether it is asked on demand because it is less than a job takes.
    below_minimum: bool = False

    def __str__(self) -> str:
        what = f"{counted(self.requests, 'request')} in {counted(self.jobs, 'job')}"
        if self.route == "on_demand":
            what = f"{counted(self.requests, 'request')} on demand"
        tokens = f"about {counted(self.input_tokens, 'token')} in, at most {self.max_output_tokens:,} out"
        if self.max_cost_usd is None or self.rate is None:
            return f"{what}, {tokens}; no price is known of {self.model} (BEDROCK_BATCH_PRICES may name one)"
        other, amount = "on demand", self.on_demand_cost_usd
        if self.route == "on_demand":
            other, amount = "in a batch job", self.batch_cost_usd
        beside = f", {dollars(amount)} {other}" if amount is not None else ""
        price = f"at most {dollars(self.max_cost_usd)}, {dollars(self.input_cost_usd or 0)} of it for the input"
        basis = f"{self.rate.basis.replace('_', ' ')} prices of {self.rate.seen}"
        return f"{what}, {tokens}: {price}{beside} ({TOKENS_ERROR}; {basis})"


def estimate(
    survey: Survey,
    requests: int,
    limits: Limits,
    *,
    immediate: bool = False,
    below_minimum: str = "on_demand",
    records: int | None = None,
    tier: str = "default",
) -> Estimate:
    """The estimate of a model, from what was learned of its requests.

    `requests` are the valid ones of the whole input; `records` what they become, where that was counted;
    `tier` is that of calls on demand.
    """
    scale = requests / survey.lines if survey.lines else 0.0
    sent = round((survey.lines - survey.refused) * scale)
    records = math.ceil(survey.records * scale) if records is None else records
    tokens = math.ceil(survey.input_tokens * scale), math.ceil(survey.max_output_tokens * scale)
    small = records < limits.min_records_per_job and below_minimum != "pad"
    on_demand = immediate or small
    batch_rate, on_demand_rate = (rate_for(survey.model, batch=batch, tier=tier) for batch in (True, False))
    rate = on_demand_rate if on_demand else batch_rate
    return Estimate(
        model=survey.model.id,
        requests=sent,
        records=records,
        jobs=0 if on_demand else math.ceil(records / limits.max_records_per_job),
        route="on_demand" if on_demand else "batch",
        input_tokens=tokens[0],
        max_output_tokens=tokens[1],
        input_cost_usd=rate.cost(tokens[0], 0) if rate else None,
        max_cost_usd=rate.cost(*tokens) if rate else None,
        batch_cost_usd=batch_rate.cost(*tokens) if batch_rate else None,
        on_demand_cost_usd=on_demand_rate.cost(*tokens) if on_demand_rate else None,
        rate=rate,
        below_minimum=small and not immediate and sent > 0,
    )


def require_within(estimate: Estimate, max_cost_usd: float | None) -> None:
    """Raise ConfigurationError where a batch might cost more, or where that cannot be told."""
    if max_cost_usd is None or not estimate.requests:
        return
    if estimate.max_cost_usd is None:
        raise ConfigurationError(
            f"max_cost_usd cannot be held: no price is known of {estimate.model}. Name a price list in "
            "BEDROCK_BATCH_PRICES (its form is that of tasks/bedrock/prices.json)."
        )
    if estimate.max_cost_usd > max_cost_usd:
        raise ConfigurationError(
            f"This may cost up to {dollars(estimate.max_cost_usd)} ({dollars(estimate.input_cost_usd or 0)} for the "
            f"input alone), more than max_cost_usd={max_cost_usd:,.2f}; nothing was submitted. Raise it, or lower "
            "max_tokens in the requests."
        )
