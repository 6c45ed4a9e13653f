"""Tools of others against the API server in the sandbox, by its base URL alone: `make tools`.

Run by the environment that has them; `--server` is the Python that has this project. Each is a function that fails by
an exception. The last one is schemathesis, over the OpenAPI document: no answer may be a 5xx.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import traceback
import urllib.request
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
KEY, MODEL = "sandbox-key-0123456789", "us.anthropic.claude-haiku-4-5-20251001-v1:0"
#: `.tools`, beside the environment that runs this.
TOOLS_FOLDER = Path(sys.prefix).parent
FINAL = ("completed", "failed", "expired", "cancelled")


def lines(count: int, prefix: str) -> str:
    return "".join(
        json.dumps(
            {
                "custom_id": f"{prefix}-{number}",
                "method": "POST",
                "url": "/v1/chat/completions",
                "body": {"model": MODEL, "messages": [{"role": "user", "content": f"Say {number}."}], "max_tokens": 20},
            }
        )
        + "\n"
        for number in range(count)
    )


def until(look: Callable[[], bool], seconds: float = 180) -> None:
    end = time.monotonic() + seconds
    while not look():
        assert time.monotonic() < end, "it takes too long"
        time.sleep(0.5)


def inspect_ai(url: str, folder: Path) -> None:
    os.environ["INSPECT_LOG_DIR"] = str(folder / "logs")
    from inspect_ai import Task, eval
    from inspect_ai.dataset import Sample
    from inspect_ai.model import BatchConfig, GenerateConfig, get_model
    from inspect_ai.scorer import includes
    from inspect_ai.solver import generate

    config = GenerateConfig(batch=BatchConfig(size=3, send_delay=0.5, tick=0.5), max_tokens=50)
    model = get_model(f"openai/{MODEL}", base_url=url, api_key=KEY, config=config, responses_api=False)
    samples = [Sample(input=f"Say {number}.", target="") for number in range(3)]
    (log,) = eval(Task(dataset=samples, solver=generate(), scorer=includes()), model=model, display="none")
    assert log.status == "success", log.error
    assert log.samples is not None
    assert all(sample.output.completion for sample in log.samples)


def litellm(url: str, folder: Path) -> None:
    import litellm

    given = {"custom_llm_provider": "openai", "api_base": url, "api_key": KEY}
    path = folder / "litellm.jsonl"
    path.write_text(lines(5, "litellm"))
    file = litellm.create_file(file=path.open("rb"), purpose="batch", **given)
    batch = litellm.create_batch(
        completion_window="24h",
        endpoint="/v1/chat/completions",
        input_file_id=file.id,
        metadata={"of": "litellm"},
        **given,
    )
    until(lambda: litellm.retrieve_batch(batch_id=batch.id, **given).status in FINAL)
    done = litellm.retrieve_batch(batch_id=batch.id, **given)
    assert done.status == "completed", done
    content = litellm.file_content(file_id=done.output_file_id, **given)
    assert len(content.text.splitlines()) == 5
    assert litellm.list_batches(limit=1, **given).data[0].id == batch.id
    assert litellm.file_list(**given).data


def langbatch(url: str, folder: Path) -> None:
    from langbatch.openai import OpenAIChatCompletionBatch
    from openai import OpenAI

    path = folder / "langbatch.jsonl"
    path.write_text(lines(4, "langbatch"))
    batch = OpenAIChatCompletionBatch(str(path), OpenAI(api_key=KEY, base_url=url))
    batch.start()
    until(lambda: batch.get_status() in FINAL)
    answers, errors = batch.get_results()
    assert len(answers) == 4, errors
    assert not errors


def instructor(url: str, folder: Path) -> None:
    os.environ.update(OPENAI_API_KEY=KEY, OPENAI_BASE_URL=url)
    from instructor.batch import BatchProcessor
    from pydantic import BaseModel

    class City(BaseModel):
        name: str

    processor = BatchProcessor(f"openai/{MODEL}", City)
    path = str(folder / "instructor.jsonl")
    processor.create_batch_from_messages([[{"role": "user", "content": "Paris"}]], file_path=path)
    batch = processor.submit_batch(path)
    until(lambda: processor.get_batch_status(batch)["status"] in FINAL)
    assert processor.get_batch_status(batch)["status"] == "completed"
    assert len(processor.retrieve_results(batch)) == 1
    assert processor.provider.list_batches(limit=5)[0].id == batch
    command = [str(Path(sys.executable).with_name("instructor")), "batch"]
    made = folder / "cli.jsonl"
    made.write_text(lines(2, "instructor-cli"))
    subprocess.run(
        [*command, "create-from-file", "--file-path", str(made), "--model", f"openai/{MODEL}"], check=True, timeout=60
    )
    subprocess.run([*command, "list", "--limit", "3"], check=True, timeout=60)


def node(url: str, folder: Path) -> None:
    """The page's JavaScript, where `make tools` found npm."""
    modules = TOOLS_FOLDER / "node_modules"
    if not modules.exists():
        print("skipped: no npm")
        return
    page = (ROOT / "deployments" / "docs" / "api.md").read_text(encoding="utf-8")
    (folder / "node_modules").symlink_to(modules)
    (folder / "requests.jsonl").write_text(lines(3, "node"))
    for number, text in enumerate(page.split("```js\n")[1:]):
        script = folder / f"{number}.mjs"
        script.write_text(text.partition("```")[0].replace("http://127.0.0.1:8000/v1", url))
        subprocess.run(["node", str(script)], cwd=folder, check=True, timeout=120)


