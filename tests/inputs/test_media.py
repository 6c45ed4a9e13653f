"""Fetching images from the web goes to public addresses only, wherever a redirect or a name leads."""

import base64
import gzip
import os
import socket
import socketserver
import ssl
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from tasks.codecs.base import RequestError
from tasks.errors import ConfigurationError, TransientError
from tasks.inputs import media
from tasks.inputs.addresses import public_address
from tasks.inputs.media import Media
from tasks.settings import copies_of, load_settings
from tasks.storage.uris import S3Uri
from tests.codecs.helpers import PNG
from tests.conftest import Sandbox
from tests.fakes import BUCKET, Cloud

#: Where paths lead: a status, and what stands in Location.
REDIRECTS = {
    "/here": (302, "/dot.png"),
    "/two": (303, "/here"),
    "/three": (308, "/two"),
    "/four": (307, "/three"),
    "/partial": (206, None),
    "/unchanged": (304, "/dot.png"),
    "/round": (301, "/round"),
    "/inside": (302, "http://127.0.0.1:{port}/dot.png"),
    "/metadata": (307, "http://169.254.169.254/latest/meta-data"),
    "/nowhere": (302, "http://[::1"),
    "/s3": (302, "s3://bucket/key"),
    "/file": (302, "file:///etc/passwd"),
}


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        host = self.headers["Host"]
        bodies = {
            "/dot.png": base64.b64decode(PNG),
            "/big": b"x" * (media.MAX_BYTES + 1),
            "/short": host.encode(),
            "/host": host.encode(),
            "/asked": str(self.headers).encode(),
            "/dot.png?size=1&x=a%20b": b"queried",
            "/compressed": gzip.compress(b"x" * 100),
        }
        body = bodies.get(self.path, b"")
        status, location = REDIRECTS.get(self.path, (200 if self.path in bodies else 404, None))
        self.send_response(status)
        if location:
            self.send_header("Location", location.format(port=host.rpartition(":")[2]))
        if self.path == "/compressed":
            self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(body) + (self.path == "/short")))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A local server under a name that is taken for a public one; all other names go through the guard."""
    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()

    def resolve(host: str, port: int) -> str:
        return "127.0.0.1" if host == "public.test" else public_address(host, port)

    monkeypatch.setattr(media, "public_address", resolve)
    yield f"http://public.test:{server.server_port}"
    server.shutdown()


@pytest.mark.parametrize("path", ["/dot.png", "/here", "/two", "/three"])
def test_what_is_fetched(site: str, path: str) -> None:
    assert Media(allow_http=True).fetch(site + path) == base64.b64decode(PNG)


@pytest.mark.parametrize(
    ("path", "why"),
    [("/big", "larger than"), ("/four", "redirects more than 3 times"), ("/partial", "status 206"),
     ("/unchanged", "status 304"), ("/round", "redirects more than"), ("/inside", "not a public one"),
     ("/metadata", "not a public one"), ("/file", "not a plain http"), ("/none", "status 404"),
     ("/s3", "not a plain http"), ("/nowhere", "no URL"), ("/compressed", "compressed"), ("/short", "broke off")],
)  # fmt: skip
def test_what_is_refused(site: str, path: str, why: str) -> None:
    with pytest.raises(RequestError, match=why):
        Media(allow_http=True).fetch(site + path)


def test_what_is_asked_of_a_site(site: str) -> None:
    asked = Media(allow_http=True).fetch(f"{site}/asked").decode().split()
    host = site.removeprefix("http://")
    assert (
        asked
        == f"Host: {host} Accept: */* Accept-Encoding: identity User-Agent: bedrock-batch Connection: close".split()
    )
    assert Media(allow_http=True).fetch(f"{site}/dot.png?size=1&x=a b#part") == b"queried"


def test_how_much_and_how_long() -> None:
    assert (media.MAX_BYTES, media._REDIRECTS, media._SECONDS) == (5_000_000, 3, 10.0)


@pytest.mark.parametrize(
    ("url", "host", "target", "header"),
    [
        ("http://X.test", "x.test", "/", "x.test"),
        ("https://x.test:443/a", "x.test", "/a", "x.test"),
        ("https://x.test:8443/a?b=c#d", "x.test", "/a?b=c", "x.test:8443"),
        ("http://[2600::1]:81/", "2600::1", "/", "[2600::1]:81"),
        ("https://bücher.test/ü", "xn--bcher-kva.test", "/%C3%BC", "xn--bcher-kva.test"),
    ],
)
def test_where_a_url_leads(url: str, host: str, target: str, header: str) -> None:
    place = media._parse(url)
    assert (place.host, place.target, place.host_header) == (host, target, header)


@pytest.mark.parametrize("host", ["x!y", "x'y", "x|y", "a" * 256, "x,y", "user@x", ":@x"])
def test_hosts_that_are_none(host: str) -> None:
    with pytest.raises(RequestError, match="not a plain http or https URL"):
        media._parse(f"http://{host}/")


class Reply:
    """What is left of a reply: so many bytes by its own word, and these pieces."""

    def __init__(self, length: int | None, pieces: list[bytes]) -> None:
        self.length, self.pieces = length, pieces

    def read1(self, _size: int) -> bytes:
        assert self.pieces, "it is read no further"
        piece = self.pieces.pop(0)
        if self.length is not None:
            self.length -= len(piece)
        return piece


def body_of(length: int | None, *pieces: bytes, seconds: float = 60) -> bytes:
    reply: Any = Reply(length, list(pieces))
    return media._body(reply, time.monotonic() + seconds)


def test_a_body_ends_where_it_must() -> None:
    most = b"x" * media.MAX_BYTES
    assert body_of(None, b"a", b"b", b"") == b"ab"
    assert body_of(len(most), most, b"") == most
    with pytest.raises(RequestError, match="broke off"):
        body_of(3, b"ab", b"")
    with pytest.raises(RequestError, match="larger than 5,000,000 bytes"):
        body_of(len(most) + 1)
    with pytest.raises(RequestError, match="larger than 5,000,000 bytes"):
        body_of(None, most, b"x")
    with pytest.raises(RequestError, match="longer than 10 seconds"):
        body_of(None, b"a", seconds=0)


def test_what_goes_wrong_names_no_query(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> Any:
        raise ValueError("SECRET")

    monkeypatch.setattr(media, "_get", fail)
    with pytest.raises(RequestError) as caught:
        Media(allow_http=True).fetch("http://public.test/a?token=SECRET")
    assert caught.value.message == "it is not a usable URL (ValueError)."


def test_only_the_buckets_that_were_named(cloud: Cloud) -> None:
    cloud.s3.put("a.png", b"x")
    for buckets in ([], ["other"]):
        with pytest.raises(RequestError, match="BEDROCK_BATCH_IMAGE_BUCKETS"):
            Media(allow_http=True, buckets=buckets).fetch(f"s3://{BUCKET}/a.png")
    # Folders stand for themselves.
    assert Media(allow_http=False, folders=[S3Uri(BUCKET, "")]).fetch(f"s3://{BUCKET}/a.png") == b"x"
    for url, why in ((f"s3://{BUCKET}", "no object"), (f"s3://{BUCKET}/", "no object"), ("s3://", "no bucket")):
        with pytest.raises(RequestError, match=f"it names {why}; write"):
            Media(allow_http=False, buckets=[BUCKET]).fetch(url)


@pytest.mark.parametrize(
    ("code", "status", "error"),
    [
        ("SlowDown", 503, TransientError),
        ("ExpiredToken", 400, ConfigurationError),
        ("AccessDenied", 403, RequestError),
        ("NoSuchKey", 404, RequestError),
    ],
)
def test_what_is_the_requests_fault_and_what_is_not(
    cloud: Cloud, code: str, status: int, error: type[Exception]
) -> None:
    """S3 that is down, and credentials that ended, would befall every other line."""
    cloud.s3.put("a.png", b"x")
    cloud.s3.refuse("GetObject", code, status, times=None)
    with pytest.raises(error, match=code):
        Media(allow_http=False, buckets=[BUCKET]).fetch(f"s3://{BUCKET}/a.png")


def test_nothing_is_fetched_unasked(site: str) -> None:
    with pytest.raises(RequestError, match="fetch_images"):
        Media(allow_http=False).fetch(site + "/dot.png")
    with pytest.raises(RequestError, match="not a plain http"):
        Media(allow_http=True).fetch("http://user:password@public.test/x")


@pytest.mark.parametrize(
    "url",
    ["http://[", "http://[::1", "http://x:99999/", "http://x:a/", "http:///x", "http://", "//x", "ftp://x", "",
     "http://a b/", "http://x\u2100y/", "http://" + "a." * 300, "http://\ud800/", "https://[fe80::1%25lo]/",
     "http://x%0d%0aHost:y/", "http://x\\@127.0.0.1/", "http://127.0.0.1#@example.com/", "http://xn--a/"],
)  # fmt: skip
def test_odd_urls_are_errors_of_their_request(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "create_connection", lambda *_, **__: pytest.fail("connected"))
    with pytest.raises(RequestError):
        Media(allow_http=True).fetch(url)


def test_the_host_header_is_the_parsed_host(site: str) -> None:
    host = site.removeprefix("http://")
    assert Media(allow_http=True).fetch(f"{site.upper().replace('HTTP', 'http')}/host").decode() == host
    # What is no path as it stands is quoted, never a header.
    with pytest.raises(RequestError, match="status 404"):
        Media(allow_http=True).fetch(f"{site}/é x\u2028\x0bX: y")


def test_proxies_of_the_environment_are_not_asked(site: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert Media(allow_http=True).fetch(site + "/dot.png")


class Drip(socketserver.BaseRequestHandler):
    """A byte now and then, of headers or of a body: no single wait is long."""

    def handle(self) -> None:
        asked = self.request.recv(4096)
        endless = b"HTTP/1.1 200 OK\r\nX: " if b"/headers" in asked else b"HTTP/1.1 200 OK\r\n\r\n"
        try:
            self.request.sendall(endless)
            for _ in range(2000):
                self.request.sendall(b"x")
                time.sleep(0.01)
        except OSError:
            pass


@pytest.mark.parametrize("path", ["/headers", "/body"])
def test_one_deadline_for_all_of_a_fetch(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    monkeypatch.setattr(media, "_SECONDS", 0.3)
    monkeypatch.setattr(media, "public_address", lambda *_: "127.0.0.1")
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Drip) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        began = time.monotonic()
        with pytest.raises(RequestError, match=r"longer than 0\.3 seconds"):
            Media(allow_http=True).fetch(f"http://public.test:{server.server_address[1]}{path}")
        # It would drip for twenty seconds; a busy machine is given ten.
        assert time.monotonic() - began < 10
        server.shutdown()


@pytest.mark.parametrize(
    ("key", "allowed"),
    [("in/dot.png", True), ("in/own/dot.png", False), ("inside/dot.png", False), ("in/../other/dot.png", False)],
)
def test_folders_of_s3_that_a_caller_may_read(cloud: Cloud, key: str, allowed: bool) -> None:
    cloud.s3.put(key, base64.b64decode(PNG))
    folders, closed = [S3Uri(BUCKET, "in")], [S3Uri(BUCKET, "in/own")]
    found = Media(allow_http=False, buckets=[BUCKET], folders=folders, closed=closed)
    if allowed:
        assert found.fetch(f"s3://{BUCKET}/{key}") == base64.b64decode(PNG)
        return
    with pytest.raises(RequestError, match="may be read"):
        found.fetch(f"s3://{BUCKET}/{key}")


def test_a_name_that_is_not_found_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()
    monkeypatch.setattr(media, "_SECONDS", 0.2)
    monkeypatch.setattr(media, "public_address", lambda *_: over.wait(60))
    with pytest.raises(RequestError, match="in time"):
        Media(allow_http=True).fetch("http://public.test/")
    over.set()


def test_another_peer_than_the_checked_address_is_refused(site: str, monkeypatch: pytest.MonkeyPatch) -> None:
    port = int(site.rpartition(":")[2])
    monkeypatch.setattr(media, "public_address", lambda *_: "127.0.0.2")
    there = socket.create_connection(("127.0.0.1", port))
    monkeypatch.setattr(socket, "create_connection", lambda *_, **__: there)
    with pytest.raises(RequestError, match="not a public one"):
        Media(allow_http=True).fetch(site + "/dot.png")


def test_certificates_are_checked(monkeypatch: pytest.MonkeyPatch, site: str) -> None:
    """The local server speaks no TLS at all."""
    with pytest.raises(RequestError, match="cannot be fetched"):
        Media(allow_http=True).fetch(site.replace("http:", "https:") + "/dot.png")
    context = media._tls()
    assert (context.check_hostname, context.verify_mode.name) == (True, "CERT_REQUIRED")


def test_over_tls_the_name_in_the_certificate_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection goes to an address, the certificate is the name's."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(1).not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("public.test")]), critical=True)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    pem = tmp_path / "server.pem"
    pem.write_bytes(
        certificate.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    ours = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ours.load_cert_chain(pem)
    trusting = ssl.create_default_context(cafile=str(pem))
    monkeypatch.setattr(media, "public_address", lambda *_: "127.0.0.1")
    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        server.socket = ours.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        with pytest.raises(RequestError, match="SSLCertVerificationError"):
            Media(allow_http=True).fetch(f"https://public.test:{server.server_port}/dot.png")
        monkeypatch.setattr(media, "_tls", lambda: trusting)
        with pytest.raises(RequestError, match="SSLCertVerificationError"):
            Media(allow_http=True).fetch(f"https://other.test:{server.server_port}/dot.png")
        assert Media(allow_http=True).fetch(f"https://public.test:{server.server_port}/here") == base64.b64decode(PNG)
        server.shutdown()


def test_buckets_of_images(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the batch, of the input, and those that a setting names: not whatever the worker may read."""
    key = f"{os.environ['BEDROCK_BATCH_PREFIX']}/dot.png"
    sandbox.s3.put_object(Bucket=sandbox.bucket, Key=key, Body=base64.b64decode(PNG))
    url = f"s3://{sandbox.bucket}/{key}"
    assert Media(allow_http=False, buckets=[sandbox.bucket]).fetch(url) == base64.b64decode(PNG)
    for allowed in ([], ["other"], [sandbox.bucket + "x"]):
        with pytest.raises(RequestError, match="BEDROCK_BATCH_IMAGE_BUCKETS"):
            Media(allow_http=True, buckets=allowed).fetch(url)
    for odd in ("s3://", "s3:///x", f"s3://{sandbox.bucket}", f"s3://{sandbox.bucket}/", f"s3://{sandbox.bucket}/none"):
        with pytest.raises(RequestError):
            Media(allow_http=True, buckets=[sandbox.bucket, ""]).fetch(odd)
    sandbox.s3.put_object(Bucket=sandbox.bucket, Key=key, Body=b"x" * (media.MAX_BYTES + 1))
    with pytest.raises(RequestError, match="larger than"):
        Media(allow_http=True, buckets=[sandbox.bucket]).fetch(url)
    monkeypatch.setenv("BEDROCK_BATCH_IMAGE_BUCKETS", " one-bucket, s3://two-bucket/ ,")
    assert load_settings().image_buckets == ("one-bucket", "two-bucket")
    with copies_of(["three"]):
        assert load_settings().image_buckets == ("one-bucket", "two-bucket", "three")


