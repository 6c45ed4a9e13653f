"""What a call may say: every parameter of a batch once, with its type, default, title, description and choices.

The signature of `batch_inference` is held to it by a test. Prefect's form, `help()`, the command line, what a variant
of a comparison may set, the batch's name and the table in `deployments/docs/parameters.md` are made from it. Light, for
the command's `--help`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

OnInvalid: TypeAlias = Literal["fail", "skip"]
Unsupported: TypeAlias = Literal["error", "drop"]
BelowMinimum: TypeAlias = Literal["on_demand", "pad", "fail"]
Invocation: TypeAlias = Literal["auto", "InvokeModel", "Converse"]
#: Botocore's `bedrock-runtime`, shape `ServiceTierType`.
ServiceTier: TypeAlias = Literal["default", "flex", "priority", "reserved"]
#: Text, in Prefect's form as well; a Path will do from Python.
PathText = Annotated[str, BeforeValidator(lambda value: str(value) if isinstance(value, PurePath) else value)]
#: Dollars.
Dollars = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


@dataclass(frozen=True)
class Help:
    """What is to be said and known of one parameter."""

    title: str
    #: One or two sentences that stand alone, in plain text.
    text: str
    #: What each choice does.
    choices: Mapping[str, str] = field(default_factory=dict)
    #: What takes the place of a None.
    default: str | None = None
    #: It changes the result, and so is part of the batch's name.
    naming: bool = False
    #: A variant of a comparison may set it for itself.
    variant: bool = False
    #: How the command line says it, where that is not its name with dashes.
    flag: str | None = None
    #: More of it, on another page of deployments/docs.
    page: str | None = None

    @property
    def description(self) -> str:
        """The text, and what each choice does."""
        return " ".join([self.text, *(f'"{choice}": {what}.' for choice, what in self.choices.items())])


class Parameters(BaseModel):
    """Parameters of a flow. Each has its Help."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @classmethod
    def described(cls) -> Iterator[tuple[str, FieldInfo, Help]]:
        """Every parameter: those that must be given, then the others."""
        for name, info in sorted(cls.model_fields.items(), key=lambda each: not each[1].is_required()):
            (found,) = (each for each in info.metadata if isinstance(each, Help))
            yield name, info, found

    @classmethod
    def require_valid(cls, name: str, value: Any) -> None:
        """Raise ValueError naming the parameter, where a value is none of it."""
        try:
            TypeAdapter[Any](cls.model_fields[name].rebuild_annotation()).validate_python(value)
        except ValidationError as error:
            raise ValueError(f"{name}: {error.errors()[0]['msg']}, not {value!r}.") from None

    @classmethod
    def names(cls, trait: Literal["naming", "variant"]) -> tuple[str, ...]:
        """The parameters that have a trait of Help."""
        return tuple(name for name, _, each in cls.described() if getattr(each, trait))


