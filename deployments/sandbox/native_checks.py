"""Strict checks of the other families' native bodies, written from AWS's pages for each (model-parameters-*.html)."""

import re
from collections.abc import Callable
from typing import Any

from deployments.sandbox.checks import Refused, _image, need, number, only

_LLAMA_3 = re.compile(
    r"<\|begin_of_text\|>(<\|start_header_id\|>(system|user|assistant)<\|end_header_id\|>\n\n.+?<\|eot_id\|>)+"
    r"<\|start_header_id\|>assistant<\|end_header_id\|>\n\n",
    re.DOTALL,
)
_LLAMA_4 = re.compile(
    r"<\|begin_of_text\|>(<\|header_start\|>(system|user|assistant)<\|header_end\|>\n\n.+?<\|eot\|>)+"
    r"<\|header_start\|>assistant<\|header_end\|>\n\n",
    re.DOTALL,
)


def _prompt(body: dict[str, Any]) -> str:
    prompt = body.get("prompt")
    need(isinstance(prompt, str) and prompt.strip(), "prompt: Field required")
    return str(prompt)


def llama(body: dict[str, Any], name: str) -> None:
    only(body, {"prompt", "temperature", "top_p", "max_gen_len", "images"}, "")
    prompt = _prompt(body)
    number(body, "temperature", 0, 1)
    number(body, "top_p", 0, 1)
    number(body, "max_gen_len", 1, 8192)
    if prompt != "Hi":
        if "llama4" in name:
            need(_LLAMA_4.fullmatch(prompt), "prompt: not Llama 4's template")
        elif "llama3" in name:
            need(_LLAMA_3.fullmatch(prompt), "prompt: not Llama 3's template")
        else:
            need(prompt.startswith("<s>[INST] ") and prompt.endswith(" [/INST]"), "prompt: not Llama 2's template")
    need(prompt.count("<|image|>") == len(body.get("images", [])), "images: one <|image|> for each")


def mistral_prompt(body: dict[str, Any], name: str) -> None:
    only(body, {"prompt", "max_tokens", "temperature", "top_p", "top_k", "stop"}, "")
    need(re.fullmatch(r"<s>\[INST\] .*", _prompt(body), re.DOTALL), "prompt: not the instruct format")
    number(body, "temperature", 0, 1)
    number(body, "top_p", 0, 1)
    need(isinstance(body.get("stop", []), list) and len(body.get("stop", [])) <= 10, "stop: at most 10")


def r1(body: dict[str, Any], name: str) -> None:
    only(body, {"prompt", "max_tokens", "temperature", "top_p", "stop"}, "")
    prompt = _prompt(body)
    need(prompt == "Hi" or prompt.startswith("<｜begin▁of▁sentence｜>"), "prompt: not the template")
    number(body, "temperature", 0, 1)
    number(body, "max_tokens", 1, 32_768)


def command_r(body: dict[str, Any], name: str) -> None:
    only(
        body,
        {
            "message",
            "chat_history",
            "preamble",
            "documents",
            "max_tokens",
            "temperature",
            "p",
            "k",
            "stop_sequences",
            "frequency_penalty",
            "presence_penalty",
            "seed",
            "prompt_truncation",
            "return_prompt",
            "tools",
            "tool_results",
            "raw_prompting",
            "search_queries_only",
        },
        "",
    )
    need(isinstance(body.get("message"), str) and body["message"].strip(), "message: Field required")
    for entry in body.get("chat_history", []):
        need(entry.get("role") in ("USER", "CHATBOT") and entry.get("message"), "chat_history: invalid")
    for tool in body.get("tools", []):
        only(tool, {"name", "description", "parameter_definitions"}, "tools.")
        for definition in tool["parameter_definitions"].values():
            only(definition, {"description", "type", "required"}, "parameter_definitions.")
    number(body, "temperature", 0, 1)


def titan_text(body: dict[str, Any], name: str) -> None:
    only(body, {"inputText", "textGenerationConfig"}, "")
    need(isinstance(body.get("inputText"), str) and body["inputText"], "inputText: Field required")
    config = body.get("textGenerationConfig", {})
    only(config, {"temperature", "topP", "maxTokenCount", "stopSequences"}, "textGenerationConfig.")
    number(config, "temperature", 0, 1)


_OPENAI_KEYS = {
    "messages",
    "max_tokens",
    "max_completion_tokens",
    "temperature",
    "top_p",
    "top_k",
    "stop",
    "seed",
    "frequency_penalty",
    "presence_penalty",
    "logprobs",
    "top_logprobs",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "response_format",
    "reasoning_effort",
}


