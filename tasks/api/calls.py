"""What a create call asks for, in its body and in headers of Portkey's and AWS's, checked as far as that is cheap."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

import msgspec

from tasks import aws
from tasks.api.errors import InvalidCallError
from tasks.api.files import expiry
from tasks.api.tenants import Tenant
from tasks.batch.options import parse_window
from tasks.batch.parameters import BatchParameters
from tasks.openai_format.requests import CHAT, COMPLETIONS, EMBEDDINGS, RESPONSES, canonical_endpoint
from tasks.storage.uris import is_s3

ENDPOINTS = (CHAT, COMPLETIONS, RESPONSES, EMBEDDINGS)
#: OpenAI's bounds of metadata (https://platform.openai.com/docs/api-reference/batch/create).
_METADATA_ENTRIES, _KEY_CHARACTERS, _VALUE_CHARACTERS = 16, 64, 512
#: AWS's bound of a tag's value; in number and keys, tags are held to the bounds of metadata.
_TAG_CHARACTERS = 256
_CHOICES = {name: tuple(each.choices) for name, _, each in BatchParameters.described() if each.choices}
_FLAGS = ("retry_failed", "reuse")
#: Where a model is named beside the body, in the order of precedence.
_MODEL_HEADERS = ("x-portkey-aws-bedrock-model", "x-amzn-bedrock-modelid")
_ROLE_HEADERS = ("x-portkey-aws-role-arn", "x-amzn-bedrock-rolearn")
_KEY_HEADERS = ("x-amzn-bedrock-outputencryptionkeyid", "x-portkey-amz-server-side-encryption-aws-kms-key-id")
_TAGS_HEADER = "x-amzn-bedrock-tags"
_TEXTS = ("job_name", "model", "role_arn")
_TAKEN = frozenset(
    {
        "input_file_id",
        "endpoint",
        "completion_window",
        "metadata",
        "output_expires_after",
        "output_data_config",
        "max_cost_usd",
        *_TEXTS,
        *_CHOICES,
        *_FLAGS,
    }
)


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """A create call. `options` are parameters of `batch_inference`, given ones only."""

    input_file_id: str
    endpoint: str | None
    completion_window: str
    metadata: dict[str, str]
    #: The model that the call names, by any of its names; None: the lines say it.
    model: str | None
    output_expires_after: int | None
    options: dict[str, Any]
    #: False: a fresh sample, that no earlier answer serves.
    reuse: bool = True
    #: Fields that nobody here knows: they have no effect.
    ignored: tuple[str, ...] = ()
    #: Tags of the jobs, beside the metadata; and the KMS key of everything that is written for this call.
    tags: dict[str, str] = {}
    kms_key: str | None = None

    @property
    def window_seconds(self) -> int:
        """How long the batch may take."""
        return (parse_window(self.completion_window) or 24) * 3600


def read_call(tenant: Tenant, body: dict[str, Any], headers: Mapping[str, str]) -> Call:
    """Check a create call. `headers` have lower-case names. Raises InvalidCallError, ForbiddenError with `param`."""
    for name in _TEXTS:
        if body.get(name) is not None and not isinstance(body[name], str):
            raise InvalidCallError(f"{name} must be text.", param=name)
    model = body.get("model") or _first(headers, _MODEL_HEADERS)
    options = _choices(body)
    if body.get("job_name"):
        options["job_name"] = body["job_name"]
    role = body.get("role_arn") or _first(headers, _ROLE_HEADERS)
    if role:
        tenant.check_role(role)
        options["role_arn"] = role
    config = body.get("output_data_config")
    if config is not None:
        tenant.check_output(config)
        options["output_data_config"] = config
    tags = _tags(headers.get(_TAGS_HEADER))
    _check_place(tenant, headers)
    return Call(
        input_file_id=_input(body),
        endpoint=_endpoint(body),
        completion_window=_window(body),
        metadata=_metadata(body["metadata"] if body.get("metadata") is not None else tags),
        model=tenant.model_named(model) if model else None,
        output_expires_after=expiry(body.get("output_expires_after"), "output_expires_after"),
        options=options,
        reuse=body.get("reuse") is not False,
        ignored=tuple(sorted(str(name)[:64] for name in body.keys() - _TAKEN)[:20]),
        tags=tags,
        kms_key=named_key(tenant, headers),
    )


def named_key(tenant: Tenant, headers: Mapping[str, str]) -> str | None:
    """The KMS key that a header names, for what is written; None without one. Raises ForbiddenError."""
    for name in _KEY_HEADERS:
        if headers.get(name):
            tenant.check_key(headers[name], name)
            return headers[name]
    return None


def _first(headers: Mapping[str, str], names: tuple[str, ...]) -> str | None:
    return next((headers[name] for name in names if headers.get(name)), None)


def _choices(body: dict[str, Any]) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for name, words in _CHOICES.items():
        value = body.get(name)
        if value is not None and value not in words:
            raise InvalidCallError(f"{name} must be one of {', '.join(words)}.", param=name)
        if value is not None:
            options[name] = value
    for name in _FLAGS:
        if body.get(name) is not None and not isinstance(body[name], bool):
            raise InvalidCallError(f"{name} must be true or false.", param=name)
    if body.get("retry_failed"):
        options["retry_failed"] = True
    cost = body.get("max_cost_usd")
    if cost is not None:
        if isinstance(cost, bool) or not isinstance(cost, int | float) or not 0 <= cost < float("inf"):
            raise InvalidCallError("max_cost_usd must be an amount of dollars, 0 or more.", param="max_cost_usd")
        options["max_cost_usd"] = float(cost)
    return options


def _input(body: dict[str, Any]) -> str:
    given = body.get("input_file_id")
    if not isinstance(given, str) or not given:
        raise InvalidCallError("Missing required parameter: 'input_file_id'.", param="input_file_id")
    return given


def _endpoint(body: dict[str, Any]) -> str | None:
    given = body.get("endpoint")
    if given is None:
        return None
    endpoint = canonical_endpoint(given) if isinstance(given, str) and given else ""
    if endpoint not in ENDPOINTS:
        raise InvalidCallError(f"endpoint must be one of {', '.join(ENDPOINTS)}.", param="endpoint")
    return endpoint


def _window(body: dict[str, Any]) -> str:
    given = body.get("completion_window")
    if given is None:
        return "24h"
    if not isinstance(given, str):
        raise InvalidCallError("completion_window must be text, such as 24h.", param="completion_window")
    try:
        parse_window(given)
    except ValueError as error:
        raise InvalidCallError(str(error), param="completion_window") from None
    return given


def _tags(text: str | None) -> dict[str, str]:
    """AWS's header of tags: `key=value,key=value`, URL-encoded where need be, or an object in JSON."""
    if not text or not text.strip():
        return {}
    try:
        if text.lstrip().startswith("{"):
            tags = msgspec.json.decode(text, type=dict[str, str])
        else:
            pairs = [pair.split("=", 1) for pair in text.split(",") if pair.strip()]
            tags = {unquote(key.strip()): unquote(value.strip()) for key, value in pairs}
    except ValueError:
        raise InvalidCallError("X-Amzn-Bedrock-Tags must be key=value,key=value.", param=_TAGS_HEADER) from None
    if len(tags) > _METADATA_ENTRIES or any(
        not 0 < len(key) <= _KEY_CHARACTERS or len(value) > _TAG_CHARACTERS for key, value in tags.items()
    ):
        raise InvalidCallError(
            f"X-Amzn-Bedrock-Tags holds at most {_METADATA_ENTRIES} tags, with keys of at most {_KEY_CHARACTERS} "
            f"characters and values of at most {_TAG_CHARACTERS}.",
            param=_TAGS_HEADER,
        )
    return tags


