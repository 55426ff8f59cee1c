"""Pairs in, compressed gradients out. No Redis, no broker."""
