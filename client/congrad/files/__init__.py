"""Files of preference pairs: read row by row, checked, and written so that a row leaves as it came."""
