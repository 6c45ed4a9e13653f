"""/v1/chat/completions: its body as a chat."""

from typing import Any

import pytest

from tasks.codecs.base import (
    Chat,
    Context,
    JsonFormat,
    Policy,
    RequestError,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolResult,
    Turn,
)
from tasks.codecs.endpoints.chat import ENDPOINT, parse_chat
from tests.codecs.helpers import TOOL, user


def parsed(unsupported: Any = "error", **body: Any) -> tuple[Chat, Context, dict[str, int]]:
    policy = Policy(unsupported, "x")
    chat, context = parse_chat({"messages": [user()], **body}, policy)
    return chat, context, policy.dropped


def test_a_body() -> None:
    chat, context, _ = parsed(
        messages=[
            {"role": "system", "content": "S"},
            user(),
            {"role": "assistant", "content": "A"},
            {"role": "developer", "content": [{"type": "text", "text": "D"}, {"type": "text", "text": " "}]},
            user("B"),
        ],
        max_tokens=1,
        max_completion_tokens=2,
        temperature=0,
        top_p=1,
        stop="END",
        n=3,
        reasoning_effort="low",
    )
    assert chat == Chat(
        ["S", "D"],
        [Turn("user", [Text("Hi")]), Turn("assistant", [Text("A")]), Turn("user", [Text("B")])],
        max_tokens=2,
        temperature=0,
        top_p=1,
        stop=["END"],
        n=3,
        reasoning_effort="low",
    )
    assert context == Context()
    assert parsed(max_tokens=1)[0].max_tokens == 1


TOOLED = [
    user(),
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "1", "type": "function", "function": {"name": "get_weather", "arguments": '{"a": 1}'}}],
    },
    {"role": "tool", "tool_call_id": "1", "content": [{"type": "text", "text": "r"}, {"type": "text", "text": ""}]},
]


def test_tools() -> None:
    chat, _, _ = parsed(messages=TOOLED, tools=[TOOL], tool_choice="auto", parallel_tool_calls=False)
    assert chat.turns[1:] == [
        Turn("assistant", [ToolCall("1", "get_weather", b'{"a":1}')]),
        Turn("user", [ToolResult("1", [Text("r")])]),
    ]
    assert (chat.tool_choice, chat.parallel_tool_calls, chat.tools[0].name) == ("auto", False, "get_weather")
    assert parsed(parallel_tool_calls=False)[0].parallel_tool_calls is None


def test_legacy_functions() -> None:
    chat, context, _ = parsed(
        messages=[
            user(),
            {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": ""}},
            {"role": "function", "name": "f", "content": "r"},
        ],
        functions=[{"name": "f"}],
        function_call={"name": "f"},
    )
    assert context.function_call
    assert chat.tools == [Tool("f", None, {"type": "object", "properties": {}}, None)]
    assert chat.tool_choice == "function:f"
    assert chat.turns[2] == Turn("user", [ToolResult("call_f", [Text("r")])])


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (None, None),
        ({"type": "text"}, None),
        ({"type": "json_object"}, JsonFormat("json_object", None)),
        ({"type": "json_schema", "json_schema": {"name": "j", "schema": {}}}, JsonFormat("j", {})),
    ],
)
def test_formats(given: Any, found: JsonFormat | None) -> None:
    assert parsed(response_format=given)[0].json_format == found


@pytest.mark.parametrize(
    "fields",
    [
        {"thinking_blocks": [{"type": "thinking", "thinking": "hm", "signature": "s"}], "content": "A"},
        {"content_blocks": [{"type": "thinking", "thinking": "hm", "signature": "s"}], "content": "A"},
        {"content": [{"type": "thinking", "thinking": "hm", "signature": "s"}, {"type": "text", "text": "A"}]},
    ],
)
def test_thoughts_of_an_earlier_answer(fields: dict[str, Any]) -> None:
    chat, _, dropped = parsed(messages=[user(), {"role": "assistant", **fields}, user("B")])
    assert chat.turns[1].parts == [Thinking("hm", "s"), Text("A")]
    assert dropped == {}


@pytest.mark.parametrize("field", ["thinking_blocks", "reasoning_content", "reasoning"])
def test_thoughts_for_people_are_counted(field: str) -> None:
    _, _, dropped = parsed(messages=[user(), {"role": "assistant", "content": "A", field: "hm"}, user("B")])
    assert dropped == {f"messages[].{field}": 1}


def test_what_is_left_out_is_counted_without_its_number() -> None:
    messages = [user() | {"name": "n"}, {"role": "assistant", "content": "A", "audio": {"id": "1"}}, user("B")]
    assert parsed("drop", messages=messages)[2] == {"messages[].name": 1, "messages[].audio": 1}
    with pytest.raises(RequestError, match=r"messages\[0\]\.name"):
        parsed(messages=messages)


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ({"messages": None}, "messages", "invalid_value"),
        ({"messages": []}, "messages", "invalid_value"),
        ({"messages": {}}, "messages", "invalid_value"),
        ({"messages": ["Hi"]}, "messages[0]", "invalid_type"),
        ({"messages": [user(), {"role": "robot", "content": ""}]}, "messages[1].role", "invalid_value"),
        ({"messages": [user(), {"content": "x"}]}, "messages[1].role", "invalid_value"),
        ({"messages": [user(7)]}, "messages[0].content", "invalid_type"),
        (
            {"messages": [user(), {"role": "tool", "content": "r"}]},
            "messages[1].tool_call_id",
            "missing_required_parameter",
        ),
        ({"messages": [user(), {"role": "assistant", "tool_calls": {}, "content": "a"}]}, None, None),
        ({"messages": [user(), {"role": "assistant", "tool_calls": "x"}]}, "messages[1].tool_calls", "invalid_type"),
        (
            {"messages": [user(), {"role": "assistant", "tool_calls": [{"id": "1"}]}]},
            "messages[1].tool_calls[0]",
            "invalid_value",
        ),
        ({"n": 0}, "n", "invalid_value"),
        ({"n": 129}, "n", "invalid_value"),
        ({"max_tokens": 0}, "max_tokens", "invalid_value"),
        ({"tools": {}}, "tools", "invalid_type"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type", "invalid_value"),
        ({"functions": {}}, "functions", "invalid_type"),
        ({"functions": [], "tools": []}, "functions", "invalid_value"),
        ({"functions": [], "tool_choice": "auto"}, "functions", "invalid_value"),
        ({"parallel_tool_calls": "no"}, "parallel_tool_calls", "invalid_type"),
        ({"response_format": {"type": "xml"}}, "response_format.type", "invalid_value"),
        ({"response_format": "json"}, "response_format.type", "invalid_value"),
        ({"reasoning_effort": "huge"}, "reasoning_effort", "invalid_value"),
    ],
)
def test_what_is_wrong_is_named(body: dict[str, Any], param: str | None, code: str | None) -> None:
    if param is None:
        parsed(**body)
        return
    with pytest.raises(RequestError) as caught:
        parsed(**body)
    assert (caught.value.param, caught.value.code) == (param, code)


