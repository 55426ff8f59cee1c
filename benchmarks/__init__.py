"""Measurements; each module that can be run says in its docstring how."""
