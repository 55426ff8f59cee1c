"""Running directions as resources: shown, reset, exported, imported."""
