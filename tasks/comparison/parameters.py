"""What a comparison takes beyond what a batch takes. Light: the command's `--help` reads it."""

from typing import Annotated, Any

from tasks.batch.parameters import Dollars, Help, PathText, SharedParameters


class ComparisonParameters(SharedParameters):
    """What `compare_models` takes."""

    models: Annotated[
        list[str | dict[str, Any]],
        Help(
            "Models",
            'Model ids, or variants: {"model": …, "label": …, "overrides": {…}} with fields of the requests\' bodies '
            'to replace ("system" replaces the system prompt, null removes a field) and options of the batch.',
            flag="--model MODEL|JSON …",
        ),
    ]
    reference: Annotated[
        PathText | None,
        Help(
            "Reference",
            'The right answer for each custom_id: a JSON lines, CSV or Parquet file (column "label").',
        ),
    ] = None
    judge: Annotated[
        str | dict[str, Any] | None,
        Help(
            "Judge",
            'A model that compares the answers two by two, or {"model": …, "rubric": …, "requests": …, '
            '"max_tokens": …}.',
            flag="--judge MODEL|JSON",
        ),
    ] = None
    max_cost_usd: Annotated[
        Dollars | None,
        Help(
            "Most it may cost, in dollars",
            "Refuse to start where the variants' answers, each as long as its request allows, and the judge would cost "
            "more.",
            default="no limit",
        ),
    ] = None
    note: Annotated[str | None, Help("Note", "Shown at the top of the report.")] = None
