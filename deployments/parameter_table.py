"""The table of a batch's parameters: `python -m deployments.parameter_table` renews its page."""

import sys
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo

from tasks.batch.parameters import BatchParameters, Help

PAGE = Path(__file__).resolve().parent / "docs" / "parameters.md"
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


def render() -> str:
    """The table, in Markdown."""
    rows = [
        f"| `{name}` | {_default(info, each)} | {_meaning(each)} |" for name, info, each in BatchParameters.described()
    ]
    return "\n".join([START, "", "| parameter | default | meaning |", "|---|---|---|", *rows, "", END])


def renewed(text: str) -> str:
    """The page's text with the current table."""
    before, _, rest = text.partition(START)
    return before + render() + rest.partition(END)[2]


if __name__ == "__main__":
    PAGE.write_text(renewed(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    sys.stdout.write(f"{PAGE.name} is current.\n")
