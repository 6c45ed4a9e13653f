"""A whole comparison with S3 and Bedrock in memory: what it is named by, what it passes on, writes and says."""

import io
import json
import logging
import threading
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from flows import compare as flow
from flows.compare import compare_models, estimate_file
from flows.hooks import stop_all_on_cancel
from tasks.comparison.result import Comparison
from tasks.errors import ConfigurationError, InputFileError, PipelineError
from tests.builders import REF, ROLE
from tests.conftest import CLAUDE, chat, write_chats, write_lines
from tests.fakes import BUCKET, REGION, Cloud
from tests.flows.test_in_memory import Outcome, Service, answer

pytestmark = pytest.mark.usefixtures("without_prefect")

KEY = f"arn:aws:kms:{REGION}:123456789012:key/1"
COLD: dict[str, Any] = {"model": CLAUDE, "label": "cold", "overrides": {"temperature": 0}}


@pytest.fixture(autouse=True)
def _settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"BUCKET": BUCKET, "PREFIX": REF.root.key, "ROLE_ARN": ROLE}.items():
        monkeypatch.setenv(f"BEDROCK_BATCH_{name}", value)
    monkeypatch.setenv("BEDROCK_BATCH_TASK_RUNNER", "threads")


@pytest.fixture
def service(cloud: Cloud) -> Service:
    return Service(cloud)


def compare(path: Path, **parameters: Any) -> Comparison:
    found: Comparison = compare_models(str(path), **{"models": [CLAUDE, COLD], "poll_seconds": 0.001, **parameters})
    return found


def chats(folder: Path, count: int = 100) -> Path:
    return write_chats(folder / "in.jsonl", count, max_tokens=10)


def labels(folder: Path, count: int = 100, wrong: int = 10) -> str:
    """The answers that the service gives; of some, others."""
    rows = [
        {"custom_id": f"req-{n}", "label": "no" if n < wrong else f"Re: Question number {n}?", "kind": f"k{n % 2}"}
        for n in range(count)
    ]
    return str(write_lines(folder / "labels.jsonl", rows))


def of_judge(text: str, _times: int) -> Outcome:
    """Answers; and, asked as a judge, the one shown first."""
    return answer(text) if not text.startswith("The texts below") else _said("A")


def _said(text: str) -> Outcome:
    found = answer("")
    found["modelOutput"]["content"][0]["text"] = text
    return found


