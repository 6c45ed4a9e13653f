"""Schemas out of requests: nothing is fetched, nothing hangs, and what cannot be used is counted and said."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tasks.comparison import schemas
from tasks.comparison.equality import normalise
from tasks.comparison.schemas import WHY, SchemaChecker, Verdict
from tasks.comparison.texts import Wanted, asked, keeps_form, valid_calls


@pytest.fixture(scope="module")
def checker() -> Iterator[SchemaChecker]:
    with SchemaChecker() as shared:
        yield shared


def check(checker: SchemaChecker, schema: Any, value: Any) -> tuple[bool | None, str | None]:
    """The verdict, and the reason where there is none."""
    before = checker.unchecked.copy()
    found = checker.check(json.dumps(schema).encode(), json.dumps(value).encode())
    (why, *more) = [*(checker.unchecked - before), None]
    assert not more[1:]
    return found, why


def doubling(levels: int, keyword: str, end: Any) -> dict[str, Any]:
    """A schema of a kilobyte that stands for 2^levels."""
    definitions = {f"d{n}": {keyword: [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(levels)}
    return {"$ref": "#/$defs/d0", "$defs": {**definitions, f"d{levels}": end}}


RECURSIVE = {"anyOf": [{"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]}, {"type": "null"}]}


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        ({"type": "object", "required": ["n"]}, {"n": 1}, {}),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"type": "string"}}}, "x", 1),
        ({"$id": "urn:a:b", "$ref": "urn:a:b#/$defs/a", "$defs": {"a": {"type": "string"}}}, "x", 1),
        ({"$id": "https://example.com/s", "$ref": "/s#/$defs/a", "$defs": {"a": {"type": "string"}}}, "x", 1),
        ({"$schema": "http://json-schema.org/draft-04/schema#", "minimum": 0, "exclusiveMinimum": True}, 1, 0),
        ({"$schema": "http://json-schema.org/draft-07/schema#", "items": [{"type": "string"}]}, ["x"], [1]),
        ({"pattern": "^(a+)+$"}, "a" * 100, "a" * 100_000 + "!"),
        (RECURSIVE, {"a": {"a": None}}, {"a": {"a": 1}}),
        # A format is a remark, as it was.
        ({"format": "email", "type": "string"}, "no address", 1),
    ],
)
def test_what_can_be_checked(checker: SchemaChecker, schema: Any, good: Any, bad: Any) -> None:
    assert check(checker, schema, good) == (True, None)
    assert check(checker, schema, bad) == (False, None)


@pytest.mark.parametrize(
    ("schema", "value", "why"),
    [
        ({"type": "nonsense"}, {}, Verdict.INVALID),
        ({"$id": "http://[x"}, {}, Verdict.REFERENCE),
        ({"$schema": "http://example.com/mine"}, {}, Verdict.REFERENCE),
        ({"$ref": "#/$defs/none"}, {}, Verdict.REFERENCE),
        ({"$ref": "other.json"}, {}, Verdict.REFERENCE),
        ({"pattern": "(?=a)b"}, "x", Verdict.PATTERN),
        ({"pattern": r"(a)\1"}, "x", Verdict.PATTERN),
        ({"pattern": "("}, "x", Verdict.PATTERN),
        ({"patternProperties": {"((a{1000}){1000}){1000}": {}}}, {}, Verdict.PATTERN),
        (doubling(30, "allOf", {"type": "object"}), {}, Verdict.SLOW),
        (doubling(30, "anyOf", {"type": "string"}), {}, Verdict.SLOW),
    ],
)
def test_what_cannot_be_used(checker: SchemaChecker, schema: Any, value: Any, why: Verdict) -> None:
    assert check(checker, schema, value) == (None, WHY[why])


@pytest.mark.parametrize("depth", [300, 5000, 100_000])
def test_nesting_ends_nothing(checker: SchemaChecker, depth: int) -> None:
    """Neither a schema nor an answer overflows the stack of whoever reads it."""
    assert checker.check(b'{"not":' * depth + b"{}" + b"}" * depth, b"{}") is None
    assert checker.check(b'{"items":{"$ref":"#"}}', b"[" * depth + b"]" * depth) in (True, None)
    assert checker.check(b'{"type":"object"}', b"{}") is True


def test_endless_references_end(checker: SchemaChecker) -> None:
    for schema in (
        {"$ref": "#"},
        {"allOf": [{"$ref": "#"}]},
        {"$dynamicRef": "#"},
        {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}},
    ):
        check(checker, schema, {})
    assert checker.check(b'{"type":"object"}', b"{}") is True


def test_nothing_is_fetched(checker: SchemaChecker, tmp_path: Any) -> None:
    (tmp_path / "schema.json").write_text("{}")
    seen = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)

        def watch() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                seen.append(connection)

        thread = threading.Thread(target=watch)
        thread.start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}/schema.json"
        for reference in (url, f"{url}#/a", f"file://{tmp_path}/schema.json", str(tmp_path / "schema.json")):
            for schema in (
                {"$ref": reference},
                {"$schema": reference},
                {"$dynamicRef": reference},
                {"$id": url, "$ref": "more.json"},
                {"$defs": {"a": {"$ref": reference}}},
            ):
                assert check(checker, schema, {}) == (None, WHY[Verdict.REFERENCE])
        thread.join(60)
        assert not thread.is_alive()
    assert not seen


def test_slow_schemas_use_up_their_time_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file full of them does not hold up a comparison: the rest is left unchecked, and counted."""
    monkeypatch.setattr(schemas, "_SECONDS_IN_ALL", 2.5)
    began = time.process_time()
    with SchemaChecker() as checker:
        for number in range(200):
            checker.check(json.dumps(doubling(30 + number, "allOf", {})).encode(), b"{}")
        assert checker.unchecked[WHY[Verdict.SPENT]] > 190
        assert sum(checker.unchecked.values()) == 200
    assert time.process_time() - began < 30


