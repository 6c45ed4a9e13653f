"""A batch as it stands in S3: what was asked for, batch.json and its changes, who drives it, what may be done next."""
