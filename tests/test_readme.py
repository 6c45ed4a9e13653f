"""README.md says what the code does."""

from deployments.support_table import README, renewed


def test_the_table_of_what_is_supported_is_current() -> None:
    text = README.read_text(encoding="utf-8")
    assert renewed(text) == text, "run python -m deployments.support_table"
