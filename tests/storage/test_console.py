"""Links into AWS's console: of the right region and partition, and none where nobody would be there."""

import pytest

from tasks.storage.console import _SECONDS, Console, console, signed
from tasks.storage.uris import S3Uri
from tests.fakes import Cloud

URI = S3Uri("bucket", "pre fix/batch_1/output.jsonl")


def test_links() -> None:
    console = Console("https://s3.eu-west-1.amazonaws.com", "eu-west-1")
    start = "https://eu-west-1.console.aws.amazon.com"
    assert console.object(URI) == (
        f"{start}/s3/object/bucket?region=eu-west-1&prefix=pre%20fix%2Fbatch_1%2Foutput.jsonl"
    )
    assert console.folder(S3Uri("bucket", "a/b")) == f"{start}/s3/buckets/bucket?region=eu-west-1&prefix=a%2Fb%2F"
    assert console.jobs() == f"{start}/bedrock/home?region=eu-west-1#/batch-inference"


def test_other_partitions() -> None:
    china = Console("https://s3.cn-north-1.amazonaws.com.cn", "cn-north-1").jobs()
    assert (china or "").startswith("https://cn-north-1.console.amazonaws.cn/")
    gov = Console("https://s3.us-gov-west-1.amazonaws.com", "us-gov-west-1").jobs()
    assert (gov or "").startswith("https://us-gov-west-1.console.amazonaws-us-gov.com/")


def test_americas_other_regions_are_not_the_governments() -> None:
    for region in ("us-east-1", "us-west-2"):
        jobs = Console(f"https://s3.{region}.amazonaws.com", region).jobs()
        assert (jobs or "").startswith(f"https://{region}.console.aws.amazon.com/")


def test_no_console_of_another_store() -> None:
    for endpoint in ("http://127.0.0.1:9000", "https://minio.example.com", "https://s3.amazonaws.com.evil.example"):
        console = Console(endpoint, "us-east-1")
        assert (console.object(URI), console.folder(URI), console.jobs()) == (None, None, None)


def test_a_link_that_needs_no_console_is_good_for_an_hour() -> None:
    """Whoever has it reads the results: longer would be a door left open."""
    assert _SECONDS == 3600


def test_the_console_is_that_of_the_jobs_region(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[object, ...]] = []
    monkeypatch.setattr("tasks.storage.console.Console", lambda *given: made.append(given))
    console()
    assert made == [(cloud.s3.client.meta.endpoint_url, cloud.bedrock.client.meta.region_name)]
    assert Console("https://s3.eu-west-1.amazonaws.com", None).jobs() is None


def test_a_signed_link_is_to_the_object_for_an_hour(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def sign(operation: str, **given: object) -> str:
        asked.append((operation, given))
        return "https://signed"

    monkeypatch.setattr(cloud.s3.client, "generate_presigned_url", sign)
    assert signed(URI) == "https://signed"
    assert asked == [("get_object", {"Params": {"Bucket": "bucket", "Key": URI.key}, "ExpiresIn": 3600})]
