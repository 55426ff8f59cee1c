"""Routes with pages for a browser."""
