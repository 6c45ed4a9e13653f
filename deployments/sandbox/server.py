"""The sandbox's process: moto's S3 server and the Bedrock imitation, each on a port of 127.0.0.1."""

import json
import logging
import sys
import threading

import boto3
from werkzeug.serving import make_server

from deployments.sandbox.faults import ACCOUNT, Faults, Journal
from deployments.sandbox.faulty_s3 import OWN_KEY, FaultyS3
from deployments.sandbox.jobs import Jobs
from deployments.sandbox.service import Bedrock

REGION = "us-east-1"
BUCKET = "sandbox-batches"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/BedrockBatchRole"


def environment(s3_url: str, bedrock_url: str) -> dict[str, str]:
    """What to set so that boto3, and so the pipeline, talks to the sandbox."""
    return {
        "AWS_ENDPOINT_URL_S3": s3_url,
        "AWS_ENDPOINT_URL_BEDROCK": bedrock_url,
        "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": bedrock_url,
        "AWS_ACCESS_KEY_ID": "sandbox",
        "AWS_SECRET_ACCESS_KEY": "sandbox",
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
        "BEDROCK_BATCH_BUCKET": BUCKET,
        "BEDROCK_BATCH_ROLE_ARN": ROLE,
    }


def start(s3_port: int = 0, bedrock_port: int = 0, seconds: float = 3.0) -> dict[str, str]:
    """Start both servers on threads and return the environment; 0 picks a free port."""
    from moto.moto_server.werkzeug_app import create_backend_app

    from deployments.sandbox.connections import Handler

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    faults, journal = Faults(), Journal()
    # Not by moto's dispatcher, which looks for all of its services on the disk at every request: 1 ms of 1.4.
    front = FaultyS3(create_backend_app("s3"), faults, journal)

    moto = make_server("127.0.0.1", s3_port, front, threaded=True, request_handler=Handler)
    threading.Thread(target=moto.serve_forever, daemon=True).start()
    s3_url = f"http://127.0.0.1:{moto.server_port}"
    s3 = boto3.client(
        "s3",
        endpoint_url=s3_url,
        region_name=REGION,
        aws_access_key_id=OWN_KEY,
        aws_secret_access_key=OWN_KEY,
    )
    s3.create_bucket(Bucket=BUCKET)
    application = Bedrock(Jobs(s3, REGION, faults, journal, seconds), faults, journal, REGION)
    server = make_server("127.0.0.1", bedrock_port, application, threaded=True, request_handler=Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return environment(s3_url, f"http://127.0.0.1:{server.server_port}")


def serve(s3_port: int, bedrock_port: int, seconds: float) -> None:
    """Start, print the environment as one line of JSON, and run until standard input or the process ends."""
    print(json.dumps(start(s3_port, bedrock_port, seconds)), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    serve(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
