"""Commands that make a batch file of something else: each step run on values as its file has them."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tasks.inputs import remedies
from tasks.inputs.remedies import RELAXED, command
from tasks.openai_format.requests import CHAT, EMBEDDINGS, RESPONSES
from tasks.storage.sources import Source

ASKED = {"role": "user", "content": "x"}
ANSWERED = {"role": "assistant", "content": "y"}

needs_jq = pytest.mark.skipif(not shutil.which("jq"), reason="jq is not there")


def source(uri: str) -> Source:
    return Source(uri.rsplit("/", 1)[-1], uri, "1", 100)


def run(step: str, text: str) -> str:
    """What a step makes of a text, read as it is by a later step of a pipe."""
    assert step.count("@FILE") == 1
    piped = re.sub(r" (?:< )?@FILE", "", step)
    return subprocess.run(["bash", "-c", piped], input=text, capture_output=True, text=True, check=True).stdout


def made(step: str, *values: Any) -> list[Any]:
    """The lines that a step makes of a file of values."""
    return [json.loads(line) for line in run(step, "".join(json.dumps(value) + "\n" for value in values)).splitlines()]


def request(custom_id: str, body: Any, url: str = CHAT) -> dict[str, Any]:
    return {"custom_id": custom_id, "method": "POST", "url": url, "body": body}


@pytest.mark.parametrize(
    ("uri", "place"),
    [
        ("s3://bucket/some/in.jsonl", "in.jsonl"),
        ("s3://bucket/some/it's in.jsonl", """'it'"'"'s in.jsonl'"""),
        ("/elsewhere/in.jsonl", "/elsewhere/in.jsonl"),
        ("/elsewhere/a b.jsonl", "'/elsewhere/a b.jsonl'"),
        ("/elsewhere/$HOME.jsonl", "'/elsewhere/$HOME.jsonl'"),
        (r"/elsewhere/a\1.jsonl", r"'/elsewhere/a\1.jsonl'"),
    ],
)
def test_where_the_file_is_for_a_shell(uri: str, place: str) -> None:
    assert command(source(uri), (remedies.COMPACT,)) == f"jq -c . {place} > batch.jsonl"


def test_a_file_below_is_named_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, place in (("in.json", "in.json"), ("a/in.json", "a/in.json"), ("-in.json", "./-in.json")):
        assert command(source(str(tmp_path / name)), (remedies.ELEMENTS,)) == f"jq -c '.[]' {place} > batch.jsonl"
    assert command(source(str(tmp_path / "- b")), (remedies.COMPACT,)) == "jq -c . '- b' > batch.jsonl"


def test_a_command_never_writes_over_its_file() -> None:
    assert command(source("/a/batch.jsonl"), (remedies.COMPACT,)).endswith("jq -c . /a/batch.jsonl > mended.jsonl")
    assert command(source("/a/mended.jsonl"), (remedies.COMPACT,)).endswith(" > batch.jsonl")


def test_only_the_first_step_of_a_pipe_names_the_file() -> None:
    steps = (remedies.DECOMPRESS["gzip"], remedies.PYTHON_LIST, remedies.ELEMENTS)
    first, second, third = command(source("/a/in.gz"), steps).split(" | ")
    assert first == "gzip -dc /a/in.gz"
    assert second.startswith("python3 -c ")
    assert second.endswith("'")
    assert third == "jq -c '.[]' > batch.jsonl"
    assert command(source("/a/in"), (remedies.YAML,)).endswith("' < /a/in > batch.jsonl")


@needs_jq
def test_values_are_numbered_where_they_have_no_id() -> None:
    step = remedies.wrapped("$x", RESPONSES, custom_id="$x.id")
    bodies: list[dict[str, Any]] = [{"id": 7}, {"input": "x"}, {"id": None}, {"id": "a"}]
    ids = ["7", "request-2", "request-3", "a"]
    assert made(step, *bodies) == [request(id_, body, RESPONSES) for id_, body in zip(ids, bodies, strict=True)]
    assert made(remedies.wrapped("$x"), {"a": 1}) == [request("request-1", {"a": 1})]


@needs_jq
@pytest.mark.parametrize(
    ("step", "value", "custom_id", "body"),
    [
        (remedies.PROMPTS, 'say "x"\n', "request-1", {"messages": [{"role": "user", "content": 'say "x"\n'}]}),
        (remedies.CONVERSATIONS, [ASKED], "request-1", {"messages": [ASKED]}),
        (remedies.CONVERSATION, [ASKED, ANSWERED], "request-1", {"messages": [ASKED, ANSWERED]}),
        (remedies.FINE_TUNING, {"messages": [ASKED, ANSWERED]}, "request-1", {"messages": [ASKED]}),
        (remedies.FINE_TUNING, {"messages": [ASKED]}, "request-1", {"messages": [ASKED]}),
        (
            remedies.SHARED_CHATS,
            {"conversations": [{"from": "human", "value": "x"}, {"from": "gpt", "value": "y"}]},
            "request-1",
            {"messages": [ASKED]},
        ),
        (
            remedies.SHARED_CHATS,
            {"conversations": [{"from": "gpt", "value": "y"}, {"from": "user", "value": "x"}]},
            "request-1",
            {"messages": [ANSWERED, ASKED]},
        ),
        (remedies.INSTRUCTIONS, {"instruction": "x", "input": ""}, "request-1", {"messages": [ASKED]}),
        (
            remedies.INSTRUCTIONS,
            {"instruction": "x", "input": "z", "output": "y"},
            "request-1",
            {"messages": [{"role": "user", "content": "x\n\nz"}]},
        ),
        (remedies.FLAT, {"custom_id": "a", "messages": [ASKED], "n": 2}, "a", {"messages": [ASKED], "n": 2}),
        (remedies.prompts_of("text"), {"id": 5, "text": "x"}, "5", {"messages": [ASKED]}),
        (remedies.prompts_of("text"), {"id": 5, "custom_id": "a", "text": "x"}, "a", {"messages": [ASKED]}),
    ],
)
def test_a_request_of_each_value(step: str, value: Any, custom_id: str, body: Any) -> None:
    assert made(step, value) == [request(custom_id, body)]


@needs_jq
def test_a_request_of_each_line_of_a_text() -> None:
    lines = run(remedies.TEXT_LINES, 'say "x"\n\n \nx\n').splitlines()
    assert [json.loads(line) for line in lines] == [
        request("request-1", {"messages": [{"role": "user", "content": 'say "x"'}]}),
        request("request-2", {"messages": [ASKED]}),
    ]


@needs_jq
def test_a_request_of_anthropic() -> None:
    tool = {"name": "t", "description": "d", "input_schema": {"type": "object"}}
    params = {
        "model": "m",
        "max_tokens": 9,
        "system": "s",
        "messages": [ASKED],
        "stop_sequences": ["z"],
        "tools": [tool, {"type": "web_search"}],
    }
    function = {"name": "t", "description": "d", "parameters": {"type": "object"}}
    body = {
        "model": "m",
        "max_tokens": 9,
        "messages": [{"role": "system", "content": "s"}, ASKED],
        "stop": ["z"],
        "tools": [{"type": "function", "function": function}, {"type": "web_search"}],
    }
    plain = {"custom_id": "b", "params": {"messages": [ASKED]}}
    assert made(remedies.ANTHROPIC, {"custom_id": "a", "params": params}, plain) == [
        request("a", body),
        request("b", {"messages": [ASKED]}),
    ]


@needs_jq
def test_a_request_of_gemini() -> None:
    body = {
        "contents": [
            {"role": "user", "parts": [{"text": "a"}, {"text": "b"}]},
            {"role": "model", "parts": [{"text": "y"}]},
            {"parts": [{"text": "x"}]},
        ],
        "systemInstruction": {"parts": [{"text": "s"}]},
        "generationConfig": {"maxOutputTokens": 9, "topP": 0.5, "temperature": 1, "stopSequences": ["z"]},
    }
    wanted = {
        "messages": [
            {"role": "system", "content": "s"},
            {"role": "user", "content": "ab"},
            ANSWERED,
            ASKED,
        ],
        "max_completion_tokens": 9,
        "top_p": 0.5,
        "temperature": 1,
        "stop": ["z"],
    }
    assert made(remedies.GEMINI, {"key": "k", "request": body}) == [request("k", wanted)]
    assert made(remedies.GEMINI, {"metadata": {"key": "m"}, "request": body}) == [request("m", wanted)]
    assert made(remedies.GEMINI_BODIES, {"contents": "x"}) == [request("request-1", {"messages": [ASKED]})]


@needs_jq
def test_a_record_of_bedrock() -> None:
    converse = {
        "system": [{"text": "s"}],
        "messages": [{"role": "user", "content": [{"text": "a"}, {"text": "b"}]}],
        "inferenceConfig": {"maxTokens": 9, "topP": 0.5, "stopSequences": ["z"]},
        "schemaVersion": "messages-v1",
    }
    anthropic = {"anthropic_version": "bedrock-2023-05-31", "system": "s", "messages": [ASKED], "max_tokens": 9}
    system = {"role": "system", "content": "s"}
    assert made(
        remedies.BEDROCK, {"recordId": "1", "modelInput": converse}, {"recordId": "2", "modelInput": anthropic}
    ) == [
        request(
            "1",
            {
                "messages": [system, {"role": "user", "content": "ab"}],
                "max_completion_tokens": 9,
                "top_p": 0.5,
                "stop": ["z"],
            },
        ),
        request("2", {"messages": [system, ASKED], "max_tokens": 9}),
    ]


@needs_jq
def test_what_a_request_lacks_is_filled_in() -> None:
    step = remedies.envelope(EMBEDDINGS)
    given = [{"body": {"input": "x"}}, {"customId": "a", "url": CHAT, "body": '{"messages": []}'}]
    assert made(step, *given) == [request("request-1", {"input": "x"}, EMBEDDINGS), request("a", {"messages": []})]


def test_rows_of_a_table() -> None:
    text = '\ufeffname;prompt\r\nq;"x;\r\ny"\r\nr;x\r\n'
    lines = run(remedies.table(";", 'row["prompt"]', 'f"row-{i}"'), text).splitlines()
    assert [json.loads(line) for line in lines] == [
        request("row-1", {"messages": [{"role": "user", "content": "x;\r\ny"}]}),
        request("row-2", {"messages": [ASKED]}),
    ]
    text = 'custom_id,url,body\na,,"{""n"": 1}"\nb,/v1/embeddings,"{""n"": 2}"\n'
    lines = run(remedies.table_of_requests(","), text).splitlines()
    assert [json.loads(line) for line in lines] == [request("a", {"n": 1}), request("b", {"n": 2}, EMBEDDINGS)]


def test_pythons_way_to_print() -> None:
    assert made(remedies.PYTHON_LINES) == []
    assert run(remedies.PYTHON_LINES, "{'a': None}\n\n{'b': True}\n") == '{"a": null}\n{"b": true}\n'
    assert run(remedies.PYTHON_LIST, "[{'a': None},\n {'b': 'it\\'s'}]") == '[{"a": null}, {"b": "it\'s"}]\n'


def test_what_is_around_a_line_is_cut_off() -> None:
    assert run(remedies.WITHOUT_COMMAS, '{"a": "x, "},\n{"b": 1}, \n{}\n') == '{"a": "x, "}\n{"b": 1}\n{}\n'
    assert run(remedies.WITHOUT_PREFIX, 'data: {"a": {}}\n1\t{"b": 1}\n{}\n') == '{"a": {}}\n{"b": 1}\n{}\n'


@pytest.mark.parametrize(
    ("text", "group"),
    [('"a // b, ]"', 1), (r'"a \" b"', 1), ("// x", 2), ("/* x\ny */", 2), ("# x", 2), ("NaN", 4), ("-Infinity", 4)],
)
def test_what_is_a_string_and_what_json_does_not_have(text: str, group: int) -> None:
    found = re.search(f"(?sm){RELAXED}", text)
    assert found is not None
    assert (found.lastindex, found[group]) == (group, text)


def test_relaxed_json_is_made_strict() -> None:
    text = '# x\n{a: 1, "b": [NaN, -Infinity,], /* x */ "c": "NaN, ] // # x", }\n// x\n'
    assert json.loads(run(remedies.STRICT, text)) == {"a": 1, "b": [None, None], "c": "NaN, ] // # x"}
