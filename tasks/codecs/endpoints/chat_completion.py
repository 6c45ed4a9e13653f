"""/v1/chat/completions: `Answer`s to its response body.

Source: https://platform.openai.com/docs/api-reference/chat (the chat completion object).
"""

from typing import Any

import msgspec

from tasks.codecs.base import Answer, Context, Usage
from tasks.codecs.endpoints._base import sum_usage
from tasks.codecs.endpoints._thinking import thinking_blocks
from tasks.openai_format.results import Frame, escape_line_ends

_encode = msgspec.json.Encoder().encode


class _Function(msgspec.Struct, gc=False):
    name: str
    arguments: str


class _ToolCall(msgspec.Struct, gc=False):
    id: str
    type: str
    function: _Function


class _Message(msgspec.Struct, gc=False):
    role: str
    content: str | None
    refusal: str | None
    tool_calls: list[_ToolCall] | msgspec.UnsetType = msgspec.UNSET
    function_call: _Function | msgspec.UnsetType = msgspec.UNSET
    reasoning_content: str | msgspec.UnsetType = msgspec.UNSET
    #: What the next turn must carry for the model to know its thoughts again, as clients of Anthropic's have it.
    thinking_blocks: list[dict[str, str]] | msgspec.UnsetType = msgspec.UNSET


class _Choice(msgspec.Struct, gc=False):
    index: int
    message: _Message
    logprobs: Any
    finish_reason: str
    #: The model's own word, only where OpenAI's says less: gateways have it by this name.
    native_finish_reason: str | msgspec.UnsetType = msgspec.UNSET


class _PromptDetails(msgspec.Struct, gc=False):
    cached_tokens: int
    #: Only where there are any.
    cache_write_tokens: int | msgspec.UnsetType = msgspec.UNSET


class _CompletionDetails(msgspec.Struct, gc=False):
    reasoning_tokens: int


class CompletionUsage(msgspec.Struct, gc=False):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: _PromptDetails
    completion_tokens_details: _CompletionDetails


class ChatCompletion(msgspec.Struct, gc=False):
    id: str
    object: str
    created: int
    model: str
    choices: list[_Choice]
    usage: CompletionUsage | None


def build_chat_completion(
    answers: list[Answer], contexts: list[Context | None], *, id: str, created: int, model: str
) -> ChatCompletion:
    """OpenAI's chat completion object of one request: a choice per answer, usage summed.

    `usage` is null where the family reports none: it is estimated nowhere.
    """
    legacy = contexts[0] is not None and contexts[0].function_call
    return ChatCompletion(
        f"chatcmpl-{id}",
        "chat.completion",
        created,
        model,
        [
            _Choice(
                index,
                _message(answer, legacy),
                answer.logprobs,
                _finish(answer, legacy),
                answer.native_reason or msgspec.UNSET,
            )
            for index, answer in enumerate(answers)
        ],
        usage_of(sum_usage(answers)),
    )


def is_plain(answer: Answer) -> bool:
    """Whether an answer is text and nothing else, so that `plain_frame` holds it."""
    return not (
        answer.content is None
        or answer.usage is None
        or answer.usage.written
        or answer.tool_calls
        or answer.reasoning is not None
        or answer.refusal is not None
        or answer.logprobs is not None
        or answer.thinking
        or answer.native_reason is not None
        or answer.finish_reason == "tool_calls"
    )


def plain_frame(key: bytes, created: int, model: str) -> Frame:
    """The encoded chat completion of a plain answer: `build_chat_completion` with gaps; a property test compares them.

    The gaps are `record`, with `key` the id; `content`, JSON's escapes done; and the others by their names.
    """
    return (
        b'{"id":"chatcmpl-' + key,
        "record",
        b'","object":"chat.completion","created":%d,"model":%b,' % (created, escape_line_ends(_encode(model))),
        b'"choices":[{"index":0,"message":{"role":"assistant","content":"',
        "content",
        b'","refusal":null},"logprobs":null,"finish_reason":"',
        "finish_reason",
        b'"}],"usage":{"prompt_tokens":',
        "prompt_tokens",
        b',"completion_tokens":',
        "completion_tokens",
        b',"total_tokens":',
        "total_tokens",
        b',"prompt_tokens_details":{"cached_tokens":',
        "cached_tokens",
        b'},"completion_tokens_details":{"reasoning_tokens":',
        "reasoning_tokens",
        b"}}}",
    )


def _finish(answer: Answer, legacy: bool) -> str:
    return "function_call" if legacy and answer.finish_reason == "tool_calls" else answer.finish_reason


def _message(answer: Answer, legacy: bool) -> _Message:
    message = _Message("assistant", answer.content, answer.refusal)
    if answer.tool_calls and legacy:
        call = answer.tool_calls[0]
        message.function_call = _Function(call.name, call.arguments.decode())
    elif answer.tool_calls:
        message.tool_calls = [
            _ToolCall(call.id, "function", _Function(call.name, call.arguments.decode())) for call in answer.tool_calls
        ]
    if answer.reasoning is not None:
        message.reasoning_content = answer.reasoning
    if answer.thinking:
        message.thinking_blocks = thinking_blocks(answer.thinking)
    return message


def usage_of(usage: Usage | None) -> CompletionUsage | None:
    if usage is None:
        return None
    return CompletionUsage(
        usage.prompt,
        usage.completion,
        usage.prompt + usage.completion,
        _PromptDetails(usage.cached, usage.written or msgspec.UNSET),
        _CompletionDetails(usage.reasoning),
    )