def test_what_nobody_maps_is_left_to_the_family() -> None:
    ((chat, _),) = ENDPOINT.parse(
        {"messages": [user()], "seed": 1, "user": "u", "logprobs": False, "x": None}, Policy("error", "x")
    )
    assert chat.rest == {"seed": 1}
    mapped = {
        "messages": [user()], "max_tokens": 1, "max_completion_tokens": 1, "temperature": 1, "top_p": 1, "stop": "a",
        "tools": [TOOL], "tool_choice": "auto", "parallel_tool_calls": True, "response_format": {"type": "json_object"},
        "reasoning_effort": "low", "n": 2,
    }  # fmt: skip
    ((chat, _),) = ENDPOINT.parse(mapped, Policy("error", "x"))
    assert chat.rest == {}
    assert ENDPOINT.mapped == mapped.keys() | {"functions", "function_call"}


def test_a_choice_of_before_alone_is_of_before() -> None:
    for fields in (
        {"functions": [{"name": "f"}]},
        {"functions": [], "function_call": "none"},
        {"function_call": "auto"},
    ):
        assert parsed(**fields)[1].function_call
    assert not parsed(tools=[TOOL])[1].function_call


def test_what_a_model_declined_to_say_is_part_of_the_history() -> None:
    chat, _, _ = parsed(messages=[user(), {"role": "assistant", "content": None, "refusal": "No."}, user("B")])
    assert chat.turns[1].parts == [Text("No.")]
    chat, _, _ = parsed(messages=[user(), {"role": "assistant", "content": "A", "refusal": "No."}, user("B")])
    assert chat.turns[1].parts == [Text("A"), Text("No.")]


def test_blocks_without_a_content_are_the_content() -> None:
    blocks = [{"type": "thinking", "thinking": "hm", "signature": "s"}, {"type": "text", "text": "A"},
              {"type": "tool_use", "id": "1"}]  # fmt: skip
    chat, _, _ = parsed(messages=[user(), {"role": "assistant", "content_blocks": blocks}, user("B")])
    assert chat.turns[1].parts == [Thinking("hm", "s"), Text("A")]
    chat, _, _ = parsed(messages=[user(), {"role": "assistant", "content": "C", "content_blocks": blocks}, user("B")])
    assert chat.turns[1].parts == [Thinking("hm", "s"), Text("C")]


def test_thoughts_that_no_model_takes_are_counted_once_a_message() -> None:
    unsigned = [{"type": "thinking", "thinking": "hm"}]
    said = {
        "role": "assistant",
        "content": "A",
        "thinking_blocks": unsigned,
        "reasoning_content": "hm",
        "reasoning": "x",
    }
    chat, _, dropped = parsed(messages=[user(), said, user("B"), said, user("C")])
    assert chat.turns[1].parts == [Text("A")]
    assert dropped == {"messages[].thinking_blocks": 2}
    sealed = {**said, "thinking_blocks": [{"type": "redacted_thinking", "data": "x"}]}
    chat, _, dropped = parsed(messages=[user(), sealed, user("B")])
    assert (chat.turns[1].parts[0], dropped) == (Thinking("", redacted="x"), {})


@pytest.mark.parametrize("role", ["system", "developer", "user", "assistant"])
def test_nobody_has_a_name(role: str) -> None:
    messages = [user(), {"role": role, "content": "x", "name": "n"}, user()]
    assert parsed("drop", messages=messages)[2] == {"messages[].name": 1}
    with pytest.raises(RequestError, match=r"messages\[1\]\.name"):
        parsed(messages=messages)
    assert parsed(messages=[user(), {"role": role, "content": "x", "name": None}])[2] == {}


def test_names_of_tools_that_no_target_takes_are_given_back() -> None:
    call = {"id": "1", "type": "function", "function": {"name": "f(x)", "arguments": "{}"}}
    messages = [
        user(),
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": "r"},
    ]
    assert parsed(messages=messages)[1].tool_names == {"f_x_": "f(x)"}
    assert parsed()[1].tool_names is None


def test_calls_come_behind_what_was_said() -> None:
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    said = {"role": "assistant", "content": "A", "tool_calls": [call]}
    chat, _, _ = parsed(messages=[user(), said, {"role": "tool", "tool_call_id": "1", "content": "r"}, user("B")])
    assert chat.turns[1].parts == [Text("A"), ToolCall("1", "f", b"{}")]
    assert chat.turns[2].parts == [ToolResult("1", [Text("r")]), Text("B")]
