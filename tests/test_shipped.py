"""What is shipped beside the code: what prefect.yaml deploys and when, automations, events, the image, the command, CI."""

import importlib
import inspect
import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from tasks.bedrock.events import batch_of_event

ROOT = Path(__file__).resolve().parents[1]
SHIPPED: dict[str, Any] = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))
DEPLOYMENTS: dict[str, dict[str, Any]] = {each["name"]: each for each in SHIPPED["deployments"]}
HAIKU = "us.anthropic.claude-haiku-4-5-20251001-v1:0"
SAMPLE = "deployments/samples/support_tickets.jsonl"
LABELS = "deployments/samples/support_tickets_labels.csv"
#: Where a batch waits its turn, and where nothing does that takes seconds.
BATCHES = {"name": "bedrock-batch"}
OPERATIONS = {"name": "bedrock-batch", "work_queue_name": "operations"}


def schedule(slug: str, cron: str, active: bool) -> list[dict[str, Any]]:
    return [{"slug": slug, "cron": cron, "timezone": "UTC", "active": active}]


#: Of each deployment: its flow, work pool, schedules and parameters.
DEPLOYED: dict[str, tuple[str, dict[str, str], list[dict[str, Any]], dict[str, Any]]] = {
    "openai-batch": (
        "flows/batch.py:batch_inference",
        BATCHES,
        schedule("nightly", "0 1 * * *", active=False),
        {"input_file": SAMPLE, "model": HAIKU},
    ),
    "compare": (
        "flows/compare.py:compare_models",
        BATCHES,
        schedule("weekly", "0 2 * * 1", active=False),
        {"input_file": SAMPLE, "reference": LABELS, "models": [HAIKU, "us.amazon.nova-micro-v1:0"]},
    ),
    "estimate": ("flows/compare.py:estimate", OPERATIONS, [], {}),
    "collect": (
        "flows/operations.py:collect_batches",
        OPERATIONS,
        schedule("every-five-minutes", "*/5 * * * *", active=True),
        {},
    ),
    "check": ("flows/check.py:check", OPERATIONS, [], {"input_file": SAMPLE, "models": [HAIKU]}),
    "doctor": ("flows/check.py:doctor", OPERATIONS, [], {"models": [HAIKU]}),
    "cancel": ("flows/operations.py:cancel_batch", OPERATIONS, [], {}),
    "show": ("flows/operations.py:retrieve_batch", OPERATIONS, [], {}),
    "list": ("flows/operations.py:list_batches", OPERATIONS, [], {}),
    "api": ("flows/api.py:run_orders", BATCHES, [], {}),
}


def test_every_deployment_is_held_to_what_it_is() -> None:
    assert list(DEPLOYMENTS) == list(DEPLOYED)
    assert SHIPPED["name"] == "bedrock-batch-pipeline"
    assert SHIPPED["pull"] == [{"prefect.deployments.steps.set_working_directory": {"directory": "{{ $PWD }}"}}]


@pytest.mark.parametrize("name", DEPLOYED)
def test_what_is_deployed(name: str) -> None:
    found = DEPLOYMENTS[name]
    # Among others no concurrency_limit: a restart of the server would kill the runs that hold its slots.
    assert set(found) <= {"name", "entrypoint", "description", "tags", "parameters", "schedules", "work_pool"}
    assert found["tags"] == ["bedrock", "openai"]
    assert found["description"].strip()
    entrypoint, pool, schedules, parameters = DEPLOYED[name]
    assert (found["entrypoint"], found["work_pool"]) == (entrypoint, pool)
    assert (found["schedules"], found.get("parameters", {})) == (schedules, parameters)


@pytest.mark.parametrize("name", DEPLOYED)
def test_its_flow_is_there_and_takes_what_it_is_given(name: str) -> None:
    path, _, function = DEPLOYMENTS[name]["entrypoint"].partition(":")
    flow = getattr(importlib.import_module(path.removesuffix(".py").replace("/", ".")), function)
    parameters = DEPLOYMENTS[name].get("parameters", {})
    assert parameters.keys() <= inspect.signature(flow.fn).parameters.keys()
    for place in (parameters.get(each) for each in ("input_file", "reference")):
        assert place is None or (ROOT / place).is_file()


