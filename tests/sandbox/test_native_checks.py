"""The other families' native bodies: which check a model has, what it takes, and what it refuses by name."""

import base64
from typing import Any

import pytest

from deployments.sandbox import native_checks as checks
from deployments.sandbox.checks import Refused

L3 = (
    "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nx<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\n"
)
L4 = "<|begin_of_text|><|header_start|>user<|header_end|>\n\nx<|eot|><|header_start|>assistant<|header_end|>\n\n"
L2 = "<s>[INST] x [/INST]"
LLAMA3, LLAMA4, LLAMA2 = (
    "meta.llama3-3-70b-instruct-v1:0",
    "meta.llama4-scout-17b-instruct-v1:0",
    "meta.llama2-13b-chat-v1",
)
MIXTRAL, LARGE_2407, GPT, KIMI, QWEN = (
    "mistral.mixtral-8x7b-instruct-v0:1",
    "mistral.mistral-large-2407-v1:0",
    "openai.gpt-oss-120b-1:0",
    "moonshotai.kimi-k2.5",
    "qwen.qwen3-32b-v1:0",
)
R1, COMMAND, TITAN = "deepseek.r1-v1:0", "cohere.command-r-v1:0", "amazon.titan-text-express-v1"
T1, T2, TI = "amazon.titan-embed-text-v1", "amazon.titan-embed-text-v2:0", "amazon.titan-embed-image-v1"
C3, C4, NE = "cohere.embed-english-v3", "cohere.embed-v4:0", "amazon.nova-2-multimodal-embeddings-v1:0"
M2, M3 = "twelvelabs.marengo-embed-2-7-v1:0", "twelvelabs.marengo-embed-3-0-v1:0"
ASK = {"role": "user", "content": "x"}
FUNCTION = {"type": "function", "function": {"name": "f"}}
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n").decode()
DEFINITION = {"name": "f", "description": "d", "parameter_definitions": {"a": {"type": "str"}}}
NOVA_PARAMS: dict[str, Any] = {
    "embeddingPurpose": "GENERIC_INDEX",
    "embeddingDimension": 1024,
    "text": {"truncationMode": "END", "value": "x"},
}
NOVA = {"schemaVersion": "v1", "taskType": "SINGLE_EMBEDDING", "singleEmbeddingParams": NOVA_PARAMS}


def look(name: str, body: dict[str, Any]) -> None:
    check, _ = checks.native(name)
    check(body, name)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        (T1, "titan_embed"),
        (NE, "nova_embed"),
        (C3, "cohere_embed"),
        (M3, "marengo"),
        (TITAN, "titan_text"),
        (LLAMA3, "llama"),
        ("mistral.mistral-7b-instruct-v0:2", "mistral_prompt"),
        ("mistral.mistral-large-2402-v1:0", "mistral_prompt"),
        ("mistral.mistral-small-2402-v1:0", "mistral_prompt"),
        (MIXTRAL, "mistral_prompt"),
        (LARGE_2407, "mistral_chat"),
        (R1, "r1"),
        (COMMAND, "command_r"),
        *[
            (name, "openai")
            for name in (GPT, QWEN, KIMI, "deepseek.v3-v1:0", "google.gemma-3-12b-it", "mistral.mistral-large-3-675b-instruct",
                         "minimax.minimax-m2", "nvidia.nemotron-nano-9b-v2", "zai.glm-4.6", "ai21.jamba-1-5-mini-v1:0", "writer.palmyra-x5-v1:0")
        ],
    ],
)  # fmt: skip
def test_which_check_a_model_has(name: str, kind: str) -> None:
    check, found = checks.native(name)
    assert (check.__name__, found) == (kind, kind)


def test_a_model_of_none_is_unknown() -> None:
    with pytest.raises(Refused, match="model identifier is invalid"):
        checks.native("stability.sd3-large-v1:0")


