"""Files that are no OpenAI batch file as a whole: what they are instead, and the command that makes one of them.

Told from the first bytes alone. A file of some bad lines is not meant here: those are told one by one.
"""

import ast
import codecs
import csv
import re
from pathlib import PurePath
from typing import Any, Final

from charset_normalizer import from_bytes

from tasks.inputs import remedies
from tasks.inputs.foreign import PROMPT_FIELDS, Kind, around, first_value, is_message, of_values, value_of, wrapped_in
from tasks.storage.reader import read_head
from tasks.storage.sources import Source

_HEAD_BYTES: Final = 1 << 18
#: So many whole lines are looked at; all of them have to be of the kind.
_LINES: Final = 20
#: Of a line that is held against Python's syntax, and of bytes whose encoding is guessed.
_MOST_PARSED: Final = 1 << 16
#: Of a text that is searched for what JSON does not have: the search may take the square of it.
_MOST_CLEANED: Final = 1 << 15
_ARCHIVES: Final = {
    b"PAR1": Kind("a Parquet file", (remedies.PARQUET,)),
    b"\x1f\x8b": Kind("gzip inside of a compressed file", ("gzip -dc @FILE",)),
    b"BZh": Kind("a bzip2 file", ("bzip2 -dc @FILE",)),
    b"\xfd7zXZ": Kind("an xz file", ("xz -dc @FILE",)),
    b"\x04\x22\x4d\x18": Kind("an lz4 file", ("lz4 -dc @FILE",)),
    b"7z\xbc\xaf": Kind("a 7z archive", ("7z x -so @FILE",)),
    b"Rar!": Kind("a RAR archive", ("unrar p -inul @FILE",)),
    b"%PDF": Kind("a PDF", advice="save its texts as JSON lines"),
    b"ARROW1": Kind("an Arrow file", advice="save it as JSON lines: `pandas.read_feather(…).to_json(…, lines=True)`"),
    b"\xd0\xcf\x11\xe0": Kind("an old Excel or Word file", advice="save it as CSV (UTF-8), and check that"),
    b"\x89PNG": Kind("a picture", advice="put it into a request as an image_url"),
    b"\xff\xd8\xff": Kind("a picture", advice="put it into a request as an image_url"),
    b"SQLite format 3": Kind("an SQLite database", advice="export its rows as JSON lines: `sqlite3 -json`, then `jq`"),
    b"\x80\x04\x95": Kind("a Python pickle", advice="write its objects as JSON lines with Python's json.dumps"),
}
_TAR: Final = Kind("a tar archive", ("tar -xO -f @FILE",))


def mistake_of(source: Source, *, few: bool = False) -> str | None:
    """What `source` is as a whole instead of an OpenAI batch file, with a command that mends it; None where unknown.

    `few`: most of its lines are good all the same, and only what its bytes are may speak against it.
    Raises InputFileError when it cannot be read.
    """
    head = read_head(source, _HEAD_BYTES)
    kind = _kind_of_bytes(head, source) or (None if few else _kind_of_text(_decoded(head), head, source))
    if kind is None:
        return None
    steps = kind.steps
    if steps and source.compression:
        packed = remedies.DECOMPRESS[source.compression]
        steps = ("tar -xzO -f @FILE",) if steps == _TAR.steps and "gzip" in packed else (packed, *steps)
        steps = tuple(step for i, step in enumerate(steps) if not (i and step == packed))
    mend = f"; make one of it: `{remedies.command(source, steps)}`" if steps else f"; {kind.advice}"
    return f"{source.name} is {kind.what}, not an OpenAI batch file (one JSON object on each line){mend}."


def _kind_of_bytes(head: bytes, source: Source) -> Kind | None:
    if head.startswith(b"PK\x03\x04"):
        return _of_zip(head)
    for magic, kind in _ARCHIVES.items():
        if head.startswith(magic):
            return kind
    if head[257:262] == b"ustar":
        return _TAR
    encoding = _wide_encoding(head) or _narrow_encoding(head)
    if encoding:
        step = f"iconv -f {encoding} -t UTF-8 @FILE"
        text = head.decode(encoding, errors="replace")
        return Kind(f"text in {encoding}", (step,)).and_(_kind_of_text(text.lstrip("\ufeff"), head, source))
    if b"\0" in head[:1024]:
        return Kind("binary data", advice="give the text file that it was made from")
    return None


