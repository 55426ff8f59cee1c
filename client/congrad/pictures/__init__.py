"""The pictures that the dashboard and the report share, as modules for a browser."""
