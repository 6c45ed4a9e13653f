"""What models write into their text that is none of it: thoughts between tags, and calls of tools between markers.

Sources: the chat templates of the models (DeepSeek, Qwen, GLM: `<think>`; Magistral: `[THINK]`; gpt-oss on Bedrock:
`<reasoning>`; Amazon Nova with tools: `<thinking>`; Kimi K2: `<|tool_call_begin|>`).
"""

import re
from typing import Final

import msgspec

from tasks.codecs.base import Answer, FinishReason, Thinking, ToolCall

#: Each as it opens and closes.
THINK: Final = (("<think>", "</think>"), ("<reasoning>", "</reasoning>"), ("[THINK]", "[/THINK]"))
NOVA: Final = (("<thinking>", "</thinking>"),)

#: The end of thoughts whose beginning stood in the prompt; not where somebody writes about it.
_END_ONLY: Final = re.compile(r"(?<![`'\"])</think>(?![`'\"])")

_CALL: Final = re.compile(
    r"<\|tool_call_begin\|>\s*([^<|]*?)\s*<\|tool_call_argument_begin\|>\s*(.*?)\s*<\|tool_call_end\|>", re.DOTALL
)
_SECTION: Final = re.compile(r"<\|tool_calls_section_(?:begin|end)\|>")
_CALL_ID: Final = re.compile(r"(?:functions\.)?([\w.-]+?)(?::\d+)?")

_check_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def split_reasoning(
    text: str, finish: FinishReason, tags: tuple[tuple[str, str], ...] = THINK
) -> tuple[str | None, str]:
    """The thoughts at the beginning of a text, and what follows them.

    Thoughts without an end are all there is where the answer was cut off; else they are the answer, and only their
    tag is left out.
    """
    start = text.lstrip()
    for opening, closing in tags:
        if start.startswith(opening):
            thoughts, closed, rest = start[len(opening) :].partition(closing)
            if closed or finish == "length":
                return thoughts.strip() or None, rest.lstrip()
            return None, thoughts.lstrip()
    if tags is THINK and "</think>" in text:
        end = _END_ONLY.search(text)
        if end is not None and "<think>" not in text[: end.start()]:
            return text[: end.start()].strip() or None, text[end.end() :].lstrip()
    return None, text


_OPENINGS: Final = tuple(opening for opening, _ in THINK)


def separate_thoughts(text: str, thoughts: str | None, finish: FinishReason) -> tuple[str | None, str]:
    """All thoughts, and what follows them: those that came apart from the text, and those at its beginning."""
    if not text or (thoughts is not None and not text.lstrip().startswith(_OPENINGS)):
        return thoughts, text
    more, rest = split_reasoning(text, finish)
    return "\n\n".join(each for each in (thoughts, more) if each) or None, rest


def take_thoughts_out(answer: Answer) -> None:
    """Take thoughts between tags, and Kimi's calls between markers, out of the text."""
    if answer.content:
        answer.reasoning, answer.content = separate_thoughts(answer.content, answer.reasoning, answer.finish_reason)
    take_leaked_calls(answer)


def take_nova_s_thoughts_out(answer: Answer) -> None:
    """Take what Nova writes between tags before it calls a tool out of the text."""
    if answer.content and answer.reasoning is None:
        answer.reasoning, content = split_reasoning(answer.content, answer.finish_reason, NOVA)
        answer.content = content if content or not answer.tool_calls else None


def keep_thinking(answer: Answer, thinking: list[Thinking]) -> None:
    """Note what a model thought: for people, and, where it is signed or sealed, for the next turn."""
    answer.reasoning = "".join(each.text for each in thinking) or None
    if any(each.signature or each.redacted for each in thinking):
        answer.thinking = thinking


def take_leaked_calls(answer: Answer) -> None:
    """Make calls of what Kimi K2 wrote as text: its own markers around a name and arguments.

    They stand in the content or among the thoughts. What does not read as a call stays as it is.
    """
    if answer.tool_calls:
        return
    for field in ("content", "reasoning"):
        text = getattr(answer, field)
        if text is None or "<|tool_call_begin|>" not in text:
            continue
        calls = [_call(found, number) for number, found in enumerate(_CALL.finditer(text))]
        rest = _SECTION.sub("", _CALL.sub("", text)).strip()
        kept = [call for call in calls if call is not None]
        if len(kept) == len(calls) and calls and "<|tool_call" not in rest:
            setattr(answer, field, rest or None)
            answer.tool_calls, answer.finish_reason = kept, "tool_calls"
            if field == "reasoning" and not answer.content:
                answer.content = None
            return


def _call(found: re.Match[str], number: int) -> ToolCall | None:
    name = _CALL_ID.fullmatch(found[1])
    try:
        _check_object(found[2].encode())
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None
    return ToolCall(found[1] if ":" in found[1] else f"call_{number}", name[1], found[2].encode()) if name else None
