"""Gradients of a request as rows that are read when they are needed, and their products with a direction."""
