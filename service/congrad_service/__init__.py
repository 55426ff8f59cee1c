"""The front end of CONGRAD: HTTP, jobs, and the directions in Redis. It never imports torch or the worker."""
