"""How pairs lie in the rows of a batch: their cost, their tokens, and how attention keeps them apart."""
