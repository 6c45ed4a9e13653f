"""What is done when a run is cancelled, in another process than the run: stop first, then collect, and say all of it."""

import logging
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from flows import hooks
from flows.hooks import stop_all_on_cancel, stop_on_cancel
from tasks.errors import PipelineError
from tasks.support.run_context import run_log
from tests.builders import REF
from tests.cli.helpers import batch


class _Run(SimpleNamespace):
    def model_copy(self, update: dict[str, Any]) -> "_Run":
        return _Run(**{**vars(self), **update})


RUN, CHILD, OTHER = (_Run(id=UUID(int=n), name=name) for n, name in ((1, "parent"), (2, "lite"), (3, "pro")))


@pytest.fixture(autouse=True)
def done(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What was done, in order; what runs work on, and what they come to, is the test's to change."""
    acts: list[tuple[Any, ...]] = []
    ended = SimpleNamespace(id=REF.batch_id, status="cancelled", finished=True)

    def act(*what: Any) -> None:
        acts.append(what)

    def collect(_: Any) -> Any:
        act("collect")
        return ended

    for name, function in {
        "flow_run_logger": lambda *_: logging.getLogger("hook"),
        "load_settings": lambda: None,
        "batch_of_run": lambda run: REF,
        "others_at_work": lambda *_: [],
        "stop_batch": lambda ref: act("stop"),
        "cancel": collect,
        "forget_run": lambda root, run: act("forget", run),
        "_show": lambda run, batch: act("show", run.id),
        "end_cancelled": lambda line, needed: act("end", line[0].id, line[1].state.name, needed),
        "_children": lambda run: [CHILD, OTHER],
    }.items():
        monkeypatch.setattr(hooks, name, function)
    return acts


def cancelled(hook: Any = stop_on_cancel) -> None:
    hook(SimpleNamespace(name="flow"), RUN, SimpleNamespace(name="Cancelling"))


def test_jobs_are_stopped_and_what_was_answered_is_collected(done: list[Any], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    cancelled()
    assert done == [("stop",), ("collect",), ("show", RUN.id), ("forget", RUN.id)]
    assert caplog.messages == [
        f"Stopping the Bedrock jobs of batch {REF.batch_id}",
        f"Batch {REF.batch_id} is cancelled",
    ]


def test_what_collecting_says_is_in_the_runs_log(
    done: list[Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def collect(_: Any) -> Any:
        run_log().warning("3 answers are lost")
        return SimpleNamespace(id=REF.batch_id, status="cancelled", finished=True)

    monkeypatch.setattr(hooks, "cancel", collect)
    cancelled()
    run_log().warning("something else")
    assert done == [("stop",), ("show", RUN.id), ("forget", RUN.id)]
    assert [(each.name, each.getMessage()) for each in caplog.records if each.levelno == logging.WARNING] == [
        ("hook", "3 answers are lost"),
        ("bedrock-batch", "something else"),
    ]


def test_a_run_without_a_batch_stops_nothing(
    done: list[Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(hooks, "batch_of_run", lambda run: None)
    cancelled()
    assert done == []
    assert "it drove no batch" in caplog.text


def test_a_batch_that_another_run_works_on_goes_on(done: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hooks, "others_at_work", lambda *_: [OTHER.id])
    cancelled()
    assert done == [("forget", RUN.id)]


def test_what_another_runner_collects_keeps_its_note(done: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    going_on = SimpleNamespace(id=REF.batch_id, status="cancelling", finished=False)
    monkeypatch.setattr(hooks, "cancel", lambda ref: going_on)
    cancelled()
    assert done == [("stop",)]


def test_what_it_cannot_do_is_said_and_left_to_the_collector(
    done: list[Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: Any) -> None:
        raise PipelineError("S3 is out of reach")

    monkeypatch.setattr(hooks, "stop_batch", fail)
    cancelled()
    assert done == []
    (record,) = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert "may still be running (S3 is out of reach): the next collect-batches run stops them" in record.getMessage()


def test_of_a_comparison_all_jobs_are_stopped_before_anything_is_collected(
    done: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    cancelled(stop_all_on_cancel)
    assert [what[0] for what in done[:2]] == ["stop", "stop"]
    assert done[2:] == [
        *[("collect",), ("show", CHILD.id), ("forget", CHILD.id)],
        *[("collect",), ("show", OTHER.id), ("forget", OTHER.id)],
        # The parent is being cancelled, whatever it was when it was read, and ends itself.
        ("end", CHILD.id, "Cancelling", [RUN.id]),
        ("end", OTHER.id, "Cancelling", [RUN.id]),
    ]
    # In the parent's log under the variant's name, in the variant's own as it is.
    assert f"lite: Batch {REF.batch_id} is cancelled" in caplog.messages
    assert f"Batch {REF.batch_id} is cancelled" in caplog.messages


def test_a_variant_that_fails_leaves_the_others_theirs(done: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def found(run: UUID) -> Any:
        if run == CHILD.id:
            raise PipelineError("S3 is out of reach")
        return REF

    monkeypatch.setattr(hooks, "batch_of_run", found)
    cancelled(stop_all_on_cancel)
    assert done == [
        *[("stop",), ("collect",), ("show", OTHER.id), ("forget", OTHER.id)],
        *[("end", run.id, "Cancelling", [RUN.id]) for run in (CHILD, OTHER)],
    ]


def test_what_cannot_be_collected_of_one_variant_leaves_the_others_theirs(
    done: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = SimpleNamespace(id=REF.batch_id, status="cancelled", finished=True)
    answers: list[Any] = [PipelineError("S3 is out of reach"), ended]

    def collect(_: Any) -> Any:
        found = answers.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    monkeypatch.setattr(hooks, "cancel", collect)
    cancelled(stop_all_on_cancel)
    assert done == [
        *[("stop",), ("stop",), ("show", OTHER.id), ("forget", OTHER.id)],
        *[("end", run.id, "Cancelling", [RUN.id]) for run in (CHILD, OTHER)],
    ]


def test_the_others_are_those_of_the_same_batch(done: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Any, ...]] = []

    def others(*given: Any) -> list[Any]:
        asked.append(given)
        return []

    monkeypatch.setattr(hooks, "load_settings", lambda: "settings")
    monkeypatch.setattr(hooks, "others_at_work", others)
    cancelled()
    assert asked == [("settings", RUN.id, REF.batch_id)]


def test_a_variants_own_log_has_what_collecting_says(done: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Prefect shows it under the variant's run, not under the comparison's."""
    kept: list[str] = []

    def collect(_: Any) -> Any:
        kept.append(run_log().name)
        return SimpleNamespace(id=REF.batch_id, status="cancelled", finished=True)

    monkeypatch.setattr(hooks, "flow_run_logger", lambda run, flow: logging.getLogger(f"of {run.name}"))
    monkeypatch.setattr(hooks, "cancel", collect)
    cancelled(stop_all_on_cancel)
    assert kept == ["of lite", "of pro"]


# What Prefect is asked and told

SHOW, CHILDREN = hooks._show, hooks._children


class _Client:
    """Prefect's client: notes what it is asked and told."""

    def __init__(self) -> None:
        self.said: list[Any] = []

    def __enter__(self) -> "_Client":
        return self

    def __exit__(self, *_: object) -> None: ...

    def read_flow_runs(self, flow_run_filter: Any) -> list[Any]:
        self.said.append(flow_run_filter.model_dump(exclude_none=True, exclude_defaults=True))
        return [CHILD]

    def create_artifact(self, artifact: Any) -> None:
        self.said.append(artifact)

    def read_artifacts(self, artifact_filter: Any) -> list[Any]:
        self.said.append((artifact_filter.flow_run_id.any_, artifact_filter.key.any_))
        return [SimpleNamespace(id=UUID(int=7)), SimpleNamespace(id=UUID(int=8))]

    def update_artifact(self, id: UUID, update: Any) -> None:
        self.said.append((id, update.data, update.description))


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> _Client:
    made = _Client()
    monkeypatch.setattr(hooks, "get_client", lambda sync_client: made)
    return made


def test_the_variants_are_the_runs_within_this_one(client: _Client) -> None:
    run: Any = SimpleNamespace(id=RUN.id, flow_id=UUID(int=99))
    assert CHILDREN(run) == [CHILD]
    assert client.said == [{"parent_flow_run_id": {"any_": [RUN.id]}}]


def test_what_was_collected_is_shown_in_the_run_itself(client: _Client) -> None:
    found: Any = batch("cancelled", total=1200, completed=1000, failed=200)
    SHOW(RUN, found)  # type: ignore[arg-type]
    artifact, asked, *updates = client.said
    assert (artifact.key, artifact.type, artifact.flow_run_id) == ("batch-summary", "markdown", RUN.id)
    assert found.id in artifact.description
    assert found.id in artifact.data
    # The bars that stood where they were.
    assert asked == ([RUN.id], ["bedrock-jobs"])
    over = f"{found.id}: cancelled, 1,000 of 1,200 requests answered"
    assert updates == [(UUID(int=7), 100.0, over), (UUID(int=8), 100.0, over)]
