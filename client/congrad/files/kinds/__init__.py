"""Rows of each kind of file: JSON Lines, JSON, CSV, Parquet."""
