"""What Bedrock's batch inference looks like. `models`, `limits`, `names` and `records` are pure."""
