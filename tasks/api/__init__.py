"""Orders, files and uploads of the OpenAI-compatible API, as they stand in S3. No HTTP here, and no other state.

Under the prefix of a tenant, beside `batches/`:

api/batches/KEY.json           orders: what a caller asked for, standing on a batch that may be shared
api/open/BATCH_ID              an empty object for each order that is not over, or whose end was not announced yet
api/same/DIGEST.json           the latest order of equal calls: a repeated POST finds it
api/files/PURPOSE/KEY.json     files: name, size, times, and where the bytes lie
api/data/FILE_ID               the bytes of an uploaded file
api/uploads/UPLOAD_ID/…        an upload in parts
api/stopped/BATCH_ID-…         batches that an order had stopped: another that stands on one opens it again
samples/BATCH_ID/              batches of orders that asked for a fresh sample (`reuse: false`)

KEY is an id with its time counted backwards (`tasks.api.ids`): S3 lists keys in ascending order, so the newest first.
"""
