"""The OpenAI-compatible API server: Files, Uploads and Batches over HTTP, for unmodified clients.

`python -m deployments.api` starts it; `deployments/docs/api.md` is its page. It keeps nothing: what it is told stands
in S3 (`tasks.api`), and `flows/api.py` drives it.
"""
