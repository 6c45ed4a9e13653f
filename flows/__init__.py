"""What a user starts: each flow chains tasks and decides nothing else."""

import os

# A temporary Prefect server takes 10 to 25 s to start on two cores; Prefect's own limit is 20 s.
os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "180")
