"""What Redis holds at one moment, as Prometheus reads it."""
