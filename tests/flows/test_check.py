"""The `check` flow end to end: what it returns, says, and leaves in the UI; it needs no bucket and sends nothing."""

import asyncio
import json
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.sorting import ArtifactSort

from flows import aio
from flows import check as check_module
from flows.check import Check, check, check_file, doctor
from tasks.batch.result import BatchResult
from tasks.comparison.reference import read_reference as real_reference
from tasks.comparison.variants import changer as real_changer
from tasks.doctor import Diagnosis, Finding
from tasks.errors import ConfigurationError
from tasks.inputs.summary import InputSummary
from tasks.inputs.survey import Survey
from tasks.validate import read_input, validate
from tests.builders import ROLE
from tests.conftest import NOVA, Sandbox, chat, write_lines
from tests.fakes import BUCKET, Cloud

HAIKU = "us.anthropic.claude-haiku-4-5-20251001-v1:0"
SECRET = "hunter2-in-the-prompt"


@pytest.mark.usefixtures("prefect_server")
def test_check_says_what_a_run_would_make_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BEDROCK_BATCH_BUCKET", raising=False)
    lines = [chat(f"r{i}", SECRET, max_tokens=20, **({"seed": 1} if i < 18 else {})) for i in range(150)]
    rows = [{"custom_id": f"r{i}", "label": None if i < 50 else "a", "answer": "b"} for i in range(100)]
    labels = write_lines(tmp_path / "labels.jsonl", rows)
    variants: list[str | dict[str, Any]] = [HAIKU, {"model": NOVA, "label": "lite", "overrides": {"seed": None}}]
    found = check(
        str(write_lines(tmp_path / "in.jsonl", lines)), variants, reference=str(labels), label_column="answer"
    )
    first, second = found.models
    assert (first.refused, second.refused, found.exit_code) == (18, 0, 3)
    assert found.reference is not None
    assert found.reference.matched == 100
    with get_client(sync_client=True) as client:
        artifacts = client.read_artifacts(sort=ArtifactSort.CREATED_DESC, limit=50)
    shown = next(str(artifact.data) for artifact in artifacts if artifact.key == "check")
    assert "18 lines" in shown
    assert SECRET not in shown


def test_what_a_batch_cost_is_told_everywhere(sandbox: Sandbox, prefect_server: None, tmp_path: Path) -> None:
    path = write_lines(tmp_path / "in.jsonl", [chat(f"r{i}", f"Question {i}?", max_tokens=20) for i in range(120)])

    async def from_a_notebook() -> BatchResult:
        return await aio.batch_inference(str(path), NOVA, poll_seconds=0.05)

    batch = asyncio.run(from_a_notebook())
    assert batch.usage is not None
    expected = (batch.usage.input_tokens * 0.03 + batch.usage.output_tokens * 0.12) / 1e6
    assert batch.cost_usd == pytest.approx(expected, abs=1e-6)
    frame = batch.to_pandas(prompts=True)
    assert frame["cost_usd"].sum() == pytest.approx(expected)
    assert frame["prompt"].tolist() == [f"Question {i}?" for i in range(120)]
    stored = json.loads(sandbox.read(str(batch.output_file).replace("output.jsonl", "batch.json")))
    assert stored["cost_usd"] == batch.cost_usd
    assert "cost" in repr(batch)


# Without a server


#: What a check is asked where nobody says otherwise.
USUAL: dict[str, Any] = {
    "reference": None,
    "endpoint": None,
    "completion_window": "24h",
    "on_invalid": "fail",
    "unsupported": "error",
    "below_minimum": "on_demand",
    "invocation": "auto",
    "fetch_images": False,
    "every": 1,
}


def looked_at(
    folder: Path, lines: list[Any], models: list[Any] | None = None, read: Any = read_input, **options: Any
) -> Check:
    path = str(write_lines(folder / "in.jsonl", lines))
    return check_file(read, input_file=path, models=models or [HAIKU], **{**USUAL, **options})


SEEDED = [chat(f"r{i}", seed=1) for i in range(120)]


