"""Who may call the API, and what each may do: one key from the environment, or several tenants from a TOML file.

Keys are kept as SHA-256 only, and a presented one is compared with all of them in constant time. What a tenant may name
(roles, KMS keys, models, places in S3) is configuration: a call can choose among it, and bring nothing of its own.
"""

import hashlib
import hmac
import os
import re
import tomllib
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import msgspec
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tasks.api.errors import ForbiddenError, InvalidCallError
from tasks.bedrock.vpc import VpcConfig
from tasks.errors import ConfigurationError, InputFileError
from tasks.settings import Settings, load_settings
from tasks.storage.uris import S3Uri, is_s3, parse_input_uri, parse_location, within

KEY_VARIABLE, CONFIG_VARIABLE = "BEDROCK_BATCH_API_KEY", "BEDROCK_BATCH_API_CONFIG"
#: OpenAI's events of batches (https://platform.openai.com/docs/api-reference/webhook-events).
EVENTS = ("batch.completed", "batch.failed", "batch.expired", "batch.cancelled")
_DIGEST = re.compile(r"(?:sha256:)?([0-9a-f]{64})")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
#: The least characters of a key: shorter ones can be guessed.
_KEY_CHARACTERS = 16


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Webhook(_Table):
    """Where the ends of batches are announced, and the secret that signs it (`whsec_` and base64)."""

    url: str
    secret: str | None = None
    #: The variable that has the secret, so that the file need not.
    secret_env: str | None = None
    events: tuple[str, ...] = EVENTS

    def key(self) -> str:
        """The signing secret. Raises ConfigurationError."""
        secret = self.secret or os.environ.get(self.secret_env or "", "")
        if not secret:
            raise ConfigurationError(f"The webhook {self.url} has no secret: set secret or secret_env to `whsec_…`.")
        return secret


class _Tenant(_Table):
    """A table `[tenants.NAME]` of the configuration."""

    keys: tuple[str, ...] = ()
    bucket: str | None = None
    prefix: str | None = None
    role_arns: tuple[str, ...] = ()
    kms_keys: tuple[str, ...] = ()
    vpc_config: VpcConfig | None = None
    models: tuple[str, ...] = ()
    model_names: dict[str, str] = Field(default_factory=dict)
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    max_file_bytes: int = Field(default=8 << 30, gt=0)
    requests_per_minute: int = Field(default=0, ge=0)
    concurrent_uploads: int = Field(default=16, gt=0)
    operator: bool = False
    webhooks: tuple[Webhook, ...] = ()


class _Configuration(_Table):
    tenants: dict[str, _Tenant] = Field(default_factory=dict)
    model_names: dict[str, str] = Field(default_factory=dict)
    webhooks: tuple[Webhook, ...] = ()
    body_seconds: float = Field(default=60.0, gt=0)


