"""Content of messages: texts, pictures and files by what they are, and the arguments of calls."""

import base64
from typing import Any

import pytest

from tasks.codecs.base import Document, Image, Policy, RequestError, Text
from tasks.codecs.endpoints._content import arguments, parse_file, parse_image, parse_parts, text_parts
from tests.codecs.helpers import PNG, refused

HEADS = {
    "png": b"\x89PNG\r\n\x1a\n",
    "jpeg": b"\xff\xd8\xff",
    "gif": b"GIF89a",
    "gif of before": b"GIF87a",
    "webp": b"RIFF\x00\x00\x00\x00WEBP",
}


def encoded(content: bytes) -> str:
    return base64.b64encode(content).decode()


def policy(unsupported: Any = "error", **options: Any) -> Policy:
    return Policy(unsupported, "nova", **options)


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        (None, b"{}"),
        ("", b"{}"),
        ('{"a": [1, "é"]}', '{"a":[1,"é"]}'.encode()),
        ('{"n": 12345678901234567890123}', b'{"n":12345678901234567890123}'),
    ],
)
def test_arguments(text: Any, sent: bytes) -> None:
    assert arguments(text, "x") == sent


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[]", "must be a JSON object in a string."),
        ("null", "must be a JSON object in a string."),
        ({"a": 1}, "must be a JSON object in a string."),
        ("{", "must be a JSON object in a string; it is not parseable as valid JSON"),
        ('{"a": NaN}', "it holds a number"),
        (r'{"a": "\ud800"}', "it holds half of a surrogate pair"),
        ('{"a":' + "[" * 200 + "]" * 200 + "}", "nests more than 200 levels deep"),
    ],
)
def test_what_are_no_arguments(text: Any, why: str) -> None:
    with pytest.raises(RequestError) as caught:
        arguments(text, "calls[0].arguments")
    assert why in caught.value.message
    assert caught.value.param == "calls[0].arguments"


def test_texts() -> None:
    assert text_parts("a", "x") == [Text("a")]
    given = [{"type": "text", "text": "a"}, {"type": "refusal", "refusal": "b"}]
    assert text_parts(given, "x") == [Text("a"), Text("b")]
    assert text_parts([], "x") == []


@pytest.mark.parametrize(
    ("content", "param", "code"),
    [
        (None, "x", "invalid_type"),
        (7, "x", "invalid_type"),
        (["a"], "x[0]", "invalid_value"),
        ([{"type": "text", "text": "a"}, {"type": "text"}], "x[1]", "invalid_value"),
        ([{"type": "image_url", "image_url": {"url": "data:"}}], "x[0]", "invalid_value"),
        ([{"type": "text", "text": None}], "x[0]", "invalid_value"),
    ],
)
def test_what_is_no_text(content: Any, param: str, code: str | None) -> None:
    with pytest.raises(RequestError) as caught:
        text_parts(content, "x")
    assert (caught.value.param, caught.value.code) == (param, code)


def test_parts_in_the_words_of_either_endpoint() -> None:
    url = f"data:image/png;base64,{PNG}"
    pdf = f"data:application/pdf;base64,{encoded(b'%PDF-1.7')}"
    parts = [
        {"type": "text", "text": "a"},
        {"type": "input_text", "text": "b"},
        {"type": "output_text", "text": "c"},
        {"type": "refusal", "refusal": "d"},
        {"type": "image_url", "image_url": {"url": url}},
        {"type": "image_url", "image_url": url},
        {"type": "input_image", "image_url": url},
        {"type": "file", "file": {"file_data": pdf, "filename": "a.pdf"}},
        {"type": "input_file", "file_data": pdf},
    ]
    image, document = Image("png", PNG), encoded(b"%PDF-1.7")
    assert parse_parts(parts, "x", policy()) == [
        *map(Text, "abcd"),
        *[image] * 3,
        Document("pdf", "a", document),
        Document("pdf", "document", document),
    ]
    assert parse_parts("a", "x", policy()) == [Text("a")]


@pytest.mark.parametrize(
    ("content", "param", "code"),
    [
        (None, "x", "invalid_type"),
        ({}, "x", "invalid_type"),
        (["a"], "x[0]", "invalid_value"),
        ([{"type": "video"}], "x[0]", "invalid_value"),
        ([{"type": "text"}], "x[0]", "invalid_value"),
        ([{"type": "refusal"}], "x[0]", "invalid_value"),
        ([{"type": "refusal", "refusal": 7}], "x[0]", "invalid_value"),
        ([{"type": "image_url", "image_url": {}}], "x[0].image_url.url", "invalid_type"),
        ([{"type": "input_image"}], "x[0].image_url", "invalid_type"),
    ],
)
def test_what_is_no_part(content: Any, param: str, code: str | None) -> None:
    with pytest.raises(RequestError) as caught:
        parse_parts(content, "x", policy())
    assert (caught.value.param, caught.value.code) == (param, code)