class SharedParameters(Parameters):
    """What a batch and a comparison both take."""

    input_file: Annotated[
        PathText,
        Help(
            "Input file",
            "Requests in OpenAI's batch format: a local path, an s3:// URI (or URL-encoded, as Portkey's file ids "
            "are), a folder or a glob of .jsonl files; gzip and zstd are read as they are.",
            flag="INPUT_FILE",
        ),
    ]
    endpoint: Annotated[
        str | None,
        Help(
            "Endpoint",
            "OpenAI's endpoint, such as /v1/chat/completions; given, every line must match it.",
            default="from the lines",
            naming=True,
        ),
    ] = None
    completion_window: Annotated[
        str,
        Help(
            "Completion window",
            "How long the jobs may take: 24h to 168h, or 1d to 7d; immediate answers on demand, at the full price and "
            "without a batch job.",
            variant=True,
        ),
    ] = "24h"
    metadata: Annotated[
        dict[str, Any] | None,
        Help(
            "Metadata",
            "Names and texts of your own: kept on the batch, and put on its Bedrock jobs as tags.",
            flag="--metadata KEY=VALUE …",
        ),
    ] = {}
    job_name: Annotated[str | None, Help("Job name", "The start of the Bedrock jobs' names.", variant=True)] = None
    role_arn: Annotated[
        str | None,
        Help(
            "Service role",
            "The ARN of the role that Bedrock takes to read the records and write the answers.",
            default="BEDROCK_BATCH_ROLE_ARN",
            variant=True,
        ),
    ] = None
    vpc_config: Annotated[
        dict[str, Any] | None,
        Help(
            "VPC of the jobs",
            'Where the jobs reach the bucket from: {"subnetIds": ["subnet-…"], "securityGroupIds": ["sg-…"]}.',
            default="Bedrock's own network",
            flag="--vpc-config JSON",
            page="operating.md#jobs-within-a-vpc",
        ),
    ] = None
    output_data_config: Annotated[
        dict[str, Any] | None,
        Help(
            "Output location",
            'Where the result files go too, under the batch\'s id: {"s3OutputDataConfig": {"s3Uri": "s3://…", '
            '"s3EncryptionKeyId": …, "s3BucketOwner": …}}. The last two may be left out; the owner is the account of a '
            "bucket of another one.",
            flag="--output-location S3_URI",
        ),
    ] = None
    on_invalid: Annotated[
        OnInvalid,
        Help(
            "Bad lines",
            "What a line that is no valid request does.",
            {"fail": "it fails the batch before anything is uploaded", "skip": "it goes to the error file"},
            naming=True,
        ),
    ] = "fail"
    unsupported: Annotated[
        Unsupported,
        Help(
            "Unsupported fields",
            "What becomes of a field that the model cannot honour.",
            {"error": "its request is an error that names it", "drop": "it is left out, and counted"},
            naming=True,
            variant=True,
        ),
    ] = "error"
    below_minimum: Annotated[
        BelowMinimum,
        Help(
            "Below the minimum",
            "What to do with fewer records than a job accepts.",
            {
                "on_demand": "they are asked on demand, at the full price",
                "pad": "the job is filled up, never in your files or counts, but on your bill",
                "fail": "they are refused",
            },
            variant=True,
        ),
    ] = "on_demand"
    poll_seconds: Annotated[
        Seconds | None,
        Help("Seconds between looks", "Fixed seconds between looks at the jobs.", default="adaptive, from 1 to 60"),
    ] = None
    retry_failed: Annotated[
        bool,
        Help(
            "Retry what failed",
            "Open a finished batch again for the requests that have no answer (throttled, expired, cancelled, "
            "faulted), and only those.",
        ),
    ] = False
    invocation: Annotated[
        Invocation,
        Help(
            "Type of the jobs",
            "How Bedrock's jobs ask the model.",
            {
                "auto": "by what each request needs",
                "InvokeModel": "by the model's native body",
                "Converse": "by the body that all chat models share",
            },
            naming=True,
            variant=True,
        ),
    ] = "auto"
    fetch_images: Annotated[
        bool,
        Help(
            "Fetch images",
            "Fetch http(s) images, from public addresses only. s3:// images are read without it: from the batch's "
            "bucket, the input's, and those that BEDROCK_BATCH_IMAGE_BUCKETS names.",
            naming=True,
            page="models.md#what-the-table-does-not-say",
        ),
    ] = False

    service_tier: Annotated[
        ServiceTier,
        Help(
            "Service tier on demand",
            "The tier of calls on demand; a batch job has none. Costs are counted at its price where one is known.",
            {
                "default": "the standard one",
                "flex": "cheaper and slower",
                "priority": "faster and dearer",
                "reserved": "capacity that the account has reserved",
            },
        ),
    ] = "default"

    def shared(self) -> dict[str, Any]:
        """What each batch of a comparison is given, but for its input."""
        return {name: getattr(self, name) for name in SharedParameters.model_fields if name != "input_file"}


class BatchParameters(SharedParameters):
    """What `batch_inference` takes."""

    model: Annotated[
        str,
        Help(
            "Model",
            "A Bedrock model id, an inference profile's id, or the ARN of either. The lines' own body.model must be "
            "one and the same, and is not used.",
        ),
    ]
    wait: Annotated[
        bool,
        Help(
            "Wait for the end",
            "Wait until the batch has ended; or submit and leave, for the collector or the same call to go on with.",
            flag="--no-wait",
            page="operating.md#without-a-process-that-waits",
        ),
    ] = True
    max_cost_usd: Annotated[
        Dollars | None,
        Help(
            "Most it may cost, in dollars",
            "Refuse, before anything is uploaded, what could cost more if every answer were as long as its request "
            "allows.",
            default="no limit",
        ),
    ] = None
