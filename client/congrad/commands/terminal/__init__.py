"""What all commands share: options, messages, signals, and the question whether a service is there."""