def _of_zip(head: bytes) -> Kind:
    if b"[Content_Types].xml" in head or b"xl/" in head[:4096]:
        what = "an Office document (Excel's .xlsx, Word's .docx: a zip archive inside)"
        return Kind(what, advice="save its table as CSV (UTF-8), and check that")
    others = " -x '__MACOSX/*'" if b"__MACOSX" in head else ""
    return Kind("a zip archive", ("unzip -p @FILE" + others,))


def _wide_encoding(head: bytes) -> str | None:
    """UTF-16 or UTF-32 by its byte order mark, or by zeros where ASCII has them."""
    for mark, name in (
        (codecs.BOM_UTF32_LE, "UTF-32"),
        (codecs.BOM_UTF32_BE, "UTF-32"),
        (codecs.BOM_UTF16_LE, "UTF-16"),
        (codecs.BOM_UTF16_BE, "UTF-16"),
    ):
        if head.startswith(mark):
            return name
    start = head[:64]
    zeros = [not any(start[place::4]) for place in range(4)]
    if len(start) < 4 or not start.strip(b"\0"):
        return None
    if zeros == [False, True, True, True]:
        return "UTF-32LE"
    if zeros == [True, True, True, False]:
        return "UTF-32BE"
    # The last one may be the half of a character.
    if not any(start[1::2]):
        return "UTF-16LE"
    return "UTF-16BE" if not any(start[0::2]) else None


def _narrow_encoding(head: bytes) -> str | None:
    """An encoding of one or two bytes a character, where nothing beyond ASCII is UTF-8."""
    if len(head) == _HEAD_BYTES:
        # It may end within a character.
        head = head[: head.rfind(b"\n") + 1] or head[:-3]
    text = head.decode(errors="surrogateescape")
    beyond = [character for character in text if character >= "\x80"]
    foreign = sum("\udc80" <= character <= "\udcff" for character in beyond)
    if not foreign or foreign < 0.9 * len(beyond) or any(byte < 32 and byte not in b"\t\n\r\f" for byte in head):
        return None
    sample = b"\n".join(line for line in head.split(b"\n") if not line.isascii())[:_MOST_PARSED]
    best = from_bytes(sample).best()
    # Of texts in the Latin alphabet, the guess may be any of a dozen; nearly all that there are, are Windows's.
    if foreign < len(beyond) and (best is None or not best.multi_byte_usage):
        return None
    if best is None or 2 * len(re.findall(rb"(?<![\x80-\xff])[\x80-\xff](?![\x80-\xff])", sample)) >= foreign:
        return "WINDOWS-1252"
    return best.encoding.upper().replace("_", "-")


def _decoded(head: bytes) -> str:
    return head.removeprefix(codecs.BOM_UTF8).decode(errors="replace")


def _kind_of_text(text: str, head: bytes, source: Source) -> Kind | None:
    text = text.lstrip()
    if not text:
        return None
    whole = len(head) < _HEAD_BYTES
    lines = [line for line in text.split("\n") if line.strip()]
    # The last line may be cut off.
    lines = (lines if whole else lines[:-1] or lines)[:_LINES]
    known = _of_known_start(text, source)
    if known:
        return known
    if text.startswith("["):
        return _of_array(text, lines, whole)
    values = [value_of(line) for line in lines]
    if all(value is not None for value in values):
        return of_values(values)
    if text.startswith("{"):
        started = _of_one_object(text) or _of_neighbours(text)
        if started:
            return started
    if _trailing_commas(lines):
        inner = of_values([value_of(line.rstrip().rstrip(",")) for line in lines])
        return Kind("JSON lines with a comma at the end of each", (remedies.WITHOUT_COMMAS,)).and_(inner)
    return (
        _of_relaxed(text, lines, whole=whole)
        or _of_python(lines)
        or _of_prefixed(lines)
        or (None if any(isinstance(value, dict) for value in values) else _of_table(lines))
        or _of_plain_text(lines, source)
    )