def test_a_variant_is_looked_at_as_it_would_run(tmp_path: Path) -> None:
    """Its own options go before the call's; its overrides are put in."""
    own = [
        {"model": HAIKU, "label": "drops", "unsupported": "drop"},
        {"model": HAIKU, "label": "removes", "overrides": {"seed": None}},
        HAIKU,
    ]
    dropping, removing, plain = looked_at(tmp_path, SEEDED, own).models
    assert (dropping.refused, dropping.dropped) == (0, {"seed": 120})
    assert (removing.refused, removing.dropped) == (0, {})
    assert (plain.refused, plain.dropped) == (120, {"seed": 120})
    assert looked_at(tmp_path, SEEDED, unsupported="drop").models[0].refused == 0


def test_every_option_is_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [chat(f"r{i}", max_tokens=20) for i in range(40)]
    ways: list[tuple[dict[str, Any], str]] = [
        ({}, "on_demand"),
        ({"below_minimum": "pad"}, "batch"),
        ({"below_minimum": "pad", "completion_window": "immediate"}, "on_demand"),
    ]
    for options, route in ways:
        assert looked_at(tmp_path, lines, **options).models[0].estimate.route == route
    bad = [*lines, "{broken"]
    assert looked_at(tmp_path, bad).exit_code == 1
    assert looked_at(tmp_path, bad, on_invalid="skip").exit_code == 3
    asked: list[dict[str, Any]] = []

    def read(*given: Any, **options: Any) -> InputSummary:
        asked.append(options)
        return read_input(*given, **options)

    looked_at(tmp_path, lines, read=read, every=4)
    assert (asked[0]["every"], asked[0]["sample"], len(asked[0]["surveys"])) == (4, None, 1)
    labels = write_lines(tmp_path / "labels.jsonl", [{"custom_id": f"r{i}", "label": "a"} for i in range(35, 45)])
    found = looked_at(tmp_path, lines, reference=str(labels)).reference
    assert found is not None
    assert (found.labels, found.matched, found.strangers, found.requests) == (10, 5, 5, 40)
    given: list[tuple[Any, ...]] = []

    def survey(*args: Any) -> Survey:
        given.append(args)
        return Survey(*args)

    monkeypatch.setattr(check_module, "Survey", survey)
    own = [{"model": HAIKU, "invocation": "InvokeModel", "label": "own"}, HAIKU]
    looked_at(tmp_path, lines, own, invocation="Converse", fetch_images=True)
    assert [args[2:4] for args in given] == [("InvokeModel", True), ("Converse", True)]


def test_nothing_is_left_of_the_look(tmp_path: Path) -> None:
    works: list[Path] = []

    def read(*given: Any, **options: Any) -> InputSummary:
        summary = read_input(*given, **options)
        works.append(summary.work)
        return summary

    looked_at(tmp_path, [*SEEDED, "{broken"], read=read)
    assert [work.exists() for work in works] == [False]


def test_a_limit_that_is_no_number_is_a_setting_that_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BEDROCK_BATCH_MAX_JOBS", "many")
    with pytest.raises(ConfigurationError, match="BEDROCK_BATCH_MAX_JOBS must be a positive whole number, not 'many'"):
        looked_at(tmp_path, SEEDED)


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch, cloud: Cloud, without_prefect: None) -> list[dict[str, Any]]:
    """The artifacts of the doctor."""
    made: list[dict[str, Any]] = []
    monkeypatch.setattr(check_module, "create_markdown_artifact", lambda **given: made.append(given))
    monkeypatch.setenv("BEDROCK_BATCH_BUCKET", BUCKET)
    monkeypatch.delenv("BEDROCK_BATCH_ROLE_ARN", raising=False)
    return made


