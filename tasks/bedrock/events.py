"""EventBridge's word of a job's state (https://docs.aws.amazon.com/bedrock/latest/userguide/monitoring-eventbridge.html).

Delivery is best effort, and `time` and `creationTime` are not ISO 8601: an event says where to look, never what is.
"""

import re
from typing import Any, Final

SOURCE: Final = "aws.bedrock"
DETAIL_TYPE: Final = "Batch Inference Job State Change"
#: The end of a name that `tasks.bedrock.names.job_name` made: half a batch id, the shard, the attempt.
_TAIL: Final = re.compile(r"-([0-9a-f]{16})-\d{5,}-\d+$")


def batch_of_event(event: dict[str, Any]) -> str | None:
    """The beginning of the batch id that an event's job belongs to; None for a job that is not of this pipeline.

    Raises ValueError for what is no such event.
    """
    detail = event.get("detail")
    name = detail.get("batchJobName") if isinstance(detail, dict) else None
    if event.get("source") != SOURCE or event.get("detail-type") != DETAIL_TYPE or not isinstance(name, str):
        raise ValueError(
            f"Not an EventBridge event of a Bedrock batch job: it needs source {SOURCE!r}, detail-type {DETAIL_TYPE!r} "
            "and detail.batchJobName. Pass the event as EventBridge delivers it."
        )
    found = _TAIL.search(name)
    return f"batch_{found[1]}" if found else None
