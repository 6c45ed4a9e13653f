"""`python -m deployments.sandbox`: run the sandbox until Ctrl-C, and print what to set to use it."""

import argparse
import time

from deployments.sandbox import NOTICE
from deployments.sandbox.server import start


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m deployments.sandbox", description=__doc__)
    parser.add_argument("--s3-port", type=int, default=0, help="port of S3; 0 picks a free one")
    parser.add_argument("--bedrock-port", type=int, default=0, help="port of Bedrock; 0 picks a free one")
    parser.add_argument("--job-seconds", type=float, default=3.0, help="seconds that a job takes (default 3)")
    arguments = parser.parse_args()
    settings = start(arguments.s3_port, arguments.bedrock_port, arguments.job_seconds)
    print(f"# {NOTICE}")
    for name, value in settings.items():
        print(f"export {name}={value}")
    print("# Ctrl-C ends it; everything in it is gone then.", flush=True)
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
