"""What commands print."""

from typing import Any

from tasks.openai_format.batch import Batch, RequestCounts


def batch(status: str = "completed", total: int = 3, completed: int = 3, failed: int = 0, **more: Any) -> Batch:
    """A batch of the API, with so many requests."""
    given: dict[str, Any] = {
        "id": "batch_1",
        "endpoint": "/v1/chat/completions",
        "input_file_id": "x",
        "completion_window": "24h",
        "created_at": 1,
        "model": "m",
        "status": status,
        "request_counts": RequestCounts(total=total, completed=completed, failed=failed),
    }
    return Batch.model_validate(given | more)
