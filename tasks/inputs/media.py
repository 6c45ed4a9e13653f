"""Images and files that requests refer to, fetched for inlining: from S3, and from the web behind a guard."""

import functools
import http.client
import queue
import re
import socket
import ssl
import threading
import time
from collections.abc import Collection, Iterable
from contextlib import suppress
from typing import NamedTuple
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from tasks import aws
from tasks.codecs.base import RequestError
from tasks.errors import InputFileError, PipelineError, TransientError
from tasks.inputs.addresses import public_address
from tasks.storage.objects import read_object
from tasks.storage.sources import Source
from tasks.storage.uris import S3Uri, is_s3, parse_input_uri, within

#: Bedrock takes images of 3.75 MB and documents of 4.5 MB; more would be fetched for nothing.
MAX_BYTES = 5_000_000


_REDIRECTS = 3


#: For all of a fetch together: names, connections, redirects and bodies.
_SECONDS = 10.0


_PIECE_BYTES = 64 << 10


_REDIRECT_STATUSES = frozenset({301, 302, 303, 307, 308})


_PORTS = {"http": 80, "https": 443}


#: Names and IPv4 addresses, or an IPv6 address: nothing else gets into a header.
_HOST = re.compile(r"[a-z0-9._-]{1,255}|[0-9a-f:.]{2,45}")


#: What may stand in a path or a query as it is; `%` is a quotation already.
_TARGET = "/%:=&?~+!$,;'@()*[]|"


class Media:
    """Fetches by reference: objects of some buckets; http(s) only where it was allowed, from public addresses only."""

    def __init__(
        self,
        *,
        allow_http: bool,
        buckets: Collection[str] = (),
        folders: Collection[S3Uri] | None = None,
        closed: Collection[S3Uri] = (),
    ) -> None:
        """`folders`, where they are given, are the only ones of S3, whatever the buckets; none in `closed` is read."""
        self._allow_http = allow_http
        self._buckets = frozenset(buckets)
        self._folders, self._closed = folders, closed

    def fetch(self, url: str) -> bytes:
        """The bytes behind an s3:// or http(s) URL. Raises RequestError; its message names no query string."""
        try:
            return self._fetch(url)
        except (ValueError, http.client.HTTPException) as error:
            # What urllib, botocore and http.client make of hosts, ports and paths that are none.
            raise RequestError(f"it is not a usable URL ({type(error).__name__}).") from None

    def _fetch(self, url: str) -> bytes:
        if url.startswith("s3://"):
            return self._from_s3(url)
        if not self._allow_http:
            raise RequestError("a batch job fetches nothing; set fetch_images, or use a base64 data URL.")
        deadline = time.monotonic() + _SECONDS
        for _ in range(_REDIRECTS + 1):
            place = _parse(url)
            reply = _get(place, deadline)
            if not isinstance(reply, str):
                return reply
            try:
                url = urljoin(url, reply)
            except ValueError:
                raise RequestError("it redirects to what is no URL.") from None
        raise RequestError(f"it redirects more than {_REDIRECTS} times.")

    def _from_s3(self, url: str) -> bytes:
        try:
            place = parse_input_uri(url)
        except InputFileError:
            raise RequestError("it names no bucket; write s3://BUCKET/KEY.") from None
        if not place.key:
            raise RequestError("it names no object; write s3://BUCKET/KEY.")
        # The worker may read more than whoever wrote the request.
        odd = self._folders is not None and (not within(place, self._folders) or ".." in place.key.split("/"))
        if odd or within(place, self._closed):
            raise RequestError("it is not in a folder that may be read.")
        if self._folders is None and place.bucket not in self._buckets:
            raise RequestError(
                "its bucket is neither the batch's nor the input's; BEDROCK_BATCH_IMAGE_BUCKETS names others to read."
            )
        try:
            # One byte more than is taken tells what is too large, also from a store that knows no ranges.
            content, _ = read_object(place, MAX_BYTES + 1, "reading an image", Range=f"bytes=0-{MAX_BYTES}")
        except TransientError:
            raise
        except PipelineError as error:
            if aws.is_credential_problem(error):
                raise
            raise RequestError(f"the object cannot be read ({aws.name_of(error)}).") from None
        except ValueError as error:
            raise RequestError(f"the object cannot be read ({type(error).__name__}).") from None
        if len(content) > MAX_BYTES:
            raise RequestError(f"the object is larger than {MAX_BYTES:,} bytes.")
        return content


def buckets_of(sources: Iterable[Source]) -> set[str]:
    """The buckets that an input lies in."""
    return {parse_input_uri(source.uri).bucket for source in sources if is_s3(source.uri)}


