"""A local stand-in for AWS: moto's S3 and a strict imitation of Bedrock's batch API and runtime.

The pipeline reaches it over HTTP through boto3's own AWS_ENDPOINT_URL_* settings and does not know that it is there.
Its answers are synthetic.
"""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator

NOTICE = "SANDBOX: no AWS is called and no model runs; every answer is synthetic."


@contextlib.contextmanager
def running(seconds: float = 3.0, s3_port: int = 0, bedrock_port: int = 0) -> Iterator[dict[str, str]]:
    """Run the sandbox in a process of its own, with this process's environment set to it; both end with the block.

    `seconds` is the time that a job takes. Yields the environment that was set.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "deployments.sandbox.server", str(s3_port), str(bedrock_port), str(seconds)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    before = dict(os.environ)
    try:
        line = process.stdout.readline()
        if not line:
            raise RuntimeError("The sandbox did not start; see its message above.")
        settings: dict[str, str] = json.loads(line)
        os.environ.update(settings)
        yield settings
    finally:
        os.environ.clear()
        os.environ.update(before)
        process.stdin.close()
        process.terminate()
        process.wait(10)
