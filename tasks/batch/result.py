"""A batch as Python gets it: OpenAI's object, and its results as a table, in a notebook as well."""

import html
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.errors import PipelineError
from tasks.openai_format.batch import Batch
from tasks.openai_format.prompts import prompt_of
from tasks.storage.objects import local_copy
from tasks.storage.reader import UNLIMITED, read_lines
from tasks.storage.sources import find_sources
from tasks.storage.uris import parse_input_uri
from tasks.support.words import counted, dollars, duration

if TYPE_CHECKING:
    import pandas as pd

#: What tells which request of the input a row is of.
_PLACE: Final = ("custom_id", "line", "file")


class BatchResult(Batch):
    """OpenAI's Batch object, with its results as a table."""

    def to_arrow(self, columns: list[str] | None = None, *, prompts: bool = False) -> pa.Table:
        """The result table: a row for each answer, errors included.

        Args:
            columns: Only these.
            prompts: Put the text of each request beside it, as a column `prompt`, read from the input file once more.

        Raises:
            PipelineError: The batch has no results yet; or the input is gone, or is another one by now.
        """
        if self.parquet_file is None:
            raise PipelineError(f"Batch {self.id} is {self.status}: it has no table of results.")
        wanted = None if columns is None else [*columns, *(set(_PLACE) - set(columns) if prompts else ())]
        with local_copy(parse_input_uri(self.parquet_file)) as file:
            table = pq.read_table(file, columns=wanted)
        if prompts:
            texts = pa.array(self._prompts(table), pa.string())
            table = table.append_column("prompt", texts)
        return table.select([*columns, *(["prompt"] if prompts else [])]) if columns is not None else table

    def to_pandas(self, columns: list[str] | None = None, *, prompts: bool = False) -> "pd.DataFrame":
        """`to_arrow` as a DataFrame."""
        return self.to_arrow(columns, prompts=prompts).to_pandas()

    def _prompts(self, table: pa.Table) -> list[str | None]:
        """The text of each row's request."""
        rows = list(zip(*(table[name].to_pylist() for name in _PLACE), strict=True))
        wanted = {(file, line) for _, line, file in rows}
        found: dict[tuple[str, int], tuple[str | None, str]] = {}
        for source in find_sources(self.input_file_id):
            number = 0
            for block in read_lines(source, limit=UNLIMITED):
                for request in block.lines:
                    number += 1
                    if (source.name, number) in wanted:
                        found[source.name, number] = prompt_of(request)
        prompts: list[str | None] = []
        for custom_id, line, file in rows:
            known, text = found.get((file, line), (None, ""))
            if known != custom_id and custom_id is not None:
                raise PipelineError(
                    f"{self.input_file_id} is not the input of batch {self.id} any more: line {line} of {file} is of "
                    "another request."
                )
            prompts.append(text)
        return prompts

    @property
    def seconds(self) -> int | None:
        """From its creation to its end; None while it is not over."""
        end = self.completed_at or self.failed_at or self.expired_at or self.cancelled_at
        return end - self.created_at if end else None

    def rows(self) -> list[tuple[str, str]]:
        """What a person wants to know of it, as names and values."""
        counts, usage = self.request_counts, self.usage
        found = [
            ("status", self.status),
            ("model", self.model or ""),
            ("requests", f"{counts.total:,}: {counts.completed:,} answered, {counts.failed:,} failed"),
        ]
        if usage is not None:
            cached = usage.input_tokens_details.cached_tokens
            more = f" ({cached:,} cached)" if cached else ""
            found.append(("tokens", f"{usage.input_tokens:,} in{more}, {usage.output_tokens:,} out"))
        if self.cost_usd is not None:
            found.append(("cost", dollars(self.cost_usd)))
        if self.seconds is not None:
            found.append(("took", duration(self.seconds)))
        files = {"output": self.output_file, "errors": self.error_file, "parquet": self.parquet_file}
        found += [(name, uri) for name, uri in files.items() if uri]
        if self.errors is not None and self.errors.data:
            first = self.errors.data[0]
            more = f" (and {counted(len(self.errors.data) - 1, 'more error')})" if len(self.errors.data) > 1 else ""
            found.append(("first error", f"{first.code}: {first.message}{more}"))
        return found

    def __repr__(self) -> str:
        width = max(len(name) for name, _ in self.rows())
        return "\n".join([f"Batch {self.id}", *(f"  {name:<{width}}  {value}" for name, value in self.rows())])

    def _repr_html_(self) -> str:
        cells = "".join(
            f"<tr><th style='text-align:left'>{name}</th><td style='text-align:left'>{html.escape(value)}</td></tr>"
            for name, value in self.rows()
        )
        return f"<table><caption style='text-align:left'>Batch <code>{self.id}</code></caption>{cells}</table>"

    def __str__(self) -> str:
        return repr(self)


def result_of(batch: Batch) -> BatchResult:
    """A batch as Python gets it."""
    fields: dict[str, Any] = batch.model_dump(exclude={"bedrock"})
    return BatchResult.model_validate(fields)
