"""Reading and writing bytes: local files and S3, streamed."""
