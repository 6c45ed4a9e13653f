"""/v1/completions: prompts as chats of one user message, and answers as a text completion.

Source: https://platform.openai.com/docs/api-reference/completions.
"""

from typing import Any, Final

import msgspec

from tasks.codecs.base import Answer, Chat, Context, Policy, RequestError, Text, Turn
from tasks.codecs.endpoints._base import ChatEndpoint, sum_usage
from tasks.codecs.endpoints._fields import MAX_CHOICES, integer, parse_sampling
from tasks.codecs.endpoints._words import Words, words
from tasks.codecs.endpoints.chat_completion import CompletionUsage, usage_of
from tasks.openai_format.requests import COMPLETIONS


def parse_completion(body: dict[str, Any], policy: Policy) -> list[tuple[Chat, Context]]:
    """A chat per prompt, in order. Raises RequestError naming the field that is wrong."""
    prompts = _prompts(body.get("prompt"))
    n = integer(body, "n", 1) or 1
    if n * len(prompts) > MAX_CHOICES:
        raise RequestError(f"'n' times the number of prompts must be at most {MAX_CHOICES}.", "n")
    best_of = integer(body, "best_of", 1)
    if best_of is not None and best_of != n:
        policy.refuse("best_of", "it does not rank its answers.")
    if body.get("suffix"):
        policy.refuse("suffix", "chat models do not insert text.")
    if body.get("max_tokens") is None:
        # OpenAI's default of this endpoint; without it an answer could run to the model's limit.
        body = {**body, "max_tokens": 16}
    requests = []
    for prompt in prompts:
        chat = Chat([], [Turn("user", [Text(prompt)])], n=n)
        chat.max_tokens = integer(body, "max_tokens", 1)
        parse_sampling(body, chat)
        requests.append((chat, Context(echo=prompt if body.get("echo") is True else None)))
    return requests


def _prompts(prompt: Any) -> list[str]:
    prompts = prompt if isinstance(prompt, list) else [prompt]
    if prompts and all(isinstance(item, str) for item in prompts):
        if not all(item.strip() for item in prompts):
            raise RequestError("'prompt' must not be blank.", "prompt")
        return prompts
    if any(isinstance(item, int | list) for item in prompts):
        raise RequestError(
            "'prompt' holds token ids, which only the tokenizer of the OpenAI model can read; give text.",
            "prompt",
            "unsupported_parameter",
        )
    raise RequestError("'prompt' must be a string or a list of strings.", "prompt", "invalid_type")


class _Choice(msgspec.Struct, gc=False):
    text: str
    index: int
    logprobs: None
    finish_reason: str
    native_finish_reason: str | msgspec.UnsetType = msgspec.UNSET


class Completion(msgspec.Struct, gc=False):
    id: str
    object: str
    created: int
    model: str
    choices: list[_Choice]
    usage: CompletionUsage | None


def build_completion(
    answers: list[Answer], contexts: list[Context | None], *, id: str, created: int, model: str
) -> Completion:
    """OpenAI's completion object: a choice per answer, prompt by prompt."""
    choices = []
    for index, (answer, context) in enumerate(zip(answers, contexts, strict=True)):
        text = answer.content or answer.refusal or ""
        if context is not None and context.echo is not None:
            text = context.echo + text
        finish = "stop" if answer.finish_reason == "tool_calls" else answer.finish_reason
        choices.append(_Choice(text, index, None, finish, answer.native_reason or msgspec.UNSET))
    return Completion(f"cmpl-{id}", "text_completion", created, model, choices, usage_of(sum_usage(answers)))


_WORDS: Final = words(("messages", "prompt"))


class Completions(ChatEndpoint):
    """Prompts, each a chat of one user message."""

    url = COMPLETIONS
    mapped = frozenset({"prompt", "max_tokens", "temperature", "top_p", "stop", "n", "best_of", "echo", "suffix"})

    def words(self, body: dict[str, Any]) -> Words:
        return _WORDS

    def parse(self, body: dict[str, Any], policy: Policy) -> list[tuple[Chat, Context]]:
        requests = parse_completion(body, policy)
        for chat, _ in requests:
            chat.rest = self.leftovers(body)
        return requests

    def build(
        self, outcomes: list[Answer], contexts: list[Context | None], *, id: str, created: int, model: str
    ) -> Completion:
        return build_completion(outcomes, contexts, id=id, created=created, model=model)


ENDPOINT = Completions()
