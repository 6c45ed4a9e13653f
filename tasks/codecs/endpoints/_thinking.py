"""Thoughts that a model wants back in the next turn: how answers carry them, and how they are read from a history.

Chat has no word for them at OpenAI. Clients of Claude through chat completions have `thinking_blocks` (LiteLLM), or
Anthropic's own `content_blocks` (Portkey); the responses endpoint has `encrypted_content` of reasoning items.
"""

import base64
import binascii
from typing import Any, Final

import msgspec

from tasks.codecs.base import Thinking

#: What tells ours from content that OpenAI has sealed.
_SEAL: Final = "bedrock:"

#: The types of Anthropic's blocks that hold thoughts.
THINKING_KINDS: Final = ("thinking", "redacted_thinking")

_decode_sealed = msgspec.json.Decoder(list[dict[str, str]]).decode


def thinking_blocks(thinking: list[Thinking]) -> list[dict[str, str]]:
    """Anthropic's own blocks of some thoughts."""
    return [_block(each) for each in thinking]


def _block(thinking: Thinking) -> dict[str, str]:
    if thinking.redacted is not None:
        return {"type": "redacted_thinking", "data": thinking.redacted}
    block = {"type": "thinking", "thinking": thinking.text}
    return block | {"signature": thinking.signature} if thinking.signature is not None else block


def parse_blocks(blocks: Any) -> list[Thinking]:
    """The thoughts among some blocks that can be sent again; others are none of a conversation."""
    found: list[Thinking] = []
    for block in blocks if isinstance(blocks, list) else ():
        kind = block.get("type") if isinstance(block, dict) else None
        if kind == "thinking" and isinstance(block.get("signature"), str) and isinstance(block.get("thinking"), str):
            found.append(Thinking(block["thinking"], block["signature"]))
        elif kind == "redacted_thinking" and isinstance(block.get("data"), str):
            found.append(Thinking("", redacted=block["data"]))
    return found


def seal(thinking: list[Thinking]) -> str:
    """The `encrypted_content` of a reasoning item."""
    return _SEAL + base64.b64encode(msgspec.json.encode(thinking_blocks(thinking))).decode()


def unseal(content: Any) -> list[Thinking]:
    """The thoughts that `seal` has put into a reasoning item; none of what OpenAI has sealed for itself."""
    if not isinstance(content, str) or not content.startswith(_SEAL):
        return []
    try:
        return parse_blocks(_decode_sealed(base64.b64decode(content.removeprefix(_SEAL), validate=True)))
    except (binascii.Error, msgspec.DecodeError, ValueError):
        return []
