"""Stage 1: read the whole input once; check every line, name its content, and note where each request starts."""

import heapq
import io
import math
import shutil
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Literal

import msgspec
import numpy as np
from blake3 import blake3
from prefect import task
from prefect.artifacts import create_table_artifact

from tasks.fast.match import LineBlock, Templates
from tasks.inputs.duplicates import find_duplicates, hash_of, hashes_of
from tasks.inputs.layout import Layout
from tasks.inputs.mistakes import mistake_of
from tasks.inputs.summary import InputSummary, InvalidLine
from tasks.inputs.survey import Survey
from tasks.openai_format.requests import (
    CHAT,
    Envelope,
    LineError,
    canonical_endpoint,
    check_line,
    custom_id_of,
)
from tasks.settings import fast_enabled
from tasks.storage.reader import Lines, read_lines
from tasks.storage.sources import Source, find_sources
from tasks.support.causes import Cause, Causes, listed
from tasks.support.columns import Hashes, is_utf8
from tasks.support.markdown import one_line, plain
from tasks.support.memory import keep_freed_memory, release_memory
from tasks.support.progress import advance, stage
from tasks.support.retries import STAGE_OPTIONS
from tasks.support.run_context import run_log
from tasks.support.scratch import scratch_folder, scratch_space
from tasks.support.words import counted

#: How many bad lines are kept in memory, in batch.json and in the Prefect UI; all of them go to a file.
SHOWN_ERRORS = 100
_SHOWN_CAUSES = 5
_KEPT_ERRORS = 1000
#: The first lines are all converted to learn how much conversion adds; after them one in so many.
_SAMPLE_ALL, _SAMPLE_EVERY = 500, 128
#: Of a run's requests, so many are held against what the model takes: enough to tell what a file is like.
SURVEY_EVERY = 128


#: Tells how many records, and of how many bytes, a line of an endpoint becomes.
Sampler = Callable[[bytes, str], tuple[int, int]]


class _Length:
    """Counts decompressed bytes for the reader, and hashes them."""

    def __init__(self, digest: blake3) -> None:
        self.digest = digest
        self.length = 0

    def update(self, data: bytes, /) -> None:
        self.digest.update(data)
        self.length += len(data)


