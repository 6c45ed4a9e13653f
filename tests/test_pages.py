"""The pages say what the code does, and name what is there."""

import re
from pathlib import Path

import pytest

from deployments import parameter_table
from deployments.support_table import PAGE, renewed
from tasks.batch.parameters import BatchParameters
from tasks.comparison.parameters import ComparisonParameters

ROOT = Path(__file__).resolve().parents[1]
PAGES = [*ROOT.glob("*.md"), *(ROOT / "deployments" / "docs").glob("*.md")]
#: What is in the repository's folders; not the paths of URLs.
_PATH = re.compile(r"(?<![\w/.])(?:tasks|flows|tests|deployments|\.ci)/(?:[\w./-]*[\w/])?")
_LINK = re.compile(r"\]\((?!https?:)([^)#]*)(?:#([^)]+))?\)")
_VARIABLE = re.compile(r"BEDROCK_BATCH_[A-Z_]+[A-Z]")


def _text(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def _anchors(page: Path) -> set[str]:
    """As GitHub makes them of headings."""
    headings = re.findall(r"^#+ (.+)$", _text(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_table_of_what_is_supported_is_current() -> None:
    text = _text(PAGE)
    assert renewed(text) == text, "run python -m deployments.support_table"


def test_the_tables_of_parameters_are_current() -> None:
    for page, parameters in (
        (parameter_table.PAGE, BatchParameters),
        (parameter_table.COMPARING, ComparisonParameters),
    ):
        text = _text(page)
        assert parameter_table.renewed(text, parameters) == text, "run python -m deployments.parameter_table"


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_bytes()) < 10_000


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for path, anchor in _LINK.findall(_text(page)):
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), path
        assert not anchor or anchor in _anchors(target), f"{path}#{anchor}"


def test_what_is_named_is_there() -> None:
    targets = set(re.findall(r"^([a-z-]+):", _text(ROOT / "Makefile"), re.MULTILINE))
    missing = set()
    for page in PAGES:
        missing |= {f"{page.name}: {path}" for path in _PATH.findall(_text(page)) if not (ROOT / path).exists()}
        missing |= {
            f"{page.name}: make {name}" for name in re.findall(r"`make ([a-z-]+)`", _text(page)) if name not in targets
        }
    assert not missing


def test_every_variable_is_on_the_page_of_parameters() -> None:
    code = "".join(_text(path) for folder in ("tasks", "flows") for path in (ROOT / folder).rglob("*.py"))
    page = _text(ROOT / "deployments" / "docs" / "parameters.md")
    assert set(_VARIABLE.findall(code)) <= set(_VARIABLE.findall(page))
