"""`python -m deployments.prefect_server FD`: a Prefect server on its parent's socket, until the parent ends.

`prefect server start` binds its port after ten seconds of imports, and outlives whoever started it. Here the port is
ours or not before anything starts, and standard input ends with the parent, whatever ends that.
"""

import os
import signal
import socket
import sys
import threading
import time

#: Seconds that open connections may hold up the end.
_GRACE_SECONDS = 5


def _end_with_parent() -> None:
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(2 * _GRACE_SECONDS)
    os._exit(1)


def main() -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    import uvicorn
    from prefect.server.api.server import create_app

    config = uvicorn.Config(
        create_app(final=True), log_level="warning", timeout_keep_alive=5, timeout_graceful_shutdown=_GRACE_SECONDS
    )
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=int(sys.argv[1]))])


if __name__ == "__main__":
    main()