class Validator:
    """Checks an input line by line. Memory: 20 bytes a request while it runs, and 6 a line."""

    def __init__(
        self,
        endpoint: str | None,
        served: frozenset[str],
        sample: Sampler | None = None,
        surveys: Sequence[Survey] = (),
        every: int = 1,
    ) -> None:
        self.endpoint = endpoint
        self._surveys, self._every = surveys, every
        self.served = served
        self.model: str | None = None
        self.offsets: array[int] = array("Q")
        self.lines: array[int] = array("I")
        self.hashes: array[int] = array("Q")
        #: The last bad ones; those before are in the spool.
        self.invalid: list[InvalidLine] = []
        self._spool: BinaryIO = io.BytesIO()
        self._sample = sample
        # Requests, their bytes, records, and theirs: of the lines that were sampled, and of those that fit a template.
        self._sampled = [0, 0, 0, 0]
        self._exact = [0, 0, 0, 0]
        self._layout = Layout([], [])
        self._fast = fast_enabled()
        self._templates = Templates(self._accept_template)
        # Records and their bytes of the templates' own lines.
        self._template_samples: list[tuple[int, int]] = []
        self._seen_bytes = 0
        self._unhashed: list[tuple[int, bytes]] = []

    def run(self, sources: list[Source], work: Path) -> InputSummary:
        digest = blake3()
        starts, lengths = [0], []
        spool = work / "spool"
        with spool.open("wb") as self._spool:
            for number_of_source, source in enumerate(sources):
                length = _Length(digest)
                number = 0
                for block in read_lines(source, digest=length):
                    number = self._check_block(block, number, source.name, number_of_source)
                    advance(len(block.data))
                    self._spill()
                starts.append(len(self.offsets))
                lengths.append(length.length)
                digest.update(b"\n")
        hashes, self.hashes = np.frombuffer(self.hashes, dtype=np.uint64), array("Q")
        duplicates = find_duplicates(sources, starts, hashes, self.offsets, self.lines)
        codes, first, causes = _list_invalid(spool, duplicates, work / "invalid-lines")
        invalid = codes.total()
        self._layout.templates = self._templates.known
        records, record_bytes = self._estimate(len(self.offsets) - invalid)
        return InputSummary(
            sources=sources,
            digest=digest.hexdigest(),
            endpoint=self.endpoint,
            requests=len(self.offsets),
            invalid=invalid,
            codes=dict(codes),
            first_invalid=first,
            causes=causes,
            invalid_file=work / "invalid-lines" if invalid else None,
            work=work,
            offsets=self.offsets,
            lines=self.lines,
            layout=self._layout,
            source_starts=starts,
            source_bytes=lengths,
            records=records,
            record_bytes=record_bytes,
        )

    def _estimate(self, valid: int) -> tuple[int, int]:
        """How many records, and of how many bytes, the valid requests will become."""
        counted, seen, exact_records, exact_bytes = self._exact
        requests, sampled, records, converted = self._sampled
        others, other_bytes = max(valid - counted, 0), self._seen_bytes - seen
        return (
            exact_records + (math.ceil(others * records / requests) if requests else others),
            exact_bytes + (int(other_bytes * converted / sampled) if sampled else other_bytes),
        )

    def _check_block(self, block: Lines, number: int, file: str, source: int) -> int:
        """Check the lines of one block; returns the number of the last line."""
        self._file = file
        number = self._check(block, number, file, source)
        if self._unhashed:
            requests, custom_ids = zip(*self._unhashed, strict=True)
            ends = np.cumsum([len(custom_id) for custom_id in custom_ids])
            hashes = hashes_of(b"".join(custom_ids), np.append(0, ends[:-1]), ends).tolist()
            for request, hashed in zip(requests, hashes, strict=True):
                self.hashes[request] = hashed
            self._unhashed = []
        return number

    def _check(self, block: Lines, number: int, file: str, source: int) -> int:
        fast = self._fast and self.endpoint in (None, CHAT)
        uniform = self._templates.find(block.data) if fast else None
        self._layout.add(source, block.offset, block.data, uniform)
        if uniform is None:
            return self._check_lines(block.offset, block.lines, number, file)
        hashes = hashes_of(block.data, *uniform.custom_ids(self._templates.known))
        if self._sample is not None:
            self._measure_block(uniform)
        for first, last in uniform.runs():
            self._take(block.offset, uniform, first, last, number, hashes)
            self._survey_run(block.data, uniform, first, last, number)
            if last < len(uniform.shapes):
                start, end = int(uniform.starts[last]), int(uniform.ends[last])
                self._check_lines(block.offset + start, [block.data[start:end]], number + last, file)
        return number + len(uniform.shapes)

    def _accept_template(self, line: bytes) -> bool:
        """Whether a line is a valid one of the batch; all that differ from it in their texts only are, too.

        The first valid line says what endpoint and model the batch is for, whether a template comes of it or not.
        """
        try:
            envelope = check_line(line, self.endpoint, self.served, self.model)
        except LineError:
            return False
        self._settle(envelope)
        return envelope.url == CHAT

    def _settle(self, envelope: Envelope) -> None:
        if self.endpoint is None:
            self.endpoint = envelope.url
        if self.model is None:
            self.model = envelope.model

    def _take(self, offset: int, uniform: LineBlock, first: int, last: int, number: int, hashes: Hashes) -> None:
        """Take a run of lines that fit a template, all at once."""
        if first >= last:
            return
        starts, ends = uniform.starts[first:last], uniform.ends[first:last]
        self.offsets.frombytes((starts + offset).astype(np.uint64).tobytes())
        self.lines.frombytes(np.arange(number + first + 1, number + last + 1, dtype=np.uint32).tobytes())
        self.hashes.frombytes(hashes[first:last].tobytes())
        self._seen_bytes += int((ends - starts).sum())

    def _survey_run(self, data: bytes, uniform: LineBlock, first: int, last: int, number: int) -> None:
        """Show some of a run of lines that were just taken to the surveys."""
        if not self._surveys or first >= last:
            return
        request = len(self.offsets) - (last - first)
        for row in range(first, last):
            if self._is_surveyed(request + row - first):
                line = data[uniform.starts[row] : uniform.ends[row]]
                self._survey(line, CHAT, number + row + 1, request + row - first)

    def _is_surveyed(self, request: int) -> bool:
        return request < _SAMPLE_ALL or request % self._every == 0

    def _survey(self, line: bytes, endpoint: str, number: int, request: int) -> None:
        weight = 1 if request < _SAMPLE_ALL else self._every
        for survey in self._surveys:
            survey.add(line, endpoint, number, self._file, weight)

    def _measure_block(self, uniform: LineBlock) -> None:
        """Count the records of lines that fit a template: they differ from the template's own by their text alone."""
        assert self._sample is not None
        known = self._templates.known
        self._template_samples += [self._sample(each.line, CHAT) for each in known[len(self._template_samples) :]]
        for number, (template, (records, size)) in enumerate(zip(known, self._template_samples, strict=True), 1):
            rows = np.flatnonzero(uniform.shapes == number)
            slots = uniform.slots(rows, template)
            count, text = len(rows), sum(int((slots[slot][1] - slots[slot][0]).sum()) for slot in template.text_slots)
            exact = (
                count,
                int((uniform.ends[rows] - uniform.starts[rows]).sum()),
                count * records,
                count * (size - records * template.text_size) + records * text,
            )
            for place, value in enumerate(exact):
                self._exact[place] += value

    def _check_lines(self, offset: int, lines: list[bytes], number: int, file: str) -> int:
        """Check lines one by one; returns the number of the last."""
        readable = is_utf8(b"\n".join(lines))
        for line in lines:
            number += 1
            start, offset = offset, offset + len(line) + 1
            if not line or line.isspace():
                continue
            request = len(self.offsets)
            self.offsets.append(start)
            self.lines.append(number)
            try:
                if not readable:
                    _require_utf8(line)
                envelope = check_line(line, self.endpoint, self.served, self.model)
            except LineError as error:
                self.hashes.append(0)
                custom_id = error.custom_id or custom_id_of(line)
                self.invalid.append(
                    InvalidLine(request, number, file, error.code, error.message, error.param, custom_id)
                )
                if len(self.invalid) >= _KEPT_ERRORS:
                    self._spill()
                continue
            self._accept(envelope, line, request)
            if self._surveys and self._is_surveyed(request):
                self._survey(line, envelope.url, number, request)
        return number

    def _accept(self, envelope: Envelope, line: bytes, request: int) -> None:
        self._settle(envelope)
        custom_id = envelope.custom_id.encode()
        hashed = hash_of(custom_id)
        if hashed is None:
            # All of them together, at the end of the block.
            self._unhashed.append((request, custom_id))
        # 0 stands for a bad line, which is nobody's duplicate.
        self.hashes.append(hashed or 0)
        self._seen_bytes += len(line)
        if self._sample is not None and (request < _SAMPLE_ALL or request % _SAMPLE_EVERY == 0):
            self._measure(line, envelope.url)

    def _measure(self, line: bytes, endpoint: str) -> None:
        assert self._sample is not None
        records, size = self._sample(line, endpoint)
        for place, value in enumerate((1, len(line), records, size)):
            self._sampled[place] += value

    def _spill(self) -> None:
        for bad in self.invalid:
            self._spool.write(msgspec.json.encode(bad) + b"\n")
        self.invalid = []