TAKEN: list[tuple[str, dict[str, Any]]] = [
    (LLAMA3, {"prompt": L3, "temperature": 1, "top_p": 0, "max_gen_len": 8192}),
    (LLAMA4, {"prompt": L4.replace("x<|eot", "<|image|>x<|eot"), "images": ["i"]}),
    (LLAMA2, {"prompt": L2}),
    (MIXTRAL, {"prompt": L2, "max_tokens": 5, "temperature": 1, "top_p": 1, "top_k": 5, "stop": ["x"] * 10}),
    (R1, {"prompt": "<｜begin▁of▁sentence｜>x", "max_tokens": 32_768, "temperature": 1, "top_p": 0.9, "stop": ["x"]}),
    (COMMAND, {"message": "x", "chat_history": [{"role": "USER", "message": "y"}], "tools": [DEFINITION], "p": 0.5, "k": 3}),
    (TITAN, {"inputText": "x", "textGenerationConfig": {"temperature": 1, "topP": 1, "maxTokenCount": 5, "stopSequences": ["x"]}}),
    (GPT, {"messages": [ASK], "temperature": 2, "reasoning_effort": "high", "max_completion_tokens": 5}),
    (KIMI, {"messages": [ASK], "temperature": 1, "tools": [FUNCTION], "tool_choice": "auto"}),
    (QWEN, {"messages": [ASK, {"role": "assistant", "content": None, "tool_calls": [CALL]}, {"role": "tool", "tool_call_id": "c1", "content": "r"}], "tools": [FUNCTION]}),
    (QWEN, {"messages": [{"role": "user", "content": [{"type": "text", "text": "x"}, {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}]}]}),
    (LARGE_2407, {"messages": [ASK], "tools": [FUNCTION], "tool_choice": "any", "temperature": 1}),
    (T1, {"inputText": "x"}),
    (T2, {"inputText": "x", "dimensions": 256, "normalize": True, "embeddingTypes": ["float"]}),
    (TI, {"inputText": "x", "embeddingConfig": {"outputEmbeddingLength": 384}}),
    (C3, {"texts": ["x"] * 96, "input_type": "search_document", "truncate": "NONE", "embedding_types": ["float"]}),
    (C4, {"texts": ["x"], "input_type": "clustering", "output_dimension": 256}),
    (NE, NOVA),
    (M2, {"inputType": "text", "inputText": "x", "textTruncate": "none"}),
    (M3, {"inputType": "text", "text": {"inputText": "x"}}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "body"), TAKEN)
def test_what_is_taken(name: str, body: dict[str, Any]) -> None:
    look(name, body)


def nova(**fields: Any) -> dict[str, Any]:
    return {**NOVA, "singleEmbeddingParams": {**NOVA_PARAMS, **fields}}


