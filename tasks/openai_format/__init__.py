"""What OpenAI's batch files and objects look like. Imports neither Prefect nor boto3."""
