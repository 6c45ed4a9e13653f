"""An object copied by way of this machine: to another key of KMS, bucket or account, whatever its size."""

from tasks.storage.reader import BLOCK_BYTES, open_source
from tasks.storage.sources import source_at
from tasks.storage.uris import S3Uri
from tasks.storage.writer import S3Writer


def copy_object(source: S3Uri, target: S3Uri, kms_key: str | None, owner: str | None = None) -> None:
    """Copy an object, in blocks. `owner` is the account of the target's bucket. Raises PipelineError."""
    with open_source(source_at(source)) as body, S3Writer(target, kms_key, owner=owner) as out:
        while block := body.read(BLOCK_BYTES):
            out.write(block)
