"""What travels between clients, service and workers: requests, answers, samples, tags and tokens, as values."""
