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
        (WHOLE, "application/x-www-form-urlencoded; boundary=XX", "must be multipart/form-data"),
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


def test_names_are_utf8_and_bounded() -> None:
    found = Read(field("été", "ü".encode()) + field("n" * 300) + part("form-data", b"nameless") + END)
    assert found.form.fields == {"été": "ü", "n" * 256: "x"}
    named = Read(part('form-data; name="file"; filename="été.jsonl"', b"x") + END)
    assert named.form.filename == "été.jsonl"
    assert Read(part('form-data; name="file"', b"x") + END).form.filename is None


def test_bounds_that_may_just_be_reached() -> None:
    longest = "B" * 256
    body = WHOLE.replace(b"--XX", b"--" + longest.encode())
    assert Read(body, f"multipart/form-data; boundary={longest}").form.complete
    assert Read(field("a") * 19 + part(FILE, b"x") + END).form.has_file
    assert len(Read(field("a", b"x" * (64 << 10)) + END).form.fields["a"]) == 64 << 10


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize(("size", "fits"), [(16 << 10, True), ((16 << 10) + 1, False)])
def test_headers_are_of_16_kib_at_the_most(place: int, size: int, fits: bool) -> None:
    """A parser of another version may have bounds of its own."""
    form = FileForm("file", lambda: lambda _: None)
    for _ in range(size // 1024):
        form._header_part(place, b"x" * 1024)
    if fits:
        form._header_end()
        assert [bytes(each) for each in form._header] == [b"", b""]
        return
    with pytest.raises(InvalidCallError, match="more than 16 KiB"):
        form._header_part(place, b"x")
