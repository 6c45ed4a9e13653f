"""The tables of what a batch and a comparison take: `python -m deployments.parameter_table` renews their pages."""

import sys
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo

from tasks.batch.parameters import BatchParameters, Help, Parameters, SharedParameters
from tasks.comparison.parameters import ComparisonParameters

DOCS = Path(__file__).resolve().parent / "docs"
PAGE = DOCS / "parameters.md"
COMPARING = DOCS / "comparing.md"
START, END = "<!-- parameters: made by python -m deployments.parameter_table -->", "<!-- end of parameters -->"


def _default(info: FieldInfo, each: Help) -> str:
    if each.default is not None:
        return f"`{each.default}`" if each.default.isupper() else each.default
    value: Any = None if info.is_required() else info.default
    return f"`{value}`" if value not in (None, {}) else ""


def _meaning(each: Help) -> str:
    choices = "; ".join(f"`{choice}`: {what}" for choice, what in each.choices.items())
    said = f"On the command line `{each.flag}`" if each.flag and each.flag.startswith("--") else ""
    more = f"[more]({each.page})" if each.page else ""
    parts = [each.text.rstrip("."), choices, said, more]
    return ". ".join(part for part in parts if part).replace("|", "\\|")


def render(parameters: type[Parameters] = BatchParameters) -> str:
    """The table, in Markdown: of a batch all parameters, of a comparison its own."""
    shared = SharedParameters.model_fields if parameters is ComparisonParameters else {}
    rows = [
        f"| `{name}` | {_default(info, each)} | {_meaning(each)} |"
        for name, info, each in parameters.described()
        if name not in shared
    ]
    return "\n".join([START, "", "| parameter | default | meaning |", "|---|---|---|", *rows, "", END])


def renewed(text: str, parameters: type[Parameters] = BatchParameters) -> str:
    """The page's text with the current table."""
    before, _, rest = text.partition(START)
    return before + render(parameters) + rest.partition(END)[2]


if __name__ == "__main__":
    for page, parameters in ((PAGE, BatchParameters), (COMPARING, ComparisonParameters)):
        page.write_text(renewed(page.read_text(encoding="utf-8"), parameters), encoding="utf-8")
        sys.stdout.write(f"{page.name} is current.\n")
