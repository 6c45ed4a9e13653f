"""The turns of a conversation put into the one order that every target takes, where that says the same.

Sources: Anthropic's and Bedrock's errors for conversations that OpenAI's models answer, as users reported them: turns
must alternate and begin with the user's, each call of a tool has an id of its own and is answered once, at the
beginning of the next turn, and names of tools are of `[a-zA-Z0-9_-]{1,64}`.
"""

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

from tasks.codecs.base import Part, Policy, RequestError, Text, Thinking, ToolCall, ToolResult, Turn

#: What the user says where a conversation begins without the user: OpenAI's models answer that, too.
_OPENING: Final = "Please begin."

_TOOL_NAME: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_NO_NAME: Final = re.compile(r"[^a-zA-Z0-9_-]+")


class Conversation(NamedTuple):
    """Turns in order, and the names of tools that were changed: the new one to the one that was given."""

    turns: list[Turn]
    names: dict[str, str]


def settle(
    turns: list[Turn], policy: Policy, field: str, *, system: bool = False, declared: Iterable[str] = ()
) -> Conversation:
    """Turns as every target wants them; they stand in `field` of the body.

    `system` tells whether there is a system text, which alone is enough to be answered, and `declared` which tools
    there are. Raises RequestError for what has no such order: OpenAI refuses the same.
    """
    settled, names = _merged(turns), dict[str, str]()
    if not _in_order(settled):
        if _pair(settled, policy, field):
            settled = _merged(settled)
        for turn in settled:
            turn.parts.sort(key=_rank)
        names = _rename(settled, set(declared))
    if not settled and not system:
        raise RequestError(f"'{field}' holds no user message with content.", field)
    if not settled or settled[0].role == "assistant":
        settled.insert(0, Turn("user", [Text(_OPENING)]))
    last = settled[-1]
    if last.role == "assistant" and isinstance(last.parts[-1], Text):
        # The beginning of an answer that the model goes on from: Claude refuses white space at its end.
        last.parts[-1] = Text(last.parts[-1].text.rstrip())
    return Conversation(settled, names)


def _in_order(turns: list[Turn]) -> bool:
    """Whether calls and results stand as they must, as nearly always: results first, calls last, all of them paired."""
    used: set[str] = set()
    waiting: list[str] = []
    for turn in turns:
        calls: list[str] = []
        others = False
        for part in turn.parts:
            if type(part) is ToolResult:
                if others or part.id not in waiting:
                    return False
                waiting.remove(part.id)
            elif type(part) is ToolCall:
                if part.id in used or not _TOOL_NAME.fullmatch(part.name):
                    return False
                used.add(part.id)
                calls.append(part.id)
            elif calls:
                return False
            else:
                others = True
        if waiting:
            return False
        waiting = calls
    return not waiting


def is_blank(part: Part) -> bool:
    return isinstance(part, Text) and not part.text.strip()


def _merged(turns: list[Turn]) -> list[Turn]:
    """Turns that alternate, without blank texts and without thoughts that nothing was said to."""
    merged: list[Turn] = []
    for turn in turns:
        parts = [part for part in turn.parts if not (type(part) is Text and not part.text.strip())]
        if merged and merged[-1].role == turn.role:
            merged[-1].parts += parts
        elif parts:
            merged.append(Turn(turn.role, parts))
    for turn in merged:
        if type(turn.parts[-1]) is Thinking:
            break
    else:
        return merged
    said = [turn for turn in merged if not all(isinstance(part, Thinking) for part in turn.parts)]
    return said if len(said) == len(merged) else _merged(said)


def _rank(part: Part) -> int:
    """Results come before what the user says beside them, and calls after what the assistant says."""
    return -1 if isinstance(part, ToolResult) else 1 if isinstance(part, ToolCall) else 0


def _pair(turns: list[Turn], policy: Policy, field: str) -> bool:
    """Give each call an id of its own, and each the one result that the next turn has for it.

    Returns whether calls were left out for want of one.
    """
    used: set[str] = set()
    nobody, left_out = Turn("user", []), False
    for place, turn in enumerate(turns):
        if place == 0:
            # Nothing was called before it.
            _answer([], turn, field)
        if turn.role == "assistant":
            calls = [part for part in turn.parts if type(part) is ToolCall]
            following = turns[place + 1] if place + 1 < len(turns) else nobody
            numbered = [(call.id, _numbered(call, used)) for call in calls]
            answered = _answer(numbered, following, field)
            kept = [call for _, call in numbered if call.id in answered]
            if len(kept) < len(calls):
                policy.refuse(
                    f"{field}[].tool_calls",
                    "each call must have its result in the messages that follow it.",
                    count_as=f"{field}[].tool_calls (without a result)",
                )
                left_out = True
            if calls:
                turn.parts = [*(part for part in turn.parts if type(part) is not ToolCall), *kept]
    return left_out


def _numbered(call: ToolCall, used: set[str]) -> ToolCall:
    own = _unused(call.id, used)
    return call if own == call.id else ToolCall(own, call.name, call.arguments)


def _unused(id: str, used: set[str]) -> str:
    """An id that no other call of the conversation has."""
    number, own = 1, id
    while own in used:
        number += 1
        own = f"{id}_{number}"
    used.add(own)
    return own


def _answer(calls: list[tuple[str, ToolCall]], turn: Turn, field: str) -> set[str]:
    """Let the results in a turn name the calls before it; several for one call become one. Returns the answered."""
    results: dict[str, ToolResult] = {}
    others: list[Part] = []
    for part in turn.parts:
        if type(part) is not ToolResult:
            others.append(part)
            continue
        ours = [call.id for given, call in calls if given == part.id]
        if not ours:
            raise RequestError(
                "A tool message answers a call that the assistant message before it did not make.",
                f"{field}[].tool_call_id",
            )
        own = next((id for id in ours if id not in results), ours[-1])
        before = results[own].parts if own in results else []
        results[own] = part if own == part.id and not before else ToolResult(own, [*before, *part.parts])
    turn.parts = [*results.values(), *others]
    return set(results)


def _rename(turns: list[Turn], declared: set[str]) -> dict[str, str]:
    """Give earlier calls names that every target takes: models have called what is no tool, or `f(x)`."""
    names: dict[str, str] = {}
    given: dict[str, str] = {}
    for turn in turns:
        for place, part in enumerate(turn.parts):
            if type(part) is not ToolCall or _TOOL_NAME.fullmatch(part.name):
                continue
            if part.name not in given:
                safe = _NO_NAME.sub("_", part.name)[:60] or "unnamed"
                given[part.name] = _unused(safe, declared)
                names[given[part.name]] = part.name
            turn.parts[place] = ToolCall(part.id, given[part.name], part.arguments)
    return names
