"""What the user asked for: from a call's parameters, everything checked that can be without reading the input."""

from typing import Any, Final

import msgspec
from pydantic import BaseModel, ConfigDict, Field

from tasks import aws
from tasks.batch.parameters import BatchParameters, BelowMinimum, Invocation, OnInvalid, ServiceTier, Unsupported
from tasks.bedrock.capabilities import capabilities_of
from tasks.bedrock.limits import Limits, limits_for
from tasks.bedrock.models import Model, parse_model
from tasks.bedrock.prices import rate_for
from tasks.bedrock.vpc import VpcConfig, read_vpc_config
from tasks.codecs import codec_for
from tasks.codecs.base import Codec
from tasks.errors import ConfigurationError, PipelineError
from tasks.openai_format.requests import canonical_endpoint
from tasks.settings import Settings, account_id, load_settings
from tasks.storage.bucket import check_bucket
from tasks.storage.uris import parse_location

#: In every batch's name from the first version on.
_ALWAYS_NAMED: Final = ("endpoint", "on_invalid", "unsupported")


class BatchOptions(BaseModel):
    """What batch.json keeps of the options of a batch. Unknown ones, of a newer version, are kept."""

    model_config = ConfigDict(frozen=True, extra="allow")

    #: Of the lines, once they were read.
    endpoint: str | None = None
    on_invalid: OnInvalid = "fail"
    unsupported: Unsupported = "error"
    invocation: Invocation = "auto"
    fetch_images: bool = False
    below_minimum: BelowMinimum = "on_demand"
    output_location: str | None = None
    output_kms_key: str | None = None
    #: The account of the bucket of `output_location`, where it was named.
    output_owner: str | None = None
    bucket_owner: str | None = None
    image_buckets: tuple[str, ...] = ()
    #: The subnets and security groups of the jobs.
    vpc_config: VpcConfig | None = Field(default=None, exclude_if=lambda value: value is None)
    #: Of calls on demand.
    service_tier: ServiceTier = Field(default="default", exclude_if=lambda value: value == "default")
    #: Of an API caller: the only folders whose objects requests may refer to, and folders within that are closed.
    image_folders: tuple[str, ...] | None = Field(default=None, exclude_if=lambda value: value is None)
    closed_folders: tuple[str, ...] = Field(default=(), exclude_if=lambda value: not value)

    @property
    def naming(self) -> dict[str, Any]:
        """Those that change the result, and so name the batch."""
        values = {name: getattr(self, name) for name in BatchParameters.names("naming")}
        # The others are named only where they were chosen, so that the common batch keeps its name.
        return {
            name: value
            for name, value in values.items()
            if name in _ALWAYS_NAMED or value != BatchOptions.model_fields[name].default
        }

    def renewed(self, others: "BatchOptions") -> "BatchOptions":
        """Those of a later call; what it does not know stays."""
        return self.model_copy(update=others.model_dump())


class ResolvedCall(msgspec.Struct, frozen=True):
    """What a call asks for, checked and completed: all that a batch is opened with."""

    parameters: BatchParameters
    options: BatchOptions
    limits: Limits
    model: Model
    codec: Codec
    window_hours: int | None
    metadata: dict[str, str]
    settings: Settings

    @property
    def immediate(self) -> bool:
        return self.window_hours is None


def parse_window(completion_window: str) -> int | None:
    """Hours of a completion window, `24h` to `168h` or `1d` to `7d`; None for `immediate`. Raises ValueError."""
    text = completion_window.strip().lower()
    if text == "immediate":
        return None
    number, unit = text[:-1], text[-1:]
    whole = number.isascii() and number.isdecimal() and len(number) <= 3
    hours = int(number) * {"h": 1, "d": 24}[unit] if whole and unit in ("h", "d") else 0
    if not 24 <= hours <= 168:
        raise ValueError(
            f"completion_window must be 24h to 168h (or 1d to 7d), or 'immediate', not {completion_window[:80]!r}: "
            "a Bedrock job runs for at least a day and at most a week."
        )
    return hours


def resolve_options(parameters: BatchParameters) -> ResolvedCall:
    """Check and complete what the user asked for. Raises ConfigurationError naming the parameter that is wrong."""
    try:
        parsed = parse_model(parameters.model)
        limits = limits_for(parsed)
        window_hours = parse_window(parameters.completion_window)
    except ValueError as error:
        raise ConfigurationError(str(error)) from None
    settings = load_settings(parameters.role_arn)
    metadata = read_metadata(parameters.metadata)
    output = _s3_output(parameters.output_data_config)
    location = output_location(parameters.output_data_config)
    owner = output_owner(parameters.output_data_config)
    at_home = location is not None and parse_location(location, "output_data_config").bucket == settings.root.bucket
    if owner and at_home:
        # The jobs read and write this very bucket.
        settings = msgspec.structs.replace(settings, bucket_owner=owner)
    model = _resolve(parsed)
    codec = codec_for(model)
    _require_endpoint(parameters, codec)
    _require_job(parameters, model)
    _require_price(parameters, model)
    check_bucket(settings.root, settings.bucket_owner)
    options = BatchOptions(
        on_invalid=parameters.on_invalid,
        unsupported=parameters.unsupported,
        invocation=parameters.invocation,
        fetch_images=parameters.fetch_images,
        below_minimum=parameters.below_minimum,
        output_location=location,
        output_kms_key=output.get("s3EncryptionKeyId"),
        output_owner=settings.bucket_owner if at_home else owner,
        bucket_owner=settings.bucket_owner,
        image_buckets=settings.image_buckets,
        vpc_config=read_vpc_config(parameters.vpc_config) or settings.vpc_config,
        service_tier=parameters.service_tier,
        image_folders=None if settings.image_folders is None else tuple(map(str, settings.image_folders)),
        closed_folders=tuple(map(str, settings.closed_folders)),
    )
    return ResolvedCall(parameters, options, limits, model, codec, window_hours, metadata, settings)


def _require_endpoint(parameters: BatchParameters, codec: Codec) -> None:
    wanted = canonical_endpoint(parameters.endpoint) if parameters.endpoint else None
    if wanted and wanted not in codec.endpoints:
        raise ConfigurationError(
            f"endpoint {wanted} is not served by {parameters.model} ({codec.family}); it serves "
            f"{', '.join(codec.endpoints)}."
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


def _require_job(parameters: BatchParameters, model: Model) -> None:
    jobs = capabilities_of(model).jobs
    if parameters.invocation != "auto" and parameters.invocation not in jobs:
        raise ConfigurationError(
            f"invocation {parameters.invocation!r} is no type of job that {parameters.model} takes; it takes "
            f"{' and '.join(sorted(jobs))}. Leave it at 'auto'."
        )


def _require_price(parameters: BatchParameters, model: Model) -> None:
    tier = parameters.service_tier
    if parameters.max_cost_usd is None or tier == "default" or rate_for(model, batch=False, tier=tier) is not None:
        return
    raise ConfigurationError(
        f"max_cost_usd cannot be held with service_tier={tier!r}: "
        f"no price list has what {parameters.model} costs in it."
    )


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
    client = aws.bedrock()
    try:
        with aws.translated(f"looking up {model.id}"):
            profile = client.get_inference_profile(inferenceProfileIdentifier=model.id)
        base = parse_model(profile["models"][0]["modelArn"])
    except (PipelineError, ValueError, LookupError):
        # Without the permission to look it up, Converse serves any chat model.
        return model
    return Model(model.id, base.base_id, base.provider, model.region)
