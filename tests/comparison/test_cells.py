"""Cells that no spreadsheet takes for a formula."""

import pytest

from tasks.comparison.cells import harmless


@pytest.mark.parametrize(
    "cell", ["", "text", "a=b", "1", "-1.5", "+2", "-3 %", "1,234.5", "-1e5", "-.5", "'quoted'", "(=x)", "é"]
)
def test_what_is_none_stays(cell: str) -> None:
    assert harmless(cell) == cell


@pytest.mark.parametrize(
    "cell",
    [
        "=1+1",
        "+A1",
        "-A1",
        "@SUM(A1)",
        "-1-1",
        "+1;cmd",
        "\t=1",
        "\rx",
        "\nx",
        " =1",
        "\u200b=1",
        "\ufeff+A1",
        '"=1',
        "'=1",
        # The wide forms of East Asian keyboards.
        "＝1",
        "＠A1",
        "－A1",
        "\u00a0＋A1",
        "-１",
    ],
)
def test_what_may_be_one_begins_with_an_apostrophe(cell: str) -> None:
    assert harmless(cell) == f"'{cell}"


def test_nothing_is_an_empty_cell() -> None:
    assert harmless(None) == ""


def test_what_no_cell_holds_is_cut_and_said() -> None:
    assert harmless("x" * 32_000) == "x" * 32_000
    assert harmless("x" * 32_001) == "x" * 32_000 + "… (32,001 characters)"
    assert harmless("=" * 40_000).startswith("'===")
