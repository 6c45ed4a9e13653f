"""Reasoning effort and thinking, in a model's own words, and what may not stand beside them."""

from typing import Any, Final

from tasks.bedrock.capabilities import Capabilities
from tasks.codecs.base import EFFORTS, Chat, Policy
from tasks.codecs.families._common import take

#: Thinking tokens for OpenAI's efforts; Claude takes 1,024 or more.
LEAST_BUDGET: Final = 1024
_BUDGETS: Final = {"minimal": 1024, "low": 2048, "medium": 8192, "high": 16_384, "xhigh": 32_768, "max": 49_152}
#: What an answer may need beside its thoughts, where the request sets no limit.
_ROOM_TO_THINK: Final = 32_000
#: The types of `thinking` that take nothing more, and what is said to a model that has none of the kind.
_KINDS: Final = {
    "adaptive": "this model does not think adaptively.",
    "between_tools": "this model does not think between tools only.",
}
_KEYS: Final = frozenset({"type", "budget_tokens", "display"})


def effort_word(effort: str, facts: Capabilities) -> str | None:
    """The model's word for an effort: its own, else the next one below, else its least. None where it has none."""
    words = [word for word in facts.efforts if EFFORTS.index(word) <= EFFORTS.index(effort)]
    words = words or list(facts.efforts[:1])
    return words[-1] if words else None


def refuse_effort(chat: Chat, facts: Capabilities, policy: Policy) -> None:
    """Refuse an effort that the model cannot be given, unless it asks for what happens anyway."""
    effort = chat.reasoning_effort
    if effort is None or (effort == "none" and facts.thinking_off == "omit"):
        return
    policy.refuse(
        "reasoning_effort",
        "this model cannot be kept from thinking." if effort == "none" else "this model has no such setting.",
    )


def claude_thinking(
    chat: Chat, facts: Capabilities, policy: Policy, output_config: dict[str, Any], *, forced: bool
) -> dict[str, Any] | None:
    """`thinking` for a Claude: as it was given, or by `reasoning_effort`; `output_config` gets the effort.

    Sets max_tokens where none was given, and clears the sampling fields that may not stand beside it. `forced`: the
    request makes the model call a tool.
    """
    given, effort = take(chat, "thinking"), chat.reasoning_effort
    if given is None and effort is None:
        return None
    field = "reasoning_effort" if given is None else "thinking"
    thinking = _by_effort(chat, facts, policy) if given is None else _as_given(given, chat, facts, policy)
    if thinking is None or thinking.get("type") == "disabled":
        return thinking
    if forced:
        policy.refuse(field, "thinking and a forced tool call exclude each other.")
        return None
    if effort is not None and effort != "none":
        word = effort_word(effort, facts)
        if thinking["type"] == "adaptive" and word is not None:
            output_config["effort"] = word
        elif given is not None:
            policy.refuse("reasoning_effort", "'thinking' already says how much it thinks.")
    _room(chat, facts, thinking)
    _clear_sampling(chat, policy)
    return thinking


def _as_given(given: Any, chat: Chat, facts: Capabilities, policy: Policy) -> dict[str, Any] | None:
    """The request's own `thinking`, if the model takes it."""
    kind = given.get("type") if isinstance(given, dict) else None
    if kind == "disabled":
        if facts.thinking_off == "never":
            least = ' It takes {"type": "between_tools"} at the least.' if "between_tools" in facts.thinking else ""
            policy.refuse("thinking", f"this model cannot be kept from thinking.{least}")
        return given if facts.thinking_off == "disabled" else None
    if kind == "enabled":
        return _budget_as_given(given, chat, facts, policy)
    if kind not in _KINDS:
        policy.refuse("thinking", "its type must be enabled, adaptive or disabled.")
        return None
    if kind not in facts.thinking:
        policy.refuse("thinking", _KINDS[kind])
        return None
    return _known_keys(given, policy)


def _known_keys(given: dict[str, Any], policy: Policy) -> dict[str, Any]:
    """The request's own `thinking` without what no model reads."""
    for key in given.keys() - _KEYS:
        policy.refuse(f"thinking.{key}", "no model reads it.")
    return {key: value for key, value in given.items() if key in _KEYS}


def _budget_as_given(given: dict[str, Any], chat: Chat, facts: Capabilities, policy: Policy) -> dict[str, Any] | None:
    budget = given.get("budget_tokens")
    if "budget" not in facts.thinking:
        how = '{"type": "adaptive"} and reasoning_effort' if "adaptive" in facts.thinking else "nothing of the kind"
        policy.refuse("thinking", f"this model takes no budget of thinking; it takes {how}.")
    elif not isinstance(budget, int) or budget < LEAST_BUDGET:
        policy.refuse("thinking.budget_tokens", f"it must be a whole number of {LEAST_BUDGET:,} or more.")
    elif chat.max_tokens is not None and budget >= chat.max_tokens:
        policy.refuse("thinking.budget_tokens", f"it must be below max_tokens, which is {chat.max_tokens:,}.")
    elif facts.max_tokens is not None and budget >= facts.max_tokens:
        policy.refuse("thinking.budget_tokens", f"it must be below the model's {facts.max_tokens:,} tokens.")
    else:
        return _known_keys(given, policy)
    return None


def _by_effort(chat: Chat, facts: Capabilities, policy: Policy) -> dict[str, Any] | None:
    effort = chat.reasoning_effort
    if effort == "none":
        if facts.thinking_off == "never":
            refuse_effort(chat, facts, policy)
        return {"type": "disabled"} if facts.thinking_off == "disabled" else None
    if effort is None or not facts.thinking:
        refuse_effort(chat, facts, policy)
        return None
    if "adaptive" in facts.thinking:
        return {"type": "adaptive"}
    budget = _BUDGETS[effort]
    if chat.max_tokens is not None and chat.max_tokens <= LEAST_BUDGET:
        policy.refuse("reasoning_effort", f"thinking takes {LEAST_BUDGET:,} tokens and max_tokens must be above.")
        return None
    if chat.max_tokens is not None:
        # max_tokens covers thinking and answer, at OpenAI as here: half of a small one is left for the answer.
        budget = min(budget, max(LEAST_BUDGET, chat.max_tokens // 2))
    elif facts.max_tokens is not None:
        budget = min(budget, facts.max_tokens - (facts.default_max_tokens or 0))
    return {"type": "enabled", "budget_tokens": budget}


def _room(chat: Chat, facts: Capabilities, thinking: dict[str, Any]) -> None:
    """max_tokens where none was given: it covers the thoughts as well."""
    if chat.max_tokens is not None:
        return
    answer = facts.default_max_tokens or 8192
    wanted = answer + thinking["budget_tokens"] if thinking["type"] == "enabled" else max(answer, _ROOM_TO_THINK)
    chat.max_tokens = min(wanted, facts.max_tokens) if facts.max_tokens is not None else wanted


def _clear_sampling(chat: Chat, policy: Policy) -> None:
    """Beside thinking, temperature is 1, top_p 0.95 or more, and top_k not there."""
    top_k = chat.rest.get("top_k")
    for field, refused in (
        ("temperature", chat.temperature not in (None, 1)),
        ("top_p", chat.top_p is not None and chat.top_p < 0.95),
        ("top_k", top_k is not None),
    ):
        if refused:
            policy.refuse(field, "it cannot be set while Claude thinks.")
    chat.temperature = None
    chat.top_p = None if chat.top_p is None or chat.top_p < 0.95 or chat.top_p == 1 else chat.top_p
    chat.rest.pop("top_k", None)
