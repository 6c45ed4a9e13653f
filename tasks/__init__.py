"""The stages of the pipeline, one module each, and the pure libraries they are made of."""
