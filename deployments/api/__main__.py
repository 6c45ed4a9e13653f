"""`python -m deployments.api`: serve OpenAI's Files, Uploads and Batches APIs on Amazon Bedrock."""

import argparse
import contextlib
import ipaddress
import logging
import os
import signal
import sys
import threading
from collections.abc import Sequence

from tasks.errors import ConfigurationError, PipelineError

#: Seconds that requests under way have, once the server is asked to end.
_GRACE_SECONDS = 30


def _is_loopback(host: str) -> bool:
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m deployments.api", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="where to listen (default 127.0.0.1)")
    parser.add_argument("--port", type=int, default=8000, help="default 8000")
    parser.add_argument("--sandbox", action="store_true", help="run in the local sandbox: no AWS, synthetic answers")
    parser.add_argument(
        "--no-key", action="store_true", help="take calls without a key; on a loopback address only, for trials"
    )
    parser.add_argument("--with-parent", action="store_true", help="end when standard input does")
    return parser


def _end_with_parent() -> None:
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until a signal; returns the exit status."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    for name in ("httpx", "botocore", "urllib3", "prefect"):
        logging.getLogger(name).setLevel(logging.WARNING)
    try:
        if options.no_key and not _is_loopback(options.host):
            raise ConfigurationError("--no-key is for loopback addresses only: set BEDROCK_BATCH_API_KEY.")
        if not options.sandbox:
            return _serve(options)
        from deployments.sandbox import NOTICE, running

        print(NOTICE, file=sys.stderr)
        with running():
            return _serve(options)
    except PipelineError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _serve(options: argparse.Namespace) -> int:
    import uvicorn
    from prefect.settings import PREFECT_API_URL

    from deployments.api.app import create_app
    from deployments.api.dispatch import OwnRunner, PrefectRuns
    from tasks.api.tenants import load_tenants

    tenants = load_tenants(keyless=options.no_key)
    dispatcher = PrefectRuns(tenants) if PREFECT_API_URL.value() else OwnRunner()
    config = uvicorn.Config(
        create_app(tenants, dispatcher),
        host=options.host,
        port=options.port,
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=True,
        # Addresses of callers come from the connection, unless uvicorn is told of a proxy (FORWARDED_ALLOW_IPS).
        proxy_headers=bool(os.environ.get("FORWARDED_ALLOW_IPS")),
        timeout_keep_alive=75,
        timeout_graceful_shutdown=_GRACE_SECONDS,
        h11_max_incomplete_event_size=64 << 10,
    )
    # uvicorn gives the signal that ended it back to whoever had it before.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if options.with_parent:
        threading.Thread(target=_end_with_parent, daemon=True).start()
    print(f"Base URL http://{options.host}:{options.port}/v1", file=sys.stderr, flush=True)
    try:
        uvicorn.Server(config).run()
    except KeyboardInterrupt:
        pass
    finally:
        dispatcher.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
