"""What `batch_inference` does by itself: in which order, what each step is given, and what it says before it is paid for."""

import contextlib
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from flows import batch as module
from flows.batch import _announce, _run, _run_name, batch_inference
from flows.hooks import stop_on_cancel
from flows.runners import TASK_RUNNER
from tasks.batch.parameters import BatchParameters
from tasks.errors import BatchFailedError, ConfigurationError, PipelineError
from tasks.inputs.estimate import estimate as real_estimate
from tasks.inputs.survey import Survey
from tasks.openai_format.batch import BatchError, BatchErrors
from tests.builders import HELD, REF, document, shard, summary
from tests.builders import call as resolved
from tests.conftest import CLAUDE, NOVA
from tests.fakes import Cloud

OWN = msgspec.structs.replace(HELD, epoch=7)
REFUSAL = BatchError(code="below_minimum", message="too few")


class Stages:
    """Stand-ins for all that a run calls; each notes what it was given, and none does anything."""

    def __init__(self) -> None:
        self.order: list[str] = []
        self.given: dict[str, tuple[Any, ...]] = {}
        self.document = document()
        self.refusal: BatchError | None = None
        self.call: Any = None
        self.summary = summary()
        self.surveys: list[Survey] = []

    def note(self, name: str, result: Any = None) -> Callable[..., Any]:
        def stand_in(*given: Any, **named: Any) -> Any:
            self.order.append(name)
            self.given[name] = (*given, named) if named else given
            return result() if callable(result) else result

        return stand_in

    @contextlib.contextmanager
    def within(self, name: str, value: Any, *given: Any) -> Iterator[Any]:
        self.order.append(name)
        self.given[name] = given
        yield value
        self.order.append(f"end of {name}")

    def run(self, **parameters: Any) -> Any:
        given = {"input_file": "in.jsonl", "model": CLAUDE, **parameters}
        self.call = resolved(**given)
        return _run(BatchParameters(**given))


