"""What the families share that take one prompt string: the text of a chat, made safe and put into a template."""

import base64
import re
from typing import Any

from tasks.bedrock.capabilities import capabilities_of
from tasks.bedrock.models import Model
from tasks.codecs.base import (
    Chat,
    Document,
    Image,
    PlainForm,
    Policy,
    RequestError,
    Text,
    ToolCall,
    ToolResult,
    Turn,
)
from tasks.codecs.families._thinking import refuse_effort
from tasks.openai_format.requests import CHAT, COMPLETIONS, RESPONSES


class GeneralCodec:
    """A codec of chat models all of whose requests go the general way."""

    endpoints = frozenset({CHAT, COMPLETIONS, RESPONSES})
    tidy = None
    replays_thinking = False

    def plain_form(self, model: Model) -> PlainForm | None:
        return None


def neutralise(text: str, tokens: re.Pattern[str]) -> str:
    """Text in which none of a template's tokens is one any more: a user must not be able to speak as the system.

    A zero-width space after the first character keeps it readable and takes its meaning.
    """
    return tokens.sub(lambda found: found[0][0] + "\u200b" + found[0][1:], text)


def plain_text(turn: Turn, family: str, policy: Policy) -> str:
    """The text of a turn, for a prompt; everything else is refused."""
    texts = []
    for part in turn.parts:
        match part:
            case Text(text):
                texts.append(text)
            case Document("txt", name, data):
                texts.append(f"{name}:\n{base64.b64decode(data).decode()}")
            case Image() | Document():
                policy.refuse(
                    "messages[].content[]",
                    f"{family} takes text only.",
                    count_as=f"messages[].content[] ({part.format})",
                )
            case ToolCall() | ToolResult():
                policy.refuse_always("messages[].tool_calls", f"{family} takes no tools in its prompt.")
    if not texts:
        raise RequestError(f"'messages' holds a message without content that {family} takes.", "messages")
    return "\n\n".join(texts)


def refuse_tools(chat: Chat, family: str, model: Model, policy: Policy) -> None:
    if chat.tools:
        policy.refuse("tools", f"{family} takes no tools in its prompt.")
    if chat.json_format is not None:
        policy.refuse("response_format", f"{family} has no structured output.")
    refuse_effort(chat, capabilities_of(model), policy)


def kept(**values: Any) -> dict[str, Any]:
    """The values that are there."""
    return {name: value for name, value in values.items() if value is not None and value != []}