def test_sound_is_refused_or_left_out() -> None:
    sound = [{"type": "input_audio", "input_audio": {}}, {"type": "text", "text": "a"}]
    with refused("x[0]", "it takes no audio"):
        parse_parts(sound, "x", policy())
    lenient = policy("drop")
    assert parse_parts(sound, "x", lenient) == [Text("a")]
    assert lenient.dropped == {"x[].input_audio": 1}


@pytest.mark.parametrize("kind", sorted(HEADS))
def test_a_picture_is_what_its_bytes_are(kind: str) -> None:
    data = encoded(HEADS[kind] + b"...")
    for label in ("image/png", "IMAGE/JPEG;charset=x", "application/octet-stream"):
        for head in (f"data:{label};base64,", f"DATA:{label};Base64,"):
            assert parse_image(f"{head}{data}", "x", policy()) == Image(kind.partition(" ")[0], data)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("url", "why"),
    [
        (None, "must be a string"),
        ("data:image/png;base64,###", "is not valid base64"),
        (f"data:image/png;base64,{encoded(b'BM....')}", "is not a PNG, JPEG, GIF or WebP"),
        (f"data:image/png;base64,{encoded(b'RIFFxxxxWAVE')}", "is not a PNG"),
    ],
)
def test_what_is_no_picture(url: Any, why: str) -> None:
    for unsupported in ("error", "drop"):
        with pytest.raises(RequestError, match=why):
            parse_image(url, "x", policy(unsupported))


def test_a_picture_elsewhere_is_fetched_by_whoever_may() -> None:
    asked: list[str] = []

    def fetch(url: str) -> bytes:
        asked.append(url)
        return HEADS["gif"]

    for url in ("s3://b/k", "https://example.com/a.png", "http://example.com/a.png"):
        assert parse_image(url, "x", policy(fetch=fetch)) == Image("gif", encoded(HEADS["gif"]))
    assert len(asked) == 3
    with refused("x", "a batch job fetches nothing"):
        parse_image("file:///etc/passwd", "x", policy(fetch=fetch))
    assert len(asked) == 3


def test_one_that_may_not_be_fetched_is_left_out_without_its_number() -> None:
    def fetch(url: str) -> bytes:
        raise RequestError("its host is not a public one.")

    for options in ({}, {"fetch": fetch}):
        lenient = policy("drop", **options)
        assert parse_image("https://10.0.0.1/", "messages[3].content[12].image_url.url", lenient) is None
        assert lenient.dropped == {"messages[].content[].image_url.url": 1}


@pytest.mark.parametrize(
    ("file", "document"),
    [
        ({"file_data": encoded(b"%PDF-1.7"), "filename": "A  b_c?.v2.pdf"}, ("pdf", "A b c v2")),
        ({"file_data": encoded("Grüße".encode()), "filename": "x.txt"}, ("txt", "x")),
        ({"file_data": encoded(b"text"), "filename": "noending"}, ("txt", "document")),
        ({"file_data": encoded(b"text"), "filename": "y" * 300 + ".txt"}, ("txt", "y" * 200)),
        ({"file_data": encoded(b"%PDF-1.7"), "filename": "y" * 300 + ".pdf"}, ("pdf", "y" * 200)),
        ({"file_data": encoded(b"%PDF-1.7"), "filename": "???.pdf"}, ("pdf", "document")),
        ({"file_data": encoded(b"text"), "filename": None}, ("txt", "document")),
    ],
)
def test_files(file: dict[str, Any], document: tuple[Any, str]) -> None:
    assert parse_file(file, "x", policy()) == Document(*document, file["file_data"])


@pytest.mark.parametrize(
    ("file", "why"),
    [
        ({"file_data": "###"}, "'x.file_data' is not valid base64"),
        ({"file_data": encoded(b"\x00\x01")}, "is neither a PDF nor a text"),
        ({"file_data": encoded(b"\xff\xfe")}, "is neither a PDF nor a text"),
        ({"file_data": encoded(b"  ")}, "is neither a PDF nor a text"),
        ({"file_id": "file-1"}, "files by id are at OpenAI"),
        ("file-1", "files by id are at OpenAI"),
    ],
)
def test_what_is_no_file(file: Any, why: str) -> None:
    with pytest.raises(RequestError, match=why):
        parse_file(file, "x", policy())


def test_a_file_by_id_is_left_out() -> None:
    lenient = policy("drop")
    assert parse_file({"file_id": "file-1"}, "messages[0].content[1].file", lenient) is None
    assert lenient.dropped == {"messages[].content[].file": 1}


def test_an_image_by_id_is_named_and_left_out() -> None:
    by_id = {"type": "input_image", "file_id": "file-1"}
    with pytest.raises(RequestError, match="files by id are at OpenAI") as caught:
        parse_parts([by_id], "input[0].content", policy())
    assert caught.value.param == "input[0].content[0].file_id"
    lenient = policy("drop")
    beside = {**by_id, "image_url": f"data:image/png;base64,{PNG}"}
    assert len(parse_parts([by_id, beside], "input[0].content", lenient)) == 1
    assert lenient.dropped == {"input[].content[].file_id": 2}
