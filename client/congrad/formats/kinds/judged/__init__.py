"""Formats of several answers, of which something says which is better: a verdict, a rank, a score."""
