"""What a user starts: each flow chains tasks and decides nothing else."""

import importlib.util
import os
from pathlib import Path

# A temporary Prefect server takes 10 to 25 s to start on two cores; Prefect's own limit is 20 s.
os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "180")


def _require_our_tasks(folder: Path) -> None:
    """Raise ImportError where another `tasks` package would be imported: other projects use the name, too."""
    found = importlib.util.find_spec("tasks")
    places = [Path(place).resolve() for place in (found.submodule_search_locations or [] if found else [])]
    if folder / "tasks" in places:
        return
    inside = next(iter(places), None)
    place = (found.origin if found else None) or (str(inside) if inside else "nothing")
    raise ImportError(
        f"{place} is in the way: the package `tasks` of bedrock-batch-pipeline is {folder / 'tasks'}, and Python finds "
        "the other one first. Run the pipeline from another folder or in a virtual environment of its own: as the "
        "command `bedrock-batch`, or as a Prefect deployment that your flow calls with run_deployment."
    )


_require_our_tasks(Path(__file__).resolve().parents[1])