def _require_utf8(line: bytes) -> None:
    try:
        line.decode()
    except UnicodeDecodeError as error:
        raise LineError(
            "invalid_json_line", f"This line is not valid UTF-8 (byte {error.start + 1}); save the file as UTF-8."
        ) from None


def _list_invalid(
    spool: Path, duplicates: Iterator[InvalidLine], target: Path
) -> tuple[Counter[str], list[InvalidLine], list[Cause]]:
    """Write the bad lines of both kinds in the order of the input.

    Returns how many there are of each code, the first ones, and what is wrong with them, equal mistakes told once.
    """
    codes: Counter[str] = Counter()
    causes = Causes()
    first: list[InvalidLine] = []
    with spool.open("rb") as lines, target.open("wb") as out:
        spooled = (msgspec.json.decode(line, type=InvalidLine) for line in lines)
        for bad in heapq.merge(spooled, duplicates, key=lambda bad: bad.request):
            out.write(msgspec.json.encode(bad) + b"\n")
            codes[bad.code] += 1
            causes.add(bad.code, bad.message, bad.param, bad.line, bad.file)
            if len(first) < _KEPT_ERRORS:
                first.append(bad)
    return codes, first, causes.ranked()


def validate_input(
    input_file: str,
    endpoint: str | None,
    served: frozenset[str],
    work: Path,
    sample: Sampler | None = None,
    surveys: Sequence[Survey] = (),
    every: int = SURVEY_EVERY,
) -> InputSummary:
    """Check every line of the input.

    `served` are the endpoints of the chosen model's family; `work` is a folder for the list of bad lines; `sample`
    tells what a line's records will be. `surveys` are shown the first valid requests, and after them one in `every`.
    Raises InputFileError when the input cannot be read.
    """
    for survey in surveys:
        # A stage that is repeated counts anew.
        survey.clear()
    keep_freed_memory()
    wanted = canonical_endpoint(endpoint) if endpoint else None
    sources = find_sources(input_file)
    # How much a compressed file holds is known at its end.
    size = None if any(source.compression for source in sources) else sum(source.bytes for source in sources)
    with scratch_space(), stage("checking", size, "bytes"):
        summary = Validator(wanted, served, sample, surveys, every).run(sources, work)
    if not summary.requests:
        summary.codes = {"empty_file": 1}
    if summary.invalid:
        first = summary.first_invalid[0].request
        # A file that starts with a good line is mostly one of requests, unless its bytes are no text.
        few = summary.invalid * 2 <= summary.requests and first not in summary.source_starts
        # Files of several folders may share a name.
        summary.mistake = mistake_of(sources[summary.source_of(first)], few=few)
    return summary


