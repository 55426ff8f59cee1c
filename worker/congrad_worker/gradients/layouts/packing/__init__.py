"""All pairs of a batch in one row without padding, and the attention that keeps them apart."""
