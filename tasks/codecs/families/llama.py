"""Meta Llama: a prompt with exact tokens (2, 3.x, 4). Chats go by Converse unless InvokeModel is asked for.

Sources: https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-meta.html and Meta's model cards.
"""

import re
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from tasks.bedrock.capabilities import capabilities_of
from tasks.bedrock.models import Model
from tasks.codecs.base import (
    Answer,
    Chat,
    Encoded,
    FinishReason,
    Image,
    InvocationType,
    Policy,
    Turn,
    Usage,
)
from tasks.codecs.families._common import decode_as, limit_max_tokens, native_reason, refuse_rest, unit_temperature
from tasks.codecs.families._prompts import GeneralCodec, kept, neutralise, plain_text, refuse_tools

_TOKENS: Final = re.compile(r"<\|[a-z_0-9]+\|>|</?s>|\[/?INST\]|<</?SYS>>")


class _Output(msgspec.Struct, gc=False):
    generation: str
    prompt_token_count: int | None = None
    generation_token_count: int | None = None
    stop_reason: str | None = None


_decode = msgspec.json.Decoder(_Output).decode


#: The tokens around a turn's role and at its end: Llama 3.x, and Llama 4.
_LLAMA_3: Final = ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")


_LLAMA_4: Final = ("<|header_start|>", "<|header_end|>", "<|eot|>")


def _headed_prompt(tokens: tuple[str, str, str], system: str, turns: Sequence[tuple[str, str]]) -> str:
    before, after, end = tokens
    blocks = [("system", system)] if system else []
    text = "".join(f"{before}{role}{after}\n\n{content}{end}" for role, content in [*blocks, *turns])
    return f"<|begin_of_text|>{text}{before}assistant{after}\n\n"


def _prompt_2(system: str, turns: Sequence[tuple[str, str]]) -> str:
    prompt = ""
    for place, (role, text) in enumerate(turns):
        if role == "assistant":
            prompt += f" {text} </s>"
        else:
            lead = f"<<SYS>>\n{system}\n<</SYS>>\n\n" if place == 0 and system else ""
            prompt += f"<s>[INST] {lead}{text} [/INST]"
    return prompt


class LlamaCodec(GeneralCodec):
    family = "llama"
    prefers: InvocationType = "Converse"
    native_tools = False

    def serves(self, model: Model) -> bool:
        return capabilities_of(model).codec == self.family

    def encode(self, chat: Chat, model: Model, policy: Policy) -> Encoded:
        limit_max_tokens(chat, capabilities_of(model), policy)
        refuse_tools(chat, "Llama", model, policy)
        if chat.stop:
            policy.refuse("stop", "Llama's native body takes no stop sequences.")
        refuse_rest(chat, policy)
        images: list[str] = []
        turns = [(turn.role, self._text(turn, model, policy, images)) for turn in chat.turns]
        system = neutralise("\n\n".join(chat.system), _TOKENS)
        oldest = model.name.startswith("llama2")
        if oldest and chat.turns[-1].role == "assistant":
            policy.refuse_always("messages", "Llama 2's template ends with a user message.")
        if oldest:
            prompt = _prompt_2(system, turns)
        else:
            prompt = _headed_prompt(_LLAMA_4 if model.name.startswith("llama4") else _LLAMA_3, system, turns)
        body: dict[str, Any] = {"prompt": prompt}
        body |= kept(
            max_gen_len=chat.max_tokens, temperature=unit_temperature(chat, policy), top_p=chat.top_p, images=images
        )
        return Encoded(body)

    @staticmethod
    def _text(turn: Turn, model: Model, policy: Policy, images: list[str]) -> str:
        """A turn's text, its images before it as tokens where the model sees."""
        seen = [part for part in turn.parts if isinstance(part, Image)] if capabilities_of(model).images else []
        images += [image.data for image in seen]
        rest = Turn(turn.role, [part for part in turn.parts if part not in seen])
        if seen and not rest.parts:
            return "<|image|>" * len(seen)
        return "<|image|>" * len(seen) + neutralise(plain_text(rest, "Llama", policy), _TOKENS)

    def decode(self, output: bytes | msgspec.Raw) -> Answer:
        parsed = decode_as(_decode, output, "a Llama answer", "prompt_token_count", "generation_token_count")
        usage = None
        if parsed.prompt_token_count is not None and parsed.generation_token_count is not None:
            usage = Usage(parsed.prompt_token_count, parsed.generation_token_count)
        finish: FinishReason = "length" if parsed.stop_reason == "length" else "stop"
        return Answer(parsed.generation.lstrip(), finish, usage, native_reason=native_reason(parsed.stop_reason))

    def padding(self) -> bytes:
        return b'{"prompt":"Hi","max_gen_len":1}'


CODEC = LlamaCodec()