def test_prefects_version_is_the_one_that_is_installed_from_the_lock() -> None:
    locked = re.search(r"^prefect==(\S+)", (ROOT / "requirements.lock").read_text(encoding="utf-8"), re.MULTILINE)
    assert locked is not None
    assert SHIPPED["prefect-version"] == locked[1]


def automation(path: str) -> dict[str, Any]:
    (found,) = yaml.safe_load((ROOT / "deployments" / path).read_text(encoding="utf-8"))["automations"]
    return dict(found)


def test_crashed_runs_of_deployments_carry_on_twice() -> None:
    found = automation("automations/crashed_runs.yaml")
    assert found["enabled"] is True
    assert found["trigger"] == {
        "type": "event",
        "posture": "Reactive",
        "expect": ["prefect.flow-run.Crashed"],
        "match": {"prefect.resource.id": "prefect.flow-run.*", "prefect.run-count": ["1", "2"]},
        "match_related": [
            {"prefect.resource.role": "flow", "prefect.resource.name": ["batch-inference", "compare-models"]},
            {"prefect.resource.role": "deployment", "prefect.resource.id": "prefect.deployment.*"},
        ],
        "for_each": ["prefect.resource.id"],
        "threshold": 1,
        "within": 0,
    }
    (action,) = found["actions"]
    del action["message"]
    assert action == {
        "type": "change-flow-run-state",
        "state": "SCHEDULED",
        "name": "AwaitingRetry",
        "force": True,
    }


def test_the_automation_names_flows_that_there_are() -> None:
    from flows.batch import batch_inference
    from flows.compare import compare_models

    related = automation("automations/crashed_runs.yaml")["trigger"]["match_related"]
    assert related[0]["prefect.resource.name"] == [batch_inference.name, compare_models.name]


def test_an_event_starts_the_collector_with_itself() -> None:
    found = automation("eventbridge/automation.yaml")
    assert found["enabled"] is True
    assert found["trigger"] == {
        "type": "event",
        "posture": "Reactive",
        "expect": ["bedrock.batch-job.state-change"],
        "match": {"prefect.resource.id": "bedrock.batch-job.*"},
        "threshold": 1,
        "within": 0,
    }
    (action,) = found["actions"]
    assert action == {
        "type": "run-deployment",
        "source": "selected",
        "deployment_id": "00000000-0000-0000-0000-000000000000",
        "parameters": {
            "event": {
                "__prefect_kind": "json",
                "value": {"__prefect_kind": "jinja", "template": "{{ event.payload | tojson }}"},
            }
        },
    }


def test_what_eventbridge_passes_on() -> None:
    import jinja2

    folder = ROOT / "deployments" / "eventbridge"
    rule = json.loads((folder / "rule.json").read_text(encoding="utf-8"))
    assert rule == {
        "source": ["aws.bedrock"],
        "detail-type": ["Batch Inference Job State Change"],
        # Each state that a job can end in: without one, its batch waits for the schedule.
        "detail": {"status": ["Completed", "PartiallyCompleted", "Failed", "Stopped", "Expired"]},
    }
    name = f"x-{'a' * 16}-00000-1"
    event = {
        "source": "aws.bedrock",
        "detail-type": rule["detail-type"][0],
        "detail": {"batchJobName": name, "status": "Completed"},
    }
    batch_of_event(event)
    text = (folder / "webhook_template.json").read_text(encoding="utf-8")
    expected = automation("eventbridge/automation.yaml")["trigger"]["expect"]
    assert json.loads(jinja2.Template(text).render(body=event)) == {
        "event": expected[0],
        "resource": {"prefect.resource.id": f"bedrock.batch-job.{name}"},
        "payload": event,
    }
    transformer = json.loads((folder / "create_flow_run.json").read_text(encoding="utf-8"))
    assert transformer["InputPathsMap"] == {"event": "$"}
    body = json.loads(transformer["InputTemplate"].replace("<event>", json.dumps(event)))
    assert body == {"name": "eventbridge", "parameters": {"event": event}}