def _of_known_start(text: str, source: Source) -> Kind | None:
    start = text[:200].lower()
    if re.match(r"<!doctype html|<html|<head|<body", start):
        return Kind("an HTML page (of a sign-in or an error, perhaps)", advice="download the file itself")
    if start.startswith(("<?xml", "<error")):
        return Kind("an XML document (an error of S3, perhaps)", advice="download the file itself")
    if start.startswith("version https://git-lfs"):
        return Kind("a pointer of Git LFS", advice="get the file itself: `git lfs pull`")
    if PurePath(source.name).suffix in (".yaml", ".yml") and text.startswith(("- ", "---\n-")):
        return Kind("YAML", (remedies.YAML, remedies.ELEMENTS))
    return None


def _of_array(text: str, lines: list[str], whole: bool) -> Kind | None:
    lists = [value_of(line) for line in lines]
    if len(lines) > 1 and all(isinstance(value, list) for value in lists):
        return of_values(lists)
    start = text[1:].lstrip()
    found = first_value(start)
    if found is None:
        return _of_relaxed(text, lines, whole=whole) or _of_python(lines)
    if whole and isinstance(found[0], dict) and first_value(text) is None:
        relaxed = _of_relaxed(text, lines, whole=whole)
        if relaxed:
            return relaxed
    return _of_elements(found[0])


def _of_elements(element: Any) -> Kind | None:
    """A JSON array, by its first element."""
    if is_message(element):
        return Kind("one conversation (a JSON array of messages)", (remedies.CONVERSATION,))
    if not isinstance(element, dict | str | list):
        return None
    return Kind("one JSON array", (remedies.ELEMENTS,)).and_(of_values([element]))


def _of_one_object(text: str) -> Kind | None:
    """One object around all requests, or objects over several lines."""
    found = first_value(text)
    value = found[0] if found else None
    path, element = wrapped_in(value, text)
    if path:
        return around(path, element)
    # One that is longer than what was read: a brace, and a key on a line of its own.
    spans = "\n" in text[: found[1]] if found else re.match(r'\{\s*\n\s*"[^"\n]*"\s*:', text)
    if not spans:
        return None
    inner = of_values([value])
    return Kind("JSON over several lines (pretty-printed)", (remedies.COMPACT,)).and_(inner)


def _of_neighbours(text: str) -> Kind | None:
    """Objects that stand on one line."""
    found = first_value(text)
    if found is None or not isinstance(found[0], dict):
        return None
    between = re.match(r"[ \t\r]*(,?)[ \t\r\n]*\{", text[found[1] :])
    if not between or (between[1] and "\n" in between[0]):
        return None
    inner = of_values([found[0]])
    if between[1]:
        step = "(printf '['; cat @FILE; printf ']') | jq -c '.[]'"
        return Kind("JSON objects with commas between them, on one line", (step,)).and_(inner)
    if "\n" in between[0]:
        return None
    ends = "\r" in between[0]
    what = "JSON lines that end as on old Macs (CR)" if ends else "JSON objects without line ends between them"
    return Kind(what, (remedies.COMPACT,)).and_(inner)


def _trailing_commas(lines: list[str]) -> bool:
    with_comma = [line for line in lines if line.rstrip().endswith(",")]
    return bool(with_comma) and all(isinstance(value_of(line.rstrip().rstrip(",")), dict) for line in lines)


def _of_relaxed(text: str, lines: list[str], *, whole: bool) -> Kind | None:
    """JSON but for comments, commas too many, NaN, and keys without quotes."""
    whole = whole and len(text) <= _MOST_CLEANED
    while lines and not whole and sum(map(len, lines)) > _MOST_CLEANED:
        lines = lines[:-1]
    cleaned, seen = _strict(text if whole else "\n".join(lines))
    found = first_value(cleaned)
    if not seen or found is None:
        return None
    value, end = found
    if isinstance(value, list):
        further = _of_elements(value[0]) if value and not cleaned[end:].strip() else None
    elif isinstance(value, dict):
        rest = [line for line in cleaned[end:].split("\n") if line.strip()][:_LINES]
        if "\n" not in cleaned[:end] and any(value_of(line) is None for line in rest):
            return None
        further = of_values([value]) or Kind("", (remedies.COMPACT,))
    else:
        return None
    return further and Kind(f"JSON with {seen}, which JSON does not have", (remedies.STRICT,)).and_(further)


