"""The turns of a conversation as every target wants them."""

from tasks.codecs.base import Part, Policy, RequestError, Text, ToolCall, ToolResult, Turn


def settle(turns: list[Turn], policy: Policy, field: str) -> list[Turn]:
    """Turns as every target wants them: no blank text, merged to alternate, the user first. They stand in `field`."""
    settled: list[Turn] = []
    for turn in turns:
        parts = [part for part in turn.parts if not is_blank(part)]
        if not parts:
            continue
        if settled and settled[-1].role == turn.role:
            settled[-1].parts += parts
        else:
            settled.append(Turn(turn.role, parts))
    while settled and settled[0].role == "assistant":
        policy.refuse(
            field,
            "the conversation must start with a user message.",
            count_as=f"{field}[] (assistant before the first user)",
        )
        settled.pop(0)
    if not any(turn.role == "user" for turn in settled):
        raise RequestError(f"'{field}' holds no user message with content.", field)
    _check_tool_results(settled)
    last = settled[-1]
    if last.role == "assistant" and isinstance(last.parts[-1], Text):
        # The beginning of an answer that the model goes on from: Claude refuses white space at its end.
        last.parts[-1] = Text(last.parts[-1].text.rstrip())
    return settled


def is_blank(part: Part) -> bool:
    return isinstance(part, Text) and not part.text.strip()


def _check_tool_results(turns: list[Turn]) -> None:
    asked: set[str] = set()
    for turn in turns:
        for part in turn.parts:
            if isinstance(part, ToolCall):
                asked.add(part.id)
            elif isinstance(part, ToolResult) and part.id not in asked:
                raise RequestError(
                    "A tool message answers a call that no assistant message before it made.", "messages[].tool_call_id"
                )
