"""The formats, a module for the tools that brought each up."""
