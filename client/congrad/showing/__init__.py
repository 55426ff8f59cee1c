"""What a terminal or a notebook shows: results as tables, and how far the work is."""
