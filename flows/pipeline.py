"""The stages that batch_inference, the collector and a cancellation have in common: from an open batch to its end."""

import threading
from typing import Any

from prefect import get_client, unmapped
from prefect.context import FlowRunContext
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.runners import main_left_out
from tasks.assemble import assemble, publish_results
from tasks.batch import store
from tasks.batch.document import BatchDocument, Range
from tasks.batch.lease import require_lease
from tasks.batch.lifecycle import begin_finalizing, tidy
from tasks.batch.paths import BatchRef
from tasks.convert import convert
from tasks.fetch import fetch
from tasks.normalize import normalize
from tasks.on_demand import answer_on_demand
from tasks.poll import look_once, poll
from tasks.report import report
from tasks.results.totals import RangeResult
from tasks.rounds import begin_round
from tasks.submit import submit
from tasks.support.progress import stage
from tasks.upload import upload

#: Several batches in one process, as a comparison's, convert and normalise in turn: that takes a core and memory.
_TURN = threading.Lock()


def drive(ref: BatchRef, *, poll_seconds: float | None = None, wait: bool = True) -> BatchDocument:
    """Take an open batch as far as it goes: to its end, or without `wait` until only Bedrock has something to do.

    For the runner that holds its lease, inside a flow.
    """
    document = store.read(ref)
    if document.bedrock.shards is None:
        converted = over_ranges("converting", convert, document.bedrock.ranges, ref, document)
        document = upload(ref, document, converted)
    settled: dict[int, RangeResult] = {}
    while True:
        if not wait:
            look_once(ref)
        progress = submit(ref)
        if any(shard.route == "on_demand" and not shard.done for shard in document.bedrock.shards or []):
            # While the jobs run.
            answer_on_demand(ref)
        if progress.open and wait:
            with stage("Bedrock jobs", unit="records"):
                while progress.open:
                    poll(ref, poll_seconds)
                    progress = submit(ref)
        require_lease(ref)
        document = store.read(ref)
        if progress.open:
            return document
        outputs = fetch(ref, document)
        ranges = [range_ for range_ in document.bedrock.ranges if range_.index not in settled]
        results = over_ranges("reading answers", normalize, ranges, ref, document, outputs=outputs)
        settled |= {result.range: result for result in results if not result.again}
        pieces = [piece for result in results for piece in result.again]
        if not pieces:
            break
        document = begin_round(ref, document, pieces)
    document = begin_finalizing(ref)
    in_order = [settled[range_.index] for range_ in document.bedrock.ranges]
    with stage("putting together", document.request_counts.total):
        warnings = [text for output in outputs.values() for text in output.warnings]
        document = assemble(ref, document, in_order, warnings)
    if (to := document.bedrock.options).output_location:
        document = publish_results(ref, document, to.output_location, to.output_kms_key, to.output_owner)
    report(ref, document, in_order)
    tidy(ref, document)
    return document


def over_ranges(
    name: str, task: Any, ranges: list[Range], ref: BatchRef, document: BatchDocument, **shared: Any
) -> list[Any]:
    """Run a stage's task for every range: side by side on the flow's task runner where there are several."""
    total = sum(range_.requests for range_ in ranges)
    if len(ranges) <= 1 or FlowRunContext.get() is None:
        # A worker process takes seconds to start.
        with _TURN, stage(name, total):
            return [task(ref, document, range_, **shared) for range_ in ranges]
    unchanged = {name: unmapped(value) for name, value in shared.items()}
    # A worker process that knew of no server would start a temporary one of its own.
    with (
        _TURN,
        main_left_out(),
        get_client(sync_client=True) as client,
        temporary_settings({PREFECT_API_URL: str(client.api_url)}),
        # Workers may be threads of this process: they do not count for themselves.
        stage(name, total, inside=False) as bar,
    ):
        futures = task.map(unmapped(ref), unmapped(document), ranges, **unchanged)
        for future, range_ in zip(futures, ranges, strict=True):
            future.wait()
            bar.advance(range_.requests)
        results: list[Any] = futures.result()
    return results
