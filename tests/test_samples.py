"""The sample files: ours are what their generator writes, one of each kind; and every line of all of them is converted."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tasks.bedrock.models import parse_model
from tasks.codecs.base import RequestError
from tasks.codecs.encoder import Encoder
from tests.codecs.test_every_family import round_trip
from tests.conftest import CLAUDE, LLAMA, NOVA, SAMPLES, lines_of, refusals, sample_files
from tests.samples import make
from tests.test_fuzz_encode import converted

TITAN = "amazon.titan-embed-text-v2:0"


def test_ours_are_what_the_generator_writes() -> None:
    stored = {path.name: path.read_bytes() for path in SAMPLES["ours"].glob("*.jsonl")}
    assert stored == make.files(), "run python -m tests.samples.make"
    assert sum(map(len, stored.values())) < 400_000


def test_there_is_one_of_each_public_kind() -> None:
    """Of the same endpoint, with the same refusals."""
    by_number = {path.name[:2]: path for path in SAMPLES["ours"].glob("*.jsonl")}
    for path in SAMPLES["public"].glob("*.jsonl"):
        ours, theirs = lines_of(by_number.pop(path.name[:2])), lines_of(path)
        assert {line["url"] for line in ours} == {line["url"] for line in theirs}
        assert refusals(ours).keys() == refusals(theirs).keys()
    assert not by_number or not SAMPLES["public"].is_dir()


def test_the_kinds_that_are_refused() -> None:
    refused = {path.name[:2]: dict(refusals(lines_of(path))) for path in SAMPLES["ours"].glob("*.jsonl")}
    assert {number: codes for number, codes in refused.items() if codes} == {
        "20": {"mismatched_model": 1},
        "22": {"duplicate_custom_id": 1},
        "30": {"mismatched_model": 8},
        "32": {"unsupported_parameter": 4},
    }


@pytest.mark.parametrize("unsupported", ["error", "drop"])
@pytest.mark.parametrize("path", sample_files())
def test_every_line_is_converted_as_the_general_way_does(path: Path, unsupported: str, tmp_path: Path) -> None:
    """What a line becomes is what the encoder makes of it alone, whatever stands around it; all else is refused by name.

    What is sent, the imitation's strict rules of the model accept, and its answer comes back in OpenAI's own types.
    """
    lines = lines_of(path)
    endpoint = lines[0]["url"] if lines[0]["url"].startswith("/v1") else f"/v1{lines[0]['url']}"
    for model in (TITAN,) if "embeddings" in endpoint else (CLAUDE, NOVA, LLAMA):
        given = [line for line in path.read_bytes().split(b"\n") if line]
        outcomes = converted(given, model, endpoint, unsupported, "auto", tmp_path)
        assert [outcome[0] for outcome in outcomes] == [line["custom_id"] for line in lines]
        encoder = Encoder(parse_model(model), endpoint, unsupported, "auto")  # type: ignore[arg-type]
        codes: Counter[str] = Counter()
        for line, parsed, (_, *records) in zip(given, lines, outcomes, strict=True):
            if isinstance(records[0], dict):
                round_trip(model, endpoint, parsed["body"], unsupported)
                assert records == [json.loads(record) for record in encoder.encode_general(line).model_inputs]
                continue
            (error,) = records
            codes[error.code] += 1
            if error.code == "unsupported_parameter":
                assert refused_alone(encoder, line) == error.param
        expected = refusals(lines)
        if unsupported == "error":
            del codes["unsupported_parameter"], expected["unsupported_parameter"]
        assert codes == expected


def refused_alone(encoder: Encoder, line: bytes) -> Any:
    with pytest.raises(RequestError) as caught:
        encoder.encode_general(line)
    return caught.value.param
