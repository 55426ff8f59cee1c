"""What is looked at in a checkpoint: missing weights, tokens without embeddings, frequencies, broken files."""
