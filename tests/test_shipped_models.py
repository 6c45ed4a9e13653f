"""The model ids that the project itself uses are ones that its own table has nothing to say against."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from deployments.up import MODELS
from tasks.bedrock.limits import availability_warning
from tasks.bedrock.models import parse_model

ROOT = Path(__file__).resolve().parents[1]


def _deployed() -> list[str]:
    deployments: list[dict[str, Any]] = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))[
        "deployments"
    ]
    found: list[str] = []
    for parameters in (deployment.get("parameters") or {} for deployment in deployments):
        found += [parameters["model"]] if "model" in parameters else []
        found += parameters.get("models", [])
    return found


def _made() -> list[str]:
    return re.findall(r"--(?:model|judge) (\S+)", (ROOT / "Makefile").read_text(encoding="utf-8"))


@pytest.mark.parametrize("place", [_deployed, _made, lambda: MODELS], ids=["prefect.yaml", "Makefile", "up.py"])
def test_no_shipped_model_id_is_warned_of(place: Any) -> None:
    models = place()
    assert len(models) >= 3
    assert {model: availability_warning(parse_model(model)) for model in models} == dict.fromkeys(models)
