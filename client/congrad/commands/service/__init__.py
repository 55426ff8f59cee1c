"""Commands that look after a service that runs."""
