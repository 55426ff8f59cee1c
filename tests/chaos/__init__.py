"""Kills the parts of a real stack under load, and checks that nothing is lost and nothing doubled."""
