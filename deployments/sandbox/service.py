"""The imitation of Bedrock's two HTTP APIs: the control plane of batch jobs, and the runtime.

Admin calls of its own: GET /_sandbox/journal, POST /_sandbox/faults, POST /_sandbox/reset, GET /_sandbox/jobs.
"""

import json
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import unquote

from werkzeug.wrappers import Request, Response

from deployments.sandbox import models, patterns, rubbish, synthetic
from deployments.sandbox.checks import Refused
from deployments.sandbox.faults import ACCOUNT, Faults, Journal
from deployments.sandbox.jobs import Jobs

#: The exception that AWS names with a status; 402 and 409 stand for two that come as 400.
_ERRORS = {
    400: ("ValidationException", 400),
    402: ("ServiceQuotaExceededException", 400),
    403: ("AccessDeniedException", 403),
    404: ("ResourceNotFoundException", 404),
    408: ("ModelTimeoutException", 408),
    409: ("ConflictException", 400),
    419: ("ExpiredTokenException", 403),
    429: ("ThrottlingException", 429),
    500: ("InternalServerException", 500),
}


class Bedrock:
    """A WSGI application."""

    def __init__(self, jobs: Jobs, faults: Faults, journal: Journal, region: str) -> None:
        self._jobs, self._faults, self._journal, self._region = jobs, faults, journal, region

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        request = Request(environ)
        try:
            response = self._route(request)
        except Refused as error:
            name, status = _ERRORS.get(error.status, ("InternalServerException", 500))
            response = _json({"message": error.message}, status)
            response.headers["x-amzn-errortype"] = name
        if response is None:
            # The reply is lost: the connection ends before a status line.
            raise ConnectionAbortedError("reply lost")
        return response(environ, start_response)

    def _route(self, request: Request) -> Response | None:
        # The raw path: an ARN in it is percent-encoded, and its slashes are not separators.
        path = str(request.environ.get("RAW_URI") or request.environ.get("REQUEST_URI") or request.path).partition("?")[
            0
        ]
        parts = [unquote(part) for part in path.strip("/").split("/")]
        if parts[0] == "_sandbox":
            return self._admin(request, parts[1:])
        match (request.method, parts):
            case ("POST", ["model-invocation-job"]):
                return self._create(request)
            case ("GET", ["model-invocation-job", *identifier]):
                self._call("GetModelInvocationJob")
                if self._faults.take_one("unknown_gets"):
                    raise Refused("Could not find the model invocation job.", 404)
                return _json(self._jobs.get("/".join(identifier)).describe())
            case ("POST", ["model-invocation-job", *identifier, "stop"]):
                self._call("StopModelInvocationJob")
                self._jobs.stop("/".join(identifier))
                return _json({})
            case ("GET", ["model-invocation-jobs"]):
                return self._list(request)
            case ("GET", ["inference-profiles", *identifier]):
                return self._profile("/".join(identifier))
            case ("POST", ["model", *model, "invoke"]):
                return self._invoke(request, "/".join(model), "InvokeModel")
            case ("POST", ["model", *model, "converse"]):
                return self._invoke(request, "/".join(model), "Converse")
        raise Refused(f"The imitation does not know {request.method} {path}.", 404)

    def _call(self, operation: str) -> None:
        self._journal.call(operation)
        if self._faults.happens("drop"):
            raise ConnectionAbortedError("connection reset")
        if self._faults.get("expired_token"):
            raise Refused("The security token included in the request is expired", 419)
        if operation in self._faults.get("denied_operations"):
            raise Refused(f"User is not authorized to perform: bedrock:{operation}", 403)
        if self._faults.happens("throttle"):
            raise Refused("Too many requests, please wait before trying again.", 429)
        if self._faults.happens("server_error"):
            raise Refused("An internal server error occurred.", 500)

    def _create(self, request: Request) -> Response | None:
        self._call("CreateModelInvocationJob")
        body = _body(request)
        problem = patterns.problem(body)
        if problem:
            raise Refused(problem)
        arn = self._jobs.create(body)
        if self._faults.take_one("lose_create_replies"):
            return None
        return _json({"jobArn": arn})

    def _list(self, request: Request) -> Response:
        self._call("ListModelInvocationJobs")
        query = request.args
        found = [
            job.describe()
            for job in self._jobs.all()
            if query.get("statusEquals", job.status) == job.status
            and query.get("nameContains", "") in job.request["jobName"]
        ]
        found.sort(key=lambda job: job["submitTime"], reverse=query.get("sortOrder") != "Ascending")
        start, size = int(query.get("nextToken") or 0), int(query.get("maxResults") or 50)
        reply: dict[str, Any] = {"invocationJobSummaries": found[start : start + size]}
        if start + size < len(found):
            reply["nextToken"] = str(start + size)
        return _json(reply)

    def _profile(self, identifier: str) -> Response:
        self._call("GetInferenceProfile")
        name = identifier.rsplit("/", 1)[-1]
        if name not in models.APPLICATION_PROFILES:
            raise Refused(f"There is no inference profile {identifier}.", 404)
        arn = f"arn:aws:bedrock:{self._region}::foundation-model/{models.APPLICATION_PROFILES[name]}"
        return _json(
            {
                "inferenceProfileName": name,
                "models": [{"modelArn": arn}],
                "inferenceProfileId": name,
                "inferenceProfileArn": f"arn:aws:bedrock:{self._region}:{ACCOUNT}:application-inference-profile/{name}",
                "status": "ACTIVE",
                "type": "APPLICATION",
            }
        )

    def _invoke(self, request: Request, model_id: str, operation: str) -> Response | None:
        self._call(operation)
        time.sleep(self._faults.get("latency_ms") / 1000)
        while self._faults.get("hold"):
            time.sleep(0.05)
        body = _body(request)
        tier = body.pop("serviceTier", {}).get("type") if operation == "Converse" else None
        tier = request.headers.get("X-Amzn-Bedrock-Service-Tier") or tier
        if tier not in (None, "default", "flex", "priority", "reserved"):
            raise Refused(f"Value at 'serviceTier' failed to satisfy constraint: {tier}")
        models.base_model(model_id)
        asked = self._journal.asked(model_id, body)
        errors = self._faults.get("invoke_errors")
        if asked <= errors["times"] and synthetic.fraction(json.dumps(body), "invoke") < errors["rate"]:
            raise Refused(errors["message"], errors["code"])
        answer = models.answer(model_id, body, operation, batch=False)
        self._journal.paid(model_id, body)
        if operation == "Converse":
            answer = _without_nulls(answer)
        if self._faults.take_one("lose_invoke_replies"):
            return None
        if self._faults.take_one("gateway_replies"):
            return Response("<html>\xe9 504 Gateway Time-out</html>".encode("latin-1"), 504, content_type="text/html")
        kind = self._faults.take_next("rubbish_replies")
        if kind is None:
            return _json(answer)
        reply = rubbish.spoiled(kind, answer)
        if kind == "broken off":
            return Response(_breaking(reply), headers={"Content-Length": str(len(reply) + 1)})
        return Response(reply, content_type="application/json")

    def _admin(self, request: Request, parts: list[str]) -> Response:
        if parts == ["journal"]:
            return _json(self._journal.snapshot())
        if parts == ["reset"] and request.method == "POST":
            # What earlier callers left running would take slots, and be counted as paid for once more.
            self._jobs.end_all()
            self._journal.reset()
            return _json(self._faults.reset())
        if parts == ["jobs"]:
            return _json([job.describe() for job in self._jobs.all()])
        if parts == ["faults"] and request.method == "POST":
            try:
                return _json(self._faults.set(_body(request)))
            except ValueError as error:
                raise Refused(str(error)) from None
        raise Refused("unknown admin call", 404)


def _body(request: Request) -> dict[str, Any]:
    try:
        body = json.loads(request.get_data())
    except (UnicodeDecodeError, ValueError):
        raise Refused("Malformed input request: not JSON.") from None
    if not isinstance(body, dict):
        raise Refused("Malformed input request: not a JSON object.")
    return body


def _breaking(body: bytes) -> Iterator[bytes]:
    """A body whose connection ends before it."""
    yield body
    raise ConnectionAbortedError("broken off")


def _json(value: Any, status: int = 200) -> Response:
    return Response(json.dumps(value, ensure_ascii=False), status, content_type="application/json")


def _without_nulls(value: Any) -> Any:
    """On demand, the service leaves out what a batch job echoes as null."""
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value
