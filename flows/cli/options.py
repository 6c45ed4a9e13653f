"""The options of a command, made from the parameters of its flow; and the parameters, made from what was said."""

import json
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

import click
from pydantic.fields import FieldInfo

from tasks.batch.parameters import Help, Parameters
from tasks.errors import ConfigurationError
from tasks.support.words import cut

F = TypeVar("F", bound=Callable[..., Any])
#: What a command says in its own way.
_SPECIAL = {"metadata", "output_data_config", "models", "variants", "note", "wait"}


def options_of(parameters: type[Parameters], only: Collection[str] | None = None) -> Callable[[F], F]:
    """An option for each parameter, or for some of them; the input file is an argument."""

    def decorate(function: F) -> F:
        # A decorator puts its option before those that are there.
        for name, info, each in reversed(list(parameters.described())):
            if only is None or name in only:
                function = _option(parameters, name, info, each)(function)
        return function

    return decorate


def _option(parameters: type[Parameters], name: str, info: FieldInfo, each: Help) -> Callable[[F], F]:
    text = each.text.rstrip(".")
    if name == "input_file":
        return click.argument("input_file", metavar="INPUT_FILE")
    if name in _SPECIAL:
        return _special(name, text, info.is_required())
    flag, default = "--" + name.replace("_", "-"), each.default
    if isinstance(info.default, bool):
        return click.option(flag, is_flag=True, default=info.default, help=text + ".")
    choices = "; ".join(f"{choice}: {what}" for choice, what in each.choices.items())
    said = "" if default is None else f"  [default: {default}]"
    # To click, an option with a default, be it None, lacks nothing.
    value: dict[str, Any] = {"required": True} if info.is_required() else {"default": info.default}
    return click.option(
        flag,
        type=_type(info.annotation),
        show_default=value.get("default") is not None,
        metavar=None if each.choices else _metavar(name, each),
        help=(f"{text} ({choices})." if choices else f"{text}.") + said,
        callback=_checked(parameters, name),
        **value,
    )


def _type(annotation: Any) -> Any:
    if get_origin(annotation) is Literal:
        return click.Choice(get_args(annotation))
    kind = next(iter(get_args(annotation)), annotation)
    return float if kind is float or get_args(kind)[:1] == (float,) else str


def _metavar(name: str, each: Help) -> str:
    return (each.flag or "").partition(" ")[2] or name.rpartition("_")[2].upper()


def _checked(parameters: type[Parameters], name: str) -> Callable[[click.Context, click.Parameter, Any], Any]:
    """What the parameter's own type refuses is a mistake of usage."""

    def check(context: click.Context, option: click.Parameter, value: Any) -> Any:
        try:
            if isinstance(value, str) and _takes_json(parameters.model_fields[name]):
                value = text_or_json(value)
            if value is not None:
                parameters.require_valid(name, value)
            if name == "completion_window" and value != parameters.model_fields[name].default:
                from tasks.batch.options import parse_window

                parse_window(value)
        except (ValueError, ConfigurationError) as error:
            raise click.BadParameter(str(error), context, option) from None
        return value

    return check


def _takes_json(info: FieldInfo) -> bool:
    return any(get_origin(kind) is dict for kind in get_args(info.annotation))


def _special(name: str, text: str, required: bool) -> Callable[[F], F]:
    if name == "metadata":
        return click.option("--metadata", multiple=True, metavar="KEY=VALUE", help=f"{text}. Repeatable.")
    if name == "output_data_config":
        help_ = "An s3:// folder where the result files go too, under the batch's id."
        return click.option("--output-location", metavar="S3_URI", help=help_)
    if name == "models":
        return click.option(
            "--model", "models", multiple=True, required=required, metavar="MODEL|JSON", help=f"{text}. Repeatable."
        )
    if name == "wait":
        return click.option(
            "--wait/--no-wait", default=True, help="Wait for the end (the default); or submit and leave."
        )
    return lambda function: function


def parameters_from(said: dict[str, Any]) -> dict[str, Any]:
    """The parameters of a flow, of what a command was told. Raises ConfigurationError for JSON that is none."""
    given = dict(said)
    if "metadata" in given:
        given["metadata"] = dict(pair.partition("=")[::2] for pair in given["metadata"])
    if "output_location" in given:
        location = given.pop("output_location")
        given["output_data_config"] = {"s3OutputDataConfig": {"s3Uri": location}} if location else None
    if "models" in given:
        given["models"] = [text_or_json(text) for text in given["models"]]
    return given


def text_or_json(text: str) -> str | dict[str, Any]:
    """A text such as a model id, or what stands in its place in JSON. Raises ConfigurationError."""
    if not text.lstrip().startswith("{"):
        return text
    try:
        found: dict[str, Any] = json.loads(text)
    except ValueError as error:
        raise ConfigurationError(f"{cut(text, 80)!r} is no JSON: {error}") from None
    return found


def output_options(function: F) -> F:
    """`--json` and `--quiet`, which every command has that has something to say."""
    quiet = click.option("--quiet", "-q", is_flag=True, help="Say ids and errors only.")
    as_json = click.option("--json", "as_json", is_flag=True, help="Say it as JSON, on standard output.")
    return as_json(quiet(function))


def sandbox_option(function: F) -> F:
    """`--sandbox`."""
    help_ = "Run in the local sandbox: no AWS, synthetic answers."
    return click.option("--sandbox", is_flag=True, help=help_)(function)


def folder_option(function: F) -> F:
    """`--output-dir`."""
    help_ = "Download the result files into this folder."
    return click.option("--output-dir", type=click.Path(file_okay=False, path_type=Path), help=help_)(function)
