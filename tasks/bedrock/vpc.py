"""The network that jobs reach the bucket from, where it is one of the user's own."""

import json
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tasks.errors import ConfigurationError

_VpcId = Annotated[str, Field(pattern=r"^[-0-9a-zA-Z]{1,32}$")]


class VpcConfig(BaseModel):
    """Botocore's `bedrock`, shape `VpcConfig`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    subnetIds: tuple[_VpcId, ...] = Field(min_length=1, max_length=16)  # noqa: N815 (AWS's name)
    securityGroupIds: tuple[_VpcId, ...] = Field(min_length=1, max_length=5)  # noqa: N815 (AWS's name)


def read_vpc_config(given: Any, what: str = "vpc_config") -> VpcConfig | None:
    """The subnets and security groups of the jobs; `what` is the setting that they come from.

    A text is JSON, as a variable has it. Raises ConfigurationError naming what is wrong.
    """
    if given is None:
        return None
    form = (
        f'{what} is {{"subnetIds": ["subnet-…"], "securityGroupIds": ["sg-…"]}}, of 1 to 16 subnets and 1 to 5 groups.'
    )
    try:
        return VpcConfig.model_validate(json.loads(given) if isinstance(given, str) else given)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join([what, *map(str, first["loc"])])
        raise ConfigurationError(f"{where}: {first['msg']}. {form}") from None
    except ValueError:
        raise ConfigurationError(f"{what} is no JSON. {form}") from None
