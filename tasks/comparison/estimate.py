"""What a comparison will cost, before anything is submitted: requests, jobs, tokens and dollars for each variant."""

import math
from typing import Any

import msgspec
from prefect import task

from tasks.bedrock.capabilities import capabilities_of
from tasks.bedrock.limits import limits_for
from tasks.bedrock.models import parse_model
from tasks.bedrock.prices import Rate, rate_for
from tasks.comparison.judge import JUDGED_CHARACTERS, Judge
from tasks.comparison.variants import Variant, changer, lines_of
from tasks.errors import ConfigurationError
from tasks.inputs.tokens import BYTES_PER_TOKEN, count_tokens, most_written
from tasks.storage.sources import Source
from tasks.support.markdown import plain
from tasks.support.retries import STAGE_OPTIONS
from tasks.support.run_context import run_log
from tasks.support.words import counted, dollars

#: Around the texts that a judge reads.
FRAME_TOKENS = 60
#: So many requests are measured, spread over the input.
_SAMPLE = 2000


class Estimate(msgspec.Struct, frozen=True):
    """What one variant will take. `max_cost_usd` is the cost if every answer were as long as its request allows."""

    label: str
    model: str
    requests: int
    jobs: int
    input_tokens: int
    max_output_tokens: int
    input_cost_usd: float | None
    max_cost_usd: float | None
    rate: Rate | None


