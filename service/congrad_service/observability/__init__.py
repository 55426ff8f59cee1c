"""What a part says of its work: logs, metrics, traces."""
