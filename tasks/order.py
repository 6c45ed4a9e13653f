"""From a call's parameters to an `Order`: everything checked that can be checked without reading the input."""

import base64
from collections.abc import Callable
from typing import Any, Literal

import msgspec
from botocore.exceptions import BotoCoreError, ClientError

from tasks.batches import Order, parse_window
from tasks.bedrock import aws
from tasks.bedrock.limits import limits_for
from tasks.bedrock.models import Model, parse_model
from tasks.codecs import codec_for
from tasks.codecs.base import RequestError
from tasks.codecs.encoder import Encoder
from tasks.errors import ConfigurationError
from tasks.openai_format.requests import canonical_endpoint
from tasks.settings import account_id, load_settings
from tasks.storage.bucket import check_bucket
from tasks.storage.uris import parse_location

#: Stands for an image that is not read yet: one pixel.
_PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
#: What a record adds around its modelInput: recordId, keys, braces and the line end.
_RECORD_OVERHEAD = len(b'{"recordId":"r000000000","modelInput":}\n')


def place_order(
    input_file: str,
    model: str,
    *,
    endpoint: str | None,
    completion_window: str,
    metadata: dict[str, Any] | None,
    job_name: str | None,
    role_arn: str | None,
    output_data_config: dict[str, Any] | None,
    on_invalid: str,
    unsupported: str,
    below_minimum: str,
    invocation: Literal["auto", "InvokeModel", "Converse"],
    fetch_images: bool,
    retry_failed: bool,
) -> Order:
    """Check and complete what the user asked for. Raises ConfigurationError naming the parameter that is wrong."""
    try:
        parsed = parse_model(model)
        limits = limits_for(parsed)
        window_hours = parse_window(completion_window)
    except ValueError as error:
        raise ConfigurationError(str(error)) from None
    settings = load_settings(role_arn)
    labels = read_metadata(metadata)
    location = output_location(output_data_config)
    owner = output_owner(output_data_config)
    at_home = location is not None and parse_location(location, "output_data_config").bucket == settings.root.bucket
    if owner and at_home:
        # The jobs read and write this very bucket.
        settings = msgspec.structs.replace(settings, bucket_owner=owner)
    resolved = _resolve(parsed)
    codec = codec_for(resolved)
    wanted = canonical_endpoint(endpoint) if endpoint else None
    if wanted and wanted not in codec.endpoints:
        raise ConfigurationError(
            f"endpoint {wanted} is not served by {model} ({codec.family}); it serves {', '.join(codec.endpoints)}."
        )
    check_bucket(settings.root, settings.bucket_owner)
    return Order(
        input_file=input_file,
        model=resolved,
        codec=codec,
        completion_window=completion_window,
        window_hours=window_hours,
        metadata=labels,
        job_name=job_name,
        on_invalid=on_invalid,
        unsupported=unsupported,
        below_minimum=below_minimum,
        invocation=invocation,
        fetch_images=fetch_images,
        retry_failed=retry_failed,
        limits=limits,
        settings=settings,
        output_location=location,
        output_kms_key=_s3_output(output_data_config).get("s3EncryptionKeyId"),
        output_owner=settings.bucket_owner if at_home else owner,
    )


def read_metadata(metadata: dict[str, Any] | None) -> dict[str, str]:
    """The metadata of a batch; none is an empty one. Raises ConfigurationError naming the entry that is no text."""
    for key, value in (metadata or {}).items():
        if not isinstance(key, str) or not isinstance(value, str):
            kind = type(value if isinstance(key, str) else key).__name__
            raise ConfigurationError(
                f"metadata[{key!r}] must be text, not {kind}: metadata is a dictionary of texts, as OpenAI's is."
            )
    return dict(metadata or {})


def output_location(output_data_config: dict[str, Any] | None) -> str | None:
    """Where `output_data_config` wants the result files; None without it. Raises ConfigurationError."""
    uri = _s3_output(output_data_config).get("s3Uri")
    if output_data_config and not uri:
        raise ConfigurationError('output_data_config must be {"s3OutputDataConfig": {"s3Uri": "s3://…"}}.')
    if uri:
        parse_location(uri, "output_data_config")
    return uri


def output_owner(output_data_config: dict[str, Any] | None) -> str | None:
    """The account that `output_data_config` says its bucket belongs to. Raises ConfigurationError."""
    owner = _s3_output(output_data_config).get("s3BucketOwner")
    return account_id(owner, "output_data_config.s3OutputDataConfig.s3BucketOwner") if owner is not None else None


def _s3_output(output_data_config: dict[str, Any] | None) -> dict[str, Any]:
    inner = (output_data_config or {}).get("s3OutputDataConfig")
    return inner if isinstance(inner, dict) else {}


def _resolve(model: Model) -> Model:
    """What an application inference profile stands for: only the service knows."""
    if model.base_id:
        return model
    try:
        profile = aws.bedrock().get_inference_profile(inferenceProfileIdentifier=model.id)
        base = parse_model(profile["models"][0]["modelArn"])
    except (ClientError, BotoCoreError, ValueError, LookupError):
        # Without the permission to look it up, Converse serves any chat model.
        return model
    return Model(model.id, base.base_id, base.provider, model.region)


def size_sampler(order: Order) -> Callable[[bytes, str], tuple[int, int]]:
    """A function that tells how many records, and of how many bytes, a line becomes: for planning the shards.

    It fetches nothing: a record is counted without the images that conversion will put into it.
    """
    unsupported: Literal["error", "drop"] = "drop" if order.unsupported == "drop" else "error"
    encoders: dict[str, Encoder] = {}

    def fetch(url: str) -> bytes:
        if url.startswith("s3://") or order.fetch_images:
            return _PIXEL
        raise RequestError("a batch job fetches nothing.")

    def size(line: bytes, endpoint: str) -> tuple[int, int]:
        if endpoint not in encoders:
            encoders[endpoint] = Encoder(order.model, endpoint, unsupported, order.invocation, fetch)
        try:
            model_inputs = encoders[endpoint].encode(line).model_inputs
            size = sum(len(model_input) + _RECORD_OVERHEAD for model_input in model_inputs)
            return len(model_inputs), size
        except RequestError:
            return 0, 0

    return size
