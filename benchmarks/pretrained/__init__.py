"""What the filter does to pretrained models: `benchmarks/real_models.py`."""
