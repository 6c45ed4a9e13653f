"""From result tables to the joined table, the numbers and the page, with answers of every kind."""

import base64
import hashlib
import html.parser
import json
import re
from pathlib import Path
from typing import Any

import pytest
import xxhash

from tasks.comparison.cells import harmless
from tasks.comparison.equality import normalise
from tasks.comparison.judge import Judge, _add_up, _lowest
from tasks.comparison.page import Page, markdown
from tasks.comparison.page import html as page_html
from tasks.comparison.reference import Reference
from tasks.comparison.texts import Wanted, asked, keeps_form, valid_calls
from tasks.errors import AccountingError
from tests.comparison.compared import LOST, Compared
from tests.conftest import chat
from tests.fakes import Cloud

EVIL = "<script>alert(1)</script> \"'&` | **b** [x](javascript:alert(1)) \u202e\x00 =1+1"


class Paged(Compared):
    """A comparison and its page, whose names and errors are markup where that can be."""

    def __init__(
        self,
        cloud: Cloud,
        folder: Path,
        lines: list[Any],
        answers: dict[str, list[Any]],
        reference: dict[str, str] | None = None,
        overrides: dict[str, Any] | None = None,
    ) -> None:
        labels = Reference({id: (label,) for id, label in reference.items()}) if reference else None
        evil = {**LOST, "error_message": EVIL}
        super().__init__(cloud, folder, answers, labels, lines=lines, overrides=overrides, lost=evil)

    def page(self, **changes: Any) -> Page:
        base: dict[str, Any] = {"judged": None, "failed": {}, "note": None, "parameters": [("x", EVIL)]}
        return Page(
            id="cmp_1", title=EVIL, made="today", numbers=self.numbers, joined=self.joined, **{**base, **changes}
        )


