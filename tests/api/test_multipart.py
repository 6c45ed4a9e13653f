"""A form with one file, whatever pieces it comes in: its fields, its file, and what is wrong with it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployments.api.multipart import FileForm
from tasks.api.errors import InvalidCallError

KIND = "multipart/form-data; boundary=XX"
FILE = 'form-data; name="file"; filename="in.jsonl"'


def part(disposition: str, value: bytes) -> bytes:
    return b"--XX\r\nContent-Disposition: %b\r\n\r\n%b\r\n" % (disposition.encode(), value)


def field(name: str, value: bytes = b"x") -> bytes:
    return part(f'form-data; name="{name}"', value)


END = b"--XX--\r\n"
WHOLE = field("purpose", b"batch") + part(FILE, b"a\r\n--X\nb") + field("expires_after[seconds]", b"3600") + END


class Read:
    """A form that was read, and the file's bytes as they were handed on."""

    def __init__(self, body: bytes, kind: str = KIND, step: int = 1 << 16) -> None:
        self.blocks: list[bytes] = []
        self.opened = 0
        self.form = FileForm("file", self._open)

        async def pieces() -> AsyncIterator[bytes]:
            for start in range(0, len(body), step):
                yield body[start : start + step]

        asyncio.run(self.form.read(kind, pieces()))

    def _open(self) -> Callable[[bytes], Any]:
        self.opened += 1
        return self.blocks.append


@settings(deadline=None, max_examples=20)
@given(st.integers(1, len(WHOLE)))
def test_any_pieces_are_the_same_form(step: int) -> None:
    found = Read(WHOLE, step=step)
    assert b"".join(found.blocks) == b"a\r\n--X\nb"
    assert found.form.fields == {"purpose": "batch", "expires_after[seconds]": "3600"}
    assert (found.form.filename, found.form.has_file, found.form.complete, found.opened) == ("in.jsonl", True, True, 1)
    assert found.form.nested("expires_after") == {"seconds": "3600"}
    assert found.form.nested("purpose") is None


def test_a_large_file_is_handed_on_as_it_comes() -> None:
    found = Read(part(FILE, b"x" * (5 << 20)) + END)
    assert sum(map(len, found.blocks)) == 5 << 20
    assert max(map(len, found.blocks)) <= (1 << 20) + (1 << 16)


def test_a_form_without_a_file_opens_none() -> None:
    found = Read(field("purpose", "é\xff".encode("latin-1")) + END)
    assert (found.form.has_file, found.opened, found.form.fields) == (False, 0, {"purpose": "\ufffd\ufffd"})


@pytest.mark.parametrize(
    ("body", "kind", "said"),
    [
        (WHOLE, "application/json", "must be multipart/form-data"),
        (WHOLE, "multipart/form-data", "with a boundary"),
        (WHOLE, "multipart/form-data; boundary=" + "X" * 257, "with a boundary"),
        (WHOLE[:-10], KIND, "breaks off"),
        (b"no form at all", KIND, "malformed"),
        (field("a") * 21 + END, KIND, "more than 20 parts"),
        (part(FILE, b"1") * 2 + END, KIND, "more than one 'file'"),
        (field("long", b"x" * ((64 << 10) + 1)) + END, KIND, "larger than 64 KiB"),
        (part('form-data; name="a"; more="' + "x" * (17 << 10) + '"', b"") + END, KIND, "malformed|more than 16 KiB"),
    ],
)
def test_what_is_wrong_is_said(body: bytes, kind: str, said: str) -> None:
    with pytest.raises(InvalidCallError, match=said):
        Read(body, kind)
