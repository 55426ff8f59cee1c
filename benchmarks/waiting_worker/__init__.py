"""A gradients worker that waits where a GPU would compute: `python -m benchmarks.waiting_worker`, for `scale.py`.

It is a worker of Celery like the product's, with its queue, its store and its heartbeat; only what turns texts into
gradients is another.
"""