class Tenant(msgspec.Struct, frozen=True, kw_only=True):
    """A caller. `settings.root` is the folder of everything that is its own."""

    name: str
    #: SHA-256 of its keys, in hex.
    keys: tuple[str, ...]
    settings: Settings
    role_arns: tuple[str, ...] = ()
    kms_keys: tuple[str, ...] = ()
    #: Patterns of the models it may use; none: any.
    models: tuple[str, ...] = ()
    #: What a name in a call or a line stands for (`gpt-4o-mini` → a Bedrock id).
    model_names: dict[str, str] = {}
    inputs: tuple[S3Uri, ...] = ()
    outputs: tuple[S3Uri, ...] = ()
    #: Folders where no caller's URI may lead: those of all tenants.
    closed: tuple[S3Uri, ...] = ()
    max_file_bytes: int = 8 << 30
    requests_per_minute: int = 0
    concurrent_uploads: int = 16
    #: May read the server's metrics.
    operator: bool = False
    webhooks: tuple[Webhook, ...] = ()

    @property
    def home(self) -> S3Uri:
        return self.settings.root.join("api")

    def may_use(self, model: str) -> None:
        """Raise ForbiddenError for a model that is not the tenant's to use."""
        if self.models and not any(fnmatchcase(model, pattern) for pattern in self.models):
            raise ForbiddenError(
                f"The model {model!r} is not enabled for this key.", param="model", code="model_not_allowed"
            )

    def model_named(self, name: str) -> str:
        """The Bedrock model that a name stands for."""
        return self.model_names.get(name, name)

    def input_uri(self, text: str) -> S3Uri:
        """An object that a call names as input, decoded once at the most. Raises InvalidCallError, ForbiddenError."""
        try:
            uri = parse_input_uri(text)
        except InputFileError as error:
            raise InvalidCallError(str(error), param="input_file_id") from None
        if not uri.key or uri.key.endswith("/") or "\0" in uri.key or len(uri.key.encode()) > 1024:
            raise InvalidCallError("input_file_id must name one object: s3://BUCKET/KEY.", param="input_file_id")
        if ".." in uri.key.split("/") or not within(uri, self.inputs) or within(uri, self.closed):
            raise ForbiddenError(
                f"This key may not read {uri}: upload the file, or have its folder added to `inputs`.",
                param="input_file_id",
                code="location_not_allowed",
            )
        return uri

    def check_output(self, config: Any) -> None:
        """Check `output_data_config` of a call. Raises InvalidCallError, ForbiddenError."""
        inner = config.get("s3OutputDataConfig") if isinstance(config, dict) else None
        uri = inner.get("s3Uri") if isinstance(inner, dict) else None
        if not isinstance(uri, str):
            raise InvalidCallError(
                'output_data_config must be {"s3OutputDataConfig": {"s3Uri": "s3://…"}}.', param="output_data_config"
            )
        try:
            place = parse_location(uri, "output_data_config")
        except ConfigurationError as error:
            raise InvalidCallError(str(error), param="output_data_config") from None
        if not within(place, self.outputs) or within(place, self.closed):
            raise ForbiddenError(
                f"This key may not write to {place}: have the folder added to `outputs`.",
                param="output_data_config",
                code="location_not_allowed",
            )
        assert isinstance(inner, dict)
        if inner.get("s3EncryptionKeyId") is not None:
            self.check_key(inner["s3EncryptionKeyId"])

    def check_role(self, role_arn: Any) -> None:
        """Raise for a service role that is not on the list: Bedrock gets it with the server's iam:PassRole."""
        if not isinstance(role_arn, str):
            raise InvalidCallError("role_arn must be text.", param="role_arn")
        if role_arn not in self.role_arns:
            raise ForbiddenError(
                "role_arn is none of the roles of this key: leave it out, or have it added to `role_arns`.",
                param="role_arn",
                code="role_not_allowed",
            )

    def check_key(self, key: Any, param: str = "output_data_config") -> None:
        """Raise ForbiddenError for a KMS key that is not on the list. `param` is where it was named."""
        if not isinstance(key, str) or key not in self.kms_keys:
            raise ForbiddenError(
                f"The KMS key in {param} is none of those of this API key: leave it out, or have it added to "
                "`kms_keys`.",
                param=param,
                code="kms_key_not_allowed",
            )


class Tenants(msgspec.Struct, frozen=True):
    """All who may call."""

    all: tuple[Tenant, ...]
    #: Whoever calls without a key, where the server was told so.
    keyless: Tenant | None = None
    #: Seconds that a request's body may make no progress.
    body_seconds: float = 60.0

    def of_key(self, key: str | None) -> Tenant | None:
        """Whose key it is; None where it is nobody's. Takes the same time, whoever's it is."""
        if self.keyless is not None:
            return self.keyless
        digest = hashlib.sha256((key or "").encode("utf-8", "surrogateescape")).hexdigest()
        found = None
        for tenant in self.all:
            for known in tenant.keys:
                if hmac.compare_digest(known, digest) and key:
                    found = tenant
        return found

    def named(self, name: str) -> Tenant | None:
        return next((tenant for tenant in self.all if tenant.name == name), None)


def load_tenants(*, keyless: bool = False) -> Tenants:
    """Read the key of the environment and the configuration file that it names. Raises ConfigurationError."""
    configuration = _read(os.environ.get(CONFIG_VARIABLE, "").strip())
    key = os.environ.get(KEY_VARIABLE, "").strip()
    tenants = []
    if key or keyless:
        if key and len(key) < _KEY_CHARACTERS:
            raise ConfigurationError(f"{KEY_VARIABLE} has {len(key)} characters; make it {_KEY_CHARACTERS} or more.")
        tenants.append(_default(hashlib.sha256(key.encode()).hexdigest() if key else None, configuration))
    tenants += [_tenant(name, table, configuration) for name, table in configuration.tenants.items()]
    _refuse_shared(tenants)
    if not tenants:
        raise ConfigurationError(
            f"The server has no key: set {KEY_VARIABLE}, or {CONFIG_VARIABLE} to a TOML file with [tenants.NAME]."
        )
    roots = tuple(tenant.settings.root for tenant in tenants)
    everyone = tuple(_closed(tenant, roots) for tenant in tenants)
    return Tenants(everyone, everyone[0] if keyless else None, configuration.body_seconds)


def _closed(tenant: Tenant, roots: tuple[S3Uri, ...]) -> Tenant:
    """A tenant whose URIs, also those of images in requests, lead into no tenant's folder."""
    settings = msgspec.structs.replace(tenant.settings, image_folders=tenant.inputs, closed_folders=roots)
    return msgspec.structs.replace(tenant, closed=roots, settings=settings)


