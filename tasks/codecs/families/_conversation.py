"""What a model does not take of a conversation's history: thoughts of others, and beginnings of answers."""

import hashlib
import re
from typing import Any, Final

import msgspec

from tasks.bedrock.capabilities import Capabilities
from tasks.codecs.base import Chat, Policy, Thinking, ToolCall, ToolResult


def continue_thinking(
    chat: Chat, thinking: dict[str, Any] | None, policy: Policy, given: str = "reasoning_effort"
) -> dict[str, Any] | None:
    """Claude's `thinking` as the history allows it; earlier thoughts stay only where Claude thinks.

    With a budget (3.7 to 4.5), the turn that tools have just answered must begin with the thoughts that led to the
    calls: without them, Claude cannot think in this turn. And it cannot go on from the beginning of an answer.
    """
    thinks = thinking is not None and thinking.get("type") != "disabled"
    if thinking is not None and thinking.get("type") == "enabled" and _lacks_thoughts(chat):
        policy.refuse(
            given,
            "the last tool calls are there without the thinking that led to them. Send assistant messages back with "
            "their thinking_blocks.",
        )
        thinking, thinks = None, False
    if thinks and begins_answer(chat):
        policy.refuse(given, "Claude cannot think and go on from the beginning of an answer.")
        thinking, thinks = None, False
    if not thinks:
        chat.leave_out_thinking(policy)
    return thinking


def _lacks_thoughts(chat: Chat) -> bool:
    if len(chat.turns) < 2 or not any(isinstance(part, ToolResult) for part in chat.turns[-1].parts):
        return False
    parts = chat.turns[-2].parts
    return any(isinstance(part, ToolCall) for part in parts) and not isinstance(parts[0], Thinking)


def begins_answer(chat: Chat) -> bool:
    """Whether the last turn is the beginning of an answer that the model is to go on from."""
    return chat.turns[-1].role == "assistant"


def check_beginning(chat: Chat, facts: Capabilities, policy: Policy, *, formatted: bool) -> None:
    """Refuse the beginning of an answer, or leave it out, where the model would not go on from it."""
    if not begins_answer(chat) or (facts.prefill and not formatted):
        return
    why = "the last message must be the user's: this model does not go on from the beginning of an answer."
    if facts.prefill:
        why = "the beginning of an answer cannot stand beside a response_format."
    policy.refuse("messages", why, count_as="messages[] (beginning of the answer)")
    chat.turns.pop()


_SHORT_ID: Final = re.compile(r"[a-zA-Z0-9]{9}")


def shorten_tool_ids(chat: Chat) -> None:
    """Ids of nine letters and digits, which is all that Mistral's models take."""
    for turn in chat.turns:
        for place, part in enumerate(turn.parts):
            if isinstance(part, ToolCall | ToolResult) and not _SHORT_ID.fullmatch(part.id):
                short = hashlib.sha256(part.id.encode("utf-8", "surrogatepass")).hexdigest()[:9]
                turn.parts[place] = msgspec.structs.replace(part, id=short)
