"""What a comparison takes beyond what a batch takes. Light: the command's `--help` reads it."""

from typing import Annotated, Any, Final, Literal, TypeAlias

from pydantic import Field, TypeAdapter, WithJsonSchema

from tasks.batch.parameters import BatchParameters, Dollars, Help, PathText, SharedParameters

Choices: TypeAlias = Literal["first", "majority", "mean", "any"]
#: Percentage points.
Points = Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)]


def _variant() -> dict[str, Any]:
    """A variant's fields, as the form shows them."""
    model = {"title": "Model", "description": "A Bedrock model id, an inference profile's id, or the ARN of either."}
    label = {"title": "Label", "description": "What it is called in the report; without one, as its model."}
    overrides = {
        "title": "Overrides",
        "description": "Fields of the requests' bodies to replace; null removes one, and system replaces the prompt.",
    }
    fields: dict[str, dict[str, Any]] = {
        "model": {"type": "string", **model},
        "label": {"type": "string", **label},
        "overrides": {"type": "object", "additionalProperties": True, **overrides},
    }
    for name, info, each in BatchParameters.described():
        if each.variant:
            shown = {"title": each.title, "description": each.description}
            fields[name] = {**TypeAdapter(info.rebuild_annotation()).json_schema(), **shown}
    places = {name: {**field, "position": place} for place, (name, field) in enumerate(fields.items())}
    return {"title": "Variant", "type": "object", "properties": places, "required": ["model"]}


_ID: Final = {"type": "string"}
_AS_JSON: Final = {"anyOf": [_ID, {"type": "object", "additionalProperties": True}]}
#: What is compared, in the form as lines of text. Of items of either kind, the form asks for JSON.
Models: TypeAlias = Annotated[
    list[str | dict[str, Any]],
    WithJsonSchema(
        {
            "anyOf": [
                {"title": "ids", "type": "array", "items": _ID},
                {"title": "as JSON", "type": "array", "items": _AS_JSON},
            ]
        }
    ),
]
#: What is compared, in the form field by field, beside the models.
Variants: TypeAlias = Annotated[list[dict[str, Any]], WithJsonSchema({"type": "array", "items": _variant()})]


class ComparisonParameters(SharedParameters):
    """What `compare_models` takes."""

    models: Annotated[
        Models,
        Help(
            "Models",
            'Model ids; or, as JSON, variants: {"model": …, "label": …, "overrides": {…}} with fields of the '
            'requests\' bodies to replace ("system" replaces the system prompt, null removes a field) and options of '
            "the batch. Prefect's form has variants field by field, under Variants.",
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
    label_column: Annotated[
        str | None,
        Help(
            "Label column",
            "The column of the reference that has the right answers.",
            default="label, reference, answer, expected, ideal or target, or the only other one",
        ),
    ] = None
    extract: Annotated[
        str | dict[str, Any] | None,
        Help(
            "Read answers by",
            'What of an answer is compared: "includes" (the one label that stands in it), "last_number", '
            '{"regex": "Answer: (.*)"}, {"json": "path.to.label"}, or {"scorer": "package.module:function"} of '
            'your own; with "tolerance" (0.01 or "1%") for numbers.',
            default="all of it",
        ),
    ] = None
    choices: Annotated[
        Choices,
        Help(
            "Several answers",
            "What is compared of a request with several answers (n above 1).",
            {
                "first": "the first of them",
                "majority": "the most frequent one",
                "mean": "the mean of their scores",
                "any": "it is right where any of them is (pass@k)",
            },
        ),
    ] = "first"
    margin: Annotated[
        Points | None,
        Help(
            "Margin, in points",
            "The smallest difference in accuracy that matters, in percentage points: tells whether every other variant "
            "is at most so much worse than the first one, also by the command's exit status, 4 if not.",
        ),
    ] = None
    cluster_by: Annotated[
        str | None,
        Help(
            "Cluster by",
            "A field of the reference or of the requests' metadata: requests with the same value are not taken for "
            "independent of one another.",
            default="the request's text",
        ),
    ] = None
    slice_by: Annotated[
        str | None,
        Help(
            "Slice by",
            "Fields of the reference or of the requests' metadata, separated by commas: the report tells the accuracy "
            "for each of their values.",
        ),
    ] = None
    variants: Annotated[
        Variants,
        Help(
            "Variants",
            "More models, each with what it does differently: a label, fields of the requests' bodies to replace, "
            "options of the batch.",
            flag="--model JSON …",
        ),
    ] = []
    note: Annotated[str | None, Help("Note", "Shown at the top of the report.")] = None
