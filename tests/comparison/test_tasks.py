"""The stages of a comparison by themselves: what of an input ends it, where links lead, and what the report repeats."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tasks import aws
from tasks.bedrock.models import parse_model
from tasks.bedrock.prices import rate_for
from tasks.comparison.judge import Judge
from tasks.comparison.tasks import (
    _link,
    _pricing,
    collect_verdicts,
    parameters_of,
    prepare_inputs,
    prepare_judge,
    require_valid,
)
from tasks.comparison.variants import Variant
from tasks.errors import InputFileError
from tasks.openai_format.batch import RequestCounts
from tasks.openai_format.requests import KNOWN_ENDPOINTS
from tasks.storage.sources import find_sources
from tasks.storage.uris import S3Uri
from tasks.validate import read_input
from tests.builders import REF, document, shard, store
from tests.comparison.test_judge import key, put_replies, put_table
from tests.conftest import CLAUDE, NOVA, chat, write_lines
from tests.fakes import BUCKET, REGION, Cloud


@pytest.mark.parametrize(
    ("lines", "on_invalid", "said"),
    [
        ([chat("r0")], "fail", None),
        ([chat("r0"), "{"], "skip", None),
        ([chat("r0"), "{"], "fail", r'invalid_json_line.* Mend the lines, or choose on_invalid="skip"\.$'),
        ([], "skip", r"empty_file.*[^.]\.$"),
        ([], "fail", "empty_file"),
    ],
)
def test_which_inputs_are_compared(tmp_path: Path, lines: list[Any], on_invalid: str, said: str | None) -> None:
    """In any case, nothing of what was read is left behind."""
    summary = read_input(str(write_lines(tmp_path / "in.jsonl", lines)), None, KNOWN_ENDPOINTS)
    if said is None:
        require_valid(summary, on_invalid)
    else:
        with pytest.raises(InputFileError, match=f"^Nothing was submitted: .*{said}"):
            require_valid(summary, on_invalid)
    assert not Path(summary.work).exists()


def test_only_who_asks_differently_has_an_input_of_its_own(cloud: Cloud, tmp_path: Path) -> None:
    path = str(write_lines(tmp_path / "in.jsonl", [chat("r0", temperature=1)]))
    root = S3Uri(BUCKET, "cmp")
    ref: Any = SimpleNamespace(uri=root.join, settings=SimpleNamespace(kms_key="arn:key/1"))
    variants = [Variant(NOVA, "same"), Variant(NOVA, "a: cold/one", {"temperature": 0})]
    files = prepare_inputs.fn(ref, variants, find_sources(path), path, "/v1/chat/completions")
    assert files == [path, f"s3://{BUCKET}/cmp/inputs/01-a-cold-one.jsonl"]
    written = cloud.s3.objects["cmp/inputs/01-a-cold-one.jsonl"]
    assert (b'"temperature":0' in written.body, written.options["SSEKMSKeyId"]) == (True, "arn:key/1")
    prepare_inputs.fn(ref, variants, find_sources(path), path, "/v1/embeddings")
    assert b'"temperature":0' not in cloud.s3.objects["cmp/inputs/01-a-cold-one.jsonl"].body, "no batch takes them"


@pytest.mark.parametrize(
    ("endpoint", "link"),
    [
        ("https://s3.eu-west-1.amazonaws.com", "https://console.aws.amazon.com/s3/object/b?prefix=c/report.html"),
        ("http://127.0.0.1:9000", "http://127.0.0.1:9000/b/c/report.html"),
    ],
)
def test_where_a_browser_finds_the_report(monkeypatch: pytest.MonkeyPatch, endpoint: str, link: str) -> None:
    monkeypatch.setattr(aws, "s3", lambda: SimpleNamespace(meta=SimpleNamespace(endpoint_url=endpoint)))
    assert _link(S3Uri("b", "c/report.html")) == link


def test_what_a_reader_needs_to_repeat_the_run() -> None:
    variants = [Variant(CLAUDE, CLAUDE), Variant(NOVA, "cold", {"temperature": 0}, {"unsupported": "drop"})]
    options: dict[str, Any] = {"input": "in.jsonl", "max_cost_usd": 0.0, "margin": None, "metadata": {}, "endpoint": ""}
    assert parameters_of(variants, Judge(NOVA, requests=1), "labels.csv, column label", **options) == [
        (f"Variant {CLAUDE}", CLAUDE),
        ("Variant cold", f'{NOVA} with {{"overrides":{{"temperature":0}},"unsupported":"drop"}}'),
        ("input", "in.jsonl"),
        ("max_cost_usd", "0.0"),
        ("reference", "labels.csv, column label"),
        ("judge", f"{NOVA}, 1 request"),
    ]
    assert parameters_of(variants[:1], None, None) == [(f"Variant {CLAUDE}", CLAUDE)]


def test_a_profile_costs_what_its_model_does(cloud: Cloud) -> None:
    """An application's profile does not say whose it is; its batch noted that."""
    profile = f"arn:aws:bedrock:{REGION}:123456789012:application-inference-profile/abcdef"
    kept = document([shard(route="on_demand")], section={"model": profile, "base_model": CLAUDE})
    store(cloud, kept)
    ref: Any = SimpleNamespace(settings=SimpleNamespace(root=REF.root))
    found = _pricing(ref, profile, kept.public())
    assert (found.batch, found.shares) == (rate_for(parse_model(CLAUDE), batch=True), (1.0,))
    assert found.batch is not None
    assert _pricing(ref, NOVA, kept.public()).batch == rate_for(parse_model(NOVA), batch=True)


def test_a_judge_is_asked_once_of_what_repeats_and_held_to_the_reference(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_table(cloud, [["a", "b"], ["a", "b"]], [[1, 0], [1, 0]])
    ref: Any = SimpleNamespace(
        uri=lambda *names: S3Uri(BUCKET, "/".join(names)), settings=SimpleNamespace(kms_key="arn:key/1")
    )
    repeated: Any = SimpleNamespace(clusters=[1, 1])
    assert prepare_judge.fn(ref, Judge(NOVA), ["x", "y"], repeated) == (f"s3://{BUCKET}/inputs/judge.jsonl", 2)
    assert cloud.s3.objects["inputs/judge.jsonl"].options["SSEKMSKeyId"] == "arn:key/1"
    monkeypatch.setattr("tasks.comparison.tasks._pricing", lambda *_: SimpleNamespace(rate=None))
    output = put_replies(cloud, {f"{key(0)}-0-1-ab": "A", f"{key(0)}-0-1-ba": "B"})
    batch = document([], request_counts=RequestCounts(total=4), output_file=output).public()
    judged = collect_verdicts.fn(ref, Judge(NOVA), ["x", "y"], batch)
    assert (judged.pairs[0].with_reference, judged.asked, judged.failed, judged.cost_usd) == (1, 4, 2, None)
