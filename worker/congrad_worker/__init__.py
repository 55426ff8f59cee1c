"""The workers of CONGRAD: gradients against a checkpoint, surgery, scores and selection, as Celery tasks."""
