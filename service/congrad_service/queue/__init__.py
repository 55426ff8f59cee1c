"""Celery's side: who works, what waits, and what was lost on the way."""
