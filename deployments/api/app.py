"""The ASGI application."""

import contextlib
from collections.abc import AsyncIterator

from anyio import to_thread
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Router
from starlette.types import ASGIApp

from deployments.api.gate import Gate
from deployments.api.routes import routes
from deployments.api.server import Dispatcher, Server
from deployments.api.wire import answer_of
from tasks.api.tenants import Tenants

#: Requests that wait for S3 at once.
_THREADS = 100


async def _not_routed(request: Request, error: Exception) -> Response:
    return answer_of(error)


@contextlib.asynccontextmanager
async def _lifespan(app: Starlette) -> AsyncIterator[None]:
    to_thread.current_default_thread_limiter().total_tokens = _THREADS
    yield


def create_app(tenants: Tenants, dispatcher: Dispatcher) -> ASGIApp:
    """The application, for some tenants."""
    server = Server(tenants, dispatcher)
    app = Starlette(routes=list(routes()), exception_handlers={HTTPException: _not_routed}, lifespan=_lifespan)
    # A redirect to the path with or without its last slash would take keys along.
    router: Router = app.router
    router.redirect_slashes = False
    app.state.server = server
    return Gate(app, tenants, server.metrics)
