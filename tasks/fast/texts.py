"""A message's content, where it is one text and nothing else."""

from typing import Literal

import msgspec

_QUOTE = ord('"')


class _Text(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    type: Literal["text"]
    text: msgspec.Raw


_decode = msgspec.json.Decoder(list[_Text]).decode


def text_of(content: bytes) -> bytes | None:
    """The JSON string that a content is, or that its only part holds; None for any other content."""
    if content[0] == _QUOTE:
        return content
    try:
        parts = _decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    text = bytes(parts[0].text) if len(parts) == 1 else b"null"
    return text if text[0] == _QUOTE else None
