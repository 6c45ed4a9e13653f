"""HTTP connections that stay open, as AWS's do, and that an application can have cut off.

Werkzeug's own handler closes each connection after a reply, and waits until the client has closed it too: a thread and
a connection more for every call, at both ends.
"""

import logging
from collections.abc import Iterable
from typing import IO, Any, cast

from moto.moto_server.werkzeug_app import MotoRequestHandler
from werkzeug.exceptions import ClientDisconnected, InternalServerError
from werkzeug.wsgi import LimitedStream

log = logging.getLogger(__name__)

#: Bytes of a request's body that are read for nothing, at a time.
_DRAINED_BYTES = 1 << 20


class Handler(MotoRequestHandler):
    """moto's, one connection after another; an application that raises ConnectionError has its reply lost."""

    protocol_version = "HTTP/1.1"
    # Headers and body go out together, and at once: else each end waits for the other's acknowledgement.
    wbufsize = -1
    disable_nagle_algorithm = True

    def log(self, type: str, message: str, *args: Any) -> None:
        pass

    def handle_expect_100(self) -> bool:
        goes_on = super().handle_expect_100()
        self.wfile.flush()
        return goes_on

    def run_wsgi(self) -> None:
        try:
            self._reply()
        except (ConnectionError, ClientDisconnected):
            self.close_connection = True

    def _reply(self) -> None:
        environ = self.make_environ()
        if "wsgi.input_terminated" not in environ:
            environ["wsgi.input"] = LimitedStream(cast(IO[bytes], self.rfile), int(environ.get("CONTENT_LENGTH") or 0))
        body = environ["wsgi.input"]
        status, headers = "", list[tuple[str, str]]()

        def start_response(its_status: str, its_headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            nonlocal status, headers
            status, headers = its_status, its_headers

        try:
            reply: Iterable[bytes] = self.server.app(environ, start_response)
        except ConnectionError:
            raise
        except Exception:
            log.exception("%s %s", self.command, self.path)
            self.close_connection = True
            reply = InternalServerError()(environ, start_response)
        try:
            self._send(status, headers, reply)
        finally:
            if (close := getattr(reply, "close", None)) is not None:
                close()
        # The next request begins where this one's body ends.
        while body.read(_DRAINED_BYTES):
            pass

    def _send(self, status: str, headers: list[tuple[str, str]], reply: Iterable[bytes]) -> None:
        """Write a reply. One that is shorter than its headers say ends with its connection."""
        code, _, reason = status.partition(" ")
        self.send_response(int(code), reason)
        length = next((int(value) for name, value in headers if name.lower() == "content-length"), None)
        without_body = self.command == "HEAD" or int(code) in (204, 304)
        if length is None and not without_body:
            reply = [b"".join(reply)]
            length = len(reply[0])
            headers = [*headers, ("Content-Length", str(length))]
        for name, value in headers:
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        written = 0
        for data in () if without_body else reply:
            self.wfile.write(data)
            written += len(data)
        if not without_body and written != length:
            self.close_connection = True
