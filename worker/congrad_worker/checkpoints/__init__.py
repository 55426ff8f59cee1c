"""A checkpoint on its way to being served: found, loaded, tokenising, announced."""