def openai(body: dict[str, Any], name: str) -> None:
    only(body, _OPENAI_KEYS, "")
    number(body, "temperature", 0, 1 if name.startswith(("moonshot", "mistral")) else 2)
    if name.startswith("moonshot"):
        need("stop" not in body, "stop: not supported")
        need(body.get("tool_choice") != "required", "tool_choice: required is not supported")
    if "reasoning_effort" in body:
        need(name.startswith("openai.") and body["reasoning_effort"] in ("low", "medium", "high"), "reasoning_effort")
    messages: Any = body.get("messages")
    need(isinstance(messages, list) and messages, "messages: Field required")
    asked: set[str] = set()
    for index, message in enumerate(messages):
        where = f"messages.{index}"
        only({k: v for k, v in message.items() if k != "content"}, {"role", "tool_calls", "tool_call_id"}, where)
        role = message.get("role")
        need(role in ("system", "user", "assistant", "tool"), f"{where}.role: invalid")
        content = message.get("content")
        need(content or message.get("tool_calls"), f"{where}.content: must not be empty")
        for part in content if isinstance(content, list) else []:
            if part.get("type") == "image_url":
                head, _, data = part["image_url"]["url"].partition(";base64,")
                _image(head.removeprefix("data:"), data, where)
            else:
                need(part.get("type") == "text" and part["text"].strip(), f"{where}.content: invalid part")
        for call in message.get("tool_calls", []):
            need(
                call.get("type") == "function" and isinstance(call["function"]["arguments"], str), f"{where}.tool_calls"
            )
            asked.add(call["id"])
        need(role != "tool" or message.get("tool_call_id") in asked, f"{where}.tool_call_id: no such call")
    for tool in body.get("tools", []):
        need(tool.get("type") == "function" and tool["function"].get("name"), "tools: invalid")
    need("tool_choice" not in body or body.get("tools"), "tool_choice: needs tools")


def mistral_chat(body: dict[str, Any], name: str) -> None:
    only(body, {"messages", "max_tokens", "temperature", "top_p", "tools", "tool_choice", "stop"}, "")
    number(body, "temperature", 0, 1)
    need(body.get("tool_choice", "auto") in ("auto", "any", "none"), "tool_choice: auto, any or none")
    openai({k: v for k, v in body.items() if k != "tool_choice"}, name)


def titan_embed(body: dict[str, Any], name: str) -> None:
    image = "embed-image" in name
    v2 = "text-v2" in name
    allowed = {"inputText", "inputImage", "embeddingConfig"} if image else {"inputText"}
    only(body, allowed | ({"dimensions", "normalize", "embeddingTypes"} if v2 else set()), "")
    need(isinstance(body.get("inputText"), str) and body["inputText"].strip(), "inputText: Field required")
    need(body.get("dimensions", 1024) in (256, 512, 1024), "dimensions: 256, 512 or 1024")
    if "embeddingConfig" in body:
        need(body["embeddingConfig"].get("outputEmbeddingLength") in (256, 384, 1024), "outputEmbeddingLength")


def cohere_embed(body: dict[str, Any], name: str) -> None:
    v4 = "embed-v4" in name
    only(
        body,
        {"texts", "input_type", "truncate", "embedding_types", "images"}
        | ({"output_dimension", "max_tokens", "inputs"} if v4 else set()),
        "",
    )
    need(body.get("input_type") in ("search_document", "search_query", "classification", "clustering"), "input_type")
    need(1 <= len(body.get("texts", [])) <= 96, "texts: 1 to 96")
    need(all(isinstance(text, str) and text.strip() for text in body["texts"]), "texts: must not be blank")
    need(body.get("output_dimension", 1536) in (256, 512, 1024, 1536), "output_dimension")


def nova_embed(body: dict[str, Any], name: str) -> None:
    only(body, {"schemaVersion", "taskType", "singleEmbeddingParams"}, "")
    need(body.get("taskType") == "SINGLE_EMBEDDING", "taskType")
    params = body.get("singleEmbeddingParams", {})
    only(params, {"embeddingPurpose", "embeddingDimension", "text"}, "singleEmbeddingParams.")
    need(params.get("embeddingDimension") in (256, 384, 1024, 3072), "embeddingDimension")
    need(params["text"]["value"].strip() and params["text"]["truncationMode"] in ("END", "START", "NONE"), "text")


def marengo(body: dict[str, Any], name: str) -> None:
    if "embed-2-" in name:
        only(body, {"inputType", "inputText", "textTruncate"}, "")
        text = body.get("inputText")
        need(body.get("textTruncate", "end") in ("end", "none"), "textTruncate: end or none")
    else:
        only(body, {"inputType", "text", "inferenceId"}, "")
        only(body.get("text"), {"inputText"}, "text.")
        text = body["text"].get("inputText")
    need(body.get("inputType") == "text", "inputType: text")
    need(isinstance(text, str) and text.strip(), "inputText: Field required")


Check = Callable[[dict[str, Any], str], None]

#: The first pattern that fits the model's id tells its native body: the check, and how it answers.
NATIVE: tuple[tuple[re.Pattern[str], Check, str], ...] = (
    (re.compile(r"amazon\.titan-embed"), titan_embed, "titan_embed"),
    (re.compile(r"amazon\.nova-.*embeddings"), nova_embed, "nova_embed"),
    (re.compile(r"cohere\.embed"), cohere_embed, "cohere_embed"),
    (re.compile(r"twelvelabs\.marengo"), marengo, "marengo"),
    (re.compile(r"amazon\.titan-t"), titan_text, "titan_text"),
    (re.compile(r"meta\.llama"), llama, "llama"),
    (re.compile(r"mistral\.(mistral-7b|mixtral-8x7b|mistral-(large|small)-2402)"), mistral_prompt, "mistral_prompt"),
    (re.compile(r"mistral\.mistral-large-2407"), mistral_chat, "mistral_chat"),
    (re.compile(r"deepseek\.r1"), r1, "r1"),
    (re.compile(r"cohere\.command"), command_r, "command_r"),
    (
        re.compile(r"openai\.|qwen\.|deepseek\.v3|google\.|moonshot|minimax|nvidia|zai|mistral\.|ai21|writer"),
        openai,
        "openai",
    ),
)


def native(name: str) -> tuple[Check, str]:
    for pattern, check, answer in NATIVE:
        if pattern.match(name):
            return check, answer
    raise Refused("The provided model identifier is invalid.")
