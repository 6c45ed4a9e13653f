"""Links into AWS's console, where the pipeline speaks with AWS itself: those of another store would lead nowhere."""

import re
from typing import Final
from urllib.parse import quote

from tasks import aws
from tasks.storage.uris import S3Uri

#: The console of each partition, by the end of its services' host names.
_CONSOLES: Final = {
    ".amazonaws.com": "console.aws.amazon.com",
    ".amazonaws.com.cn": "console.amazonaws.cn",
}
_SECONDS: Final = 3600


class Console:
    """Makes links for one region; None where there is no console to lead to."""

    def __init__(self, s3_endpoint: str, region: str | None) -> None:
        host = re.sub(r"^https?://|[:/].*$", "", s3_endpoint.removeprefix("https://").removeprefix("http://"))
        known = next((console for end, console in _CONSOLES.items() if host.endswith(end)), None)
        if known is not None and (region or "").startswith("us-gov-"):
            known = "console.amazonaws-us-gov.com"
        self._region = region
        self._place = f"https://{region}.{known}" if known and region else None

    def object(self, uri: S3Uri) -> str | None:
        """The page of an object, where it can be looked at and downloaded."""
        if self._place is None:
            return None
        return f"{self._place}/s3/object/{quote(uri.bucket)}?region={self._region}&prefix={quote(uri.key, safe='')}"

    def folder(self, uri: S3Uri) -> str | None:
        if self._place is None:
            return None
        key = quote(uri.join("").key, safe="")
        return f"{self._place}/s3/buckets/{quote(uri.bucket)}?region={self._region}&prefix={key}"

    def jobs(self) -> str | None:
        """The page of the batch inference jobs, where each is found by its name."""
        return self._place and f"{self._place}/bedrock/home?region={self._region}#/batch-inference"


def console() -> Console:
    """The console of the AWS that the pipeline speaks with. Raises PipelineError."""
    return Console(str(aws.s3().meta.endpoint_url), aws.bedrock().meta.region_name)


def signed(uri: S3Uri) -> str:
    """A link that whoever has it may download the object with, for an hour. Raises PipelineError."""
    with aws.translated(f"signing a link to {uri}"):
        link: str = aws.s3().generate_presigned_url(
            "get_object", Params={"Bucket": uri.bucket, "Key": uri.key}, ExpiresIn=_SECONDS
        )
    return link
