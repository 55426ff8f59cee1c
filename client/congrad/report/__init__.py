"""One page about a filtered file: pictures, tables and texts in a single HTML file that needs no network."""
