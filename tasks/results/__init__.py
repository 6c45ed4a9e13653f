"""What comes back: the output of jobs, the answers in it, and the files that are made of them."""
