"""For `make bench`: the CPU seconds of our process in a whole run, itemised.

The Prefect server and the sandbox are processes of their own and are not counted. The stages' functions are measured
where the tasks call them; what Prefect does around them, polling and all that no stage accounts for is `others`.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def whole_run(path: Path) -> dict[str, float]:
    """One batch, in this process."""
    import flows.cli.run  # noqa: F401  (what `python -m flows.batch` imports)
    from flows.batch import batch_inference
    from tasks import assemble, convert, normalize, validate

    # Since the process began.
    row = {"imports": time.process_time()}

    def measured(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            begin = time.process_time()
            try:
                return function(*arguments, **options)
            finally:
                row[name] = row.get(name, 0.0) + time.process_time() - begin

        return call

    stages = {
        validate: "validate_input",
        convert: "convert_range",
        normalize: "normalize_range",
        assemble: "put_together",
    }
    for module, name in stages.items():
        setattr(module, name, measured(module.__name__.rpartition(".")[2], getattr(module, name)))
    batch = batch_inference(str(path), "us.amazon.nova-lite-v1:0")
    assert batch.status == "completed"
    total = time.process_time()
    row["others"] = total - sum(row.values())
    row["total"] = total
    return row