def read_input(
    input_file: str,
    endpoint: str | None,
    served: frozenset[str],
    sample: Sampler | None = None,
    surveys: Sequence[Survey] = (),
    every: int = SURVEY_EVERY,
) -> InputSummary:
    """`validate`, also outside of a run: nothing is logged, and no artifact made. Its caller removes `work`."""
    work = scratch_folder()
    try:
        summary = validate_input(input_file, endpoint, served, work, sample, surveys, every)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
    release_memory()
    return summary


@task(name="validate", task_run_name="validate", **STAGE_OPTIONS)
def validate(
    input_file: str,
    endpoint: str | None,
    served: frozenset[str],
    sample: Sampler | None,
    on_invalid: Literal["fail", "skip"],
    surveys: Sequence[Survey] = (),
    every: int = SURVEY_EVERY,
) -> InputSummary:
    """Read the whole input and report every bad line, before anything is uploaded."""
    summary = read_input(input_file, endpoint, served, sample, surveys, every)
    _report(summary, on_invalid)
    return summary


def _report(summary: InputSummary, on_invalid: Literal["fail", "skip"]) -> None:
    """Say in the run's log, and in an artifact, what is wrong with an input."""
    log = run_log()
    files = counted(len(summary.sources), "file") if len(summary.sources) > 1 else summary.sources[0].name
    bad_lines = counted(summary.invalid, "bad line")
    log.info("Checked %s: %s, %s", files, counted(summary.requests, "request"), bad_lines)
    if summary.mistake:
        log.warning("%s", summary.mistake)
    for sentence in listed(summary.causes, _SHOWN_CAUSES):
        log.warning("%s", one_line(sentence))
    if summary.invalid:
        rows = [
            # The UI renders the cells of a table as markdown, too.
            {
                "file": plain(bad.file),
                "line": bad.line,
                "code": plain(bad.code),
                "param": plain(bad.param or ""),
                "message": plain(bad.message),
            }
            for bad in summary.first_invalid[:SHOWN_ERRORS]
        ]
        outcome = "the batch fails" if on_invalid == "fail" else "for the error file"
        create_table_artifact(
            key="invalid-lines",
            table=rows,
            description=f"{bad_lines} ({outcome}). {'; '.join(map(plain, listed(summary.causes, _SHOWN_CAUSES)))}."
            + (f" The first {len(rows)} are shown." if len(rows) > 1 else ""),
        )