@pytest.fixture
def stages(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> Stages:
    made = Stages()
    lease = SimpleNamespace(ref=OWN, waited=True)
    for name, stand_in in {
        "resolve_options": made.note("resolve_options", lambda: made.call),
        "validate": made.note("validate", lambda: made.summary),
        "size_sampler": lambda call: ("sampler", call),
        "_announce": made.note("_announce"),
        "name_batch": made.note("name_batch", REF),
        "holding": lambda ref: made.within("holding", lease, ref),
        "open_or_resume": made.note("open_or_resume", lambda: made.document),
        "require_role": made.note("require_role"),
        "require_minimum": made.note("require_minimum", lambda: made.refusal),
        "fail_batch": made.note("fail_batch", PipelineError("failed")),
        "release_memory": made.note("release_memory"),
        "run_noted": lambda ref: made.within("run_noted", None, ref),
        "drive": made.note("drive"),
        "publish_results": made.note("publish_results"),
        "store": SimpleNamespace(read=lambda ref: made.document),
    }.items():
        monkeypatch.setattr(module, name, stand_in)
    return made


def test_the_steps_of_a_run(stages: Stages) -> None:
    found = stages.run()
    assert stages.order == [
        "resolve_options",
        "validate",
        # Before anything is written.
        "_announce",
        "name_batch",
        "holding",
        "open_or_resume",
        "require_role",
        "require_minimum",
        "release_memory",
        "run_noted",
        "drive",
        "end of run_noted",
        "end of holding",
    ]
    assert (found.id, found.status) == (REF.batch_id, "in_progress")
    # By its name alone: the note outlives the lease.
    assert stages.given["run_noted"] == stages.given["holding"] == (REF,)
    assert stages.given["open_or_resume"] == (OWN, stages.call, stages.summary, True)
    assert stages.given["require_role"] == stages.given["require_minimum"] == (stages.call, stages.summary)
    assert stages.given["name_batch"] == (stages.call, stages.summary)
    assert stages.given["drive"] == (OWN, {"poll_seconds": None, "wait": True})
    assert "publish_results" not in stages.given


def test_what_was_asked_for_is_passed_on(stages: Stages) -> None:
    stages.run(
        endpoint="/v1/chat/completions",
        on_invalid="skip",
        unsupported="drop",
        invocation="Converse",
        fetch_images=True,
        poll_seconds=2.5,
        wait=False,
    )
    file, endpoint, served, sampler, on_invalid, surveys = stages.given["validate"]
    assert (file, endpoint, on_invalid) == ("in.jsonl", "/v1/chat/completions", "skip")
    assert served == stages.call.codec.endpoints
    assert sampler == ("sampler", stages.call)
    (survey,) = surveys
    assert (survey.model, survey.unsupported) == (stages.call.model, "drop")
    assert (survey._invocation, survey._fetch_images) == ("Converse", True)
    assert stages.given["_announce"] == (stages.call, stages.summary, survey)
    assert stages.given["drive"] == (OWN, {"poll_seconds": 2.5, "wait": False})


def test_a_missing_role_ends_it_before_anything_runs(stages: Stages, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise ConfigurationError("No role")

    monkeypatch.setattr(module, "require_role", refuse)
    with pytest.raises(ConfigurationError, match="No role"):
        stages.run()
    assert not {"drive", "run_noted", "fail_batch"} & set(stages.order)


def test_fewer_than_a_job_takes_fail_the_batch_with_the_reason(stages: Stages) -> None:
    stages.refusal = REFUSAL
    with pytest.raises(PipelineError, match="failed"):
        stages.run()
    assert stages.given["fail_batch"] == (OWN, [REFUSAL])
    assert "drive" not in stages.order
    # What was converted was enough then: jobs may run.
    stages.document = document([shard()])
    stages.order.clear()
    stages.run()
    assert not {"require_minimum", "fail_batch"} & set(stages.order)
    assert {"require_role", "drive"} <= set(stages.order)


def test_a_finished_batch_is_returned_and_published_where_this_call_says(stages: Stages) -> None:
    stages.document = document([shard()], status="completed")
    assert stages.run().status == "completed"
    assert stages.order[-3:] == ["holding", "open_or_resume", "end of holding"]
    to = {"s3Uri": "s3://other-bucket/x", "s3EncryptionKeyId": "key-1", "s3BucketOwner": "210987654321"}
    stages.run(output_data_config={"s3OutputDataConfig": to})
    assert stages.given["publish_results"] == (OWN, stages.document, "s3://other-bucket/x", "key-1", "210987654321")
    assert not {"drive", "require_role"} & set(stages.order)


@pytest.mark.parametrize("status", ["expired", "cancelled", "failed"])
def test_only_a_failed_batch_is_an_error(stages: Stages, status: Any) -> None:
    errors = BatchErrors(data=[BatchError(code="job_failed", message="no capacity")])
    stages.document = document([shard()], status=status, errors=errors)
    if status != "failed":
        assert stages.run().status == status
        return
    with pytest.raises(BatchFailedError, match="no capacity") as caught:
        stages.run()
    assert caught.value.batch.id == REF.batch_id


def test_every_parameter_reaches_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[BatchParameters] = []
    watched: list[str] = []

    @contextlib.contextmanager
    def display() -> Iterator[None]:
        watched.append("bars")
        yield
        watched.append("end of bars")

    monkeypatch.setattr(module, "_run", given.append)
    monkeypatch.setattr(module, "display", display)
    said: dict[str, Any] = {
        "input_file": "in.jsonl",
        "model": NOVA,
        "endpoint": "/v1/completions",
        "completion_window": "2d",
        "metadata": {"a": "b"},
        "job_name": "n",
        "role_arn": "r",
        "vpc_config": {"subnetIds": ["subnet-1"], "securityGroupIds": ["sg-1"]},
        "output_data_config": {"s3OutputDataConfig": {"s3Uri": "s3://b/c"}},
        "on_invalid": "skip",
        "unsupported": "drop",
        "below_minimum": "pad",
        "poll_seconds": 2.0,
        "retry_failed": True,
        "invocation": "Converse",
        "fetch_images": True,
        "service_tier": "flex",
        "wait": False,
        "max_cost_usd": 1.5,
    }
    assert said.keys() == BatchParameters.model_fields.keys()
    batch_inference.fn(**said)
    batch_inference.fn("in.jsonl", NOVA)
    assert given == [BatchParameters(**said), BatchParameters(input_file="in.jsonl", model=NOVA)]
    assert watched == ["bars", "end of bars"] * 2


def test_the_flow_is_what_prefect_is_to_know() -> None:
    assert batch_inference.name == "batch-inference"
    assert batch_inference.on_cancellation_hooks == [stop_on_cancel]
    assert batch_inference.task_runner is TASK_RUNNER
    assert batch_inference.persist_result is False
    # The run is not begun anew by Prefect: it resumes by being called again.
    assert batch_inference.retries == 0


@pytest.mark.parametrize(
    ("parameters", "name"),
    [({"input_file": "a/b/in.jsonl", "model": "m"}, "in.jsonl on m"), ({}, "None on None")],
)
def test_a_run_is_called_by_its_file_and_model(
    monkeypatch: pytest.MonkeyPatch, parameters: dict[str, Any], name: str
) -> None:
    monkeypatch.setattr(module, "current_run", SimpleNamespace(parameters=parameters))
    monkeypatch.setattr(module, "run_name", lambda usual: usual)
    assert _run_name() == name
    assert batch_inference.flow_run_name is _run_name


# What is said before anything is uploaded


class Announced:
    """What `_announce` asks for and says of a survey that the test makes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, work: Path) -> None:
        self.caplog, self.patch, self.work = caplog, monkeypatch, work
        self.requests, self.asked, self.price = 100, list[tuple[Any, ...]](), list[Any]()
        self.survey = Survey(resolved().model, "error")
        self.survey.lines = self.survey.records = 100
        self.survey.input_tokens, self.survey.max_output_tokens = 1_000, 2_000
        monkeypatch.setattr(module, "requests_to_pay", lambda *_: self.requests)
        monkeypatch.setattr(module, "set_price", self.price.append)
        plain = real_estimate

        def estimate(*given: Any, **named: Any) -> Any:
            self.asked.append((given[1], named))
            return plain(*given, **named)

        monkeypatch.setattr(module, "estimate", estimate)

    def say(self, **parameters: Any) -> list[tuple[str, str]]:
        """The lines that are logged, by their level."""
        self.caplog.clear()
        self.caplog.set_level(logging.INFO)
        _announce(resolved(**parameters), summary(work=self.work), self.survey)
        return [(record.levelname, record.getMessage()) for record in self.caplog.records]


@pytest.fixture
def announced(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> Announced:
    work = tmp_path / "work"
    work.mkdir()
    return Announced(monkeypatch, caplog, work)


TO_SEND = (
    "To send: 100 requests in 1 job, about 1,000 tokens in, at most 2,000 out: at most $0.0044, $0.0004 of it for the "
    "input, $0.0088 on demand (tokens to within about a third; half of on demand prices of "
)


def test_what_is_sent_and_what_it_costs(announced: Announced) -> None:
    ((level, line),) = announced.say()
    assert (level, line.startswith(TO_SEND)) == ("INFO", True)
    assert announced.price == [pytest.approx(0.0044)]
    assert announced.asked == [
        (100, {"immediate": False, "below_minimum": "on_demand", "records": 100, "tier": "default"})
    ]


def test_the_estimate_is_of_what_was_asked_for(announced: Announced) -> None:
    announced.requests = 60
    announced.say(below_minimum="pad", completion_window="immediate", service_tier="flex")
    # Some are paid for already: what they become was counted of all of them.
    assert announced.asked == [(60, {"immediate": True, "below_minimum": "pad", "records": None, "tier": "flex"})]


def test_where_nothing_is_to_be_paid_nothing_is_said(announced: Announced) -> None:
    announced.requests, announced.survey.refused = 0, 5
    assert announced.say(max_cost_usd=0) == []
    assert (announced.asked, announced.price) == ([], [])


def test_a_mistyped_model_is_said_even_so(announced: Announced) -> None:
    announced.requests = 0
    ((level, line),) = announced.say(model="anthropic.claude-3-5-hiaku-20241022-v1:0")
    assert level == "WARNING"
    assert line.startswith("anthropic.claude-3-5-hiaku-20241022-v1:0 is not a model id that is known; did you mean ")


@pytest.mark.parametrize(
    ("refused", "exact", "line"),
    [
        (7, True, "Will not be sent: 7 requests"),
        (1, False, "Will not be sent: about 1 request"),
        (
            100,
            True,
            "Will not be sent: 100 requests: every one of them, so that no job is made and nothing is paid for",
        ),
        (100, False, "Will not be sent: about 100 requests"),
    ],
)
def test_what_will_be_refused_is_said_first(announced: Announced, refused: int, exact: bool, line: str) -> None:
    announced.survey.refused, announced.survey.exact = refused, exact
    said = announced.say(below_minimum="pad")
    assert said[0] == ("WARNING", line)
    # Of nothing, no price.
    assert any(text.startswith("To send: ") for _, text in said) is (refused < 100)


def test_the_five_most_frequent_causes_are_named(announced: Announced) -> None:
    announced.survey.refused = 28
    for number in range(7):
        announced.survey.causes.add(
            f"code{number}", f"Cause {'abcdefg'[number]}.", None, 10 + number, "in.jsonl", 7 - number
        )
    said = [line for level, line in announced.say(below_minimum="pad") if level == "WARNING"]
    assert said[1:] == [
        "7 lines: Cause a, first line 10",
        "6 lines: Cause b, first line 11",
        "5 lines: Cause c, first line 12",
        "4 lines: Cause d, first line 13",
        "3 lines: Cause e, first line 14",
        "and 2 more causes",
    ]


def test_requests_beyond_the_context_window_are_warned_of(announced: Announced) -> None:
    announced.survey.too_long = 3
    warnings = [line for level, line in announced.say() if level == "WARNING"]
    assert warnings == [announced.survey.window_warning]
    assert warnings[0].startswith("3 requests with its answer may be longer than the 200,000 tokens")


FEWER = (
    "Fewer records than a job takes (100): they are asked on demand, at the full price; "
    'below_minimum="pad" makes a job of them'
)


def test_fewer_than_a_job_takes_is_said_where_a_job_would_cost_less(announced: Announced) -> None:
    announced.requests, announced.survey.lines, announced.survey.records = 40, 40, 40
    assert ("WARNING", FEWER) in announced.say()
    for other in ({"completion_window": "immediate"}, {"below_minimum": "pad"}):
        assert ("WARNING", FEWER) not in announced.say(**other)
    announced.patch.setattr("tasks.inputs.estimate.rate_for", lambda *_, **__: None)
    assert ("WARNING", FEWER) not in announced.say()


def test_a_budget_ends_it_and_leaves_nothing_behind(announced: Announced) -> None:
    assert announced.say(max_cost_usd=0.0045)[-1][1].startswith(TO_SEND)
    assert announced.work.exists()
    with pytest.raises(ConfigurationError, match=r"up to \$0\.0044 .* more than max_cost_usd=0\.00"):
        announced.say(max_cost_usd=0.0043)
    assert not announced.work.exists()
