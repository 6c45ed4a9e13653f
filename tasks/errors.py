"""The exceptions of the pipeline, in one place.

PipelineError                 every error the pipeline raises on purpose
├── InputFileError            the input cannot be found or read
├── ConfigurationError        a setting, a permission or a credential is missing or wrong
│   └── AccessDeniedError     AWS denied access: a permission is missing
├── TransientError            AWS is throttling, down or out of reach, after many tries; later may do
├── BatchFailedError          the batch ended as `failed`; `.batch` is the result
├── BatchNotFoundError        no batch of that id under the prefix
├── MissingObjectError        there is no such object in S3
├── PreconditionError         an object in S3 is another one than a conditional call took it for
├── StateConflictError        another runner changed batch.json meanwhile
├── LostLeaseError            another runner took the batch over from this one
├── ComparisonFailedError     no model of a comparison has results (`tasks.comparison.result`)
├── CallError                 what a caller of the API did wrong (`tasks.api.errors`)
└── AccountingError           promise 1 does not hold: a request is lost or there twice

Messages name the cause and the remedy, never a prompt or a credential.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tasks.openai_format.batch import Batch


class PortableError(Exception):
    """An error that goes from one process to another whole, whatever its constructor takes.

    Pickle would call the class with the message alone, and an error that fails at that is an error of a worker pool.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuilt, (type(self), self.args, self.__dict__)


def _rebuilt(kind: type[PortableError], arguments: tuple[Any, ...], fields: dict[str, Any]) -> PortableError:
    error = kind.__new__(kind, *arguments)
    error.args = arguments
    error.__dict__.update(fields)
    return error


class PipelineError(PortableError):
    """An error whose message is meant for the user."""


class InputFileError(PipelineError):
    """The input file cannot be found, opened or read."""


class ConfigurationError(PipelineError):
    """A setting, permission, credential or resource in AWS is missing or wrong."""


class AccessDeniedError(ConfigurationError):
    """AWS denied access: the caller lacks a permission."""


class TransientError(PipelineError):
    """AWS is throttling, down or out of reach, after many tries. Nothing is lost: the same call carries on."""


class BatchNotFoundError(PipelineError):
    """There is no such batch under the configured bucket and prefix."""


class MissingObjectError(PipelineError):
    """There is no such object in S3."""


class PreconditionError(PipelineError):
    """An object in S3 is another one than a conditional read or write took it for: it was changed meanwhile."""


class StateConflictError(PipelineError):
    """batch.json was changed by someone else between our read and our write."""


class LostLeaseError(PipelineError):
    """Another runner took the batch over, because this one was not heard of for too long."""


class AccountingError(PipelineError):
    """Some request is in neither result file, or in more than one place."""


class BatchFailedError(PipelineError):
    """The batch ended with status `failed`.

    `batch` is the same object that `batch_inference` returns otherwise, with `errors.data[]` filled.
    """

    def __init__(self, message: str, batch: Batch) -> None:
        super().__init__(message)
        self.batch = batch
