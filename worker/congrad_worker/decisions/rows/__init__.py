"""Gradients of a request as rows: read when they are needed, in half precision, and what they give with a direction."""