class _Place(NamedTuple):
    """Where an http(s) URL leads."""

    scheme: str
    host: str
    port: int
    target: str

    @property
    def host_header(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"


def _parse(url: str) -> _Place:
    try:
        parts = urlsplit(url)
        port = parts.port or _PORTS.get(parts.scheme, 0)
        host = _ascii(parts)
    except ValueError:
        raise RequestError("it is not a plain http or https URL.") from None
    if parts.scheme not in _PORTS or not _HOST.fullmatch(host) or parts.username is not None:
        raise RequestError("it is not a plain http or https URL.")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return _Place(parts.scheme, host, port, quote(target, safe=_TARGET, errors="replace"))


def _ascii(parts: SplitResult) -> str:
    """The host as DNS knows it. Raises UnicodeError."""
    host = parts.hostname or ""
    return host if host.isascii() else host.encode("idna").decode()


def _get(place: _Place, deadline: float) -> bytes | str:
    """The content, or where it redirects to; until the deadline."""
    address = _resolved(place, deadline)
    try:
        # The connection goes to the address that was checked: a second look-up could give another one.
        plain = socket.create_connection((address, place.port), timeout=_left(deadline))
        with plain, _Watchdog(plain, deadline):
            if plain.getpeername()[0] != address:
                raise RequestError("its host is not a public one.")
            if place.scheme == "http":
                return _ask(plain, place, deadline)
            with _tls().wrap_socket(plain, server_hostname=place.host) as secured:
                return _ask(secured, place, deadline)
    except (OSError, http.client.HTTPException, ValueError) as error:
        _left(deadline)
        raise RequestError(f"it cannot be fetched ({type(error).__name__}).") from None


def _ask(connected: socket.socket, place: _Place, deadline: float) -> bytes | str:
    connection = http.client.HTTPConnection(place.host, place.port)
    connection.sock = connected
    connection.putrequest("GET", place.target, skip_host=True, skip_accept_encoding=True)
    for name, value in (
        ("Host", place.host_header),
        ("Accept", "*/*"),
        ("Accept-Encoding", "identity"),
        ("User-Agent", "bedrock-batch"),
        ("Connection", "close"),
    ):
        connection.putheader(name, value)
    connection.endheaders()
    with connection.getresponse() as reply:
        location = reply.getheader("Location")
        if reply.status in _REDIRECT_STATUSES and location:
            _left(deadline)
            return location
        if reply.status != 200:
            raise RequestError(f"it answers with status {reply.status}.")
        if (reply.getheader("Content-Encoding") or "identity").strip().lower() != "identity":
            # A compressed body of a few bytes may be of any size; images are compressed in themselves.
            raise RequestError("it is sent compressed, though that was not asked for.")
        return _body(reply, deadline)


def _body(reply: http.client.HTTPResponse, deadline: float) -> bytes:
    too_large = RequestError(f"it is larger than {MAX_BYTES:,} bytes.")
    if (reply.length or 0) > MAX_BYTES:
        raise too_large
    content = bytearray()
    while piece := reply.read1(_PIECE_BYTES):
        content += piece
        if len(content) > MAX_BYTES:
            raise too_large
        _left(deadline)
    # A body without a length ends with its connection, which the watchdog may have ended.
    _left(deadline)
    if reply.length:
        raise RequestError("its transfer broke off.")
    return bytes(content)


@functools.cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()


def _left(deadline: float) -> float:
    """Seconds until the deadline. Raises RequestError behind it."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise RequestError(f"it takes longer than {_SECONDS:g} seconds.")
    return left


def _resolved(place: _Place, deadline: float) -> str:
    """The host's address, checked. A look-up knows no time limit: it is left to a thread, and left alone if need be."""
    found: queue.SimpleQueue[str | BaseException] = queue.SimpleQueue()

    def resolve() -> None:
        try:
            found.put(public_address(place.host, place.port))
        except BaseException as error:
            found.put(error)

    threading.Thread(target=resolve, name="look up a host", daemon=True).start()
    try:
        reply = found.get(timeout=_left(deadline))
    except queue.Empty:
        raise RequestError("its host is not known in time.") from None
    if isinstance(reply, BaseException):
        raise reply
    return reply


class _Watchdog:
    """Ends a connection at the deadline, whatever is being waited for: a timeout counts from byte to byte only."""

    def __init__(self, connection: socket.socket, deadline: float) -> None:
        # A socket of its own for the same connection: TLS takes the other one over.
        self._socket = connection.dup()
        self._timer = threading.Timer(max(0.0, deadline - time.monotonic()), self._bite)
        self._timer.daemon = True

    def _bite(self) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> None:
        self._timer.start()

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        self._timer.join()
        self._socket.close()
