"""The numbers of a comparison, as they are computed, shown and judged."""

from typing import Any

import msgspec

from tasks.comparison.intervals import Interval


class Share(msgspec.Struct, frozen=True):
    """How many of how many."""

    count: float
    total: int
    interval: Interval | None

    @property
    def value(self) -> float | None:
        return self.count / self.total if self.total else None


class Mean(msgspec.Struct, frozen=True):
    """A mean, its interval, and quantiles of the values."""

    count: int
    value: float | None
    interval: Interval | None
    median: float | None
    p90: float | None
    maximum: float | None


class Measures(msgspec.Struct):
    """One variant's numbers. Costs are in US dollars; of requests that failed nothing is billed."""

    label: str
    model: str
    requests: int
    answered: Share
    truncated: Share
    refused: Share
    empty: Share
    json_valid: Share | None
    schema_valid: Share | None
    tool_calls_valid: Share | None
    characters: Mean
    output_tokens: Mean
    input_tokens: int
    total_output_tokens: int
    cost_usd: float | None
    cost_per_thousand: Mean | None
    rate: dict[str, Any] | None
    errors: dict[str, int]
    finish_reasons: dict[str, int]
    #: Counts of answers by length, for a picture: edges are shared by all variants.
    length_histogram: list[int]
    token_histogram: list[int]
    accuracy: Share | None = None
    macro_f1: float | None = None
    macro_f1_interval: Interval | None = None
    confusion: list[list[int]] | None = None
    #: Answers and tool calls whose schema could not be used; the shares above are of the others.
    schema_unchecked: int = 0
    tool_calls_unchecked: int = 0
    #: Of the labelled requests that were answered; `accuracy` is of all of them, an answer that is missing being wrong.
    accuracy_answered: Share | None = None
    #: Of the labelled requests that were not lost to the run: what variants are compared by.
    accuracy_compared: Share | None = None
    #: Requests lost to the run (throttled, expired, a fault of the service) and not to the model.
    lost: int = 0
    #: Answered requests whose cost is known; `cost_usd` is None where it is not known of all.
    cost_known: int = 0
    #: Answers that are none of the reference's labels, those in which one label stands, and the commonest.
    unknown: Share | None = None
    label_inside: int = 0
    unknown_answers: dict[str, int] = {}


class Pair(msgspec.Struct):
    """Two variants side by side, on the requests that both answered."""

    first: str
    second: str
    both: int
    agreement: Share
    kappa: float | None
    kappa_interval: Interval | None
    similarity: Mean | None
    #: With a reference, on the labelled requests that neither lost to the run: the difference of the accuracies, first
    #: minus second, and the mid-p McNemar test of it (its extension to clusters where requests repeat).
    accuracy_difference: float | None = None
    difference_interval: Interval | None = None
    only_first_right: int = 0
    only_second_right: int = 0
    p_value: float | None = None
    #: Corrected for all pairs of the comparison (Holm).
    adjusted_p: float | None = None
    #: How many labelled requests were compared, in how many clusters; of them, right are …
    compared: int = 0
    clusters: int = 0
    first_accuracy: float | None = None
    second_accuracy: float | None = None
    #: So many labelled requests in all would show the difference in four cases of five.
    needed: int | None = None
    #: Of requests that both answered at a known cost: how many, and dollars per thousand.
    cost_both: int = 0
    first_cost: float | None = None
    second_cost: float | None = None
    #: With a margin: one-sided p-values against the first, or the second, being worse than the other by more than it.
    first_not_worse_p: float | None = None
    second_not_worse_p: float | None = None
    #: … and against its being worse by no more than the margin.
    first_worse_p: float | None = None
    second_worse_p: float | None = None


class Slice(msgspec.Struct):
    """One value of a field: how many labelled requests have it, and each variant's accuracy on them."""

    value: str
    requests: int
    accuracy: list[Share]


class Numbers(msgspec.Struct):
    """All numbers of a comparison."""

    requests: int
    labels: bool
    variants: list[Measures]
    pairs: list[Pair]
    length_edges: list[float]
    token_edges: list[float]
    #: The labels of the confusion matrices' rows; their columns end with "other" and "no answer".
    label_names: list[str]
    referenced: int
    missing_references: int
    extra_references: int
    #: Why answers could not be held to their requests' schemas, each with how many.
    unchecked: dict[str, int] = {}
    #: What is compared of requests with several choices, and the most that one has.
    choices: str = "first"
    most_choices: int = 1
    #: The smallest difference in accuracy that matters, as a share.
    margin: float | None = None
    #: The variant that the others may be so much worse than: the first one named, whether it has results or not.
    base: str | None = None
    #: Whether the reference is a set of labels; those that differ in case or marks only, and its blank cells.
    closed: bool = False
    alike: list[str] = []
    blank_references: int = 0
    #: Groups of requests that repeat one another (or have the same value of the named field).
    clusters: int = 0
    cluster_by: str | None = None
    slices: dict[str, list[Slice]] = {}
    #: Fields to slice or cluster by that no request has.
    missing_fields: list[str] = []