def test_the_image_runs_a_worker_of_the_pool_without_root() -> None:
    lines = [
        line
        for line in (ROOT / "deployments" / "Dockerfile").read_text(encoding="utf-8").splitlines()
        if not line.startswith("#")
    ]
    assert lines == [
        "FROM python:3.13-slim",
        "WORKDIR /app",
        "COPY requirements.lock pyproject.toml README.md LICENSE ./",
        "RUN pip install --no-cache-dir --require-hashes --no-deps -r requirements.lock"
        " && python -m compileall -q /usr/local/lib",
        "COPY flows flows",
        "COPY tasks tasks",
        "COPY deployments deployments",
        "RUN pip install --no-cache-dir --no-deps --no-build-isolation .",
        "USER nobody",
        "ENV PREFECT_HOME=/tmp/prefect",
        f'ENTRYPOINT ["prefect", "worker", "start", "--type", "process", "--pool", "{BATCHES["name"]}"]',
    ]


PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_the_command_is_installed() -> None:
    assert PROJECT["project"]["scripts"] == {"bedrock-batch": "flows.cli.main:main"}
    assert PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"] == ["flows", "tasks", "deployments"]
    assert PROJECT["project"]["requires-python"] == ">=3.11,<3.15"


def test_every_dependency_is_bounded_on_both_sides() -> None:
    """Tools of development may be newer than they are known to be."""
    optional = PROJECT["project"]["optional-dependencies"]
    for each in [*PROJECT["project"]["dependencies"], *optional["sandbox"], *optional["dask"]]:
        assert re.search(r">=[0-9.]+,<[0-9.]+$", each), each


def test_what_the_code_imports_is_required_not_brought() -> None:
    """A package that another one brings today may be gone with its next version."""
    names = {re.split(r"[\[>=<]", each)[0] for each in PROJECT["project"]["dependencies"]}
    assert names == {
        *("prefect", "fastapi", "sqlalchemy", "boto3", "msgspec", "orjson", "pyarrow", "numpy", "pandas", "pydantic"),
        *("blake3", "xxhash", "charset-normalizer", "rich", "scipy", "jmespath", "rapidfuzz", "jsonschema-rs"),
        *("jinja2", "starlette", "uvicorn", "python-multipart", "prometheus-client", "httpx", "click"),
    }


def test_no_test_may_hang_and_no_check_is_left_out() -> None:
    pytest_ = PROJECT["tool"]["pytest"]["ini_options"]
    assert pytest_["timeout"] == 600
    assert pytest_["addopts"].split() == ["-q", "--strict-markers", "--import-mode=importlib"]
    mypy = PROJECT["tool"]["mypy"]
    assert (mypy["strict"], mypy["packages"]) == (True, ["tasks", "flows", "deployments", "tests"])
    limits = PROJECT["tool"]["ruff"]["lint"]
    assert limits["mccabe"] == {"max-complexity": 12}
    assert limits["pylint"] == {
        "max-args": 7,
        "max-positional-args": 7,
        "max-branches": 12,
        "max-returns": 8,
        "max-statements": 50,
    }
    assert limits["per-file-ignores"].keys() == {"tests/**", "deployments/**"}


def recipe(target: str) -> list[str]:
    text = (ROOT / "Makefile").read_text(encoding="utf-8").replace("\\\n", "")
    found = re.search(rf"^{re.escape(target)}:.*\n((?:\t.*\n)+)", text, re.MULTILINE)
    assert found is not None, target
    return [" ".join(line.split()) for line in found[1].splitlines()]


def test_what_ci_runs() -> None:
    lines = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "#!/usr/bin/env bash"
    assert [line for line in lines[1:] if not line.startswith("#")] == [
        "set -euo pipefail",
        'cd "$(dirname "$0")/.."',
        "make check",
        "make test",
    ]
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111
    assert recipe("check") == [
        "$(BIN)/ruff format --check .",
        "$(BIN)/ruff check .",
        "$(BIN)/mypy",
        "$(BIN)/lint-imports",
    ]
    (tests,) = recipe("test")
    # All of them: nothing is chosen.
    assert tests.split()[:3] == ["$(BIN)/python", "-m", "pytest"]
    assert not {"-m", "-k", "--ignore", "--deselect"} & set(tests.split()[3:])
    assert "--durations=25" in tests.split()
    (unit,) = recipe("unit")
    assert '-m "not e2e"' in unit
    assert recipe("kill")[0].startswith("KILL_STRIDE=1 ")


