"""Who drives the orders: this server's own runner process, or runs of a deployment on a Prefect server."""

import contextlib
import logging
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

from deployments.processes import end
from tasks.api.documents import list_names
from tasks.api.tenants import Tenants
from tasks.errors import PipelineError

log = logging.getLogger("bedrock_batch.api")

_START_SECONDS, _STOP_SECONDS, _RESTART_SECONDS = 180.0, 20.0, 5.0
#: Seconds between the looks whether there are open orders.
_LOOK_SECONDS = 30.0
#: The deployment that drives orders (`prefect.yaml`).
DEPLOYMENT = "run-orders/api"


class OwnRunner:
    """A Prefect server and a runner, processes of their own that end with this one; started again where they die.

    The HTTP server answers meanwhile: orders wait in S3.
    """

    def __init__(self) -> None:
        self._home = tempfile.mkdtemp(prefix="bedrock-batch-api-")
        self._over = threading.Event()
        self._prefect: subprocess.Popen[bytes] | None = None
        self._runner: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._keep, name="runner", daemon=True)
        self._thread.start()

    def tell(self, order_id: str) -> None:
        """Wake the runner up."""
        runner = self._runner
        if runner is not None and runner.stdin is not None:
            with contextlib.suppress(OSError, ValueError):
                runner.stdin.write(b"\n")
                runner.stdin.flush()

    def trouble(self) -> str | None:
        """Why it does not run."""
        runner = self._runner
        return None if runner is not None and runner.poll() is None else "The runner is starting."

    def _keep(self) -> None:
        while not self._over.is_set():
            try:
                self._run()
            except (OSError, TimeoutError) as error:
                log.warning("The runner did not start (%s)", type(error).__name__)
            self._over.wait(_RESTART_SECONDS)

    def _run(self) -> None:
        """Start what does not run, and wait for the end of either."""
        if self._prefect is None or self._prefect.poll() is not None:
            self._url, self._prefect = self._start_prefect()
        self._wait_for_prefect()
        if self._over.is_set():
            return
        environment = {**os.environ, "PREFECT_API_URL": self._url, "PREFECT_HOME": self._home}
        environment.setdefault("PREFECT_LOGGING_LEVEL", "WARNING")
        self._runner = subprocess.Popen(
            [sys.executable, "-m", "flows.api"], env=environment, stdin=subprocess.PIPE, start_new_session=True
        )
        while not self._over.is_set() and self._runner.poll() is None and self._prefect.poll() is None:
            self._over.wait(1.0)
        if not self._over.is_set():
            log.warning("The runner, or its Prefect server, ended: it is started again")
            end(self._runner, _STOP_SECONDS)

    def _start_prefect(self) -> "tuple[str, subprocess.Popen[bytes]]":
        with socket.socket() as listening:
            listening.bind(("127.0.0.1", 0))
            listening.listen(128)
            port = listening.getsockname()[1]
            process = subprocess.Popen(
                [sys.executable, "-m", "deployments.prefect_server", str(listening.fileno())],
                pass_fds=[listening.fileno()],
                env={**os.environ, "PREFECT_HOME": self._home, "PREFECT_SERVER_ANALYTICS_ENABLED": "false"},
                stdin=subprocess.PIPE,
                start_new_session=True,
            )
        return f"http://127.0.0.1:{port}/api", process

    def _wait_for_prefect(self) -> None:
        end = time.monotonic() + _START_SECONDS
        while time.monotonic() < end and not self._over.is_set():
            assert self._prefect is not None
            if self._prefect.poll() is not None:
                raise OSError("the Prefect server ended")
            try:
                urllib.request.urlopen(f"{self._url}/health", timeout=5).close()  # noqa: S310 (our own, on loopback)
                return
            except (urllib.error.URLError, OSError):
                self._over.wait(0.3)
        if not self._over.is_set():
            raise TimeoutError

    def close(self) -> None:
        """End both. What is cut off, the next runner carries on."""
        self._over.set()
        for process in (self._runner, self._prefect):
            if process is not None:
                end(process, _STOP_SECONDS)
        self._thread.join(_STOP_SECONDS)
        shutil.rmtree(self._home, ignore_errors=True)


class PrefectRuns:
    """Asks a Prefect server for a run for each order, and while some are open, for one a minute that looks at all.

    Where Prefect is away, orders wait in S3 until it is back.
    """

    def __init__(self, tenants: Tenants) -> None:
        self._tenants = tenants
        self._pool = ThreadPoolExecutor(4, thread_name_prefix="prefect")
        self._away: str | None = None
        self._over = threading.Event()
        threading.Thread(target=self._keep, name="prefect-runs", daemon=True).start()

    def tell(self, order_id: str) -> None:
        """Ask for a run, without waiting for it."""
        # Equal calls, and replicas, ask for the same.
        self._pool.submit(self._ask, {"order_id": order_id}, f"{order_id}-{int(time.time()) // 5}")

    def _keep(self) -> None:
        while not self._over.wait(_LOOK_SECONDS):
            with contextlib.suppress(PipelineError, RuntimeError):
                if any(list_names(tenant.home.join("open"), limit=1)[0] for tenant in self._tenants.all):
                    minute = int(time.time()) // 60
                    self._pool.submit(self._ask, {}, f"{self._tenants.all[0].home}-{minute}")

    def _ask(self, parameters: dict[str, str], key: str) -> None:
        from prefect import get_client

        try:
            with get_client(sync_client=True) as client:
                deployment = client.read_deployment_by_name(DEPLOYMENT)
                client.create_flow_run_from_deployment(deployment.id, parameters=parameters, idempotency_key=key)
            self._away = None
        except Exception as error:
            self._away = f"Prefect does not answer ({type(error).__name__})."
            log.warning(
                "No run of %s was started (%s): orders wait in S3, and it is asked for again",
                DEPLOYMENT,
                type(error).__name__,
            )

    def trouble(self) -> str | None:
        """Why the last run was not started."""
        return self._away

    def close(self) -> None:
        """Ask for nothing more."""
        self._over.set()
        self._pool.shutdown(wait=False, cancel_futures=True)
