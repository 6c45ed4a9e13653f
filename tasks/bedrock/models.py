"""Model ids, inference profiles and ARNs: which foundation model is behind a name."""

import re
from typing import Final

import msgspec

#: System inference profiles put one of these before the model id
#: (https://docs.aws.amazon.com/bedrock/latest/userguide/inference-profiles-support.html).
PROFILE_PREFIXES: Final = ("us", "us-gov", "eu", "apac", "jp", "au", "ca", "sa", "me", "af", "in", "global")

_VERSION = re.compile(r"-v\d+(:\d+)?(:\w+)?$|:\d+(:\w+)?$|:\d+k$")


class Model(msgspec.Struct, frozen=True):
    """What the user named, and what it stands for.

    `id` goes to Bedrock as it is. `base_id` is the foundation model's id without profile prefix, as far as the
    name tells: an application inference profile's ARN does not, and then `base_id` is empty.
    """

    id: str
    base_id: str
    provider: str
    region: str | None = None

    @property
    def name(self) -> str:
        """`claude-haiku-4-5-20251001`: the base id without provider and version."""
        return _VERSION.sub("", self.base_id.partition(".")[2])


def parse_model(model: str) -> Model:
    """Read a model id, inference profile id or ARN. Raises ValueError for text that can be none of them."""
    text = model.strip()
    if not text or any(c.isspace() for c in text):
        raise ValueError(
            f"{model!r} is no Bedrock model: give a model id, an inference profile id or an ARN, such as "
            "anthropic.claude-haiku-4-5-20251001-v1:0."
        )
    region = None
    name = text
    if text.startswith("arn:"):
        fields = text.split(":", 5)
        if len(fields) < 6 or fields[2] != "bedrock":
            raise ValueError(f"{model!r} is not the ARN of a Bedrock model or inference profile.")
        region = fields[3] or None
        kind, _, name = fields[5].partition("/")
        if kind == "application-inference-profile":
            return Model(text, "", "", region)
        if kind == "custom-model":
            name = name.partition("/")[0]
    prefix, _, rest = name.partition(".")
    base = rest if prefix in PROFILE_PREFIXES and "." in rest else name
    provider = base.partition(".")[0] if "." in base else ""
    return Model(text, base, provider, region)
