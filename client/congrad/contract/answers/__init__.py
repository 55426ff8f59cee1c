"""What the routes answer. Fields that are unknown are let pass: an older client can read a newer service."""
