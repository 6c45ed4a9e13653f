"""Files that are no batch file as a whole: they are told from bad lines, and the command that is named mends them."""

import json
import re
import shutil
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tasks.inputs.mistakes import mistake_of
from tasks.inputs.summary import InputSummary
from tasks.openai_format.requests import CHAT
from tasks.storage.reader import find_sources
from tasks.validate import validate_input
from tests.conftest import chat

LINES = [chat(f"request-{i}", f"hello, {i}") for i in range(1, 30)]
BARE = [{"messages": line["body"]["messages"], "max_tokens": 9} for line in LINES]
ANTHROPIC = [
    {
        "custom_id": f"a{i}",
        "params": {
            "model": "claude",
            "max_tokens": 9,
            "system": "Be brief.",
            "messages": [{"role": "user", "content": "x"}],
        },
    }
    for i in range(9)
]
GEMINI = [
    {
        "key": f"k{i}",
        "request": {
            "contents": [
                {"role": "user", "parts": [{"text": "x"}]},
                {"role": "model", "parts": [{"text": "y"}]},
                {"role": "user", "parts": [{"text": "z"}]},
            ],
            "systemInstruction": {"parts": [{"text": "s"}]},
        },
    }
    for i in range(9)
]


def jsonl(values: list[Any]) -> str:
    return "".join(json.dumps(value) + "\n" for value in values)


FILES: dict[str, tuple[str, str | bytes]] = {
    "array.json": ("JSON array", json.dumps(LINES)),
    "array_over_lines.json": ("JSON array", json.dumps(LINES, indent=2)),
    "array_a_line_each.json": ("JSON array", "[\n" + ",\n".join(json.dumps(line) for line in LINES) + "\n]\n"),
    "array_of_bodies.json": ("JSON array, and a file of bare chat bodies", json.dumps(BARE)),
    "pretty.jsonl": ("pretty-printed", "\n".join(json.dumps(line, indent=2) for line in LINES)),
    "pretty_bodies.jsonl": ("bare chat bodies", "\n".join(json.dumps(line, indent=2) for line in BARE)),
    "table.csv": ("CSV", 'id,prompt\n1,"hello, you"\n2,hello\n'),
    "table.tsv": ("CSV", "id\tprompt\n1\thello\n2\thello\n"),
    "table of Excel.csv": ("CSV", "id;prompt\n1;hello\n2;hello\n"),
    "utf16.jsonl": ("UTF-16", jsonl(LINES).encode("utf-16")),
    "utf16_without_mark.jsonl": ("UTF-16LE", jsonl(LINES).encode("utf-16-le")),
    "utf16_big.jsonl": ("UTF-16BE", jsonl(LINES).encode("utf-16-be")),
    "utf32.jsonl": ("UTF-32", jsonl(LINES).encode("utf-32")),
    "commas.jsonl": ("comma at the end", ",\n".join(json.dumps(line) for line in LINES) + "\n"),
    "commas_all.jsonl": ("comma at the end", "".join(json.dumps(line) + ",\n" for line in LINES)),
    "bodies.jsonl": ("bare chat bodies", jsonl(BARE)),
    "it's bodies.jsonl": ("bare chat bodies", jsonl(BARE).rstrip()),
    "anthropic.jsonl": ("Anthropic's batch format", jsonl(ANTHROPIC)),
    "anthropic_call.json": ("Anthropic's batch format", json.dumps({"requests": ANTHROPIC}, indent=2)),
    "gemini.jsonl": ("Gemini's batch format", jsonl(GEMINI)),
    "bedrock.jsonl": ("Bedrock's own batch format", jsonl([{"recordId": "1", "modelInput": {"messages": []}}])),
    "bedrock.jsonl.out": ("output of a Bedrock job", jsonl([{"recordId": "1", "modelInput": {}, "modelOutput": {}}])),
    "output.jsonl": ("output of a batch", jsonl([{"id": "x", "custom_id": "a", "response": {}, "error": None}])),
}


def summary(path: Path, work: Path) -> InputSummary:
    work.mkdir(exist_ok=True)
    return validate_input(str(path), None, frozenset({CHAT}), work)


def mended(path: Path, command: str) -> Path:
    """The file that the command of a sentence makes, run as a user would."""
    made = path.parent / "batch.jsonl"
    subprocess.run(["bash", "-c", command], cwd=path.parent, check=True)
    return made


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_none_is_named_with_what_mends_it(name: str, tmp_path: Path) -> None:
    kind, content = FILES[name]
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    found = summary(path, tmp_path / "work")
    assert found.mistake is not None
    assert kind in found.mistake
    assert found.mistake.startswith(f"{name} is ")
    first = found.errors()[0]
    assert (first.code, first.message, first.line) == ("invalid_file_format", found.mistake, None)
    assert "hello" not in found.mistake
    command = re.search(r"make one of it: `(.*)`\.$", found.mistake)
    if command is None:
        assert kind in ("Bedrock's own batch format", "output of a Bedrock job", "output of a batch")
        return
    program = command[1].split()[0]
    if not shutil.which(program):
        pytest.skip(f"{program} is not there")
    again = summary(mended(path, command[1]), tmp_path / "again")
    assert (again.invalid, again.mistake) == (0, None)
    assert again.requests >= 2


def test_archives_are_named(tmp_path: Path) -> None:
    path = tmp_path / "batch.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("batch.jsonl", jsonl(LINES))
    mistake = summary(path, tmp_path / "work").mistake
    assert mistake
    assert "zip archive" in mistake
    assert "`unzip -p batch.zip > batch.jsonl`" in mistake


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n\n",
        jsonl(LINES),
        "\ufeff" + jsonl(LINES),
        "hello there, world\nagain\n",
        '{"a": 1',
        "null\n",
        "[\n",
        "[1, 2]\n",
        jsonl([3, 4]),
        jsonl([{**line, "custom_id": 7} for line in LINES]),
    ],
)
def test_nothing_is_guessed(text: str, tmp_path: Path) -> None:
    """Of a batch file, with bad lines or without, and of what nobody knows, nothing is said."""
    path = tmp_path / "in.jsonl"
    path.write_text(text, encoding="utf-8")
    assert mistake_of(find_sources(str(path))[0]) is None


def test_a_few_bad_lines_make_no_such_file(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text(jsonl([*BARE[:5], *LINES]))
    assert summary(path, tmp_path / "work").mistake is None


def test_of_files_with_one_name_the_right_one_is_looked_at(tmp_path: Path) -> None:
    for folder, text in (("a", jsonl(LINES[:2])), ("b", json.dumps(LINES, indent=2))):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "in.jsonl").write_text(text)
    mistake = summary(tmp_path / "*" / "in.jsonl", tmp_path / "work").mistake
    assert mistake
    assert "JSON array" in mistake
