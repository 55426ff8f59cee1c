"""A controlled world: languages that share a task, a model of them, and preference pairs whose conflicts are known."""
