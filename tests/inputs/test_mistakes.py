"""Files that are no batch file as a whole: they are told from bad lines, and the command that is named mends them."""

import gzip
import io
import json
import re
import shutil
import subprocess
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tasks.inputs import remedies
from tasks.inputs.mistakes import mistake_of
from tasks.inputs.summary import InputSummary
from tasks.openai_format.requests import CHAT, EMBEDDINGS
from tasks.storage.sources import find_sources
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


def jsonl(values: list[Any], ascii: bool = True) -> str:
    return "".join(json.dumps(value, ensure_ascii=ascii) + "\n" for value in values)


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
    "array_with_last_comma.json": ("trailing commas", "[" + ",\n".join(json.dumps(line) for line in LINES) + ",\n]"),
    "array_of_texts.json": ("JSON array, and a file of prompts", json.dumps(["hello", "hello?"])),
    "around.json": ("one JSON object with all requests in `data`", json.dumps({"object": "list", "data": LINES})),
    "bodies_around.json": ("requests in `items`, and a file of bare chat", json.dumps({"items": BARE}, indent=1)),
    "conversations.jsonl": ("lists of messages", jsonl([line["messages"] for line in BARE])),
    "prompts.jsonl": ("a file of prompts", jsonl(["hello", "hello?"])),
    "prompts.txt": ("plain text", "hello there\n\nhello?\n"),
    "questions.jsonl": ("prompts in `question`", jsonl([{"id": i, "question": "hello"} for i in range(3)])),
    "table of requests.csv": (
        "table (CSV) of requests",
        'custom_id,body\n1,"{""messages"": [{""role"": ""user"", ""content"": ""x""}]}"\n'
        '2,"{""messages"": [{""role"": ""user"", ""content"": ""y""}]}"\n',
    ),
    "table_by_place.csv": ("column 2", 'a,"b c"\n1,"hello,\nyou"\n2,hello to all\n'),
    "table_with_mark.csv": ("column `text`", "\ufeffnumber|text\r\n1|hello\r\n2|hello\r\n"),
    "column.csv": ("column `prompt`", "prompt\nhello there\nhello again\n"),
    "utf16_array.json": ("UTF-16, and one JSON array", json.dumps(LINES).encode("utf-16")),
    "utf16_table.csv": ("UTF-16BE, and a table", "id,prompt\n1,hello\n2,hello\n".encode("utf-16-be")),
    "utf32_without_mark.jsonl": ("UTF-32LE", jsonl(LINES).encode("utf-32-le")),
    "windows.jsonl": ("WINDOWS-1252", jsonl([chat(f"é{i}", "hello") for i in range(9)], ascii=False).encode("cp1252")),
    "japanese.jsonl": (
        "CP932",
        jsonl([chat(f"{i}", "日本語のテキスト、漢字とかな") for i in range(9)], ascii=False).encode("shift_jis"),
    ),
    "two_a_line.jsonl": ("without line ends", jsonl(LINES).replace("\n", "", 1)),
    "one_line.jsonl": ("without line ends", jsonl(LINES).replace("\n", " ")),
    "old_mac.jsonl": ("old Macs", jsonl(LINES).replace("\n", "\r")),
    "first_is_pretty.jsonl": ("pretty-printed", json.dumps(LINES[0], indent=2) + "\n" + jsonl(LINES[1:])),
    "comma_within.jsonl": ("trailing commas", jsonl(LINES).replace("}]", "},]")),
    "comments.jsonl": ("comments", "# hello\n" + jsonl(LINES).replace("\n", ' // hello: "yes"\n')),
    "nan.jsonl": ("NaN or Infinity", jsonl([{**line, "note": float("nan"), "more": "NaN, }"} for line in LINES])),
    "keys.json5": ("unquoted keys", jsonl(LINES).replace('"custom_id"', "custom_id")),
    "python.jsonl": ("Python's way", "".join(f"{ {**line, 'last': None} }\n" for line in LINES)),
    "python_list.txt": ("Python's way", str(LINES)),
    "python_bodies.jsonl": (
        "Python's way to print dictionaries (single quotes), instead of json.dumps, and a file of bare",
        "".join(f"{line}\n" for line in BARE),
    ),
    "stream.jsonl": ("something before each", "".join(f"data: {json.dumps(line)}\n" for line in LINES)),
    "twice.jsonl": ("JSON within JSON", jsonl([json.dumps(line) for line in LINES])),
    "flat.jsonl": ("custom_id` beside", jsonl([{"custom_id": f"{i}", **body} for i, body in enumerate(BARE)])),
    "no_url.jsonl": (
        "without `method` and `url`",
        jsonl([{"custom_id": f"{i}", "body": b} for i, b in enumerate(BARE)]),
    ),
    "no_id.jsonl": ("without `custom_id`", jsonl([{k: v for k, v in x.items() if k != "custom_id"} for x in LINES])),
    "body_is_text.jsonl": ("`body` is text", jsonl([{**line, "body": json.dumps(line["body"])} for line in LINES])),
    "embeddings.jsonl": ("bare bodies", jsonl([{"model": "text-embedding-3-small", "input": ["hello"]}] * 3)),
    "tuning.jsonl": (
        "fine-tuning data (`messages`",
        jsonl([{"messages": [*line["messages"], {"role": "assistant", "content": "hello!"}]} for line in BARE]),
    ),
    "shared_chats.jsonl": (
        "fine-tuning data (`conversations`)",
        jsonl([{"conversations": [{"from": "human", "value": "x"}, {"from": "gpt", "value": "y"}]}] * 3),
    ),
    "instructions.jsonl": (
        "fine-tuning data (`instruction`)",
        jsonl([{"instruction": "hello", "input": "", "output": "y"}] * 3),
    ),
    "anthropic_without_ids.jsonl": ("Anthropic's", jsonl([{"params": line["params"]} for line in ANTHROPIC])),
    "gemini_call.json": (
        "Gemini's batch format",
        json.dumps(
            {
                "batch": {
                    "input_config": {
                        "requests": {
                            "requests": [
                                {"request": line["request"], "metadata": {"key": line["key"]}} for line in GEMINI
                            ]
                        }
                    }
                }
            }
        ),
    ),
    "gemini_bodies.jsonl": ("bare bodies of Gemini", jsonl([line["request"] for line in GEMINI])),
    "records.jsonl": (
        "Bedrock's own batch format",
        jsonl(
            [
                {
                    "recordId": f"{i}",
                    "modelInput": {
                        "system": [{"text": "hello"}],
                        "messages": [{"role": "user", "content": [{"text": "x"}]}],
                        "inferenceConfig": {"maxTokens": 9},
                    },
                }
                for i in range(3)
            ]
        ),
    ),
    "bedrock.jsonl": ("Bedrock's own batch format", jsonl([{"recordId": "1", "modelInput": {"messages": []}}])),
    "bedrock.jsonl.out": ("output of a Bedrock job", jsonl([{"recordId": "1", "modelInput": {}, "modelOutput": {}}])),
    "output.jsonl": ("output of a batch", jsonl([{"id": "x", "custom_id": "a", "response": {}, "error": None}])),
}


