"""A form with one file, read as it comes, in any order: the file goes on to wherever it goes, and nothing is kept.

Starlette's own reader writes files to disk first; this one stands on the push parser of python-multipart.
"""

from collections.abc import AsyncIterator, Callable
from typing import Any

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.concurrency import run_in_threadpool

from tasks.api.errors import InvalidCallError

_MOST_PARTS, _MOST_FIELD, _MOST_HEADERS = 20, 64 << 10, 16 << 10
#: So much of the file is handed on at once.
_BLOCK = 1 << 20


class FileForm:
    """The fields of a form beside its file, and what the file was called."""

    def __init__(self, file_field: str, open_file: Callable[[], Callable[[bytes], Any]]) -> None:
        """`open_file` is called when the file begins, and gives what its bytes are written to."""
        self.fields: dict[str, str] = {}
        self.filename: str | None = None
        self._file_field, self._open = file_field, open_file
        self._write: Callable[[bytes], Any] | None = None
        self._block = bytearray()
        self._header = (bytearray(), bytearray())
        self._headers: dict[bytes, bytes] = {}
        self._name, self._value, self._in_file = "", bytearray(), False
        self._parts = 0
        self.complete = False

    @property
    def has_file(self) -> bool:
        return self._write is not None

    async def read(self, content_type: str, body: AsyncIterator[bytes]) -> None:
        """Read the form to its end. Raises InvalidCallError, and whatever writing the file raises."""
        kind, options = parse_options_header(content_type)
        boundary = options.get(b"boundary")
        if kind != b"multipart/form-data" or not boundary or len(boundary) > 256:
            raise InvalidCallError("The body must be multipart/form-data with a boundary.")
        parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": lambda data, start, end: self._header_part(0, data[start:end]),
                "on_header_value": lambda data, start, end: self._header_part(1, data[start:end]),
                "on_header_end": self._header_end,
                "on_headers_finished": self._headers_end,
                "on_part_data": lambda data, start, end: self._data(memoryview(data)[start:end]),
                "on_part_end": self._end,
                "on_end": self._finish,
            },
        )
        try:
            async for chunk in body:
                parser.write(chunk)
                if len(self._block) >= _BLOCK:
                    await self._hand_on()
        except MultipartParseError:
            raise InvalidCallError("The multipart body is malformed.") from None
        if not self.complete:
            raise InvalidCallError("The multipart body breaks off before its last boundary.")
        await self._hand_on()

    async def _hand_on(self) -> None:
        if self._block and self._write is not None:
            block, self._block = bytes(self._block), bytearray()
            await run_in_threadpool(self._write, block)

    def _begin(self) -> None:
        self._parts += 1
        if self._parts > _MOST_PARTS:
            raise InvalidCallError(f"The form has more than {_MOST_PARTS} parts.")
        self._headers, self._name, self._value, self._in_file = {}, "", bytearray(), False

    def _header_part(self, place: int, data: bytes) -> None:
        self._header[place].extend(data)
        if len(self._header[place]) > _MOST_HEADERS:
            raise InvalidCallError("A part of the form has a header of more than 16 KiB.")

    def _header_end(self) -> None:
        name, value = self._header
        self._headers[bytes(name).lower()] = bytes(value)
        self._header = (bytearray(), bytearray())

    def _headers_end(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        self._name = options.get(b"name", b"").decode("utf-8", "replace")[:256]
        self._in_file = self._name == self._file_field
        if not self._in_file:
            return
        if self._write is not None:
            raise InvalidCallError(f"The form has more than one {self._file_field!r}.", param=self._file_field)
        name = options.get(b"filename")
        self.filename = None if name is None else name.decode("utf-8", "replace")
        self._write = self._open()

    def _data(self, data: memoryview) -> None:
        if self._in_file:
            self._block += data
            return
        self._value += data
        if len(self._value) > _MOST_FIELD:
            raise InvalidCallError("A field of the form is larger than 64 KiB.", param=self._name or None)

    def _end(self) -> None:
        if not self._in_file and self._name:
            self.fields[self._name] = self._value.decode("utf-8", "replace")

    def _finish(self) -> None:
        self.complete = True

    def nested(self, name: str) -> dict[str, str] | None:
        """The fields `name[key]` as an object; None where there are none."""
        start = f"{name}["
        found = {
            key.removeprefix(start).removesuffix("]"): value
            for key, value in self.fields.items()
            if key.startswith(start) and key.endswith("]")
        }
        return found or None
