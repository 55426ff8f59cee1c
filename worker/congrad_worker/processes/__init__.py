"""What runs: Celery applications, several workers on a host, and their signs of life."""
