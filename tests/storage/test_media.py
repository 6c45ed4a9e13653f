"""Fetching images from the web goes to public addresses only, wherever a redirect or a name leads."""

import base64
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from tasks.codecs.base import RequestError
from tasks.storage import media
from tasks.storage.media import Media, public_address
from tests.codecs.helpers import PNG


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "10.0.0.1", "192.168.1.1", "172.16.0.1", "169.254.169.254", "0.0.0.0", "::1",
     "fe80::1", "fd00::1", "::ffff:10.0.0.1", "100.64.0.1", "2130706433", "0x7f.1"],
)  # fmt: skip
def test_addresses_that_are_not_public(host: str) -> None:
    with pytest.raises(RequestError):
        public_address(host, 80)


def test_a_public_address() -> None:
    assert public_address("8.8.8.8", 443) == "8.8.8.8"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        host = self.headers["Host"]
        if self.path == "/dot.png":
            body, status, location = base64.b64decode(PNG), 200, None
        elif self.path == "/big":
            body, status, location = b"x" * (media.MAX_BYTES + 1), 200, None
        elif self.path == "/here":
            body, status, location = b"", 302, "/dot.png"
        elif self.path == "/round":
            body, status, location = b"", 301, "/round"
        elif self.path == "/inside":
            body, status, location = b"", 302, f"http://127.0.0.1:{host.rpartition(':')[2]}/dot.png"
        elif self.path == "/metadata":
            body, status, location = b"", 307, "http://169.254.169.254/latest/meta-data"
        elif self.path == "/file":
            body, status, location = b"", 302, "file:///etc/passwd"
        else:
            body, status, location = b"", 404, None
        self.send_response(status)
        if location:
            self.send_header("Location", location)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A local server under a name that is taken for a public one; all other names go through the guard."""
    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()

    def resolve(host: str, port: int) -> str:
        return "127.0.0.1" if host == "public.test" else public_address(host, port)

    monkeypatch.setattr(media, "public_address", resolve)
    yield f"http://public.test:{server.server_port}"
    server.shutdown()


@pytest.mark.parametrize("path", ["/dot.png", "/here"])
def test_what_is_fetched(site: str, path: str) -> None:
    assert Media(allow_http=True).fetch(site + path) == base64.b64decode(PNG)


@pytest.mark.parametrize(
    ("path", "why"),
    [("/big", "larger than"), ("/round", "redirects more than"), ("/inside", "not a public one"),
     ("/metadata", "not a public one"), ("/file", "not a plain http"), ("/none", "status 404")],
)  # fmt: skip
def test_what_is_refused(site: str, path: str, why: str) -> None:
    with pytest.raises(RequestError, match=why):
        Media(allow_http=True).fetch(site + path)


def test_nothing_is_fetched_unasked(site: str) -> None:
    with pytest.raises(RequestError, match="fetch_images"):
        Media(allow_http=False).fetch(site + "/dot.png")
    with pytest.raises(RequestError, match="not a plain http"):
        Media(allow_http=True).fetch("http://user:password@public.test/x")
