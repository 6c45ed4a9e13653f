"""What Prefect's form and `help()` say of a flow's parameters: made from the one place that has it."""

import inspect
import re
import textwrap
from collections.abc import Callable
from typing import Annotated, ParamSpec, TypeVar

from prefect.runtime import flow_run as current_run
from pydantic import Field

from tasks.batch.parameters import Parameters

#: The name that Prefect, or its form, gives to a run that nobody has named.
_GIVEN_NAME = re.compile(r"[a-z]+-[a-z]+")

P = ParamSpec("P")
R = TypeVar("R")


def described_by(parameters: type[Parameters]) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Give a flow's function the titles of its parameters, and its docstring their descriptions.

    It takes all of them, or some. Prefect reads the function's annotations and, of its docstring, the section Args;
    that goes before Returns and Raises.
    """

    def describe(function: Callable[P, R]) -> Callable[P, R]:
        lines = ["Args:"]
        for name, _, each in parameters.described():
            if name not in function.__annotations__:
                continue
            # Prefect calls each parameter by its name, unless the schema's own extras say otherwise.
            title = Field(json_schema_extra={"title": each.title})
            function.__annotations__[name] = Annotated[function.__annotations__[name], title]
            lines += textwrap.wrap(
                f"{name}: {each.description}", 112, initial_indent=" " * 4, subsequent_indent=" " * 8
            )
        text = inspect.cleandoc(function.__doc__ or "")
        place = min(found for found in (text.find("\nReturns:\n"), text.find("\nRaises:\n"), len(text)) if found >= 0)
        function.__doc__ = "\n".join([text[:place].rstrip(), "", *lines, text[place:]])
        return function

    return describe


def run_name(usual: str) -> str:
    """The name of the current run: the one that somebody typed, else the usual one."""
    typed = str(current_run.name or "")
    return usual if not typed or _GIVEN_NAME.fullmatch(typed) else typed
