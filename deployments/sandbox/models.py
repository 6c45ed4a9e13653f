"""The models that the imitation knows, and how each is asked: check a body, answer it."""

import re
from typing import Any

from deployments.sandbox import checks, model_rules, native_answers, native_checks, synthetic
from deployments.sandbox.checks import Refused

#: Application inference profiles of the imitation's account, and the model behind each.
APPLICATION_PROFILES = {"appnova": "amazon.nova-lite-v1:0", "appclaude": "anthropic.claude-haiku-4-5-20251001-v1:0"}
_PROFILES = ("us-gov.", "us.", "eu.", "apac.", "jp.", "au.", "ca.", "sa.", "in.", "global.")
_KNOWN = re.compile(
    r"(anthropic\.claude-[a-z0-9.-]+|amazon\.(nova|titan)-[a-z0-9.-]+|meta\.llama[a-z0-9.-]+|mistral\.[a-z0-9.-]+"
    r"|openai\.gpt-oss-[a-z0-9.-]+|deepseek\.[a-z0-9.-]+|qwen\.[a-z0-9.-]+|cohere\.[a-z0-9.-]+|google\.gemma-[a-z0-9.-]+"
    r"|ai21\.[a-z0-9.-]+|writer\.[a-z0-9.-]+|moonshot(ai)?\.[a-z0-9.-]+|minimax\.[a-z0-9.-]+|zai\.[a-z0-9.-]+"
    r"|nvidia\.[a-z0-9.-]+|twelvelabs\.marengo-[a-z0-9.-]+)(:\d+(:\w+)?)?"
)


def base_model(model_id: str) -> str:
    """The foundation model behind an id, profile or ARN. Raises Refused for what the service does not know."""
    name = model_id.rsplit("/", 1)[-1] if model_id.startswith("arn:") else model_id
    for prefix in _PROFILES:
        if name.startswith(prefix):
            name = name[len(prefix) :]
            break
    name = APPLICATION_PROFILES.get(name, name)
    if not _KNOWN.fullmatch(name):
        raise Refused("The provided model identifier is invalid.")
    return name


def answer(model_id: str, body: Any, invocation: str, *, batch: bool) -> dict[str, Any]:
    """Check a body as the model would, and answer it. Raises Refused."""
    name = base_model(model_id)
    checks.need(isinstance(body, dict), "Malformed input request, please reformat your input and try again.")
    try:
        refusal = model_rules.problem(body, name)
        checks.need(refusal is None, refusal or "")
        if invocation == "Converse":
            checks.need("embed" not in name, "This model does not support Converse.")
            checks.converse(body, name, batch=batch)
            return synthetic.converse(body, name, nulls=True)
        if name.startswith("anthropic."):
            checks.anthropic(body, name)
            return synthetic.anthropic(body, name)
        if name.startswith("amazon.nova-") and "embeddings" not in name:
            checks.nova(body)
            return synthetic.converse(body, name, nulls=False)
        check, kind = native_checks.native(name)
        check(body, name)
        return native_answers.ANSWERS[kind](body, name)  # type: ignore[no-any-return]
    except (AttributeError, KeyError, TypeError, IndexError) as error:
        raise Refused(f"Malformed input request ({type(error).__name__}), please reformat your input.") from None
