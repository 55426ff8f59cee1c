"""A whole stack on this machine, for `congrad up` and `congrad demo`: Redis, workers and the service."""
