"""One dataset on several models: joined, measured, judged and shown."""