def acceptance(url: str, folder: Path) -> None:
    """The script that holds a server to what the JavaScript clients need, where it lies beside the project."""
    script = ROOT.parent / "shared" / "acceptance" / "accept_node.mjs"
    modules = TOOLS_FOLDER / "node_modules"
    if not (modules.exists() and script.exists()):
        print("skipped: no npm, or no script")
        return
    (folder / "node_modules").symlink_to(modules)
    (folder / script.name).write_bytes(script.read_bytes())
    (folder / "requests.jsonl").write_text(lines(30, "accept"))
    given = ["--base-url", url, "--key", KEY, "--jsonl", "requests.jsonl", "--model", MODEL]
    subprocess.run(["node", script.name, *given], cwd=folder, check=True, timeout=600)


def airflow(url: str, folder: Path) -> None:
    python = TOOLS_FOLDER / "airflow" / "bin" / "python"
    if not python.exists():
        print("skipped: Airflow is not installed")
        return
    script = ROOT / "tests" / "api" / "tools" / "run_airflow.py"
    subprocess.run([str(python), str(script), url, KEY, MODEL, str(folder)], check=True, timeout=300)


def schemathesis(url: str, folder: Path) -> None:
    request = urllib.request.Request(f"{url}/openapi.json", headers={"authorization": f"Bearer {KEY}"})
    document = folder / "openapi.json"
    with urllib.request.urlopen(request, timeout=60) as reply:
        document.write_bytes(reply.read())
    command = [str(Path(sys.executable).with_name("schemathesis")), "run", str(document), "--url", url]
    options = ["--checks", "not_a_server_error", "--max-examples", "40", "--phases", "examples,coverage,fuzzing"]
    subprocess.run(
        [*command, *options, "-H", f"Authorization: Bearer {KEY}", "--suppress-health-check", "all", "--workers", "2"],
        cwd=folder,
        check=True,
        timeout=900,
    )


TOOLS = (inspect_ai, litellm, langbatch, instructor, airflow, node, acceptance, schemathesis)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--server", required=True, help="the Python that has this project")
    parser.add_argument("--only", default="", help="a part of a tool's name")
    options = parser.parse_args()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}/v1"
    failed = []
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "BEDROCK_BATCH_API_KEY": KEY, "PREFECT_API_URL": ""}
        with (Path(folder) / "server.log").open("wb") as log:
            server = subprocess.Popen(
                [options.server, "-m", "deployments.api", "--sandbox", "--port", str(port)],
                cwd=ROOT,
                env=environment,
                stderr=log,
            )
        try:
            until(lambda: not socket.socket().connect_ex(("127.0.0.1", port)), 60)
            for tool in TOOLS:
                if options.only not in tool.__name__:
                    continue
                place = Path(folder) / tool.__name__
                place.mkdir()
                began = time.monotonic()
                try:
                    tool(url, place)
                    print(f"ok   {tool.__name__} {time.monotonic() - began:.0f} s", flush=True)
                except Exception:
                    traceback.print_exc()
                    failed.append(tool.__name__)
                    print(f"FAIL {tool.__name__}", flush=True)
        finally:
            server.terminate()
            server.wait(60)
        if failed:
            text = (Path(folder) / "server.log").read_text()
            print(
                "\n".join(line for line in text.splitlines() if '"request_id"' not in line or '"status": 5' in line)[
                    -5000:
                ]
            )
    print("FAILED: " + ", ".join(failed) if failed else "ALL TOOLS PASS")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