def _read(path: str) -> _Configuration:
    if not path:
        return _Configuration()
    try:
        return _Configuration.model_validate(tomllib.loads(Path(path).read_text(encoding="utf-8")))
    except OSError as error:
        raise ConfigurationError(f"{CONFIG_VARIABLE}: {path} cannot be read: {error.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{CONFIG_VARIABLE}: {path} is no TOML: {error}.") from None
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ConfigurationError(f"{CONFIG_VARIABLE}: {path}: {place}: {first['msg']}.") from None


def _default(digest: str | None, configuration: _Configuration) -> Tenant:
    """The one caller of the environment's key: bucket, role and KMS key are those that a person has set."""
    settings = load_settings()
    bucket = S3Uri(settings.root.bucket, "")
    return Tenant(
        name="default",
        keys=(digest,) if digest else (),
        settings=settings,
        role_arns=(settings.role_arn,) if settings.role_arn else (),
        kms_keys=(settings.kms_key,) if settings.kms_key else (),
        model_names=configuration.model_names,
        inputs=(bucket,),
        outputs=(bucket,),
        operator=True,
        webhooks=configuration.webhooks,
    )


def _tenant(name: str, table: _Tenant, configuration: _Configuration) -> Tenant:
    where = f"{CONFIG_VARIABLE}: [tenants.{name}]"
    if not _NAME.fullmatch(name) or name == "default":
        raise ConfigurationError(f"{where}: a name has letters, digits, - and _ only, and is not `default`.")
    keys = []
    for key in table.keys:
        found = _DIGEST.fullmatch(key)
        if not found:
            raise ConfigurationError(
                f"{where}: keys are SHA-256 digests in hex, not keys: `printf %s KEY | sha256sum` makes one."
            )
        keys.append(found[1])
    if not keys:
        raise ConfigurationError(f"{where} has no keys.")
    base = load_settings()
    own = table.bucket or table.prefix
    root = (
        parse_location(f"s3://{table.bucket or base.root.bucket}/{(table.prefix or name).strip('/')}", where)
        if own
        else base.root.join("tenants", name)
    )
    roles = table.role_arns or ((base.role_arn,) if base.role_arn else ())
    kms = table.kms_keys or ((base.kms_key,) if base.kms_key else ())
    for hook in table.webhooks:
        unknown = set(hook.events) - set(EVENTS)
        if unknown or not hook.url.startswith(("https://", "http://")):
            raise ConfigurationError(f"{where}: webhooks take http(s) URLs and the events {', '.join(EVENTS)}.")
        hook.key()
    settings = msgspec.structs.replace(
        base,
        root=root,
        role_arn=roles[0] if roles else None,
        kms_key=kms[0] if kms else None,
        vpc_config=table.vpc_config or base.vpc_config,
    )
    return Tenant(
        name=name,
        keys=tuple(keys),
        settings=settings,
        role_arns=roles,
        kms_keys=kms,
        models=table.models,
        model_names={**configuration.model_names, **table.model_names},
        inputs=tuple(_folder(uri, where) for uri in table.inputs),
        outputs=tuple(_folder(uri, where) for uri in table.outputs),
        max_file_bytes=table.max_file_bytes,
        requests_per_minute=table.requests_per_minute,
        concurrent_uploads=table.concurrent_uploads,
        operator=table.operator,
        webhooks=table.webhooks,
    )


def _folder(text: str, where: str) -> S3Uri:
    if not is_s3(text):
        raise ConfigurationError(f"{where}: {text!r} is no s3:// URI.")
    return parse_location(text, where)


def _refuse_shared(tenants: list[Tenant]) -> None:
    """Raise ConfigurationError where two tenants have a key in common, or one's folder lies in another's `api/`."""
    seen: dict[str, str] = {}
    for tenant in tenants:
        for key in tenant.keys:
            if key in seen:
                raise ConfigurationError(f"The tenants {seen[key]} and {tenant.name} have the same key.")
            seen[key] = tenant.name
    roots = [tenant.settings.root for tenant in tenants]
    if len(set(roots)) < len(roots):
        raise ConfigurationError("Two tenants have the same bucket and prefix: give each a prefix of its own.")
    reserved = {"api", "batches", "newest", "open", "runs", "samples"}
    for tenant in tenants:
        for other in tenants:
            rest = tenant.settings.root.key.removeprefix(other.settings.root.key + "/")
            inside = tenant.settings.root.bucket == other.settings.root.bucket and rest != tenant.settings.root.key
            if inside and rest.split("/")[0] in reserved:
                raise ConfigurationError(f"The folder of {tenant.name} lies among what is kept of {other.name}.")
