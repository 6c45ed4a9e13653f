"""A content that is one text: as a string, or as its only part."""

import pytest

from tasks.fast.texts import text_of


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b'"Hi"', b'"Hi"'),
        (b'""', b'""'),
        (rb'"\u00e9\""', rb'"\u00e9\""'),
        (b'[{"type":"text","text":"Hi"}]', b'"Hi"'),
        (rb'[ {"text" : "\n", "type": "text"} ]', rb'"\n"'),
        (b'[{"type":"text","text":"a"},{"type":"text","text":"b"}]', None),
        (b"[]", None),
        (b"null", None),
        (b"7", None),
        (b"{}", None),
        (b'[{"type":"text","text":null}]', None),
        (b'[{"type":"text","text":7}]', None),
        (b'[{"type":"text"}]', None),
        (b'[{"type":"input_text","text":"Hi"}]', None),
        (b'[{"type":"text","text":"Hi","cache_control":{}}]', None),
        (b'[{"type":"image_url","image_url":{"url":"x"}}]', None),
        (b"[" * 5000, None),
        (b'[{"type":"text\xff","text":"Hi"}]', None),
    ],
)
def test_the_text_of_a_content(content: bytes, text: bytes | None) -> None:
    assert text_of(content) == text
