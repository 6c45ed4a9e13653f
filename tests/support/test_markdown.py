"""No text of a user or a model is markup in the Prefect UI: rendered, every one reads as it was written."""

import html
import re
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from tasks.batch.document import BatchDocument, BedrockSection
from tasks.batch.paths import BatchRef
from tasks.report import summary_markdown
from tasks.storage.uris import S3Uri
from tasks.support.markdown import MOST_CHARACTERS, code, one_line, plain
from tests.occurring import happened, occurring

RENDERER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
HOSTILE = [
    "![](http://evil.example/x.png)", "[x](javascript:alert(1))", "<img src=x onerror=alert(1)>", "<javascript:alert(1)>",
    "http://evil.example", "https://evil.example/a_b", "www.evil.example", "WWW.evil.example", "mallory@evil.example",
    "[x][y]", "[x]: http://evil.example", "&lt;b&gt;", "&#60;b&#62;", "`code`", "``", "a | b |", "**b** __b__ *i* _i_ ~~s~~",
    "# heading", "#", "> quote", "- item", "+ item", "* item", "1. item", "1) item", "123456789. x", "---", "===", "***",
    "```\ncode", "    indented", "\tindented", "a\nb", "a  \nb", "a\\", "\\", "\\|", "\\[x](http://y)", "|---|", "a\r\n# b",
    "\u202ereversed", "zero\u200bwidth www\u200b.evil.example", "\x00\x1b[31mred", "<!-- x", "<?x", "<![CDATA[x]]>", "$x$",
    "a\u2028b", "\ud800", "![x]: <y>", "[^1]", ":smile:", "{{ x }}", "<a\nhref=x>", "data:text/html,x", "!", "![", "](", "x" * 9999,
]  # fmt: skip
texts = st.sampled_from(HOSTILE) | st.text() | st.text("\\`*_{}[]()#+-.!|<>&~:/@=$ \nab1w\"'", max_size=40)
#: What GFM makes a link of without any mark: https://github.github.com/gfm/#autolinks-extension-.
AUTOLINK = re.compile(r"(?:https?|ftp)://|www\.|[\w.+-]@[\w-]+\.\w|(?:mailto|xmpp|javascript|data):", re.IGNORECASE)


def kinds(tokens: Any) -> set[str]:
    return {token.type for token in tokens} | {k for token in tokens for k in kinds(token.children or ())}


@occurring(hostile=5)
@given(texts)
def test_plain_reads_as_it_was_written(text: str) -> None:
    shown = plain(text)
    happened("hostile", kinds(RENDERER.parse(text)) - {"paragraph_open", "inline", "text", "paragraph_close"})
    assert "\n" not in shown
    assert not AUTOLINK.search(shown)
    assert kinds(RENDERER.parse(shown)) <= {"paragraph_open", "inline", "text", "paragraph_close"}
    rendered = html.unescape(RENDERER.render(shown)).removeprefix("<p>").removesuffix("</p>\n")
    assert rendered == one_line(text)


@occurring(pipes=1)
@given(texts, texts)
def test_a_row_of_a_table_stays_one(first: str, second: str) -> None:
    tokens = RENDERER.parse(f"| a | b |\n|---|---|\n| {plain(first)} | {code(second)}, line 1 |\n| last | one |")
    happened("pipes", "|" in first + second)
    cells = [token.content for token in tokens if token.type == "inline"]
    assert len(cells) == 6
    assert cells[4:] == ["last", "one"]
    assert (
        kinds(tokens) & {"link_open", "image", "html_inline", "html_block", "em_open", "strong_open", "s_open"} == set()
    )


@occurring(quoted=1)
@given(texts)
@example("`` ` ``")
def test_code_is_only_that(text: str) -> None:
    tokens = RENDERER.parse(code(text))
    happened("quoted", "`" in text)
    assert kinds(tokens) <= {"paragraph_open", "inline", "code_inline", "text", "paragraph_close"}
    assert [child.type for token in tokens for child in token.children or ()] == ["code_inline"]


def test_one_line() -> None:
    assert one_line(" a\n\tb\x1b[0m\u202e\u200bc\ud800 ") == "a b[0mc"
    assert MOST_CHARACTERS == 500
    assert one_line("x" * 9999) == "x" * MOST_CHARACTERS + "…"


@pytest.mark.parametrize("text", HOSTILE)
def test_the_summary_of_a_batch(text: str) -> None:
    from tasks.results.totals import RangeResult

    section = BedrockSection(model=text, base_model=text, family="f", options={}, limits={})
    section.dropped_fields, section.warnings = {text: 3}, [text]
    document = BatchDocument(
        id="batch_1", endpoint="/v1/chat/completions", model=text, input_file_id=text, completion_window="24h",
        status="completed", created_at=1, bedrock=section, output_file=f"s3://b/{text}",
    )  # fmt: skip
    results = [RangeResult(0, causes={text: (2, text, 7)})]
    shown = summary_markdown(BatchRef(S3Uri("bucket", "prefix"), "batch_1"), document, results)
    tokens = RENDERER.parse(shown)
    assert not kinds(tokens) & {"link_open", "image", "html_inline", "html_block", "em_open", "s_open", "fence"}
    assert kinds(RENDERER.parse("\n".join(shown.splitlines()))) >= {"table_open"}
    assert not AUTOLINK.search(re.sub(r"`[^`]*`", "", shown))


def test_code_ends_neither_itself_nor_a_cell() -> None:
    shown = code("a`b|c\nd")
    assert shown[0] == shown[-1] == "`"
    assert not set("`|\n") & set(shown[1:-1])
