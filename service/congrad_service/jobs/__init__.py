"""The life of a job: created, watched, cancelled, listed."""
