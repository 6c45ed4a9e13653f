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


def titled(function: Callable[P, R]) -> Callable[P, R]:
    """Give the parameters of a flow's function titles of words: Prefect calls each by its name otherwise."""
    for name in inspect.signature(function).parameters:
        _give_title(function, name, name.replace("_", " ").capitalize().replace(" arn", " ARN"))
    return function


def _give_title(function: Callable[P, R], name: str, title: str) -> None:
    # Prefect names it, unless the schema's own extras say otherwise.
    field = Field(json_schema_extra={"title": title})
    function.__annotations__[name] = Annotated[function.__annotations__[name], field]


def described_by(parameters: type[Parameters]) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Give a flow's function the titles of its parameters, and its docstring their descriptions.

    It takes all of them, or some, and may have others, which its own section Args describes. Prefect reads the
    function's annotations and, of its docstring, the section Args; that goes before Returns and Raises.
    """

    def describe(function: Callable[P, R]) -> Callable[P, R]:
        titled(function)
        lines = []
        for name, _, each in parameters.described():
            if name not in function.__annotations__:
                continue
            _give_title(function, name, each.title)
            lines += textwrap.wrap(
                f"{name}: {each.description}", 112, initial_indent=" " * 4, subsequent_indent=" " * 8
            )
        text = inspect.cleandoc(function.__doc__ or "")
        first, own, rest = text.partition("\nArgs:\n")
        if own:
            function.__doc__ = "\n".join([first.rstrip(), "", "Args:", *lines, rest])
            return function
        place = min(found for found in (text.find("\nReturns:\n"), text.find("\nRaises:\n"), len(text)) if found >= 0)
        function.__doc__ = "\n".join([text[:place].rstrip(), "", "Args:", *lines, text[place:]])
        return function

    return describe


def run_name(usual: str) -> str:
    """The name of the current run: the one that somebody typed, else the usual one."""
    typed = str(current_run.name or "")
    return usual if not typed or _GIVEN_NAME.fullmatch(typed) else typed
