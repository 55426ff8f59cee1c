"""Gradients in, keep or drop out: the running direction, surgery, scores, selection. No Redis, no torch."""
