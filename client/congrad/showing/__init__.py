"""Results as tables in a terminal, and in notebooks."""
