"""The tables of parameters in the documentation: a row each, made from what the flow takes."""

from typing import Annotated, Literal

from deployments.parameter_table import END, START, render, renewed
from tasks.batch.parameters import Help, Parameters
from tasks.comparison.parameters import ComparisonParameters


class _Some(Parameters):
    needed: Annotated[str, Help("Needed", "Must be given.", flag="NEEDED")]
    kind: Annotated[Literal["a", "b"], Help("Kind", "Which one.", {"a": "x|y", "b": "z"}, page="p.md#q")] = "a"
    role: Annotated[str | None, Help("Role", "Who runs it.", default="ROLE_ARN", flag="--role ARN")] = None
    limit: Annotated[float | None, Help("Limit", "At most.", default="no limit")] = None
    few: Annotated[int, Help("Few", "How many.")] = 3
    more: Annotated[dict[str, str] | None, Help("More", "And this.")] = {}


def test_a_row_for_each_parameter() -> None:
    assert render(_Some).split("\n") == [
        START,
        "",
        "| parameter | default | meaning |",
        "|---|---|---|",
        "| `needed` |  | Must be given |",
        "| `kind` | `a` | Which one. `a`: x\\|y; `b`: z. [more](p.md#q) |",
        "| `role` | `ROLE_ARN` | Who runs it. On the command line `--role ARN` |",
        "| `limit` | no limit | At most |",
        "| `few` | `3` | How many |",
        "| `more` |  | And this |",
        "",
        END,
    ]


def test_a_comparison_has_its_own_and_a_page_keeps_what_is_around() -> None:
    table = render(ComparisonParameters)
    assert "| `margin` |" in table
    assert "| `input_file` |" not in table
    assert renewed(f"before\n{START}\nold\n{END}\nafter\n", _Some) == f"before\n{render(_Some)}\nafter\n"
