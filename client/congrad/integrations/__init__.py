"""Rows of other libraries as samples, and their datasets filtered. Each library is imported only where it is used."""