class Tags(html.parser.HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs


def check_page(text: str) -> None:
    tags = Tags(text)
    assert not {"img", "iframe", "link", "object", "b2"} & set(tags.tags)
    assert not [a for a in tags.attributes if a[0].startswith("on") or a[0] == "src"]
    # Links lead within the page and to the files beside it.
    links = [value or "" for name, value in tags.attributes if name == "href"]
    assert {link for link in links if not link.startswith("#")} <= {"table.parquet", "answers.csv", "comparison.json"}
    anchors = {value for name, value in tags.attributes if name == "id"}
    assert {link[1:] for link in links if link.startswith("#")} <= anchors
    # The data, which no browser runs, and the one script that the policy names.
    scripts = re.findall(r"<script[^>]*>(.*?)</script>", text, re.S)
    assert len(scripts) == tags.tags.count("script") == text.count("<script") == text.count("</script")
    assert len(scripts) in (0, 2)
    policy = next(v for n, v in tags.attributes if n == "content" and "default-src" in (v or "")) or ""
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-")
    if scripts:
        json.loads(scripts[0])
        digest = base64.b64encode(hashlib.sha256(scripts[1].encode()).digest()).decode()
        assert policy.endswith(f"script-src 'sha256-{digest}'")


def test_labels_against_a_reference(cloud: Cloud, tmp_path: Path) -> None:
    lines = [chat(f"r{i}", f"question {i}") for i in range(40)]
    good = ["Yes." if i % 2 else "no" for i in range(40)]
    bad = [*good[:30], *["maybe"] * 5, *[None] * 5]
    reference = {f"r{i}": "yes" if i % 2 else "no" for i in range(40)} | {"extra": "yes"}
    found = Paged(cloud, tmp_path, lines, {"good": good, "bad": bad}, reference)
    numbers = found.numbers
    first, second = numbers.variants
    assert numbers.labels
    assert (numbers.referenced, numbers.missing_references, numbers.extra_references) == (40, 0, 1)
    assert first.accuracy is not None
    assert second.accuracy is not None
    assert (first.accuracy.count, second.accuracy.count, second.accuracy.total) == (40, 30, 40)
    assert (second.answered.count, second.errors) == (35, {f"rate_limit_exceeded: {EVIL[:160]}": 5})
    assert second.confusion is not None
    assert sum(map(sum, second.confusion)) == 40
    assert [sum(row[-2:]) for row in second.confusion] == [5, 5], "another answer, and none"
    (pair,) = numbers.pairs
    assert (pair.both, pair.agreement.count, pair.only_first_right, pair.only_second_right) == (35, 30, 5, 0)
    assert (pair.compared, pair.only_first_right) == (35, 5)
    assert pair.p_value == pytest.approx(0.5**5), "what was throttled says nothing of the model"
    assert pair.kappa is not None
    assert pair.kappa < 1
    assert first.cost_usd == pytest.approx(40 * (100 * 1 + 10 * 10) / 1e6)
    assert second.cost_usd == pytest.approx(35 * (100 * 1 + 10 * 10) / 1e6)
    assert len(found.rows) == 80
    assert {(row["custom_id"], row["variant"]) for row in found.rows} == {
        (f"r{i}", v) for i in range(40) for v in ("good", "bad")
    }
    assert (
        found.rows[0] | {"line": 1, "request": "question 0", "answer": "no", "label": "no", "correct": True}
        == found.rows[0]
    )
    assert found.sheet[1]["good"] == "Yes."
    assert found.sheet[39]["bad: error"].startswith("<script>")
    text = page_html(found.page())
    check_page(text)
    assert "good is the most accurate" in text
    assert "1 label of no request" in text
    assert "✗ wrong" in text


def test_more_labels_than_are_shown(cloud: Cloud, tmp_path: Path) -> None:
    """F1 is over all labels; the matrix shows the most frequent ones."""
    labels = [f"label {number % 30}" for number in range(120)]
    answers = [*labels[:60], *["label 29"] * 60]
    lines = [chat(f"r{i}") for i in range(120)]
    found = Paged(cloud, tmp_path, lines, {"a": answers}, {f"r{i}": label for i, label in enumerate(labels)})
    (variant,) = found.numbers.variants
    assert variant.confusion is not None
    assert (len(variant.confusion), {len(row) for row in variant.confusion}) == (20, {22})
    assert sum(row[20] for row in variant.confusion) == 40, "the other ten labels"
    # 29 labels with recall 1/2 and no false alarm, and one that is always answered.
    assert variant.macro_f1 == pytest.approx((29 * 2 / 3 + 2 * 4 / (4 + 62)) / 30)


def test_texts_without_a_reference(cloud: Cloud, tmp_path: Path) -> None:
    lines = [chat(f"r{i}", EVIL) for i in range(60)]
    first = [f"A long answer of many words, number {i}. " + "and so on " * 20 for i in range(60)]
    second = (
        [text.replace("many", "several") for text in first[:50]]
        + [EVIL] * 4
        + [""] * 2
        + ["x" * 1_000_000] * 3
        + [None]
    )
    found = Paged(cloud, tmp_path, lines, {"first": first, EVIL[:60]: second})
    assert not found.numbers.labels
    (pair,) = found.numbers.pairs
    assert pair.similarity is not None
    assert pair.similarity.value is not None
    assert 0.5 < pair.similarity.value < 1
    assert (pair.both, pair.agreement.count, pair.kappa) == (59, 0, None)
    assert found.numbers.variants[1].empty.count == 2
    page = found.page(failed={EVIL: EVIL})
    check_page(page_html(page))
    assert len(page_html(page)) < 400_000, "answers of a megabyte are cut in the page"
    assert "cannot be told without a reference" in " ".join(page.verdict)
    assert "<script>" not in markdown(page, {"Report": "here"})
    cells = [cell for row in found.sheet for cell in row.values()]
    assert not [cell for cell in cells if cell[:1] in ("=", "+", "@")]


FORMULAS = [
    "=1+1",
    "+1+1",
    "-5+cmd|' /C calc'!A0",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "\n=1",
    " =1",
    "\u00a0-1+1",
    "\ufeff=1",
    "\u200b=1",
    '"=1',
    "'=1",
    "“=1",
    "＝1",
    "＋1+1",
    "－1+1",
    "＠x",
    "-",
    "=",
    "-x",
    "+49 30 1234",
    "-5%0A",
    "-1e5|x",
    "- 5",
    "\x00=1",
    "\u202e=1",
    '""=1',
    "-5\n=1",
    "\tx",
    "\rx",
    "\nx",
    "=" + "x" * 40_000,
]
NUMBERS = ["-5", "+3.2", "-1,234.5", "-.5", "-1e-5", "+7%", "0", "5", "text", "a=1", "", "x-y"]


@pytest.mark.parametrize("text", FORMULAS)
def test_no_cell_is_a_formula(text: str) -> None:
    cell = harmless(text)
    assert cell[0] == "'"
    assert cell[1:].startswith(text[:1000])


@pytest.mark.parametrize("text", NUMBERS)
def test_numbers_and_texts_stay(text: str) -> None:
    assert harmless(text) == text


def test_no_column_of_the_sheet_has_formulas(cloud: Cloud, tmp_path: Path) -> None:
    """Labels in the heading as well; the first characters of the file are the mark of UTF-8 and a quote at most."""
    evil = "-5+cmd|' /C calc'!A0"
    lines = [chat(f"{evil}{i}", evil) for i in range(4)]
    rows = [{"content": evil, "custom_id": f"{evil}{i}"} for i in range(3)] + [
        {"ok": False, "custom_id": f"{evil}3", "error_message": evil, "finish_reason": None}
    ]
    found = Paged(cloud, tmp_path, lines, {evil: rows, "=b": rows}, {f"{evil}{i}": evil for i in range(4)})
    cells = [cell for row in found.sheet for cell in (*row, *row.values())]
    assert len(cells) == 4 * 2 * 7
    assert not [cell for cell in cells if cell[:1] in ("=", "+", "-", "@", "\t", "\r")]
    assert sum(cell.startswith(f"'{evil}") for cell in found.sheet[0].values()) == 5


def test_nothing_in_common(cloud: Cloud, tmp_path: Path) -> None:
    lines = [chat(f"r{i}") for i in range(4)]
    found = Paged(cloud, tmp_path, lines, {"a": ["x", "y", None, None], "b": [None, None, "x", "y"]})
    (pair,) = found.numbers.pairs
    assert (pair.both, pair.agreement.value) == (0, None)
    assert "No request was answered by two models" in " ".join(found.page().verdict)
    check_page(page_html(found.page()))


def test_one_variant_alone(cloud: Cloud, tmp_path: Path) -> None:
    found = Paged(cloud, tmp_path, [chat("r0")], {"a": ["x"]}, {"r0": "x"})
    assert "no other model" in found.page().verdict[0]
    check_page(page_html(found.page()))


def test_all_unanswered(cloud: Cloud, tmp_path: Path) -> None:
    found = Paged(cloud, tmp_path, [chat("r0")], {"a": [None], "b": [None]}, {"r0": "x"})
    check_page(page_html(found.page()))


def test_another_input_is_noticed(cloud: Cloud, tmp_path: Path) -> None:
    with pytest.raises(AccountingError, match="Request 3"):
        Paged(cloud, tmp_path, [chat(f"r{i}") for i in range(4)], {"a": ["x"] * 4, "b": ["x"] * 2})
    with pytest.raises(AccountingError, match="more requests"):
        Paged(cloud, tmp_path, [chat(f"r{i}") for i in range(3)], {"a": ["x"] * 4, "b": ["x"] * 4})


SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
TOOL = {"type": "function", "function": {"name": "f", "parameters": SCHEMA}}


def test_wanted_forms(cloud: Cloud, tmp_path: Path) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}
    lines = [chat(f"r{i}", response_format=form, tools=[TOOL]) for i in range(6)]
    calls = [
        {"tool_calls": f'[["1","{name}",{argument}]]'}
        for name, argument in (("f", '"{\\"n\\":1}"'), ("g", '"{}"'), ("f", '"{"'))
    ]
    found = Paged(cloud, tmp_path, lines, {"a": ['{"n":1}', '{"n":"1"}', "none", *calls]})
    (variant,) = found.numbers.variants
    shares = (variant.json_valid, variant.schema_valid, variant.tool_calls_valid)
    assert [(share.count, share.total) for share in shares if share] == [(2, 3), (1, 3), (1, 3)]
    free = Paged(cloud, tmp_path, lines, {"a": ["x"] * 6}, overrides={"response_format": None})
    assert free.numbers.variants[0].json_valid is None, "the variant's own requests asked for none"


