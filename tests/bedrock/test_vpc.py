"""The network of jobs: what is wrong with it is named by its place."""

import json
from typing import Any

import pytest

from tasks.bedrock.vpc import VpcConfig, read_vpc_config
from tasks.errors import ConfigurationError

WANTED: dict[str, Any] = {"subnetIds": ["subnet-1"], "securityGroupIds": ["sg-1"]}


def test_a_network() -> None:
    assert read_vpc_config(None) is None
    for given in (WANTED, json.dumps(WANTED), VpcConfig(**WANTED)):
        assert read_vpc_config(given) == VpcConfig(subnetIds=("subnet-1",), securityGroupIds=("sg-1",))
    most = {"subnetIds": [f"subnet-{i}" for i in range(16)], "securityGroupIds": [f"sg-{i}" for i in range(5)]}
    assert read_vpc_config(most) is not None


@pytest.mark.parametrize(
    ("given", "place"),
    [
        ({**WANTED, "subnetIds": []}, "vpc.subnetIds: "),
        ({**WANTED, "subnetIds": ["s"] * 17}, "vpc.subnetIds: "),
        ({**WANTED, "subnetIds": ["ok", "a_b"]}, "vpc.subnetIds.1: "),
        ({**WANTED, "subnetIds": ["s" * 33]}, "vpc.subnetIds.0: "),
        ({**WANTED, "securityGroupIds": []}, "vpc.securityGroupIds: "),
        ({**WANTED, "securityGroupIds": ["s"] * 6}, "vpc.securityGroupIds: "),
        ({"subnetIds": ["s"]}, "vpc.securityGroupIds: "),
        ({**WANTED, "vpcId": "vpc-1"}, "vpc.vpcId: "),
        ("{", "vpc is no JSON"),
        ("[]", "vpc: "),
    ],
)
def test_what_is_wrong_is_named(given: Any, place: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read_vpc_config(given, "vpc")
    assert str(caught.value).startswith(place)
    assert str(caught.value).endswith(
        'vpc is {"subnetIds": ["subnet-…"], "securityGroupIds": ["sg-…"]}, of 1 to 16 subnets and 1 to 5 groups.'
    )