def estimate_variants(
    variants: list[Variant], sources: list[Source], requests: int, window: str, endpoint: str | None = None
) -> list[Estimate]:
    """Estimate each variant from a sample of the input, spread evenly; `window` is the call's completion_window."""
    step = max(1, requests // _SAMPLE)
    sample = [line for number, line in enumerate(lines_of(sources)) if number % step == 0]
    return [_estimate(variant, sample, requests, window, endpoint) for variant in variants]


def _estimate(variant: Variant, sample: list[bytes], requests: int, window: str, endpoint: str | None) -> Estimate:
    change = changer(variant.overrides, endpoint)
    model = parse_model(variant.model)
    default = most_written(capabilities_of(model))
    input_tokens = output_tokens = records = 0
    for line in sample:
        tokens = count_tokens(change(line), default)
        if tokens is None:
            # It is not sent.
            continue
        records += tokens.choices
        input_tokens += tokens.input
        output_tokens += tokens.max_output
    scale = requests / len(sample) if sample else 0.0
    limits = limits_for(model)
    batch = variant.options.get("completion_window", window) != "immediate"
    total = math.ceil(records * scale)
    small = total < limits.min_records_per_job and variant.options.get("below_minimum") != "pad"
    rate = rate_for(model, batch=batch and not small, tier=variant.options.get("service_tier", "default"))
    counts = math.ceil(input_tokens * scale), math.ceil(output_tokens * scale)
    return Estimate(
        label=variant.label,
        model=variant.model,
        requests=requests,
        jobs=math.ceil(total / limits.max_records_per_job) if batch and not small else 0,
        input_tokens=counts[0],
        max_output_tokens=counts[1],
        input_cost_usd=rate.cost(counts[0], 0) if rate else None,
        max_cost_usd=rate.cost(*counts) if rate else None,
        rate=rate,
    )


def estimate_judge(
    judge: Judge, variants: list[Variant], estimates: list[Estimate], requests: int, window: str, below_minimum: str
) -> Estimate:
    """What the judge will take: each pair of answers twice, each as long as its request allows, or the judge reads."""
    chosen = min(judge.requests, requests)
    total = chosen * len(variants) * (len(variants) - 1)
    most = JUDGED_CHARACTERS / BYTES_PER_TOKEN
    frame = len(judge.rubric.encode()) / BYTES_PER_TOKEN + FRAME_TOKENS
    # Each answer is read once with every rival and in both orders; the request as often as there are comparisons.
    asked = max((min(each.input_tokens / max(1, each.requests), most) for each in estimates), default=0.0)
    answers = sum(min(each.max_output_tokens / max(1, each.requests), most) for each in estimates)
    answers *= 2 * (len(variants) - 1)
    input_tokens = math.ceil(chosen * answers + total * (asked + frame))
    output_tokens = total * judge.max_tokens
    model = parse_model(judge.model)
    limits = limits_for(model)
    batch = window != "immediate" and not (total < limits.min_records_per_job and below_minimum != "pad")
    rate = rate_for(model, batch=batch)
    return Estimate(
        label=f"judge {judge.model}",
        model=judge.model,
        requests=total,
        jobs=math.ceil(total / limits.max_records_per_job) if batch else 0,
        input_tokens=input_tokens,
        max_output_tokens=output_tokens,
        input_cost_usd=rate.cost(input_tokens, 0) if rate else None,
        max_cost_usd=rate.cost(input_tokens, output_tokens) if rate else None,
        rate=rate,
    )


def require_budget(estimates: list[Estimate], max_cost_usd: float | None) -> None:
    """Raise ConfigurationError where the variants together might cost more, or where that cannot be told."""
    if max_cost_usd is None:
        return
    unknown = [each.model for each in estimates if each.max_cost_usd is None]
    if unknown:
        raise ConfigurationError(
            f"max_cost_usd cannot be held: no price is known of {', '.join(unknown)}. Name a price list in "
            "BEDROCK_BATCH_PRICES (its form is that of tasks/bedrock/prices.json)."
        )
    total = sum(each.max_cost_usd or 0.0 for each in estimates)
    if total > max_cost_usd:
        inputs = sum(each.input_cost_usd or 0.0 for each in estimates)
        raise ConfigurationError(
            f"This may cost up to ${total:,.2f} (${inputs:,.2f} for the input alone), more than max_cost_usd="
            f"{max_cost_usd:,.2f}; nothing was submitted. Raise it, lower max_tokens in the requests, or take fewer "
            f"{'models' if len(estimates) > 1 else 'requests'}."
        )


def summary(estimates: list[Estimate]) -> list[dict[str, Any]]:
    """The estimates as plain data."""
    rows: list[dict[str, Any]] = msgspec.to_builtins(estimates)
    return rows


def estimates_table(estimates: list[Estimate]) -> list[dict[str, str]]:
    """The estimates as rows of a table in the UI, whose cells are markdown."""
    return [
        {
            "variant": plain(each.label),
            "requests": f"{each.requests:,}",
            "jobs": f"{each.jobs:,}",
            "tokens in": f"{each.input_tokens:,}",
            "tokens out, at most": f"{each.max_output_tokens:,}",
            "input": "unknown" if each.input_cost_usd is None else dollars(each.input_cost_usd),
            "at most": "unknown" if each.max_cost_usd is None else dollars(each.max_cost_usd),
        }
        for each in estimates
    ]


def estimate_all(
    variants: list[Variant],
    sources: list[Source],
    requests: int,
    window: str,
    endpoint: str | None = None,
    judge: Judge | None = None,
    below_minimum: str = "on_demand",
) -> list[Estimate]:
    """`estimate_cost`, also outside of a run: nothing is logged."""
    estimates = estimate_variants(variants, sources, requests, window, endpoint)
    if judge is not None and len(variants) > 1:
        estimates.append(estimate_judge(judge, variants, estimates, requests, window, below_minimum))
    return estimates


@task(name="estimate", task_run_name="estimate", **STAGE_OPTIONS)
def estimate_cost(
    variants: list[Variant],
    sources: list[Source],
    requests: int,
    window: str,
    endpoint: str | None = None,
    judge: Judge | None = None,
    below_minimum: str = "on_demand",
) -> list[Estimate]:
    """Estimate requests, jobs, tokens and dollars of each variant, and of the judge, and say them."""
    log = run_log()
    estimates = estimate_all(variants, sources, requests, window, endpoint, judge, below_minimum)
    for each in estimates:
        cost = "an unknown price" if each.max_cost_usd is None else f"at most ${each.max_cost_usd:,.2f}"
        basis = f" ({each.rate.basis}, {each.rate.seen})" if each.rate else ""
        log.info(
            "%s: %s, %s, about %s in, at most %s out: %s%s",
            each.label,
            counted(each.requests, "request"),
            counted(each.jobs, "job"),
            counted(each.input_tokens, "token"),
            f"{each.max_output_tokens:,}",
            cost,
            basis,
        )
    return estimates
