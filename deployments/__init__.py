"""How the pipeline runs: the local sandbox, IAM and image templates, and what prefect.yaml names."""
