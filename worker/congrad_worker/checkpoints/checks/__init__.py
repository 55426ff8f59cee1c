"""What is looked at in a checkpoint before it is loaded: missing weights, tokens without embeddings, frequencies."""