@pytest.mark.parametrize("ranges", [True, False])
def test_an_object_of_just_the_size_is_read_and_one_byte_more_is_refused(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch, ranges: bool
) -> None:
    """Also from a store that knows no ranges; and no more of it than that is asked for."""
    if not ranges:
        get_object = cloud.s3.GetObject
        monkeypatch.setattr(cloud.s3, "GetObject", lambda **given: get_object(**{**given, "Range": "bytes=0-"}))
    place = Media(allow_http=False, buckets=[BUCKET])
    cloud.s3.put("a.png", b"x" * media.MAX_BYTES)
    assert len(place.fetch(f"s3://{BUCKET}/a.png")) == media.MAX_BYTES == 5_000_000
    assert cloud.s3.calls[-1][1]["Range"] == "bytes=0-5000000"
    cloud.s3.put("b.png", b"x" * (media.MAX_BYTES + 1))
    with pytest.raises(RequestError, match=r"the object is larger than 5,000,000 bytes"):
        place.fetch(f"s3://{BUCKET}/b.png")


def test_a_closed_folder_is_not_read_whatever_else_is(cloud: Cloud) -> None:
    cloud.s3.put("own/a.png", b"x")
    with pytest.raises(RequestError, match="may be read"):
        Media(allow_http=False, buckets=[BUCKET], closed=[S3Uri(BUCKET, "own")]).fetch(f"s3://{BUCKET}/own/a.png")
