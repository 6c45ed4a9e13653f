"""The command `bedrock-batch`, and with it `python -m flows.batch` and `python -m flows.compare`.

`main` finds subcommands, each of which is imported when it is asked for: `--help` takes a quarter of a second, and
neither Prefect nor boto3.
"""
