"""What is checked of an engine before it serves, each in a module of its own; `verification` puts them together."""
