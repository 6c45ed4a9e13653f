"""Airflow's `LLMBatchOperator` against the API server, by the base URL of a connection: `make tools`.

Run by the environment that has Airflow, as `run_airflow.py URL KEY MODEL FOLDER`. No scheduler and no database: `execute`
is what a worker calls. An attempt that died between its call and the note of the batch's id is followed by one that
lists the batches and finds its own by `metadata`.
"""

import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace


def main(url: str, key: str, model: str, folder: str) -> None:
    place = Path(folder)
    os.environ["AIRFLOW_HOME"] = str(place / "home")
    os.environ["AIRFLOW_CONN_BEDROCK"] = json.dumps({"conn_type": "pydanticai", "password": key, "host": url})
    from airflow.providers.common.ai.operators.llm_batch import LLMBatchOperator

    results = place / "results"
    operator = LLMBatchOperator(
        task_id="ask",
        requests=["Say 1.", "Say 2.", "Say 3."],
        result_path=f"file://{results}",
        llm_conn_id="bedrock",
        model_id=f"openai:{model}",
        poll_interval=30,
        fail_on_partial_error=True,
    )
    task = SimpleNamespace(dag_id="tools", task_id="ask", run_id="run", map_index=-1, xcom_push=lambda **_: None)
    context = {"task_instance": task, "ti": task}
    manifest = operator.execute(context)
    first = operator.batch_id
    assert manifest["counts"]["succeeded"] == 3, manifest
    (note,) = (results / "_airflow_batch_state").glob("*.json")
    noted = json.loads(note.read_text())
    for name in ("batch_id", "submitted_at", "provider_input_ref"):
        assert noted[name], noted
        noted[name] = None
    note.write_text(json.dumps(noted))
    operator.execute(context)
    assert operator.batch_id == first, "another batch was submitted"


if __name__ == "__main__":
    main(*sys.argv[1:])
