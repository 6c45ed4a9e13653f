"""Content of messages: text, images and files as parts, and the arguments of tool calls.

Source: https://platform.openai.com/docs/api-reference/chat/create (messages).
"""

import base64
import binascii
import re
from typing import Any, Final

import msgspec

from tasks.codecs.base import Document, Image, Policy, RequestError, Text, dumps
from tasks.codecs.endpoints._fields import unindexed
from tasks.openai_format.faults import MAX_DEPTH, fault_of, nests_too_deeply

_decode_object = msgspec.json.Decoder(dict[str, Any]).decode


_DATA_URL: Final = re.compile(r"data:[\w.+-]+/[\w.+-]+(?:;[\w=.+-]+)*;base64,", re.IGNORECASE)


def arguments(text: Any, where: str) -> bytes:
    """The arguments of a call as the JSON object that they are, compact; `where` is their field."""
    if text is None or text == "":
        return b"{}"
    try:
        # As strict as the reading of the line: no NaN, no number beyond a float, no half of a surrogate pair.
        value = _decode_object(text) if isinstance(text, str) else None
    except (msgspec.DecodeError, RecursionError):
        value = None
    if value is None:
        _, why = fault_of(text) if isinstance(text, str) else (None, None)
        raise RequestError(f"'{where}' must be a JSON object in a string{f'; it {why}' if why else ''}.", where)
    if nests_too_deeply(text.encode()):
        raise RequestError(f"'{where}' nests more than {MAX_DEPTH} levels deep.", where)
    return dumps(value)


def text_parts(content: Any, where: str) -> list[Text]:
    """Content that may hold text only, as system, assistant and refusal content may."""
    if isinstance(content, str):
        return [Text(content)]
    if not isinstance(content, list):
        raise RequestError(f"'{where}' must be a string or a list of parts.", where, "invalid_type")
    parts = []
    for index, part in enumerate(content):
        kind = part.get("type") if isinstance(part, dict) else None
        if kind not in ("text", "refusal") or not isinstance(part.get(kind), str):
            at = f"{where}[{index}]"
            raise RequestError(f"'{at}' must be a text part here.", at)
        parts.append(Text(part[kind]))
    return parts


def parse_parts(content: Any, where: str, policy: Policy) -> list[Text | Image | Document]:
    """Parts of a user message or a tool's result, in the words of chat or of the responses endpoint."""
    if isinstance(content, str):
        return [Text(content)]
    if not isinstance(content, list):
        raise RequestError(f"'{where}' must be a string or a list of parts.", where, "invalid_type")
    parts: list[Text | Image | Document] = []
    for index, part in enumerate(content):
        kind = part.get("type") if isinstance(part, dict) else None
        if kind in ("text", "input_text", "output_text") and isinstance(part.get("text"), str):
            parts.append(Text(part["text"]))
            continue
        found = _parse_part(part, kind, f"{where}[{index}]", policy)
        if found is not None:
            parts.append(found)
    return parts


def _parse_part(part: Any, kind: Any, at: str, policy: Policy) -> Text | Image | Document | None:
    """A part that is no plain text; None for what is left out, and counted."""
    if kind == "refusal" and isinstance(part.get("refusal"), str):
        return Text(part["refusal"])
    if kind == "image_url":
        image = part.get("image_url")
        return parse_image(image.get("url") if isinstance(image, dict) else image, f"{at}.image_url.url", policy)
    if kind == "input_image":
        if part.get("file_id") is not None:
            _refuse_id(f"{at}.file_id", policy)
            if part.get("image_url") is None:
                return None
        return parse_image(part.get("image_url"), f"{at}.image_url", policy)
    if kind == "file":
        return parse_file(part.get("file"), f"{at}.file", policy)
    if kind == "input_file":
        return parse_file(part, at, policy)
    if kind == "input_audio":
        policy.refuse(f"{at}", "it takes no audio.", count_as=f"{unindexed(at)}.input_audio")
        return None
    raise RequestError(f"'{at}' is not a content part of a known type.", at)


def parse_image(url: Any, where: str, policy: Policy) -> Image | None:
    """An image by URL: a data URL, or an s3:// or http(s) reference that the policy may fetch."""
    if not isinstance(url, str):
        raise RequestError(f"'{where}' must be a string.", where, "invalid_type")
    head = _DATA_URL.match(url)
    if head is not None:
        data = url[head.end() :]
        return Image(_image_format(_decoded(data, where), where), data)
    content = _fetched(url, where, policy)
    if content is None:
        return None
    return Image(_image_format(content, where), base64.b64encode(content).decode())


def _fetched(url: str, where: str, policy: Policy) -> bytes | None:
    if policy.fetch is not None and url.startswith(("s3://", "http://", "https://")):
        try:
            return policy.fetch(url)
        except RequestError as error:
            policy.refuse(where, error.message, count_as=unindexed(where))
            return None
    policy.refuse(
        where, "a batch job fetches nothing; put the content into a base64 data URL.", count_as=unindexed(where)
    )
    return None


def _decoded(data: str, where: str) -> bytes:
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        raise RequestError(f"'{where}' is not valid base64.", where) from None


def _image_format(content: bytes, where: str) -> Any:
    """png, jpeg, gif or webp by content: labels in data URLs are often wrong, and Bedrock checks."""
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if content.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if content.startswith((b"GIF87a", b"GIF89a")):
        return "gif"
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "webp"
    raise RequestError(f"'{where}' is not a PNG, JPEG, GIF or WebP image.", where)


def _refuse_id(where: str, policy: Policy) -> None:
    policy.refuse(where, "files by id are at OpenAI; give the content as a data URL.", count_as=unindexed(where))


def parse_file(file: Any, where: str, policy: Policy) -> Document | None:
    """A `file` part with its content: a PDF, or text in UTF-8."""
    data = file.get("file_data") if isinstance(file, dict) else None
    if not isinstance(data, str):
        _refuse_id(where, policy)
        return None
    head = _DATA_URL.match(data)
    data = data[head.end() :] if head else data
    content = _decoded(data, f"{where}.file_data")
    # Document names may hold letters, digits, single spaces, hyphens, parentheses and brackets.
    name = re.sub(r"[^A-Za-z0-9()\[\]-]+", " ", str(file.get("filename") or "document").rpartition(".")[0]).strip()
    if content.startswith(b"%PDF-"):
        return Document("pdf", name[:200] or "document", data)
    try:
        text = content.decode()
    except UnicodeDecodeError:
        text = "\x00"
    if "\x00" in text or not text.strip():
        raise RequestError(f"'{where}' is neither a PDF nor a text in UTF-8.", where)
    return Document("txt", name[:200] or "document", data)