def test_no_process_is_left_and_none_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    with SchemaChecker() as checker:
        assert checker.check(b"true", b"1") is True
        process = checker._process
        assert process is not None
    assert process.returncode is not None
    monkeypatch.setattr("tasks.comparison.schemas.sys.executable", "/nowhere/python")
    with SchemaChecker() as checker:
        assert checker.check(b"true", b"1") is None
        assert checker.unchecked == {WHY[Verdict.NO_WORKER]: 1}


def test_forms_of_answers_and_calls(checker: SchemaChecker) -> None:
    unusable = Wanted(True, b'{"$ref":"http://127.0.0.1:9/x"}', (("f", b'{"$ref":"file:///etc/passwd"}'), ("g", b"{}")))
    assert keeps_form(unusable, "{}", checker) == (True, None)
    assert keeps_form(unusable, "{", checker) == (False, False)
    assert valid_calls(unusable, '[["1","f","{}"]]', checker) is None
    assert valid_calls(unusable, '[["1","g","{}"]]', checker) is True
    assert valid_calls(unusable, '[["1","f","{}"],["2","h","{}"]]', checker) is False, "there is no tool h"


def test_requests_of_any_depth_are_read() -> None:
    deep = "[" * 900 + "]" * 900
    for body in (
        f'{{"messages":[{{"role":"user","content":{deep}}}]}}',
        f'{{"input":{deep}}}',
        f'{{"response_format":{{"type":"json_schema","schema":{{"a":{deep}}}}}}}',
        '{"response_format":{"type":"json_schema","schema":{"maximum":1' + "0" * 400 + "}}}",
    ):
        asked(b'{"body":%b}' % body.encode())


def test_normalising_is_linear() -> None:
    """A run of marks in the middle of a text was looked at from each of its places."""
    began = time.process_time()
    for _ in range(20):
        assert normalise("x" + "-" * 19_000 + "x").startswith("x-")
    assert time.process_time() - began < 5


def test_the_worker_gets_no_credentials_and_no_signal_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[dict[str, Any]] = []

    def popen(_: list[str], **options: Any) -> None:
        given.append(options)
        raise OSError("no more processes")

    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "SECRET")
    monkeypatch.setattr("tasks.comparison.schemas.subprocess.Popen", popen)
    with SchemaChecker() as checker:
        assert checker.check(b"{}", b"1") is None
        assert checker.unchecked == {WHY[Verdict.NO_WORKER]: 1}
    assert set(given[0]["env"]) <= {"PATH", "LD_LIBRARY_PATH", "PYTHONPATH"}
    assert given[0]["start_new_session"] is True


class Worker:
    """Stands for the process; what it replies is a test's to say."""

    def __init__(self, *replies: tuple[int, float] | None) -> None:
        self.replies = list(replies)
        self.asked = self.ended = 0
        self.stdin = self.stdout = self

    def write(self, _: bytes) -> None:
        self.asked += 1
        if self.replies[0] is None:
            raise BrokenPipeError

    def flush(self) -> None:
        pass

    def read(self, _: int) -> bytes:
        reply = self.replies.pop(0)
        return b"" if reply is None else schemas._REPLY.pack(*reply)

    def kill(self) -> None:
        self.ended += 1

    def communicate(self) -> None:
        pass


def started(monkeypatch: pytest.MonkeyPatch, *workers: Worker) -> SchemaChecker:
    waiting = list(workers)
    monkeypatch.setattr(schemas, "_start", lambda: waiting.pop(0))
    return SchemaChecker()


def test_a_schema_that_cost_a_worker_its_life_costs_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = Worker(None), Worker((Verdict.KEEPS, 0.0), (Verdict.BREAKS, 0.0))
    with started(monkeypatch, first, second) as checker:
        assert [checker.check(b"lethal", b"1") for _ in range(3)] == [None] * 3
        assert checker.unchecked == {WHY[Verdict.SLOW]: 3}
        assert (first.asked, first.ended) == (1, 1)
        assert [checker.check(b"{}", b"1") for _ in range(2)] == [True, False]
        assert checker._spent == 1.0
    assert (second.asked, second.ended) == (2, 1)


def test_all_answers_have_ten_seconds_together_and_a_little_each(monkeypatch: pytest.MonkeyPatch) -> None:
    worker = Worker(*[(Verdict.KEEPS, 2.503)] * 4, (Verdict.KEEPS, 0.02), (Verdict.KEEPS, 0.0))
    with started(monkeypatch, worker) as checker:
        assert [checker.check(b"{}", b"1") for _ in range(7)] == [True] * 5 + [None] * 2
        assert checker.unchecked == {WHY[Verdict.SPENT]: 2}