def test_schemas_that_cannot_be_used_are_a_note(cloud: Cloud, tmp_path: Path) -> None:
    """What is paid for is reported; the shares are of what could be checked."""
    unusable = [{"$ref": "http://127.0.0.1:9/x"}, {"$id": "http://[x"}, {"pattern": "(?=a)"}, SCHEMA]
    lines = [
        chat(f"r{i}", response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": unusable[i % 4]}})
        for i in range(8)
    ]
    found = Paged(cloud, tmp_path, lines, {"a": ['{"n":1}'] * 4 + ["{}"] * 4})
    (variant,) = found.numbers.variants
    assert variant.json_valid is not None
    assert variant.schema_valid is not None
    assert (variant.json_valid.count, variant.schema_valid.count, variant.schema_valid.total) == (8, 1, 2)
    assert (variant.schema_unchecked, sum(found.numbers.unchecked.values())) == (6, 6)
    assert "6 answers or tool calls could not be held to the JSON Schema" in " ".join(found.page().verdict)
    text = page_html(found.page())
    check_page(text)
    assert "6 not checkable" in text
    assert "127.0.0.1:9" not in text, "the reason is in our words"


def test_texts() -> None:
    assert normalise(' "**Ｙes!**"\n') == "yes"
    assert normalise("...") == "..."
    assert asked(b"[]").text == ""
    parts = [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "data:x"}}]
    import json

    assert asked(json.dumps(chat("x", messages=[{"role": "user", "content": parts}])).encode()).text == "a\n[image_url]"
    line = {
        "url": "/v1/responses",
        "body": {"input": [{"role": "user", "content": [{"type": "input_text", "text": "q"}]}]},
    }
    assert asked(json.dumps(line).encode()).text == "q"
    assert keeps_form(Wanted(True, b'{"type":"nonsense"}'), "{}") == (True, None), "an unfit schema is nobody's fault"
    assert keeps_form(Wanted(), "x") == (None, None)
    assert valid_calls(Wanted(), None) is None