def test_everything_is_written_with_the_key(
    cloud: Cloud, service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """And a healthy comparison is silent."""
    caplog.set_level(logging.WARNING)
    monkeypatch.setenv("BEDROCK_BATCH_KMS_KEY", KEY)
    service.outcome = of_judge
    found = compare(chats(tmp_path), reference=labels(tmp_path), judge=JUDGE)
    folder = f"prefix/comparisons/{found.id}/"
    written = {key.removeprefix(folder): cloud.s3.objects[key] for key in cloud.s3.keys(folder)}
    assert set(written) == {
        "answers.csv",
        "comparison.json",
        "inputs/01-cold.jsonl",
        "inputs/judge.jsonl",
        "report.html",
        "table.parquet",
    }
    assert {name: each.options.get("SSEKMSKeyId") for name, each in written.items()} == dict.fromkeys(written, KEY)
    assert written["report.html"].options["ContentType"] == "text/html; charset=utf-8"
    assert written["comparison.json"].options["ContentType"] == "application/json"
    kept = json.loads(written["comparison.json"].body)
    assert (kept["id"], kept["verdict"], kept["numbers"]) == (
        found.id,
        found.verdict,
        json.loads(found.model_dump_json())["numbers"],
    )
    assert not cloud.s3.uploads
    assert caplog.messages == []


JUDGE: dict[str, Any] = {"model": CLAUDE, "requests": 60}


def test_what_a_comparison_holds(cloud: Cloud, service: Service, tmp_path: Path) -> None:
    service.outcome = of_judge
    found = compare(
        chats(tmp_path),
        reference=labels(tmp_path),
        judge=JUDGE,
        margin=5,
        slice_by="kind",
        metadata={"team": "x"},
        note="a note",
    )
    assert set(found.batches) == {CLAUDE, "cold"}
    assert {label: cost is not None for label, cost in found.cost_usd.items()} == {CLAUDE: True, "cold": True}
    assert [each["accuracy"]["count"] for each in found.numbers["variants"]] == [90, 90]
    assert (found.numbers["base"], found.numbers["margin"], found.within_margin) == (CLAUDE, 0.05, True)
    assert [each["value"] for each in found.numbers["slices"]["kind"]] == ["k0", "k1"]
    assert found.judge_batch is not None
    assert found.judged is not None
    assert (found.judged["asked"], found.judged["requests"], found.judged["both_first"]) == (120, 60, 60)
    usage = found.judge_batch.usage
    assert usage is not None
    # Of CLAUDE: half of $0.80 and $4.00 a million, in a job.
    assert found.judged["cost_usd"] == pytest.approx((usage.input_tokens * 0.4 + usage.output_tokens * 2.0) / 1e6)
    assert [each["requests"] for each in found.estimate] == [100, 100, 120]
    tags = [{tag["key"]: tag["value"] for tag in job["tags"]} for job in cloud.bedrock.jobs.values()]
    assert [tag.get("team") for tag in tags] == ["x"] * 3
    page = cloud.s3.objects[f"prefix/comparisons/{found.id}/report.html"].body.decode()
    for shown in ("a note", "labels.jsonl, column label", "5 points", "judge", "in.jsonl"):
        assert shown in page, shown


def test_with_a_margin_every_other_variant_must_be_shown(cloud: Cloud, service: Service, tmp_path: Path) -> None:
    """Also one without results: what is not shown of it is not within."""
    path, right = chats(tmp_path), labels(tmp_path)
    third = {**COLD, "label": "third", "overrides": {"temperature": 1}}
    assert compare(path, reference=right, margin=5, models=[CLAUDE, COLD, third]).within_margin is True
    service.ends[3] = ("Failed", 0.0)
    fourth = {**COLD, "label": "fourth", "overrides": {"temperature": 0.5}}
    found = compare(path, reference=right, margin=5, models=[CLAUDE, COLD, third, fourth])
    assert (set(found.failed), found.within_margin) == ({"fourth"}, False)
    assert compare(path, reference=right, models=[CLAUDE, COLD]).within_margin is None


def test_what_names_a_comparison(cloud: Cloud, service: Service, tmp_path: Path) -> None:
    """The same call finds the same one; another reference, judge or way to compare is another one."""
    service.outcome = of_judge
    path, right = chats(tmp_path), labels(tmp_path)
    first = compare(path).id
    assert first == "cmp_e9e2585b5899ebcade6600a6860551c9", "those of today keep their names"
    assert compare(path, note="x", choices="first").id == first
    calls: list[dict[str, Any]] = [
        {"reference": right},
        {"judge": JUDGE},
        {"reference": right, "extract": "includes"},
        {"reference": right, "choices": "any"},
        {"reference": right, "margin": 5},
        {"reference": right, "cluster_by": "kind"},
        {"models": [COLD, CLAUDE]},
        {"unsupported": "drop"},
    ]
    ids = [compare(path, **call).id for call in calls]
    assert len({first, *ids}) == 1 + len(calls)
    assert len(cloud.bedrock.jobs) == 5, "the batches are the same: two, those that drop, and the judge's"
    other = compare(path, reference=labels(tmp_path, wrong=5)).id
    assert other not in ids


@pytest.mark.parametrize("more", [{}, {"reference": "labels", "models": [CLAUDE]}], ids=["no reference", "alone"])
def test_a_margin_needs_a_reference_and_two(
    cloud: Cloud, service: Service, tmp_path: Path, more: dict[str, Any]
) -> None:
    given = {**more, **({"reference": labels(tmp_path)} if "reference" in more else {})}
    with pytest.raises(ConfigurationError, match="A margin compares accuracies"):
        compare(chats(tmp_path), margin=5, **given)
    assert not cloud.s3.objects


def test_the_buckets_owner_is_asked_for_first(
    cloud: Cloud, service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BEDROCK_BATCH_BUCKET_OWNER", "999999999999")
    with pytest.raises(ConfigurationError, match="999999999999"):
        compare(chats(tmp_path))
    assert not cloud.s3.objects


def test_a_variants_own_option_goes_before_the_calls(cloud: Cloud, service: Service, tmp_path: Path) -> None:
    path = write_lines(tmp_path / "in.jsonl", [chat(f"r{n}", f"Q{n}", seed=1, max_tokens=10) for n in range(100)])
    found = compare(path, models=[CLAUDE, {"model": CLAUDE, "label": "drops", "unsupported": "drop"}])
    counts = {label: batch.request_counts.completed for label, batch in found.batches.items()}
    assert counts == {"drops": 100, CLAUDE: 0}


def test_one_variant_is_not_judged(
    cloud: Cloud, service: Service, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    service.outcome = of_judge
    service.ends[1] = ("Failed", 0.0)
    found = compare(chats(tmp_path), judge=JUDGE)
    assert (found.judge_batch, found.judged, len(found.failed)) == (None, None, 1)
    assert "nothing to judge" not in caplog.text


def test_a_judge_without_results_leaves_the_comparison(
    cloud: Cloud, service: Service, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    service.ends[2] = ("Failed", 0.0)
    service.outcome = of_judge
    found = compare(chats(tmp_path), judge=JUDGE, reference=labels(tmp_path), margin=5)
    assert set(found.failed) == {"judge"}
    assert "no capacity" in found.failed["judge"]
    assert found.within_margin is True, "the judge is no variant"
    assert found.report_file
    assert "The judge has no results" in caplog.text


def test_nothing_to_judge_makes_no_batch(
    cloud: Cloud, service: Service, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    service.outcome = lambda text, _: _said("")
    found = compare(chats(tmp_path), judge=JUDGE)
    assert (found.judge_batch, found.judged) == (None, None)
    assert "There is nothing to judge" in caplog.text
    assert len(cloud.bedrock.jobs) == 2


def test_the_judges_answers_go_nowhere_else(cloud: Cloud, service: Service, tmp_path: Path) -> None:
    """Where the variants' result files go too, the judge's are not published."""
    service.outcome = of_judge
    place = {"s3OutputDataConfig": {"s3Uri": f"s3://{BUCKET}/copies/"}}
    found = compare(chats(tmp_path), judge=JUDGE, output_data_config=place)
    copied = {key.split("/")[1] for key in cloud.s3.keys("copies/")}
    assert copied == {batch.id for batch in found.batches.values()}
    assert found.judge_batch is not None
    assert found.judge_batch.id not in copied


def test_a_variant_that_failed_and_answered_nothing_is_in_no_table(
    cloud: Cloud, service: Service, tmp_path: Path
) -> None:
    service.ends[0] = ("Failed", 0.0)
    found = compare(chats(tmp_path))
    (label,) = found.failed
    assert found.table_file
    table = pq.read_table(io.BytesIO(cloud.s3.objects[found.table_file.removeprefix(f"s3://{BUCKET}/")].body))
    assert label not in set(table["variant"].to_pylist())
    assert table.num_rows == 100


def test_a_reference_of_another_dataset(
    cloud: Cloud, service: Service, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [{"custom_id": f"other-{n}", "label": "a"} for n in range(3)]
    with pytest.raises(InputFileError, match="It has 3 labels, the input 100 requests"):
        compare(chats(tmp_path), reference=str(write_lines(tmp_path / "labels.jsonl", rows)))
    compare(chats(tmp_path), reference=labels(tmp_path, 101))
    assert "lacks 0 of the requests, and has 1 label of no request" in caplog.text
    compare(chats(tmp_path), reference=labels(tmp_path, 99))
    assert "lacks 1 of the requests, and has 0 labels of no request" in caplog.text


@pytest.mark.parametrize("on_invalid", ["fail", "skip"])
def test_bad_lines_are_told_before_anything_is_asked(
    cloud: Cloud, service: Service, tmp_path: Path, on_invalid: str
) -> None:
    path = write_lines(tmp_path / "in.jsonl", [*[chat(f"r{n}", f"Q{n}", max_tokens=10) for n in range(100)], "{broken"])
    if on_invalid == "skip":
        assert compare(path, on_invalid="skip").table_file
        assert [row["requests"] for row in estimate_file(str(path), [CLAUDE], None, "24h", None)] == [100]
        return
    with pytest.raises(InputFileError, match=r'line 101: invalid_json_line: .*choose on_invalid="skip"'):
        compare(path)
    assert not cloud.bedrock.jobs
    empty = write_lines(tmp_path / "empty.jsonl", [])
    with pytest.raises(InputFileError, match="Nothing was submitted"):
        compare(empty, on_invalid="skip")
    with pytest.raises(InputFileError, match="Nothing was submitted"):
        estimate_file(str(empty), [CLAUDE], None, "24h", None)


def test_what_is_none_of_ours_ends_the_run(
    cloud: Cloud, service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of one variant's thread: nothing is put together as if it had no results."""
    lock, calls = threading.Lock(), list[str]()

    def broken(label: str, *_: Any) -> Any:
        with lock:
            calls.append(label)
        raise KeyError(label)

    monkeypatch.setattr(flow, "_batch", broken)
    with pytest.raises(KeyError):
        compare(chats(tmp_path))
    assert sorted(calls) == sorted([CLAUDE, "cold"])


def test_a_comparison_without_any_result_says_why_for_each(
    cloud: Cloud, service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(label: str, *_: Any) -> Any:
        raise PipelineError(f"no {label}")

    monkeypatch.setattr(flow, "_batch", refused)
    with pytest.raises(PipelineError, match=r"No model has results\. .*no cold"):
        compare(chats(tmp_path))


def test_images_may_lie_where_the_input_does(cloud: Cloud, service: Service, tmp_path: Path) -> None:
    """Each variant reads a copy of the input: the bucket that it was copied from is noted with the batch."""
    cloud.s3.put("in/in.jsonl", chats(tmp_path).read_bytes())
    compare_models(f"s3://{BUCKET}/in/in.jsonl", models=[CLAUDE, COLD], poll_seconds=0.001)
    kept = [json.loads(cloud.s3.objects[key].body) for key in cloud.s3.objects if key.endswith("/batch.json")]
    assert [each["bedrock"]["options"]["image_buckets"] for each in kept] == [[BUCKET]] * 2


def test_the_report_says_what_was_chosen(
    cloud: Cloud, service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[tuple[str | None, dict[str, Any]]] = []

    def parameters(_: Any, __: Any, reference: str | None, **options: Any) -> list[tuple[str, str]]:
        said.append((reference, options))
        return []

    monkeypatch.setattr(flow, "parameters_of", parameters)
    path, right = chats(tmp_path), labels(tmp_path)
    options = {"endpoint": None, "on_invalid": "fail", "unsupported": "error", "invocation": "auto"}
    plain: dict[str, Any] = {
        "input": str(path),
        "requests": "100",
        "completion_window": "24h",
        **dict.fromkeys(("max_cost_usd", "extract", "choices", "margin", "cluster_by", "slice_by")),
        **options,
    }
    compare(path, reference=right)
    chosen = {"choices": "any", "extract": "includes", "cluster_by": "kind", "slice_by": "kind", "max_cost_usd": 9.5}
    compare(path, reference=right, margin=2.5, **chosen)
    assert said == [
        (f"{right}, column label", plain),
        (f"{right}, column label", {**plain, **chosen, "margin": "2.5 points"}),
    ]


def test_a_comparison_that_could_cost_more_submits_nothing(cloud: Cloud, service: Service, tmp_path: Path) -> None:
    """The judge's part is counted, too."""
    path = chats(tmp_path)
    most = sum(row["max_cost_usd"] for row in compare(path).estimate)
    jobs = len(cloud.bedrock.jobs)
    with pytest.raises(ConfigurationError, match="nothing was submitted"):
        compare(path, judge=JUDGE, max_cost_usd=most, completion_window="48h")
    assert len(cloud.bedrock.jobs) == jobs


def test_a_comparison_that_is_cancelled_stops_its_batches() -> None:
    assert compare_models.on_cancellation_hooks == [stop_all_on_cancel]


def test_a_few_questions_of_a_judge_go_as_the_call_says(cloud: Cloud, service: Service, tmp_path: Path) -> None:
    service.outcome = of_judge
    judge = {"model": CLAUDE, "requests": 10}
    assert [row["jobs"] for row in compare(chats(tmp_path), judge=judge, below_minimum="pad").estimate] == [1, 1, 1]


def test_the_margin_stays_that_of_the_first_one_named(
    cloud: Cloud, service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where it has no results."""
    batch = flow._batch

    def first_refused(label: str, *rest: Any) -> Any:
        if label == CLAUDE:
            raise PipelineError("denied")
        return batch(label, *rest)

    monkeypatch.setattr(flow, "_batch", first_refused)
    found = compare(chats(tmp_path), reference=labels(tmp_path), margin=5)
    assert (found.numbers["base"], found.within_margin, found.failed) == (CLAUDE, False, {CLAUDE: "denied"})