def summary(path: Path, work: Path) -> InputSummary:
    work.mkdir(exist_ok=True)
    return validate_input(str(path), None, frozenset({CHAT, EMBEDDINGS}), work)


def mended(path: Path, command: str) -> Path:
    """The file that the command of a sentence makes, run as a user would."""
    made = path.parent / "batch.jsonl"
    subprocess.run(["bash", "-c", command], cwd=path.parent, check=True, timeout=60)
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


def test_archives_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "batch.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("batch.jsonl", jsonl(LINES))
    mistake = summary(path, tmp_path / "work").mistake
    assert mistake
    assert "zip archive" in mistake
    assert "`unzip -p batch.zip > batch.jsonl`" in mistake


def zstd(data: bytes) -> bytes:
    return bytes(pa.Codec("zstd").compress(data, asbytes=True))


OTHERS: dict[str, tuple[str, bytes | str]] = {
    "page.html": ("an HTML page", "<!DOCTYPE html>\n<html></html>\n"),
    "error.xml": ("an XML document", '<?xml version="1.0"?>\n<Error><Code>NoSuchKey</Code></Error>\n'),
    "error.json": ("an API's error", json.dumps({"error": {"message": "hello", "type": "x"}})),
    "lfs.jsonl": ("a pointer of Git LFS", "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"),
    "batch.json": ("OpenAI's object of a batch", json.dumps({"object": "batch", "input_file_id": "f"}, indent=1)),
    "answers.jsonl": ("a file of answers", jsonl([{"object": "chat.completion", "choices": []}])),
    "results.jsonl": ("results of a batch of Anthropic", jsonl([{"custom_id": "a", "result": {"type": "succeeded"}}])),
    "refused.jsonl.out": ("output of a Bedrock job", jsonl([{"recordId": "1", "modelInput": {}, "error": {}}])),
    "manifest.json.out": ("the manifest of a Bedrock job", jsonl([{"totalRecordCount": 1}])),
    "book.xlsx": ("an Office document", b"PK\x03\x04" + b"\0" * 26 + b"[Content_Types].xml"),
    "picture.png": ("a picture", b"\x89PNG\r\n\x1a\n\0\0"),
    "rows.db": ("an SQLite database", b"SQLite format 3\0\0"),
    "model.bin": ("binary data", bytes(range(256)) * 4),
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_no_command_mends_is_named_with_a_way_on(name: str, tmp_path: Path) -> None:
    kind, content = OTHERS[name]
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    mistake = summary(path, tmp_path / "work").mistake
    assert mistake
    assert f"{name} is " in mistake
    assert kind in mistake
    assert re.search(r"on each line\); \w", mistake), "what to do"
    assert "hello" not in mistake


@pytest.mark.parametrize("pack", [gzip.compress, zstd], ids=["gzip", "zstd"])
def test_what_is_compressed_is_mended_in_one_command(pack: Callable[[bytes], bytes], tmp_path: Path) -> None:
    path = tmp_path / "in.json.z"
    path.write_bytes(pack(json.dumps(BARE).encode("utf-16")))
    mistake = summary(path, tmp_path / "work").mistake
    command = re.search(r"make one of it: `(.*)`\.$", mistake or "")
    assert command
    if not shutil.which(command[1].split()[0]):
        pytest.skip("it is not there")
    assert summary(mended(path, command[1]), tmp_path / "again").valid == len(BARE)


def test_tar_archives_are_mended_in_one_command(tmp_path: Path) -> None:
    (tmp_path / "one.jsonl").write_text(jsonl(LINES))
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        archive.add(tmp_path / "one.jsonl", "one.jsonl")
    for name, content in (("in.tar", packed.getvalue()), ("in.tar.gz", gzip.compress(packed.getvalue()))):
        (tmp_path / name).write_bytes(content)
        mistake = summary(tmp_path / name, tmp_path / "work").mistake
        command = re.search(r"make one of it: `(.*)`\.$", mistake or "")
        assert command
        assert summary(mended(tmp_path / name, command[1]), tmp_path / "again").valid == len(LINES)


def test_a_command_never_writes_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "batch.jsonl"
    path.write_text(json.dumps(LINES))
    assert "batch.jsonl > mended.jsonl`" in (mistake_of(find_sources(str(path))[0]) or "")


def test_a_command_names_the_file_as_it_is_reached_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "some data").mkdir()
    (tmp_path / "some data" / "-in.json").write_text(json.dumps(LINES))
    monkeypatch.chdir(tmp_path)
    assert "jq -c '.[]' 'some data/-in.json' >" in (mistake_of(find_sources("some data/-in.json")[0]) or "")
    monkeypatch.chdir(tmp_path / "some data")
    assert "jq -c '.[]' ./-in.json >" in (mistake_of(find_sources("-in.json")[0]) or "")


