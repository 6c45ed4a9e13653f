"""Records that no batch job takes: too few for one, or wanted at once. Answered through the runtime API."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

import msgspec
from botocore.exceptions import BotoCoreError, ClientError
from prefect import get_run_logger, task

from tasks.bedrock import aws
from tasks.bedrock.names import PADDING_PREFIX
from tasks.bedrock.records import RecordError, decode_output_line
from tasks.bedrock.runtime import invoke
from tasks.lease import require_lease
from tasks.paths import answers_folder, shard_object
from tasks.patience import STAGE
from tasks.state import BatchDocument, BatchRef, Shard, read, update
from tasks.storage.listing import list_folder
from tasks.storage.reader import UNLIMITED, Source, read_lines
from tasks.storage.writer import encryption
from tasks.words import counted

#: Calls in flight at once; the runtime's quotas are per minute, and botocore backs off when they are hit.
CONCURRENCY_VARIABLE = "BEDROCK_BATCH_ON_DEMAND_CONCURRENCY"
_DEFAULT_CONCURRENCY = 8
_LOG_EVERY = 500


class _Record(msgspec.Struct, rename="camel", gc=False):
    record_id: str
    model_input: msgspec.Raw


_decode = msgspec.json.Decoder(_Record).decode


def answered(ref: BatchRef, shard: Shard) -> set[str]:
    """RecordIds that have an object of their own already."""
    listed = list_folder(answers_folder(ref, shard))
    return {entry["Key"].rsplit("/", 1)[-1].partition(".")[0] for entry in listed}


def answer_shard(ref: BatchRef, document: BatchDocument, shard: Shard) -> int:
    """Get an answer for every record of a shard that has none yet; returns how many were asked for.

    Each answer is put into S3 as soon as it is there: a run that is killed asks for none of them again.
    Records that fail for a passing cause are asked for again, up to BEDROCK_BATCH_MAX_ROUNDS times in all.
    """
    section = document.bedrock
    done = answered(ref, shard)
    asked = 0
    attempts = max(1, section.last_round - shard.round + 1)
    for attempt in range(attempts):
        last = attempt == attempts - 1
        todo = (record for record in _records_of(ref, shard) if record.record_id not in done)

        def ask(record: _Record, last: bool = last) -> str | None:
            require_lease(ref)
            line = invoke(record.record_id, bytes(record.model_input), section.model, shard.invocation)
            outcome = decode_output_line(line).outcome
            if isinstance(outcome, RecordError) and not last and outcome.passing:
                return None
            _store(ref, shard, record.record_id, line)
            return record.record_id

        for record_id in _in_parallel(ask, todo):
            asked += 1
            if record_id:
                done.add(record_id)
                if asked % _LOG_EVERY == 0:
                    get_run_logger().info("%s on demand", counted(asked, "answer"))
        if len(done) >= shard.records:
            break
    return asked


def _in_parallel(ask: Callable[[_Record], str | None], records: Iterator[_Record]) -> Iterator[str | None]:
    concurrency = int(os.environ.get(CONCURRENCY_VARIABLE) or _DEFAULT_CONCURRENCY)
    with ThreadPoolExecutor(concurrency, thread_name_prefix="on-demand") as pool:
        pending: set[Future[str | None]] = set()
        try:
            for record in records:
                pending.add(pool.submit(ask, record))
                if len(pending) >= 2 * concurrency:
                    finished, pending = wait(pending, return_when=FIRST_COMPLETED)
                    yield from (future.result() for future in finished)
            for future in pending:
                yield future.result()
        except BaseException:
            # What is on its way is let finish, and is stored: it is paid for.
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _records_of(ref: BatchRef, shard: Shard) -> Iterator[_Record]:
    uri = shard_object(ref, shard.id, shard.epoch)
    source = Source(uri.key, str(uri), shard.etag, shard.bytes)
    for block in read_lines(source, limit=UNLIMITED):
        for line in block.lines:
            record = _decode(line)
            if not record.record_id.startswith(PADDING_PREFIX):
                yield record


def _store(ref: BatchRef, shard: Shard, record_id: str, line: bytes) -> None:
    uri = answers_folder(ref, shard).join(f"{record_id}.jsonl.out")
    try:
        aws.s3().put_object(Bucket=uri.bucket, Key=uri.key, Body=line, **encryption(ref.kms_key))
    except (ClientError, BotoCoreError) as error:
        raise aws.explain(error, f"storing {uri}") from error


@task(name="answer on demand", task_run_name="answer-on-demand", **STAGE)
def answer_on_demand(ref: BatchRef) -> int:
    """Answer the shards that no job takes; returns the number of calls made."""
    log = get_run_logger()
    calls = 0
    document = read(ref)
    for shard in document.bedrock.shards or []:
        if shard.route != "on_demand" or shard.done or document.status in ("cancelling", "cancelled"):
            continue
        log.info("Answering %s on demand", counted(shard.records, "record"))
        calls += answer_shard(ref, document, shard)

        def change(current: BatchDocument, done: str = shard.id) -> None:
            for other in current.bedrock.shards or []:
                other.done = other.done or other.id == done

        update(ref, change)
    return calls
