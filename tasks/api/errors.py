"""What callers of the API did wrong, each with the parameter it is about. Messages name the remedy."""

from tasks.errors import PipelineError


class CallError(PipelineError):
    """A call that cannot be answered as it was made. `param` is the parameter at fault, `code` a word for programs."""

    def __init__(self, message: str, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.param, self.code = param, code


class InvalidCallError(CallError):
    """A parameter is missing or wrong."""


class ForbiddenError(CallError):
    """The caller's key does not allow this."""


class NotFoundError(CallError):
    """There is no such object, or it is another tenant's."""


class ConflictError(CallError):
    """The object is in a state that does not allow this."""


class TooLargeError(CallError):
    """More bytes than the caller may send."""


class TooManyError(CallError):
    """More at once, or more often, than the caller may."""