def test_parts_that_are_no_text_are_not_left_out_in_silence(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    picture = {"inlineData": {"mimeType": "image/png", "data": ""}}
    path.write_text(jsonl([{"key": "a", "request": {"contents": [{"parts": [{"text": "x"}, picture]}]}}]))
    command = re.search(r"make one of it: `(.*)`\.$", summary(path, tmp_path / "work").mistake or "")
    assert command
    if shutil.which("jq"):
        done = subprocess.run(["bash", "-c", command[1]], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode
        assert "a part that is no text" in done.stderr


@pytest.mark.parametrize(
    "text", ["{'" + "(" * 50_000, "{'a': " + "-" * 50_000 + "1}", '{"' + '\\"' * 100_000, "/*" * 100_000, "[" * 200_000]
)
def test_what_is_made_to_keep_us_busy_does_not(text: str, tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text(text)
    mistake_of(find_sources(str(path))[0])


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
        # No JSON, though Python would read it.
        jsonl([{**line, "custom_id": "half \ud800"} for line in LINES]),
        jsonl([{**line, "custom_id": "a b"} for line in LINES]).replace("a b", "a\tb"),
        jsonl([{**line, "custom_id": "{'a': 1}\udc00"} for line in LINES]),
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


#: Bytes that a file begins with, what it is, and how it is mended; or what is to be done, where no command mends it.
BYTES: list[tuple[str, bytes, str, str]] = [
    ("in.parquet", b"PAR1", "a Parquet file", f"`{remedies.PARQUET.replace('@FILE', 'in.parquet')} > batch.jsonl`"),
    ("in.bz2", b"BZh9", "a bzip2 file", "`bzip2 -dc in.bz2 > batch.jsonl`"),
    ("in.xz", b"\xfd7zXZ\x00", "an xz file", "`xz -dc in.xz > batch.jsonl`"),
    ("in.lz4", b"\x04\x22\x4d\x18", "an lz4 file", "`lz4 -dc in.lz4 > batch.jsonl`"),
    ("in.7z", b"7z\xbc\xaf\x27\x1c", "a 7z archive", "`7z x -so in.7z > batch.jsonl`"),
    ("in.rar", b"Rar!\x1a\x07", "a RAR archive", "`unrar p -inul in.rar > batch.jsonl`"),
    ("in.pdf", b"%PDF-1.7\n", "a PDF", "save its texts as JSON lines"),
    ("in.arrow", b"ARROW1\x00\x00", "an Arrow file", "save it as JSON lines: `pandas.read_feather("),
    ("in.xls", b"\xd0\xcf\x11\xe0\xa1\xb1", "an old Excel or Word file", "save it as CSV (UTF-8)"),
    ("in.jpg", b"\xff\xd8\xff\xe0", "a picture", "put it into a request as an image_url"),
    ("in.db", b"SQLite format 3\x00", "an SQLite database", "`sqlite3 -json`"),
    ("in.pkl", b"\x80\x04\x95\x10", "a Python pickle", "Python's json.dumps"),
    ("in.xlsx", b"PK\x03\x04" + b"\0" * 26 + b"xl/workbook.xml", "an Office document", "save its table as CSV"),
    ("in.docx", b"PK\x03\x04" + b"\0" * 26 + b"[Content_Types].xml", "an Office document", "save its table as CSV"),
    ("in.zip", b"PK\x03\x04" + b"\0" * 26 + b"a.jsonl", "a zip archive", "`unzip -p in.zip > batch.jsonl`"),
    (
        "mac.zip",
        b"PK\x03\x04" + b"\0" * 26 + b"a.jsonl" + b"\0" * 40 + b"__MACOSX/._a.jsonl",
        "a zip archive",
        "`unzip -p mac.zip -x '__MACOSX/*' > batch.jsonl`",
    ),
    ("in.tar", b"a" * 257 + b"ustar\x00", "a tar archive", "`tar -xO -f in.tar > batch.jsonl`"),
    (
        "be.jsonl",
        b"\xfe\xff" + '{"a": 1}'.encode("utf-16-be"),
        "text in UTF-16",
        "`iconv -f UTF-16 -t UTF-8 be.jsonl >",
    ),
    ("be32.jsonl", b"\0\0\xfe\xff" + '{"a": 1}'.encode("utf-32-be"), "text in UTF-32", "`iconv -f UTF-32 -t UTF-8 "),
    ("b32.jsonl", '{"prompt": "x"}\n'.encode("utf-32-be"), "text in UTF-32BE", "`iconv -f UTF-32BE -t UTF-8 "),
    ("in.yml", b"- custom_id: a\n  body: {}\n", "YAML", f"`{remedies.YAML.replace('@FILE', 'in.yml')} | jq -c '.[]' >"),
    ("in.yaml", b"---\n- custom_id: a\n", "YAML", f"`{remedies.YAML.replace('@FILE', 'in.yaml')} | jq -c '.[]' >"),
]


@pytest.mark.parametrize("few", [False, True])
@pytest.mark.parametrize(("name", "content", "what", "mend"), BYTES, ids=[each[0] for each in BYTES])
def test_what_begins_so_is_no_text(
    name: str, content: bytes, what: str, mend: str, few: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_bytes(content)
    found = mistake_of(find_sources(name)[0], few=few)
    if few and what == "YAML":
        assert found is None, "most of its lines are good all the same"
        return
    assert found is not None
    assert found.startswith(f"{name} is {what}")
    assert mend in found


def test_a_table_is_read_by_its_best_column(tmp_path: Path) -> None:
    for text, what, used in (
        ("custom_id,content,prompt\n1,b,c\n2,b,c\n", "column `prompt`", 'row["custom_id"]'),
        ("text,question\na,b\nc,d\n", "column `question`", 'f"row-{i}"'),
        ("a,b\nshort,much longer\nshort,much longer\n", "column 2", "list(row.values())[1]"),
        ("a,b\nmuch longer,short\nmuch longer,short\n", "column 1", "list(row.values())[0]"),
    ):
        (tmp_path / "in.csv").write_text(text)
        found = mistake_of(find_sources(str(tmp_path / "in.csv"))[0]) or ""
        assert what in found
        assert used in found


def test_lines_of_text_are_prompts_in_a_text_file_only(tmp_path: Path) -> None:
    for name, said in (("in.txt", True), ("in.jsonl", False), ("in.md", False)):
        (tmp_path / name).write_text("What is this\nand that\n")
        assert ((mistake_of(find_sources(str(tmp_path / name))[0]) or "").count("plain text") == 1) is said
