"""How a client talks to a service: retries, waiting, cutting and giving up, as generators without input or output."""