def test_the_doctor_says_what_it_found(
    cloud: Cloud, said: list[dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    cloud.s3.refuse("HeadBucket", "AccessDenied", 403, message="`<b>|no|`", times=None)
    cloud.s3.refuse("ListObjectsV2", "AccessDenied", 403, message="`<b>|no|`", times=None)
    cloud.account("sts").refuse("GetCallerIdentity", "AccessDeniedException", 403)
    found = doctor([HAIKU], ROLE)
    assert {each.what: each.state for each in found.findings}["role's rights"] == "ok", "of the role that was named"
    (artifact,) = said
    assert (artifact["key"], "<b>" in artifact["markdown"]) == ("doctor", False)
    assert artifact["markdown"].startswith("# Doctor\n\n| | what | found | remedy |\n|---|---|---|---|\n")
    levels = {record.levelno for record in caplog.records if record.getMessage().startswith("ERROR")}
    assert levels == {logging.ERROR}
    assert {record.levelno for record in caplog.records if record.getMessage().startswith("ok ")} == {logging.INFO}
    with pytest.raises(ConfigurationError, match="is no Bedrock model"):
        doctor(["no such model"], ROLE)


# The flow, outside of Prefect


def test_the_flow_passes_on_all_that_it_was_given(
    said: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    given: list[Any] = []
    plain = looked_at(tmp_path, SEEDED)

    def look(read: Any, **named: Any) -> Check:
        given.append((read.func, read.keywords, named))
        return plain

    monkeypatch.setattr(check_module, "check_file", look)
    named: dict[str, Any] = {
        "input_file": "in.jsonl",
        "models": [HAIKU],
        "reference": "labels.csv",
        "endpoint": "/v1/completions",
        "completion_window": "immediate",
        "on_invalid": "skip",
        "unsupported": "drop",
        "below_minimum": "pad",
        "invocation": "Converse",
        "fetch_images": True,
        "variants": [{"label": "x", "model": NOVA}],
        "every": 3,
        "label_column": "truth",
    }
    assert check.fn(**named) is plain
    assert check.fn("a" * 300, [HAIKU]) is plain
    usual = {**USUAL, "input_file": "a" * 300, "models": [HAIKU], "variants": [], "label_column": None}
    # What a run would do with bad lines, the check does.
    assert given == [
        (validate, {"on_invalid": "skip"}, named),
        (validate, {"on_invalid": "fail"}, usual),
    ]
    first, second = said
    assert first == {"key": "check", "markdown": plain.markdown(), "description": "Check of in.jsonl"}
    # Prefect's column has an end.
    assert len(second["description"]) == 200
    lines = [record.getMessage() for record in caplog.records if record.levelno == logging.INFO]
    assert lines == 2 * [" ".join(line.split()) for line in plain.lines()]


def test_every_is_one_or_more_in_the_form_too() -> None:
    assert check.parameters.properties["every"]["minimum"] == 1


def test_a_check_is_called_by_its_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check_module, "current_run", SimpleNamespace(parameters={"input_file": "a/b/in.jsonl"}))
    monkeypatch.setattr(check_module, "run_name", lambda usual: usual)
    name: Any = check.flow_run_name
    assert name() == "check in.jsonl"


def test_the_endpoint_the_label_column_and_variants_are_passed_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[tuple[Any, ...]] = []
    changes: list[tuple[Any, ...]] = []
    columns: list[tuple[Any, ...]] = []
    plain_change, plain_reference = real_changer, real_reference

    def read(*args: Any, **options: Any) -> InputSummary:
        given.append(args)
        return read_input(*args, **options)

    def changer(*args: Any) -> Any:
        changes.append(args)
        return plain_change(*args)

    def reference(*args: Any) -> Any:
        columns.append(args)
        return plain_reference(*args)

    monkeypatch.setattr(check_module, "changer", changer)
    monkeypatch.setattr(check_module, "read_reference", reference)
    labels = write_lines(tmp_path / "labels.jsonl", [{"custom_id": "r1", "label": "a", "truth": "b"}])
    overrides = {"temperature": 0}
    found = looked_at(
        tmp_path,
        [chat(f"r{i}") for i in range(5)],
        read=read,
        endpoint="/v1/chat/completions",
        reference=str(labels),
        label_column="truth",
        variants=[{"model": NOVA, "label": "second", "overrides": overrides}],
    )
    assert [model.label for model in found.models] == [HAIKU, "second"]
    ((file, endpoint, served),) = given
    assert (file, endpoint) == (str(tmp_path / "in.jsonl"), "/v1/chat/completions")
    assert "/v1/chat/completions" in served
    assert changes == [(overrides, "/v1/chat/completions")]
    assert columns == [(str(labels), "truth")]


def test_the_doctors_remedies_are_in_its_table(said: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    findings = [
        Finding("bucket", "ok", "It is there."),
        Finding("role", "error", "Nobody | trusts it.", "Add *this*."),
    ]
    monkeypatch.setattr(check_module, "diagnose", lambda settings, models: Diagnosis(findings))
    doctor([], ROLE)
    ((artifact),) = said
    assert artifact["markdown"].split("\n")[2:] == [
        "| | what | found | remedy |",
        "|---|---|---|---|",
        "| ok | bucket | It is there. |  |",
        r"| error | role | Nobody \| trusts it. | Add \*this\*. |",
        "",
    ]
