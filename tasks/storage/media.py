"""Images and files that requests refer to, fetched for inlining: from S3, and from the web behind a guard."""

import http.client
import ipaddress
import socket
from typing import Any
from urllib.parse import urljoin, urlsplit

import urllib3
from botocore.exceptions import BotoCoreError, ClientError

from tasks.bedrock import aws
from tasks.codecs.base import RequestError
from tasks.errors import InputFileError
from tasks.storage.objects import read_object
from tasks.storage.uris import parse_input_uri

#: Bedrock takes images of 3.75 MB and documents of 4.5 MB; more would be fetched for nothing.
MAX_BYTES = 5_000_000
_REDIRECTS = 3
_SECONDS = 10.0
_REDIRECT_STATUSES = frozenset({301, 302, 303, 307, 308})


class Media:
    """Fetches by reference. http(s) only where it was allowed, and then from public addresses only."""

    def __init__(self, *, allow_http: bool) -> None:
        self._allow_http = allow_http

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
        for _ in range(_REDIRECTS + 1):
            reply = self._get(url)
            if not isinstance(reply, str):
                return reply
            url = urljoin(url, reply)
        raise RequestError(f"it redirects more than {_REDIRECTS} times.")

    @staticmethod
    def _from_s3(url: str) -> bytes:
        try:
            place = parse_input_uri(url)
        except InputFileError:
            raise RequestError("it names no bucket; write s3://BUCKET/KEY.") from None
        if not place.key:
            raise RequestError("it names no object; write s3://BUCKET/KEY.")
        try:
            content, _ = read_object(place, Range=f"bytes=0-{MAX_BYTES}")
        except (ClientError, BotoCoreError) as error:
            if aws.is_credential_problem(error) or aws.is_transient(error):
                raise aws.explain(error, "reading an image") from error
            raise RequestError(f"the object cannot be read ({aws.code_of(error) or type(error).__name__}).") from None
        if len(content) > MAX_BYTES:
            raise RequestError(f"the object is larger than {MAX_BYTES:,} bytes.")
        return content

    @staticmethod
    def _get(url: str) -> bytes | str:
        """The content, or where it redirects to."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
            raise RequestError("it is not a plain http or https URL.")
        address = public_address(parts.hostname, parts.port or (443 if parts.scheme == "https" else 80))
        # The connection goes to the address that was checked: a second look-up could give another one.
        options: dict[str, Any] = {"timeout": _SECONDS, "retries": False}
        pool: urllib3.HTTPConnectionPool
        if parts.scheme == "https":
            pool = urllib3.HTTPSConnectionPool(address, parts.port or 443, server_hostname=parts.hostname,
                                               assert_hostname=parts.hostname, **options)  # fmt: skip
        else:
            pool = urllib3.HTTPConnectionPool(address, parts.port or 80, **options)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        try:
            with pool:
                reply = pool.request(
                    "GET", target, headers={"Host": parts.netloc}, redirect=False, preload_content=False
                )
                if reply.status in _REDIRECT_STATUSES and reply.headers.get("Location"):
                    return str(reply.headers["Location"])
                if reply.status != 200:
                    raise RequestError(f"it answers with status {reply.status}.")
                content = reply.read(MAX_BYTES + 1)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise RequestError(f"it cannot be fetched ({type(error).__name__}).") from None
        if len(content) > MAX_BYTES:
            raise RequestError(f"it is larger than {MAX_BYTES:,} bytes.")
        return content


def public_address(host: str, port: int) -> str:
    """An address of the host. Raises RequestError where any of its addresses is not a public one."""
    try:
        found = {str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)}
    except (OSError, UnicodeError):
        raise RequestError("its host is not known.") from None
    for address in found:
        if not ipaddress.ip_address(address.partition("%")[0]).is_global:
            raise RequestError("its host is not a public one.")
    return sorted(found)[0]
