"""Records that no batch job takes: too few for one, or wanted at once. Answered through the runtime API."""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any

import msgspec
from prefect import task

from tasks import aws
from tasks.batch import store
from tasks.batch.document import BatchDocument, BedrockSection, Shard
from tasks.batch.lease import require_lease
from tasks.batch.paths import BatchRef, answers_folder, lost_folder, shard_object
from tasks.bedrock.names import PADDING_PREFIX
from tasks.bedrock.runtime import LostReplyError, Reply, error_reply, invoke
from tasks.errors import PreconditionError, TransientError
from tasks.storage.listing import list_folder
from tasks.storage.reader import UNLIMITED, read_lines
from tasks.storage.sources import Source
from tasks.storage.uris import S3Uri
from tasks.storage.writer import encryption
from tasks.support.progress import advance, stage
from tasks.support.retries import STAGE_OPTIONS
from tasks.support.run_context import run_log
from tasks.support.words import counted

#: Calls in flight at once; the runtime's quotas are per minute, and botocore backs off when they are hit.
CONCURRENCY_VARIABLE = "BEDROCK_BATCH_ON_DEMAND_CONCURRENCY"
_DEFAULT_CONCURRENCY = 8
_LOG_EVERY = 500
#: A call whose reply is lost may have been carried out, and billed. It is sent again so often, in all runs of a batch.
RESENDS = 2


class _Record(msgspec.Struct, rename="camel", gc=False):
    record_id: str
    model_input: msgspec.Raw


_decode = msgspec.json.Decoder(_Record).decode


def answered(ref: BatchRef, shard: Shard) -> set[str]:
    """RecordIds that have an object of their own already."""
    listed = list_folder(answers_folder(ref, shard))
    return {_record_of(entry["Key"]) for entry in listed}


class LostReplies:
    """How often a record's reply was lost: an object each time, so that the next run of the batch knows of it too."""

    def __init__(self, ref: BatchRef, shard: Shard) -> None:
        self._folder = lost_folder(ref).join(f"part-{shard.id}-{shard.round}")
        self._kms_key = ref.kms_key
        self._times = Counter(_record_of(entry["Key"]) for entry in list_folder(self._folder))

    def may_send(self, record_id: str) -> bool:
        return self._times[record_id] <= RESENDS

    def note(self, record_id: str) -> None:
        """Note a lost reply, before anything is sent again. Raises PipelineError."""
        times = self._times[record_id] + 1
        _put(self._folder.join(f"{record_id}.{times}"), b"", self._kms_key)
        self._times[record_id] = times


_SENT_AGAIN = "calls on demand were sent again after a lost reply; each may have been billed twice"


def sent_again(ref: BatchRef) -> str | None:
    """A warning that says how many calls of the batch were sent again; None where none was."""
    keys = (entry["Key"] for entry in list_folder(lost_folder(ref)))
    count = sum(int(key.rpartition(".")[2]) <= RESENDS for key in keys)
    return f"{count:,} {_SENT_AGAIN}" if count else None


def _record_of(key: str) -> str:
    return key.rsplit("/", 1)[-1].partition(".")[0]


def answer_shard(ref: BatchRef, document: BatchDocument, shard: Shard) -> int:
    """Get an answer for every record of a shard that has none yet; returns how many were asked for.

    Each answer is put into S3 as soon as it is there: a run that is killed asks for none of them again.
    It is put there as it came: whether it can be read is found out later, when it cannot be asked and paid for again.
    Records that fail for a transient cause are asked for again, up to BEDROCK_BATCH_MAX_ROUNDS times in all.
    """
    section = document.bedrock
    done = answered(ref, shard)
    lost = LostReplies(ref, shard)
    asked = 0
    attempts = max(1, section.last_round - shard.round + 1)
    for attempt in range(attempts):
        last = attempt == attempts - 1
        todo = (record for record in _records_of(ref, shard) if record.record_id not in done)

        def ask(record: _Record, last: bool = last) -> str | None:
            reply = _ask(ref, shard, record, section, lost)
            if reply.retryable and not last:
                return None
            _store(ref, shard, record.record_id, reply.line)
            return record.record_id

        for record_id in _in_parallel(ask, todo):
            asked += 1
            if record_id:
                done.add(record_id)
                advance()
                if asked % _LOG_EVERY == 0:
                    run_log().info("%s on demand", counted(asked, "answer"))
        if len(done) >= shard.records:
            break
    return asked


def _ask(ref: BatchRef, shard: Shard, record: _Record, section: BedrockSection, lost: LostReplies) -> Reply:
    """One record's reply, sent again where none came, as often as that may be paid for."""
    while lost.may_send(record.record_id):
        require_lease(ref)
        try:
            return invoke(
                record.record_id,
                bytes(record.model_input),
                section.model,
                shard.invocation,
                section.options.service_tier,
            )
        except LostReplyError:
            lost.note(record.record_id)
            aws.back_off(RESENDS)
    message = f"No reply came to {RESENDS + 1} calls, each of which may have been carried out and billed."
    return error_reply(record.record_id, 504, message)._replace(retryable=False)


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
    """Keep a record's answer, unless another runner's came first: that one counts."""
    _put(answers_folder(ref, shard).join(f"{record_id}.jsonl.out"), line, ref.kms_key, IfNoneMatch="*")


def _put(uri: S3Uri, body: bytes, kms_key: str | None, **condition: Any) -> None:
    for attempt in range(aws.READ_ATTEMPTS):
        try:
            with aws.translated(f"storing {uri}"):
                aws.s3().put_object(Bucket=uri.bucket, Key=uri.key, Body=body, **condition, **encryption(kms_key))
            return
        except PreconditionError:
            return
        except TransientError:
            # What is paid for is not given up as soon as a call that costs nothing.
            if attempt == aws.READ_ATTEMPTS - 1:
                raise
        aws.back_off(attempt)


@task(name="answer on demand", task_run_name="answer-on-demand", **STAGE_OPTIONS)
def answer_on_demand(ref: BatchRef) -> int:
    """Answer the shards that no job takes; returns the number of calls made."""
    log = run_log()
    calls = 0
    document = store.read(ref)
    for shard in document.bedrock.shards or []:
        if shard.route != "on_demand" or shard.done or document.status in ("cancelling", "cancelled"):
            continue
        log.info("Answering %s on demand", counted(shard.records, "record"))
        with stage("answering on demand", shard.records, "records"):
            calls += answer_shard(ref, document, shard)
        warning = sent_again(ref)
        if warning:
            log.warning("%s", warning)

        def change(current: BatchDocument, done: str = shard.id, warning: str | None = warning) -> None:
            for other in current.bedrock.shards or []:
                other.done = other.done or other.id == done
            if warning:
                earlier = current.bedrock.warnings
                current.bedrock.warnings = [*(text for text in earlier if not text.endswith(_SENT_AGAIN)), warning]

        store.update(ref, change)
    return calls