def said(*messages: Any, **fields: Any) -> dict[str, Any]:
    return {"messages": list(messages), **fields}


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    (LLAMA3, {"prompt": L3, "max_tokens": 5}, "max_tokens: Extra"),
    (LLAMA3, {"prompt": " "}, "prompt: Field required"),
    (LLAMA3, {}, "prompt: Field required"),
    (LLAMA3, {"prompt": "x"}, "Llama 3's template"),
    (LLAMA3, {"prompt": L4}, "Llama 3's template"),
    (LLAMA3, {"prompt": L3.partition("<|start_header_id|>assistant")[0]}, "Llama 3's template"),
    (LLAMA4, {"prompt": L3}, "Llama 4's template"),
    (LLAMA2, {"prompt": "<s>[INST] x"}, "Llama 2's template"),
    (LLAMA2, {"prompt": "x [/INST]"}, "Llama 2's template"),
    (LLAMA3, {"prompt": L3, "temperature": 1.1}, "temperature: range"),
    (LLAMA3, {"prompt": L3, "top_p": 1.1}, "top_p: range"),
    (LLAMA3, {"prompt": L3, "max_gen_len": 8193}, "max_gen_len: range"),
    (LLAMA3, {"prompt": L3, "max_gen_len": 0}, "max_gen_len: range"),
    (LLAMA4, {"prompt": L4, "images": ["i"]}, "images: one"),
    (LLAMA4, {"prompt": L4.replace("x<|eot", "<|image|><|eot")}, "images: one"),
    (MIXTRAL, {"prompt": "x"}, "instruct format"),
    (MIXTRAL, {"prompt": L2, "seed": 1}, "seed: Extra"),
    (MIXTRAL, {"prompt": L2, "temperature": 1.1}, "temperature: range"),
    (MIXTRAL, {"prompt": L2, "top_p": 1.1}, "top_p: range"),
    (MIXTRAL, {"prompt": L2, "stop": ["x"] * 11}, "stop: at most 10"),
    (MIXTRAL, {"prompt": L2, "stop": "x"}, "stop: at most 10"),
    (R1, {"prompt": "x"}, "not the template"),
    (R1, {"prompt": "Hi", "top_k": 1}, "top_k: Extra"),
    (R1, {"prompt": "Hi", "max_tokens": 32_769}, "max_tokens: range"),
    (R1, {"prompt": "Hi", "temperature": 1.1}, "temperature: range"),
    (COMMAND, {"message": " "}, "message: Field required"),
    (COMMAND, {"message": "x", "messages": []}, "messages: Extra"),
    (COMMAND, {"message": "x", "chat_history": [{"role": "user", "message": "y"}]}, "chat_history"),
    (COMMAND, {"message": "x", "chat_history": [{"role": "USER", "message": ""}]}, "chat_history"),
    (COMMAND, {"message": "x", "tools": [{**DEFINITION, "parameters": {}}]}, "tools.parameters: Extra"),
    (COMMAND, {"message": "x", "tools": [{**DEFINITION, "parameter_definitions": {"a": {"enum": []}}}]}, "enum: Extra"),
    (COMMAND, {"message": "x", "temperature": 1.1}, "temperature: range"),
    (TITAN, {"inputText": ""}, "inputText"),
    (TITAN, {"inputText": "x", "max_tokens": 1}, "max_tokens: Extra"),
    (TITAN, {"inputText": "x", "textGenerationConfig": {"topK": 1}}, "topK: Extra"),
    (TITAN, {"inputText": "x", "textGenerationConfig": {"temperature": 1.1}}, "temperature: range"),
    (GPT, said(ASK, model="x"), "model: Extra"),
    (GPT, said(ASK, temperature=2.1), "temperature: range"),
    (KIMI, said(ASK, temperature=1.1), "temperature: range"),
    (KIMI, said(ASK, stop=["x"]), "stop: not supported"),
    (KIMI, said(ASK, tools=[FUNCTION], tool_choice="required"), "required is not supported"),
    (GPT, said(ASK, reasoning_effort="minimal"), "reasoning_effort"),
    (QWEN, said(ASK, reasoning_effort="low"), "reasoning_effort"),
    (QWEN, said(), "messages: Field required"),
    (QWEN, said({**ASK, "name": "Ann"}), "name: Extra"),
    (QWEN, said({"role": "developer", "content": "x"}), "messages.0.role"),
    (QWEN, said({"role": "user", "content": ""}), "must not be empty"),
    (QWEN, said({"role": "user", "content": [{"type": "text", "text": " "}]}), "invalid part"),
    (QWEN, said({"role": "user", "content": [{"type": "input_audio"}]}), "invalid part"),
    (QWEN, said({"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x/y.png"}}]}), "not supported"),
    (QWEN, said({"role": "user", "content": [{"type": "image_url", "image_url": {"url": f"data:image/gif;base64,{PNG}"}}]}), "does not match"),
    (QWEN, said(ASK, {"role": "assistant", "tool_calls": [{**CALL, "type": "custom"}]}), "tool_calls"),
    (QWEN, said(ASK, {"role": "assistant", "tool_calls": [{**CALL, "function": {"name": "f", "arguments": {}}}]}), "tool_calls"),
    (QWEN, said(ASK, {"role": "tool", "tool_call_id": "c1", "content": "r"}), "no such call"),
    (QWEN, said(ASK, tools=[{"type": "function", "function": {}}]), "tools: invalid"),
    (QWEN, said(ASK, tools=[{**FUNCTION, "type": "custom"}]), "tools: invalid"),
    (QWEN, said(ASK, tool_choice="auto"), "needs tools"),
    (LARGE_2407, said(ASK, seed=1), "seed: Extra"),
    (LARGE_2407, said(ASK, temperature=1.1), "temperature: range"),
    (LARGE_2407, said(ASK, tools=[FUNCTION], tool_choice="required"), "auto, any or none"),
    (LARGE_2407, said(), "messages: Field required"),
    (T1, {"inputText": "x", "dimensions": 512}, "dimensions: Extra"),
    (T1, {"inputText": " "}, "inputText"),
    (T2, {"inputText": "x", "dimensions": 384}, "dimensions: 256"),
    (T2, {"inputText": "x", "inputImage": "i"}, "inputImage: Extra"),
    (TI, {"inputText": "x", "embeddingConfig": {"outputEmbeddingLength": 512}}, "outputEmbeddingLength"),
    (C3, {"texts": ["x"]}, "input_type"),
    (C3, {"texts": ["x"], "input_type": "text"}, "input_type"),
    (C3, {"texts": [], "input_type": "clustering"}, "1 to 96"),
    (C3, {"texts": ["x"] * 97, "input_type": "clustering"}, "1 to 96"),
    (C3, {"texts": ["x", " "], "input_type": "clustering"}, "blank"),
    (C3, {"texts": ["x"], "input_type": "clustering", "output_dimension": 256}, "output_dimension: Extra"),
    (C4, {"texts": ["x"], "input_type": "clustering", "output_dimension": 384}, "output_dimension"),
    (NE, {**NOVA, "inputText": "x"}, "inputText: Extra"),
    (NE, {**NOVA, "taskType": "SEGMENTED_EMBEDDING"}, "taskType"),
    (NE, nova(image={}), "image: Extra"),
    (NE, nova(embeddingDimension=512), "embeddingDimension"),
    (NE, nova(text={"truncationMode": "MIDDLE", "value": "x"}), "text"),
    (NE, nova(text={"truncationMode": "END", "value": " "}), "text"),
    (M2, {"inputType": "text", "inputText": "x", "textTruncate": "start"}, "textTruncate"),
    (M2, {"inputType": "text", "text": {"inputText": "x"}}, "text: Extra"),
    (M2, {"inputType": "image", "inputText": "x"}, "inputType: text"),
    (M3, {"inputType": "text", "inputText": "x"}, "inputText: Extra"),
    (M3, {"inputType": "text", "text": {"inputText": " "}}, "inputText: Field required"),
    (M3, {"inputType": "text", "text": {"inputText": "x", "y": 1}}, "text.y: Extra"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "body", "words"), REFUSED)
def test_what_is_refused(name: str, body: dict[str, Any], words: str) -> None:
    with pytest.raises(Refused) as caught:
        look(name, body)
    assert words in caught.value.message
