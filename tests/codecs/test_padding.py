"""Records that fill up a job: each is paid for, and is the cheapest that its family takes."""

import pytest

from tasks.codecs import all_codecs

_CHAT = b'{"messages":[{"role":"user","content":"Hi"}],"max_tokens":1}'
PADDING = {
    "anthropic": b'{"anthropic_version":"bedrock-2023-05-31",'
    b'"max_tokens":1,"messages":[{"role":"user","content":"Hi"}]}',
    "cohere-command": b'{"message":"Hi","max_tokens":1}',
    "cohere-embed": b'{"texts":["Hi"],"input_type":"search_document"}',
    "converse": b'{"messages":[{"role":"user","content":[{"text":"Hi"}]}],"inferenceConfig":{"maxTokens":1}}',
    "deepseek-r1": b'{"prompt":"Hi","max_tokens":1}',
    "llama": b'{"prompt":"Hi","max_gen_len":1}',
    "marengo": b'{"inputType":"text","text":{"inputText":"Hi"}}',
    "mistral": _CHAT,
    "mistral-chat": _CHAT,
    "mistral-instruct": b'{"prompt":"<s>[INST] Hi [/INST]","max_tokens":1}',
    "nova": b'{"schemaVersion":"messages-v1","messages":[{"role":"user","content":[{"text":"Hi"}]}],'
    b'"inferenceConfig":{"maxTokens":1}}',
    "nova-embeddings": b'{"schemaVersion":"nova-multimodal-embed-v1","taskType":"SINGLE_EMBEDDING",'
    b'"singleEmbeddingParams":{"embeddingPurpose":"GENERIC_INDEX","embeddingDimension":256,'
    b'"text":{"value":"Hi","truncationMode":"NONE"}}}',
    "openai-bodied": _CHAT,
    "titan-embeddings": b'{"inputText":"Hi"}',
    "titan-text": b'{"inputText":"Hi","textGenerationConfig":{"maxTokenCount":1}}',
    "unserved": b"{}",
}


def test_every_family_has_one() -> None:
    assert {codec.family for codec in all_codecs()} == PADDING.keys()


@pytest.mark.parametrize("codec", all_codecs(), ids=lambda codec: codec.family)
def test_padding_is_one_word_in_and_one_out(codec: object) -> None:
    assert codec.padding() == PADDING[codec.family]  # type: ignore[attr-defined]
