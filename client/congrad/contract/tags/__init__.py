"""Languages, each by one tag, and their names."""