def _strict(text: str) -> tuple[str, str]:
    """JSON of what is JSON but for some things, and what these are."""
    seen: set[str] = set()

    def strict(match: re.Match[str]) -> str:
        string, comment, comma, number, key = match.groups()
        names = {"comments": comment, "trailing commas": comma, "NaN or Infinity": number, "unquoted keys": key}
        seen.update(name for name, part in names.items() if part)
        return string or ("null" if number else f'"{key}"' if key else "")

    cleaned = re.sub(f"(?sm){remedies.RELAXED}", strict, text).strip()
    return cleaned, " and ".join(sorted(seen))


def _of_python(lines: list[str]) -> Kind | None:
    """What Python prints of dictionaries, instead of json.dumps."""
    what = "Python's way to print dictionaries (single quotes), instead of json.dumps"
    if re.match(r"\[\s*\{\s*'[^']*'\s*:", lines[0]):
        return Kind(what, (remedies.PYTHON_LIST, remedies.ELEMENTS))
    values = [_literal(line) for line in lines]
    if not all(isinstance(value, dict) for value in values):
        return None
    return Kind(what, (remedies.PYTHON_LINES,)).and_(of_values(values))


#: A first key in single quotes, or a word of Python's as a value.
_PYTHON = re.compile(r"^\{\s*'[^']*'\s*:|:\s*(?:True|False|None)\b")


def _literal(line: str) -> Any:
    # JSON with a fault of another kind may be a literal of Python's as well.
    if not line.startswith("{") or len(line) > _MOST_PARSED or not _PYTHON.search(line):
        return None
    try:
        return ast.literal_eval(line.strip())
    except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
        return None


def _of_prefixed(lines: list[str]) -> Kind | None:
    starts = [line.find("{") for line in lines]
    if min(starts) < 0:
        return None
    values = [value_of(line[start:]) for line, start in zip(lines, starts, strict=True)]
    if not all(isinstance(value, dict) for value in values):
        return None
    return Kind("JSON lines with something before each object", (remedies.WITHOUT_PREFIX,)).and_(of_values(values))


def _of_table(lines: list[str]) -> Kind | None:
    """A table, where names of columns come first and all rows are as wide as they."""
    for separator, name in ((",", ","), ("\t", "\\t"), (";", ";"), ("|", "|")):
        try:
            names, *rows = csv.reader(lines, delimiter=separator)
        except csv.Error:
            continue
        # The last row may be cut off.
        complete = rows[:-1] or rows
        if len(names) > 1 and complete and all(len(row) == len(names) for row in complete) and _are_names(names):
            return _of_columns(names, complete, name)
    if len(lines) > 1 and lines[0].strip().strip('"').lower() in PROMPT_FIELDS:
        return _of_columns([lines[0].strip().strip('"')], [], ",")
    return None


def _are_names(names: list[str]) -> bool:
    return len(set(names)) == len(names) and all(
        name.strip() and len(name) <= 64 and not set("{}[]<>") & set(name) for name in names
    )


def _of_columns(names: list[str], rows: list[list[str]], separator: str) -> Kind:
    if {"custom_id", "body"} <= set(names):
        return Kind("a table (CSV) of requests", (remedies.table_of_requests(separator),))
    custom_id = 'row["custom_id"]' if "custom_id" in names else 'f"row-{i}"'
    by_name = {name.strip().lower(): name for name in names}
    known = next((by_name[name] for name in PROMPT_FIELDS if name in by_name), None)
    if known is not None and re.fullmatch(r"\w+", known):
        step = remedies.table(separator, f'row["{known}"]', custom_id)
        return Kind(f"a table (CSV), here with its prompts in the column `{known}`", (step,))
    # The names may be none, but a first row of texts, which are nobody's business here.
    longest = max(range(len(names)), key=lambda place: sum(len(row[place]) for row in rows))
    step = remedies.table(separator, f"list(row.values())[{longest}]", custom_id)
    return Kind(f"a table (CSV), here with its prompts in column {longest + 1}", (step,))


def _of_plain_text(lines: list[str], source: Source) -> Kind | None:
    if PurePath(source.name).suffix != ".txt" or any(line.lstrip().startswith(("{", "[")) for line in lines):
        return None
    return Kind("plain text, here with a prompt on each line", (remedies.TEXT_LINES,))
