"""What Prefect's form and help() say of a flow, and how its runs are called."""

from types import SimpleNamespace
from typing import Annotated, Any, get_type_hints

import pytest
from prefect import flow

from flows import forms
from flows.forms import described_by, run_name, titled
from tasks.batch.parameters import Help, Parameters


class _Two(Parameters):
    first: Annotated[str, Help("The first", "Must be given.")]
    second: Annotated[int, Help("The second", "How many. " * 15 + "End.", {"1": "one"})] = 1


@described_by(_Two)
def described(first: str, second: int = 1, other: bool = False) -> None:
    """Do it.

    Returns:
        Nothing.
    """


def test_titles_are_those_of_the_parameters() -> None:
    properties: dict[str, Any] = flow(described).parameters.properties
    assert [properties[name]["title"] for name in ("first", "second")] == ["The first", "The second"]
    assert properties["other"]["title"].lower() == "other", "as Prefect calls it by itself"
    assert properties["first"]["description"] == "Must be given."
    assert get_type_hints(described)["second"] is int


def test_the_descriptions_stand_before_what_it_returns() -> None:
    lines = (described.__doc__ or "").split("\n")
    assert lines[:4] == ["Do it.", "", "Args:", "    first: Must be given."]
    assert lines[4].startswith("    second: How many.")
    assert lines[5].startswith("        ")
    assert all(len(line) <= 112 for line in lines)
    assert lines[-2:] == ["Returns:", "    Nothing."]
    assert "other:" not in (described.__doc__ or "")


def test_a_function_may_take_some_of_them_and_say_nothing() -> None:
    def bare(second: int) -> None: ...

    text = described_by(_Two)(bare).__doc__ or ""
    assert text.startswith("\n\nArgs:\n    second: ")
    assert "first" not in text


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        (None, "usual"),
        ("", "usual"),
        ("brave-otter", "usual"),
        ("nightly", "nightly"),
        ("run 7", "run 7"),
        ("A-b", "A-b"),
        # Prefect gives two words, and people three.
        ("weekly-eval-run", "weekly-eval-run"),
        ("brave-otter 2", "brave-otter 2"),
    ],
)
def test_a_run_is_called_what_somebody_typed(monkeypatch: pytest.MonkeyPatch, typed: str | None, name: str) -> None:
    monkeypatch.setattr(forms, "current_run", SimpleNamespace(name=typed))
    assert run_name("usual") == name


def test_titles_are_words_and_an_arn_is_one() -> None:
    @titled
    def bare(role_arn: str, batch_id: str, collect: bool = True) -> None: ...

    properties: dict[str, Any] = flow(bare).parameters.properties
    assert [properties[name]["title"] for name in properties] == ["Role ARN", "Batch id", "Collect"]


def test_its_own_arguments_come_last() -> None:
    @described_by(_Two)
    def own(first: str, other: bool) -> None:
        """Do it.

        Args:
            other: Or not.

        Raises:
            ValueError: Never.
        """

    assert (own.__doc__ or "").split("\n") == [
        *("Do it.", "", "Args:", "    first: Must be given.", "    other: Or not.", ""),
        *("Raises:", "    ValueError: Never."),
    ]


def test_before_whichever_section_is_first() -> None:
    @described_by(_Two)
    def both(first: str) -> None:
        """Do it.

        Returns:
            Nothing.

        Raises:
            ValueError: Never.
        """

    text = both.__doc__ or ""
    assert [text.index(part) for part in ("Args:", "first:", "Returns:", "Raises:")] == sorted(
        text.index(part) for part in ("Args:", "first:", "Returns:", "Raises:")
    )