def _metadata(given: Any) -> dict[str, str]:
    if not isinstance(given, dict) or len(given) > _METADATA_ENTRIES:
        raise InvalidCallError(f"metadata must be an object of at most {_METADATA_ENTRIES} entries.", param="metadata")
    for key, value in given.items():
        if not isinstance(value, str) or len(value) > _VALUE_CHARACTERS or len(key) > _KEY_CHARACTERS:
            raise InvalidCallError(
                f"metadata holds texts of at most {_VALUE_CHARACTERS} characters under keys of at most "
                f"{_KEY_CHARACTERS}.",
                param="metadata",
            )
    return dict(given)


def _check_place(tenant: Tenant, headers: Mapping[str, str]) -> None:
    """Refuse a bucket or region that is not the tenant's: silence would let a caller think that it counts."""
    region, ours = headers.get("x-portkey-aws-region"), aws.s3().meta.region_name
    if region and region != ours:
        raise InvalidCallError(
            f"This server works in the region {ours}; leave x-portkey-aws-region out.", param="x-portkey-aws-region"
        )
    bucket = headers.get("x-portkey-aws-s3-bucket")
    known = {tenant.settings.root.bucket, *(uri.bucket for uri in (*tenant.inputs, *tenant.outputs)), "unused"}
    if bucket and bucket.removeprefix("s3://").strip("/") not in known:
        raise InvalidCallError("x-portkey-aws-s3-bucket is not a bucket of this key.", param="x-portkey-aws-s3-bucket")


def is_uri(input_file_id: str) -> bool:
    """Whether an input is named by its place in S3, plain or URL-encoded, and not by a file's id."""
    return is_s3(input_file_id)