def test_the_judged_requests_are_those_of_the_lowest_hashes() -> None:
    ids = [f"request-{number % 700}" if number % 9 else None for number in range(2000)]
    ranked = sorted({i for i in ids if i}, key=lambda i: xxhash.xxh3_64_intdigest(i.encode()))
    clusters = {id: number for number, id in enumerate(ranked)}
    for most in (1, 20, 5000):
        assert _lowest(((id, clusters.get(id or "", 0)) for id in ids), most) == set(ranked[:most])
    # Of each cluster one; and no fewer for that.
    pairs = {id: number // 2 for number, id in enumerate(ranked)}
    for most in (1, 20, 5000):
        assert _lowest(((id, pairs.get(id or "", 0)) for id in ids), most) == set(ranked[: 2 * most : 2])


def test_what_a_judge_said_is_added_up() -> None:
    verdicts: dict[tuple[str, int, int], dict[str, str]] = {}
    for number in range(40):
        # The second variant wins three of four; ten pairs go by position.
        won = {"ab": "b", "ba": "a"} if number % 4 else {"ab": "a", "ba": "b"}
        verdicts[str(number), 0, 1] = {"ab": "a", "ba": "a"} if number >= 30 else won
    verdicts["one order", 0, 1] = {"ab": "a"}
    judged = _add_up(Judge("m"), ["x", "y"], "b", verdicts, 2)
    (pair,) = judged.pairs
    assert (pair.first_wins, pair.second_wins, pair.ties, pair.contradictions) == (8, 22, 10, 10)
    assert judged.ranking == [("y", 22 / 30, None), ("x", 8 / 30, None)]
    # R: binom.test(8, 30).
    assert pair.p_value == pair.adjusted_p == pytest.approx(0.01612, abs=1e-5)
    assert (judged.unreadable, judged.first_position.count) == (2, 30 + 20 + 1)
