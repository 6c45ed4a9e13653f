"""Golden pairs, per family: request → modelInput and modelOutput → answer, read by eye against the documentation.

The modelOutputs are those of AWS's own pages (see the families' modules); `answer` is the response body.
"""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tasks.bedrock.models import parse_model
from tasks.codecs.decoder import Decoder, build
from tasks.fast.line import FastEncoder
from tasks.openai_format.results import output_line

CASES = [
    pytest.param(case, id=f"{path.stem}-{case['name']}")
    for path in sorted((Path(__file__).parent / "golden").glob("*.json"))
    for case in json.loads(path.read_text(encoding="utf-8"))
]


@pytest.mark.parametrize("case", CASES)
def test_golden(case: dict[str, Any]) -> None:
    model = parse_model(case["model"])
    encoder = FastEncoder(model, case["endpoint"], "error", case["invocation"])
    encoded = encoder.encode(json.dumps({"custom_id": "x", "body": case["request"]}).encode())
    assert encoded.invocation == case["job"]
    assert [json.loads(each) for each in encoded.model_inputs] == [case["modelInput"]]
    decoder = Decoder(model, case["endpoint"], encoded.invocation)
    outcome = decoder.decode(json.dumps(case["modelOutput"]).encode(), encoded.contexts[0])
    body = build(case["endpoint"], [outcome], encoded.contexts, id="1", created=1, model=case["model"])
    assert json.loads(output_line("1", "x", msgspec.json.encode(body)))["response"]["body"] == case["answer"]
