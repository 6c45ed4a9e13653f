"""boto3 clients, made once for each environment; and how often, and how soon, something is tried again."""

import functools
import json
import os
import random
import time
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError

from tasks.aws.errors import explain, unreadable
from tasks.support.surrogates import LONE

if TYPE_CHECKING:
    from mypy_boto3_bedrock import BedrockClient
    from mypy_boto3_bedrock_runtime import BedrockRuntimeClient
    from mypy_boto3_s3 import S3Client

#: Of reading one body of S3 (or one part of it). Even where every second one breaks off, a batch of hundreds of reads
#: ends; with `back_off`'s cap of 5 s, a network that is gone is given up after some forty seconds.
READ_ATTEMPTS = 20


#: Of an error that is not AWS's own, so much is shown.
_SHOWN = 200
#: The files that boto3 takes credentials and settings from, by the variable that names another.
_FILES = {"AWS_SHARED_CREDENTIALS_FILE": "~/.aws/credentials", "AWS_CONFIG_FILE": "~/.aws/config"}


@functools.lru_cache(maxsize=16)
def _client(service: str, environment: tuple[tuple[str, str], ...]) -> Any:
    settings = dict(environment)
    custom_s3 = "AWS_ENDPOINT_URL_S3" in settings or "AWS_ENDPOINT_URL" in settings
    runtime = service == "bedrock-runtime"
    try:
        session = boto3.session.Session()
        session.events.register("creating-client-class", _name_files)
        make: Any = session.client
        made = make(
            service,
            # Every other AWS SDK and the command line read AWS_REGION; boto3 knows AWS_DEFAULT_REGION only.
            region_name=settings.get("AWS_REGION") or None,
            config=Config(
                # A call on demand costs money: `tasks.bedrock.runtime` knows which may be sent again.
                retries={"mode": "standard", "total_max_attempts": 1 if runtime else 9},
                max_pool_connections=64,
                connect_timeout=10,
                # An on-demand answer of a slow model arrives in one piece.
                read_timeout=600 if runtime else 60,
                # S3-compatible stores are rarely reachable under bucket.host.
                s3={"addressing_style": "path"} if custom_s3 and service == "s3" else None,
            ),
        )
    except (ValueError, BotoCoreError) as error:
        raise explain(error, f"connecting to {service}") from error
    except OSError as error:
        raise explain(unreadable(error), f"connecting to {service}") from error
    if runtime:
        made.meta.events.register("before-parse.bedrock-runtime", keep_reply)
    return made


def _name_files(base_classes: list[type], **_: Any) -> None:
    """Botocore lets its users put a class of their own before a client's: the one seam for all calls."""
    base_classes.insert(0, _NamesFiles)


class _NamesFiles:
    """Turns what botocore leaves raw: a file or program with credentials that is not there when a call is signed."""

    def _make_api_call(self, operation_name: str, api_params: dict[str, Any]) -> Any:
        call: Any = super()
        try:
            return call._make_api_call(operation_name, api_params)
        except BotoCoreError:
            # Some of them are OSErrors as well.
            raise
        except OSError as error:
            raise unreadable(error) from error


def _environment() -> tuple[tuple[str, str], ...]:
    # A client holds the endpoint and credentials it was made with: a changed environment needs another one, and so do
    # files that were written anew, as tools do that refresh credentials once an hour.
    variables = sorted((name, value) for name, value in os.environ.items() if name.startswith("AWS_"))
    return (*variables, *((name, _written(os.environ.get(name) or default)) for name, default in _FILES.items()))


def _written(path: str) -> str:
    """When a file was last written; empty where there is none."""
    try:
        return str(os.stat(os.path.expanduser(path)).st_mtime_ns)
    except OSError:
        return ""


def s3() -> "S3Client":
    client: S3Client = _client("s3", _environment())
    return client


def bedrock() -> "BedrockClient":
    client: BedrockClient = _client("bedrock", _environment())
    return client


def runtime() -> "BedrockRuntimeClient":
    client: BedrockRuntimeClient = _client("bedrock-runtime", _environment())
    return client


#: A look that nobody answers soon is given up: what it would have told is said to be unknown.
_LOOK = Config(retries={"mode": "standard", "total_max_attempts": 2}, connect_timeout=3, read_timeout=20)


def looker(service: str) -> Any:
    """A client that only looks, of any service; raises PipelineError where it cannot be made."""
    settings = dict(_environment())
    try:
        make: Any = boto3.session.Session().client
        return make(service, region_name=settings.get("AWS_REGION") or None, config=_LOOK)
    except (ValueError, BotoCoreError) as error:
        raise explain(error, f"connecting to {service}") from error
    except OSError as error:
        raise explain(unreadable(error), f"connecting to {service}") from error


#: Where a parsed reply of the runtime has its bytes.
REPLY = "_Reply"


def keep_reply(response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: Any) -> None:
    """Keep a reply of the runtime as it came: botocore's parser raises for, or alters, what it cannot read.

    A call with a reply is paid for, whatever the reply is. Of an error the parser sees the texts, which is all it uses.
    """
    body = response_dict["body"]
    if not isinstance(body, bytes):
        # A stream: botocore leaves it alone.
        return
    if response_dict["status_code"] < 300:
        customized_response_dict[REPLY] = body
        response_dict["body"] = b"{}"
        return
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        fields = None
    if isinstance(fields, dict):
        texts = {name: LONE.sub("\ufffd", value) for name, value in fields.items() if isinstance(value, str)}
    else:
        # A proxy's own words.
        texts = {"message": body[:_SHOWN].decode("utf-8", "replace")}
    response_dict["body"] = json.dumps(texts).encode()


def back_off(attempt: int, cap_seconds: float = 5.0) -> None:
    """Sleep with full jitter: up to 2^attempt / 2 seconds, at most `cap_seconds`."""
    time.sleep(random.uniform(0, min(cap_seconds, 2**attempt / 2)))
