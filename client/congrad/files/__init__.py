"""Files of preference pairs, and of decisions on them: read row by row, checked, and written so that a row leaves as it
came."""