def test_what_is_installed_is_what_was_locked() -> None:
    installed = recipe("$(STAMP)")
    assert "$(BIN)/python -m pip install --quiet --require-hashes --no-deps -r requirements.lock" in installed
    assert "$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e ." in installed
    assert "--generate-hashes --universal --python-version 3.11" in recipe("lock")[0]


def test_the_demos_run_in_the_sandbox() -> None:
    """Whoever tries them has no AWS account, or one that must not be billed."""
    for target in ("demo", "demo-compare"):
        (line,) = recipe(target)
        assert "--sandbox" in line.split()
        assert SAMPLE in line.split()
        assert line.endswith("--output-dir demo-output")
    assert f"--reference {LABELS}" in recipe("demo-compare")[0]


def test_the_other_targets() -> None:
    assert {target: recipe(target) for target in ("up", "mutants", "scale", "bench")} == {
        "up": ["$(BIN)/python -m deployments.up"],
        "mutants": ["$(BIN)/python -m tests.mutants"],
        "scale": ["$(BIN)/python -m tests.scale"],
        "bench": ["$(BIN)/python -m tests.bench"],
    }
    for target in ("unit", "test"):
        # A module's tests share its servers.
        assert "--dist loadfile" in recipe(target)[0]
        assert "--maxprocesses 4" in recipe(target)[0]
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    # Each that is run needs what is installed.
    targets = re.findall(r"^([a-z-]+):(.*)  ## ", text, re.MULTILINE)
    assert {name for name, needs in targets if "$(STAMP)" not in needs} == {"help", "lock", "clean"}


def test_the_contract_of_imports() -> None:
    """Who may know whom; each exception is one."""
    linter = PROJECT["tool"]["importlinter"]
    assert linter["root_packages"] == ["deployments", "flows", "tasks"]
    assert linter["include_external_packages"] is True
    layers, circles, seam, sandbox = linter["contracts"]
    assert [each["type"] for each in linter["contracts"]] == ["layers", "acyclic_siblings", "forbidden", "forbidden"]
    assert layers["layers"][:3] == ["deployments", "flows", "tasks.comparison | tasks.api"]
    assert layers["layers"][4:] == [
        *(
            "tasks.results",
            "tasks.shards",
            "tasks.inputs",
            "tasks.fast | tasks.batch",
            "tasks.codecs",
            "tasks.settings",
        ),
        *("tasks.bedrock | tasks.storage", "tasks.aws", "tasks.support", "tasks.errors", "tasks.openai_format"),
    ]
    # No stage imports another one, and none is forgotten.
    stages = {f"tasks.{path.stem}" for path in (ROOT / "tasks").glob("*.py")}
    named = set(layers["layers"][3].split(" | "))
    assert stages - named == {"tasks.__init__", "tasks.errors", "tasks.settings"}
    assert named <= stages
    assert layers["ignore_imports"] == [
        "flows.cli.* -> deployments.sandbox",
        "flows.cli.* -> deployments.api.__main__",
    ]
    assert circles["ancestors"] == linter["root_packages"]
    assert circles["ignore_imports"] == ["flows.batch -> flows.cli.main", "flows.compare -> flows.cli.main"]
    assert (seam["source_modules"], seam["forbidden_modules"]) == (linter["root_packages"], ["botocore", "s3transfer"])
    assert seam["ignore_imports"] == [
        "tasks.aws.* -> botocore",
        "tasks.aws.* -> s3transfer",
        "deployments.sandbox.checks -> botocore",
    ]
    # What the imitation shared with the pipeline it would get wrong in the same way.
    assert (sandbox["source_modules"], sandbox["forbidden_modules"]) == (["deployments.sandbox"], ["tasks", "flows"])
    assert "ignore_imports" not in sandbox
